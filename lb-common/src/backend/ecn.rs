//! Congestion marks at the tunnel's end (RFC 6040, section 4.2).

/// Not ECN-capable.
pub const NOT_ECT: u8 = 0;
/// ECN-capable, ECT(1).
pub const ECT_1: u8 = 1;
/// ECN-capable, ECT(0).
pub const ECT_0: u8 = 2;
/// Congestion experienced.
pub const CE: u8 = 3;

/// The mark of the packet that leaves the tunnel, from those of the two headers; `None`: drop it.
///
/// | inner | outer Not-ECT | outer ECT(0) | outer ECT(1) | outer CE |
/// |---|---|---|---|---|
/// | Not-ECT | Not-ECT | Not-ECT | Not-ECT | drop |
/// | ECT(0) | ECT(0) | ECT(0) | ECT(1) | CE |
/// | ECT(1) | ECT(1) | ECT(1) | ECT(1) | CE |
/// | CE | CE | CE | CE | CE |
#[inline(always)]
pub const fn combine(inner: u8, outer: u8) -> Option<u8> {
    match (inner & 3, outer & 3) {
        (NOT_ECT, CE) => None,
        (_, CE) => Some(CE),
        (ECT_0, ECT_1) => Some(ECT_1),
        (inner, _) => Some(inner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_of_rfc_6040() {
        let table = [
            (NOT_ECT, [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None]),
            (ECT_0, [Some(ECT_0), Some(ECT_0), Some(ECT_1), Some(CE)]),
            (ECT_1, [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)]),
            (CE, [Some(CE); 4]),
        ];
        for (inner, row) in table {
            for (outer, expected) in [NOT_ECT, ECT_0, ECT_1, CE].into_iter().zip(row) {
                assert_eq!(
                    combine(inner, outer),
                    expected,
                    "inner {inner}, outer {outer}"
                );
            }
        }
    }
}
