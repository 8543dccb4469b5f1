//! A strict reader of DogStatsD packets: it rejects whatever the Agent rejects or would read as something else.

/// One accepted message.
#[derive(Debug, PartialEq)]
pub(crate) struct Parsed {
    pub(crate) name: String,
    pub(crate) values: Vec<f64>,
    pub(crate) kind: String,
    pub(crate) rate: Option<f64>,
    pub(crate) tags: Vec<String>,
}

impl Parsed {
    /// What each value counts for: the Agent truncates.
    pub(crate) fn weight(&self) -> u64 {
        (1.0 / self.rate.unwrap_or(1.0)).trunc() as u64
    }
}

pub(crate) fn packet(packet: &str) -> Result<Vec<Parsed>, String> {
    let body = packet.strip_suffix('\n').ok_or("does not end in a line feed")?;
    body.split('\n').map(message).collect()
}

pub(crate) fn message(line: &str) -> Result<Parsed, String> {
    let bad = |what: &str| Err(format!("{what}: {line:?}"));
    let Some((name, rest)) = line.split_once(':') else { return bad("no colon") };
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || name.len() > 200 {
        return bad("bad name");
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.') {
        return bad("bad character in name");
    }
    let mut fields = rest.split('|');
    let mut values = Vec::new();
    for value in fields.next().unwrap_or_default().split(':') {
        match value.parse::<f64>() {
            Ok(v) if v.is_finite() => values.push(v),
            _ => return bad("bad value"),
        }
    }
    let kind = fields.next().unwrap_or_default().to_owned();
    if !["c", "g", "h", "d", "ms"].contains(&kind.as_str()) {
        return bad("bad type");
    }
    let mut parsed = Parsed { name: name.to_owned(), values, kind, rate: None, tags: Vec::new() };
    for field in fields {
        if let Some(rate) = field.strip_prefix('@') {
            match rate.parse::<f64>() {
                Ok(r) if r > 0.0 && r <= 1.0 => parsed.rate = Some(r),
                _ => return bad("bad rate"),
            }
        } else if let Some(tags) = field.strip_prefix('#') {
            for tag in tags.split(',') {
                check_tag(tag).map_err(|e| format!("{e}: {line:?}"))?;
                parsed.tags.push(tag.to_owned());
            }
        } else {
            return bad("unknown field");
        }
    }
    Ok(parsed)
}

fn check_tag(tag: &str) -> Result<(), &'static str> {
    if tag == "host:" {
        return Ok(());
    }
    let (key, value) = tag.split_once(':').ok_or("tag without a colon")?;
    if !key.starts_with(char::is_alphabetic) {
        return Err("tag does not start with a letter");
    }
    if value.is_empty() || tag.ends_with(':') {
        return Err("tag ends in a colon");
    }
    if tag.chars().count() > 200 {
        return Err("tag is too long");
    }
    if tag.starts_with("dd.internal.") {
        return Err("tag is reserved");
    }
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | ':' | '.' | '/');
    if tag.chars().all(allowed) { Ok(()) } else { Err("bad character in tag") }
}

#[test]
fn the_reader_rejects_what_the_agent_rejects() {
    for line in [
        "",
        "a",
        "a:",
        "a:1",
        ":1|c",
        "a:1|m",
        "a:nan|g",
        "a:inf|g",
        "a:1|c|@x",
        "a:1|c|@0",
        "a b:1|c",
        "a:1|c|#",
        "a:1|c|#k:",
        "a:1|c|#k:v w",
    ] {
        assert!(message(line).is_err(), "{line:?} was accepted");
    }
    assert!(packet("a:1|c").is_err());
    assert!(packet("a:1|c\n\nb:1|c\n").is_err());
    let all = message("a.b_c:1:2.5|d|@0.5|#k:v,x:y").unwrap();
    assert_eq!((all.values, all.rate, all.tags.len()), (vec![1.0, 2.5], Some(0.5), 2));
}
