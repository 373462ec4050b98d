//! The configuration files of the site (in `tests/lab/`) and the changes that scenarios make to them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use toml::{Table, Value};

const LBS: [&str; 2] = [
    include_str!("../../lab/lb1.toml"),
    include_str!("../../lab/lb2.toml"),
];
const BACKEND: &str = include_str!("../../lab/be.toml");
const BOX: &str = include_str!("../../lab/box.toml");
/// The configuration of the router of boxes that are LB node and backend at once.
pub const BOX_ROUTER: &str = include_str!("../../lab/box-r1.conf");
/// The configuration of r1, which is FRR.
pub const ROUTER: &str = include_str!("../../lab/r1.conf");
/// The configuration of r2, which is BIRD.
pub const SECOND_ROUTER: &str = include_str!("../../lab/r2.conf");

/// Backends in the files as they are.
pub const BACKENDS_FIRST: u8 = 9;
/// Backends there are.
pub const BACKENDS: u8 = 12;
/// Boxes that are both.
pub const BOXES: u8 = 3;
/// The tunnel's second chance at its most.
pub const HOPS: u8 = 4;

/// What scenarios change in both pools of both nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pools {
    /// `be1` up to this one.
    pub backends: u8,
    /// `pool.hops`.
    pub hops: u8,
    /// Weights other than the default, by number of the backend.
    pub weights: BTreeMap<u8, u16>,
}

impl Pools {
    /// All backends with equal weights and all hops.
    pub fn full() -> Self {
        Self {
            backends: BACKENDS,
            hops: HOPS,
            weights: BTreeMap::new(),
        }
    }

    /// The pools as the files have them.
    pub fn first() -> Self {
        Self {
            backends: BACKENDS_FIRST,
            ..Self::full()
        }
    }

    /// With another number of hops.
    pub fn with_hops(mut self, hops: u8) -> Self {
        self.hops = hops;
        self
    }
}

/// The file of LB node `number` with `pools`, and with another hash key file where one is given.
pub fn lb(number: usize, pools: &Pools, hash_key_file: Option<&Path>) -> Result<String> {
    changed(LBS[number - 1], pools, hash_key_file)
}

/// The same of a box that is LB node and backend.
pub fn both(number: usize, pools: &Pools, hash_key_file: Option<&Path>) -> Result<String> {
    let own = BOX
        .replace("lbN", &format!("lb{number}"))
        .replace(".N.", &format!(".{number}."));
    changed(&own, pools, hash_key_file)
}

fn changed(text: &str, pools: &Pools, hash_key_file: Option<&Path>) -> Result<String> {
    let mut file: Table = text.parse().context("an LB node's file is TOML")?;
    if let Some(path) = hash_key_file {
        let node = file
            .get_mut("node")
            .and_then(Value::as_table_mut)
            .context("[node]")?;
        node.insert("hash_key_file".into(), path.display().to_string().into());
    }
    let list = file
        .get_mut("pool")
        .and_then(Value::as_array_mut)
        .context("[[pool]]")?;
    for pool in list {
        change_pool(pool.as_table_mut().context("a pool is a table")?, pools)?;
    }
    Ok(file.to_string())
}

fn change_pool(pool: &mut Table, pools: &Pools) -> Result<()> {
    if pools.hops != HOPS {
        pool.insert("hops".into(), i64::from(pools.hops).into());
    }
    let members = pool
        .get_mut("backend")
        .and_then(Value::as_array_mut)
        .context("[[pool.backend]]")?;
    let first = members
        .first()
        .and_then(Value::as_table)
        .context("a pool has backends")?
        .clone();
    *members = (1..=pools.backends)
        .map(|number| member(&first, number, pools).map(Value::Table))
        .collect::<Result<_>>()?;
    Ok(())
}

/// Backend `number` in the likeness of the first.
fn member(first: &Table, number: u8, pools: &Pools) -> Result<Table> {
    let address = first
        .get("address")
        .and_then(Value::as_str)
        .context("address")?;
    let address = address
        .replace(".1.1.", &format!(".1.{number}."))
        .replace(":1:1:", &format!(":1:{number:x}:"))
        .replace(".0.1.", &format!(".0.{number}."))
        .replace(":0:1:", &format!(":0:{number:x}:"));
    let name = first.get("name").and_then(Value::as_str).context("name")?;
    let name = name.replace('1', &number.to_string());
    let mut member = Table::new();
    member.insert("address".into(), address.into());
    member.insert("name".into(), name.into());
    if let Some(weight) = pools.weights.get(&number) {
        member.insert("weight".into(), i64::from(*weight).into());
    }
    Ok(member)
}

