//! How often each exit was reached.

use std::fmt;

/// Packets by exit, on the host and in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    rows: Vec<Row>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    name: &'static str,
    host: u64,
    kernel: u64,
}

impl Tally {
    /// Of exits with these names, in the order of their numbers.
    pub fn new(names: impl IntoIterator<Item = &'static str>) -> Self {
        let row = |name| Row {
            name,
            host: 0,
            kernel: 0,
        };
        Self {
            rows: names.into_iter().map(row).collect(),
        }
    }

    /// Adds what both sides have counted, by exit.
    pub fn add(&mut self, host: &[u64], kernel: &[u64]) {
        for (row, (host, kernel)) in self.rows.iter_mut().zip(host.iter().zip(kernel)) {
            row.host += host;
            row.kernel += kernel;
        }
    }

    /// Names of the exits that no packet has reached, among those that `should` be.
    pub fn missing(&self, should: impl Fn(u32) -> bool) -> Vec<&'static str> {
        let rows = (0..).zip(&self.rows);
        rows.filter(|(exit, row)| should(*exit) && (row.host == 0 || row.kernel == 0))
            .map(|(_, row)| row.name)
            .collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:22} {:>10} {:>10}", "exit", "host", "kernel")?;
        for row in &self.rows {
            writeln!(f, "{:22} {:>10} {:>10}", row.name, row.host, row.kernel)?;
        }
        Ok(())
    }
}
