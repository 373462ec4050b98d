//! What an agent does not start over, in one line each that says what to do, and what it leaves behind: nothing where there
//! was nothing, and a running datapath as it was.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use anylb::dataplane::layout;
use aya::maps::{Array, Map, MapData};
use lb_common::abi;
use lb_tests::harness::xdp_pass::XdpPass;
use lb_tests::harness::{poll, privileged};
use lb_tests::lone::{self, File, Footprint, Lone};

const LAB: &str = env!("CARGO_BIN_EXE_lab");
const SOON: Duration = Duration::from_secs(10);
const FAILED: Option<i32> = Some(1);
const CONFIG_INVALID: Option<i32> = Some(3);

/// Takes capabilities away from the root that a test is.
const WITHOUT_ANY: [&str; 2] = ["setpriv", "--bounding-set=-all"];
const WITHOUT_PORTS: [&str; 2] = ["setpriv", "--bounding-set=-net_bind_service"];

/// Starts the agent and compares the whole of what it says.
async fn expect(lone: &Lone, file: &File, wrapper: &[&str], line: &str) -> Result<()> {
    lone.write(file)?;
    let (code, said) = lone.refused(wrapper).await?;
    assert_eq!(said, format!("anylb: {line}\n"));
    assert_eq!(code, FAILED, "{line}");
    Ok(())
}

/// No pin, no program, no socket.
fn assert_untouched(lone: &Lone, about: &str) -> Result<()> {
    let footprint = lone.footprint()?;
    assert_eq!(footprint, Footprint::default(), "{about}");
    assert!(
        !lone.node().dir.join("run/admin.sock").exists(),
        "{about}: the admin socket"
    );
    Ok(())
}

fn listening_on(listen: &str) -> File {
    let mut file = File::with(&[1]);
    file.bgp = format!("listen = [\"{listen}\"]");
    file
}

/// A start that fails once all is loaded, beside a datapath that stays as it is.
async fn refuses_a_port_in_use(lone: &Lone, before: &Footprint) -> Result<()> {
    let taken = lone
        .node()
        .netns
        .run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 179)).context("bind"))?;
    lone.write(&listening_on("0.0.0.0:179"))?;
    let (code, said) = lone.refused(&[]).await?;
    assert_eq!(code, FAILED, "{said}");
    assert!(said.contains("port 179 is in use"), "{said}");
    assert!(
        lone.footprint()? == *before,
        "port in use: program, pins and maps are the same"
    );
    drop(taken);
    Ok(())
}

#[tokio::test]
async fn a_node_that_cannot_run_it_says_why_and_stays_clean() -> Result<()> {
    if !privileged::available("a_node_that_cannot_run_it_says_why_and_stays_clean") {
        return Ok(());
    }
    let lone = Lone::build("anylb-f-cold", LAB, 1).await?;
    let good = File::with(&[1]);
    let dir = lone.node().dir.display();

    expect(
        &lone,
        &good,
        &WITHOUT_ANY,
        "not permitted to run an XDP program; run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON",
    )
    .await?;
    assert_untouched(&lone, "no privileges")?;
    assert!(
        !lone.node().dir.join("state").exists(),
        "not even a directory"
    );

    let plain = lone.node().dir.join("plain/anylb");
    let elsewhere = File {
        pin_dir: Some(plain.clone()),
        ..good.clone()
    };
    let line = format!(
        "{dir}/plain/anylb: not on a BPF file system; run `mount -t bpf bpf {dir}/plain`, or set node.pin_dir to a directory on one"
    );
    expect(&lone, &elsewhere, &[], &line).await?;
    assert!(!plain.exists());
    assert_untouched(&lone, "no BPF file system")?;

    let bridge = File {
        interface: "br0",
        node: format!("{}\nxdp_mode = \"native\"", good.node),
        ..good.clone()
    };
    lone.node().netns.ip("link add br0 type bridge")?;
    expect(
        &lone,
        &bridge,
        &[],
        "br0: the driver has no native XDP; set node.xdp_mode = \"generic\", which costs speed, or use another interface",
    )
    .await?;
    assert_untouched(&lone, "no native XDP")?;

    lone.write(&File {
        interface: "eth9",
        ..good.clone()
    })?;
    let (code, said) = lone.refused(&[]).await?;
    assert_eq!(code, CONFIG_INVALID);
    assert!(said.contains("there is no interface `eth9`"), "{said}");
    assert!(said.contains("^^^^^^"), "a caret: {said}");
    assert_untouched(&lone, "missing interface")?;

    // And the same node runs it, once nothing is wrong.
    runs_and_stops(&lone, &good).await
}

