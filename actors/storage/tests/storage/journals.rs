//! Journals with damage: what is whole is replayed, what is not is set aside and reported.

use std::fs;
use std::path::{Path, PathBuf};

use comet_kernel::Record;

use super::node::{Node, folder, plain};

/// What a node that stores these records, one commit each, leaves behind when it is killed.
async fn killed(names: &[&str]) -> tempfile::TempDir {
    let (running, left) = (folder(), folder());
    let node = Node::start(running.path()).await;
    for name in names {
        node.put(name, record(name), None).await.expect("written");
    }
    copy(running.path(), left.path());
    node.stop().await;
    left
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("readable") {
        let path = entry.expect("readable").path();
        let target = to.join(path.file_name().expect("it has one"));
        if path.is_dir() {
            fs::create_dir(&target).expect("writable");
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("writable");
        }
    }
}

fn record(name: &str) -> Record {
    plain(&format!("the value of {name}"))
}

fn journal(data: &Path) -> PathBuf {
    data.join("store/0.jnl")
}

/// Changes a byte of a value in the journal.
fn spoil(data: &Path, name: &str) {
    let mut bytes = fs::read(journal(data)).expect("readable");
    let text = format!("the value of {name}");
    let place = bytes.windows(text.len()).position(|window| window == text.as_bytes()).expect("it stands there");
    bytes[place] ^= 0x20;
    fs::write(journal(data), bytes).expect("writable");
}

#[actix::test]
async fn a_damaged_batch_costs_what_it_alone_has_changed() {
    let data = killed(&["a", "b", "c"]).await;
    spoil(data.path(), "b");
    let mut node = Node::start(data.path()).await;
    let text = node.report().await;
    let aside = data.path().join("aside/0.jnl.0");
    assert!(text.contains("0.jnl is damaged") && text.contains(aside.to_str().expect("text")), "{text}");
    assert_eq!(node.get("a").await, Ok(Some(record("a"))));
    assert_eq!(node.get("b").await, Ok(None));
    assert_eq!(node.get("c").await, Ok(Some(record("c"))), "what was written after it is there");
    let status = node.status().await;
    assert_eq!((status.objects, status.journal_pieces), (3, 1), "the last commit knew of three objects");
    let kept = String::from_utf8_lossy(&fs::read(aside).expect("it was set aside")).into_owned();
    assert!(kept.contains("of b") && !kept.contains("of a") && !kept.contains("of c"), "{kept}");
    node.put("b", record("b"), None).await.expect("written");
    node.stop().await;

    let node = Node::start(data.path()).await;
    for name in ["a", "b", "c"] {
        assert_eq!(node.get(name).await, Ok(Some(record(name))));
    }
    assert_eq!(node.status().await.journal_pieces, 1, "the next start finds nothing more");
    node.stop().await;
}

#[actix::test]
async fn where_the_form_of_a_batch_is_lost_the_rest_of_the_journal_is_set_aside() {
    let data = killed(&["a", "b", "c"]).await;
    let mut bytes = fs::read(journal(data.path())).expect("readable");
    let place = bytes.windows(14).position(|window| window == b"the value of b").expect("it stands there");
    let end = place + bytes[place..].windows(4).position(|window| window == b"FJL\x03").expect("the batch ends") + 4;
    assert_eq!(bytes[end], 1, "a batch begins where the one before ends");
    bytes[end] = 9;
    fs::write(journal(data.path()), bytes).expect("writable");
    let mut node = Node::start(data.path()).await;
    let text = node.report().await;
    assert!(text.contains("set aside"), "{text}");
    assert_eq!(node.get("a").await, Ok(Some(record("a"))));
    assert_eq!(node.get("b").await, Ok(Some(record("b"))));
    assert_eq!(node.get("c").await, Ok(None));
    let kept = fs::read(data.path().join("aside/0.jnl.0")).expect("it was set aside");
    assert!(String::from_utf8_lossy(&kept).contains("the value of c"));
    node.stop().await;
}
