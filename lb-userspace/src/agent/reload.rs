//! A configuration on its way into force. Pure.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::model::{Bgp, Service, Settings};
use crate::status::Refusal;

/// How long a withdrawn VIP stays in the datapath: routers take a moment to follow.
const WITHDRAW_WAIT: Duration = Duration::from_secs(2);

/// VIPs that it lacks are withdrawn first; it comes into force a moment later.
pub struct Pending {
    settings: Settings,
    at: Instant,
    reply: oneshot::Sender<Result<String, Refusal>>,
}

impl Pending {
    /// After `current`.
    pub fn new(
        settings: Settings,
        current: &Settings,
        now: Instant,
        reply: oneshot::Sender<Result<String, Refusal>>,
    ) -> Self {
        let gone = |service: &Service| settings.services.iter().all(|kept| kept.vip != service.vip);
        let wait = if current.services.iter().any(gone) {
            WITHDRAW_WAIT
        } else {
            Duration::ZERO
        };
        Self {
            settings,
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

    /// The configuration, and who waits for it.
    pub fn into_parts(self) -> (Settings, oneshot::Sender<Result<String, Refusal>>) {
        (self.settings, self.reply)
    }
}

/// Refuses what a running agent cannot change.
pub fn check(current: &Settings, next: &Settings) -> Result<(), Refusal> {
    let fixed = [
        ("[node]", current.node != next.node),
        ("[bgp]", sessions(current) != sessions(next)),
        ("[metrics]", current.metrics != next.metrics),
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
        let (reply, _) = oneshot::channel();
        let pending = Pending::new(settings(next), &settings(current), now, reply);
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
    }
}