#[tokio::test]
async fn a_port_that_cannot_be_had_leaves_no_program_behind() -> Result<()> {
    if !privileged::available("a_port_that_cannot_be_had_leaves_no_program_behind") {
        return Ok(());
    }
    let lone = Lone::build("anylb-f-port", LAB, 1).await?;
    let file = listening_on("0.0.0.0:179");
    expect(
        &lone,
        &file,
        &WITHOUT_PORTS,
        "BGP may not listen on 0.0.0.0:179: permission denied; run as root or with CAP_NET_BIND_SERVICE, or do not listen (peers \
         are still dialled)",
    )
    .await?;
    assert_untouched(&lone, "port refused")?;

    let taken = lone
        .node()
        .netns
        .run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 179)).context("bind"))?;
    expect(
        &lone,
        &file,
        &[],
        "BGP cannot listen on 0.0.0.0:179: port 179 is in use; stop the other BGP daemon (`ss -ltnp 'sport = :179'` names it), or \
         do not listen (peers are still dialled)",
    )
    .await?;
    assert_untouched(&lone, "port in use")?;
    drop(taken);

    expect(
        &lone,
        &listening_on("203.0.113.9:179"),
        &[],
        "BGP cannot listen on 203.0.113.9:179: Cannot assign requested address (os error 99); check that an interface of this host \
         has the address",
    )
    .await?;
    assert_untouched(&lone, "a strange address")?;

    runs_and_stops(&lone, &file).await
}

#[tokio::test]
async fn another_program_on_the_interface_stays_there() -> Result<()> {
    if !privileged::available("another_program_on_the_interface_stays_there") {
        return Ok(());
    }
    let lone = Lone::build("anylb-f-other", LAB, 1).await?;
    let node = lone.node();
    XdpPass::load(node.bpffs.path())?.attach(&node.netns, "eth0")?;
    let other = lone::program(node)?.context("a program")?;
    let pin = node.bpffs.path().join("xdp_pass");
    for mode in ["xdp", "xdpgeneric"] {
        let line = format!(
            "eth0: another XDP program is attached; to run it behind ours, load it with `bpftool prog load FILE PIN type xdp`, set \
             node.xdp_chain to PIN, and take it off with `ip link set dev eth0 {mode} off`, or where libxdp put it there with \
             `xdp-loader unload eth0 --all`"
        );
        expect(&lone, &File::with(&[1]), &[], &line).await?;
        assert_eq!(lone::program(node)?, Some(other), "{mode}");
        assert_eq!(lone.footprint()?.pins, BTreeSet::new(), "{mode}");
        // The advice must help.
        node.netns.ip(&format!("link set dev eth0 {mode} off"))?;
        assert_eq!(lone::program(node)?, None, "{mode}");
        node.netns.ip(&format!(
            "link set dev eth0 xdpgeneric pinned {}",
            pin.display()
        ))?;
    }
    node.netns.ip("link set dev eth0 xdpgeneric off")?;
    runs_and_stops(&lone, &File::with(&[1])).await
}

/// A datapath without an agent: serving, and nothing changes it any more.
async fn orphaned(lone: &Lone) -> Result<Footprint> {
    lone.write(&File::with(&[1]))?;
    let agent = lone.start().await?;
    poll::until("a bank in use", SOON, async || {
        let status = agent.status()?;
        ensure!(
            status.services.iter().any(|service| service.announced),
            "{status:?}"
        );
        Ok(())
    })
    .await?;
    agent.kill()?;
    let footprint = lone.footprint()?;
    assert!(footprint.program.is_some() && footprint.bank().is_some());
    Ok(footprint)
}

