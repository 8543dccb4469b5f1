//! C1 to C5 and C7: what destinations answer.

use super::board::{Board, Counted, Kept, expect, settles};
use super::{Context, Outcome, Ran};
use crate::bridge::PATIENCE;
use muxbridge_testkit::oracle::{self, ExportTracePartialSuccess, ExportTraceServiceResponse};
use muxbridge_testkit::{GrpcReply, Line, Proxy, Recorded, Reply, Server, retry_info};
use std::time::{Duration, Instant, SystemTime};

const SPANS: u64 = 6;

fn ok() -> (Reply, Kept) {
    (Reply::status(200), Kept::Yes)
}

fn grpc_ok() -> (GrpcReply, Kept) {
    (GrpcReply::ok(), Kept::Yes)
}

/// What `Retry-After` says, and how many milliseconds nobody may ask again.
const HINTS: [(&str, Option<&str>, u64); 8] = [
    ("none", None, 0),
    ("seconds", Some("1"), 1_000),
    ("date", Some("date"), 1_000),
    ("zero", Some("0"), 0),
    ("negative", Some("-5"), 0),
    ("garbage", Some("soon"), 0),
    ("past", Some("Sun, 06 Nov 1994 08:49:37 GMT"), 0),
    ("years", Some("315360000"), u64::MAX),
];

/// C1: later, with and without a time.
pub(super) async fn later(context: Context) -> Ran {
    let mut board = Board::new(&context);
    // Which destinations wait for how long, and which are not asked again while this runs.
    let (mut waits, mut held) = (Vec::new(), Vec::new());
    for status in [429, 502, 503, 504] {
        for (name, hint, wait) in HINTS {
            let script = move |before: usize, _: &Recorded| match (before, hint) {
                (0, None) => (Reply::status(status), Kept::No),
                (0, Some("date")) => {
                    // A date has whole seconds: two ahead are at least one.
                    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(2));
                    (Reply::status(status).header("retry-after", &date), Kept::No)
                }
                (0, Some(hint)) => (Reply::status(status).header("retry-after", hint), Kept::No),
                _ => ok(),
            };
            let id = board.http(&format!("{status}-{name}"), "", script).await;
            if wait == u64::MAX { held.push(id) } else { waits.push((id, wait)) }
        }
    }
    for code in [1, 4, 10, 11, 14, 15] {
        let script = move |before, _: &_| match before {
            0 => (GrpcReply::status(code, "later"), Kept::No),
            _ => grpc_ok(),
        };
        waits.push((board.grpc(&format!("code-{code}"), "", script).await, 0));
    }
    for code in [14, 8] {
        let script = move |before, _: &_| match before {
            0 => (GrpcReply::status(code, "later").details(retry_info(code, 1, 0)), Kept::No),
            _ => grpc_ok(),
        };
        waits.push((board.grpc(&format!("info-{code}"), "", script).await, 1_000));
    }
    // With the retries that are the default: no stampede.
    let slow = "retry_on_failure: {enabled: true}, sending_queue: {batch: {flush_timeout: 5ms}}";
    let down = board.http("down", slow, |_, _| (Reply::status(503), Kept::No)).await;
    held.push(down.clone());

    let mut bridge = board.start(1, SPANS).await?;
    for (id, wait) in &waits {
        board.until_asked(&mut bridge, id, 2).await?;
        let asked = board.asked(id);
        let waited = asked[1] - asked[0];
        if waited < Duration::from_millis(*wait) {
            return Err(format!("{id} was asked again after {waited:?}, it had asked for {wait} ms"));
        }
        if *wait == 0 && waited > Duration::from_secs(5) {
            return Err(format!("{id} was asked again after {waited:?} only"));
        }
    }
    board.send(20, SPANS).await?;
    let ids: Vec<&str> = waits.iter().map(|(id, _)| id.as_str()).collect();
    bridge.drained(&ids, PATIENCE).await?;
    for id in &held {
        expect(&bridge, id, Counted { sent: 0, dropped: 0, queued: 21 * SPANS }).await?;
        let (asked, most) = (board.asked(id).len(), if *id == down { 12 } else { 1 });
        if asked > most {
            return Err(format!("{id} was asked {asked} times, more than {most}"));
        }
    }
    bridge.adds_up().await?;
    let verdict = board.oracle.nothing_lost(&ids)?;
    Ok(Outcome::Passed(format!("destinations={} {verdict}", ids.len() + held.len())))
}

