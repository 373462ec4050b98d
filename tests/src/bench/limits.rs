//! What a packet may cost, in hash lookups: faster and slower machines differ less in this unit than in nanoseconds.
//!
//! Only a lookup calls out of line, so a CPU that needs no return thunks makes the unit cheap (10 ns instead of 35) and
//! inlined code no faster. A lookup therefore counts as [`UNIT_NS`] at least: there the limits are the design's figures in
//! nanoseconds.

use super::series::Figures;

/// The unit: one hit of a 20-byte key in a BPF hash map.
pub const REFERENCE: &str = "reference-hash-lookup";

/// What a lookup costs on the machine that the limits were set on.
pub const UNIT_NS: f64 = 35.0;

/// Cases by the start of their name, and their limit in units of the reference.
const COST: [(&str, f64); 7] = [
    ("vip-", 1.1),
    ("flowtable-", 2.1),
    ("vlan-", 1.15),
    ("redirect-", 1.15),
    ("foreign-", 0.3),
    ("backend-accept-", 2.6),
    ("backend-passon-", 2.9),
];

/// Cases that differ only in the number of flows cost the same, within this factor, where nothing is remembered of a flow.
const FLAT: f64 = 1.15;

/// Ends of the names of cases that differ only in the number of flows.
const FLOWS: [&str; 3] = ["-1", "-64k", "-1m"];

/// One comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// A case, or a group of cases that must be flat.
    pub name: String,
    /// What was measured: a ratio to the unit, or between two cases.
    pub value: f64,
    /// What it may be at most.
    pub limit: f64,
}

impl Check {
    /// Whether the limit holds.
    pub fn passed(&self) -> bool {
        self.value <= self.limit
    }
}

/// The cost of every case that has a limit, in its order, then every group's spread.
pub fn check(figures: &[Figures]) -> Vec<Check> {
    let Some(reference) = figures.iter().find(|case| case.name == REFERENCE) else {
        return Vec::new();
    };
    let cost = figures.iter().filter_map(|case| {
        let (_, limit) = COST
            .iter()
            .find(|(prefix, _)| case.name.starts_with(prefix))?;
        Some(Check {
            name: case.name.clone(),
            value: case.ratio_to(reference, UNIT_NS),
            limit: *limit,
        })
    });
    cost.chain(
        groups(figures)
            .into_iter()
            .map(|group| spread(figures, group)),
    )
    .collect()
}

/// Names of the groups: what is before the number of flows.
fn groups(figures: &[Figures]) -> Vec<&str> {
    let mut groups: Vec<&str> = figures
        .iter()
        .filter(|case| !case.name.starts_with("flowtable-"))
        .filter_map(|case| group(&case.name))
        .collect();
    groups.dedup();
    groups
}

fn group(name: &str) -> Option<&str> {
    FLOWS.iter().find_map(|flows| name.strip_suffix(flows))
}

/// The dearest case of a group in units of the cheapest, both measured one after the other.
fn spread(figures: &[Figures], name: &str) -> Check {
    let cases: Vec<&Figures> = figures
        .iter()
        .filter(|case| group(&case.name) == Some(name))
        .collect();
    let pairs = cases
        .iter()
        .flat_map(|dear| cases.iter().map(move |cheap| dear.ratio_to(cheap, 0.0)));
    Check {
        name: format!("{name}, 1 to 1m flows"),
        value: pairs.fold(1.0, f64::max),
        limit: FLAT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(name: &str, nanoseconds: f64) -> Figures {
        Figures {
            name: name.to_owned(),
            rounds: vec![nanoseconds; 3],
        }
    }

    #[test]
    fn cost_and_flatness() {
        let checks = check(&[
            figures(REFERENCE, 40.0),
            figures("vip-ipv4-tcp-gue-syn-1", 30.0),
            figures("vip-ipv4-tcp-gue-syn-64k", 30.0),
            figures("vip-ipv4-tcp-gue-syn-1m", 50.0),
            figures("foreign-ipv6", 12.0),
        ]);
        let seen: Vec<_> = checks
            .iter()
            .map(|check| (check.name.as_str(), check.value, check.passed()))
            .collect();
        assert_eq!(
            seen,
            [
                ("vip-ipv4-tcp-gue-syn-1", 0.75, true),
                ("vip-ipv4-tcp-gue-syn-64k", 0.75, true),
                ("vip-ipv4-tcp-gue-syn-1m", 1.25, false),
                ("foreign-ipv6", 0.3, true),
                ("vip-ipv4-tcp-gue-syn, 1 to 1m flows", 50.0 / 30.0, false),
            ]
        );
    }

    #[test]
    fn a_cheap_lookup_counts_as_the_unit() {
        let checks = check(&[figures(REFERENCE, 10.0), figures("foreign-ipv4", 7.0)]);
        assert_eq!(checks[0].value, 7.0 / UNIT_NS);
    }
}
