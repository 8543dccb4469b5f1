//! Finds credentials in text: anchors by one multi-pattern scan, then a check of what stands around each.
//!
//! The same anchors serve the scan over a whole batch. There a string has no visible borders, so that only what holds
//! for any string inside is checked: the scan may suspect too much, never too little.

use super::prefilter::places;
use super::{Kind, SCRUBBED};
use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use std::sync::LazyLock;

/// One credential in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) kind: Kind,
}

/// What must stand around an anchor.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    /// `name=` directly after `?` or `&`.
    Query,
    /// A name, then `:` or `=`, then a value.
    Named,
    /// As `Named`, where the value may begin with a scheme.
    Authorization,
    /// `bearer`, then a space and a token.
    Bearer,
    /// `://`, then `user:password@`.
    Userinfo,
    /// A prefix in this exact spelling, then at least so many characters of a token.
    Token { kind: Kind, least: usize },
    /// `AKIA` or `ASIA`, then 16 capitals and digits.
    AwsKeyId,
    /// `eyJ`, then two or three parts.
    Jwt,
    /// Letters and digits that end in `NRAL`.
    Licence,
    /// `-----BEGIN ... PRIVATE KEY-----`.
    Pem,
    /// The whole key of an attribute, as it stands on the wire.
    WireKey,
}

const fn token(kind: Kind, least: usize) -> Rule {
    Rule::Token { kind, least }
}

/// What the scan looks for, whatever the case.
pub(super) const ANCHORS: &[(&str, Rule)] = &[
    ("key=", Rule::Query),
    ("token=", Rule::Query),
    ("auth=", Rule::Query),
    ("sig=", Rule::Query),
    ("signature=", Rule::Query),
    ("awsaccesskeyid=", Rule::Query),
    ("x-goog-credential=", Rule::Query),
    ("x-amz-credential=", Rule::Query),
    ("x-goog-signature", Rule::Named),
    ("x-amz-signature", Rule::Named),
    ("x-amz-security-token", Rule::Named),
    ("api_key", Rule::Named),
    ("api-key", Rule::Named),
    ("apikey", Rule::Named),
    ("api_token", Rule::Named),
    ("api-token", Rule::Named),
    ("application-key", Rule::Named),
    ("application_key", Rule::Named),
    ("access_token", Rule::Named),
    ("access-token", Rule::Named),
    ("auth_token", Rule::Named),
    ("auth-token", Rule::Named),
    ("refresh_token", Rule::Named),
    ("id_token", Rule::Named),
    ("session_token", Rule::Named),
    ("secret", Rule::Named),
    ("secret_key", Rule::Named),
    ("secret_access_key", Rule::Named),
    ("refresh-token", Rule::Named),
    ("id-token", Rule::Named),
    ("session-token", Rule::Named),
    ("private-key", Rule::Named),
    ("private_key", Rule::Named),
    ("license_key", Rule::Named),
    ("license-key", Rule::Named),
    ("password", Rule::Named),
    ("passwd", Rule::Named),
    ("cookie", Rule::Named),
    ("authorization", Rule::Authorization),
    ("bearer", Rule::Bearer),
    ("://", Rule::Userinfo),
    ("sk-ant-", token(Kind::Anthropic, 16)),
    ("sk-", token(Kind::OpenAi, 16)),
    ("AIza", token(Kind::Google, 30)),
    ("ya29.", token(Kind::Google, 20)),
    ("gsk_", token(Kind::Groq, 20)),
    ("hf_", token(Kind::HuggingFace, 30)),
    ("ghp_", token(Kind::GitHub, 30)),
    ("gho_", token(Kind::GitHub, 30)),
    ("ghu_", token(Kind::GitHub, 30)),
    ("ghs_", token(Kind::GitHub, 30)),
    ("ghr_", token(Kind::GitHub, 30)),
    ("github_pat_", token(Kind::GitHub, 30)),
    ("xoxb-", token(Kind::Slack, 10)),
    ("xoxp-", token(Kind::Slack, 10)),
    ("xoxa-", token(Kind::Slack, 10)),
    ("xoxr-", token(Kind::Slack, 10)),
    ("xoxs-", token(Kind::Slack, 10)),
    ("xapp-", token(Kind::Slack, 10)),
    ("NRAK-", token(Kind::NewRelic, 20)),
    ("NRAL", Rule::Licence),
    ("AKIA", Rule::AwsKeyId),
    ("ASIA", Rule::AwsKeyId),
    ("eyJ", Rule::Jwt),
    ("private key-----", Rule::Pem),
    // `token` alone is too common a word for an anchor; as a whole attribute key it has this tag and length before it.
    ("\x0a\x05token", Rule::WireKey),
];

