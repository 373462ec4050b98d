//! Ends a long system call of one thread at a time given.

use std::io;
use std::mem::zeroed;

const SIGNAL: libc::c_int = libc::SIGALRM;
/// Again and again, should the call not have begun at the first.
const REPEAT_NS: libc::c_long = 10_000_000;
const NS_PER_SEC: u64 = 1_000_000_000;

/// From its time on, system calls of the thread that made it end with EINTR, until it is dropped.
pub(super) struct Alarm(libc::timer_t);

impl Alarm {
    /// At `ns` on CLOCK_MONOTONIC.
    pub(super) fn at(ns: u64) -> io::Result<Self> {
        handle()?;
        // SAFETY: plain data, for which zeroes are a value.
        let (mut event, mut spec): (libc::sigevent, libc::itimerspec) =
            unsafe { (zeroed(), zeroed()) };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = SIGNAL;
        // SAFETY: takes nothing.
        event.sigev_notify_thread_id = unsafe { libc::gettid() };
        spec.it_value.tv_sec = (ns / NS_PER_SEC) as libc::time_t;
        spec.it_value.tv_nsec = (ns % NS_PER_SEC) as libc::c_long;
        spec.it_interval.tv_nsec = REPEAT_NS;
        let mut timer: libc::timer_t = std::ptr::null_mut();
        // SAFETY: event and timer live through the call.
        done(unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) })?;
        let alarm = Self(timer);
        let nowhere = std::ptr::null_mut();
        // SAFETY: the timer has just been made, and `spec` lives through the call.
        done(unsafe {
            libc::timer_settime(alarm.0, libc::TIMER_ABSTIME, &raw const spec, nowhere)
        })?;
        Ok(alarm)
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        // SAFETY: made by `at`, and deleted once.
        unsafe { libc::timer_delete(self.0) };
    }
}

/// Without a handler the signal would end the process.
fn handle() -> io::Result<()> {
    // SAFETY: plain data, for which zeroes are a value: no flags, so that calls are not begun anew.
    let mut action: libc::sigaction = unsafe { zeroed() };
    action.sa_sigaction = ignore as extern "C" fn(libc::c_int) as libc::sighandler_t;
    // SAFETY: the handler does nothing, which it may do at any point; nothing else of this process uses the signal.
    done(unsafe { libc::sigaction(SIGNAL, &raw const action, std::ptr::null_mut()) })
}

extern "C" fn ignore(_: libc::c_int) {}

fn done(result: libc::c_int) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::super::generator::now_ns;
    use super::*;

    #[test]
    fn a_call_that_waits_for_ever_ends_at_the_time_given() {
        let (mut read, _write) = io::pipe().unwrap();
        let at = now_ns() + 30_000_000;
        let alarm = Alarm::at(at).unwrap();
        let error = read.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
        assert!(now_ns() >= at);
        // And every call from then on, until the alarm is dropped.
        let error = read.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
        drop(alarm);
        let mut ready = libc::pollfd {
            fd: std::os::fd::AsRawFd::as_raw_fd(&read),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one entry, which lives through the call.
        assert_eq!(unsafe { libc::poll(&raw mut ready, 1, 50) }, 0, "time out");
    }
}
