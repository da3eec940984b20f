//! Damage, full disks and dying actors: what is refused, what is kept, and how the store comes back.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use comet_kernel::contract::storage::{Former, Read, ReadError, Write, WriteError};
use comet_kernel::settings::Storage;
use comet_kernel::{Clock, Record, UnixMillis, Value};

use super::node::{Node, expiring, folder, key, plain, write};

/// Changes the stored bytes of a record behind the node's back.
fn damage(directory: &Path, name: &str) {
    let database = fjall::Database::builder(directory.join("store")).open().expect("the node has stopped");
    let objects = database.keyspace("objects.0", fjall::KeyspaceCreateOptions::default).expect("it exists");
    let mut bytes = objects.get(name).expect("readable").expect("stored").to_vec();
    *bytes.last_mut().expect("not empty") ^= 1;
    objects.insert(name, bytes).expect("writable");
    database.persist(fjall::PersistMode::SyncAll).expect("writable");
}

/// Flips a bit in the largest file of the database.
fn damage_largest_file(directory: &Path) {
    let tables = fs::read_dir(directory.join("store/keyspaces")).expect("readable");
    let files =
        tables.flat_map(|table| fs::read_dir(table.expect("readable").path().join("tables")).expect("readable"));
    let files = files.map(|file| file.expect("readable").path());
    let largest = files.max_by_key(|file| file.metadata().expect("readable").len()).expect("there are some");
    let mut bytes = fs::read(&largest).expect("readable");
    let middle = bytes.len() / 3;
    bytes[middle] ^= 0x10;
    fs::write(&largest, bytes).expect("writable");
}

/// Lets actors on other threads see that time has passed.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..2_000 {
        if holds().await {
            return;
        }
        actix::clock::sleep(Duration::from_millis(5)).await;
    }
    panic!("{what} did not come true");
}

#[actix::test]
async fn a_damaged_record_is_refused_once_set_aside_and_reported() {
    let folder = folder();
    let node = Node::start(folder.path()).await;
    node.put("a", plain("one"), None).await.expect("written");
    node.put("b", plain("two"), None).await.expect("written");
    node.stop().await;
    damage(folder.path(), "a");

    let mut node = Node::start(folder.path()).await;
    let error = node.get("a").await.expect_err("damaged");
    assert!(
        matches!(&error, ReadError::Unreadable { key, reason } if key == "a" && reason.contains("checksum")),
        "{error}"
    );
    assert_eq!(node.get("a").await, Ok(None), "it was set aside");
    assert_eq!(node.get("b").await, Ok(Some(plain("two"))));
    let status = node.status().await;
    assert_eq!((status.objects, status.unreadable), (1, 1));
    let text = node.report().await;
    assert!(text.contains("set aside") && text.contains("entry a in"), "{text}");

    // Whoever believes that the record is still there does not spoil the count.
    node.put("a", plain("new"), Some(&plain("one"))).await.expect("written");
    assert_eq!(node.status().await.objects, 2);
    node.stop().await;
    let database = fjall::Database::builder(folder.path().join("store")).open().expect("the node has stopped");
    let aside = database.keyspace("unreadable", fjall::KeyspaceCreateOptions::default).expect("it exists");
    assert_eq!(aside.len().expect("readable"), 1, "the damaged bytes are kept");
}

#[actix::test]
async fn a_scan_passes_over_a_damaged_record_and_has_it_set_aside() {
    let folder = folder();
    let node = Node::start(folder.path()).await;
    for name in ["a", "b", "c"] {
        node.put(name, plain(name), None).await.expect("written");
    }
    node.stop().await;
    damage(folder.path(), "b");
    let node = Node::start(folder.path()).await;
    let page = node.scan(None, 10).await;
    let names = page.items.iter().map(|(key, _)| key.to_string()).collect::<Vec<_>>();
    assert_eq!(names, ["a", "c"]);
    until("setting it aside", async || node.status().await.unreadable == 1).await;
    assert_eq!(node.status().await.objects, 2);
    node.stop().await;
}

