//! What a comparison is answered with.

use comet_kernel::provenance::Removal;

use super::world::{START, World, key, plain, removed, scripted};
use crate::wire::{Answer, Item};

#[actix::test]
async fn a_comparison_is_answered_by_what_is_here_and_what_should_be() {
    let world = World::new(16, 60, 3).await;
    let order = World::nearest(&world.nodes, &key(0), 60);
    let (near, far, from) = (&order[0], &order[59], &order[1]);
    let item = |number, version, state| Item { key: key(number), version, state };
    for (present, asked, expected) in [
        (None, item(0, 5, 0), "wanted"),
        (Some(plain(4)), item(0, 5, 0), "wanted"),
        (Some(plain(5)), item(0, 5, 0), "held"),
        (Some(plain(6)), item(0, 5, 0), "newer"),
        (Some(removed(5, Removal::Here)), item(0, 5, 0), "held"),
        (Some(removed(6, Removal::Here)), item(0, 5, 0), "declined"),
        (Some(removed(6, Removal::Everywhere)), item(0, 5, 0), "newer"),
        (Some(scripted(5, 1, true)), item(0, 5, 99), "wanted"),
        (Some(scripted(5, 1, false)), item(0, 5, 99), "held"),
        (None, item(0, (START.0 + 600_000) << 16, 0), "declined"),
    ] {
        world.at(near, |site| site.records.clear());
        if let Some(record) = present {
            world.store(near, &key(0), record);
        }
        assert_eq!(word(world.compare(near, from, vec![asked.clone()]).await), expected, "{asked:?}");
    }
    assert_eq!(word(world.compare(far, from, vec![item(0, 5, 0)]).await), "declined", "it is none of its business");
}

fn word(answer: Answer) -> &'static str {
    let Answer::Compared { wanted, newer, declined } = answer else { panic!("{answer:?}") };
    match (wanted.len(), newer.len(), declined.len()) {
        (0, 0, 0) => "held",
        (1, 0, 0) => "wanted",
        (0, 1, 0) => "newer",
        (0, 0, 1) => "declined",
        _ => panic!("one item, one word"),
    }
}
