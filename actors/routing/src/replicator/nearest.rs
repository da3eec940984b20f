//! Who should hold an object: the nodes nearest to its key, from the table, or from a look-up where the table is thin.
//!
//! A look-up also fills the table around the place that it was for, so that one for each region is enough. Their number
//! in one round is bounded; where the bound is reached, the table has to do, and no surplus copy is dropped on its word.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;

use comet_kernel::{Key, Neighbour};

use crate::messages::Find;
use crate::spec::Env;

/// Look-ups in one round.
const LOOK_UPS: usize = 256;

/// The regions that look-ups were made for in one round. A region is what shares the first two bytes of a place.
#[derive(Debug, Default)]
pub(super) struct Regions(RefCell<HashSet<[u8; 2]>>);

/// The nodes nearest to a key.
#[derive(Debug)]
pub(super) struct Nearest {
    /// As many as should hold the object, and one more; nearest first; this node among them if it is one.
    pub nodes: Vec<Arc<Neighbour>>,
    /// Whether there are none nearer, as far as anybody can tell.
    pub certain: bool,
}

impl Regions {
    /// The nodes nearest to a key: `replicas` of them and the very next.
    pub async fn nearest(&self, env: &Env, key: &Key, place: &[u8; 32], replicas: usize) -> Nearest {
        let neighbours = &env.service.neighbours;
        let n = replicas + 1;
        if neighbours.covers(place, n) {
            return Nearest { nodes: neighbours.nearest(place, n), certain: true };
        }
        if self.may_look_up([place[0], place[1]])
            && let Ok(mut nodes) = env.find.call(Find { key: key.clone(), n }).await
            && !nodes.is_empty()
        {
            nodes.truncate(n);
            return Nearest { nodes, certain: true };
        }
        Nearest { nodes: neighbours.nearest(place, n), certain: neighbours.covers(place, n) }
    }

    fn may_look_up(&self, region: [u8; 2]) -> bool {
        let mut regions = self.0.borrow_mut();
        regions.len() < LOOK_UPS && regions.insert(region)
    }
}
