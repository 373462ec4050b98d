//! The place: the interface, the way to the VIP, the CPUs; and every look that may end in a refusal.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

use super::Refusal;
use super::frame::{self, Ends, LINK_BYTES, smallest};
use super::plan::{Plan, Way, usual_sizes};
use crate::dataplane::generator::Generator;
use crate::dataplane::{DataplaneError, privileges};
use crate::netlink::{Link, Resolution, address, interface_name, nic};

/// Time for a neighbour to answer.
const ANSWER_TIME: Duration = Duration::from_secs(3);
/// Time for a link to come back: many drivers take it down for the first program, and it negotiates anew.
const LINK_TIME: Duration = Duration::from_secs(15);
const SYSFS: &str = "/sys/class/net";
/// Between two looks.
const STEP: Duration = Duration::from_millis(10);

/// Everything that a trial needs.
pub(super) struct Site {
    pub(super) generator: Generator,
    pub(super) ends: Ends,
    /// Frame sizes, none of which is refused.
    pub(super) frames: Vec<u32>,
    /// CPUs that send.
    pub(super) cpus: Vec<usize>,
    /// Speed of the link; none where the driver does not tell.
    pub(super) line_mbps: Option<u64>,
    /// The link went down while we looked, most likely for our own program.
    pub(super) link_was_down: bool,
}

/// Looks at everything, and attaches the program that counts where nothing speaks against it.
pub(super) async fn survey(plan: &Plan) -> Result<Site, Refusal> {
    privileges::check()?;
    let link = interface(&plan.interface).await?;
    let changes = sysfs(&link.name, "carrier_changes");
    let source_mac = link.mac.ok_or(Refusal::NoMac(link.name.clone()))?;
    no_default_route(&link.name).await?;
    let frames = sizes(plan, &link)?;
    let cpus = cpus(plan.cpus)?;
    let ends = Ends {
        source_mac,
        destination_mac: destination(plan, &link).await?,
        vip: plan.vip,
    };
    Ok(Site {
        generator: attach(&link, &ends).await?,
        ends,
        frames,
        cpus,
        line_mbps: speed(&link.name),
        link_was_down: sysfs(&link.name, "carrier_changes") != changes,
    })
}

async fn interface(name: &str) -> Result<Link, Refusal> {
    if !address::interface_exists(name).await? {
        return Err(Refusal::NoInterface(name.to_owned()));
    }
    let link = address::interface(name).await?;
    match link.up {
        true => Ok(link),
        false => Err(Refusal::Down(link.name)),
    }
}

/// Refuses an interface that a default route leads out of. One may come at any time, by DHCP or router advertisement once the link
/// is up again.
pub(super) async fn no_default_route(interface: &str) -> Result<(), Refusal> {
    for upper in nic::default_routes().await? {
        if stands_on(&interface_name(upper), interface) {
            return Err(Refusal::DefaultRoute(interface.to_owned()));
        }
    }
    Ok(())
}

/// Whether what leaves by `upper` may leave by `interface`: it is the same, or a VLAN, bond, bridge or another device on it.
fn stands_on(upper: &str, interface: &str) -> bool {
    if upper == interface {
        return true;
    }
    let entries = std::fs::read_dir(Path::new(SYSFS).join(upper));
    let names = entries.into_iter().flatten().flatten();
    let mut names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    // The kernel lets no device stand on itself.
    names.any(|name| {
        let lower = name.strip_prefix("lower_");
        lower.is_some_and(|lower| stands_on(lower, interface))
    })
}

