//! What the checks say, as the API tells it. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::health::{Outcome, Probed, Progress, Target};
use crate::model::PoolName;
use crate::status::{
    BackendHealth, BackendStatus, HealthList, LastCheck, NodeStatus, ProbeReport, ProbeRequest,
    Refusal,
};

/// `anylb health show`: in the order of `node`, which knows the names.
pub fn health_list(
    node: &NodeStatus,
    progress: &BTreeMap<Target, Progress>,
    now: Instant,
) -> HealthList {
    let pools = node.pools.iter();
    let backends = pools.flat_map(|(pool, status)| {
        status.backends.iter().filter_map(move |backend| {
            // One that left the configuration is in rows, and checked no more.
            let progress = progress.get(&target(pool, backend))?;
            Some(backend_health(pool, backend, progress, now))
        })
    });
    HealthList {
        backends: backends.collect(),
    }
}

fn target(pool: &PoolName, backend: &BackendStatus) -> Target {
    Target {
        pool: pool.clone(),
        address: backend.address,
    }
}

fn backend_health(
    pool: &PoolName,
    backend: &BackendStatus,
    progress: &Progress,
    now: Instant,
) -> BackendHealth {
    let in_a_row = |success: bool| match progress.run {
        Some((of, length)) if of == success => length,
        Some(_) | None => 0,
    };
    BackendHealth {
        pool: pool.clone(),
        address: backend.address,
        name: backend.name.clone(),
        health: progress.health,
        judged: progress.judged,
        since_secs: now.saturating_duration_since(progress.since).as_secs(),
        successes: in_a_row(true),
        rise: progress.thresholds.rise,
        failures: in_a_row(false),
        fall: progress.thresholds.fall,
        last: progress.last.as_ref().map(|last| {
            let (result, reason) = in_words(&last.outcome);
            LastCheck {
                result: result.to_owned(),
                reason,
                ago_ms: millis(now.saturating_duration_since(last.at)),
            }
        }),
        next_ms: progress
            .next
            .map(|next| millis(next.saturating_duration_since(now))),
    }
}

fn in_words(outcome: &Outcome) -> (&'static str, Option<String>) {
    match outcome {
        Outcome::Success => ("success", None),
        Outcome::Failure(failure) => ("failure", Some(failure.to_string())),
        Outcome::Inconclusive(why) => ("inconclusive", Some(why.clone())),
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Whom a request for a check means.
pub fn find(node: &NodeStatus, request: &ProbeRequest) -> Result<Target, Refusal> {
    let ProbeRequest { pool, backend } = request;
    let Some(status) = node.pools.get(pool) else {
        let there: Vec<&str> = node.pools.keys().map(|name| name.0.as_str()).collect();
        return Err(Refusal::not_found(format!(
            "there is no pool {pool}: this node has {}",
            there.join(", ")
        )));
    };
    let named = |candidate: &&BackendStatus| {
        candidate.name.as_deref() == Some(backend.as_str())
            || backend.parse() == Ok(candidate.address)
    };
    match status.backends.iter().find(named) {
        Some(found) => Ok(target(pool, found)),
        None => Err(unknown(pool, backend)),
    }
}

/// There is no such backend, or it is checked no more.
pub fn unknown(pool: &PoolName, backend: &str) -> Refusal {
    Refusal::not_found(format!(
        "there is no backend {backend} that is checked in pool {pool}: see `anylb health show`"
    ))
}

/// `anylb health probe`.
pub fn report(node: &NodeStatus, target: Target, probed: &Probed) -> ProbeReport {
    let backends = node.pools.get(&target.pool).map(|pool| &pool.backends);
    let found = backends.and_then(|all| all.iter().find(|one| one.address == target.address));
    let (result, reason) = in_words(&probed.outcome);
    ProbeReport {
        name: found.and_then(|backend| backend.name.clone()),
        pool: target.pool,
        address: target.address,
        result: result.to_owned(),
        reason,
        duration_ms: probed.duration.as_secs_f64() * 1000.0,
        timeout_ms: millis(probed.timeout),
        health: found.map(|backend| backend.health).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::fake;
    use crate::health::{Failure, Last, Thresholds};
    use crate::status::{Exit, Health};

    fn name(text: &str) -> PoolName {
        PoolName(text.into())
    }

    #[test]
    fn progress_with_names_and_times_from_now() {
        let start = Instant::now();
        let now = start + Duration::from_secs(70);
        let node = fake::lb();
        let target = target(&name("web"), &node.pools[&name("web")].backends[1]);
        let progress = Progress {
            health: Health::Up,
            since: start,
            judged: true,
            run: Some((false, 2)),
            thresholds: Thresholds { rise: 2, fall: 3 },
            last: Some(Last {
                outcome: Outcome::Failure(Failure::Refused),
                at: now - Duration::from_millis(300),
            }),
            next: Some(now + Duration::from_millis(1700)),
        };
        let list = health_list(&node, &[(target, progress)].into(), now);
        let expected = BackendHealth {
            pool: name("web"),
            address: [10, 1, 0, 2].into(),
            name: Some("b2".into()),
            health: Health::Up,
            judged: true,
            since_secs: 70,
            successes: 0,
            rise: 2,
            failures: 2,
            fall: 3,
            last: Some(LastCheck {
                result: "failure".into(),
                reason: Some("connection refused".into()),
                ago_ms: 300,
            }),
            next_ms: Some(1700),
        };
        assert_eq!(list.backends, [expected]);
    }

    #[test]
    fn a_backend_is_found_by_name_or_address_in_its_pool() {
        let node = fake::lb();
        let ask = |pool: &str, backend: &str| {
            let request = ProbeRequest {
                pool: name(pool),
                backend: backend.into(),
            };
            find(&node, &request).map(|target| target.address.to_string())
        };
        assert_eq!(ask("web", "b2"), Ok("10.1.0.2".into()));
        assert_eq!(ask("web", "10.1.0.2"), Ok("10.1.0.2".into()));
        assert_eq!(ask("web6", "2001:db8:1:0::1"), Ok("2001:db8:1::1".into()));
        for (pool, backend, words) in [
            (
                "web6",
                "b2",
                "there is no backend b2 that is checked in pool web6",
            ),
            (
                "mail",
                "b2",
                "there is no pool mail: this node has web, web6",
            ),
        ] {
            let refusal = ask(pool, backend).expect_err(words);
            assert_eq!(refusal.exit(), Exit::NotFound);
            assert!(refusal.message.starts_with(words), "{}", refusal.message);
        }
    }

    #[test]
    fn a_report_of_a_check_out_of_turn() {
        let node = fake::lb();
        let target = target(&name("web"), &node.pools[&name("web")].backends[0]);
        let probed = Probed {
            outcome: Outcome::Inconclusive("no port".into()),
            duration: Duration::from_micros(1500),
            timeout: Duration::from_secs(1),
        };
        let report = report(&node, target, &probed);
        assert_eq!(
            (report.result.as_str(), report.reason.as_deref()),
            ("inconclusive", Some("no port"))
        );
        assert!((report.duration_ms - 1.5).abs() < 1e-9);
        assert_eq!((report.timeout_ms, report.health), (1000, Health::Up));
        assert_eq!(report.name.as_deref(), Some("b1"));
    }
}
