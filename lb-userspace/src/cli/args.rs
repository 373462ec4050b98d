//! The command line.

mod backend;
mod bench;
mod bfd;
mod bgp;
mod bpf;
mod config;
mod doctor;
mod health;
mod reload;
mod router;
mod service;
mod trace;

use std::net::{AddrParseError, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub use self::backend::{
    BackendArgs, BackendAsk, BackendCommand, DrainArgs, OverrideArgs, Weight, WeightArgs,
};
pub use self::bench::BenchArgs;
pub use self::bfd::BfdArgs;
pub use self::bgp::{BgpCommand, PeerArgs, ShutdownArgs};
pub use self::bpf::BpfCommand;
pub use self::config::{ConfigCommand, InitArgs, ShowArgs};
pub use self::doctor::DoctorArgs;
pub use self::health::{HealthCommand, ProbeArgs};
pub use self::reload::{DiffArgs, ReloadArgs};
pub use self::router::RouterConfigArgs;
pub use self::service::{ServiceArgs, ServiceCommand, Switch};
pub use self::trace::TraceArgs;
use crate::dataplane::BpfLog;
use crate::model::Protocol;

/// Where the configuration is unless told.
const CONFIG: &str = "/etc/anylb/anylb.toml";

const EXIT_CODES: &str = "\
Exit codes: 0 ok, 1 failed, 2 usage, 3 configuration invalid,
4 agent unreachable, 5 not found, 6 refused, 7 degraded, 8 timeout, 10 differs.";

/// `anylb`.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "anylb",
    version,
    about = "An anycast layer-4 load balancer: XDP datapath, health checks, BGP",
    after_help = EXIT_CODES,
    max_term_width = 80
)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// Admin socket of the agent
    #[arg(
        long,
        global = true,
        env = "ANYLB_SOCKET",
        hide_env_values = true,
        value_name = "PATH",
        default_value = "/run/anylb/admin.sock"
    )]
    pub socket: PathBuf,
    /// How to print the answer
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        default_value = "table"
    )]
    pub output: Format,
    /// Short for `-o json`
    #[arg(long, global = true, conflicts_with = "output")]
    pub json: bool,
}

impl Global {
    /// `--json` and `-o` as one.
    pub fn format(&self) -> Format {
        if self.json { Format::Json } else { self.output }
    }
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Fits 80 columns
    Table,
    /// `{"schema": "anylb/v1", "generation": N, ...}`
    Json,
    /// More columns, as wide as they are
    Wide,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the agent of an LB node
    Run(NodeArgs),
    /// Run the agent of a backend; list, drain, disable, weigh backends
    #[command(subcommand)]
    Backend(BackendCommand),
    /// Run the BFD sessions of an LB node; the agent starts this by itself
    ///
    /// It has no configuration: the agent says which sessions there are, by a socket in the runtime directory, and an agent
    /// that restarts finds them as they were. Ends when the agent is stopped, not when it restarts or crashes. SIGTERM ends
    /// it too, after the peers have been told AdminDown; the agent then starts another.
    Bfd(BfdArgs),
    /// Check a configuration file and show every error with its place
    ///
    /// The key files and interfaces that the file names must be there. Exits 3 when there is an error; nothing
    /// is changed in any case.
    Check(CheckArgs),
    /// Start, show and describe a configuration file
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Look at this host: what stands in the way, why, and what to do
    ///
    /// Kernel, BPF, interface, ways to backends, peers, clock. Nothing is changed and no program is attached; backends
    /// are checked once, and a peer is connected to only while no agent has a session with it. Exits 7 when anything
    /// fails.
    Doctor(DoctorArgs),
    /// Measure from another box what a node takes without loss
    ///
    /// Runs on a generator, not on the node: sends UDP packets out of IFACE to VIP:PORT of the node under test, which has an
    /// address of IFACE as the service's one backend, so that every packet comes back in its tunnel; says rates and loss. Without
    /// --rate it searches the highest rate without loss for every frame size (RFC 2544): double until packets are lost, then halve
    /// the step, to 1 %. docs/nics.md says how to set the node up and what to write down.
    ///
    /// The link is full while this runs: what else uses it, your login included, may die. An XDP program hangs on IFACE
    /// meanwhile, which resets the link of many drivers. Sources are made up, of 198.18.0.0/15 and 2001:2::/48, and must not get
    /// out. Without --yes nothing is done but to say so, and so where IFACE carries a default route, is down, has a program
    /// already or cannot do it: exit 6. Exits 1 when nothing comes back.
    Bench(BenchArgs),
    /// Show packets as they come in, what becomes of each, and why
    ///
    /// The agent puts another program in the place of its own for as long as this runs, without losing a packet; that one
    /// costs some ns more for every packet, and for those that are shown. It tells of at most 10,000 packets per second and
    /// CPU. Ends after --count packets, after --duration, or by Ctrl-C; where it is killed, the agent puts its own program
    /// back after 5 s. What could not be shown is said at the end. The agent's own probes are not shown. One trace at a time;
    /// root and the group of the admin socket may.
    Trace(TraceArgs),
    /// Print the router's side of our BGP sessions, in the words of its operating system
    ///
    /// From the configuration file alone: neighbours, timers, TTL security, ECMP, graceful restart, filters that accept exactly
    /// the VIPs and send nothing back, a limit of prefixes, and the edge's filter. Load it beside what the router has. A
    /// password is named by its file unless --show-secrets is given. docs/routers.md tells what each line is for.
    RouterConfig(RouterConfigArgs),
    /// Ask the agent.
    #[command(flatten)]
    Ask(Ask),
    /// Show the version, and those of the formats that nodes must agree on
    ///
    /// An agent that takes over a running datapath keeps its maps where the map ABI is the same, and else makes its own
    /// beside them first: no packet is lost, counters begin anew. Nodes and backends of one service need the same
    /// flow hash, and backends must know the tunnel header that nodes send.
    Version,
    /// Print the completions of a shell
    ///
    /// For bash: anylb completions bash > /usr/share/bash-completion/completions/anylb
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the man page, or write a page for every command
    Man {
        /// Write all of them into this directory
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
    },
}

