//! Health checks.

use super::family::Families;
use crate::status::Counters;

pub(super) fn add(families: &mut Families, counters: &Counters) {
    // A backend checks nothing, and a family of zeros there would look like checks that do not run.
    if counters.checks.is_empty() {
        return;
    }
    let mut checks = families.counter(
        "health_checks_total",
        "Health checks that ended, by result.",
    );
    for (kind, count) in &counters.checks {
        for (result, ended) in &count.results {
            checks.add(&[("type", kind), ("result", result)], *ended);
        }
    }
    let mut duration = families.histogram(
        "health_check_duration_seconds",
        "How long health checks took.",
    );
    for (kind, count) in &counters.checks {
        duration.add_histogram(&[("type", kind)], &count.duration);
    }
    families
        .counter(
            "health_check_state_changes_total",
            "Verdicts on backends that changed.",
        )
        .add(&[], counters.health_state_changes);
}