/// Case is ignored because header names have any; the rules check it where it matters. Overlapping matches need the
/// standard match kind.
#[allow(clippy::expect_used, reason = "the patterns are constants, and every test of this file builds them")]
static SCAN: LazyLock<AhoCorasick> = LazyLock::new(|| {
    AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .match_kind(MatchKind::Standard)
        .kind(Some(AhoCorasickKind::DFA))
        .build(ANCHORS.iter().map(|(text, _)| text))
        .expect("constant patterns")
});

/// How close together suspects are expected, so that their list takes an eighth of the request.
const BYTES_PER_SUSPECT: usize = 64;

/// Offsets of everything in a whole request that may be a credential, ascending.
pub(super) fn suspicious(request: &[u8]) -> Vec<usize> {
    let mut offsets = Vec::new();
    let mut suspect = |offset| {
        if offsets.is_empty() {
            // Room for all of them at once, unless every other word is one.
            offsets.reserve(request.len() / BYTES_PER_SUSPECT + 1);
        }
        offsets.push(offset);
    };
    // Parameters of URLs are not worth a place in the vector search: `=` finds them, and few of them are suspects.
    memchr::memchr_iter(b'=', request).filter_map(|at| parameter(&request[..=at])).for_each(&mut suspect);
    let mut check = |anchor: usize, start: usize, end: usize| {
        if possible(ANCHORS[anchor], request, start, end) {
            suspect(start);
        }
    };
    let searched = places(request, |anchor, start| {
        let end = start + ANCHORS[anchor].0.len();
        if request.get(start..end).is_some_and(|text| text.eq_ignore_ascii_case(ANCHORS[anchor].0.as_bytes()))
        {
            check(anchor, start, end);
        }
    });
    if !searched {
        SCAN.find_overlapping_iter(request).for_each(|m| check(m.pattern().as_usize(), m.start(), m.end()));
    }
    offsets.sort_unstable();
    offsets.dedup();
    offsets
}

/// Where the parameter begins that `text`, which ends in `=`, ends with, if it is one of the anchors.
fn parameter(text: &[u8]) -> Option<usize> {
    let rows = ANCHORS.iter().filter(|(_, rule)| matches!(rule, Rule::Query));
    let starts = rows.filter_map(|(anchor, _)| {
        let start = text.len().checked_sub(anchor.len())?;
        text[start..].eq_ignore_ascii_case(anchor.as_bytes()).then_some(start)
    });
    starts.into_iter().find(|start| is_query_separator(text, *start))
}

/// All credentials of one text, ascending and apart from each other.
pub(super) fn find(text: &[u8]) -> Vec<Found> {
    let mut found: Vec<Found> = SCAN
        .find_overlapping_iter(text)
        .filter_map(|m| check(ANCHORS[m.pattern().as_usize()], text, m.start(), m.end()))
        .collect();
    found.sort_by_key(|f| (f.start, std::cmp::Reverse(f.end)));
    // What overlaps is one credential seen twice (`?key=AIza...`): the announced one gives the kind.
    found.dedup_by(|next, kept| {
        let same = next.start < kept.end;
        if same {
            kept.end = kept.end.max(next.end);
        }
        same
    });
    found
}

/// What holds wherever the string around the anchor begins and ends.
fn possible((anchor, rule): (&str, Rule), text: &[u8], start: usize, end: usize) -> bool {
    let rest = &text[end..];
    match rule {
        Rule::Query => start > 0 && is_query_separator(text, start),
        // What follows the string on the wire can only lengthen the run in which it looks.
        Rule::Userinfo => userinfo(rest).is_some(),
        Rule::Token { least, .. } => text[start..end] == *anchor.as_bytes() && run(rest, is_token) >= least,
        Rule::AwsKeyId => text[start..end] == *anchor.as_bytes() && run(rest, is_capital) >= 16,
        Rule::Jwt => text[start..end] == *b"eyJ" && run(rest, is_token) >= 8,
        Rule::Licence => text[start..end] == *b"NRAL",
        Rule::Bearer => rest.first() == Some(&b' '),
        Rule::Named | Rule::Authorization | Rule::Pem | Rule::WireKey => true,
    }
}

