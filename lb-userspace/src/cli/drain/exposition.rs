//! Connections out of a backend's metrics.

use std::collections::BTreeMap;

const METRIC: &str = "anylb_vip_connections";

/// Connections of `services` in the text format of Prometheus.
///
/// Of every service where `services` is empty or names one that the backend calls otherwise: to count too many only makes
/// the wait longer. The error says why there is nothing to count.
pub(super) fn connections(text: &str, services: &[String]) -> Result<u64, String> {
    let by_service = by_service(text)?;
    if by_service.is_empty() {
        return Err(format!(
            "it answers without {METRIC}: it is no backend agent's, or that agent cannot count"
        ));
    }
    let named: Option<u64> = services.iter().map(|name| by_service.get(name)).sum();
    Ok(match named {
        Some(sum) if !services.is_empty() => sum,
        Some(_) | None => by_service.values().sum(),
    })
}

fn by_service(text: &str) -> Result<BTreeMap<String, u64>, String> {
    let samples = text
        .lines()
        .filter_map(|line| line.strip_prefix(METRIC)?.strip_prefix('{'));
    samples
        .map(|rest| sample(rest).ok_or_else(|| format!("cannot read {METRIC}{{{rest}")))
        .collect()
}

/// `service="web"} 25`. The agent writes one label and whole numbers; names of services need no escapes.
fn sample(rest: &str) -> Option<(String, u64)> {
    let (service, value) = rest.strip_prefix("service=\"")?.split_once("\"}")?;
    Some((service.to_owned(), value.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "\
# TYPE anylb_vip_connections gauge
anylb_vip_connections{service=\"dns\"} 4
anylb_vip_connections{service=\"web\"} 25
anylb_vip_connections_other{service=\"web\"} 7
";

    #[test]
    fn only_what_was_asked_for_counts_and_all_where_that_is_not_told() {
        for (case, services, sum) in [
            ("of all pools", &[][..], 29),
            ("one", &["web"], 25),
            ("both", &["dns", "web"], 29),
            ("one that the backend calls otherwise", &["web-v4"], 29),
            ("one of two is called otherwise", &["web", "ntp"], 29),
        ] {
            let services: Vec<String> = services.iter().map(|&name| name.into()).collect();
            assert_eq!(connections(TWO, &services), Ok(sum), "{case}");
        }
    }

    #[test]
    fn what_the_backend_role_exports_is_read() {
        let text = include_str!("../../api/metrics/tests/backend.prom");
        assert_eq!(connections(text, &["web-v4".into()]), Ok(25));
    }

    #[test]
    fn no_count_is_an_error_and_never_zero() {
        for (case, text, error) in [
            ("nothing", "", "it answers without"),
            ("an LB node's", "anylb_up 1\n", "it answers without"),
            (
                "the head of an empty family",
                "# TYPE anylb_vip_connections gauge\n",
                "it answers without",
            ),
            (
                "cut off",
                "anylb_vip_connections{service=\"we",
                "cannot read",
            ),
            (
                "no number",
                "anylb_vip_connections{service=\"web\"} NaN",
                "cannot read",
            ),
            (
                "another label",
                "anylb_vip_connections{vip=\"web\"} 0",
                "cannot read",
            ),
        ] {
            let found = connections(text, &[]);
            let found = found.expect_err(case);
            assert!(found.starts_with(error), "{case}: {found}");
        }
    }
}
