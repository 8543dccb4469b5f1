//! User name and password or a token: how they are written, checked and sent.

use super::config::{Authorization, BasicAuth};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use muxbridge_core::config::{Problems, Secret};
use muxbridge_kit::headers;
use std::path::PathBuf;

/// What goes into the header `Authorization`.
#[derive(Clone, Debug)]
pub(super) struct Credential {
    kind: String,
    /// For `Basic`.
    username: Option<String>,
    text: Text,
}

#[derive(Clone, Debug)]
enum Text {
    Here(Secret),
    File(PathBuf),
}

impl Credential {
    /// The header. A file is read anew, because whoever renews the token writes it there.
    ///
    /// # Errors
    /// The file that cannot be read, and why.
    pub(super) async fn header(&self) -> Result<HeaderValue, String> {
        let read;
        let text = match &self.text {
            Text::Here(secret) => secret.expose(),
            Text::File(path) => {
                let shown = path.display();
                read =
                    tokio::fs::read_to_string(path).await.map_err(|e| format!("cannot read {shown}: {e}"))?;
                read.trim()
            }
        };
        let value = match &self.username {
            Some(user) => STANDARD.encode(format!("{user}:{text}")),
            None => text.to_owned(),
        };
        headers::secret_value(&Secret::new(format!("{} {value}", self.kind))).map_err(str::to_owned)
    }
}

/// The only one of those that are written.
pub(super) fn one_credential<const N: usize>(
    all: [Option<(&str, Option<Credential>)>; N],
    problems: &mut Problems,
) -> Option<Credential> {
    let mut written = all.into_iter().flatten();
    let (first, credential) = written.next()?;
    if let Some((second, _)) = written.next() {
        problems.add(second, format!("a request has one Authorization; write either this or {first}"));
    }
    credential
}

/// The credential of a `basic_auth` block.
pub(super) fn basic(config: &BasicAuth, problems: &mut Problems) -> Option<Credential> {
    if config.username.is_empty() {
        problems.add("username", "is required");
    } else if config.username.contains(':') {
        problems.add("username", "must not contain a colon");
    }
    let keys = ("password", "password_file");
    let text = one_text(keys, config.password.as_ref(), config.password_file.as_ref(), problems)?;
    Some(Credential { kind: "Basic".to_owned(), username: Some(config.username.clone()), text })
}

/// The credential of an `authorization` block.
pub(super) fn token(config: &Authorization, problems: &mut Problems) -> Option<Credential> {
    let kind = &config.kind;
    if kind.is_empty() || !kind.bytes().all(|b| b.is_ascii_graphic()) {
        problems.add("type", "is one word, for example Bearer");
    } else if kind.eq_ignore_ascii_case("basic") {
        problems.add("type", "is Basic; write basic_auth: { username, password } instead");
    }
    let keys = ("credentials", "credentials_file");
    let text = one_text(keys, config.credentials.as_ref(), config.credentials_file.as_ref(), problems)?;
    Some(Credential { kind: kind.clone(), username: None, text })
}

/// A token in a key of its own, as older configurations of Prometheus have it.
pub(super) fn bearer(
    key: &str,
    secret: Option<&Secret>,
    path: Option<&PathBuf>,
    problems: &mut Problems,
) -> Option<Credential> {
    let text = one_text((key, ""), secret, path, problems)?;
    Some(Credential { kind: "Bearer".to_owned(), username: None, text })
}

fn one_text(
    (here, file): (&str, &str),
    secret: Option<&Secret>,
    path: Option<&PathBuf>,
    problems: &mut Problems,
) -> Option<Text> {
    match (secret, path) {
        (Some(_), Some(_)) => problems.add(file, format!("write either this or {here}")),
        (None, None) => problems.add(here, format!("is required, or {file}")),
        (Some(secret), None) => {
            // A password may be empty and is encoded; an empty token is a variable that is not set.
            if here == "password" {
                if secret.expose().contains(char::is_control) {
                    problems.add(here, "has a control character (is there a line break at its end?)");
                }
            } else if secret.is_empty() {
                problems.add(here, "is empty");
            } else if let Err(problem) = headers::secret_value(secret) {
                problems.add(here, problem);
            }
            return Some(Text::Here(secret.clone()));
        }
        (None, Some(path)) => return Some(Text::File(path.clone())),
    }
    None
}
