//! Addresses that this node has dialled of late though nobody whom it knows was met there.
//!
//! A search dials whoever its answers name, so that the nodes of one holder of addresses could fill it, each with an answer
//! that names more of them. Of one address group only so many are dialled within a minute; the rest of the group is out of
//! reach for as long, which costs an honest node no more than its place in a search: it may call by itself.

use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use comet_kernel::Moment;

use super::address::{self, Address, Group};

/// How long an address counts after it was first dialled.
const COUNTED: Duration = Duration::from_secs(60);
/// Addresses that are counted at once. With more, the first of them count no longer.
const ADDRESSES: usize = 4_096;

/// Host and port, whatever speaks there.
type Door = (IpAddr, u16);

/// Counts the addresses of each group.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    in_group: usize,
    private: bool,
    /// Where nodes of the book can be reached: those do not count.
    known: HashSet<Door>,
    /// In the order in which they were first dialled.
    dialled: VecDeque<(Moment, Group, Door)>,
}

impl Crowd {
    /// Nobody was dialled. At most `in_group` addresses of a group; private ones count only if `private` is set.
    pub fn new(in_group: usize, private: bool) -> Self {
        Crowd { in_group, private, ..Crowd::default() }
    }

    /// These are the addresses of the book, and no others.
    pub fn know(&mut self, addresses: impl Iterator<Item = Address>) {
        self.known.clear();
        self.known.extend(addresses.map(door));
    }

    /// Whether an address may be dialled. If so, it counts.
    pub fn admits(&mut self, address: Address, now: Moment) -> bool {
        let door = door(address);
        let Some(group) = address::group(door.0, self.private).filter(|_| !self.known.contains(&door)) else {
            return true;
        };
        while self.dialled.front().is_some_and(|(first, ..)| now.since(*first) >= COUNTED) {
            self.dialled.pop_front();
        }
        let of_group = || self.dialled.iter().filter(|(_, known, _)| *known == group);
        if of_group().any(|(.., known)| *known == door) {
            return true;
        }
        if of_group().count() >= self.in_group {
            return false;
        }
        if self.dialled.len() == ADDRESSES {
            self.dialled.pop_front();
        }
        self.dialled.push_back((now, group, door));
        true
    }
}

fn door(address: Address) -> Door {
    (address.ip(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ip: [u8; 4], port: u16) -> Address {
        Address::Tcp(ip.into(), port)
    }

    fn second(second: u64) -> Moment {
        Moment::default() + Duration::from_secs(second)
    }

    #[test]
    fn of_one_group_only_so_many_addresses_are_dialled_in_a_minute_and_of_others_as_many() {
        let mut crowd = Crowd::new(3, false);
        let dialled = |crowd: &mut Crowd, third, now| {
            (0..100).filter(|number| crowd.admits(at([8, 8, third, *number], 1), second(now))).count()
        };
        assert_eq!((dialled(&mut crowd, 8, 0), dialled(&mut crowd, 9, 10)), (3, 3));
        let ports = (2..100).filter(|port| crowd.admits(at([8, 8, 8, 0], *port), second(20))).count();
        assert_eq!(ports, 0, "one host can have many ports");
        assert!(crowd.admits(at([8, 8, 8, 0], 1), second(59)), "the same as before");
        let other = Address::Quic([8, 8, 8, 0].into(), 1);
        assert!(crowd.admits(other, second(59)), "the same door");
        assert_eq!(dialled(&mut crowd, 8, 59), 3, "those that it knows");
        assert!(!crowd.admits(at([8, 8, 8, 200], 1), second(59)));
        assert!(crowd.admits(at([8, 8, 8, 200], 1), second(60)), "after a minute they count no more");
        assert!(!crowd.admits(at([8, 8, 9, 200], 1), second(60)));
    }

    #[test]
    fn nodes_of_the_book_and_private_addresses_do_not_count() {
        let mut crowd = Crowd::new(1, false);
        assert!(crowd.admits(at([8, 8, 8, 1], 1), second(0)));
        crowd.know([at([8, 8, 8, 2], 1)].into_iter());
        assert!(crowd.admits(at([8, 8, 8, 2], 1), second(0)) && !crowd.admits(at([8, 8, 8, 2], 2), second(0)));
        crowd.know([].into_iter());
        assert!(!crowd.admits(at([8, 8, 8, 2], 1), second(0)));
        assert!((0..100).all(|number| crowd.admits(at([10, 0, 0, number], 1), second(0))));
    }

    #[test]
    fn however_many_groups_are_named_only_so_many_addresses_are_counted() {
        let mut crowd = Crowd::new(3, false);
        for group in 0..2 * ADDRESSES as u32 {
            let [_, second_byte, third, fourth] = (group << 8).to_be_bytes();
            assert!(crowd.admits(at([8, second_byte, third, fourth], 1), second(0)));
        }
        assert_eq!(crowd.dialled.len(), ADDRESSES);
    }
}
