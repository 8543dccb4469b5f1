//! The table itself: names, units and instruments hold what the conventions ask of them.

use muxbridge::translate::explain::Rule;
use muxbridge::translate::metrics::MetricOptions;
use muxbridge::translate::metrics::table::{Convert, Instrument, Kind, ROWS, Scale, State};
use muxbridge::translate::profile::Profile;
use muxbridge_core::Signal;
use std::collections::BTreeMap;

/// The UCUM units that metrics of the conventions have; annotations in braces are checked for their form.
fn is_unit(unit: &str) -> bool {
    let annotation = unit.strip_prefix('{').and_then(|u| u.strip_suffix('}'));
    matches!(unit, "s" | "By" | "1")
        || annotation
            .is_some_and(|a| !a.is_empty() && a.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_'))
}

/// Lower-case words of letters, digits and underscores, joined by dots, each beginning with a letter.
fn is_name(name: &str) -> bool {
    name.contains('.')
        && name.split('.').all(|word| {
            word.starts_with(|c: char| c.is_ascii_lowercase())
                && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        })
}

#[test]
fn names_and_units_are_valid_and_every_target_is_described() {
    for target in ROWS.iter().flat_map(|row| row.targets) {
        for profile in Profile::ALL {
            let name = target.name_in(profile);
            assert!(is_name(name), "{name}");
            // Units belong into the unit, and `total` nowhere.
            for suffix in ["_total", "_seconds", "_ms", "_bytes", "_usd", "_bucket", "_sum"] {
                assert!(!name.ends_with(suffix), "{name}");
            }
        }
        assert!(is_unit(target.unit), "{}: {}", target.name, target.unit);
        assert!(target.description.ends_with('.'), "{}", target.name);
    }
}

#[test]
fn attributes_have_valid_names() {
    let targets = || ROWS.iter().flat_map(|row| row.targets);
    for conversion in targets().flat_map(|target| target.attributes) {
        let names: Vec<&str> = match *conversion {
            Convert::As(_, to) | Convert::Bool(_, to) | Convert::Int(_, to) => vec![to],
            Convert::Split(_, provider, model) => vec![provider, model],
            _ => vec![],
        };
        assert!(names.iter().all(|name| is_name(name)), "{names:?}");
    }
    for (name, _) in targets().flat_map(|target| target.constants) {
        assert!(is_name(name), "{name}");
    }
}

#[test]
fn no_two_rows_have_one_source_and_no_two_targets_one_name() {
    let mut sources = BTreeMap::new();
    for row in ROWS {
        assert!(sources.insert(row.source, ()).is_none(), "{} twice", row.source);
    }
    let options = MetricOptions { candidates: true, process: true, ..MetricOptions::default() };
    for profile in Profile::ALL {
        let mut names = BTreeMap::new();
        for target in ROWS.iter().flat_map(|row| row.targets).filter(|t| t.is_on(&options, profile)) {
            let name = target.name_in(profile);
            assert!(names.insert(name, target.instrument).is_none(), "{name} twice in {}", profile.as_str());
            assert!(!sources.contains_key(name), "{name} would be translated twice");
        }
    }
}

#[test]
fn instruments_fit_the_kind_of_their_source_and_live_rows_say_what_becomes_of_each_point() {
    for row in ROWS {
        for target in row.targets {
            let fits = match (row.kind, target.instrument) {
                (Kind::Counter, Instrument::Counter) | (Kind::Histogram, Instrument::Histogram) => true,
                (Kind::Gauge, Instrument::Gauge | Instrument::UpDownCounter) => true,
                (Kind::Counter, Instrument::Histogram) => target.scale == Scale::TokensPerCall,
                _ => false,
            };
            assert!(fits, "{} as {:?}", row.source, target.instrument);
        }
        // Without a target for every point there must be a rule that counts the others.
        let options = MetricOptions::default();
        let always = row.targets.iter().any(|t| {
            t.derived.is_none()
                && t.is_on(&options, Profile::default())
                && t.only == muxbridge::translate::metrics::table::Only::All
        });
        assert!(always || row.keep || row.otherwise.is_some(), "{} could vanish uncounted", row.source);
        assert_eq!(row.targets.is_empty(), row.state != State::Live, "{}", row.source);
    }
}

#[test]
fn the_documentation_names_every_family_target_unit_rule_and_option() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/translation.md");
    let text = std::fs::read_to_string(path).unwrap();
    let named =
        |what: &str| assert!(text.contains(&format!("`{what}`")), "{what} is not in docs/translation.md");
    for row in ROWS {
        named(row.source);
        for target in row.targets {
            Profile::ALL.iter().for_each(|profile| named(target.name_in(*profile)));
            let line = text.lines().find(|l| l.contains(&format!("| `{}` |", target.name))).unwrap();
            assert!(line.contains(&format!("| `{}` |", target.unit)), "{line}");
        }
    }
    for rule in Rule::ALL.iter().filter(|rule| rule.signal() != Signal::Traces) {
        named(rule.as_str());
    }
    let schema = muxbridge_core::config::schema::<muxbridge::processors::modelmuxer::Options>();
    let keys = |at: &str| -> Vec<String> {
        let properties = schema.pointer(at).unwrap().as_object().unwrap();
        properties.keys().cloned().collect()
    };
    for key in keys("/properties") {
        assert!(text.contains(&format!("`{key}`")) || text.contains(&format!("    {key}:")), "{key}");
    }
    for key in keys("/$defs/MetricOptions/properties").iter().chain(&keys("/$defs/LogOptions/properties")) {
        assert!(text.contains(&format!("      {key}: ")), "{key}");
    }
}
