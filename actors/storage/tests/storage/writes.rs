//! What a write promises, and what the index, the count and the scripts hold afterwards.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use comet_kernel::contract::storage::{
    Clear, DropSources, NamedVersion, ReadDues, ReadNames, ReadScript, ReadSources, WriteScript,
};
use comet_kernel::provenance::{Provenance, Removal, Signature};
use comet_kernel::settings::{Durability, Storage};
use comet_kernel::{Clock, Key, Record, ScriptHash, UnixMillis, limits};

use super::node::{Node, expiring, folder, key, plain, write};

async fn dues(node: &Node, after: Option<(UnixMillis, Key)>, limit: usize) -> Vec<(u64, String)> {
    let dues = node.service.read_dues.call(ReadDues { after, limit }).await.expect("answered").expect("read");
    dues.into_iter().map(|(due, key)| (due.0, key.to_string())).collect()
}

#[actix::test]
async fn an_answered_write_is_read_back() {
    let folder = folder();
    let node = Node::start(folder.path()).await;
    node.put("a", plain("one"), None).await.expect("written");
    assert_eq!(node.get("a").await, Ok(Some(plain("one"))));
    assert_eq!(node.get("b").await, Ok(None));
    node.stop().await;
}

#[actix::test]
async fn writes_that_wait_together_are_committed_together() {
    let folder = folder();
    let clock = Clock::manual(UnixMillis(0));
    let node = Node::start_with(folder.path(), &Storage::default(), clock.clone()).await;
    node.disk.holds.store(true, Ordering::SeqCst);
    clock.advance(Duration::from_secs(1));
    let ask = |n| node.service.write.ask(write(&format!("k{n}"), Some(plain("x")), None)).expect("there is room");
    let answers = (0..100).map(ask).collect::<Vec<_>>();
    node.disk.released.store(true, Ordering::SeqCst);
    for answer in answers {
        assert_eq!(answer.await.expect("answered"), Ok(()));
    }
    let status = node.status().await;
    assert_eq!((status.objects, status.writes), (100, 100));
    assert!(status.commits <= 2, "{} commits", status.commits);
    node.stop().await;
}

#[actix::test]
async fn the_last_of_two_writes_in_one_batch_wins() {
    let folder = folder();
    let node = Node::start(folder.path()).await;
    let mut answers = Vec::new();
    let mut former = None;
    for n in 0..500 {
        let record = plain(&n.to_string());
        answers.push(node.service.write.ask(write("a", Some(record.clone()), former.as_ref())).expect("there is room"));
        former = Some(record);
    }
    for answer in answers {
        assert_eq!(answer.await.expect("answered"), Ok(()));
    }
    assert_eq!(node.get("a").await, Ok(former));
    assert_eq!(node.status().await.objects, 1);
    node.stop().await;
}

#[actix::test]
async fn the_count_follows_puts_replacements_and_removals_over_a_restart() {
    let folder = folder();
    let node = Node::start(folder.path()).await;
    node.put("a", plain("one"), None).await.expect("written");
    node.put("b", plain("two"), None).await.expect("written");
    node.put("a", plain("three"), Some(&plain("one"))).await.expect("written");
    node.remove("b", &plain("two")).await.expect("removed");
    assert_eq!(node.status().await.objects, 1);
    node.stop().await;
    let node = Node::start(folder.path()).await;
    assert_eq!(node.status().await.objects, 1);
    node.stop().await;
}

#[actix::test]
async fn the_index_of_what_is_due_moves_with_the_records_and_reads_in_pages() {
    let folder = folder();
    let node = Node::start(folder.path()).await;
    node.put("a", expiring(30), None).await.expect("written");
    node.put("b", expiring(20), None).await.expect("written");
    node.put("c", expiring(20), None).await.expect("written");
    node.put("a", expiring(10), Some(&expiring(30))).await.expect("written");
    let all = [(10, "a".to_owned()), (20, "b".to_owned()), (20, "c".to_owned())];
    assert_eq!(dues(&node, None, 10).await, all);
    assert_eq!(dues(&node, None, 2).await, all[..2]);
    assert_eq!(dues(&node, Some((UnixMillis(20), key("b"))), 2).await, all[2..]);
    node.remove("b", &expiring(20)).await.expect("removed");
    node.stop().await;
    let node = Node::start(folder.path()).await;
    assert_eq!(dues(&node, None, 10).await, [all[0].clone(), all[2].clone()]);
    node.stop().await;
}

#[actix::test]
async fn a_scan_meets_every_key_once_in_order() {
    let folder = folder();
    let node = Node::start(folder.path()).await;
    for n in 0..7 {
        node.put(&format!("k{n}"), plain("x"), None).await.expect("written");
    }
    let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = node.scan(after, 3).await;
        found.extend(page.items.into_iter().map(|(key, _)| key.to_string()));
        pages += 1;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, ["k0", "k1", "k2", "k3", "k4", "k5", "k6"]);
    assert_eq!(pages, 3);
    assert!(node.scan(Some(key("k5")), 1).await.next.is_none(), "the last page knows that it is the last");
    node.stop().await;
}

