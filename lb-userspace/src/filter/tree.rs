//! Both lists as a search tree over ranges, in the form of [`lb_common::filter`].

use std::sync::Arc;

use lb_common::filter::{Element, Filter, RANGES_V4, RANGES_V6, Verdict};
use lb_common::siphash::siphash_2_4;
use zerocopy::IntoBytes as _;

use super::Prefixes;

/// The elements of a map, and where in it what is. Equal where all that the datapath sees of it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    elements: Arc<[Element]>,
    place: Filter,
}

impl Tree {
    /// Of these lists; none of `allow`: everybody may.
    pub fn of(allow: Option<&Prefixes>, deny: Option<&Prefixes>) -> Self {
        let others = match allow {
            Some(_) => Verdict::NotAllowed,
            None => Verdict::Pass,
        };
        let nothing = Prefixes::default();
        let (deny, allow) = (deny.unwrap_or(&nothing), allow.unwrap_or(&nothing));
        let denied = rules(deny.v4(), Verdict::Denied);
        let of_v4 = both(denied, rules(allow.v4(), Verdict::Pass));
        let of_v4 = ranges(of_v4, 32, others);
        let denied = rules(deny.v6(), Verdict::Denied);
        let of_v6 = both(denied, rules(allow.v6(), Verdict::Pass));
        let of_v6 = ranges(of_v6, 128, others);
        let mut elements = Vec::new();
        let levels_v4 = write_v4(&of_v4, &mut elements);
        let root_v6 = elements.len() as u32;
        let levels_v6 = write_v6(&of_v6, &mut elements);
        let place = Filter {
            fingerprint: fingerprint(&elements),
            slot: 0,
            levels_v4,
            levels_v6,
            root_v6,
        };
        Self {
            elements: elements.into(),
            place,
        }
    }

    /// What the datapath is told about it, but for its slot.
    pub fn place(&self) -> Filter {
        self.place
    }

    /// The content of its map.
    pub fn elements(&self) -> &Arc<[Element]> {
        &self.elements
    }

    /// Bytes of its map.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.elements)
    }
}

/// What tells the content of a filter's map from any other's; never zero.
pub fn fingerprint(elements: &[Element]) -> u64 {
    siphash_2_4(*b"anylb filter map", elements.as_bytes()).max(1)
}

/// A prefix with what becomes of sources in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    network: u128,
    length: u8,
    verdict: Verdict,
}

/// Addresses up to `end`, from that of the range before on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    end: u128,
    verdict: Verdict,
}

fn rules<N: Copy + Into<u128>>(
    prefixes: &[(N, u8)],
    verdict: Verdict,
) -> impl Iterator<Item = Rule> {
    prefixes.iter().map(move |&(network, length)| Rule {
        network: network.into(),
        length,
        verdict,
    })
}

/// Both in order; of a prefix that is in both, only the one of `first`.
fn both(
    first: impl Iterator<Item = Rule>,
    second: impl Iterator<Item = Rule>,
) -> impl Iterator<Item = Rule> {
    let (mut first, mut second) = (first.peekable(), second.peekable());
    let key = |rule: &Rule| (rule.network, rule.length);
    std::iter::from_fn(move || match (first.peek(), second.peek()) {
        (Some(one), Some(other)) if key(one) == key(other) => {
            second.next();
            first.next()
        }
        (Some(one), Some(other)) if key(other) < key(one) => second.next(),
        (Some(_), _) => first.next(),
        (None, _) => second.next(),
    })
}

/// The ranges that prefixes in order cut the addresses of `bits` bits into. Neighbours differ in their verdict; the last ends with
/// the last address.
fn ranges(rules: impl Iterator<Item = Rule>, bits: u32, others: Verdict) -> Vec<Range> {
    let last = u128::MAX >> (128 - bits);
    let mut found = Ranges::default();
    // Those around the address that is looked at, the longest last.
    let mut around = vec![Range {
        end: last,
        verdict: others,
    }];
    for rule in rules {
        while let Some(range) = around.pop_if(|range| range.end < rule.network) {
            found.reach(range.end, range.verdict);
        }
        if let (Some(before), Some(range)) = (rule.network.checked_sub(1), around.last()) {
            found.reach(before, range.verdict);
        }
        let within = last.checked_shr(rule.length.into()).unwrap_or(0);
        around.push(Range {
            end: rule.network | within,
            verdict: rule.verdict,
        });
    }
    while let Some(range) = around.pop() {
        found.reach(range.end, range.verdict);
    }
    found.0
}

