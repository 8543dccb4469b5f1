//! What the translation did: rules with a name, counts of each, and a listener for every single change.

use muxbridge_core::{BuildContext, Counter, Signal, names};
use muxbridge_pdata::AnyValue;

/// What a rule does to the telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Adds something that follows from other telemetry.
    Derived,
    /// Corrects something that is wrong at the source.
    Repaired,
    /// Leaves something out.
    Omitted,
}

/// One line of [`rules!`]: a variant, its name, its effect.
macro_rules! rules {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $effect:ident;)*) => {
        /// A rule that changes more than a name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Rule {
            $($(#[$doc])* $variant,)*
        }

        impl Rule {
            /// All rules.
            pub const ALL: &'static [Rule] = &[$(Rule::$variant,)*];

            /// Its name in counters and in `translate --explain`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Rule::$variant => $name,)*
                }
            }

            /// What it does.
            pub const fn effect(self) -> Effect {
                match self {
                    $(Rule::$variant => Effect::$effect,)*
                }
            }
        }
    };
}

rules! {
    /// The kind of a span: ModelMuxer calls all of them internal.
    Kind = "S.kind", Repaired;
    /// The status code of the request, from what happened below it.
    RootStatus = "S1.status_from_children", Derived;
    /// The scheme, from the configuration.
    RootScheme = "S1.url_scheme", Derived;
    /// The user, from `policy.enforce`.
    RootUser = "S1.user_from_policy", Derived;
    /// How the request ended, from its children.
    RootOutcome = "S1.outcome_from_children", Derived;
    /// How the model was chosen, from whether there is a `router.decide`.
    RootRouteKind = "S1.route_kind", Derived;
    /// How often the upstream was called, from the attempts.
    RootAttempts = "S1.attempts", Derived;
    /// Whether the response was streamed, from which span ended last.
    RootStream = "S1.stream", Derived;
    /// The duration of a streamed request, which ModelMuxer ends at the response headers.
    RootEnd = "S1.end_of_stream", Repaired;
    /// The time to the response headers of a stream: the duration that ModelMuxer reported.
    RootHeaders = "S1.time_to_headers", Derived;
    /// The error of the request, from its own status or from the streamed call.
    RootError = "S1.error", Repaired;
    /// The map `attributes`, which repeats attributes of the same span.
    PolicyMap = "S2.attributes_map", Omitted;
    /// The estimated cost, which ModelMuxer reports too high by a factor.
    RouteCost = "S3.estimate_cost", Repaired;
    /// The error of a routing decision, from its exception.
    RouteError = "S3.error_type", Derived;
    /// The length of the user id: a constant.
    RouteUserLength = "S3.user_id_len", Omitted;
    /// The estimate as text, which repeats two numbers.
    RouteEstimateText = "S3.estimate_text", Omitted;
    /// The status of a call, which ModelMuxer leaves unset when its last attempt failed.
    CallStatus = "S4.status_from_attempt", Repaired;
    /// How many attempts a call took, from its children.
    CallAttempts = "S4.attempts", Derived;
    /// How long a call waited between attempts, from the gaps between its children.
    CallRetryDelay = "S4.retry_delay", Derived;
    /// Whether a call was streamed, from its name or because it outlives the request.
    CallStream = "S5.stream", Derived;
    /// The error of a streamed call, from its exception.
    CallError = "S5.error_type", Derived;
    /// Method, provider and address of an attempt, from its name.
    AttemptTarget = "S6.provider_from_name", Derived;
    /// The error of an attempt, from its exception.
    AttemptError = "S6.error_type", Derived;
    /// The status code of an attempt, from the text of its error.
    AttemptStatus = "S6.status_from_error", Derived;
    /// `exception.escaped`, which is deprecated and always false.
    Escaped = "S6e.escaped", Omitted;
    /// Stack traces, unless they are asked for.
    Stacktrace = "S6e.stacktrace", Omitted;
    /// Milliseconds in `modelmuxer_provider_latency_seconds`, whose buckets then say nothing.
    ProviderLatency = "M.provider_latency_milliseconds", Repaired;
    /// An estimated cost, which ModelMuxer reports too high by a factor.
    EstimatedCost = "M.estimated_cost", Repaired;
    /// A raw path, which would be a series of its own for every path that anyone tries.
    HttpRoute = "M.http_route", Repaired;
    /// Rejections because of the budget, from the HTTP status 402.
    BudgetRejections = "M.budget_rejections_from_402", Derived;
    /// Time to the response headers of chat completions.
    TimeToHeaders = "M.time_to_headers", Derived;
    /// Tokens as the histogram that the conventions want, from two counters.
    TokenUsage = "M.token_usage_from_counters", Derived;
    /// Time since the start of the process.
    ProcessUptime = "M.process_uptime", Derived;
    /// A family that nothing ever increments.
    DeadMetric = "M.dead", Omitted;
    /// A constant 0 that nothing ever sets.
    FakeZero = "M.fake_zero", Omitted;
    /// Counts of rejections that ModelMuxer counts twice; see `BudgetRejections`.
    DoubleCount = "M.budget_counted_twice", Omitted;
    /// Metrics about candidates that were not chosen, unless they are asked for.
    Candidates = "M.candidates", Omitted;
    /// Points that were added into another one, because their attributes became the same.
    Merged = "M.merged", Omitted;
    /// Trace and span ids of only zeros, which ModelMuxer writes where there is no span.
    ZeroIds = "L.zero_ids", Repaired;
    /// Level, message, time and ids of a record, from the line of JSON that it is.
    JsonLine = "L.json_line", Repaired;
    /// A rejection because of the budget, which ModelMuxer logs as an error of its own.
    BudgetSeverity = "L.budget_severity", Repaired;
    /// A warning that ModelMuxer provokes with every chat request.
    Noise = "L.noise", Omitted;
}

