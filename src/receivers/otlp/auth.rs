//! Who may send: tokens and passwords, checked before anything of a request is read.

use super::refusal::Refusal;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use muxbridge_core::BuildError;
use muxbridge_core::config::{Problems, Secret};
use muxbridge_kit::watch::Watched;
use ring::digest::{SHA256, digest};
use schemars::JsonSchema;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use subtle::{Choice, ConstantTimeEq};

/// Who may send. Without it everyone who reaches the port may.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// Takes `Authorization: Bearer <token>`. The keys are those of the Collector's `bearertokenauth`.
    pub bearer: Option<BearerConfig>,
    /// Takes `Authorization: Basic <user and password>`. The keys are those of the Collector's `basicauth`.
    pub basic: Option<BasicConfig>,
}

/// Tokens; any of them will do, so that one can be replaced by another without a gap.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BearerConfig {
    /// The word before the token. Default `Bearer`.
    pub scheme: String,
    /// A token.
    pub token: Option<Secret>,
    /// More tokens.
    pub tokens: Vec<Secret>,
    /// A file with tokens, one a line. When it changes it is read again.
    pub filename: Option<PathBuf>,
}

impl Default for BearerConfig {
    fn default() -> Self {
        BearerConfig { scheme: "Bearer".to_owned(), token: None, tokens: Vec::new(), filename: None }
    }
}

/// Users and their passwords.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BasicConfig {
    /// A user. Needs `password`.
    pub username: Option<String>,
    /// The password of the user.
    pub password: Option<Secret>,
    /// Users as lines of `user:password`. Passwords stand as they are; hashed ones are refused at start.
    pub htpasswd: Htpasswd,
}

/// Lines of `user:password`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Htpasswd {
    /// The lines themselves.
    pub inline: Option<Secret>,
    /// A file with such lines. When it changes it is read again.
    pub file: Option<PathBuf>,
}

/// Reports every mistake. Call it inside `problems.at("auth", ..)`.
pub(super) fn check(config: &AuthConfig, problems: &mut Problems) {
    if config.bearer.is_none() && config.basic.is_none() {
        problems.add(
            "",
            "names neither bearer nor basic; write bearer: { token: \"${env:TOKEN}\" }, or take auth away",
        );
    }
    if let Some(bearer) = &config.bearer {
        problems.at("bearer", |problems| {
            if bearer.scheme.is_empty() || !bearer.scheme.bytes().all(|b| b.is_ascii_graphic()) {
                problems.add("scheme", "is one word, for example Bearer");
            }
            if bearer.token.is_none() && bearer.tokens.is_empty() && bearer.filename.is_none() {
                problems.add("token", "is required, or tokens, or filename");
            }
            let numbered = bearer.tokens.iter().enumerate().map(|(i, t)| (format!("tokens[{i}]"), t));
            for (key, token) in bearer.token.iter().map(|t| ("token".to_owned(), t)).chain(numbered) {
                if let Some(problem) = token_problem(token.expose()) {
                    problems.add(&key, problem);
                }
            }
        });
    }
    if let Some(basic) = &config.basic {
        problems.at("basic", |problems| check_basic(basic, problems));
    }
}

fn check_basic(basic: &BasicConfig, problems: &mut Problems) {
    match (&basic.username, &basic.password) {
        (Some(user), Some(password)) => {
            if let Some(problem) = user_problem(user, password.expose()) {
                problems.add("username", problem);
            }
        }
        (Some(_), None) => problems.add("password", "is required for the username"),
        (None, Some(_)) => problems.add("username", "is required for the password"),
        (None, None) if basic.htpasswd.inline.is_none() && basic.htpasswd.file.is_none() => {
            problems.add("username", "is required with password, or htpasswd");
        }
        (None, None) => {}
    }
    if let Some(inline) = &basic.htpasswd.inline
        && let Err(problem) = users(inline.expose())
    {
        problems.add("htpasswd.inline", problem);
    }
}

fn token_problem(token: &str) -> Option<&'static str> {
    if token.is_empty() {
        return Some("is empty: everyone who sends no token would fit (is the variable set?)");
    }
    let sendable = token.bytes().all(|b| b.is_ascii_graphic());
    (!sendable)
        .then_some("has characters that no token can have (is there a space or a line break at its end?)")
}

fn user_problem(user: &str, password: &str) -> Option<&'static str> {
    if user.is_empty() || user.contains(':') {
        return Some("is empty or has a colon");
    }
    if password.is_empty() {
        return Some("has an empty password (is the variable set?)");
    }
    // What `htpasswd` writes. We would take the hash itself for the password.
    let hashed =
        ["$2", "$apr1$", "$1$", "$5$", "$6$", "{SHA}", "{SSHA}"].iter().any(|p| password.starts_with(p));
    hashed
        .then_some("has a hashed password, which is not read; write the password, from a variable or a file")
}

