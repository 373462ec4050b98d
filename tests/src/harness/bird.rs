//! BIRD in a namespace: the other router that sites have.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::{netns::Netns, poll, process::Process, shell};

const PROGRAM: &str = "/usr/sbin/bird";
const START: Duration = Duration::from_secs(10);

/// A running BIRD; it ends when dropped.
#[derive(Debug)]
pub struct Bird {
    process: Process,
    socket: PathBuf,
    file: PathBuf,
}

impl Bird {
    /// Starts it in `netns` with `configuration`; its files and its log are in `dir`, named after the namespace.
    pub async fn start(netns: &Netns, configuration: &str, dir: &Path) -> Result<Self> {
        ensure!(
            Path::new(PROGRAM).is_file(),
            "BIRD is not installed: run cargo xtask setup"
        );
        let name = format!("bird-{}", netns.name());
        let file = dir.join(format!("{name}.conf"));
        let socket = dir.join(format!("{name}.ctl"));
        std::fs::write(&file, configuration).with_context(|| file.display().to_string())?;
        check(&file)?;
        let mut command = netns.command(PROGRAM);
        command
            .arg("-f")
            .arg("-c")
            .arg(&file)
            .arg("-s")
            .arg(&socket);
        let mut bird = Self {
            process: Process::spawn(&name, command, dir)?,
            socket,
            file,
        };
        poll::until("BIRD answering", START, async || {
            ensure!(
                bird.process.ended()?.is_none(),
                "it ended: {}",
                bird.process.log_tail(5)
            );
            bird.birdc("show status")
        })
        .await?;
        Ok(bird)
    }

    /// A `birdc` command's answer, without the greeting.
    pub fn birdc(&self, command: &str) -> Result<String> {
        let answer = shell::output(
            Command::new("birdc")
                .arg("-s")
                .arg(&self.socket)
                .args(command.split(' ')),
        )?;
        let (greeting, rest) = answer.split_once('\n').context("an answer of birdc")?;
        ensure!(greeting.ends_with("ready."), "{answer}");
        Ok(rest.to_owned())
    }

    /// Where `birdc` reaches it.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Takes another configuration; sessions that it leaves as they are stay.
    pub fn configure(&self, configuration: &str) -> Result<()> {
        std::fs::write(&self.file, configuration)?;
        let answer = self.birdc("configure")?;
        ensure!(
            ["Reconfigured", "Reconfiguration in progress"]
                .iter()
                .any(|good| answer.contains(good)),
            "{answer}"
        );
        Ok(())
    }

    /// All about a protocol, as `show protocols all` has it.
    pub fn protocol(&self, name: &str) -> Result<String> {
        self.birdc(&format!("show protocols all {name}"))
    }

    /// Whether the BGP session of that name is up.
    pub fn established(&self, name: &str) -> Result<bool> {
        let state = self.protocol(name)?;
        Ok(state.contains("BGP state:          Established"))
    }

    /// Routes of a protocol, with their attributes.
    pub fn routes(&self, protocol: &str) -> Result<Vec<Route>> {
        self.routes_of(&format!("protocol {protocol}"))
    }

    /// Routes that this says of: `protocol NAME`, or `where` and a condition.
    pub fn routes_of(&self, which: &str) -> Result<Vec<Route>> {
        let answer = self.birdc(&format!("show route {which} all"))?;
        Ok(routes(&answer))
    }

    /// SIGTERM, and waits for its end; it takes its routes out of the kernel.
    pub async fn stop(mut self) -> Result<()> {
        self.process.signal(Signal::SIGTERM)?;
        self.process.wait(START).await?;
        Ok(())
    }
}

/// Has BIRD parse a configuration without running it.
pub fn check(file: &Path) -> Result<()> {
    shell::output(Command::new(PROGRAM).arg("-p").arg("-c").arg(file)).map(drop)
}

/// A route as BIRD has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// The prefix.
    pub prefix: String,
    /// It is the one in use.
    pub best: bool,
    /// `via ADDRESS on INTERFACE`, without the first word.
    pub via: Vec<String>,
    /// `BGP.med` and so on, without `BGP.`.
    pub bgp: BTreeMap<String, String>,
}

impl Route {
    /// A BGP attribute as BIRD writes it; empty where there is none.
    pub fn attribute(&self, name: &str) -> &str {
        self.bgp.get(name).map_or("", String::as_str)
    }
}

/// Routes in the answer of `show route all`: a line that names the protocol in brackets begins one, with the prefix only where
/// that is another than before.
fn routes(answer: &str) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    for line in answer.lines() {
        if line.starts_with('\t') {
            let Some(route) = routes.last_mut() else {
                continue;
            };
            let line = line.trim();
            if let Some(via) = line.strip_prefix("via ") {
                route.via.push(via.to_owned());
            } else if let Some((name, value)) = line
                .strip_prefix("BGP.")
                .and_then(|attribute| attribute.split_once(':'))
            {
                route.bgp.insert(name.to_owned(), value.trim().to_owned());
            }
        } else if let Some((_, flags)) = line.split_once(']') {
            let prefix = match line.starts_with(' ') {
                true => routes
                    .last()
                    .map_or(String::new(), |last| last.prefix.clone()),
                false => line.split(' ').next().unwrap_or_default().to_owned(),
            };
            routes.push(Route {
                prefix,
                best: flags.contains('*'),
                ..Route::default()
            });
        }
    }
    routes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_of_an_answer() {
        let answer = "\
Table master4:
198.51.100.1/32      unicast [lb1 11:50:00.123] * (100) [AS65001i]
\tvia 10.0.1.2 on lb1
\tType: BGP univ
\tBGP.origin: IGP
\tBGP.as_path: 65001 65001
\tBGP.med: 50
\tBGP.community: (65001,100) (65535,65281)
                     unicast [lb2 11:50:00.124] (100) [AS65001i]
\tvia 10.0.2.2 on lb2
\tBGP.as_path: 65001

Table master6:
2001:db8:100::1/128  unicast [lb1 11:50:00.123 from fd00::1] * (100) [AS65001i]
\tvia fd00:0:1::2 on lb1
";
        let routes = routes(answer);
        let of = |n: usize| {
            (
                routes[n].prefix.as_str(),
                routes[n].best,
                &routes[n].via[..],
            )
        };
        assert_eq!(
            of(0),
            ("198.51.100.1/32", true, &["10.0.1.2 on lb1".to_owned()][..])
        );
        assert_eq!(
            of(1),
            (
                "198.51.100.1/32",
                false,
                &["10.0.2.2 on lb2".to_owned()][..]
            )
        );
        assert_eq!(
            of(2),
            (
                "2001:db8:100::1/128",
                true,
                &["fd00:0:1::2 on lb1".to_owned()][..]
            )
        );
        assert_eq!(routes.len(), 3);
        assert_eq!(
            routes[0].attribute("community"),
            "(65001,100) (65535,65281)"
        );
        assert_eq!(
            (routes[0].attribute("med"), routes[1].attribute("med")),
            ("50", "")
        );
    }
}
