//! The agent in a namespace: up, crash and adoption, reload, refusals, and nothing left behind.

use std::mem::offset_of;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use anylb::backend;
use anylb::status::{BpfState, Counters, Envelope, NodeStatus, Verification};
use aya::maps::{Array, Map, MapData};
use lb_common::backend_abi::Config;
use lb_tests::harness::bpffs::Bpffs;
use lb_tests::harness::netns::Netns;
use lb_tests::harness::poll::until;
use lb_tests::harness::privileged;
use lb_tests::harness::runtime::NetnsRuntime;
use lb_tests::harness::xdp_pass::XdpPass;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(10);
pub const VIPS: [&str; 2] = ["198.51.100.10", "2001:db8:100::10"];

/// Held while an agent runs: a signal to this process is one to every agent in it.
pub static ONE_AGENT: Mutex<()> = Mutex::const_new(());

/// A backend's namespace and directory.
pub struct Place {
    pub netns: Netns,
    pub bpffs: Bpffs,
    /// Lines of `[backend]` beside the usual ones.
    pub role: &'static str,
    /// Dropped after what is mounted in it.
    directory: Directory,
}

impl Place {
    pub fn new(test: &str) -> Result<Self> {
        let netns = Netns::create(&format!("backend-{test}"))?;
        netns.ip("link add eth0 type veth peer name peer")?;
        for command in [
            "link set peer up",
            "link set eth0 mtu 1500 up",
            "address add 10.1.0.1/24 dev eth0",
            "address add fd00:1::1/64 dev eth0 nodad",
        ] {
            netns.ip(command)?;
        }
        let directory =
            std::env::temp_dir().join(format!("anylb-backend-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        let directory = Directory(directory);
        let bpffs = Bpffs::mount(&directory.0.join("bpf"))?;
        Ok(Self {
            netns,
            bpffs,
            role: "",
            directory,
        })
    }

    fn config(&self) -> PathBuf {
        self.directory.0.join("backend.toml")
    }

    pub fn write(&self, interface: &str, vips: &[&str]) -> Result<()> {
        let home = self.directory.0.display();
        let mut text = format!(
            "version = 1\n[node]\nname = \"be1\"\ninterfaces = [\"{interface}\"]\nstate_dir = \"{home}/state\"\n\
             runtime_dir = \"{home}/run\"\npin_dir = \"{}/anylb\"\n[backend]\ntrusted_lbs = [\"10.0.0.0/24\"]\n\
             trusted_backends = [\"10.1.0.0/24\"]\n{}\n",
            self.bpffs.path().display(),
            self.role,
        );
        for (number, vip) in vips.iter().enumerate() {
            text += &format!(
                "[[service]]\nname = \"web-{number}\"\nvip = \"{vip}\"\nprotocol = \"tcp\"\nports = [80]\n"
            );
        }
        Ok(std::fs::write(self.config(), text)?)
    }

    /// Id of the XDP program on the interface.
    pub fn program(&self) -> Result<Option<u64>> {
        let links = self.netns.ip_json("link show eth0")?;
        Ok(links[0]["xdp"]["prog"]["id"].as_u64())
    }

    fn on_lo(&self, vip: &str) -> Result<bool> {
        Ok(self.netns.ip("address show lo")?.contains(vip))
    }

    async fn ask<T: DeserializeOwned>(&self, request: &str) -> Result<T> {
        let mut stream = UnixStream::connect(self.directory.0.join("run/admin.sock")).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (_, body) = answer.split_once("\r\n\r\n").context("an HTTP answer")?;
        serde_json::from_str(body).with_context(|| body.to_owned())
    }

    async fn status(&self) -> Result<NodeStatus> {
        let request = "GET /v1/status HTTP/1.1\r\nHost: anylb\r\n\r\n";
        Ok(self.ask::<Envelope<NodeStatus>>(request).await?.body)
    }

    async fn counters(&self) -> Result<Counters> {
        let request = "GET /v1/counters HTTP/1.1\r\nHost: anylb\r\n\r\n";
        Ok(self.ask::<Envelope<Counters>>(request).await?.body)
    }

    pub async fn bpf(&self) -> Result<BpfState> {
        let request = "GET /v1/bpf HTTP/1.1\r\nHost: anylb\r\n\r\n";
        Ok(self.ask::<Envelope<BpfState>>(request).await?.body)
    }

    pub async fn verify(&self) -> Result<Verification> {
        let request = "GET /v1/bpf/verify HTTP/1.1\r\nHost: anylb\r\n\r\n";
        Ok(self.ask::<Envelope<Verification>>(request).await?.body)
    }

    pub async fn command(&self, command: &str) -> Result<serde_json::Value> {
        let body = format!("{{\"command\":\"{command}\"}}");
        self.ask(&format!(
            "POST /v1/command HTTP/1.1\r\nHost: anylb\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await
    }

    pub async fn up(&self) -> Result<NodeStatus> {
        let answers = until("the agent answers", PATIENCE, async || {
            let status = self.status().await?;
            ensure!(status.interfaces.iter().all(|interface| interface.attached));
            Ok(status)
        });
        Ok(answers.await?.0)
    }
}

/// Removed when dropped.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed is a few files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub type Agent = JoinHandle<Result<(), backend::Error>>;

/// Starts the agent in its place.
pub fn start(place: &Place, runtime: &NetnsRuntime) -> Agent {
    runtime.handle().spawn(backend::run(place.config()))
}

#[tokio::test]
async fn a_whole_life() -> Result<()> {
    if !privileged::available("agent::a_whole_life") {
        return Ok(());
    }
    let _one = ONE_AGENT.lock().await;
    let place = Place::new("life")?;
    place.write("eth0", &VIPS)?;
    let runtime = NetnsRuntime::start(&place.netns)?;

    let agent = start(&place, &runtime);
    let status = place.up().await?;
    assert_eq!((status.role.as_str(), status.adopted), ("backend", false));
    let blind = status
        .problems
        .iter()
        .filter(|line| line.contains("nothing has listened"));
    assert_eq!(blind.count(), 2, "{:?}", status.problems);
    let first = place.program()?.context("an XDP program")?;
    for vip in VIPS {
        assert!(place.on_lo(vip)?, "{vip}");
    }

    let bpf = place.bpf().await?;
    let programs: Vec<_> = bpf.programs.iter().map(|one| one.kind.as_str()).collect();
    assert_eq!(programs, ["xdp", "tc"]);
    assert_eq!(u64::from(bpf.programs[0].id), first);
    let exits = bpf.maps.iter().find(|map| map.name == "EXITS");
    assert_eq!(exits.context("EXITS")?.kind, "percpu_array");
    let memory = bpf.maps.iter().map(|map| map.memory_bytes.unwrap_or(0));
    assert!(memory.sum::<u64>() > 0, "{:?}", bpf.maps);

    // What somebody has changed in a map is found, and nothing is written.
    let verified = place.verify().await?;
    assert_eq!(verified.differences, []);
    let compared = verified.compared;
    assert_eq!((compared.addresses, compared.services), (2, 2));
    let config = bpf.maps.iter().find(|map| map.name == "CONFIG");
    let config = MapData::from_id(config.context("CONFIG")?.id)?;
    let mut config: Array<MapData, [u8; size_of::<Config>()]> = Map::Array(config).try_into()?;
    let right = config.get(&0, 0)?;
    let mut wrong = right;
    wrong[offset_of!(Config, mss_v4)] ^= 1;
    config.set(0, wrong, 0)?;
    for _ in 0..2 {
        let found = place.verify().await?.differences;
        let [one] = found.as_slice() else {
            anyhow::bail!("{found:?}");
        };
        assert_eq!(
            (one.subject.as_str(), one.difference.as_str()),
            ("the configuration", "differs in MSS")
        );
    }
    config.set(0, right, 0)?;
    assert_eq!(place.verify().await?.differences, []);

    // A listener ends blindness, for good: one that goes away is a dead server.
    let v4 = runtime
        .handle()
        .spawn(async { TcpListener::bind((VIPS[0], 80)).await })
        .await??;
    let v6 = runtime
        .handle()
        .spawn(async { TcpListener::bind((VIPS[1], 80)).await })
        .await??;
    let seen = async || {
        let blind = place
            .counters()
            .await?
            .second_chance
            .context("the role")?
            .blind;
        ensure!(blind == 0, "{blind} blind");
        Ok(())
    };
    until("listeners are seen", PATIENCE, seen).await?;
    drop((v4, v6));

    // A crash: no word, nothing undone. The next agent takes over with a program of its own.
    agent.abort();
    assert!(agent.await.is_err_and(|error| error.is_cancelled()));
    assert_eq!(place.program()?, Some(first));
    assert!(place.on_lo(VIPS[0])?);
    let agent = start(&place, &runtime);
    assert!(place.up().await?.adopted);
    let second = place.program()?.context("an XDP program")?;
    assert_ne!(second, first);

    // A reload: VIPs come and go, the program is replaced; a file with errors changes nothing.
    place.write("eth0", &["198.51.100.11", VIPS[1]])?;
    let done = place.command("reload").await?;
    assert!(done["message"].is_string(), "{done}");
    assert!(place.on_lo("198.51.100.11")? && !place.on_lo(VIPS[0])?);
    let third = place.program()?.context("an XDP program")?;
    assert_ne!(third, second);
    place.write("eth0", &["198.51.100.300"])?;
    let refused = place.command("reload").await?;
    assert_eq!(refused["error"]["kind"], "invalid", "{refused}");
    assert_eq!(place.program()?, Some(third));

    // Handover leaves everything, stop nothing.
    place.write("eth0", &VIPS)?;
    place.command("handover").await?;
    agent.await??;
    assert_eq!(place.program()?, Some(third));
    let agent = start(&place, &runtime);
    assert!(place.up().await?.adopted);
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGTERM)?;
    agent.await??;
    assert_eq!(place.program()?, None);
    assert!(!place.on_lo(VIPS[0])? && !place.on_lo(VIPS[1])?);
    assert!(!place.bpffs.path().join("anylb/backend").exists());
    Ok(())
}

#[tokio::test]
async fn refusals_say_what_to_do_and_leave_nothing() -> Result<()> {
    if !privileged::available("agent::refusals_say_what_to_do_and_leave_nothing") {
        return Ok(());
    }
    let _one = ONE_AGENT.lock().await;
    let place = Place::new("refuse")?;
    let runtime = NetnsRuntime::start(&place.netns)?;
    let run = async || {
        let error = start(&place, &runtime).await?;
        Ok::<_, anyhow::Error>(error.err().context("it must not run")?.to_string())
    };

    place.write("eth0", &VIPS)?;
    place.netns.ip("address flush dev eth0")?;
    assert_eq!(
        run().await?,
        "eth0 has no address that a tunnel could end at: give it one, or correct node.interfaces"
    );
    place.netns.ip("address add 10.1.0.1/24 dev eth0")?;
    XdpPass::load(place.bpffs.path())?.attach(&place.netns, "eth0")?;
    assert_eq!(
        run().await?,
        "eth0: another XDP program is attached; end what holds it or run `ip link set dev eth0 xdp off`, or use another interface"
    );
    assert!(!place.on_lo(VIPS[0])?);
    let text = std::fs::read_to_string(place.config())?;
    std::fs::write(
        place.config(),
        text.replace(
            &format!("pin_dir = \"{}", place.bpffs.path().display()),
            "pin_dir = \"/tmp",
        ),
    )?;
    assert!(
        run()
            .await?
            .contains("not on a BPF file system; run `mount -t bpf bpf")
    );
    Ok(())
}