/// What is asked of a running agent, backends apart.
#[derive(Clone, Debug, Subcommand)]
pub enum Ask {
    /// Show interfaces, VIPs, pools and BGP sessions of this node
    ///
    /// Exits 7 when the node is degraded: a datapath is not attached, a BGP session is down, a VIP is not
    /// announced although there is a BGP peer, or the agent reports a problem. The answer is printed all the same.
    Status,
    /// List, show, withdraw and announce services, and let known flows alone through
    #[command(subcommand)]
    Service(ServiceCommand),
    /// Show how the health checks do, and check a backend out of turn
    #[command(subcommand)]
    Health(HealthCommand),
    /// Show BGP sessions and what they were told; shut down, enable and refresh them
    #[command(subcommand)]
    Bgp(BgpCommand),
    /// Show which backend a packet would go to, and why
    ///
    /// Runs the loaded program with the live maps on the first packet of a flow with these addresses; nothing is sent. Of a pool in
    /// mode `flow-table` it also says which CPUs remember the flow, and where they send its other packets.
    Explain(ExplainArgs),
    /// Show what is in the kernel, and whether it is what it should be
    #[command(subcommand)]
    Bpf(BpfCommand),
    /// Show why packets were dropped, and what to do about it
    Drops,
    /// Show what a reload would change: services, backends, rows that move, routes that go
    ///
    /// Compares the configuration in force with FILE, or with the agent's own file as it is now. Nothing is changed.
    /// Exits 10 when anything differs, 3 when the file has errors.
    Diff(DiffArgs),
    /// Read the configuration file again, show what changed, and answer once it is in force
    ///
    /// A file with errors changes nothing. Refused, with exit code 6, when more than 0.1 % of a pool's flows would
    /// lose their backend, when every VIP that is announced would be withdrawn, and when something changed that
    /// needs `anylb restart`. SIGHUP does the same, and the log tells.
    Reload(ReloadArgs),
    /// End the agent for a successor: routes and datapath stay as they are
    Restart,
}

/// `run`.
#[derive(Args, Clone, Debug)]
pub struct NodeArgs {
    /// As a backend has it.
    #[command(flatten)]
    pub run: RunArgs,
    /// What the XDP program logs: at most ten lines at once on each CPU, and some per second
    #[arg(long, value_name = "LEVEL", value_enum, default_value = "off")]
    pub bpf_log: BpfLog,
}

/// `run`, `backend run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// The configuration file
    #[arg(short, long, value_name = "FILE", default_value = CONFIG)]
    pub config: PathBuf,
}

/// `check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// The configuration file
    #[arg(value_name = "FILE", default_value = CONFIG)]
    pub file: PathBuf,
}

/// Everything that is asked of a running agent.
#[derive(Clone, Debug)]
pub enum Question {
    /// About the node, or a change of it.
    Node(Ask),
    /// About backends, or a change of them.
    Backend(BackendAsk),
}

/// `explain`.
#[derive(Args, Clone, Copy, Debug)]
pub struct ExplainArgs {
    /// The client.
    #[arg(
        value_name = "SRC:PORT",
        help = "The client: 192.0.2.1:4000 or [2001:db8::1]:4000"
    )]
    pub source: SocketAddr,
    /// The VIP, its port, and the protocol unless it is tcp
    #[arg(value_name = "VIP:PORT/PROTOCOL")]
    pub destination: Destination,
}

/// `198.51.100.1:80/tcp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Address and port.
    pub address: SocketAddr,
    /// `tcp` where left out.
    pub protocol: Protocol,
}

/// Why a [`Destination`] cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// The part before the slash.
    #[error("{0}: write VIP:PORT, an IPv6 address in brackets")]
    Address(#[from] AddrParseError),
    /// The part after it.
    #[error("protocol {0:?} is not supported: write tcp or udp")]
    Protocol(String),
}

impl FromStr for Destination {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        Ok(Self {
            address: address.parse()?,
            protocol: match protocol {
                "tcp" => Protocol::Tcp,
                "udp" => Protocol::Udp,
                other => return Err(DestinationError::Protocol(other.to_string())),
            },
        })
    }
}
