//! The admin port against browsers that were led there, and against bytes that are no requests.

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Serves one, with a metric whose label is hostile.
fn start(allowed_hosts: &[&str]) -> SocketAddr {
    let listener = Admin::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let counters = Counters::new();
    counters
        .get(muxbridge_core::names::RECEIVED, &[("component", "<img src=x onerror=alert(1)>\n\"")])
        .add(1);
    let settings = AdminSettings {
        allowed_hosts: allowed_hosts.iter().map(|h| (*h).to_owned()).collect(),
        ..AdminSettings::default()
    };
    let admin = Admin::new(listener, &settings, counters, Clock::fixed(0), None, Arc::default(), Stop::new());
    tokio::spawn(admin.serve());
    address
}

async fn say(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // It may answer, and close, before it has read everything.
    let _ = stream.write_all(request).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn get(address: SocketAddr, path: &str, hosts: &[&str]) -> String {
    let hosts: String = hosts.iter().map(|h| format!("Host: {h}\r\n")).collect();
    say(address, format!("GET {path} HTTP/1.1\r\n{hosts}\r\n").as_bytes()).await
}

#[tokio::test]
async fn m16_a_name_that_is_not_on_the_list_gets_nothing() {
    let address = start(&["bridge.internal"]);
    let port = address.port();
    for host in [
        "localhost",
        "LOCALHOST",
        "127.0.0.1",
        "[::1]",
        "10.1.2.3",
        "[fd00::2]:9090",
        "bridge.internal",
        &format!("localhost:{port}"),
        &format!("127.0.0.1:{port}"),
        &format!("[::1]:{port}"),
    ] {
        for path in ["/metrics", "/ready", "/health"] {
            assert!(get(address, path, &[host]).await.starts_with("HTTP/1.1 200 "), "{host} {path}");
        }
    }
    for host in [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example:9090",
        "127.0.0.1.nip.example",
        "[::1].evil.example",
        "2130706433",
        "localhost@evil.example",
        "",
        "\u{e9}",
    ] {
        for path in ["/metrics", "/ready", "/health", "/", "/other"] {
            let answer = get(address, path, &[host]).await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{host} {path}: {answer}");
            assert!(!answer.contains("muxbridge_"), "{host} {path}: {answer}");
        }
    }
    let two = get(address, "/metrics", &["localhost", "evil.example"]).await;
    assert!(!two.contains("muxbridge_"), "{two}");
}

#[tokio::test]
async fn m16_nothing_but_get_and_head_does_anything() {
    let address = start(&[]);
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "X"] {
        let request = format!("{method} /metrics HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n");
        let answer = say(address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{method}: {answer}");
        assert!(!answer.to_lowercase().contains("access-control-"), "{answer}");
    }
}

#[tokio::test]
async fn m17_every_answer_tells_browsers_to_run_and_frame_nothing_and_texts_are_escaped() {
    let address = start(&[]);
    for (path, host) in
        [("/metrics", "localhost"), ("/ready", "localhost"), ("/x", "localhost"), ("/", "evil.example")]
    {
        let answer = get(address, path, &[host]).await;
        let head = answer.split("\r\n\r\n").next().unwrap().to_lowercase();
        for line in [
            "content-security-policy: default-src 'none'; frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
        ] {
            assert!(head.lines().any(|l| l == line), "{path}: {head}");
        }
        assert!(!head.contains("text/html"), "{head}");
    }
    let page = get(address, "/metrics", &["localhost"]).await;
    // One line, whatever is in the label.
    assert!(page.contains(r#"component="<img src=x onerror=alert(1)>\n\"""#), "{page}");
}

#[tokio::test]
async fn m18_mutated_requests_never_stop_the_admin_port() {
    let setting = |name: &str, usual| std::env::var(name).map_or(usual, |v| v.parse::<u64>().unwrap());
    // A connection each: a hundredth of what the receivers get.
    let (count, seed) = (setting("MUXBRIDGE_MUTATIONS", 100_000) / 100, setting("MUXBRIDGE_SEED", 1));
    let mut random = fastrand::Rng::with_seed(seed);
    let address = start(&[]);
    let requests: [&[u8]; 3] = [
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: application/openmetrics-text;version=1.0.0,*/*;q=0.1\r\nAccept-Encoding: gzip;q=0.5\r\n\r\n",
        b"HEAD /ready HTTP/1.0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: [::1]:9090\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n",
    ];
    let mut answered = 0;
    for i in 0..count {
        let mut bytes = random.choice(requests).unwrap().to_vec();
        for _ in 0..random.usize(1..5) {
            let at = random.usize(..bytes.len());
            let end = (at + random.usize(1..20)).min(bytes.len());
            match random.u8(..5) {
                0 => bytes[at] = random.u8(..),
                1 => bytes.insert(at, *random.choice(b"\r\n :;,\0\xff").unwrap()),
                2 if bytes.len() > 20 => drop(bytes.drain(at..end)),
                3 => {
                    let piece = bytes[at..end].to_vec();
                    bytes.splice(at..at, piece);
                }
                _ => bytes[at] ^= 1 << random.u8(..8),
            }
        }
        let answer = say(address, &bytes).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1."), "seed {seed}, {i}: {answer}");
        answered += u64::from(!answer.is_empty());
        if i % 1000 == 0 {
            assert!(get(address, "/health", &["localhost"]).await.starts_with("HTTP/1.1 200 "));
        }
    }
    assert!(answered > count / 10, "{answered} of {count}");
}