#[actix::test]
async fn a_full_disk_makes_the_store_read_only_for_a_second_at_least_and_until_there_is_room() {
    let folder = folder();
    let clock = Clock::manual(UnixMillis(0));
    let mut node = Node::start_with(folder.path(), &Storage::default(), clock.clone()).await;
    node.put("a", plain("before"), None).await.expect("written");

    node.disk.free.store(10 << 20, Ordering::SeqCst);
    clock.advance(Duration::from_millis(150));
    let error = node.put("a", plain("refused"), Some(&plain("before"))).await.expect_err("no room");
    let WriteError::ReadOnly(text) = &error else { panic!("{error:?}") };
    assert!(text.contains("10 MiB") && text.contains("256 MiB") && text.contains("min_free_mib"), "{text}");
    assert!(node.service.gate.is_shut());
    assert_eq!(node.status().await.read_only.as_ref(), Some(text));
    assert_eq!(node.get("a").await, Ok(Some(plain("before"))), "reads go on");
    assert_eq!(&node.report().await, text);

    node.disk.free.store(1 << 40, Ordering::SeqCst);
    clock.advance(Duration::from_millis(900));
    assert_eq!(node.put("b", plain("early"), None).await, Err(error), "the second is not over");
    clock.advance(Duration::from_millis(150));
    until("the gate's opening", async || !node.service.gate.is_shut()).await;
    node.put("b", plain("after"), None).await.expect("written");
    assert_eq!(node.status().await.read_only, None);
    assert_eq!(node.report().await, "writable again");
    node.stop().await;
}

#[actix::test]
async fn a_database_on_a_full_disk_opens_and_is_read() {
    let folder = folder();
    let node = Node::start(folder.path()).await;
    node.put("a", plain("kept"), None).await.expect("written");
    node.stop().await;
    let settings = Storage { min_free_mib: 1 << 21, ..Storage::default() };
    let node = Node::start_with(folder.path(), &settings, Clock::machine()).await;
    assert_eq!(node.get("a").await, Ok(Some(plain("kept"))));
    assert!(matches!(node.put("b", plain("no"), None).await, Err(WriteError::ReadOnly(_))));
    node.stop().await;
}

#[actix::test]
async fn a_writer_that_panics_loses_nothing_that_it_answered() {
    let folder = folder();
    let clock = Clock::machine();
    let node = Node::start_with(folder.path(), &Storage::default(), clock.clone()).await;
    for round in 0..3 {
        let name = format!("k{round}");
        node.put_when_possible(&name, plain(&name)).await;
        clock.sleep(Duration::from_millis(120)).await;
        node.disk.breaks.store(true, Ordering::SeqCst);
        let lost = node.service.write.call(write("lost", Some(plain("lost")), None)).await;
        assert!(lost.is_err(), "its writer died");
    }
    node.put_when_possible("last", plain("last")).await;
    for name in ["k0", "k1", "k2", "last"] {
        until("a reader", async || node.service.read.call(Read { key: key(name), request: None }).await.is_ok()).await;
        assert_eq!(node.get(name).await, Ok(Some(plain(name))));
    }
    assert_eq!(node.get("lost").await, Ok(None));
    assert_eq!(node.status().await.objects, 4);
    node.stop().await;
}

#[actix::test]
async fn a_writer_that_was_given_up_as_stuck_can_neither_write_nor_shut_the_gate_when_it_goes_on() {
    let folder = folder();
    let clock = Clock::manual(UnixMillis(0));
    let mut node = Node::start_with(folder.path(), &Storage::default(), clock.clone()).await;
    node.put("a", plain("before"), None).await.expect("written");
    node.disk.holds.store(true, Ordering::SeqCst);
    clock.advance(Duration::from_secs(1));
    let stuck = node.service.write.ask(write("stuck", Some(plain("stuck")), None)).expect("there is room");
    until("giving up", async || {
        clock.advance(Duration::from_millis(500));
        node.events.try_recv().is_ok_and(|event| event.text.contains("no progress"))
    })
    .await;
    until("a successor", async || {
        clock.advance(Duration::from_millis(500));
        node.service.read.call(Read { key: key("a"), request: None }).await.is_ok()
    })
    .await;
    node.put("b", plain("after"), None).await.expect("written");
    node.disk.released.store(true, Ordering::SeqCst);
    assert!(!matches!(stuck.await, Ok(Ok(()))), "it was not written");
    assert!(!node.service.gate.is_shut());
    assert_eq!(node.get("a").await, Ok(Some(plain("before"))));
    assert_eq!(node.get("stuck").await, Ok(None));
    node.stop().await;
}