fn sizes(plan: &Plan, link: &Link) -> Result<Vec<u32>, Refusal> {
    let v6 = plan.vip.is_ipv6();
    if plan.frames.is_empty() {
        return Ok(usual_sizes(v6, link.mtu));
    }
    let most = (link.mtu + LINK_BYTES).min(frame::LARGEST);
    for frame_bytes in &plan.frames {
        if *frame_bytes < smallest(v6) {
            return Err(Refusal::TooSmall {
                frame_bytes: *frame_bytes,
                least: smallest(v6),
            });
        }
        if *frame_bytes > most {
            return Err(Refusal::TooLarge {
                frame_bytes: *frame_bytes,
                interface: link.name.clone(),
                mtu: link.mtu,
                most,
            });
        }
    }
    Ok(plan.frames.clone())
}

/// Those that this process may use.
fn cpus(asked: Option<usize>) -> Result<Vec<usize>, Refusal> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap_or_else(|_| CpuSet::new());
    let is_allowed = |cpu: &usize| allowed.is_set(*cpu).unwrap_or(false);
    let mut cpus: Vec<usize> = (0..CpuSet::count()).filter(is_allowed).collect();
    let (asked, there) = (asked.unwrap_or(cpus.len()), cpus.len());
    if asked > there || asked == 0 {
        return Err(Refusal::Cpus { asked, there });
    }
    cpus.truncate(asked);
    Ok(cpus)
}

/// MAC address of who takes the packets to the VIP.
async fn destination(plan: &Plan, link: &Link) -> Result<[u8; 6], Refusal> {
    let neighbour = match plan.way {
        Way::Mac(mac) => return Ok(mac),
        Way::Via(neighbour) => neighbour,
        Way::Route => neighbour_towards(plan.vip.ip(), link).await?,
    };
    let start = Instant::now();
    while start.elapsed() < ANSWER_TIME {
        // Again where it has failed: the link may have come up a moment ago.
        nic::ask_for(link.ifindex, neighbour).await?;
        let known = nic::neighbours(link.ifindex).await?;
        if let Some(Resolution::Known(mac)) = known.get(&neighbour).map(|entry| entry.resolution) {
            return Ok(mac);
        }
        sleep(STEP).await;
    }
    Err(Refusal::Silent {
        neighbour,
        interface: link.name.clone(),
    })
}

async fn neighbour_towards(vip: IpAddr, link: &Link) -> Result<IpAddr, Refusal> {
    let interface = link.name.clone();
    match nic::route(vip).await? {
        Ok(route) if route.ifindex == link.ifindex => Ok(route.neighbour_of(vip)),
        Ok(route) => Err(Refusal::OtherWay {
            vip,
            other: interface_name(route.ifindex),
            interface,
        }),
        Err(reason) => Err(Refusal::NoWay {
            vip,
            reason,
            interface,
        }),
    }
}

async fn attach(link: &Link, ends: &Ends) -> Result<Generator, Refusal> {
    let generator = Generator::attach(&link.name).map_err(|error| match error {
        DataplaneError::NoNativeXdp { interface } => Refusal::NoNativeXdp(interface),
        error => error.into(),
    })?;
    let start = Instant::now();
    while !address::interface(&link.name).await?.up {
        if start.elapsed() >= LINK_TIME {
            return Err(Refusal::Down(link.name.clone()));
        }
        sleep(STEP).await;
    }
    // Most drivers say so only now that they have a program. Silence is the answer of kernels before 6.3.
    let features = nic::xdp_features(link.ifindex).await.unwrap_or_default();
    if features.is_some_and(|features| !features.target()) {
        return Err(Refusal::NoTarget(link.name.clone()));
    }
    let mut nothing = Default::default();
    let any = frame::compose(&mut nothing, ends, smallest(ends.vip.is_ipv6()));
    generator.try_out(&any).map_err(Refusal::NoLiveFrames)?;
    Ok(generator)
}

/// Mbit/s; drivers that do not know say so in several ways.
fn speed(interface: &str) -> Option<u64> {
    let speed = u64::try_from(sysfs(interface, "speed")?).ok();
    speed.filter(|speed| *speed > 0)
}

fn sysfs(interface: &str, name: &str) -> Option<i64> {
    let path = Path::new(SYSFS).join(interface).join(name);
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}
