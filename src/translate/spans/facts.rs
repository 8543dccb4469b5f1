//! What the spans of a trace say about each other: how calls ended, and with them the request.

use super::{Member, Members, Role};
use crate::translate::errors::{ErrorType, span_error};
use muxbridge_pdata::AnyValue;
use smallvec::SmallVec;
use std::borrow::Cow;

/// How a call ended.
pub(super) enum CallOutcome<'a> {
    /// Its attempts are not known.
    Unknown,
    /// With an answer.
    Answered,
    /// With this error.
    Failed(ErrorType<'a>),
}

/// What is known of one `provider.invoke` or `provider.invoke_stream`.
pub(super) struct Call<'a> {
    /// Attempts that are known.
    pub(super) attempts: i64,
    /// Nanoseconds between attempts.
    pub(super) retry_delay: u64,
    pub(super) outcome: CallOutcome<'a>,
    pub(super) stream: bool,
}

/// What is known of one `http.request`.
#[derive(Default)]
pub(super) struct RootFacts<'a> {
    /// The status code and how it is known.
    pub(super) status: Option<(u16, &'static str)>,
    /// The value of `error.type`.
    pub(super) error: Option<Cow<'a, str>>,
    /// Whether the span's status must be ERROR.
    pub(super) fails: bool,
    pub(super) error_in_body: bool,
    pub(super) outcome: Option<&'static str>,
    pub(super) route_kind: Option<&'static str>,
    pub(super) attempts: Option<i64>,
    pub(super) stream: Option<bool>,
    pub(super) user: Option<&'a [u8]>,
    /// When the streamed response ended, if the span ends before.
    pub(super) end: Option<u64>,
}

