//! Telling the loop that something may differ, once however often it happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::reconcile::Event;

/// How often the loop looks without being told to: for holds, and for what nobody reports.
const TICK: Duration = Duration::from_secs(1);

/// Rings for the loop; the bell is silent until the loop has heard it.
#[derive(Clone, Debug)]
pub struct Bell {
    events: mpsc::Sender<Event>,
    rung: Arc<AtomicBool>,
}

impl Bell {
    /// For the loop behind `events`.
    pub fn new(events: mpsc::Sender<Event>) -> Self {
        Self {
            events,
            rung: Arc::default(),
        }
    }

    /// Rings whenever `watch` changes.
    pub fn on_change<T: Send + Sync + 'static>(&self, mut watch: watch::Receiver<T>) {
        let bell = self.clone();
        tokio::spawn(async move { while watch.changed().await.is_ok() && bell.ring().await {} });
    }

    /// Rings every `TICK`.
    pub fn on_time(&self) {
        let bell = self.clone();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::spawn(async move {
            loop {
                ticks.tick().await;
                if !bell.ring().await {
                    return;
                }
            }
        });
    }

    /// The loop has heard it and looks now: what changes from here on rings again.
    pub fn heard(&self) {
        self.rung.store(false, Ordering::SeqCst);
    }

    /// False: the loop has ended.
    async fn ring(&self) -> bool {
        if self.rung.swap(true, Ordering::SeqCst) {
            return !self.events.is_closed();
        }
        self.events.send(Event::Changed).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn many_changes_before_the_loop_looks_are_one_event() {
        let (events, mut queue) = mpsc::channel(8);
        let bell = Bell::new(events);
        for _ in 0..3 {
            assert!(bell.ring().await);
        }
        assert!(matches!(queue.try_recv(), Ok(Event::Changed)));
        assert!(queue.try_recv().is_err(), "rung once");
        bell.heard();
        assert!(bell.ring().await);
        assert!(matches!(queue.try_recv(), Ok(Event::Changed)));
        drop(queue);
        assert!(!bell.ring().await, "the loop has ended");
    }
}
