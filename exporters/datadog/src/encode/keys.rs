//! The attributes that mean something to Datadog, each found by one look into a table.

/// Declares [`Key`] with the text of each.
macro_rules! keys {
    ($($name:ident $text:literal)*) => {
        /// An attribute that is read, renamed, left out or written by the encoder itself.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(super) enum Key { $($name),* }

        /// All of them, in the order of their numbers.
        pub(super) const ALL: &[(Key, &str)] = &[$((Key::$name, $text)),*];
    };
}

keys! {
    // Read: what a span is follows from these. They come first, because `Values` has room for each of them.
    HttpRequestMethod "http.request.method"
    HttpMethod "http.method"
    HttpStatusCode "http.status_code"
    HttpResponseStatusCode "http.response.status_code"
    HttpRoute "http.route"
    DbSystem "db.system"
    DbStatement "db.statement"
    DbQueryText "db.query.text"
    MessagingSystem "messaging.system"
    MessagingOperation "messaging.operation"
    MessagingDestination "messaging.destination"
    MessagingDestinationName "messaging.destination.name"
    RpcSystem "rpc.system"
    RpcService "rpc.service"
    RpcMethod "rpc.method"
    RpcGrpcStatusCode "rpc.grpc.status_code"
    FaasInvokedProvider "faas.invoked_provider"
    FaasInvokedName "faas.invoked_name"
    FaasTrigger "faas.trigger"
    GraphqlOperationType "graphql.operation.type"
    GraphqlOperationName "graphql.operation.name"
    NetworkProtocolName "network.protocol.name"
    ServiceName "service.name"
    ServiceVersion "service.version"
    OperationName "operation.name"
    ResourceName "resource.name"
    SpanType "span.type"
    SamplingPriority "sampling.priority"
    AnalyticsEvent "analytics.event"
    DeploymentEnvironmentName "deployment.environment.name"
    DeploymentEnvironment "deployment.environment"
    Env "env"
    DdHostname "_dd.hostname"
    SampleRate "_sample_rate"
    ErrorMsg "error.msg"
    ErrorMessage "error.message"
    ErrorType "error.type"
    ErrorStack "error.stack"
    // Renamed.
    ClientAddress "client.address"
    HttpResponseBodySize "http.response.body.size"
    HttpRequestBodySize "http.request.body.size"
    HttpRequestHeaderReferrer "http.request.header.referrer"
    NetworkProtocolVersion "network.protocol.version"
    ServerAddress "server.address"
    UrlFull "url.full"
    UserAgentOriginal "user_agent.original"
    DbNamespace "db.namespace"
    // What they are renamed to.
    HttpClientIp "http.client_ip"
    HttpResponseContentLength "http.response.content_length"
    HttpRequestContentLength "http.request.content_length"
    HttpReferrer "http.referrer"
    HttpVersion "http.version"
    HttpServerName "http.server_name"
    HttpUrl "http.url"
    HttpUseragent "http.useragent"
    DbName "db.name"
    // Written by the encoder.
    DdTid "_dd.p.tid"
    DdDecisionMaker "_dd.p.dm"
    DdAgentRate "_dd.agent_psr"
    SamplingPriorityV1 "_sampling_priority_v1"
    TopLevel "_top_level"
    DdMeasured "_dd.measured"
    DdEventRate "_dd1.sr.eausr"
    DdLlmobsEnabled "dd_llmobs_enabled"
    Version "version"
    SpanKind "span.kind"
    OtelTraceId "otel.trace_id"
    OtelStatusCode "otel.status_code"
    OtelStatusDescription "otel.status_description"
    W3cTracestate "w3c.tracestate"
    OtelScopeName "otel.scope.name"
    OtelLibraryName "otel.library.name"
    OtelScopeVersion "otel.scope.version"
    OtelLibraryVersion "otel.library.version"
    Events "events"
    DdHasException "_dd.span_events.has_exception"
    DdSpanLinks "_dd.span_links"
}

/// How many attributes are read.
pub(super) const READ: usize = Key::ErrorStack as usize + 1;
/// Room for a key as msgpack writes it: a byte of length, at most 31 of text.
pub(super) const WIRE: usize = 32;
/// Every key as msgpack writes it.
static WIRES: [[u8; WIRE]; ALL.len()] = wires();

