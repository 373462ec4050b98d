//! The user's end: finds the process or starts one, says what it wants, hears what there is.

use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::message::{Order, PROTOCOL, Report};
use super::process::SOCKET_NAME;

/// A process that has been started listens within this time.
const START: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);
/// Between two tries to have a process.
const RETRY: Duration = Duration::from_secs(1);
/// Bytes of a report.
const REPORT_MAX: u64 = 8 << 20;
/// For the process to take an order while everything ends.
const STOP_WAIT: Duration = Duration::from_secs(1);

/// How to start the process, and where it is found.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program with its arguments; it makes a session of its own.
    pub program: Vec<String>,
    /// Its directory, absolute.
    pub directory: PathBuf,
}

/// A connection to the process, kept up. Dropping it leaves the process alone.
#[derive(Debug)]
pub struct Client<W> {
    orders: watch::Sender<Arc<Order<W>>>,
    reports: watch::Receiver<Option<Arc<Report>>>,
    task: JoinHandle<()>,
}

impl<W: Clone + PartialEq + Serialize + Send + Sync + 'static> Client<W> {
    /// Has the sessions of `order` run, by the process that is there, or by a new one. Needs a tokio runtime.
    pub fn start(launch: Launch, order: Order<W>) -> Client<W> {
        let (orders, wanted) = watch::channel(Arc::new(order));
        let (told, reports) = watch::channel(None);
        let keeper = Keeper {
            launch,
            child: None,
            wanted,
            told,
        };
        Client {
            orders,
            reports,
            task: tokio::spawn(keeper.run()),
        }
    }

    /// The last report; none while there is no process.
    pub fn reports(&self) -> watch::Receiver<Option<Arc<Report>>> {
        self.reports.clone()
    }

    /// Changes the order; the process hears of it where that makes a difference.
    pub fn amend(&self, change: impl FnOnce(&mut Order<W>)) {
        self.orders.send_if_modified(|order| {
            let before = Arc::clone(order);
            change(Arc::make_mut(order));
            *order != before
        });
    }

    /// Has the process tell its peers AdminDown and end; returns when it has understood.
    pub async fn stop(&self) {
        self.amend(|order| *order = Order::Stop);
        let mut reports = self.reports.clone();
        // It is not there, or does not answer: nothing more can be done about it.
        let _ = timeout(STOP_WAIT, async {
            while reports.changed().await.is_ok() {}
        })
        .await;
    }
}

impl<W> Drop for Client<W> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Stops a process that a former user has left, if there is one.
pub async fn stop_left(directory: &std::path::Path) {
    let Ok(stream) = UnixStream::connect(directory.join(SOCKET_NAME)).await else {
        return;
    };
    let (_, mut writing) = stream.into_split();
    // One that is ending already need not be told.
    let _ = send(&mut writing, &Order::<()>::Stop).await;
}

struct Keeper<W> {
    launch: Launch,
    child: Option<Child>,
    wanted: watch::Receiver<Arc<Order<W>>>,
    told: watch::Sender<Option<Arc<Report>>>,
}

/// Why a conversation is over.
enum End {
    /// The user has gone, or has stopped the process.
    Done,
    /// The process has gone, or speaks another protocol.
    Lost(String),
}

impl<W: Serialize + Send + Sync> Keeper<W> {
    async fn run(mut self) {
        loop {
            match self.converse().await {
                End::Done => return,
                End::Lost(why) => {
                    tracing::warn!(%why, "no BFD process");
                    self.told.send_replace(None);
                }
            }
            if matches!(**self.wanted.borrow(), Order::Stop) {
                return;
            }
            sleep(RETRY).await;
        }
    }

    async fn converse(&mut self) -> End {
        let stream = match self.connect().await {
            Ok(stream) => stream,
            Err(error) => return End::Lost(error.to_string()),
        };
        let pid = stream
            .peer_cred()
            .ok()
            .and_then(|credentials| credentials.pid());
        let (reading, mut writing) = stream.into_split();
        let mut lines = BufReader::new(reading.take(REPORT_MAX)).lines();
        self.wanted.mark_changed();
        loop {
            // Cancel-safe: a watch, and `next_line` keeps what it has read.
            tokio::select! {
                line = lines.next_line() => {
                    let report = match line {
                        Ok(Some(line)) => serde_json::from_str::<Report>(&line),
                        Ok(None) => return End::Lost("it has ended".into()),
                        Err(error) => return End::Lost(error.to_string()),
                    };
                    lines.get_mut().get_mut().set_limit(REPORT_MAX);
                    match report {
                        Ok(report) if report.protocol == PROTOCOL => {
                            self.told.send_replace(Some(Arc::new(report)));
                        }
                        _ => return replace(pid, lines.into_inner()).await,
                    }
                }
                changed = self.wanted.changed() => {
                    if changed.is_err() {
                        return End::Done;
                    }
                    let order = Arc::clone(&self.wanted.borrow_and_update());
                    if let Err(error) = send(&mut writing, &*order).await {
                        return End::Lost(error.to_string());
                    }
                    if matches!(*order, Order::Stop) {
                        return End::Done;
                    }
                }
            }
        }
    }

    async fn connect(&mut self) -> io::Result<UnixStream> {
        let socket = self.launch.directory.join(SOCKET_NAME);
        if let Ok(stream) = UnixStream::connect(&socket).await {
            return Ok(stream);
        }
        self.launch()?;
        let connect = async {
            loop {
                match UnixStream::connect(&socket).await {
                    Ok(stream) => return stream,
                    Err(_) => sleep(POLL).await,
                }
            }
        };
        timeout(START, connect)
            .await
            .map_err(|_| io::Error::other("it does not listen: see its log"))
    }

    fn launch(&mut self) -> io::Result<()> {
        let (program, arguments) = match self.launch.program.split_first() {
            Some(parts) => parts,
            None => return Err(io::ErrorKind::InvalidInput.into()),
        };
        // Reaps the one before.
        if let Some(child) = &mut self.child {
            child.try_wait()?;
        }
        let child = Command::new(program)
            .args(arguments)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        tracing::info!(pid = child.id(), "BFD process started");
        self.child = Some(child);
        Ok(())
    }
}

/// A process of another version: asks it to end in order, and waits for that.
async fn replace(pid: Option<i32>, mut reading: BufReader<tokio::io::Take<OwnedReadHalf>>) -> End {
    let why = "it speaks another protocol: it is replaced";
    if let Some(pid) = pid {
        let ended = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGTERM,
        );
        if ended.is_ok() {
            let mut rest = Vec::new();
            reading.get_mut().set_limit(REPORT_MAX);
            // Ends with the process; one that does not end is found again.
            let _ = timeout(START * 2, reading.read_to_end(&mut rest)).await;
        }
    }
    End::Lost(why.into())
}

async fn send<W: Serialize>(writing: &mut OwnedWriteHalf, order: &Order<W>) -> io::Result<()> {
    let mut line = serde_json::to_vec(order)?;
    line.push(b'\n');
    writing.write_all(&line).await
}
