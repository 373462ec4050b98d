//! What `anylb doctor` tells.

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// `anylb doctor`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoctorReport {
    /// In the order in which they should be looked at.
    pub findings: Vec<Finding>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What: `kernel`, `eth0 offloads`, `backend 10.1.0.1`.
    pub check: String,
    /// How it is.
    pub verdict: FindingVerdict,
    /// What was found, and why it matters where it is not well.
    pub found: String,
    /// What to do; only where there is something to do.
    pub fix: Option<String>,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FindingVerdict {
    /// As it should be.
    Ok,
    /// It works, and could be better or break later.
    Warn,
    /// anylb cannot do its work so.
    Fail,
    /// It could not be found out without trying.
    Unknown,
}

impl DoctorReport {
    /// Whether anything stands in the way.
    pub fn failed(&self) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.verdict == FindingVerdict::Fail)
    }
}
