//! Walks the table.

use super::*;
use crate::translate::profile::Profile;
use std::collections::BTreeSet;

fn rows(role: Role, source: &[u8]) -> &'static [Row] {
    super::rows(role, source, place(source))
}

#[test]
fn every_profile_gives_each_span_each_attribute_once() {
    for profile in Profile::ALL {
        let mut seen = BTreeSet::new();
        let rows = ROWS.iter().filter(|r| r.profiles.has(profile) && !r.target.is_empty());
        let mut all: Vec<(Role, &str)> = rows.map(|r| (r.role, r.target)).collect();
        for a in ADDED.iter().filter(|a| a.profiles.has(profile)) {
            all.extend(a.roles.iter().map(|role| (*role, a.target)));
        }
        for (role, target) in all {
            assert!(seen.insert((format!("{role:?}"), target)), "{role:?} {target} twice in {profile:?}");
        }
    }
}

#[test]
fn targets_are_well_formed_and_estimates_never_become_usage() {
    let targets = ROWS.iter().map(|r| r.target).chain(ADDED.iter().map(|a| a.target));
    for target in targets.filter(|t| !t.is_empty()) {
        let fine = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        assert!(target.contains('.') && target.split('.').all(fine), "{target}");
        assert!(!target.starts_with("gen_ai.usage") && !target.starts_with("gen_ai.response"), "{target}");
    }
}

#[test]
fn only_the_old_profile_has_gen_ai_system_and_only_newer_ones_the_provider_name() {
    for profile in Profile::ALL {
        for role in [Role::Invoke, Role::InvokeStream] {
            let has = |target| {
                rows(role, b"provider").iter().any(|r| r.target == target && r.profiles.has(profile))
            };
            assert_eq!(has("gen_ai.system"), profile == Profile::Genai1_36);
            assert_eq!(has("gen_ai.provider.name"), profile != Profile::Genai1_36);
        }
    }
}

#[test]
fn a_row_without_a_target_drops_and_conversions_to_units_name_the_unit() {
    for r in ROWS {
        assert_eq!(r.target.is_empty(), matches!(r.convert, Convert::Drop(_)), "{}", r.source);
        match r.convert {
            Convert::MillisToSeconds => assert_eq!(r.unit, "s", "{}", r.source),
            Convert::Cost => assert_eq!(r.unit, "{USD}", "{}", r.source),
            _ => {}
        }
    }
}

#[test]
fn every_row_is_found_by_its_source_and_nothing_else_is() {
    for r in ROWS {
        let found: Vec<_> = rows(r.role, r.source.as_bytes()).iter().map(|r| r.target).collect();
        let wanted: Vec<_> =
            ROWS.iter().filter(|o| o.role == r.role && o.source == r.source).map(|r| r.target).collect();
        assert_eq!(found, wanted, "{}", r.source);
        assert!(rows(Role::Other, r.source.as_bytes()).is_empty());
        assert!(rows(r.role, r.target.as_bytes()).is_empty() || ROWS.iter().any(|o| o.source == r.target));
    }
    assert!(rows(Root, b"").is_empty() && rows(Root, b"r").is_empty());
}
