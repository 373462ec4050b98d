//! Which kernels: a series of Linux, or the newest that Debian has.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// The oldest series that is promised.
const PROMISED: [u32; 2] = [6, 1];

/// `6.1`, or `newest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series(String);

impl Series {
    /// Those that are tried where none is named: the oldest that may work, long-term ones, the newest.
    pub fn usual() -> Vec<Self> {
        ["5.10", "6.1", "6.12", "newest"]
            .map(|name| Self(name.to_owned()))
            .to_vec()
    }

    /// None of the newest, which may be any.
    pub fn number(&self) -> Option<&str> {
        (self.0 != "newest").then_some(self.0.as_str())
    }

    /// Whether a version is of this series.
    pub fn has(&self, version: &str) -> bool {
        self.number()
            .is_none_or(|number| version.starts_with(&format!("{number}.")))
    }

    /// Whether the README promises it; of others it is shown what works.
    pub fn is_promised(&self) -> bool {
        let Some(number) = self.number() else {
            return true;
        };
        let parts = number.split('.').map_while(|part| part.parse::<u32>().ok());
        parts.ge(PROMISED)
    }
}

impl FromStr for Series {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::Series;

    #[test]
    fn versions_and_promises() {
        for (series, version, has, promised) in [
            ("5.10", "5.10.262-1", true, false),
            ("6.1", "6.1.192-2", true, true),
            ("6.1", "6.12.117-1", false, true),
            ("6.12", "6.1.192-2", false, true),
            ("newest", "7.3.4-1~bpo13+1", true, true),
        ] {
            let series = Series(series.to_owned());
            assert_eq!(series.has(version), has, "{series} {version}");
            assert_eq!(series.is_promised(), promised, "{series}");
        }
    }
}
