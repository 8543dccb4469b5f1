//! Who may send: every option of `auth` and `tls` has a test that fails if the option is ignored.

use super::kit::Rig;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use muxbridge::core::config::Problems;
use muxbridge::core::names;
use muxbridge::receivers::otlp::FACTORY;
use muxbridge_testkit::tls::Authority;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const TAKEN: [&str; 2] = ["taken", "taken"];

/// Both protocols refuse as OTLP says, and nothing is taken.
fn assert_refused(rig: &Rig, before: usize, said: &[String; 2]) {
    assert!(said[0].contains("gRPC Unauthenticated"), "{said:?}");
    assert!(said[1].contains("HTTP 401"), "{said:?}");
    assert_eq!(rig.taken(), before);
}

async fn refused(rig: &Rig, authorization: &str) {
    let before = rig.taken();
    let said = rig.send_as(authorization).await;
    assert_refused(rig, before, &said);
}

fn basic(user_and_password: &str) -> String {
    format!("Basic {}", STANDARD.encode(user_and_password))
}

#[tokio::test]
async fn m20_without_a_token_or_with_a_wrong_one_nothing_is_taken() {
    let auth = json!({ "auth": { "bearer": { "token": "canary-a", "tokens": ["canary-b"] } } });
    let rig = Rig::start(&auth, json!({}));
    for right in ["Bearer canary-a", "bearer canary-b", "Bearer  canary-a"] {
        assert_eq!(rig.send_as(right).await, TAKEN, "{right}");
    }
    let before = rig.taken();
    assert_refused(&rig, before, &rig.send(&json!({})).await);
    for wrong in [
        "Bearer canary-c",
        "Bearer canary-",
        "Bearer canary-aa",
        "Bearer",
        "canary-a",
        "Token canary-a",
        "Bearer canary-a canary-b",
        // A token is no password.
        &basic("canary-a"),
        &basic(":canary-a"),
    ] {
        refused(&rig, wrong).await;
    }
    assert_eq!(rig.bad("unauthenticated"), 2 * 10);
}

#[tokio::test]
async fn m20_a_scheme_of_its_own_is_asked_for() {
    let rig = Rig::start(&json!({ "auth": { "bearer": { "token": "t", "scheme": "Key" } } }), json!({}));
    assert_eq!(rig.send_as("Key t").await, TAKEN);
    refused(&rig, "Bearer t").await;
}

#[tokio::test]
async fn m20_users_need_their_own_password() {
    let users = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(users.path(), "# staff\n\ncarol:p:w\n").expect("written");
    let htpasswd = json!({ "inline": "bob:canary-b", "file": users.path() });
    let config = json!({ "username": "alice", "password": "canary-a", "htpasswd": htpasswd });
    let rig = Rig::start(&json!({ "auth": { "basic": config } }), json!({}));
    for right in ["alice:canary-a", "bob:canary-b", "carol:p:w"] {
        assert_eq!(rig.send_as(&basic(right)).await, TAKEN, "{right}");
    }
    for wrong in ["alice:canary-b", "alice:", "alice", ":canary-a", "", "ALICE:canary-a", "# staff"] {
        refused(&rig, &basic(wrong)).await;
    }
    refused(&rig, "Basic alice:canary-a").await;
    refused(&rig, "Bearer canary-a").await;
}

#[tokio::test]
async fn m20_two_credentials_in_one_request_are_none() {
    let rig = Rig::start(&json!({ "auth": { "bearer": { "token": "right" } } }), json!({}));
    let mut stream = rig.connect_http().await;
    let request = "POST /v1/traces HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
         authorization: Bearer right\r\nauthorization: Bearer wrong\r\ncontent-length: 2\r\n\r\n{}";
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(answer.contains("www-authenticate: Bearer\r\n"), "{answer}");
    // google.rpc.Status in the format of the request.
    assert!(
        answer.ends_with("\"message\":\"send a valid token or password in the header authorization\"}"),
        "{answer}"
    );
    assert!(answer.contains("\"code\":16"), "{answer}");
}

/// Until a new file is seen; files are looked at once a second.
async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !done().await {
        assert!(began.elapsed() < Duration::from_secs(20), "waited in vain until {what}");
    }
}

#[tokio::test]
async fn m20_a_token_that_is_taken_out_of_the_file_is_refused_without_a_restart() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "old\nother\n").expect("written");
    let auth = json!({ "auth": { "bearer": { "filename": file.path() } } });
    let rig = Rig::start(&auth, json!({}));
    assert_eq!(rig.send_as("Bearer old").await, TAKEN);
    assert_eq!(rig.send_as("Bearer other").await, TAKEN);
    std::fs::write(file.path(), "other\nnew\n").expect("written");
    until("the new token is known", async || rig.send_as("Bearer new").await == TAKEN).await;
    refused(&rig, "Bearer old").await;
    // A file without a token must not open the door, nor lock everyone out.
    std::fs::write(file.path(), "\n").expect("written");
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(1500) {
        assert_eq!(rig.send_as("Bearer new").await, TAKEN);
        refused(&rig, "Bearer ").await;
    }
}