/// C2: never, and not like this.
pub(super) async fn never(context: Context) -> Ran {
    let mut board = Board::new(&context);
    let (mut refused, mut held) = (Vec::new(), Vec::new());
    for status in [400, 404, 405, 406, 409, 415, 422, 500, 501, 505] {
        refused
            .push(board.http(&status.to_string(), "", move |_, _| (Reply::status(status), Kept::No)).await);
    }
    for code in [2, 3, 5, 6, 8, 9, 12, 13] {
        let script = move |_, _: &_| (GrpcReply::status(code, "no"), Kept::No);
        refused.push(board.grpc(&code.to_string(), "", script).await);
    }
    for status in [401, 403] {
        held.push(board.http(&status.to_string(), "", move |_, _| (Reply::status(status), Kept::No)).await);
    }
    for code in [7, 16] {
        let script = move |_, _: &_| (GrpcReply::status(code, "who are you"), Kept::No);
        held.push(board.grpc(&code.to_string(), "", script).await);
    }
    let good = board.http("good", "", |_, _| ok()).await;
    let mut bridge = board.start(1, SPANS).await?;
    for id in &refused {
        settles(&mut bridge, id, Counted { sent: 0, dropped: SPANS, queued: 0 }).await?;
        let asked = board.asked(id).len();
        if asked != 1 {
            return Err(format!("{id} was asked {asked} times; nothing says that it would take it later"));
        }
    }
    for id in &held {
        board.until_asked(&mut bridge, id, 1).await?;
        expect(&bridge, id, Counted { sent: 0, dropped: 0, queued: SPANS }).await?;
        let page = bridge.page("/ready").await.ok_or("no /ready")?;
        if page.0 != 503 || !page.1.contains(id) {
            return Err(format!("/ready does not name {id}: {}", page.1));
        }
    }
    board.send(10, SPANS).await?;
    bridge.drained(&[&good], PATIENCE).await?;
    for id in &held {
        expect(&bridge, id, Counted { sent: 0, dropped: 0, queued: 11 * SPANS }).await?;
        if board.asked(id).len() > 1 {
            return Err(format!("{id} is asked again and again with the same credential"));
        }
    }
    bridge.adds_up().await?;
    let verdict = board.oracle.nothing_lost(&[&good])?;
    Ok(Outcome::Passed(format!("refused={} held={} the good one: {verdict}", refused.len(), held.len())))
}

fn count(request: &[u8]) -> usize {
    let request = oracle::decode_traces(request);
    request.resource_spans.iter().flat_map(|r| &r.scope_spans).map(|s| s.spans.len()).sum()
}

/// Whether a span is in there whose number can be divided by 8.
fn has_eighth(request: &[u8]) -> bool {
    let request = oracle::decode_traces(request);
    let mut spans = request.resource_spans.iter().flat_map(|r| &r.scope_spans).flat_map(|s| &s.spans);
    spans.any(|s| s.span_id.last().is_some_and(|b| b % 8 == 0))
}

/// C3: too large, down to the item.
pub(super) async fn too_large(context: Context) -> Ran {
    let mut board = Board::new(&context);
    let too_large = "grpc: received message larger than max (5 vs. 4)";
    let four = board
        .http("four", "", |_, r| if count(&r.body) > 4 { (Reply::status(413), Kept::No) } else { ok() })
        .await;
    let eighth = board
        .http("eighth", "", |_, r| if has_eighth(&r.body) { (Reply::status(413), Kept::No) } else { ok() })
        .await;
    let grpc = board
        .grpc("four", "", move |_, c| match count(&c.body) {
            0..=4 => grpc_ok(),
            _ => (GrpcReply::status(8, too_large), Kept::No),
        })
        .await;
    const SENT: u64 = 64;
    let mut bridge = board.start(1, SENT).await?;
    bridge.drained(&[&four, &eighth, &grpc], PATIENCE).await?;
    for id in [&four, &grpc] {
        expect(&bridge, id, Counted { sent: SENT, dropped: 0, queued: 0 }).await?;
    }
    expect(&bridge, &eighth, Counted { sent: SENT - SENT / 8, dropped: SENT / 8, queued: 0 }).await?;
    let asked = [&four, &eighth, &grpc].map(|id| board.asked(id).len());
    // Halving to four makes 31 requests; each item that nobody takes costs twice the depth.
    if asked[0] > 31 || asked[2] > 31 || asked[1] as u64 > SENT / 8 * 2 * 6 {
        return Err(format!("too many requests: {asked:?}"));
    }
    bridge.adds_up().await?;
    let verdict = board.oracle.nothing_lost(&[&four, &grpc])?;
    let missing = board.oracle.missing(&eighth);
    if missing.iter().any(|n| n % 8 != 0) || missing.len() as u64 != SENT / 8 {
        return Err(format!("others than those that are too large are missing: {missing:?}"));
    }
    Ok(Outcome::Passed(format!("requests={asked:?} too_large={} {verdict}", missing.len())))
}

fn partial(rejected: i64, message: &str) -> bytes::Bytes {
    let partial = ExportTracePartialSuccess { rejected_spans: rejected, error_message: message.to_owned() };
    oracle::encode(&ExportTraceServiceResponse { partial_success: Some(partial) })
}

