//! Attribute keys that name a credential.

/// Names whose value is a credential, in lower case with `_` for `-`. Each contains one of the anchors of the scan or
/// is one, so that the scan over the raw batch finds it.
pub(super) const CREDENTIALS: &[&str] = &[
    "access_token",
    "api_key",
    "api_token",
    "apikey",
    "application_key",
    "auth_token",
    "authorization",
    "aws_secret_access_key",
    "client_secret",
    "cookie",
    "dd_api_key",
    "dd_application_key",
    "id_token",
    "license_key",
    "new_relic_license_key",
    "passwd",
    "password",
    "private_key",
    "proxy_authorization",
    "refresh_token",
    "secret",
    "secret_access_key",
    "secret_key",
    "session_token",
    "set_cookie",
    "x_api_key",
    "x_goog_api_key",
];

/// Whether an attribute key says that its value is a credential: `api_key`, `x-api-key`,
/// `http.request.header.authorization`. Only the last part of a dotted key counts, and it must be the whole part, so
/// that `route.model_key`, `gen_ai.usage.input_tokens` and `password_policy` are none.
pub(super) fn is_credential(key: &[u8]) -> bool {
    let last = key.rsplit(|b| *b == b'.').next().unwrap_or(key);
    CREDENTIALS.iter().any(|name| same(last, name.as_bytes())) || key.eq_ignore_ascii_case(b"token")
}

fn same(key: &[u8], name: &[u8]) -> bool {
    key.len() == name.len()
        && key.iter().zip(name).all(|(k, n)| match k {
            b'-' => *n == b'_',
            k => k.to_ascii_lowercase() == *n,
        })
}
