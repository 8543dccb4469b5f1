//! What is wrong with a configuration, and where a right one leads.

use super::config::Config;
use super::endpoint::{Endpoint, MODELMUXER_PATH, forbidden, printable_location};
use super::plan::{Plan, plans};
use muxbridge_core::config::{Problems, parse};
use serde_json::{Value, json};
use std::time::Duration;

fn read(value: &Value) -> (Vec<Plan>, Vec<String>) {
    let mut problems = Problems::new();
    let found = match parse::<Config>(value, &mut problems) {
        Some(config) => plans(&config, &mut problems),
        None => Vec::new(),
    };
    (found, problems.into_vec().iter().map(ToString::to_string).collect())
}

fn right(value: &Value) -> Vec<Plan> {
    let (plans, problems) = read(value);
    assert_eq!(problems, Vec::<String>::new());
    plans
}

/// The problems of a configuration with one scrape config, made of these keys and what it needs.
fn wrong_scrape(keys: Value) -> Vec<String> {
    let mut scrape = json!({ "job_name": "x", "static_configs": [{ "targets": ["h:1"] }] });
    for (key, value) in keys.as_object().unwrap() {
        scrape[key] = value.clone();
    }
    read(&json!({ "config": { "scrape_configs": [scrape] } })).1
}

fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

#[test]
fn a_target_may_be_a_plain_url_and_has_the_defaults_then() {
    let plans =
        right(&json!({ "targets": ["http://127.0.0.1:8000", { "endpoint": "https://router/x?y=1" }] }));
    let [first, second] = &plans[..] else { panic!("{plans:?}") };
    assert_eq!(first.endpoint.printable(), "http://127.0.0.1:8000/metrics/prometheus");
    assert_eq!((first.interval, first.timeout), (seconds(15), seconds(10)));
    assert_eq!((first.job.as_str(), first.optional), ("modelmuxer", false));
    assert_eq!(second.endpoint.printable(), "https://router:443/x");
    assert_eq!(second.endpoint.path, "/x?y=1");
}

#[test]
fn a_scrape_config_of_the_collector_is_understood() {
    let plans = right(&json!({ "config": {
        "global": { "scrape_interval": "30s" },
        "scrape_configs": [
            {
                "job_name": "router", "metrics_path": "/metrics/prometheus", "scheme": "https",
                "static_configs": [
                    { "targets": ["a:8000", "[::1]:8001"], "labels": { "env": "prod" } },
                    { "targets": ["b"] },
                ],
                "basic_auth": { "username": "u", "password": "p" },
                "tls_config": { "server_name": "inside" },
            },
            { "job_name": "other", "scrape_interval": "5s", "static_configs": [{ "targets": ["c:1"] }] },
        ],
    }}));
    let found: Vec<_> =
        plans.iter().map(|p| (p.job.as_str(), p.endpoint.printable(), p.interval, p.timeout)).collect();
    let expected = [
        ("router", "https://a:8000/metrics/prometheus", seconds(30), seconds(10)),
        ("router", "https://[::1]:8001/metrics/prometheus", seconds(30), seconds(10)),
        ("router", "https://b:443/metrics/prometheus", seconds(30), seconds(10)),
        ("other", "http://c:1/metrics", seconds(5), seconds(5)),
    ];
    assert_eq!(found, expected.map(|(job, url, interval, timeout)| (job, url.to_owned(), interval, timeout)));
    assert_eq!(plans[1].labels["env"], "prod");
    assert_eq!(plans[1].tls.server_name_override.as_deref(), Some("inside"));
    assert!(plans[2].labels.is_empty() && plans[2].credential.is_some() && plans[3].credential.is_none());
}