impl Rule {
    /// The signal whose items it changes.
    pub const fn signal(self) -> Signal {
        match self.as_str().as_bytes()[0] {
            b'M' => Signal::Metrics,
            b'L' => Signal::Logs,
            _ => Signal::Traces,
        }
    }
}

/// The counters of one component for the rules of one signal.
pub struct RuleCounters(Vec<Option<Counter>>);

impl RuleCounters {
    /// Registers them.
    pub fn new(cx: &BuildContext, signal: Signal) -> Self {
        let counter = |rule: &Rule| {
            let name = match rule.effect() {
                Effect::Derived => names::DERIVED,
                Effect::Repaired => names::REPAIRED,
                Effect::Omitted => names::OMITTED,
            };
            let labels = [("signal", signal.as_str()), ("rule", rule.as_str())];
            (rule.signal() == signal).then(|| cx.counter(name, &labels))
        };
        RuleCounters(Rule::ALL.iter().map(counter).collect())
    }

    /// Adds what one batch had, and sets it to zero.
    pub fn add(&self, counts: &mut Counts) {
        for (rule, n) in counts.drain() {
            if let Some(Some(counter)) = self.0.get(rule as usize) {
                counter.add(n);
            }
        }
    }
}

/// How often each rule applied.
#[derive(Clone, Debug)]
pub struct Counts([u64; Rule::ALL.len()]);

impl Default for Counts {
    fn default() -> Self {
        Counts([0; Rule::ALL.len()])
    }
}

impl Counts {
    /// Counts one use of `rule`.
    pub fn add(&mut self, rule: Rule) {
        self.add_many(rule, 1);
    }

    /// Counts `n` uses of `rule`.
    pub fn add_many(&mut self, rule: Rule, n: u64) {
        self.0[rule as usize] += n;
    }

    /// How often `rule` applied.
    pub fn get(&self, rule: Rule) -> u64 {
        self.0[rule as usize]
    }

    /// The rules that applied, with their counts; all counts are zero afterwards.
    pub fn drain(&mut self) -> impl Iterator<Item = (Rule, u64)> + '_ {
        Rule::ALL
            .iter()
            .map(|rule| (*rule, std::mem::take(&mut self.0[*rule as usize])))
            .filter(|(_, n)| *n > 0)
    }
}

/// One change to one span, data point or log record.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// What kind of item it is.
    pub signal: Signal,
    /// 16 bytes; empty if the item is in no trace.
    pub trace_id: &'a [u8],
    /// 8 bytes; empty if the item is in no span.
    pub span_id: &'a [u8],
    /// The name that ModelMuxer gave to the item: of a span its name, of a data point the family with its labels,
    /// `http_requests_total{method="GET",status="200"}`, of a log record the logger.
    pub span: &'a str,
    /// The row of the table or the rule, for example `S1.attribute`, `M.name` or `S4.status_from_attempt`.
    pub rule: &'static str,
    /// What changed: an attribute, or `name`, `kind`, `status`, `end_time`, `value`, `unit`, `body`, `severity`,
    /// `trace_id`, `item` if all of it was left out, or `points` where several data points became fewer: of such a
    /// change, `span` is the name of the metric that came out.
    pub target: &'a str,
    /// What it was; `Empty` if there was nothing.
    pub before: AnyValue<'a>,
    /// What it is now; `Empty` if it was left out. A list is shown as the text that it was made from.
    pub after: AnyValue<'a>,
}

/// Hears of every change. Nothing is formatted when nobody listens.
pub trait Explain {
    /// Takes one change.
    fn change(&mut self, change: &Change<'_>);
}
