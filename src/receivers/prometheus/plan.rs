//! From either form of the configuration to a list of targets, with every mistake on the way.

use super::collector::{Scheme, ScrapeConfig, check_keys};
use super::config::{Config, TargetConfig};
use super::credential::{Credential, basic, bearer, one_credential, token};
use super::endpoint::{Endpoint, MODELMUXER_PATH};
use muxbridge_core::config::{GoDuration, Problems};
use muxbridge_kit::headers::{self, Headers};
use muxbridge_kit::tls::TlsConfig;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// One target, ready to be scraped.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) endpoint: Endpoint,
    pub(super) job: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) credential: Option<Credential>,
    pub(super) headers: Headers,
    pub(super) tls: TlsConfig,
    pub(super) optional: bool,
}

/// All targets of a configuration that are right.
pub(super) fn plans(config: &Config, problems: &mut Problems) -> Vec<Plan> {
    for (key, most) in [("max_body_bytes", config.max_body_bytes), ("max_samples", config.max_samples)] {
        if most == 0 {
            problems.add(key, "0 would refuse every page; write 1 or more");
        }
    }
    let scrapes = config.config.as_ref().map_or(&[][..], |c| &c.scrape_configs);
    if config.targets.is_empty()
        && scrapes.iter().all(|s| s.static_configs.iter().all(|c| c.targets.is_empty()))
    {
        problems
            .add("targets", format!("nothing to scrape; write [ http://127.0.0.1:8000{MODELMUXER_PATH} ]"));
    }
    let mut plans = Plans { found: Vec::new(), seen: BTreeSet::new() };
    let times = Times { interval: Some(config.interval), timeout: config.timeout };
    // The receiver's own, where no target would say it.
    times.check(("interval", "timeout"), problems);
    for (at, target) in config.targets.iter().enumerate() {
        problems.at(format!("targets[{at}]"), |p| plans.target(&target.0, times, p));
    }
    if let Some(config) = &config.config {
        let global = Times { interval: config.global.scrape_interval, timeout: config.global.scrape_timeout };
        problems.at("config", |problems| {
            let names = ("scrape_interval", "scrape_timeout");
            let times = if global.interval.is_some() || global.timeout.is_some() {
                problems.at("global", |p| global.or(times).check(names, p))
            } else {
                times
            };
            let mut jobs = BTreeSet::new();
            for (at, scrape) in config.scrape_configs.iter().enumerate() {
                problems.at(format!("scrape_configs[{at}]"), |p| {
                    if scrape.job_name.is_empty() {
                        p.add("job_name", "is required; it becomes service.name");
                    } else if !jobs.insert(&scrape.job_name) {
                        p.add(
                            "job_name",
                            format!("{:?} is there twice; each job needs a name of its own", scrape.job_name),
                        );
                    }
                    plans.scrape(scrape, times, p);
                });
            }
        });
    }
    plans.found
}

#[derive(Clone, Copy)]
struct Times {
    interval: Option<GoDuration>,
    timeout: Option<GoDuration>,
}

impl Times {
    /// The times of something, where it has some, else those around it. A timeout that came from around and is longer
    /// than the interval here is cut; one that stands beside it is a problem.
    fn or(self, around: Times) -> Times {
        let interval = self.interval.or(around.interval);
        let inherited =
            around.timeout.map(|timeout| interval.map_or(timeout, |interval| timeout.min(interval)));
        Times { interval, timeout: self.timeout.or(inherited) }
    }

    fn check(self, (interval, timeout): (&str, &str), problems: &mut Problems) -> Times {
        let GoDuration(every) = self.interval();
        if every < Duration::from_millis(10) || every > Duration::from_secs(24 * 3600) {
            problems.add(interval, format!("{every:?} is not between 10ms and 24h"));
        }
        let GoDuration(longest) = self.timeout();
        if longest.is_zero() {
            problems.add(timeout, "0 would fail every scrape; write for example 10s");
        } else if longest > every {
            problems.add(
                timeout,
                format!("{longest:?} is longer than the interval, {every:?}; scrapes would overlap"),
            );
        }
        self
    }

    fn interval(self) -> GoDuration {
        self.interval.unwrap_or(GoDuration::from_secs(15))
    }

    fn timeout(self) -> GoDuration {
        self.timeout.unwrap_or(GoDuration::from_secs(10).min(self.interval()))
    }
}

struct Plans {
    found: Vec<Plan>,
    seen: BTreeSet<String>,
}

impl Plans {
    fn target(&mut self, target: &TargetConfig, around: Times, problems: &mut Problems) {
        let own = Times { interval: target.interval, timeout: target.timeout };
        let times = own.or(around);
        if target.interval.is_some() || target.timeout.is_some() {
            times.check(("interval", "timeout"), problems);
        }
        let credential = one_credential(
            [
                target
                    .basic_auth
                    .as_ref()
                    .map(|b| ("basic_auth", problems.at("basic_auth", |p| basic(b, p)))),
                target
                    .authorization
                    .as_ref()
                    .map(|a| ("authorization", problems.at("authorization", |p| token(a, p)))),
            ],
            problems,
        );
        problems.at("headers", |p| check_headers(&target.headers, credential.is_some(), p));
        if target.tls.insecure {
            problems.add(
                "tls.insecure",
                "the scheme of the endpoint decides that; write http:// and take it away",
            );
        }
        let endpoint = Endpoint::parse(&target.endpoint, MODELMUXER_PATH);
        check_labels(&target.labels, "job", problems);
        let tls = target.tls.clone();
        let endpoint = match endpoint {
            Ok(endpoint) => endpoint,
            Err(problem) => return problems.add("endpoint", problem),
        };
        check_tls(&tls, endpoint.https, "tls", problems);
        let plan = Plan {
            endpoint,
            job: target.job.clone().filter(|j| !j.is_empty()).unwrap_or_else(|| "modelmuxer".to_owned()),
            labels: target.labels.clone(),
            interval: times.interval().0,
            timeout: times.timeout().0,
            credential,
            headers: target.headers.clone(),
            tls,
            optional: target.optional,
        };
        self.add(plan, "endpoint", problems);
    }

