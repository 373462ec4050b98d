//! A configuration on its way into force. Pure.

use std::time::{Duration, Instant};

use crate::model::{Bgp, Service, Settings};
use crate::status::{ConfigDiff, Refusal, Reloaded};

/// How long a withdrawn VIP stays in the datapath: routers take a moment to follow.
const WITHDRAW_WAIT: Duration = Duration::from_secs(2);

/// Whoever waits for the end of a reload.
pub type Reply = Box<dyn FnOnce(Result<Reloaded, Refusal>) + Send>;

/// VIPs that it lacks are withdrawn first; it comes into force a moment later.
pub struct Pending {
    settings: Settings,
    diff: ConfigDiff,
    at: Instant,
    reply: Reply,
}

impl Pending {
    /// After `current`, from which it differs by `diff`.
    pub fn new(
        settings: Settings,
        diff: ConfigDiff,
        current: &Settings,
        now: Instant,
        reply: Reply,
    ) -> Self {
        let gone = |service: &Service| settings.services.iter().all(|kept| kept.vip != service.vip);
        let wait = if current.services.iter().any(gone) {
            WITHDRAW_WAIT
        } else {
            Duration::ZERO
        };
        Self {
            settings,
            diff,
            at: now + wait,
            reply,
        }
    }

    /// What will be served.
    pub fn services(&self) -> &[Service] {
        &self.settings.services
    }

    /// Whether routers have had their moment.
    pub fn is_due(&self, now: Instant) -> bool {
        self.at <= now
    }

    /// The configuration, what it changes, and who waits for it.
    pub fn into_parts(self) -> (Settings, ConfigDiff, Reply) {
        (self.settings, self.diff, self.reply)
    }
}

/// Refuses what nobody would want, unless he says so.
pub fn judge(diff: &ConfigDiff, force: bool) -> Result<(), Refusal> {
    if force || diff.objections.is_empty() {
        return Ok(());
    }
    Err(Refusal::refused(format!(
        "{}; nothing changed: `anylb diff` shows all of it, `anylb reload --force` does it all the same",
        diff.objections.join("; ")
    )))
}

/// Refuses what a running agent cannot change.
pub fn check(current: &Settings, next: &Settings) -> Result<(), Refusal> {
    let fixed = [
        ("[node]", current.node != next.node),
        ("[bgp]", sessions(current) != sessions(next)),
        ("[metrics]", current.metrics != next.metrics),
        (
            "the role ([backend] or none)",
            current.backend.is_some() != next.backend.is_some(),
        ),
    ];
    let changed: Vec<_> = fixed
        .into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(section, _)| section)
        .collect();
    if next.pools.is_empty() {
        return Err(Refusal::refused(
            "no [[pool]] is left, so there is nothing to run: end the agent instead; nothing changed",
        ));
    }
    if changed.is_empty() {
        return Ok(());
    }
    Err(Refusal::refused(format!(
        "{} cannot be changed by a reload in this version: run `anylb restart`; nothing changed",
        changed.join(", ")
    )))
}

fn sessions(settings: &Settings) -> Option<Bgp> {
    settings.bgp.as_ref().map(Bgp::sessions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::testing::{pool, settings};

    fn wait(current: &str, next: &str) -> Duration {
        let now = Instant::now();
        let (diff, reply) = (ConfigDiff::default(), Box::new(drop));
        let pending = Pending::new(settings(next), diff, &settings(current), now, reply);
        pending.at - now
    }

    #[test]
    fn only_a_vip_that_goes_needs_a_moment() {
        let one = pool("a", "198.51.100.1", &[1], "");
        let more_backends = pool("a", "198.51.100.1", &[1, 2], "");
        let moved = pool("b", "198.51.100.1", &[1], "");
        let other = pool("a", "198.51.100.2", &[1], "");
        let both = format!("{one}{}", pool("b", "198.51.100.2", &[1], ""));
        assert_eq!(wait(&one, &more_backends), Duration::ZERO);
        assert_eq!(wait(&one, &moved), Duration::ZERO, "the VIP stays");
        assert_eq!(wait(&one, &both), Duration::ZERO);
        assert_eq!(wait(&both, &one), WITHDRAW_WAIT);
        assert_eq!(wait(&one, &other), WITHDRAW_WAIT);
    }

    #[test]
    fn what_a_reload_cannot_change_is_refused() {
        let one = pool("a", "198.51.100.1", &[1], "");
        let metrics = format!("[metrics]\nlisten = \"127.0.0.1:9488\"\n{one}");
        let refused = |next: &str| check(&settings(&one), &settings(next)).map_err(|r| r.message);
        assert_eq!(
            refused(&pool("a", "198.51.100.9", &[1, 2], "need = 2")),
            Ok(())
        );
        assert_eq!(
            refused(&metrics),
            Err(
                "[metrics] cannot be changed by a reload in this version: run `anylb restart`; nothing changed"
                    .into()
            )
        );
    }

    #[test]
    fn objections_refuse_a_reload_unless_it_is_forced() {
        let diff = |objections: &[&str]| ConfigDiff {
            objections: objections.iter().map(ToString::to_string).collect(),
            ..ConfigDiff::default()
        };
        assert_eq!(judge(&diff(&[]), false), Ok(()));
        assert_eq!(judge(&diff(&["a"]), true), Ok(()));
        let refused = judge(&diff(&["a", "b"]), false).map_err(|r| (r.kind, r.message));
        let message = "a; b; nothing changed: `anylb diff` shows all of it, `anylb reload --force` does it all the same";
        assert_eq!(refused, Err(("refused".into(), message.into())));
    }

    #[test]
    fn policies_change_by_a_reload_and_sessions_do_not() {
        let with = |bgp: &str, peer: &str| {
            format!(
                "[bgp]\nasn = 65001\n{bgp}\n[[bgp.peer]]\naddress = \"10.0.0.1\"\nasn = 65000\n{peer}\n{}",
                pool("a", "198.51.100.1", &[1], "")
            )
        };
        let current = settings(&with("", ""));
        let refused = |next: &str| check(&current, &settings(next)).is_err();
        for (about, bgp, peer, expected) in [
            ("communities", "communities = [\"65001:1\"]", "", false),
            ("a peer's MED", "", "med = 5", false),
            ("a peer's services", "", "services = [\"a-service\"]", false),
            ("the hold time", "hold_time = \"30s\"", "", true),
            ("a peer's port", "", "port = 1179", true),
        ] {
            assert_eq!(refused(&with(bgp, peer)), expected, "{about}");
        }
        let password = |file: &str| settings(&with("", &format!("password_file = \"{file}\"")));
        assert_eq!(check(&password("a.key"), &password("b.key")), Ok(()));
        for (before, after) in [
            (&current, &password("a.key")),
            (&password("a.key"), &current),
        ] {
            assert!(
                check(before, after).is_err(),
                "signed or not is another session"
            );
        }
    }
}