#[test]
fn m20_a_mistake_in_auth_is_a_problem_that_shows_no_credential() {
    let problems = |auth: Value| {
        let mut problems = Problems::new();
        let _ = (FACTORY.parse)(&json!({ "protocols": { "grpc": { "auth": auth } } }), &mut problems);
        let found: Vec<String> = problems.into_vec().iter().map(ToString::to_string).collect();
        assert!(!found.concat().contains("canary"), "{found:?}");
        found.join("\n")
    };
    for (auth, expected) in [
        (json!({}), "protocols.grpc.auth: names neither"),
        (json!({ "bearer": {} }), "protocols.grpc.auth.bearer.token: is required"),
        (json!({ "bearer": { "token": "" } }), "auth.bearer.token: is empty"),
        (json!({ "bearer": { "tokens": ["a", "canary b"] } }), "auth.bearer.tokens[1]: has characters"),
        (json!({ "bearer": { "token": "canary\n" } }), "auth.bearer.token: has characters"),
        (json!({ "bearer": { "token": "a", "scheme": "a b" } }), "auth.bearer.scheme: is one word"),
        (json!({ "basic": {} }), "auth.basic.username: is required"),
        (json!({ "basic": { "username": "a" } }), "auth.basic.password: is required"),
        (json!({ "basic": { "password": "canary" } }), "auth.basic.username: is required"),
        (
            json!({ "basic": { "username": "a:b", "password": "canary" } }),
            "auth.basic.username: is empty or has",
        ),
        (json!({ "basic": { "htpasswd": { "inline": "canary" } } }), "inline: line 1 is not user:password"),
        (
            json!({ "basic": { "htpasswd": { "inline": "\na:$2y$05$canary" } } }),
            "inline: line 2 has a hashed",
        ),
    ] {
        let found = problems(auth);
        assert!(found.contains(expected), "{expected}: {found}");
    }
    assert_eq!(problems(json!({ "bearer": { "filename": "/there/is/none" } })), "", "check reads no files");
}

#[tokio::test]
async fn m20_a_listener_that_wants_client_certificates_takes_only_those_of_its_authority() {
    let (ours, other) = (Authority::new(), Authority::new());
    let (cert, key) = ours.server_files("localhost", 2040);
    let tls = json!({ "cert_file": cert, "key_file": key, "client_ca_file": ours.ca_file() });
    let rig = Rig::start(&json!({ "tls": tls }), json!({}));
    let with = |from: &Authority| {
        let (cert, key) = from.client_files();
        json!({ "tls": { "ca_file": ours.ca_file(), "cert_file": cert, "key_file": key } })
    };
    assert_eq!(rig.send(&with(&ours)).await, TAKEN);
    for config in [json!({ "tls": { "ca_file": ours.ca_file() } }), with(&other)] {
        let said = rig.send(&config).await;
        assert!(said.iter().all(|said| said.starts_with("retryable: endpoint https://")), "{said:?}");
    }
    // Neither does anything else than TLS get in.
    let said = rig.send(&json!({})).await;
    assert!(said.iter().all(|said| said.starts_with("retryable: ")), "{said:?}");
    assert_eq!(rig.taken(), 2);
    assert!(rig.bad("tls") >= 4);
}

#[tokio::test]
async fn m29_renewed_certificates_are_used_without_a_restart_and_the_gauge_says_when_they_expire() {
    let (first, second) = (Authority::new(), Authority::new());
    let (cert, key) = first.server_files("localhost", 2040);
    let tls = json!({ "cert_file": &cert, "key_file": &key });
    let rig = Rig::start(&json!({ "tls": tls }), json!({}));
    let gauge = || rig.counters.sum(names::TLS_EXPIRY, &[("setting", "protocols.http.tls.cert_file")]);
    assert_eq!(gauge(), 2_208_988_800, "2040-01-01");
    let trust = |authority: &Authority| json!({ "tls": { "ca_file": authority.ca_file() } });
    assert_eq!(rig.send(&trust(&first)).await, TAKEN);
    assert_ne!(rig.send(&trust(&second)).await, TAKEN);
    let (new_cert, new_key) = second.server_files("localhost", 2041);
    std::fs::copy(new_cert, &cert).expect("copied");
    // Between the two the certificate does not fit the key, and the old ones stay in use.
    assert_eq!(rig.send(&trust(&first)).await, TAKEN);
    std::fs::copy(new_key, &key).expect("copied");
    until("the new certificate is shown", async || rig.send(&trust(&second)).await == TAKEN).await;
    assert_ne!(rig.send(&trust(&first)).await, TAKEN);
    assert_eq!(gauge(), 2_240_611_200, "2041-01-01");
}

#[tokio::test]
async fn m29_a_renewed_client_certificate_is_used_by_an_exporter_that_is_running() {
    use muxbridge::core::Exporter;
    use muxbridge_testkit::contract::{any_traces, build, context};
    let (ours, other) = (Authority::new(), Authority::new());
    let (cert, key) = ours.server_files("localhost", 2040);
    let tls = json!({ "cert_file": cert, "key_file": key, "client_ca_file": ours.ca_file() });
    let rig = Rig::start(&json!({ "tls": tls }), json!({}));
    let (client_cert, client_key) = other.client_files();
    let client = json!({ "ca_file": ours.ca_file(), "cert_file": &client_cert, "key_file": &client_key });
    let config = json!({ "endpoint": format!("https://localhost:{}", rig.http.port()), "tls": client });
    let cx = context::<muxbridge_exporter_otlp::OtlpHttp>();
    let exporter = build::<muxbridge_exporter_otlp::OtlpHttp>(config, &cx);
    assert!(exporter.export(&any_traces()).await.is_err());
    assert!(cx.counters.sum(names::TLS_EXPIRY, &[("setting", "tls.cert_file")]) > 0);
    let (new_cert, new_key) = ours.client_files();
    std::fs::copy(new_cert, client_cert).expect("copied");
    std::fs::copy(new_key, client_key).expect("copied");
    until("the new certificate is shown", async || exporter.export(&any_traces()).await.is_ok()).await;
}
