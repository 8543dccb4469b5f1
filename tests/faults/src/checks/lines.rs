//! C6, C8, C9: lines that stall, certificates that are wrong, names that nobody knows.

use super::{Context, Outcome, Ran};
use crate::bridge::{PATIENCE, QUICK_RETRY, have};
use crate::load::{Client, Protocol, send_all};
use crate::oracle::Oracle;
use muxbridge_testkit::dns::{Dns, Known};
use muxbridge_testkit::tls::Authority;
use muxbridge_testkit::{Line, Proxy, Reply, Server};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

async fn taking(oracle: &Oracle, id: &'static str) -> Server {
    let oracle = oracle.clone();
    Server::start_without_log(move |r| {
        oracle.received(id, &r.body);
        Reply::status(200)
    })
    .await
}

/// C6: the host is gone and no packet says so.
pub(super) async fn half_open(context: Context) -> Ran {
    let oracle = Oracle::new(64);
    let mut setup = context.setup();
    let (stalls, good) = (taking(&oracle, "otlphttp/stalls").await, taking(&oracle, "otlphttp/good").await);
    let line = Proxy::start(Line::To(stalls.addr())).await;
    setup.to("otlphttp/stalls", format!("endpoint: 'http://{}', timeout: 1s, {QUICK_RETRY}", line.addr()));
    setup.to("otlphttp/good", format!("endpoint: '{}', {QUICK_RETRY}", good.url()));
    let mut bridge = setup.start_ready().await?;
    let mut client = Client::new(Protocol::Grpc, setup.grpc);
    send_all(&oracle, &mut client, 5, 4).await?;
    bridge.drained(&setup.ids(), PATIENCE).await?;

    line.set(Line::Stalled);
    send_all(&oracle, &mut client, 20, 4).await?;
    let others = bridge.drained(&["otlphttp/good"], PATIENCE).await?;
    let began = Instant::now();
    while !bridge.page("/ready").await.is_some_and(|(_, page)| page.contains("failing")) {
        if began.elapsed() > Duration::from_secs(10) {
            return Err("nobody noticed that the host is gone".to_owned());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let noticed = began.elapsed();
    line.set(Line::To(stalls.addr()));
    let recovered = bridge.drained(&setup.ids(), PATIENCE).await?;
    bridge.adds_up().await?;
    let verdict = oracle.nothing_lost(&setup.ids())?;
    Ok(Outcome::Passed(format!(
        "{verdict} noticed={}ms recovered={}ms others={}ms",
        noticed.as_millis(),
        recovered.as_millis(),
        others.as_millis()
    )))
}

/// C8: nothing is sent to whom the certificate does not prove; it is held, and leaves when the certificate is right.
pub(super) async fn tls(context: Context) -> Ran {
    let oracle = Oracle::new(64);
    let mut setup = context.setup();
    let (authority, stranger) = (Authority::new(), Authority::new());
    let wrong = [
        ("expired", authority.expired_server("localhost")),
        ("stranger", stranger.server("localhost", false)),
        ("name", authority.server("elsewhere.test", false)),
    ];
    let ids = ["otlphttp/expired", "otlphttp/stranger", "otlphttp/name", "otlphttp/closed"];
    let (mut servers, mut lines) = (Vec::new(), Vec::new());
    for (name, config) in wrong {
        let bad = Server::start_tls(config, |_| Reply::status(200)).await;
        lines.push((name, Proxy::start(Line::To(bad.addr())).await));
        servers.push(bad);
    }
    lines.push(("closed", Proxy::start(Line::ResetAfter(20)).await));
    let ca = authority.ca_file();
    for ((_, line), id) in lines.iter().zip(ids) {
        let url = format!("https://localhost:{}", line.addr().port());
        setup.to(id, format!("endpoint: '{url}', tls: {{ca_file: '{}'}}, {QUICK_RETRY}", ca.display()));
    }
    let mut bridge = setup.start_ready().await?;
    let mut client = Client::new(Protocol::Http, setup.http);
    send_all(&oracle, &mut client, 5, 4).await?;
    for (name, line) in &lines {
        bridge.until(&format!("{name} was tried twice"), PATIENCE, || line.accepted() >= 2).await?;
    }
    if let Some(bad) = servers.iter().find(|s| !s.requests().is_empty()) {
        return Err(format!("{} got {} requests", bad.url(), bad.requests().len()));
    }
    let ready = bridge.page("/ready").await.ok_or("no /ready")?;
    if let Some(id) = ids.iter().find(|id| !ready.1.contains(*id)) {
        return Err(format!("/ready does not name {id}: {}", ready.1));
    }
    let mut good = Vec::new();
    for ((_, line), id) in lines.iter().zip(ids) {
        let seen = oracle.clone();
        let server = Server::start_tls(authority.server("localhost", false), move |r| {
            seen.received(id, &r.body);
            Reply::status(200)
        })
        .await;
        line.set(Line::To(server.addr()));
        good.push(server);
    }
    let recovered = bridge.drained(&ids, PATIENCE).await?;
    bridge.adds_up().await?;
    let verdict = oracle.nothing_lost(&ids)?;
    Ok(Outcome::Passed(format!("{verdict} recovered={}ms without a restart", recovered.as_millis())))
}

/// C9: the name of a destination is unknown, the resolver fails or is silent; then the name is there.
pub(super) async fn names(context: Context) -> Ran {
    if !have("unshare") || !rustix::process::geteuid().is_root() {
        return Ok(Outcome::Skipped("a resolver of its own needs root and unshare".to_owned()));
    }
    let oracle = Oracle::new(64);
    let mut setup = context.setup();
    let at = SocketAddr::from((Ipv4Addr::new(127, 83, 65, context.seed.to_le_bytes()[0]), 53));
    let dns = match Dns::start(at, Known::Silence).await {
        Ok(dns) => dns,
        Err(error) => return Ok(Outcome::Skipped(format!("{at} cannot be bound: {error}"))),
    };
    let resolver = context.scratch.join("resolv.conf");
    std::fs::write(&resolver, format!("nameserver {}\noptions timeout:5 attempts:2\n", at.ip()))
        .map_err(|e| e.to_string())?;
    // In a mount namespace of its own, which ends with the process.
    let mount = format!("mount --bind '{}' /etc/resolv.conf && exec \"$@\"", resolver.display());
    setup.prefix = ["unshare", "--mount", "sh", "-c", &mount, "sh"].map(str::to_owned).to_vec();
    let (named, good) = (taking(&oracle, "otlphttp/named").await, taking(&oracle, "otlphttp/good").await);
    let url = format!("http://collector.faults.test:{}", named.addr().port());
    setup.to("otlphttp/named", format!("endpoint: '{url}', timeout: 1s, {QUICK_RETRY}"));
    setup.to("otlphttp/good", format!("endpoint: '{}', {QUICK_RETRY}", good.url()));
    let mut bridge = setup.start_ready().await?;
    let mut client = Client::new(Protocol::Http, setup.http);
    let mut slowest = Duration::ZERO;
    for known in [Known::Silence, Known::Failure, Known::No] {
        dns.set(known);
        for _ in 0..10 {
            let began = Instant::now();
            send_all(&oracle, &mut client, 1, 4).await?;
            bridge.drained(&["otlphttp/good"], PATIENCE).await?;
            slowest = slowest.max(began.elapsed());
        }
    }
    if slowest > Duration::from_secs(2) {
        return Err(format!("a name that is not found held back another destination: {slowest:?}"));
    }
    if bridge.metric("muxbridge_dropped_total", &[]).await > 0 {
        return Err("a name that is not found is no reason to drop".to_owned());
    }
    dns.set(Known::At(Ipv4Addr::LOCALHOST, 1));
    let recovered = bridge.drained(&setup.ids(), PATIENCE).await?;
    bridge.adds_up().await?;
    let verdict = oracle.nothing_lost(&setup.ids())?;
    let (slowest, recovered) = (slowest.as_millis(), recovered.as_millis());
    Ok(Outcome::Passed(format!("{verdict} others_slowest={slowest}ms recovered={recovered}ms")))
}
