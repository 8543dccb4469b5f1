//! The translation of ModelMuxer's metrics as data: one row for each family that its page exposes.

use super::options::MetricOptions;
use crate::translate::explain::Rule;
use crate::translate::profile::Profile;

/// What is known of a family at the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It counts what it says, after the repairs of its targets.
    Live,
    /// Declared, and nothing ever increments it.
    Dead,
    /// Nothing ever sets it, and it shows a constant 0 that looks like data.
    FakeZero,
}

/// What a family is on the page. One of another kind is none of ModelMuxer's and passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A monotonic sum.
    Counter,
    /// The current value.
    Gauge,
    /// A histogram with explicit bounds.
    Histogram,
}

/// What a target metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instrument {
    /// A monotonic sum.
    Counter,
    /// A sum that also falls.
    UpDownCounter,
    /// The current value.
    Gauge,
    /// A histogram with explicit bounds.
    Histogram,
}

/// What becomes of the values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// They stay.
    Keep,
    /// Milliseconds become seconds: sums, bounds, extremes and exemplars.
    MillisToSeconds,
    /// As `MillisToSeconds` and without buckets, unless the values prove to be seconds already.
    LatencyRepair,
    /// Estimated US dollars, times the option `price_correction`.
    Price,
    /// A start time becomes the time since then.
    Uptime,
    /// A count of tokens becomes a histogram without buckets: its sum, and the number of successful calls as its count.
    TokensPerCall,
}

/// When a target is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Always.
    Always,
    /// With the option `candidates`.
    Candidates,
    /// With the option `token_usage`, in profiles up to 1.41.
    TokenUsage,
    /// Only in the profile `genai_next`.
    Next,
}

/// Which points of the source a target is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Only {
    /// All.
    All,
    /// Those whose label has this value.
    Where(&'static str, &'static str),
}

/// What becomes of a label. Labels that no conversion names are kept as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Convert {
    /// A new name: from, to.
    As(&'static str, &'static str),
    /// It is left out.
    Drop(&'static str),
    /// `method` -> `http.request.method`, unknown ones `_OTHER`.
    Method,
    /// `route`, a raw path -> `http.route`, a known route or `_unmatched`.
    Route,
    /// `status` -> `http.response.status_code` as an integer, and `error.type` from 500 on.
    Status,
    /// `provider` -> `gen_ai.provider.name` (`gen_ai.system` up to 1.36).
    Provider,
    /// As `Provider`, and `gen_ai.operation.name`.
    ProviderOperation,
    /// `model`, `from_model` or `to_model`, written `provider:model` -> the two attributes.
    Split(&'static str, &'static str, &'static str),
    /// Text -> boolean: from, to.
    Bool(&'static str, &'static str),
    /// Text -> integer: from, to.
    Int(&'static str, &'static str),
    /// `outcome` -> `modelmuxer.outcome`, and `error.type` unless it is `success`.
    Outcome,
    /// `type` of a policy violation -> `modelmuxer.policy.reason` with its underscore back.
    Violation,
    /// `pii_type` -> `modelmuxer.policy.pii_type`, and how far its pattern can be trusted.
    Pii,
}

/// One metric that is made from a family.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Its name in the profile `genai_next`, where it differs.
    pub next_name: Option<&'static str>,
    /// Its UCUM unit.
    pub unit: &'static str,
    /// What it is.
    pub instrument: Instrument,
    /// What becomes of the values.
    pub scale: Scale,
    /// When it is made.
    pub when: When,
    /// From which points.
    pub only: Only,
    /// What becomes of the labels.
    pub attributes: &'static [Convert],
    /// Attributes that every point gets.
    pub constants: &'static [(&'static str, &'static str)],
    /// Whether every point gets `url.scheme`.
    pub scheme: bool,
    /// The rule that makes it, if the points of the family are also sent otherwise.
    pub derived: Option<Rule>,
    /// The description that is sent along.
    pub description: &'static str,
}

