//! A configuration on its way into force, and what it would change.

use std::time::Instant;

use tracing::info;

use super::{Reconciler, wall_secs};
use crate::agent::reload::{self, Pending, Reply};
use crate::dataplane::release_heap;
use crate::model::{Bgp, Settings};
use crate::status::{ConfigDiff, Refusal, Reloaded};

impl Reconciler {
    /// What `next`, or else the file as it is now, would change.
    pub(super) fn diff(&mut self, next: Option<Box<Settings>>) -> Result<ConfigDiff, Refusal> {
        let next = match next {
            Some(next) => *next,
            None => (self.parts.reload)().map_err(Refusal::invalid)?,
        };
        let diff = self.compare(&next);
        // Tables are megabytes.
        release_heap();
        diff
    }

    fn compare(&mut self, next: &Settings) -> Result<ConfigDiff, Refusal> {
        let said = self.said();
        let world = self.world(&said);
        let diff = self.parts.core.diff(next, world);
        diff.map_err(|error| Refusal::refused(error.to_string()))
    }

    pub(super) fn reload(&mut self, force: bool, reply: Reply) {
        let outcome = (self.parts.reload)()
            .map_err(Refusal::invalid)
            .and_then(|settings| Ok((self.check_reload(&settings, force)?, settings)));
        match outcome {
            Ok((diff, settings)) => {
                let current = &self.parts.core.settings;
                let pending = Pending::new(settings, diff, current, Instant::now(), reply);
                self.pending = Some(pending);
                self.round();
            }
            Err(refusal) => {
                self.config.last_reload_successful = false;
                self.config.reloads_rejected += 1;
                reply(Err(refusal));
            }
        }
    }

    /// What a running agent cannot change, or should not, is refused before anything is touched.
    fn check_reload(&mut self, settings: &Settings, force: bool) -> Result<ConfigDiff, Refusal> {
        if self.pending.is_some() {
            return Err(Refusal::refused(
                "the reload before this one is not finished: try again in a moment",
            ));
        }
        reload::check(&self.parts.core.settings, settings)?;
        let diff = self.compare(settings)?;
        reload::judge(&diff, force)?;
        if !force {
            // What cannot be written now cannot be written for what is new.
            self.unsaved = true;
            self.save()?;
        }
        Ok(diff)
    }

    /// Puts the next configuration in force when its time has come.
    pub(super) fn take_pending(&mut self, now: Instant) -> Option<(ConfigDiff, Reply)> {
        let pending = self.pending.take_if(|pending| pending.is_due(now))?;
        let (settings, diff, reply) = pending.into_parts();
        self.parts.core.settings = settings;
        let bgp = self.parts.core.settings.bgp.as_ref();
        let passwords = bgp.map(Bgp::passwords).unwrap_or_default();
        self.parts.passwords.send_if_modified(|current| {
            let differs = *current != passwords;
            *current = passwords;
            differs
        });
        self.parts.checker.update(self.parts.core.targets());
        self.config.last_reload_successful = true;
        self.config.reloads_applied += 1;
        self.config.last_success_time_secs = wall_secs();
        Some((diff, reply))
    }

    pub(super) fn answer_reload(
        &self,
        applied: Result<(), String>,
        diff: ConfigDiff,
        reply: Reply,
    ) {
        let services = self.parts.core.settings.services.len();
        info!(services, "configuration applied");
        let done = |()| Reloaded {
            message: format!("applied: {services} services"),
            diff,
        };
        reply(applied.map(done).map_err(Refusal::failed));
    }
}