/// The file of a backend; `clamp` false leaves the MSS of SYN-ACKs alone.
pub fn backend(name: &str, clamp: bool) -> String {
    let file = BACKEND.replace("beN", name);
    if clamp {
        file
    } else {
        file.replace("mss = \"auto\"", "mss = \"off\"")
    }
}

/// Where a node's configuration is written.
pub fn path(dir: &Path) -> PathBuf {
    dir.join("anylb.toml")
}

/// A node's admin socket.
pub fn socket(dir: &Path) -> PathBuf {
    dir.join("run/admin.sock")
}

#[cfg(test)]
mod tests {
    use std::io;

    use anylb::config::{self, Host, HostFile};
    use anylb::model::{Mss, PoolName, Settings};

    use super::*;

    struct Node;

    impl Host for Node {
        fn read(&self, path: &Path) -> io::Result<HostFile> {
            assert!(path.starts_with("/run/anylb-lab"), "{}", path.display());
            Ok(HostFile {
                content: b"000102030405060708090a0b0c0d0e0f\n".to_vec(),
                mode: 0o600,
            })
        }

        fn interfaces(&self) -> Vec<String> {
            vec!["lo".into(), "eth0".into()]
        }

        fn addresses(&self) -> Vec<std::net::IpAddr> {
            Vec::new()
        }

        fn system_roots(&self) -> Vec<Vec<u8>> {
            Vec::new()
        }
    }

    fn parse(text: &str) -> Settings {
        config::parse(text, Path::new("anylb.toml"), &Node)
            .unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn addresses(settings: &Settings, pool: &str) -> Vec<String> {
        let pool = &settings.pools[&PoolName(pool.to_owned())];
        pool.backends
            .iter()
            .map(|backend| backend.address.to_string())
            .collect()
    }

    #[test]
    fn the_files_as_they_are_have_nine_backends_and_four_hops() {
        for (text, number) in LBS.into_iter().zip(1..) {
            let settings = parse(text);
            assert_eq!(
                settings,
                parse(&lb(number, &Pools::first(), None).expect("it parses"))
            );
            for pool in settings.pools.values() {
                assert_eq!(
                    (pool.backends.len(), pool.hops),
                    (usize::from(BACKENDS_FIRST), HOPS)
                );
            }
        }
    }

    #[test]
    fn changes_reach_both_pools() {
        let pools = Pools {
            backends: 12,
            hops: 1,
            weights: BTreeMap::from([(3, 25)]),
        };
        let settings = parse(&lb(2, &pools, None).expect("it parses"));
        assert_eq!(addresses(&settings, "web-v4")[11], "10.1.12.2");
        assert_eq!(addresses(&settings, "web-v6")[11], "fd00:1:c::2");
        for pool in settings.pools.values() {
            assert_eq!(
                (pool.backends.len(), pool.hops, pool.backends[2].weight),
                (12, 1, 25)
            );
        }
    }

    #[test]
    fn a_box_is_both_and_a_backend_of_its_pools() {
        let pools = Pools {
            backends: BOXES,
            ..Pools::full()
        };
        let settings = parse(&both(2, &pools, None).expect("it parses"));
        assert_eq!(settings.node.name, "lb2");
        assert!(settings.backend.is_some());
        assert_eq!(
            addresses(&settings, "web-v4"),
            ["10.0.1.2", "10.0.2.2", "10.0.3.2"]
        );
        assert_eq!(
            addresses(&settings, "web-v6"),
            ["fd00:0:1::2", "fd00:0:2::2", "fd00:0:3::2"]
        );
    }

    #[test]
    fn a_backend_serves_the_vips_of_the_nodes() {
        let lb: Vec<_> = parse(LBS[0])
            .services
            .iter()
            .map(|service| service.vip)
            .collect();
        let on = parse(&backend("be7", true));
        assert_eq!(
            on.services
                .iter()
                .map(|service| service.vip)
                .collect::<Vec<_>>(),
            lb
        );
        assert_eq!(on.backend.map(|role| role.mss), Some(Mss::Auto));
        assert_eq!(
            parse(&backend("be7", false)).backend.map(|role| role.mss),
            Some(Mss::Off)
        );
    }
}
