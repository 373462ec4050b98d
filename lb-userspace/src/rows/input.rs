//! What a table is a function of: backends, weights, administrative states. Never health.

use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::model::AdminState;

/// Most backends of one input. The rows of a table name backends of several inputs by 16-bit numbers.
pub const MEMBERS_MAX: usize = 4096;

/// The canonical identity of a backend in tables: 16 bytes, IPv4 as v4-mapped.
pub fn identity(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The address with this identity; the inverse of [`identity`] for canonical addresses.
pub fn address(identity: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(identity).to_canonical()
}

/// One backend of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Canonical: a v4-mapped address is an IPv4 one.
    pub address: IpAddr,
    /// Share of rows against the other members; at least 1.
    pub weight: u16,
    /// Draining members own no rows.
    pub admin: AdminState,
}

/// Backends of one pool as a table sees them, in ascending order of identity, none twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Member>", into = "Vec<Member>")]
pub struct Input {
    members: Vec<Member>,
}

/// More members than a table can number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{count} backends in one pool, at most {MEMBERS_MAX} are possible")]
pub struct TooManyMembers {
    /// Distinct backends given.
    pub count: usize,
}

impl Input {
    /// Members in any order. Addresses are made canonical, a weight of 0 becomes 1; of two members with one address the
    /// lighter stays. A disabled one owns as little as a draining one; a [`View`](super::View) keeps it out of the hops.
    pub fn new(members: impl IntoIterator<Item = Member>) -> Result<Self, TooManyMembers> {
        let mut members: Vec<Member> = members.into_iter().map(canonical).collect();
        members.sort_by_key(|m| {
            (
                identity(m.address),
                m.weight,
                m.admin == AdminState::Draining,
            )
        });
        members.dedup_by_key(|m| m.address);
        match members.len() {
            ..=MEMBERS_MAX => Ok(Self { members }),
            count => Err(TooManyMembers { count }),
        }
    }

    /// In ascending order of identity.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Members that may own rows: the active ones, or all where none is active.
    pub(super) fn active(&self) -> Vec<bool> {
        let none = self.members.iter().all(|m| m.admin == AdminState::Draining);
        self.members
            .iter()
            .map(|m| none || m.admin == AdminState::Ready)
            .collect()
    }
}

impl TryFrom<Vec<Member>> for Input {
    type Error = TooManyMembers;

    fn try_from(members: Vec<Member>) -> Result<Self, TooManyMembers> {
        Self::new(members)
    }
}

impl From<Input> for Vec<Member> {
    fn from(input: Input) -> Self {
        input.members
    }
}

fn canonical(member: Member) -> Member {
    Member {
        address: member.address.to_canonical(),
        weight: member.weight.max(1),
        admin: match member.admin {
            AdminState::Ready => AdminState::Ready,
            AdminState::Draining | AdminState::Disabled => AdminState::Draining,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(address: &str, weight: u16) -> Member {
        Member {
            address: address.parse().expect("a literal"),
            weight,
            admin: AdminState::Ready,
        }
    }

    #[test]
    fn order_and_spelling_make_no_difference() {
        let a = Input::new([
            member("10.0.0.2", 5),
            member("2001:db8::1", 1),
            member("10.0.0.1", 0),
        ]);
        let b = Input::new([
            member("10.0.0.1", 1),
            member("::ffff:10.0.0.2", 5),
            member("2001:db8:0::1", 1),
        ]);
        assert_eq!(a, b);
        let addresses: Vec<String> = a
            .iter()
            .flat_map(|i| i.members())
            .map(|m| m.address.to_string())
            .collect();
        assert_eq!(addresses, ["10.0.0.1", "10.0.0.2", "2001:db8::1"]);
    }

    #[test]
    fn an_address_given_twice_counts_once_in_either_order() {
        let (light, heavy) = (member("10.0.0.1", 1), member("10.0.0.1", 9));
        assert_eq!(Input::new([light, heavy]), Input::new([heavy, light]));
        assert_eq!(Input::new([heavy, light]), Input::new([light]));
    }

    #[test]
    fn identities_are_sixteen_bytes_and_reversible() {
        let v4: IpAddr = "192.0.2.1".parse().expect("a literal");
        assert_eq!(
            identity(v4),
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1]
        );
        assert_eq!(address(identity(v4)), v4);
    }

    #[test]
    fn one_member_too_many_is_refused_also_from_a_file() {
        let many = |n: u32| {
            (0..n).map(|i| Member {
                address: IpAddr::from((0x0a00_0000 + i).to_be_bytes()),
                ..member("10.0.0.1", 1)
            })
        };
        assert!(Input::new(many(4096)).is_ok());
        assert_eq!(Input::new(many(4097)), Err(TooManyMembers { count: 4097 }));
        let json = serde_json::to_string(&many(4097).collect::<Vec<_>>()).expect("plain data");
        let error = serde_json::from_str::<Input>(&json).expect_err("too many");
        assert!(error.to_string().contains("4097 backends"), "{error}");
    }
}
