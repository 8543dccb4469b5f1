//! Tags: which attributes become tags, and what a tag may look like.

use super::host::resource_host;
use super::value::as_text;
use super::{Counts, Dialect, HostPolicy, Options};
use muxbridge_pdata::view::{KeyValue, Repeated, Resource, text};

/// Resource attributes that have a standard tag. The first of several for the same tag wins.
const RESOURCE_TAGS: &[(&str, &str)] = &[
    ("service.name", "service"),
    ("service.version", "version"),
    ("deployment.environment.name", "env"),
    ("deployment.environment", "env"),
    ("container.id", "container_id"),
    ("container.name", "container_name"),
    ("container.image.name", "image_name"),
    ("container.image.tag", "image_tag"),
    ("cloud.provider", "cloud_provider"),
    ("cloud.region", "region"),
    ("cloud.availability_zone", "zone"),
    ("aws.ecs.task.family", "task_family"),
    ("aws.ecs.task.arn", "task_arn"),
    ("aws.ecs.task.revision", "task_version"),
    ("aws.ecs.cluster.arn", "ecs_cluster_name"),
    ("aws.ecs.container.arn", "ecs_container_name"),
    ("k8s.pod.name", "pod_name"),
    ("k8s.namespace.name", "kube_namespace"),
    ("k8s.deployment.name", "kube_deployment"),
    ("k8s.cluster.name", "kube_cluster_name"),
    ("k8s.container.name", "kube_container_name"),
    ("k8s.replicaset.name", "kube_replica_set"),
    ("k8s.statefulset.name", "kube_stateful_set"),
    ("k8s.daemonset.name", "kube_daemon_set"),
    ("k8s.job.name", "kube_job"),
    ("k8s.cronjob.name", "kube_cronjob"),
    ("tags.datadoghq.com/service", "service"),
    ("tags.datadoghq.com/version", "version"),
    ("tags.datadoghq.com/env", "env"),
    ("app.kubernetes.io/name", "kube_app_name"),
    ("app.kubernetes.io/instance", "kube_app_instance"),
    ("app.kubernetes.io/version", "kube_app_version"),
    ("app.kubernetes.io/component", "kube_app_component"),
    ("app.kubernetes.io/part-of", "kube_app_part_of"),
    ("app.kubernetes.io/managed-by", "kube_app_managed_by"),
];

/// Attributes whose rest of the name is the tag.
const CONTAINER_TAG: &str = "datadog.container.tag.";
/// Tags with this prefix steer the Agent; telemetry must not.
const RESERVED: &str = "dd.internal.";
/// The longest tag that Datadog keeps, in characters.
const MAX_TAG: usize = 200;
/// The longest key, so that something is left for the value.
const MAX_KEY: usize = 100;

/// One tag, ready to be written.
#[derive(Clone, Debug)]
struct Tag {
    text: String,
    key: usize,
}

impl Tag {
    fn key(&self) -> &str {
        &self.text[..self.key]
    }
}

/// The tags of one point, as they stand in a line.
#[derive(Clone, Debug, Default)]
pub(super) struct Tags {
    constant: Vec<Tag>,
    resource: Vec<Tag>,
    /// The tags of the resource and the constant ones that it leaves, as they follow those of a point.
    shared: String,
    /// The first bytes of the keys in `shared`, each a bit: most keys of points begin with another one.
    first: u128,
    /// Where the keys of the current point stand in `text`.
    keys: Vec<(usize, usize)>,
    /// All tags of the current point, separated as the dialect wants it.
    pub(super) text: String,
}

impl Tags {
    pub(super) fn new(options: &Options, counts: &mut Counts) -> Self {
        let constant =
            options.constant_tags.iter().filter_map(|(k, v)| tag(options.dialect, k, v, counts)).collect();
        let mut tags = Tags { constant, ..Default::default() };
        tags.share(options.dialect);
        tags
    }

    /// The tags that are the same for all points: those of the resource, then the constant ones.
    fn all_shared(&self) -> impl Iterator<Item = &Tag> {
        let left = |tag: &&Tag| !self.resource.iter().any(|t| t.key() == tag.key());
        self.resource.iter().chain(self.constant.iter().filter(left))
    }

    fn share(&mut self, dialect: Dialect) {
        let (mut shared, mut first) = (String::new(), 0);
        for tag in self.all_shared() {
            if !shared.is_empty() {
                separate(dialect, &mut shared);
            }
            shared.push_str(&tag.text);
            first |= first_bit(tag.key().as_bytes());
        }
        (self.shared, self.first) = (shared, first);
    }

    pub(super) fn resource(&mut self, resource: &Resource<'_>, options: &Options, counts: &mut Counts) {
        self.resource.clear();
        let mut add = |key: &str, value: &str, counts: &mut Counts| {
            if let Some(tag) = tag(options.dialect, key, value, counts)
                && !self.resource.iter().any(|t| t.key() == tag.key())
            {
                self.resource.push(tag);
            }
        };
        for (attribute, key) in RESOURCE_TAGS {
            if let Some(value) = resource.attribute(attribute.as_bytes()) {
                add(key, &as_text(&value), counts);
            }
        }
        for kv in resource.attributes() {
            let key = text(kv.key);
            if let Some(key) = key.strip_prefix(CONTAINER_TAG) {
                add(key, &as_text(&kv.value), counts);
            } else if options.resource_attributes_as_tags
                && !RESOURCE_TAGS.iter().any(|(attribute, _)| *attribute == key)
            {
                add(key, &as_text(&kv.value), counts);
            }
        }
        if options.dialect == Dialect::Dogstatsd {
            match options.host {
                HostPolicy::Agent => {}
                // An empty host is how a metric says that it belongs to none.
                HostPolicy::None => self.resource.push(Tag { text: "host:".to_owned(), key: 4 }),
                HostPolicy::Resource => {
                    if let Some(host) = resource_host(resource) {
                        self.resource.extend(tag(options.dialect, "host", &host, counts));
                    }
                }
            }
        }
        self.share(options.dialect);
    }