impl Target {
    /// Its name in one profile.
    pub const fn name_in(&self, profile: Profile) -> &'static str {
        match (profile, self.next_name) {
            (Profile::GenaiNext, Some(name)) => name,
            _ => self.name,
        }
    }

    /// Whether it is made.
    pub const fn is_on(&self, options: &MetricOptions, profile: Profile) -> bool {
        let next = matches!(profile, Profile::GenaiNext);
        match self.when {
            When::Always => true,
            When::Candidates => options.candidates,
            When::TokenUsage => options.token_usage && !next,
            When::Next => next,
        }
    }
}

/// One family of ModelMuxer's page.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name as exposed.
    pub source: &'static str,
    /// What it is on the page.
    pub kind: Kind,
    /// What is known of it.
    pub state: State,
    /// Whether it is also passed on under its own name.
    pub keep: bool,
    /// Whether it is only translated with the option `process`, and passes as it is without it.
    pub process: bool,
    /// Why points are left out of which no target is made.
    pub otherwise: Option<Rule>,
    /// What is made from it.
    pub targets: &'static [Target],
    /// What a reader should know.
    pub note: &'static str,
}

/// The row of a family.
pub fn row(source: &[u8]) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.source.as_bytes() == source)
}

const BASE: Target = Target {
    name: "",
    next_name: None,
    unit: "",
    instrument: Instrument::Counter,
    scale: Scale::Keep,
    when: When::Always,
    only: Only::All,
    attributes: &[],
    constants: &[],
    scheme: false,
    derived: None,
    description: "",
};

const ROW: Row = Row {
    source: "",
    kind: Kind::Counter,
    state: State::Live,
    keep: false,
    process: false,
    otherwise: None,
    targets: &[],
    note: "",
};

const fn live(kind: Kind, source: &'static str, targets: &'static [Target], note: &'static str) -> Row {
    Row { source, kind, targets, note, ..ROW }
}

const fn dead(kind: Kind, source: &'static str, note: &'static str) -> Row {
    Row { source, kind, state: State::Dead, otherwise: Some(Rule::DeadMetric), note, ..ROW }
}

const fn fake_zero(source: &'static str, note: &'static str) -> Row {
    Row { source, kind: Kind::Gauge, state: State::FakeZero, otherwise: Some(Rule::FakeZero), note, ..ROW }
}

const fn process_row(kind: Kind, source: &'static str, targets: &'static [Target]) -> Row {
    Row { source, kind, process: true, targets, ..ROW }
}

const ROUTE_NAME: Convert = Convert::As("route", "modelmuxer.route.name");
const MODEL: Convert = Convert::As("model", "gen_ai.request.model");
const CANDIDATE: &[Convert] = &[
    ROUTE_NAME,
    Convert::Split("model", "gen_ai.provider.name", "gen_ai.request.model"),
    Convert::Bool("within_budget", "modelmuxer.budget.within"),
];