/// C4: a part is rejected.
pub(super) async fn partly(context: Context) -> Ran {
    let mut board = Board::new(&context);
    let mut rejected = Vec::new();
    for count in [0, 1, SPANS, 1_000] {
        let answer = partial(count as i64, "some are odd");
        let reply = Reply::status(200).header("content-type", "application/x-protobuf").body(answer.clone());
        let id = board.http(&count.to_string(), "", move |_, _| (reply.clone(), Kept::Yes)).await;
        rejected.push((id, count.min(SPANS)));
        let script = move |_, _: &_| (GrpcReply::message(answer.clone()), Kept::Yes);
        rejected.push((board.grpc(&count.to_string(), "", script).await, count.min(SPANS)));
    }
    let mut bridge = board.start(1, SPANS).await?;
    for (id, rejected) in &rejected {
        settles(&mut bridge, id, Counted { sent: SPANS - rejected, dropped: *rejected, queued: 0 }).await?;
        if board.asked(id).len() != 1 {
            return Err(format!("{id}: a partial success must not be sent again"));
        }
    }
    bridge.adds_up().await?;
    Ok(Outcome::Passed(format!("destinations={} every count exact, nothing sent again", rejected.len())))
}

/// C5: stored, and the answer comes too late.
pub(super) async fn too_late(context: Context) -> Ran {
    let mut board = Board::new(&context);
    let late = Duration::from_secs(3);
    let http = board
        .http("late", "timeout: 300ms,", move |before, _| match before {
            0 => (Reply::status(200).after(late), Kept::Yes),
            _ => ok(),
        })
        .await;
    let grpc = board
        .grpc("late", "timeout: 300ms,", move |before, _| match before {
            0 => (GrpcReply { delay: late, ..GrpcReply::ok() }, Kept::Yes),
            _ => grpc_ok(),
        })
        .await;
    let silent = board
        .http("silent", "timeout: 300ms,", |before, _| match before {
            0 => (Reply::status(Reply::SILENCE), Kept::No),
            _ => ok(),
        })
        .await;
    let mut bridge = board.start(1, SPANS).await?;
    for id in [&http, &grpc, &silent] {
        settles(&mut bridge, id, Counted { sent: SPANS, dropped: 0, queued: 0 }).await?;
        if board.asked(id).len() != 2 {
            return Err(format!("{id} was asked {} times and not twice", board.asked(id).len()));
        }
    }
    bridge.adds_up().await?;
    let verdict = board.oracle.nothing_lost(&[&http, &grpc, &silent])?;
    if verdict.duplicates != 2 * SPANS {
        return Err(format!("one repetition for each timeout: {verdict}"));
    }
    Ok(Outcome::Passed(verdict.to_string()))
}

/// C7: answers that drip, explode, break off.
pub(super) async fn broken(context: Context) -> Ran {
    let mut board = Board::new(&context);
    let huge: bytes::Bytes = vec![0; 32 << 20].into();
    let plain = huge.clone();
    let bomb = muxbridge_testkit::gzip(&vec![0; 64 << 20]);
    let huge = board.http("huge", "", move |_, _| (Reply::status(200).body(plain.clone()), Kept::Yes)).await;
    let bomb = board
        .http("bomb", "", move |_, _| {
            (Reply::status(200).header("content-encoding", "gzip").body(bomb.clone()), Kept::Yes)
        })
        .await;
    let pause = Duration::from_millis(50);
    let drip = board
        .http("drip", "timeout: 500ms,", move |before, _| match before {
            0 => (Reply::status(200).body(vec![0; 1_000]).dripping(pause), Kept::No),
            _ => ok(),
        })
        .await;
    let hangup = board
        .http("hangup", "", |before, _| match before {
            0 => (Reply::status(Reply::HANGUP), Kept::No),
            _ => ok(),
        })
        .await;
    let grpc = board
        .grpc("hangup", "", |before, _| match before {
            0 => (GrpcReply { hangup: true, ..GrpcReply::ok() }, Kept::No),
            _ => grpc_ok(),
        })
        .await;
    // Behind a line that breaks in the middle of a request.
    let (oracle, reset) = (board.oracle.clone(), "otlphttp/reset".to_owned());
    let seen = reset.clone();
    let server = Server::start_without_log(move |r| {
        oracle.received(&seen, &r.body);
        Reply::status(200)
    })
    .await;
    let line = Proxy::start(Line::ResetAfter(300)).await;
    board.setup.to(&reset, format!("endpoint: 'http://{}', {}", line.addr(), crate::bridge::QUICK_RETRY));

    let began = Instant::now();
    let mut bridge = board.start(1, SPANS).await?;
    bridge.until("the line broke three times", PATIENCE, || line.accepted() >= 3).await?;
    line.set(Line::To(server.addr()));
    let good = [drip.as_str(), &hangup, &grpc, &reset];
    bridge.drained(&good, PATIENCE).await?;
    bridge.drained(&[&huge, &bomb], PATIENCE).await?;
    for id in [&huge, &bomb] {
        if board.asked(id).len() != 1 {
            return Err(format!("{id} was asked {} times", board.asked(id).len()));
        }
    }
    let resident = bridge.resident() >> 20;
    if resident > 128 {
        return Err(format!("{resident} MiB resident after answers of 32 and 64 MiB"));
    }
    if began.elapsed() > Duration::from_secs(30) {
        return Err(format!("the time limit of a request does not hold: {:?}", began.elapsed()));
    }
    bridge.adds_up().await?;
    let verdict = board.oracle.nothing_lost(&good)?;
    Ok(Outcome::Passed(format!("{verdict} resident={resident}MiB")))
}