#[test]
fn every_mistake_is_a_problem_with_its_place_and_what_to_write() {
    let (_, found) = read(&json!({
        "timeout": "20s",
        "max_samples": 0,
        "targets": [
            "router:8000",
            "ftp://router/",
            { "endpoint": "http://a/", "intervall": "1s" },
            { "endpoint": "http://b/", "interval": "5s", "timeout": "6s" },
            { "endpoint": "http://c/", "basic_auth": { "password": "p" }, "authorization": { "credentials": "t" } },
            { "endpoint": "http://d/", "headers": { "accept": "x", "bad name": "y" } },
            { "endpoint": "http://e/", "labels": { "instance": "e", "job": "j" } },
            { "endpoint": "http://f/", "tls": { "ca_file": "ca.pem" } },
            { "endpoint": "http://a/metrics/prometheus?x=2" },
            { "labels": {} },
            { "endpoint": "http://169.254.169.254/latest" },
            { "endpoint": "http://g/", "authorization": {} },
        ],
    }));
    let expected = [
        "targets[2].intervall: unknown key \"intervall\"; did you mean \"interval\"?",
        "max_samples: 0 would refuse every page; write 1 or more",
        "timeout: 20s is longer than the interval, 15s; scrapes would overlap",
        "targets[0].endpoint: \"router:8000\" has no scheme; write http:// or https:// before it",
        "targets[1].endpoint: \"ftp://router/\" is neither http:// nor https://",
        "targets[3].timeout: 6s is longer than the interval, 5s; scrapes would overlap",
        "targets[4].basic_auth.username: is required",
        "targets[4].authorization: a request has one Authorization; write either this or basic_auth",
        "targets[5].headers.bad name: not a header name",
        "targets[5].headers.accept: is set by the scrape; take it away",
        "targets[6].labels.instance: each process that answers gets an instance of its own; if there is only one, \
         write service.instance.id",
        "targets[6].labels.job: the job is service.name; write job",
        "targets[7].tls: has no effect, because the target is plain http; use https, or take it away",
        "targets[8].endpoint: http://a:80/metrics/prometheus is there twice, and a query does not tell two targets apart",
        "targets[9].endpoint: is required; write for example http://127.0.0.1:8000/metrics/prometheus",
        "targets[10].endpoint: \"http://169.254.169.254/latest\" is a link-local address (cloud metadata), which is \
         never scraped",
        "targets[11].authorization.credentials: is required, or credentials_file",
    ];
    assert_eq!(found, expected);
}

#[test]
fn what_prometheus_has_and_we_do_not_says_what_to_use_instead() {
    for (key, instead) in [
        ("relabel_configs", "write the targets and labels as they shall be in static_configs"),
        ("metric_relabel_configs", "in a Collector behind"),
        ("kubernetes_sd_configs", "let a Collector discover and send OTLP"),
        ("file_sd_configs", "write the addresses in static_configs"),
        ("honor_labels", "never meet those of a page; take it away"),
        ("follow_redirects", "name the final address"),
        ("params", "with the query in its endpoint"),
        ("proxy_url", "there is no proxy"),
        ("oauth2", "credentials_file"),
        ("sample_limit", "set max_samples of the receiver"),
    ] {
        let found = wrong_scrape(json!({ key: ["canary"] }));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with(&format!("config.scrape_configs[0].{key}: is not supported: ")),
            "{found:?}"
        );
        assert!(found[0].contains(instead) && !found[0].contains("canary"), "{found:?}");
    }
    let found = wrong_scrape(json!({ "metric_path": "/x" }));
    assert_eq!(
        found,
        ["config.scrape_configs[0].metric_path: unknown key \"metric_path\"; did you mean \"metrics_path\"?"]
    );
}

#[test]
fn mistakes_in_a_scrape_config_have_their_place_too() {
    let found = wrong_scrape(json!({
        "job_name": "", "scrape_interval": "10s", "scrape_timeout": "11s", "bearer_token": "t",
        "authorization": { "type": "Basic", "credentials": "t" },
        "static_configs": [{ "targets": ["http://h:1/x", "u:canary@h:1", "h:"] }],
    }));
    let at = "config.scrape_configs[0]";
    let expected = [
        format!("{at}.job_name: is required; it becomes service.name"),
        format!("{at}.scrape_timeout: 11s is longer than the interval, 10s; scrapes would overlap"),
        format!("{at}.authorization.type: is Basic; write basic_auth: {{ username, password }} instead"),
        format!("{at}.bearer_token: a request has one Authorization; write either this or authorization"),
        format!(
            "{at}.static_configs[0].targets[0]: \"http://h:1/x\" is not host:port; the rest belongs into scheme, \
             metrics_path and basic_auth"
        ),
        format!(
            "{at}.static_configs[0].targets[1]: the value is not host:port; the rest belongs into scheme, \
             metrics_path and basic_auth"
        ),
        format!("{at}.static_configs[0].targets[2]: \"http://h:\" has no port number after the colon"),
    ];
    assert_eq!(found, expected);
    let found = wrong_scrape(json!({ "metrics_path": "metrics?x" }));
    assert!(
        found[0].starts_with("config.scrape_configs[0].metrics_path: \"metrics?x\" is not a path"),
        "{found:?}"
    );
}

#[test]
fn nothing_to_scrape_is_a_problem() {
    let expected = ["targets: nothing to scrape; write [ http://127.0.0.1:8000/metrics/prometheus ]"];
    assert_eq!(read(&json!({})).1, expected);
    assert_eq!(read(&json!({ "config": { "scrape_configs": [] } })).1, expected);
}