/// `user:password` of each line that is neither empty nor a comment. Errors name the line and nothing of it.
fn users(lines: &str) -> Result<Vec<&str>, String> {
    let mut found = Vec::new();
    for (number, line) in lines.lines().map(str::trim).enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let at = number + 1;
        let (user, password) = line.split_once(':').ok_or(format!("line {at} is not user:password"))?;
        if let Some(problem) = user_problem(user, password) {
            return Err(format!("line {at} {problem}"));
        }
        found.push(line);
    }
    if found.is_empty() { Err("has no line of user:password".to_owned()) } else { Ok(found) }
}

/// What is accepted. Only digests are kept: they have one length, so that comparing them tells nothing about the
/// credential.
struct Accepted {
    /// `None` for `Basic`.
    scheme: Option<String>,
    digest: [u8; 32],
}

/// Asks for a credential before a request is read.
#[derive(Debug)]
pub(super) struct Guard {
    accepted: Watched<Vec<Accepted>>,
    challenge: &'static str,
}

impl Guard {
    /// Reads the files. `setting` is the path of `auth` in the configuration, for errors.
    pub(super) fn new(config: &AuthConfig, setting: &str) -> Result<Guard, BuildError> {
        let challenge = match (&config.bearer, &config.basic) {
            (Some(_), Some(_)) => "Bearer, Basic realm=\"muxbridge\"",
            (None, Some(_)) => "Basic realm=\"muxbridge\"",
            _ => "Bearer",
        };
        let bearer = config.bearer.iter().filter_map(|b| b.filename.clone());
        let files = bearer.chain(config.basic.iter().filter_map(|b| b.htpasswd.file.clone())).collect();
        let (config, setting) = (config.clone(), setting.to_owned());
        let accepted = Watched::new(files, move || accepted(&config, &setting))?;
        Ok(Guard { accepted, challenge })
    }

    /// Whether the request has a credential that is accepted. All are compared, whichever fits.
    pub(super) fn admit(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let refused = Refusal::Unauthenticated(self.challenge);
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return Err(refused) };
        let value = value.as_bytes();
        let space = value.iter().position(|b| *b == b' ').ok_or(refused.clone())?;
        let (scheme, credential) = (&value[..space], value[space..].trim_ascii());
        let is_basic = scheme.eq_ignore_ascii_case(b"basic");
        let presented = if is_basic {
            sha256(&STANDARD.decode(credential).map_err(|_| refused.clone())?)
        } else {
            sha256(credential)
        };
        let mut fits = Choice::from(0);
        for accepted in self.accepted.get().iter() {
            let named = match &accepted.scheme {
                Some(name) => !is_basic && scheme.eq_ignore_ascii_case(name.as_bytes()),
                None => is_basic,
            };
            fits |= accepted.digest.ct_eq(&presented) & Choice::from(u8::from(named));
        }
        if bool::from(fits) { Ok(()) } else { Err(refused) }
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

fn accepted(config: &AuthConfig, setting: &str) -> Result<Vec<Accepted>, BuildError> {
    let mut all = Vec::new();
    if let Some(bearer) = &config.bearer {
        let mut take = |token: &str| {
            all.push(Accepted { scheme: Some(bearer.scheme.clone()), digest: sha256(token.as_bytes()) });
        };
        bearer.token.iter().chain(&bearer.tokens).for_each(|token| take(token.expose()));
        if let Some(file) = &bearer.filename {
            let key = format!("{setting}.bearer.filename");
            let text = read(&key, file)?;
            let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
            let problem = lines.iter().find_map(|token| token_problem(token));
            if let Some(problem) = problem.or(lines.is_empty().then_some("has no token in it")) {
                return Err(unusable(&key, file, problem));
            }
            lines.into_iter().for_each(take);
        }
    }
    if let Some(basic) = &config.basic {
        let mut take = |line: &str| all.push(Accepted { scheme: None, digest: sha256(line.as_bytes()) });
        if let (Some(user), Some(password)) = (&basic.username, &basic.password) {
            take(&format!("{user}:{}", password.expose()));
        }
        if let Some(inline) = &basic.htpasswd.inline {
            users(inline.expose()).map_err(BuildError::new)?.into_iter().for_each(&mut take);
        }
        if let Some(file) = &basic.htpasswd.file {
            let key = format!("{setting}.basic.htpasswd.file");
            let text = read(&key, file)?;
            users(&text).map_err(|p| unusable(&key, file, &p))?.into_iter().for_each(&mut take);
        }
    }
    Ok(all)
}

fn read(key: &str, file: &Path) -> Result<String, BuildError> {
    std::fs::read_to_string(file).map_err(|e| unusable(key, file, &e.to_string()))
}

fn unusable(key: &str, file: &Path, problem: &str) -> BuildError {
    BuildError::new(format!("{key}: cannot use {}: {problem}", file.display()))
}