    fn scrape(&mut self, scrape: &ScrapeConfig, around: Times, problems: &mut Problems) {
        check_keys(scrape, problems);
        let own = Times { interval: scrape.scrape_interval, timeout: scrape.scrape_timeout };
        let times = own.or(around);
        if scrape.scrape_interval.is_some() || scrape.scrape_timeout.is_some() {
            times.check(("scrape_interval", "scrape_timeout"), problems);
        }
        let credential = one_credential(
            [
                scrape
                    .basic_auth
                    .as_ref()
                    .map(|b| ("basic_auth", problems.at("basic_auth", |p| basic(b, p)))),
                scrape
                    .authorization
                    .as_ref()
                    .map(|a| ("authorization", problems.at("authorization", |p| token(a, p)))),
                scrape
                    .bearer_token
                    .as_ref()
                    .map(|t| ("bearer_token", bearer("bearer_token", Some(t), None, problems))),
                scrape
                    .bearer_token_file
                    .as_ref()
                    .map(|f| ("bearer_token_file", bearer("", None, Some(f), problems))),
            ],
            problems,
        );
        let path = &scrape.metrics_path;
        if !path.starts_with('/') || path.contains(['?', '#']) {
            problems.add(
                "metrics_path",
                format!("{path:?} is not a path; write one that starts with / and has no query, as {MODELMUXER_PATH}"),
            );
            return;
        }
        let tls = TlsConfig::from(&scrape.tls_config);
        let https = scrape.scheme == Scheme::Https;
        check_tls(&tls, https, "tls_config", problems);
        for (at, group) in scrape.static_configs.iter().enumerate() {
            problems.at(format!("static_configs[{at}]"), |problems| {
                check_labels(&group.labels, "job_name", problems);
                for (at, address) in group.targets.iter().enumerate() {
                    let key = format!("targets[{at}]");
                    let endpoint = match static_endpoint(address, scrape) {
                        Ok(endpoint) => endpoint,
                        Err(problem) => {
                            problems.add(&key, problem);
                            continue;
                        }
                    };
                    let plan = Plan {
                        endpoint,
                        job: scrape.job_name.clone(),
                        labels: group.labels.clone(),
                        interval: times.interval().0,
                        timeout: times.timeout().0,
                        credential: credential.clone(),
                        headers: Headers::new(),
                        tls: tls.clone(),
                        optional: false,
                    };
                    self.add(plan, &key, problems);
                }
            });
        }
    }

    /// Counters, logs and instance ids know a target by its URL without the query.
    fn add(&mut self, plan: Plan, key: &str, problems: &mut Problems) {
        let printable = plan.endpoint.printable();
        if self.seen.contains(&printable) {
            problems
                .add(key, format!("{printable} is there twice, and a query does not tell two targets apart"));
            return;
        }
        self.seen.insert(printable);
        self.found.push(plan);
    }
}

fn static_endpoint(address: &str, scrape: &ScrapeConfig) -> Result<Endpoint, String> {
    if address.contains(['/', '?', '@']) || address.is_empty() {
        let shown = if address.contains('@') { "the value".to_owned() } else { format!("{address:?}") };
        return Err(format!(
            "{shown} is not host:port; the rest belongs into scheme, metrics_path and basic_auth"
        ));
    }
    let scheme = if scrape.scheme == Scheme::Https { "https" } else { "http" };
    let mut endpoint = Endpoint::parse(&format!("{scheme}://{address}"), "/")?;
    endpoint.path.clone_from(&scrape.metrics_path);
    Ok(endpoint)
}

fn check_headers(headers: &Headers, has_credential: bool, problems: &mut Problems) {
    headers::check(headers, problems);
    for name in headers.keys() {
        match name.to_ascii_lowercase().as_str() {
            "accept" | "accept-encoding" | "host" | "user-agent" => {
                problems.add(name, "is set by the scrape; take it away")
            }
            "authorization" if has_credential => {
                problems.add(name, "basic_auth or authorization is there as well; write one of them");
            }
            _ => {}
        }
    }
}

fn check_labels(labels: &BTreeMap<String, String>, job: &str, problems: &mut Problems) {
    problems.at("labels", |problems| {
        for name in labels.keys() {
            match name.as_str() {
                "" => problems.add("", "a label has an empty name"),
                "job" => problems.add(name, format!("the job is service.name; write {job}")),
                "instance" => problems.add(
                    name,
                    "each process that answers gets an instance of its own; if there is only one, write service.instance.id",
                ),
                _ => {}
            }
        }
    });
}

fn check_tls(tls: &TlsConfig, https: bool, key: &str, problems: &mut Problems) {
    problems.at(key, |p| tls.check(p));
    let unused = TlsConfig { insecure: tls.insecure, ..TlsConfig::default() };
    if !https && *tls != unused {
        problems.add(key, "has no effect, because the target is plain http; use https, or take it away");
    }
}