/// All of it, by the index of the span. Nearly every trace has one request and one call, or two with the one that
/// classifies the prompt: for those nothing is allocated.
pub(super) struct Facts<'a> {
    roots: SmallVec<[(usize, RootFacts<'a>); 1]>,
    calls: SmallVec<[(usize, Call<'a>); 2]>,
}

impl<'a> Facts<'a> {
    pub(super) fn of(members: &Members<'a>) -> Self {
        let indexes = |wanted: fn(Role) -> bool| {
            members.list().iter().enumerate().filter(move |(_, m)| wanted(m.role)).map(|(i, _)| i)
        };
        let calls = indexes(Role::is_call).map(|i| (i, Call::of(members, i))).collect();
        let mut facts = Facts { roots: SmallVec::new(), calls };
        let roots: SmallVec<[usize; 4]> = indexes(|role| role == Role::Root).collect();
        for &root in &roots {
            let found = facts.root_facts(members, root, roots.len() == 1);
            facts.roots.push((root, found));
        }
        facts
    }

    pub(super) fn root(&self, index: usize) -> Option<&RootFacts<'a>> {
        self.roots.iter().find(|(i, _)| *i == index).map(|(_, facts)| facts)
    }

    pub(super) fn call(&self, index: usize) -> Option<&Call<'a>> {
        self.calls.iter().find(|(i, _)| *i == index).map(|(_, call)| call)
    }

    /// `alone`: there is no other request in the trace, so everything in it belongs to this one, even below spans
    /// that are not ModelMuxer's.
    fn root_facts(&mut self, trace: &Members<'a>, root: usize, alone: bool) -> RootFacts<'a> {
        let members = trace.list();
        let span = members[root].span;
        let ours = |m: &Member<'_>| alone || m.span.parent_span_id == span.span_id;
        let first = |role| members.iter().find(|m| m.role == role && ours(m));
        let (policy, router) = (first(Role::Policy), first(Role::Router));
        let user = policy.and_then(|p| match trace.attribute(p, "tenant_id") {
            Some(AnyValue::String(id)) if !id.is_empty() => Some(id),
            _ => None,
        });
        let mut facts = RootFacts { user, ..RootFacts::default() };
        // Before the decision there may be a call that classifies the prompt; it does not answer the request.
        let decided = router.map_or(0, |r| r.span.start);
        let answer = self
            .calls
            .iter_mut()
            .filter(|(i, _)| ours(&members[*i]) && members[*i].span.start >= decided)
            .max_by_key(|(i, _)| members[*i].span.start);
        facts.route_kind = match (router, &answer) {
            (Some(_), _) => Some("auto"),
            // Ollama is also chosen by the setting that prefers local models; the trace does not tell.
            (None, Some((i, _))) if trace.text(&members[*i], "provider") == Some(b"ollama") => None,
            (None, Some(_)) => Some("explicit"),
            (None, None) => None,
        };
        let blocked =
            policy.and_then(|p| trace.attribute(p, "blocked")).and_then(|v| v.as_bool()).unwrap_or(false);
        if let Some(error) = router.and_then(|r| span_error(&r.span)) {
            facts.rejected_by_router(&error);
        } else if blocked {
            facts.status = Some((403, "inferred"));
            facts.outcome = Some("policy_blocked");
        } else if let Some((i, call)) = answer {
            // Only a stream outlives its request: ModelMuxer ends the request at the response headers.
            let end = members[*i].span.end;
            call.stream |= end > span.end;
            facts.answered(call);
            facts.end = Some(end).filter(|end| call.stream && *end > span.end);
        }
        facts.add_reported(trace, &members[root]);
        facts
    }
}

impl<'a> RootFacts<'a> {
    fn rejected_by_router(&mut self, error: &ErrorType<'a>) {
        match error.own_status {
            Some(402) => (self.status, self.outcome) = (Some((402, "inferred")), Some("budget_exceeded")),
            Some(503) => {
                (self.status, self.outcome) = (Some((503, "inferred")), Some("no_providers_available"));
                (self.error, self.fails) = (Some(Cow::Borrowed("503")), true);
            }
            _ => {}
        }
    }

    fn answered(&mut self, call: &Call<'a>) {
        self.stream = Some(call.stream);
        self.attempts = (call.attempts > 0).then_some(call.attempts);
        match &call.outcome {
            CallOutcome::Unknown => self.status = call.stream.then_some((200, "inferred")),
            CallOutcome::Answered => {
                self.status = Some((200, "inferred"));
                self.outcome = Some("success");
            }
            CallOutcome::Failed(error) if call.stream => {
                // The headers were sent before the error: the client got 200 and then an error in the stream.
                self.status = Some((200, "inferred"));
                self.outcome = Some("stream_error");
                self.error = Some(error.name.clone());
                (self.fails, self.error_in_body) = (true, true);
            }
            CallOutcome::Failed(error) => {
                // Whatever the upstream answered, 401 too, the client gets 502, but for two exceptions.
                let status = error.own_status.filter(|s| matches!(s, 401 | 429)).unwrap_or(502);
                self.status = Some((status, "inferred"));
                self.outcome = Some("upstream_error");
                if status == 502 {
                    (self.error, self.fails) = (Some(Cow::Borrowed("502")), true);
                }
            }
        }
    }

    /// What the span says of itself counts more than what follows from its children.
    fn add_reported(&mut self, trace: &Members<'a>, root: &Member<'a>) {
        let reported = ["http.response.status_code", "http.status_code"];
        let reported = reported.into_iter().find_map(|key| trace.attribute(root, key)?.as_int());
        if let Some(code) = reported.and_then(|code| u16::try_from(code).ok()) {
            self.status = Some((code, "reported"));
            if code >= 500 && !self.error_in_body {
                (self.error, self.fails) = (Some(Cow::Owned(code.to_string())), true);
            }
        }
        if let Some(error) = span_error(&root.span) {
            self.error.get_or_insert(error.name);
        }
    }
}

impl<'a> Call<'a> {
    fn of(trace: &Members<'a>, index: usize) -> Self {
        let members = trace.list();
        let Member { span, role, .. } = &members[index];
        let own = span_error(span);
        if *role == Role::InvokeStream {
            let outcome = own.map_or(CallOutcome::Answered, CallOutcome::Failed);
            return Call { attempts: 0, retry_delay: 0, outcome, stream: true };
        }
        let children =
            members.iter().filter(|m| m.role == Role::Attempt && m.span.parent_span_id == span.span_id);
        let mut attempts: SmallVec<[&Member<'a>; 4]> = children.collect();
        attempts.sort_by_key(|m| (trace.attribute(m, "attempt").and_then(|v| v.as_int()), m.span.start));
        let gaps = attempts.windows(2).map(|pair| pair[1].span.start.saturating_sub(pair[0].span.end));
        let outcome = match (own, attempts.last()) {
            (Some(error), _) => CallOutcome::Failed(error),
            (None, None) => CallOutcome::Unknown,
            // Attempts before the last one were retried: their errors are theirs alone.
            (None, Some(last)) => span_error(&last.span).map_or(CallOutcome::Answered, CallOutcome::Failed),
        };
        Call { attempts: attempts.len() as i64, retry_delay: gaps.sum(), outcome, stream: false }
    }
}