fn check(anchor: (&str, Rule), text: &[u8], start: usize, end: usize) -> Option<Found> {
    if !possible(anchor, text, start, end) {
        return None;
    }
    let starts_word = !start.checked_sub(1).is_some_and(|i| is_word(text[i]));
    let (from, to, kind) = match anchor.1 {
        Rule::Query => (end, end + run(&text[end..], is_value), Kind::UrlQuery),
        Rule::Named => named(text, start, end)?,
        Rule::Authorization => {
            let from = value_start(text, end)?;
            credentials(text, from)?
        }
        Rule::Bearer => credentials(text, start).filter(|_| starts_word)?,
        Rule::Userinfo => (end, end + userinfo(&text[end..])?, Kind::UrlUserinfo),
        Rule::Token { kind, .. } => {
            let length = run(&text[end..], is_token);
            // `sk-` also begins words: a key has digits or capitals in it.
            let random = text[end..end + length].iter().any(|b| b.is_ascii_digit() || b.is_ascii_uppercase());
            // `sk-ant-` has a row of its own, which keeps more of the prefix.
            let other = kind == Kind::OpenAi && text[end..].starts_with(b"ant-");
            (end, end + length, kind).filter_if(starts_word && random && !other)?
        }
        Rule::AwsKeyId => {
            let whole = run(&text[end..], is_word) == 16;
            (end, end + 16, Kind::Aws).filter_if(starts_word && whole)?
        }
        Rule::Jwt => (end, end + jwt(&text[end..])?, Kind::Jwt).filter_if(starts_word)?,
        Rule::Licence => licence(text, start, end)?,
        Rule::Pem => (end, end + pem(&text[end..])?, Kind::PrivateKey),
        Rule::WireKey => return None,
    };
    let secret = &text[from..to];
    (!secret.is_empty() && !secret.starts_with(&SCRUBBED.as_bytes()[..SCRUBBED.len() - 1])).then_some(Found {
        start: from,
        end: to,
        kind,
    })
}

trait FilterIf: Sized {
    fn filter_if(self, keep: bool) -> Option<Self>;
}

impl FilterIf for (usize, usize, Kind) {
    fn filter_if(self, keep: bool) -> Option<Self> {
        keep.then_some(self)
    }
}

/// `name: value`, `name=value`, `'name': 'value'`.
fn named(text: &[u8], start: usize, end: usize) -> Option<(usize, usize, Kind)> {
    let from = value_start(text, end)?;
    let cookie = text[start..end].eq_ignore_ascii_case(b"cookie");
    // A cookie header holds several values; all of them go.
    let length = run(&text[from..], |b| is_value(b) || cookie && matches!(b, b';' | b' '));
    let value = &text[from..from + length];
    let in_query = is_query_separator(text, start) && text[end..].starts_with(b"=");
    let kind = if in_query { Kind::UrlQuery } else { Kind::Named };
    (from, from + length, kind).filter_if(!NO_SECRETS.iter().any(|word| value.eq_ignore_ascii_case(word)))
}

/// Values after a credential's name that say that there is none.
const NO_SECRETS: &[&[u8]] = &[
    b"none",
    b"null",
    b"nil",
    b"true",
    b"false",
    b"undefined",
    b"missing",
    b"required",
    b"invalid",
    b"unset",
    b"not",
];

/// Where the value begins after a name: past a closing quote, `:` or `=`, spaces and an opening quote.
fn value_start(text: &[u8], mut at: usize) -> Option<usize> {
    at += run(&text[at..], is_quote);
    at += run(&text[at..], |b| b == b' ');
    if !matches!(text.get(at), Some(b':' | b'=')) {
        return None;
    }
    at += 1;
    at += run(&text[at..], |b| b == b' ');
    loop {
        match text.get(at) {
            Some(b'[') if text[at..].starts_with(SCRUBBED.as_bytes()) => return Some(at),
            Some(b'[' | b'(') => at += 1,
            // Python writes bytes as b'...'.
            Some(b'b') if text.get(at + 1).copied().is_some_and(is_quote) => at += 1,
            Some(b) if is_quote(*b) => at += 1,
            _ => return Some(at),
        }
    }
}

