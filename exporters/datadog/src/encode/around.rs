//! What spans share: their resource and their scope, rendered once for all of them.

use super::Options;
use super::attributes::{Attribute, Attributes, Values};
use super::dictionary::Dictionary;
use super::keys::Key;
use super::maps::{Map, Maps};
use super::normalize::{normalize_service, normalize_tag_value};
use muxbridge_exporter_statsd::encode::host::resource_host;
use muxbridge_pdata::view::{Resource, Scope, text};

/// The service of spans that name none.
const NO_SERVICE: &str = "otlpresourcenoservicename";

/// A resource.
pub(super) struct ResourceEntry<'a> {
    /// As it came.
    pub(super) raw: &'a [u8],
    /// What is read of it.
    pub(super) values: Values<'a>,
    /// All of it, for a span that has some of the same keys.
    pub(super) attributes: Vec<Attribute<'a>>,
    /// All of it, rendered.
    pub(super) maps: Maps,
    /// How many of its attributes are left out as content.
    pub(super) content: u64,
    pub(super) host: Option<String>,
    /// The service of spans that name none of their own, and whether it was changed to fit.
    pub(super) service: (String, bool),
    /// The environment and the version of such spans, rendered.
    pub(super) unified: Map,
}

impl<'a> ResourceEntry<'a> {
    pub(super) fn read(resource: &Resource<'a>, options: &Options, keys: &mut Dictionary<'a>) -> Self {
        let attributes: Vec<_> = resource.attributes().map(|kv| Attribute::of(&kv, keys)).collect();
        let (mut values, mut maps) = (Values::default(), Maps::default());
        let mut content = 0;
        for attribute in &attributes {
            values.keep(attribute);
            content += u64::from(attribute.write(&mut maps, keys));
        }
        let (own, mut rendered) = (Values::default(), Map::default());
        let all = Attributes { span: &own, resource: &values };
        unified(&mut rendered, &all, options);
        let service = all.text(&[Key::ServiceName]);
        ResourceEntry {
            raw: resource.raw(),
            service: normal_service(service.as_deref()),
            host: resource_host(resource),
            unified: rendered,
            values,
            attributes,
            maps,
            content,
        }
    }
}

/// A scope.
pub(super) struct ScopeEntry<'a> {
    /// As it came.
    pub(super) raw: &'a [u8],
    pub(super) attributes: Vec<Attribute<'a>>,
    /// Its name and version, rendered.
    pub(super) names: Map,
}

impl<'a> ScopeEntry<'a> {
    pub(super) fn read(scope: &Scope<'a>, keys: &mut Dictionary<'a>) -> Self {
        let mut names = Map::default();
        // The library.* names are those before OpenTelemetry called it a scope; dashboards still use them.
        for (key, value) in [
            (Key::OtelScopeName, scope.name),
            (Key::OtelLibraryName, scope.name),
            (Key::OtelScopeVersion, scope.version),
            (Key::OtelLibraryVersion, scope.version),
        ] {
            if !value.is_empty() {
                names.text(key, value);
            }
        }
        ScopeEntry {
            raw: scope.raw(),
            attributes: scope.attributes().map(|kv| Attribute::of(&kv, keys)).collect(),
            names,
        }
    }
}

/// A service as Datadog spells it, and whether that is another spelling.
pub(super) fn normal_service(stated: Option<&[u8]>) -> (String, bool) {
    let service = stated.map_or(NO_SERVICE, text);
    let normal = normalize_service(service);
    let adjusted = normal != service;
    (normal, adjusted)
}

/// The environment of a span; empty for none.
pub(super) fn env_of(attributes: &Attributes<'_, '_>, options: &Options) -> String {
    let env = attributes.text(&[Key::DeploymentEnvironmentName, Key::DeploymentEnvironment, Key::Env]);
    normalize_tag_value(env.as_deref().map_or(&options.env, text))
}

/// Adds the environment and the version: with the service they are what Datadog ties telemetry together by.
pub(super) fn unified(meta: &mut Map, attributes: &Attributes<'_, '_>, options: &Options) {
    let env = env_of(attributes, options);
    if !env.is_empty() {
        meta.text(Key::Env, env.as_bytes());
    }
    if let Some(version) = attributes.text(&[Key::ServiceVersion]) {
        meta.text(Key::Version, &version);
    }
}