/// Has the writer hang while it looks whether there is room again, until it is given up and a successor writes.
async fn hang_in_a_retry(node: &mut Node, clock: &Clock) {
    node.disk.free.store(10 << 20, Ordering::SeqCst);
    clock.advance(Duration::from_millis(150));
    node.put("a", plain("refused"), None).await.expect_err("no room");
    node.disk.holds.store(true, Ordering::SeqCst);
    clock.advance(Duration::from_secs(1));
    until("the look", async || !node.disk.holds.load(Ordering::SeqCst)).await;
    node.disk.free.store(1 << 40, Ordering::SeqCst);
    until("giving up", async || {
        clock.advance(Duration::from_millis(500));
        node.events.try_recv().is_ok_and(|event| event.text.contains("no progress"))
    })
    .await;
    until("a successor", async || {
        clock.advance(Duration::from_millis(500));
        matches!(node.service.write.call(write("b", Some(plain("after")), None)).await, Ok(Ok(())))
    })
    .await;
}

#[actix::test]
async fn a_writer_that_was_given_up_as_stuck_does_not_say_that_the_store_of_its_successor_is_read_only() {
    let folder = folder();
    let clock = Clock::manual(UnixMillis(0));
    let mut node = Node::start_with(folder.path(), &Storage::default(), clock.clone()).await;
    hang_in_a_retry(&mut node, &clock).await;
    node.disk.free.store(10 << 20, Ordering::SeqCst);
    node.disk.released.store(true, Ordering::SeqCst);
    until("it goes on", async || node.disk.went_on.load(Ordering::SeqCst)).await;
    node.disk.free.store(1 << 40, Ordering::SeqCst);
    for n in 0..20 {
        node.put(&format!("c{n}"), plain("after"), None).await.expect("written");
        assert_eq!(node.status().await.read_only, None);
    }
    node.stop().await;
}

#[actix::test]
async fn a_writer_that_was_given_up_as_stuck_does_not_open_the_gate_of_its_successor() {
    let folder = folder();
    let clock = Clock::manual(UnixMillis(0));
    let mut node = Node::start_with(folder.path(), &Storage::default(), clock.clone()).await;
    hang_in_a_retry(&mut node, &clock).await;
    node.disk.free.store(10 << 20, Ordering::SeqCst);
    clock.advance(Duration::from_millis(150));
    node.put("c", plain("refused"), None).await.expect_err("no room");
    node.disk.free.store(1 << 40, Ordering::SeqCst);
    node.disk.released.store(true, Ordering::SeqCst);
    until("it goes on", async || node.disk.went_on.load(Ordering::SeqCst)).await;
    for _ in 0..200 {
        assert!(node.get("b").await.expect("readable").is_some());
        assert!(node.service.gate.is_shut(), "the second of the successor is not over");
    }
    clock.advance(Duration::from_millis(1_100));
    until("the gate's opening", async || !node.service.gate.is_shut()).await;
    node.stop().await;
}

/// Writes large records, in whose tables no new files can be made, until the database fails. How many were written.
async fn write_until_it_fails(node: &Node) -> u64 {
    for n in 0..100 {
        let big = Record::plain(1, Value::Bytes(vec![n; 1 << 20].into()));
        if let Err(error) = node.put(&format!("big{n}"), big, None).await {
            assert!(matches!(error, WriteError::Failed(_)), "{error:?} after {n}");
            assert!(node.service.gate.is_shut());
            assert!(node.get("first").await.is_ok(), "reads go on");
            return n.into();
        }
    }
    panic!("it goes on writing");
}

/// Lets time pass until the writer writes again.
async fn pass_until_writable(node: &Node, clock: &Clock) {
    until("the gate's opening", async || {
        clock.advance(Duration::from_millis(1_100));
        !node.service.gate.is_shut()
    })
    .await;
}

/// Lets time pass until the writer has tried in vain to write again.
async fn fail_a_retry(node: &Node, clock: &Clock) {
    let told = node.status().await.read_only;
    until("a retry", async || {
        clock.advance(Duration::from_millis(1_100));
        node.status().await.read_only != told
    })
    .await;
    assert!(node.service.gate.is_shut());
}

