//! Datadog's spelling of names, services and tags, as an Agent would change them.

const MAX_NAME: usize = 100;
const MAX_TAG_CHARS: usize = 200;
/// The longest resource, in bytes.
pub const MAX_RESOURCE: usize = 5000;

/// The name of an operation: letters, digits, `_` and `.`, from the first letter on, at most 100 bytes.
pub fn normalize_name(name: &str) -> String {
    let mut out = String::with_capacity(name.len().min(MAX_NAME));
    for c in truncate(name, MAX_NAME).chars().skip_while(|c| !c.is_ascii_alphabetic()) {
        match c {
            c if c.is_ascii_alphanumeric() => out.push(c),
            '.' => {
                if out.ends_with('_') {
                    out.pop();
                }
                out.push('.');
            }
            _ if out.ends_with(['_', '.']) => {}
            _ => out.push('_'),
        }
    }
    if out.ends_with('_') {
        out.pop();
    }
    if out.is_empty() { "unnamed_operation".to_owned() } else { out }
}

/// The name of a service: a tag value of at most 100 bytes.
pub fn normalize_service(service: &str) -> String {
    let out = normalize_tag_value(truncate(service, MAX_NAME));
    if out.is_empty() { "unnamed-service".to_owned() } else { out }
}

/// A whole tag: begins with a letter or a colon.
pub fn normalize_tag(tag: &str) -> String {
    normalize(tag, |c| c.is_alphabetic() || c == ':')
}

/// The value of a tag: may begin with a digit too.
pub fn normalize_tag_value(value: &str) -> String {
    normalize(value, |c| c.is_alphanumeric() || matches!(c, ':' | '.' | '/' | '-'))
}

fn normalize(text: &str, may_start: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut written = 0;
    for c in text.chars().map(lower).skip_while(|c| !may_start(*c)) {
        if written == MAX_TAG_CHARS {
            break;
        }
        let keep = c.is_alphanumeric() || matches!(c, ':' | '.' | '/' | '-');
        if keep {
            out.push(c);
        } else if !out.ends_with('_') {
            out.push('_');
        } else {
            continue;
        }
        written += 1;
    }
    while out.ends_with('_') {
        out.pop();
    }
    out
}

/// The lower case of a letter, if it is one letter of the same width.
fn lower(c: char) -> char {
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(l), None) if l.len_utf8() == c.len_utf8() => l,
        _ => c,
    }
}

/// At most `max` bytes of `text`, cut between characters.
pub(super) fn truncate(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The same of text whose bytes are known to be UTF-8.
#[inline]
pub(super) fn truncate_bytes(text: &[u8], max: usize) -> &[u8] {
    let Some(mut end) = Some(max).filter(|max| *max < text.len()) else { return text };
    // These continue a character.
    while end > 0 && text[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelled_as_the_agent_does() {
        assert_eq!(normalize_name(""), "unnamed_operation");
        assert_eq!(normalize_name("&***"), "unnamed_operation");
        assert_eq!(normalize_name("bad-name"), "bad_name");
        assert_eq!(normalize_name("&&&&&&&_test-name-"), "test_name");
        assert_eq!(normalize_name(&"Too-Long-.".repeat(20)), "Too_Long.".repeat(10));
    }

    #[test]
    fn tags_are_spelled_as_the_agent_does() {
        assert_eq!(
            normalize_tag("Test Conversion Of Weird !@#$%^&**() Characters"),
            "test_conversion_of_weird_characters"
        );
        assert_eq!(normalize_tag("12.:trim@"), ":trim");
        assert_eq!(normalize_tag("Data🐨dog🐶 繋がっ⛰てて"), "data_dog_繋がっ_てて");
        assert_eq!(normalize_tag("fun:ky__tag/1"), "fun:ky_tag/1");
        assert_eq!(normalize_tag("1love"), "love");
        assert_eq!(normalize_tag(&"é".repeat(300)).chars().count(), 200);
    }

    #[test]
    fn nothing_is_cut_within_a_character() {
        let text = "aé繋🐶z";
        for max in 0..text.len() + 2 {
            assert_eq!(truncate_bytes(text.as_bytes(), max), truncate(text, max).as_bytes());
            assert!(truncate(text, max).len() + 4 > max.min(text.len()));
        }
    }

    #[test]
    fn a_service_may_begin_with_a_digit_and_is_never_empty() {
        assert_eq!(normalize_service("1love"), "1love");
        assert_eq!(normalize_service("  "), "unnamed-service");
        assert_eq!(normalize_service(&"é".repeat(80)).len(), 100);
    }
}