#[tokio::test]
async fn a_start_that_fails_leaves_a_running_datapath_alone() -> Result<()> {
    if !privileged::available("a_start_that_fails_leaves_a_running_datapath_alone") {
        return Ok(());
    }
    let lone = Lone::build("anylb-f-warm", LAB, 1).await?;
    let before = orphaned(&lone).await?;
    let good = File::with(&[1]);
    expect(
        &lone,
        &good,
        &WITHOUT_ANY,
        "not permitted to run an XDP program; run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON",
    )
    .await?;
    assert!(lone.footprint()? == before, "no privileges");

    refuses_a_port_in_use(&lone, &before).await?;

    lone.write(&good)?;
    let agent = lone.start().await?;
    poll::until("adoption", SOON, async || {
        let status = agent.status()?;
        ensure!(status.adopted && !status.services.is_empty(), "{status:?}");
        Ok(())
    })
    .await?;
    agent.stop(SOON).await?;
    assert_untouched(&lone, "stopped")
}

/// The node runs the file, and a stop takes everything with it.
async fn runs_and_stops(lone: &Lone, file: &File) -> Result<()> {
    lone.write(file)?;
    lone.start().await?.stop(SOON).await?;
    assert_untouched(lone, "stopped")
}

fn map(path: &Path) -> Result<Map> {
    let data = MapData::from_pin(path).with_context(|| path.display().to_string())?;
    Ok(Map::from_map_data(data)?)
}

fn set_version(root: &Path, version: u32) -> Result<()> {
    let mut root: Array<MapData, [u32; 2]> = map(root)?.try_into()?;
    let [bank, _] = root.get(&0, 0)?;
    root.set(0, [bank, version], 0)?;
    Ok(())
}

#[tokio::test]
async fn pins_of_another_version_are_neither_adopted_nor_touched() -> Result<()> {
    if !privileged::available("pins_of_another_version_are_neither_adopted_nor_touched") {
        return Ok(());
    }
    let lone = Lone::build("anylb-f-abi", LAB, 1).await?;
    orphaned(&lone).await?;
    let good = File::with(&[1]);
    let pins = pins(&lone);
    let maps = layout::directory(&pins).join("maps");
    let (root, banks) = (maps.join("ROOT"), maps.join("BANKS"));
    let shown = pins.display();

    set_version(&root, abi::ABI_VERSION + 1)?;
    let before = lone.footprint()?;
    let line = format!(
        "{shown}: the pinned maps have ABI version {}, this agent needs {}; start the matching version, or end the running datapath \
         with `rm -r {shown}`",
        abi::ABI_VERSION + 1,
        abi::ABI_VERSION
    );
    expect(&lone, &good, &[], &line).await?;
    assert!(lone.footprint()? == before, "another ABI version");
    set_version(&root, abi::ABI_VERSION)?;

    let ours = map(&banks)?;
    std::fs::remove_file(&banks)?;
    let line = format!(
        "{}: this pinned map is not of this version (missing); start the matching version, or end the running datapath with `rm -r \
         {shown}`",
        banks.display()
    );
    expect(&lone, &good, &[], &line).await?;
    assert!(!banks.exists(), "no empty map in its place");
    assert!(lone::program(lone.node())?.is_some());

    Array::<MapData, u64>::create(4, 0)?.pin(&banks)?;
    let line = format!(
        "{}: this pinned map is not of this version (4 entries of 8 bytes, expected {} of {}); start the matching version, or end \
         the running datapath with `rm -r {shown}`",
        banks.display(),
        abi::BANKS,
        size_of::<abi::Bank>()
    );
    expect(&lone, &good, &[], &line).await?;
    assert!(lone::program(lone.node())?.is_some());
    drop(ours);

    // The advice must help.
    std::fs::remove_dir_all(&pins)?;
    runs_and_stops(&lone, &good).await
}

/// What a build of another layout has left: to this one its maps are those under another name.
fn relabel(lone: &Lone) -> Result<PathBuf> {
    let pins = pins(lone);
    let others = pins.join("abi-0123456789abcdef");
    std::fs::rename(layout::directory(&pins), &others)?;
    Ok(others)
}