const fn wires() -> [[u8; WIRE]; ALL.len()] {
    let mut wires = [[0; WIRE]; ALL.len()];
    let mut i = 0;
    while i < ALL.len() {
        let text = ALL[i].1.as_bytes();
        assert!(text.len() < WIRE, "a longer key has another form in msgpack");
        wires[i][0] = 0xa0 | text.len() as u8;
        let mut at = 0;
        while at < text.len() {
            wires[i][at + 1] = text[at];
            at += 1;
        }
        i += 1;
    }
    wires
}

const SLOT_BITS: u32 = 10;
/// Slots of a table of keys.
pub(super) const SLOTS: usize = 1 << SLOT_BITS;
/// A table with the known keys, each where [`slot`] says: its number and one more, or 0.
pub(super) static TABLE: [u16; SLOTS] = table();

const fn table() -> [u16; SLOTS] {
    let mut table = [0; SLOTS];
    let mut i = 0;
    while i < ALL.len() {
        let slot = slot(hash(ALL[i].1.as_bytes()));
        assert!(table[slot] == 0, "two keys in one slot: change the factor of the hash");
        i += 1;
        table[slot] = i as u16;
    }
    table
}

/// Where to look for a key first.
#[inline]
pub(super) const fn slot(hash: u32) -> usize {
    // The upper bits depend on all of the key.
    (hash >> (32 - SLOT_BITS)) as usize
}

/// A number of a key: of its length, its beginning and its end.
#[inline]
pub(super) const fn hash(key: &[u8]) -> u32 {
    let (head, tail) = match (key.first_chunk::<8>(), key.last_chunk::<8>()) {
        (Some(head), Some(tail)) => (u64::from_le_bytes(*head), u64::from_le_bytes(*tail)),
        _ => match (key.first_chunk::<4>(), key.last_chunk::<4>()) {
            (Some(head), Some(tail)) => (u32::from_le_bytes(*head) as u64, u32::from_le_bytes(*tail) as u64),
            _ => match key {
                [] => (0, 0),
                [a] => (*a as u64, 0),
                [a, b, ..] => (*a as u64, *b as u64 | (key[key.len() - 1] as u64) << 8),
            },
        },
    };
    let mixed = head ^ tail.rotate_left(25) ^ (key.len() as u64) << 59;
    (mixed.wrapping_mul(FACTOR) >> 32) as u32
}

/// Odd, and such that no two keys share a slot.
const FACTOR: u64 = 0x8712_b8bc_076f_3787;

/// What becomes of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It became a field of the span.
    Field,
    /// It is written under this name.
    Named(Key),
}

impl Key {
    /// Itself in msgpack, and how many of these bytes that is.
    #[inline]
    pub(super) const fn wire(self) -> (&'static [u8; WIRE], usize) {
        (&WIRES[self as usize], ALL[self as usize].1.len() + 1)
    }

    /// What becomes of the attribute.
    pub(super) const fn role(self) -> Role {
        Role::Named(match self {
            Key::ServiceName
            | Key::OperationName
            | Key::ResourceName
            | Key::SpanType
            | Key::SamplingPriority
            | Key::AnalyticsEvent => return Role::Field,
            Key::ClientAddress => Key::HttpClientIp,
            Key::HttpResponseBodySize => Key::HttpResponseContentLength,
            Key::HttpResponseStatusCode => Key::HttpStatusCode,
            Key::HttpRequestBodySize => Key::HttpRequestContentLength,
            Key::HttpRequestHeaderReferrer => Key::HttpReferrer,
            Key::HttpRequestMethod => Key::HttpMethod,
            Key::NetworkProtocolVersion => Key::HttpVersion,
            Key::ServerAddress => Key::HttpServerName,
            Key::UrlFull => Key::HttpUrl,
            Key::UserAgentOriginal => Key::HttpUseragent,
            Key::DbNamespace => Key::DbName,
            other => other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_written_as_its_text() {
        for (key, text) in ALL {
            let (wire, length) = key.wire();
            assert_eq!(&wire[1..length], text.as_bytes());
        }
    }
}
