//! The address of a page, and the addresses that are never connected to.

use http::Uri;
use std::net::{IpAddr, Ipv6Addr};

/// The path of ModelMuxer's page: for a URL that has none.
pub(super) const MODELMUXER_PATH: &str = "/metrics/prometheus";

/// Where a page is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) https: bool,
    /// Without the brackets of an IPv6 address.
    pub(super) host: String,
    pub(super) port: u16,
    /// With the query.
    pub(super) path: String,
}

impl Endpoint {
    /// Reads an `http://` or `https://` URL; `path` is for one without.
    ///
    /// # Errors
    /// What is wrong with it and what to write instead; never with user information, which may be a password.
    pub(super) fn parse(text: &str, path: &str) -> Result<Endpoint, String> {
        let shown = if text.contains('@') { "the URL".to_owned() } else { format!("{text:?}") };
        if text.is_empty() {
            return Err(format!("is required; write for example http://127.0.0.1:8000{MODELMUXER_PATH}"));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(format!("{shown} has no scheme; write http:// or https:// before it"));
        };
        if !["http", "https"].contains(&scheme) {
            return Err(format!("{shown} is neither http:// nor https://"));
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(
                "has a user or password in the URL; write basic_auth: { username, password }".to_owned()
            );
        }
        let uri: Uri = text.parse().map_err(|e| format!("{shown} is not a URL: {e}"))?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err(format!("{shown} names no host"));
        }
        let https = scheme == "https";
        let after_host = &authority[authority.rfind([':', ']']).unwrap_or(authority.len())..];
        let port = match after_host.strip_prefix(':') {
            // The URI parser takes anything here.
            Some(port) => match port.parse::<u16>() {
                Ok(port) if port > 0 => port,
                _ => return Err(format!("{shown} has no port number after the colon")),
            },
            None if https => 443,
            None => 80,
        };
        let path = match uri.path_and_query().map(ToString::to_string) {
            Some(own) if uri.path() != "/" => own,
            _ => format!("{path}{}", uri.query().map(|q| format!("?{q}")).unwrap_or_default()),
        };
        if let Some(problem) = host.parse().ok().and_then(forbidden) {
            return Err(format!("{shown} {problem}"));
        }
        Ok(Endpoint { https, host, port, path })
    }

    pub(super) fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// `host:port`.
    pub(super) fn instance(&self) -> String {
        let Endpoint { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// The URL without the query, which may hold a credential.
    pub(super) fn printable(&self) -> String {
        let path = self.path.split('?').next().unwrap_or_default();
        format!("{}://{}{path}", self.scheme(), self.instance())
    }

    /// Whether it is this machine by its name.
    pub(super) fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

/// Why an address is never connected to: no page is there, but the credentials of a cloud machine may be.
pub(super) fn forbidden(address: IpAddr) -> Option<&'static str> {
    const EC2_METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    match address.to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => Some("is no address to connect to; write 127.0.0.1"),
        IpAddr::V4(ip) if ip.is_link_local() => {
            Some("is a link-local address (cloud metadata), which is never scraped")
        }
        IpAddr::V4(ip) if ip.is_multicast() || ip.is_broadcast() => {
            Some("is a multicast or broadcast address")
        }
        IpAddr::V6(ip) if ip.is_unspecified() => Some("is no address to connect to; write [::1]"),
        IpAddr::V6(ip) if ip.is_unicast_link_local() || ip == EC2_METADATA => {
            Some("is a link-local address (cloud metadata), which is never scraped")
        }
        IpAddr::V6(ip) if ip.is_multicast() => Some("is a multicast address"),
        _ => None,
    }
}

/// Where a redirect leads, without user information and query.
pub(super) fn printable_location(location: &str) -> String {
    let bare = location.split(['?', '#']).next().unwrap_or_default();
    let shown = match bare.split_once("//") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}//{host}{path}")
        }
        None => bare.to_owned(),
    };
    shown.chars().filter(|c| !c.is_control()).take(200).collect()
}