/// Every family that ModelMuxer's page has, in the order of the page.
pub const ROWS: &[Row] = &[
    live(
        Kind::Counter,
        "http_requests_total",
        &[
            Target {
                name: "modelmuxer.http.requests",
                unit: "{request}",
                attributes: &[Convert::Method, Convert::Route, Convert::Status],
                description: "HTTP requests by status, which the duration histogram does not have.",
                ..BASE
            },
            Target {
                name: "modelmuxer.budget.rejections",
                unit: "{request}",
                only: Only::Where("status", "402"),
                attributes: &[Convert::Drop("method"), Convert::Route, Convert::Drop("status")],
                derived: Some(Rule::BudgetRejections),
                description: "Requests that were rejected because of the budget, counted by their HTTP status 402.",
                ..BASE
            },
        ],
        "The label route is the raw path. Scrapes and health checks are included. A 413 is counted although the client gets a dropped connection.",
    ),
    live(
        Kind::Histogram,
        "http_request_duration_milliseconds",
        &[
            Target {
                name: "http.server.request.duration",
                unit: "s",
                instrument: Instrument::Histogram,
                scale: Scale::MillisToSeconds,
                scheme: true,
                attributes: &[Convert::Method, Convert::Route],
                description: "Duration of HTTP requests up to the response headers.",
                ..BASE
            },
            Target {
                name: "modelmuxer.http.time_to_headers",
                unit: "s",
                instrument: Instrument::Histogram,
                scale: Scale::MillisToSeconds,
                only: Only::Where("route", "/v1/chat/completions"),
                attributes: &[Convert::Method, Convert::Route],
                derived: Some(Rule::TimeToHeaders),
                description: "Time to the response headers of chat completions; the body of a stream comes after it.",
                ..BASE
            },
        ],
        "Time to response headers. No status label.",
    ),
    dead(Kind::Counter, "modelmuxer_requests_total", "Use the count of http.server.request.duration."),
    dead(Kind::Histogram, "modelmuxer_request_duration_seconds", "Use http.server.request.duration."),
    live(
        Kind::Counter,
        "modelmuxer_router_requests_total",
        &[Target {
            name: "modelmuxer.router.decisions",
            unit: "{decision}",
            attributes: &[ROUTE_NAME],
            constants: &[("modelmuxer.route.kind", "auto")],
            description: "Requests for which the router chose the model.",
            ..BASE
        }],
        "Requests that name a model are not counted.",
    ),
    live(
        Kind::Histogram,
        "modelmuxer_router_decision_latency_ms",
        &[Target {
            name: "modelmuxer.router.decision.duration",
            unit: "s",
            instrument: Instrument::Histogram,
            scale: Scale::MillisToSeconds,
            attributes: &[ROUTE_NAME],
            description: "Duration of routing decisions that did not fail on the budget.",
            ..BASE
        }],
        "Decisions that fail on the budget are not observed.",
    ),
    live(
        Kind::Counter,
        "modelmuxer_router_fallbacks_total",
        &[Target {
            name: "modelmuxer.router.rejections",
            unit: "{request}",
            attributes: &[ROUTE_NAME, Convert::As("reason", "error.type")],
            description: "Requests that the router rejected, by reason.",
            ..BASE
        }],
        "Called fallbacks at the source, but ModelMuxer has none: each one is a rejected request.",
    ),
    live(
        Kind::Counter,
        "modelmuxer_router_intent_total",
        &[Target {
            name: "modelmuxer.router.intents",
            unit: "{request}",
            attributes: &[Convert::As("label", "modelmuxer.route.intent.label")],
            description: "Chat requests by the intent that was found in them.",
            ..BASE
        }],
        "Counts requests that name a model too: the best count of LLM requests.",
    ),
    Row {
        otherwise: Some(Rule::Candidates),
        ..live(
            Kind::Counter,
            "modelmuxer_router_cost_estimate_usd_sum_total",
            &[Target {
                name: "modelmuxer.router.candidate_cost",
                unit: "{USD}",
                scale: Scale::Price,
                when: When::Candidates,
                attributes: CANDIDATE,
                constants: &[("modelmuxer.cost.source", "estimate")],
                description: "Estimated cost of every candidate of every decision; this is no spend.",
                ..BASE
            }],
            "Sums over all candidates, and 1000 times too high.",
        )
    },
    Row {
        otherwise: Some(Rule::Candidates),
        ..live(
            Kind::Histogram,
            "modelmuxer_router_eta_ms_bucket",
            &[Target {
                name: "modelmuxer.router.candidate_eta",
                unit: "s",
                instrument: Instrument::Histogram,
                scale: Scale::MillisToSeconds,
                when: When::Candidates,
                attributes: CANDIDATE,
                description: "Expected latency of every affordable candidate of every decision.",
                ..BASE
            }],
            "The name ends in _bucket, so that its series end in _bucket_bucket. Constant in basic mode.",
        )
    },
    Row {
        otherwise: Some(Rule::DoubleCount),
        ..live(
            Kind::Counter,
            "modelmuxer_router_budget_exceeded_total",
            &[Target {
                name: "modelmuxer.router.candidates.rejected",
                unit: "{model}",
                only: Only::Where("reason", "pre_gate_exceeded"),
                attributes: &[ROUTE_NAME, Convert::Drop("reason")],
                description: "Candidate models that were over the budget.",
                ..BASE
            }],
            "Mixes three scales: pre_gate_exceeded counts candidates; budget_exceeded counts an automatically routed rejection twice and one of a named model once; no_pricing counts the same request once more. Requests are counted by modelmuxer.budget.rejections instead.",
        )
    },
    live(
        Kind::Counter,
        "modelmuxer_router_down_route_total",
        &[Target {
            name: "modelmuxer.router.downroutes",
            unit: "{request}",
            attributes: &[
                ROUTE_NAME,
                Convert::Split("from_model", "modelmuxer.route.from.provider", "modelmuxer.route.from.model"),
                Convert::Split("to_model", "modelmuxer.route.to.provider", "modelmuxer.route.to.model"),
            ],
            description: "Decisions for a cheaper model than the preferred one.",
            ..BASE
        }],
        "Fires on every success whose first preference is not the cheapest, not only under budget pressure.",
    ),
    live(
        Kind::Counter,
        "modelmuxer_router_unpriced_models_skipped_total",
        &[Target {
            name: "modelmuxer.router.candidates.unpriced",
            unit: "{model}",
            attributes: &[ROUTE_NAME],
            description: "Candidate models that were skipped because they have no price.",
            ..BASE
        }],
        "",
    ),
    live(
        Kind::Counter,
        "modelmuxer_router_selected_cost_estimate_usd_sum_total",
        &[Target {
            name: "modelmuxer.cost.estimated",
            unit: "{USD}",
            scale: Scale::Price,
            attributes: CANDIDATE,
            constants: &[("modelmuxer.cost.source", "estimate")],
            description: "Estimated cost of the models that the router chose, before the calls.",
            ..BASE
        }],
        "1000 times too high. Automatically routed requests only; also counted when the call fails later.",
    ),
    live(
        Kind::Counter,
        "modelmuxer_provider_requests_total",
        &[Target {
            name: "modelmuxer.provider.requests",
            unit: "{request}",
            attributes: &[Convert::Provider, MODEL, Convert::Outcome],
            description: "Calls to providers by outcome; retries are part of their call.",
            ..BASE
        }],
        "Calls whose client went away are not counted.",
    ),
    live(
        Kind::Histogram,
        "modelmuxer_provider_latency_seconds",
        &[Target {
            name: "gen_ai.client.operation.duration",
            next_name: Some("gen_ai.client.inference.duration"),
            unit: "s",
            instrument: Instrument::Histogram,
            scale: Scale::LatencyRepair,
            attributes: &[Convert::ProviderOperation, MODEL],
            description: "Duration of calls to providers, retries included.",
            ..BASE
        }],
        "Holds milliseconds in buckets made for seconds: count and sum are right after division, the buckets are not usable.",
    ),
    dead(Kind::Counter, "modelmuxer_provider_errors_total", "Error types are in the spans."),
    dead(Kind::Counter, "modelmuxer_cache_hits_total", "There is no cache."),
    dead(Kind::Counter, "modelmuxer_cache_misses_total", "There is no cache."),
    fake_zero("modelmuxer_active_connections", "Never set."),
    fake_zero("modelmuxer_memory_usage_bytes", "Never set: use process.memory.usage."),
    fake_zero("modelmuxer_health_check_status", "Never set."),
    dead(
        Kind::Counter,
        "modelmuxer_cost_total_usd_total",
        "Never incremented: cost follows from tokens and prices.",
    ),
    live(
        Kind::Counter,
        "modelmuxer_tokens_total",
        &[
            Target {
                name: "modelmuxer.tokens",
                unit: "{token}",
                attributes: &[Convert::Provider, MODEL, Convert::As("type", "gen_ai.token.type")],
                description: "Tokens as providers reported them, of calls that were not streamed and succeeded.",
                ..BASE
            },
            Target {
                name: "gen_ai.client.token.usage",
                unit: "{token}",
                instrument: Instrument::Histogram,
                scale: Scale::TokensPerCall,
                when: When::TokenUsage,
                attributes: &[Convert::ProviderOperation, MODEL, Convert::As("type", "gen_ai.token.type")],
                derived: Some(Rule::TokenUsage),
                description: "Tokens used: the sum is exact, the count is that of all successful calls, streams included.",
                ..BASE
            },
            Target {
                name: "gen_ai.client.inference.usage.input_tokens",
                unit: "{token}",
                when: When::Next,
                derived: Some(Rule::TokenUsage),
                only: Only::Where("type", "input"),
                attributes: &[Convert::ProviderOperation, MODEL, Convert::Drop("type")],
                constants: &[("gen_ai.token.modality", "unknown")],
                description: "Input tokens as providers reported them.",
                ..BASE
            },
            Target {
                name: "gen_ai.client.inference.usage.output_tokens",
                unit: "{token}",
                when: When::Next,
                derived: Some(Rule::TokenUsage),
                only: Only::Where("type", "output"),
                attributes: &[Convert::ProviderOperation, MODEL, Convert::Drop("type")],
                constants: &[("gen_ai.token.modality", "unknown")],
                description: "Output tokens as providers reported them.",
                ..BASE
            },
        ],
        "Not counted for native streams and failed calls.",
    ),
    live(
        Kind::Counter,
        "modelmuxer_policy_violations_total",
        &[Target {
            name: "modelmuxer.policy.violations",
            unit: "{violation}",
            attributes: &[Convert::Violation],
            description: "Requests that the policy blocked, by reason.",
            ..BASE
        }],
        "The jailbreak patterns miss most attempts.",
    ),
    live(
        Kind::Counter,
        "modelmuxer_policy_redactions_total",
        &[Target {
            name: "modelmuxer.policy.redactions",
            unit: "{redaction}",
            attributes: &[Convert::Pii],
            description: "Personal data that was taken out of prompts, by type.",
            ..BASE
        }],
        "The pattern of nationalid matches ordinary words: its confidence is low.",
    ),
    process_row(
        Kind::Counter,
        "python_gc_objects_collected_total",
        &[gc("cpython.gc.collected_objects", "{object}", "Objects that the garbage collector freed.")],
    ),
    process_row(
        Kind::Counter,
        "python_gc_objects_uncollectable_total",
        &[gc(
            "cpython.gc.uncollectable_objects",
            "{object}",
            "Objects that the garbage collector could not free.",
        )],
    ),
    process_row(
        Kind::Counter,
        "python_gc_collections_total",
        &[gc("cpython.gc.collections", "{collection}", "Runs of the garbage collector.")],
    ),
    process_row(
        Kind::Gauge,
        "process_virtual_memory_bytes",
        &[process("process.memory.virtual", "By", "Virtual memory of the process.")],
    ),
    process_row(
        Kind::Gauge,
        "process_resident_memory_bytes",
        &[process("process.memory.usage", "By", "Resident memory of the process.")],
    ),
    Row {
        // Others than we read it too, to find restarts.
        keep: true,
        note: "Equal for all workers of one start, so that it tells no workers apart.",
        ..process_row(
            Kind::Gauge,
            "process_start_time_seconds",
            &[Target {
                name: "process.uptime",
                unit: "s",
                instrument: Instrument::Gauge,
                scale: Scale::Uptime,
                derived: Some(Rule::ProcessUptime),
                description: "How long the process has been running.",
                ..BASE
            }],
        )
    },
    process_row(
        Kind::Counter,
        "process_cpu_seconds_total",
        &[Target {
            name: "process.cpu.time",
            unit: "s",
            description: "CPU time of the process, user and system.",
            ..BASE
        }],
    ),
    process_row(
        Kind::Gauge,
        "process_open_fds",
        &[process("process.unix.file_descriptor.count", "{file_descriptor}", "Open file descriptors.")],
    ),
    process_row(
        Kind::Gauge,
        "process_max_fds",
        &[process(
            "modelmuxer.process.file_descriptor.limit",
            "{file_descriptor}",
            "How many file descriptors may be open.",
        )],
    ),
];

const fn gc(name: &'static str, unit: &'static str, description: &'static str) -> Target {
    Target {
        name,
        unit,
        description,
        attributes: &[Convert::Int("generation", "cpython.gc.generation")],
        ..BASE
    }
}

const fn process(name: &'static str, unit: &'static str, description: &'static str) -> Target {
    Target { name, unit, description, instrument: Instrument::UpDownCounter, ..BASE }
}