/// The value of an authorization header: the scheme stays.
fn credentials(text: &[u8], at: usize) -> Option<(usize, usize, Kind)> {
    let word = run(&text[at..], is_value);
    let scheme = SCHEMES.iter().any(|s| text[at..at + word].eq_ignore_ascii_case(s));
    let gap = if scheme { run(&text[at + word..], |b| b == b' ') } else { 0 };
    let from = if gap > 0 { at + word + gap } else { at };
    let length = run(&text[from..], is_value);
    let value = &text[from..from + length];
    // "authorization: required" and "bearer token" are prose.
    let prose = length < 16
        && value.iter().all(u8::is_ascii_alphabetic)
        && value.iter().skip(1).all(u8::is_ascii_lowercase);
    (from, from + length, Kind::Authorization).filter_if(!prose)
}

const SCHEMES: &[&[u8]] = &[b"bearer", b"basic", b"token", b"apikey", b"digest", b"negotiate"];

/// The length of `user:password` before an `@`.
fn userinfo(rest: &[u8]) -> Option<usize> {
    let authority =
        &rest[..run(rest, |b| b > b' ' && !is_quote(b) && !matches!(b, b'/' | b'?' | b'#' | b'<' | b'>'))];
    let at = authority.iter().rposition(|b| *b == b'@')?;
    let colon = authority[..at].iter().position(|b| *b == b':')?;
    (colon + 1 < at).then_some(at)
}

/// The length of the rest of a token after `eyJ`: a header and a payload, mostly also a signature.
fn jwt(rest: &[u8]) -> Option<usize> {
    let header = run(rest, is_base64url);
    let payload = rest.get(header).filter(|b| **b == b'.').map(|_| run(&rest[header + 1..], is_base64url))?;
    let mut length = header + 1 + payload;
    if rest.get(length) == Some(&b'.') {
        length += 1 + run(&rest[length + 1..], is_base64url);
    }
    (header >= 8 && payload >= 8).then_some(length)
}

/// A licence key is 40 letters and digits, the last four `NRAL`; older and regional ones differ in length.
fn licence(text: &[u8], start: usize, end: usize) -> Option<(usize, usize, Kind)> {
    let before = text[..start].iter().rev().take_while(|b| b.is_ascii_alphanumeric()).count();
    let ends_word = !text.get(end).copied().is_some_and(is_word);
    (start - before, start, Kind::NewRelic).filter_if(before >= 20 && ends_word)
}

/// The length from the end of a PEM header to its footer, or to the end of the text if it was cut off.
fn pem(rest: &[u8]) -> Option<usize> {
    let end = memchr::memmem::find(rest, b"-----END").unwrap_or(rest.len());
    (end >= 16).then_some(end)
}

/// `?`, `&`, `&amp;` or `&` as JSON escapes it, directly before `at`.
fn is_query_separator(text: &[u8], at: usize) -> bool {
    let before = &text[..at];
    matches!(before.last(), Some(b'?' | b'&' | b';')) || before.ends_with(b"\\u0026")
}

fn run(text: &[u8], accept: impl Fn(u8) -> bool) -> usize {
    text.iter().position(|b| !accept(*b)).unwrap_or(text.len())
}

/// What may be part of a value in running text: anything up to white space, quotes or closing punctuation.
fn is_value(b: u8) -> bool {
    b > b' '
        && b != 0x7f
        && !matches!(
            b,
            b'&' | b'\''
                | b'"'
                | b'`'
                | b'#'
                | b'<'
                | b'>'
                | b'('
                | b')'
                | b','
                | b';'
                | b'\\'
                | b'{'
                | b'}'
                | b']'
                | b'|'
        )
}

fn is_quote(b: u8) -> bool {
    matches!(b, b'\'' | b'"' | b'`' | b'\\')
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.')
}

fn is_base64url(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'=')
}

fn is_capital(b: u8) -> bool {
    b.is_ascii_uppercase() || b.is_ascii_digit()
}
