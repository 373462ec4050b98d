//! The agent on TC ingress: up, crash and adoption, from XDP and back, and nothing left behind.

use anyhow::{Context as _, Result, ensure};
use aya::programs::{ProgramInfo, SchedClassifier, TcAttachType};
use lb_tests::harness::runtime::NetnsRuntime;
use lb_tests::harness::{privileged, shell};
use nix::sys::signal::{Signal, raise};

use crate::agent::{ONE_AGENT, Place, VIPS, start};

const TC: &str = "hook = \"tc\"";

impl Place {
    /// Programs on ingress and egress, by their numbers: links, or filters where the kernel has no links.
    fn classifiers(&self) -> Result<[Vec<u32>; 2]> {
        let on = |side, name| {
            let links = self.netns.run(|| {
                let found = SchedClassifier::query_tcx("eth0", side);
                Ok(found.map(|(_, programs)| programs.iter().map(ProgramInfo::id).collect()))
            })?;
            links.or_else(|_| self.filters(name))
        };
        Ok([
            on(TcAttachType::Ingress, "ingress")?,
            on(TcAttachType::Egress, "egress")?,
        ])
    }

    fn filters(&self, side: &str) -> Result<Vec<u32>> {
        let tc = format!("tc -n {} filter show dev eth0 {side}", self.netns.name());
        let text = shell::run(&tc)?;
        let words: Vec<_> = text.split_whitespace().collect();
        let numbers = words.windows(2).filter(|pair| pair[0] == "id");
        numbers.map(|pair| Ok(pair[1].parse()?)).collect()
    }

    /// The one on ingress; XDP must be empty.
    fn ingress(&self) -> Result<u32> {
        let [ingress, egress] = self.classifiers()?;
        ensure!(self.program()?.is_none(), "an XDP program is there");
        ensure!((ingress.len(), egress.len()) == (1, 1), "one on each side");
        Ok(ingress[0])
    }
}

#[tokio::test]
async fn a_whole_life_on_tc() -> Result<()> {
    if !privileged::available("hook::a_whole_life_on_tc") {
        return Ok(());
    }
    let _one = ONE_AGENT.lock().await;
    let mut place = Place::new("tc")?;
    place.role = TC;
    place.write("eth0", &VIPS)?;
    let runtime = NetnsRuntime::start(&place.netns)?;

    let agent = start(&place, &runtime);
    let status = place.up().await?;
    assert_eq!(
        (status.adopted, status.interfaces[0].mode.as_str()),
        (false, "tc")
    );
    let first = place.ingress()?;
    let programs = place.bpf().await?.programs;
    let told: Vec<_> = programs
        .iter()
        .map(|one| (one.name.as_str(), one.kind.as_str()))
        .collect();
    assert_eq!(told, [("backend_tc", "tc"), ("backend_mss", "tc")]);
    assert_eq!(programs[0].id, first);
    assert_eq!(place.verify().await?.differences, []);

    // A crash, and the next agent.
    agent.abort();
    assert!(agent.await.is_err_and(|error| error.is_cancelled()));
    assert_eq!(place.ingress()?, first);
    let agent = start(&place, &runtime);
    assert!(place.up().await?.adopted);
    let second = place.ingress()?;
    assert_ne!(second, first);

    // Another VIP is another program in the same place.
    place.write("eth0", &VIPS[..1])?;
    let done = place.command("reload").await?;
    assert!(done["message"].is_string(), "{done}");
    assert_ne!(place.ingress()?, second);

    // The hook is for the next agent: it puts its program there and takes the other off.
    place.role = "";
    place.write("eth0", &VIPS)?;
    let refused = place.command("reload").await?;
    assert_eq!(
        refused["error"]["message"],
        "interface, xdp_mode, hook, directories and the metrics listener change only with `anylb restart`"
    );
    place.command("handover").await?;
    agent.await??;
    let agent = start(&place, &runtime);
    let status = place.up().await?;
    assert_eq!(
        (status.adopted, status.interfaces[0].mode.as_str()),
        (true, "native")
    );
    place.program()?.context("an XDP program")?;
    assert!(place.classifiers()?[0].is_empty());
    place.command("handover").await?;
    agent.await??;

    place.role = TC;
    place.write("eth0", &VIPS)?;
    let agent = start(&place, &runtime);
    assert!(place.up().await?.adopted);
    place.ingress()?;
    raise(Signal::SIGTERM)?;
    agent.await??;
    assert!(place.classifiers()?.iter().all(Vec::is_empty));
    assert!(!place.bpffs.path().join("anylb/backend").exists());
    Ok(())
}
