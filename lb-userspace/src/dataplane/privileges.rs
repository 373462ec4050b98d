//! What this process may do, asked before anything is tried: a refusal half-way would name the first thing that failed and not
//! what is missing.

use super::DataplaneError;

/// Numbers of `linux/capability.h`.
const NET_ADMIN: u32 = 12;
const SYS_ADMIN: u32 = 21;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

/// Refuses a process that cannot load and attach programs.
pub fn check() -> Result<(), DataplaneError> {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    match effective(&status) {
        Some(capabilities) if !suffices(capabilities) => Err(DataplaneError::NoPrivileges {
            what: "run an XDP program",
        }),
        // Without /proc the kernel's own refusals must do.
        _ => Ok(()),
    }
}

fn effective(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn suffices(capabilities: u64) -> bool {
    let has = |number: u32| capabilities & (1 << number) != 0;
    has(NET_ADMIN) && (has(SYS_ADMIN) || has(BPF) && has(PERFMON))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_suffices() {
        let set = |numbers: &[u32]| numbers.iter().map(|number| 1_u64 << number).sum();
        for (about, numbers, expected) in [
            ("nobody", &[][..], false),
            ("the unit's set", &[NET_ADMIN, PERFMON, BPF], true),
            ("no network", &[PERFMON, BPF], false),
            ("no pointers", &[NET_ADMIN, BPF], false),
            ("no BPF", &[NET_ADMIN, PERFMON], false),
            ("before Linux 5.8", &[NET_ADMIN, SYS_ADMIN], true),
        ] {
            assert_eq!(suffices(set(numbers)), expected, "{about}");
        }
    }

    #[test]
    fn the_effective_set_is_read() {
        let status = "Name:\tanylb\nCapPrm:\t000001ffffffffff\nCapEff:\t0000000000001000\n";
        assert_eq!(effective(status), Some(1 << NET_ADMIN));
        assert_eq!(effective("Name:\tanylb\n"), None);
    }
}