#[tokio::test]
async fn a_datapath_of_another_layout_forwards_until_ours_holds_everything() -> Result<()> {
    if !privileged::available("a_datapath_of_another_layout_forwards_until_ours_holds_everything") {
        return Ok(());
    }
    let lone = Lone::build("anylb-f-other-abi", LAB, 1).await?;
    orphaned(&lone).await?;
    let others = relabel(&lone)?;
    let before = lone.footprint()?;
    let link = |footprint: &Footprint| {
        let mut pins = footprint.pins.iter();
        pins.find(|(path, _)| path.ends_with("links/eth0")).cloned()
    };
    let own = layout::directory(&pins(&lone)).join("maps");
    let maps = |footprint: &Footprint| -> BTreeSet<(PathBuf, u64)> {
        let pins = footprint.pins.iter();
        pins.filter(|(path, _)| path.starts_with(&own))
            .cloned()
            .collect()
    };

    refuses_a_port_in_use(&lone, &before).await?;

    lone.write(&File::with(&[1]))?;
    let agent = lone.start().await?;
    poll::until("a datapath of our own", SOON, async || {
        let now = lone.footprint()?;
        if now.program == before.program {
            ensure!(others.exists(), "its maps are gone before its program");
        } else {
            // The first program that follows finds everything.
            ensure!(now.bank().is_some(), "nothing in the maps");
        }
        let status = agent.status()?;
        ensure!(status.adopted, "{status:?}");
        ensure!(!others.exists(), "the other's pins are still there");
        ensure!(
            status.services.iter().any(|service| service.announced),
            "{status:?}"
        );
        Ok(())
    })
    .await?;
    let after = lone.footprint()?;
    assert!(after.program.is_some() && after.program != before.program);
    assert_eq!(link(&after), link(&before), "attached all the time");

    // One that died before it was done with the other's pins.
    agent.kill()?;
    std::fs::create_dir(&others)?;
    let agent = lone.start().await?;
    poll::until("adoption", SOON, async || {
        ensure!(agent.status()?.adopted && !others.exists());
        Ok(())
    })
    .await?;
    let adopted = lone.footprint()?;
    // Which bank it is may change meanwhile: backends settle.
    assert!(adopted.bank().is_some(), "something is applied");
    assert_eq!(maps(&adopted), maps(&after), "our own are adopted");
    agent.stop(SOON).await?;
    assert_untouched(&lone, "stopped")
}

#[tokio::test]
async fn an_agent_that_is_alive_is_left_alone() -> Result<()> {
    if !privileged::available("an_agent_that_is_alive_is_left_alone") {
        return Ok(());
    }
    let lone = Lone::build("anylb-f-live", LAB, 1).await?;
    let good = File::with(&[1]);
    lone.write(&good)?;
    let agent = lone.start().await?;
    let dir = lone.node().dir.display();
    let line = format!(
        "another agent is running with the runtime directory {dir}/run: stop it, or set node.runtime_dir"
    );
    expect(&lone, &good, &[], &line).await?;
    let elsewhere = File {
        runtime_dir: "run2",
        ..good.clone()
    };
    let line = format!(
        "another agent is running with the pins in {}; stop it, or set node.pin_dir",
        pins(&lone).display()
    );
    expect(&lone, &elsewhere, &[], &line).await?;
    assert!(!lone.node().dir.join("run2/admin.sock").exists());
    poll::until("the live agent's announcement", SOON, async || {
        let status = agent.status()?;
        ensure!(
            status.services.iter().any(|service| service.announced),
            "{status:?}"
        );
        Ok(())
    })
    .await?;
    assert!(lone::program(lone.node())?.is_some());
    agent.stop(SOON).await?;
    assert_untouched(&lone, "stopped")
}

fn pins(lone: &Lone) -> PathBuf {
    lone.node().bpffs.path().join("anylb")
}

#[tokio::test]
async fn a_state_directory_that_cannot_be_made_is_refused_on_a_node_without_a_datapath()
-> Result<()> {
    if !privileged::available(
        "a_state_directory_that_cannot_be_made_is_refused_on_a_node_without_a_datapath",
    ) {
        return Ok(());
    }
    let lone = Lone::build("anylb-f-state", LAB, 1).await?;
    let state = lone.node().dir.join("state");
    std::fs::write(&state, "")?;
    let line = format!(
        "{}: cannot be made: File exists (os error 17); make it, or set node.state_dir",
        state.display()
    );
    expect(&lone, &File::with(&[1]), &[], &line).await?;
    assert_untouched(&lone, "no state directory")
}