#[derive(Default)]
struct Ranges(Vec<Range>);

impl Ranges {
    /// From where the ranges end up to `end`, this holds; nothing where they end there or later.
    fn reach(&mut self, end: u128, verdict: Verdict) {
        match self.0.last_mut() {
            Some(range) if range.end >= end => {}
            Some(range) if range.verdict == verdict => range.end = end,
            _ => self.0.push(Range { end, verdict }),
        }
    }
}

/// A node before it is written: ends of its ranges, and the tail.
struct Node<'a> {
    ends: &'a [u128],
    tail: u32,
}

/// Levels of a tree from the root on, each with the ends of what its nodes choose from: in the last level those of the ranges, above
/// it those of the nodes below.
fn levels(ranges: &[Range], width: usize) -> Vec<Vec<u128>> {
    let mut all = vec![ranges.iter().map(|range| range.end).collect::<Vec<_>>()];
    while let Some(below) = all.last().filter(|level| level.len() > width) {
        let above = below.chunks(width).filter_map(|node| node.last().copied());
        all.push(above.collect());
    }
    all.reverse();
    all
}

/// Writes the nodes of all levels by `write`, which is told their numbers, from `first` on; how many levels there are.
fn write(
    ranges: &[Range],
    width: usize,
    first: usize,
    mut write: impl FnMut(usize, Node<'_>),
) -> u8 {
    let levels = levels(ranges, width);
    let mut number = first;
    for (depth, ends) in levels.iter().enumerate() {
        let is_last = depth + 1 == levels.len();
        let below = number + ends.len().div_ceil(width);
        for (n, ends) in ends.chunks(width).enumerate() {
            let tail = if is_last {
                verdicts(&ranges[n * width..][..ends.len()])
            } else {
                (below + n * width) as u32
            };
            write(number, Node { ends, tail });
            number += 1;
        }
    }
    levels.len() as u8
}

fn verdicts(ranges: &[Range]) -> u32 {
    let bits = (0..).step_by(2).zip(ranges);
    bits.fold(0, |tail, (bit, range)| tail | (range.verdict as u32) << bit)
}

fn write_v4(ranges: &[Range], elements: &mut Vec<Element>) -> u8 {
    write(ranges, RANGES_V4, 0, |number, node| {
        if number % 2 == 0 {
            elements.push(Element::default());
        }
        let mut halves = [u32::MAX; RANGES_V4];
        // The end of the last range is not looked at.
        for (half, end) in halves.iter_mut().zip(node.ends).take(RANGES_V4 - 1) {
            *half = *end as u32;
        }
        halves[RANGES_V4 - 1] = node.tail;
        let words = &mut elements[number / 2].words[8 * (number % 2)..][..8];
        for (word, pair) in words.iter_mut().zip(halves.chunks(2)) {
            *word = u64::from(pair[0]) | u64::from(pair[1]) << 32;
        }
    })
}

fn write_v6(ranges: &[Range], elements: &mut Vec<Element>) -> u8 {
    write(ranges, RANGES_V6, elements.len(), |_, node| {
        let mut words = [u64::MAX; 16];
        let ends = words.chunks_mut(2).zip(node.ends).take(RANGES_V6 - 1);
        for (pair, end) in ends {
            pair.copy_from_slice(&[(end >> 64) as u64, *end as u64]);
        }
        words[14] = node.tail.into();
        words[15] = 0;
        elements.push(Element { words });
    })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use ipnet::{IpNet, Ipv4Net, Ipv6Net};
    use lb_common::wire::{address_words, v4_mapped};

    use super::*;

    impl Tree {
        fn verdict(&self, source: std::net::IpAddr) -> Verdict {
            let element = |index: u32| self.elements.get(index as usize);
            let verdict = match source {
                std::net::IpAddr::V4(v4) => {
                    let words = v4_mapped(u32::from_ne_bytes(v4.octets()));
                    self.place.verdict(words, true, element)
                }
                std::net::IpAddr::V6(v6) => {
                    self.place
                        .verdict(address_words(v6.octets()), false, element)
                }
            };
            verdict.expect("a whole tree")
        }
    }

    fn list(text: &str) -> Prefixes {
        Prefixes::of_text(text).expect("a list")
    }

    #[test]
    fn the_longest_prefix_decides_whichever_list_it_is_from() {
        type Cases = &'static [(&'static str, Verdict)];
        use Verdict::{Denied, NotAllowed, Pass};
        let cases: [(&str, Option<&str>, Option<&str>, Cases); 5] = [
            (
                "deny alone",
                None,
                Some("10.0.0.0/8\n2001:db8::/32"),
                &[
                    ("10.1.2.3", Denied),
                    ("11.0.0.0", Pass),
                    ("9.255.255.255", Pass),
                    ("2001:db8:1::", Denied),
                    ("2001:db9::", Pass),
                ],
            ),
            (
                "allow alone, of one family",
                Some("10.0.0.0/8"),
                None,
                &[
                    ("10.1.2.3", Pass),
                    ("11.0.0.0", NotAllowed),
                    ("2001:db8::1", NotAllowed),
                ],
            ),
            (
                "nobody",
                Some(""),
                None,
                &[
                    ("0.0.0.0", NotAllowed),
                    ("255.255.255.255", NotAllowed),
                    ("::1", NotAllowed),
                ],
            ),
            (
                "within each other",
                Some("10.0.0.0/8\n10.1.1.0/24"),
                Some("10.1.0.0/16\n10.1.1.1/32"),
                &[
                    ("10.0.0.1", Pass),
                    ("10.1.0.255", Denied),
                    ("10.1.1.0", Pass),
                    ("10.1.1.1", Denied),
                    ("10.1.1.2", Pass),
                    ("10.1.2.0", Denied),
                    ("10.2.0.0", Pass),
                    ("12.0.0.1", NotAllowed),
                ],
            ),
            (
                "the same in both, and everything",
                Some("0.0.0.0/0\n10.0.0.0/8"),
                Some("10.0.0.0/8\n::/0"),
                &[
                    ("10.0.0.1", Denied),
                    ("11.0.0.1", Pass),
                    ("::", Denied),
                    ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Denied),
                ],
            ),
        ];
        for (about, allow, deny, expected) in cases {
            let (allow, deny) = (allow.map(list), deny.map(list));
            let tree = Tree::of(allow.as_ref(), deny.as_ref());
            for (address, expected) in expected {
                let address = address.parse().expect("an address");
                assert_eq!(tree.verdict(address), *expected, "{about}: {address}");
            }
        }
    }

    /// A linear congruential generator: the same numbers in every run.
    struct Numbers(u128);

    impl Numbers {
        fn next(&mut self) -> u128 {
            let product = self
                .0
                .wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645);
            self.0 = product.wrapping_add(0x5851_f42d_4c95_7f2d_1405_7b7e_f767_814f);
            // The low bits of such numbers have short periods.
            self.0 ^ self.0 >> 64
        }

        fn below(&mut self, limit: u32) -> u32 {
            (self.next() as u32) % limit
        }

        /// Near other ones, so that many are around each other.
        fn near_v4(&mut self) -> Ipv4Addr {
            let spread = [0xff00_00ff, 0xffff_ffff, 0x0f0f_0f0f][self.below(3) as usize];
            Ipv4Addr::from(self.next() as u32 & spread)
        }

        fn near_v6(&mut self) -> Ipv6Addr {
            let spread = [
                0x000f_0000_0000_000f_000f_0000_0000_000f,
                u128::MAX,
                0xf000_0000_0000_0000_0000_0000_0000_000f,
            ];
            Ipv6Addr::from(self.next() & spread[self.below(3) as usize])
        }

        fn prefix(&mut self) -> IpNet {
            if self.below(2) == 0 {
                let length = self.below(33) as u8;
                let net = Ipv4Net::new(self.near_v4(), length).expect("at most 32");
                net.trunc().into()
            } else {
                let length = self.below(129) as u8;
                let net = Ipv6Net::new(self.near_v6(), length).expect("at most 128");
                net.trunc().into()
            }
        }
    }

    #[test]
    fn random_lists_say_what_a_search_through_all_of_them_says() {
        let mut numbers = Numbers(7);
        for round in 0..300 {
            let mut list = |most: u32| -> Prefixes {
                let count = numbers.below(most);
                (0..count).map(|_| numbers.prefix()).collect()
            };
            let (allow, deny) = (list(120), list(400));
            let allow = (round % 3 != 0).then_some(allow);
            let tree = Tree::of(allow.as_ref(), Some(&deny));
            for _ in 0..300 {
                // Around the edges as well.
                let net = numbers.prefix();
                let source = match numbers.below(3) {
                    0 => net.network(),
                    1 => net.broadcast(),
                    _ => match net {
                        IpNet::V4(_) => numbers.near_v4().into(),
                        IpNet::V6(_) => numbers.near_v6().into(),
                    },
                };
                let length = |list: Option<&Prefixes>| {
                    let longest = list.and_then(|list| list.longest(source));
                    longest.map(|prefix| prefix.prefix_len())
                };
                let (allowed, denied) = (length(allow.as_ref()), length(Some(&deny)));
                let expected = match (allowed, denied) {
                    (allowed, Some(denied)) if allowed.is_none_or(|length| denied >= length) => {
                        Verdict::Denied
                    }
                    (Some(_), _) => Verdict::Pass,
                    (None, _) if allow.is_some() => Verdict::NotAllowed,
                    (None, _) => Verdict::Pass,
                };
                assert_eq!(tree.verdict(source), expected, "round {round}: {source}");
            }
        }
    }

    #[test]
    fn equal_lists_are_equal_trees_and_others_are_not() {
        let of = |text| Tree::of(None, Some(&list(text)));
        assert_eq!(of("10.0.0.0/9\n10.128.0.0/9"), of("10.0.0.0/8"));
        assert_ne!(of("10.0.0.0/8").place, of("11.0.0.0/8").place);
        assert_ne!(Tree::of(Some(&list("")), None).place, of("").place);
    }

    #[test]
    fn a_million_prefixes_are_few_levels() {
        let mut numbers = Numbers(1);
        for (about, v6, levels, most_bytes) in
            [("IPv4", false, 6, 10 << 20), ("IPv6", true, 7, 38 << 20)]
        {
            let prefixes: Prefixes = (0..1_000_000)
                .map(|_| match v6 {
                    false => {
                        IpNet::from(std::net::IpAddr::V4(Ipv4Addr::from(numbers.next() as u32)))
                    }
                    true => {
                        let net =
                            Ipv6Net::new(Ipv6Addr::from(numbers.next()), 64).expect("at most 128");
                        net.trunc().into()
                    }
                })
                .collect();
            let tree = Tree::of(None, Some(&prefixes));
            println!(
                "{about}: {} prefixes, {} KiB, levels {} and {}",
                prefixes.len(),
                tree.bytes() / 1024,
                tree.place.levels_v4,
                tree.place.levels_v6
            );
            let deepest = tree.place.levels_v4.max(tree.place.levels_v6);
            assert!(deepest <= levels, "{about}: {deepest} levels");
            assert!(
                tree.bytes() <= most_bytes,
                "{about}: {} bytes",
                tree.bytes()
            );
            for (source, expected) in [("0.0.0.1", Verdict::Pass), ("::1", Verdict::Pass)] {
                assert_eq!(tree.verdict(source.parse().expect("an address")), expected);
            }
        }
    }
}