    /// Renders the tags of a point: its own, then those of the resource, then the constant ones. The first of several
    /// with the same key wins.
    pub(super) fn point(
        &mut self,
        attributes: Repeated<'_, KeyValue<'_>>,
        options: &Options,
        counts: &mut Counts,
    ) {
        self.text.clear();
        self.keys.clear();
        let dialect = options.dialect;
        let mut first = 0;
        for kv in attributes {
            let key = text(kv.key);
            let allowed = options.tags_allow.is_empty() || options.tags_allow.iter().any(|k| k == key);
            if !allowed || options.tags_deny.iter().any(|k| k == key) {
                continue;
            }
            let before = self.text.len();
            separate(dialect, &mut self.text);
            let start = self.text.len();
            let written = write_tag(dialect, &mut self.text, key, &as_text(&kv.value), counts);
            let new = written.filter(|end| !self.has(&self.text[start..*end]));
            match new {
                Some(end) => {
                    first |= first_bit(&self.text.as_bytes()[start..end]);
                    self.keys.push((start, end));
                }
                None => self.text.truncate(before),
            }
        }
        if first & self.first == 0 {
            if !self.shared.is_empty() {
                append(dialect, &mut self.text, &self.shared);
            }
            return;
        }
        let mut all = std::mem::take(&mut self.text);
        let of_point = all.len();
        let has = |all: &str, key: &str| self.keys.iter().any(|(from, to)| &all[*from..*to] == key);
        for tag in self.all_shared() {
            if !has(&all[..of_point], tag.key()) {
                append(dialect, &mut all, &tag.text);
            }
        }
        self.text = all;
    }

    /// Whether the point has a tag of this key already.
    fn has(&self, key: &str) -> bool {
        self.keys.iter().any(|(from, to)| &self.text[*from..*to] == key)
    }
}

/// A bit for the first byte of a key.
fn first_bit(key: &[u8]) -> u128 {
    key.first().map_or(0, |byte| 1 << (byte & 0x7f))
}

/// The tags of a resource, then the constant ones, each as the dialect writes it.
pub fn resource_tags(resource: &Resource<'_>, options: &Options) -> Vec<String> {
    let mut counts = Counts::default();
    let mut tags = Tags::new(options, &mut counts);
    tags.resource(resource, options, &mut counts);
    tags.all_shared().filter(|t| t.key() != "host").map(|t| t.text.clone()).collect()
}

/// Appends one more rendered tag to the rendered tags of a line.
pub(super) fn append(dialect: Dialect, tags: &mut String, tag: &str) {
    separate(dialect, tags);
    tags.push_str(tag);
}

fn separate(dialect: Dialect, tags: &mut String) {
    match dialect {
        Dialect::Dogstatsd | Dialect::Etsy => {
            if !tags.is_empty() {
                tags.push(',');
            }
        }
        Dialect::Graphite => tags.push(';'),
        Dialect::Influx => tags.push(','),
    }
}

/// The character between the key and the value of a tag.
pub(super) fn assign(dialect: Dialect) -> char {
    match dialect {
        Dialect::Dogstatsd | Dialect::Etsy => ':',
        Dialect::Graphite | Dialect::Influx => '=',
    }
}

/// A tag with everything replaced that would break a line; `None` if nothing of the key is left.
fn tag(dialect: Dialect, key: &str, value: &str, counts: &mut Counts) -> Option<Tag> {
    let mut text = String::with_capacity(key.len() + value.len() + 1);
    let key = write_tag(dialect, &mut text, key, value, counts)?;
    Some(Tag { text, key })
}

/// Appends a tag; where its key ends. What it wrote of a tag that is `None` is for the caller to take back.
fn write_tag(
    dialect: Dialect,
    out: &mut String,
    key: &str,
    value: &str,
    counts: &mut Counts,
) -> Option<usize> {
    let colon = assign(dialect) == ':';
    let start = out.len();
    let trimmed = key.trim_start_matches(|c: char| !c.is_alphabetic());
    // A colon in the key would end it.
    let key_length = clean(out, trimmed, MAX_KEY, false);
    if key_length == 0 || out[start..].starts_with(RESERVED) {
        counts.adjusted_tags += 1;
        return None;
    }
    let key_end = out.len();
    let mut adjusted = out[start..] != *key;
    out.push(assign(dialect));
    clean(out, value, MAX_TAG - 1 - key_length, colon);
    while out.len() > key_end + 1 && out.ends_with(':') {
        out.pop();
    }
    adjusted |= out[key_end + 1..] != *value;
    if out.len() == key_end + 1 {
        out.push_str("n/a");
        adjusted = true;
    }
    counts.adjusted_tags += u64::from(adjusted);
    Some(key_end)
}

/// Appends `raw` with each run of characters that a tag cannot hold as one underscore, up to `max` characters. How many
/// it appended.
fn clean(out: &mut String, raw: &str, max: usize, colon: bool) -> usize {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/');
    if raw.len() <= max && raw.bytes().all(|byte| plain(byte) || (colon && byte == b':')) {
        out.push_str(raw);
        return raw.len();
    }
    let mut replaced = false;
    let mut written = 0;
    for c in raw.chars() {
        if written == max {
            break;
        }
        let keep = c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/') || (colon && c == ':');
        if keep || !replaced {
            out.push(if keep { c } else { '_' });
            written += 1;
        }
        replaced = !keep;
    }
    written
}