#[actix::test]
async fn sources_are_listed_in_pages_and_dropped_by_their_hashes() {
    let folder = folder();
    let node = Node::start(folder.path()).await;
    let sources: Vec<Arc<str>> = (0..5).map(|n| format!("fn onGet() {{ {n} }}").into()).collect();
    let mut hashes: Vec<_> = sources.iter().map(|source| ScriptHash::of(source)).collect();
    hashes.sort_by_key(|hash| *hash.as_bytes());
    let write = WriteScript { sources, name: None };
    assert_eq!(node.service.write_script.call(write).await.expect("answered"), Ok(()));
    let list =
        async |after, limit| node.service.read_sources.call(ReadSources { after, limit }).await.expect("answered");
    assert_eq!(list(None, 3).await, Ok(hashes[..3].to_vec()));
    assert_eq!(list(Some(hashes[2]), 3).await, Ok(hashes[3..].to_vec()));
    let drop = DropSources { hashes: hashes[1..].to_vec() };
    assert_eq!(node.service.drop_sources.call(drop).await.expect("answered"), Ok(()));
    assert_eq!(list(None, 3).await, Ok(hashes[..1].to_vec()));
    node.stop().await;
}

#[actix::test]
async fn a_page_of_large_records_ends_before_its_count() {
    let folder = folder();
    let node = Node::start(folder.path()).await;
    let large = plain(&"x".repeat(limits::VALUE_BYTES));
    for n in 0..9 {
        node.put(&format!("k{n}"), large.clone(), None).await.expect("written");
    }
    let (mut sizes, mut after) = (Vec::new(), None);
    loop {
        let page = node.scan(after, limits::PAGE_ITEMS).await;
        sizes.push(page.items.len());
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(sizes, [4, 4, 1], "four records of a mebibyte fill a page");
    node.stop().await;
}

#[actix::test]
async fn scripts_and_names_survive_a_restart_and_a_clear_and_objects_do_not_survive_the_clear() {
    let folder = folder();
    let node = Node::start(folder.path()).await;
    let source: Arc<str> = "fn onGet() { 1 }".into();
    let hash = ScriptHash::of(&source);
    let versions = vec![NamedVersion { hash, origin: "operator".into(), loaded: UnixMillis(5) }];
    let load = |versions| WriteScript { sources: vec![source.clone()], name: Some(("counter".into(), versions)) };
    node.service.write_script.call(load(versions.clone())).await.expect("answered").expect("written");
    node.put("a", expiring(10), None).await.expect("written");
    node.service.clear.call(Clear).await.expect("answered").expect("cleared");
    assert_eq!(node.get("a").await, Ok(None));
    node.put("b", plain("after"), None).await.expect("written");
    node.stop().await;
    let node = Node::start(folder.path()).await;
    assert_eq!((node.get("a").await, node.get("b").await), (Ok(None), Ok(Some(plain("after")))));
    assert_eq!((node.status().await.objects, dues(&node, None, 9).await.len()), (1, 0));
    let read = node.service.read_script.call(ReadScript { hash }).await.expect("answered");
    assert_eq!(read, Ok(Some(source.clone())));
    let names = node.service.read_names.call(ReadNames).await.expect("answered");
    assert_eq!(names, Ok(vec![("counter".into(), versions)]));
    node.service.write_script.call(load(Vec::new())).await.expect("answered").expect("written");
    assert_eq!(node.service.read_names.call(ReadNames).await.expect("answered"), Ok(Vec::new()));
    node.stop().await;
}

#[actix::test]
async fn every_durability_keeps_its_writes_over_a_stop() {
    for durability in [Durability::Always, Durability::Interval, Durability::None] {
        let folder = folder();
        let settings = Storage { durability, ..Storage::default() };
        let node = Node::start_with(folder.path(), &settings, Clock::machine()).await;
        node.put("a", plain("kept"), None).await.expect("written");
        node.stop().await;
        let node = Node::start(folder.path()).await;
        assert_eq!(node.get("a").await, Ok(Some(plain("kept"))), "{durability:?}");
        node.stop().await;
    }
}

#[actix::test]
async fn a_stop_commits_what_was_written_behind_and_answers_it() {
    let folder = folder();
    let node = Node::start(folder.path()).await;
    let mut behind = write("a", Some(plain("behind")), None);
    behind.behind = true;
    let answer = node.service.write.ask(behind).expect("there is room");
    node.stop().await;
    assert_eq!(answer.await.expect("answered before the end"), Ok(()));
    let node = Node::start(folder.path()).await;
    assert_eq!(node.get("a").await, Ok(Some(plain("behind"))));
    node.stop().await;
}

#[actix::test]
async fn a_tombstone_is_stored_with_its_provenance_and_is_no_object_in_the_count() {
    let folder = folder();
    let node = Node::start(folder.path()).await;
    let provenance = |removed| {
        let (by, signature, script) = ("12D3".into(), Signature([7; 64]), Some(ScriptHash::of("x")));
        Some(Box::new(Provenance { by, signature, script, replicas: Some(3), removed }))
    };
    let living = Record { provenance: provenance(None), ..plain("v") };
    let tombstone = Record { provenance: provenance(Some(Removal::Everywhere)), ..expiring(9) };
    node.put("a", living.clone(), None).await.expect("written");
    assert_eq!((node.get("a").await, node.status().await.objects), (Ok(Some(living.clone())), 1));
    node.put("a", tombstone.clone(), Some(&living)).await.expect("written");
    node.put("b", tombstone.clone(), None).await.expect("written");
    assert_eq!((node.get("a").await, node.status().await.objects), (Ok(Some(tombstone.clone())), 0));
    node.stop().await;
    let node = Node::start(folder.path()).await;
    assert_eq!((node.get("b").await, node.status().await.objects), (Ok(Some(tombstone.clone())), 0));
    node.put("b", living.clone(), Some(&tombstone)).await.expect("written");
    node.remove("a", &tombstone).await.expect("removed");
    assert_eq!((node.get("b").await, node.status().await.objects), (Ok(Some(living)), 1));
    node.stop().await;
}