#[actix::test]
async fn a_database_whose_folder_has_gone_is_not_made_anew_and_goes_on_when_it_is_back() {
    let folder = folder();
    let clock = Clock::manual(UnixMillis(0));
    let node = Node::start_with(folder.path(), &Storage::default(), clock.clone()).await;
    node.put("first", plain("first"), None).await.expect("written");
    let (store, gone) = (folder.path().join("store"), folder.path().join("gone"));
    fs::rename(&store, &gone).expect("renamed");
    let written = write_until_it_fails(&node).await;
    fail_a_retry(&node, &clock).await;
    assert!(!store.exists(), "an empty database took its place");
    let reason = node.status().await.read_only.expect("it is read-only");
    assert!(reason.contains("has gone") && reason.contains("put it back"), "{reason}");
    assert_eq!(node.get("first").await, Ok(Some(plain("first"))), "reads go on");
    node.put("refused", plain("refused"), None).await.expect_err("it is read-only");
    fs::rename(&gone, &store).expect("renamed back");
    pass_until_writable(&node, &clock).await;
    node.put("last", plain("last"), None).await.expect("written");
    assert_eq!(node.get("first").await, Ok(Some(plain("first"))));
    assert_eq!(node.status().await.objects, written + 2);
    node.stop().await;
}

#[actix::test]
async fn a_database_that_fails_refuses_writes_and_is_opened_again_when_it_can_be() {
    let folder = folder();
    let clock = Clock::manual(UnixMillis(0));
    let node = Node::start_with(folder.path(), &Storage::default(), clock.clone()).await;
    node.put("first", plain("first"), None).await.expect("written");
    // New files cannot be made any more, as if the disk had gone.
    let (store, gone) = (folder.path().join("store"), folder.path().join("gone"));
    fs::rename(&store, &gone).expect("renamed");
    let written = write_until_it_fails(&node).await;
    fs::rename(&gone, &store).expect("renamed back");
    pass_until_writable(&node, &clock).await;
    node.put("last", plain("last"), None).await.expect("written");
    assert_eq!(node.get("first").await, Ok(Some(plain("first"))));
    assert_eq!(node.get(&format!("big{written}")).await, Ok(None), "a refused write did not happen");
    for n in 0..written {
        assert!(matches!(node.get(&format!("big{n}")).await, Ok(Some(_))), "answered write {n} of {written}");
    }
    assert_eq!(node.status().await.objects, written + 2);
    node.stop().await;
}

#[actix::test]
async fn a_database_that_fails_and_cannot_be_opened_again_is_read_all_the_same() {
    let folder = folder();
    let clock = Clock::manual(UnixMillis(0));
    let node = Node::start_with(folder.path(), &Storage::default(), clock.clone()).await;
    node.put("first", plain("first"), None).await.expect("written");
    let file = |name: &str| folder.path().join("store").join(name);
    fs::rename(file("keyspaces"), file("gone")).expect("renamed");
    write_until_it_fails(&node).await;
    // Root could open a file without the right to.
    fs::rename(file("lock"), file("locked")).expect("renamed");
    fs::create_dir(file("lock")).expect("made");
    fs::rename(file("gone"), file("keyspaces")).expect("renamed back");
    fail_a_retry(&node, &clock).await;
    assert_eq!(node.get("first").await, Ok(Some(plain("first"))), "reads go on");
    assert_eq!(node.list(64).await.last().map(String::as_str), Some("first"));
    fs::remove_dir(file("lock")).expect("removed");
    fs::rename(file("locked"), file("lock")).expect("renamed back");
    pass_until_writable(&node, &clock).await;
    node.put("last", plain("last"), None).await.expect("written");
    node.stop().await;
}

#[actix::test]
async fn a_database_that_fails_for_a_damaged_file_again_and_again_says_so_and_is_opened_again_ever_later() {
    let folder = folder();
    let node = Node::start(folder.path()).await;
    node.put("first", plain("first"), None).await.expect("written");
    // Between the keys that come later, so that their files have to be merged.
    for n in 0..200 {
        node.put(&format!("big{n}.damaged"), plain(&n.to_string().repeat(100)), None).await.expect("written");
    }
    node.stop().await;
    damage_largest_file(folder.path());

    let clock = Clock::manual(UnixMillis(0));
    let node = Node::start_with(folder.path(), &Storage::default(), clock.clone()).await;
    let reason = async || node.status().await.read_only.expect("it is read-only");
    let opens = async |millis: u64| {
        clock.advance(Duration::from_millis(millis - 100));
        for _ in 0..50 {
            node.get("first").await.expect("readable");
            assert!(node.service.gate.is_shut(), "{millis} ms are not over");
        }
        clock.advance(Duration::from_millis(200));
        until("the gate's opening", async || !node.service.gate.is_shut()).await;
    };
    // The files are merged once there are some.
    write_until_it_fails(&node).await;
    let text = reason().await;
    assert!(text.contains("is damaged") && !text.contains("start it empty"), "{text}");
    opens(1_000).await;
    for pause in [2_000, 4_000] {
        write_until_it_fails(&node).await;
        let text = reason().await;
        assert!(text.contains("is damaged") && text.contains("start it empty"), "{text}");
        opens(pause).await;
    }
    node.stop().await;
}

