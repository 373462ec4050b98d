//! Network namespaces for tests.

use std::future::Future;
use std::process::Command;
use std::sync::mpsc;
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Pid, gettid};

/// Runs `test` in a network namespace of its own that ends with it. Without root it is skipped aloud; under CI that
/// is a failure.
pub(crate) fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send) {
    if !nix::unistd::geteuid().is_root() {
        assert!(
            std::env::var_os("CI").is_none(),
            "needs root for a network namespace"
        );
        eprintln!("SKIPPED: needs root for a network namespace");
        return;
    }
    // The namespace belongs to the thread, and goes with it.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            enter_new_namespace();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(test());
        });
    });
}

/// Another namespace, at the other end of a veth pair: `eth0` here, `peer0` there.
pub(crate) struct Peer {
    commands: Option<mpsc::Sender<String>>,
    done: mpsc::Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    pub(crate) const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    pub(crate) const MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

    /// Both ends up, with 10.0.0.11 and 2001:db8::11 here, 10.0.0.1 and 2001:db8::1 there.
    pub(crate) fn connect() -> Self {
        let (commands, run) = mpsc::channel::<String>();
        let (tell_done, done) = mpsc::channel();
        let (tell_id, id) = mpsc::channel::<Pid>();
        let thread = std::thread::spawn(move || {
            enter_new_namespace();
            tell_id.send(gettid()).unwrap();
            for command in run {
                ip(&command);
                tell_done.send(()).unwrap();
            }
        });
        let peer = Peer {
            commands: Some(commands),
            done,
            thread: Some(thread),
        };
        let id = id.recv().unwrap();
        ip(
            "link add eth0 address 02:00:00:00:00:01 type veth peer name peer0 address 02:00:00:00:00:02",
        );
        ip(&format!("link set peer0 netns {id}"));
        ip("addr add 10.0.0.11/24 dev eth0");
        ip("addr add 2001:db8::11/64 dev eth0 nodad");
        ip("link set eth0 up");
        peer.ip("addr add 10.0.0.1/24 dev peer0");
        peer.ip("addr add 2001:db8::1/64 dev peer0 nodad");
        peer.ip("link set peer0 up");
        peer
    }

    /// Runs `ip` there.
    pub(crate) fn ip(&self, arguments: &str) {
        let commands = self.commands.as_ref().expect("taken only on drop");
        commands
            .send(arguments.to_owned())
            .expect("the peer's thread lives");
        self.done.recv().expect("the command succeeded");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.commands = None;
        // A panic there has failed the test already, by a closed channel.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn enter_new_namespace() {
    unshare(CloneFlags::CLONE_NEWNET).expect("root may make a network namespace");
    ip("link set lo up");
}

/// Runs `ip` in the namespace of this thread, words separated by blanks.
pub(crate) fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .expect("iproute2 is installed");
    assert!(
        output.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