#[test]
fn no_problem_and_no_debug_output_holds_a_credential() {
    let value = json!({ "targets": [
        "http://me:canary@router/",
        "http://me:can/canary@router",
        { "endpoint": "http://a/?key=canary", "basic_auth": { "username": "u", "password": "canary\n" } },
        { "endpoint": "http://a/?key=canary2", "authorization": { "credentials": "canary\n" } },
        { "endpoint": "http://b/", "headers": { "x-key": "canary\n" } },
    ]});
    let (plans, found) = read(&value);
    assert_eq!(found.len(), 6, "{found:?}");
    assert!(!found.concat().contains("canary"), "{found:?}");
    let shown = format!("{:?}", plans.iter().map(|p| (&p.credential, &p.headers)).collect::<Vec<_>>());
    assert!(!shown.contains("canary"), "{shown}");
}

#[test]
fn addresses_of_cloud_metadata_are_never_connected_to_in_any_spelling() {
    for address in [
        "169.254.169.254",
        "169.254.0.1",
        "::ffff:169.254.169.254",
        "fe80::1",
        "fd00:ec2::254",
        "0.0.0.0",
        "::",
        "::ffff:0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "ff02::1",
    ] {
        assert!(forbidden(address.parse().unwrap()).is_some(), "{address}");
    }
    for address in ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "8.8.8.8", "fd00::1", "2001:db8::1"] {
        assert!(forbidden(address.parse().unwrap()).is_none(), "{address}");
    }
    assert!(Endpoint::parse("http://[::ffff:169.254.169.254]/", MODELMUXER_PATH).is_err());
}

/// What each spelling becomes on the way to a connection: refused when it is read, looked up to an address that is
/// refused, or no name at all. None is connected to.
#[tokio::test]
async fn m22_forty_spellings_of_forbidden_addresses_lead_nowhere() {
    let spellings = [
        "http://169.254.169.254/",
        "http://169.254.169.254:80/latest/meta-data/",
        "https://169.254.169.254/",
        "http://169.254.0.1/",
        "http://169.254.255.255/",
        "http://169.254.169.254./",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://0xA9.0xFE.0xA9.0xFE/",
        "http://0xa9.254.169.254/",
        "http://0251.0376.0251.0376/",
        "http://025177524776/",
        "http://169.254.43518/",
        "http://169.16689662/",
        "http://169.254.0xa9fe/",
        "http://[::ffff:169.254.169.254]/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://[0:0:0:0:0:ffff:a9fe:a9fe]/",
        "http://[::ffff:a9fe:a9fe]:80/x",
        "http://[fe80::1]/",
        "http://[fe80::a9fe:a9fe]/",
        "http://[febf::1]/",
        "http://[fd00:ec2::254]/",
        "http://[fd00:0ec2:0000:0000:0000:0000:0000:0254]/",
        "http://0.0.0.0/",
        "http://0/",
        "http://0x0/",
        "http://00000/",
        "http://[::]/",
        "http://[0:0:0:0:0:0:0:0]/",
        "http://[::ffff:0.0.0.0]/",
        "http://224.0.0.1/",
        "http://239.255.255.255/",
        "http://255.255.255.255/",
        "http://[ff02::1]/",
        "http://[ff0e::1]/",
        "http://x@169.254.169.254/",
        "http://x:y@169.254.169.254/",
        "http://127.0.0.1@169.254.169.254/",
        "http://169.254.169.254#@127.0.0.1/",
        "http://169.254.169.254%2f@127.0.0.1/",
        "http://169.254.169.254\\@127.0.0.1/",
        "http:\\\\169.254.169.254/",
        "http:///169.254.169.254/",
        "HTTP://169.254.169.254/",
        "//169.254.169.254/",
        "169.254.169.254",
        "ftp://169.254.169.254/",
        "file:///etc/passwd",
        "gopher://169.254.169.254/",
        "unix:///var/run/docker.sock",
        "http://\u{ff11}69.254.169.254/",
    ];
    assert!(spellings.len() >= 40);
    for spelling in spellings {
        let Ok(endpoint) = Endpoint::parse(spelling, MODELMUXER_PATH) else { continue };
        // The resolver of the system knows more ways to write an address than we do.
        let host = (endpoint.host.as_str(), endpoint.port);
        let found: Vec<_> = tokio::net::lookup_host(host).await.map(Iterator::collect).unwrap_or_default();
        assert!(
            found.iter().all(|a: &std::net::SocketAddr| forbidden(a.ip()).is_some()),
            "{spelling}: {found:?}"
        );
    }
}

#[test]
fn where_a_redirect_leads_is_shown_without_credentials() {
    assert_eq!(printable_location("https://u:canary@other/x?key=canary#canary"), "https://other/x");
    assert_eq!(printable_location("//u:canary@other"), "//other");
    assert_eq!(printable_location("/login?next=canary"), "/login");
}