#[actix::test]
async fn what_is_cut_off_a_journal_is_reported() {
    let folder = folder();
    let node = Node::start(folder.path()).await;
    node.put("a", plain("kept"), None).await.expect("written");
    node.stop().await;
    // The second start cuts off the room that the first had set aside.
    Node::start(folder.path()).await.stop().await;
    let mut journal = fs::read(folder.path().join("store/0.jnl")).expect("readable");
    journal.extend([0xff; 100]);
    fs::write(folder.path().join("store/0.jnl"), journal).expect("writable");
    let mut node = Node::start(folder.path()).await;
    let text = node.report().await;
    assert!(text.contains("100 bytes"), "{text}");
    assert_eq!(node.get("a").await, Ok(Some(plain("kept"))));
    node.stop().await;
}

#[actix::test]
async fn a_damaged_file_of_the_database_gives_errors_and_no_wrong_records() {
    let folder = folder();
    let node = Node::start(folder.path()).await;
    let record = |n: usize| plain(&n.to_string().repeat(100));
    for n in 0..500 {
        let ask = node.service.write.ask(write(&format!("k{n}"), Some(record(n)), None)).expect("there is room");
        assert_eq!(ask.await.expect("answered"), Ok(()));
    }
    node.stop().await;
    damage_largest_file(folder.path());

    let mut node = Node::start(folder.path()).await;
    let mut unread = Vec::new();
    for name in (0..500).map(|n| format!("k{n}")) {
        match node.get(&name).await {
            Ok(found) => assert_eq!(found, Some(record(name[1..].parse().expect("a number")))),
            Err(ReadError::Damaged { key, reason }) if key == name && reason.contains("damaged") => unread.push(name),
            Err(error) => panic!("another error: {error}"),
        }
    }
    assert!((2..100).contains(&unread.len()), "{} of 500 records stood in the damaged block", unread.len());

    // A list passes over them, and over few others; the place is counted and reported once.
    for _ in 0..2 {
        let listed = node.list(64).await;
        assert!(listed.is_sorted() && unread.iter().all(|name| !listed.contains(name)));
        let missing = 500 - unread.len() - listed.len();
        assert!(missing < 5, "{missing} records are in no list though they can be read");
    }
    let text = node.report().await;
    assert!(text.contains("a damaged place in the table Objects, behind k"), "{text}");
    assert_eq!(node.status().await.damaged_places, 1);

    // They can be replaced and removed all the same.
    let over = |name: &str, record| Write { former: Former::UNREAD, ..write(name, record, None) };
    for (name, record) in [(&unread[0], Some(plain("new"))), (&unread[1], None)] {
        let written = node.service.write.call(over(name, record.clone())).await.expect("answered");
        assert_eq!(written, Ok(()));
        assert_eq!(node.get(name).await, Ok(record));
        let text = node.report().await;
        assert!(text.contains(&format!("the record of {name} stood in a damaged file")), "{text}");
    }
    let status = node.status().await;
    assert_eq!((status.objects, status.unreadable), (499, 2));
    node.put("new", plain("new"), None).await.expect("written");
    assert_eq!(node.get("new").await, Ok(Some(plain("new"))));
    node.stop().await;
}

#[actix::test]
async fn who_writes_behind_a_refused_write_is_not_believed_about_what_stands_there() {
    let folder = folder();
    let node = Node::start(folder.path()).await;
    node.put("probe", plain("x"), None).await.expect("written");
    node.disk.free.store(0, Ordering::Relaxed);
    until("it is full", async || node.put("probe", plain("x"), Some(&plain("x"))).await.is_err()).await;
    node.put("a", expiring(9), None).await.expect_err("full");
    node.disk.free.store(1 << 40, Ordering::Relaxed);
    // Sent before its sender knew that the one before it was refused: it takes out what was never there.
    until("it is writable", async || node.remove("a", &expiring(9)).await.is_ok()).await;
    assert_eq!(node.status().await.objects, 1, "the probe");
    node.put("a", expiring(7), None).await.expect("written");
    assert_eq!(node.status().await.objects, 2);
    assert!(node.get("a").await.expect("readable").is_some());
    node.stop().await;
}
