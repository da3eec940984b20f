//! Which directories a node takes, and what it says of the others.

use std::fs;
use std::path::Path;

use comet_kernel::Clock;
use comet_kernel::settings::Storage;
use comet_storage::{OpenError, prepare};

use super::node::{Node, folder, plain};

fn refusal(directory: &Path) -> OpenError {
    prepare(directory, &Storage::default()).expect_err("unfit")
}

async fn start_refusal(directory: &Path) -> String {
    match Node::try_start(directory, &Storage::default(), Clock::machine()).await {
        Ok(_) => panic!("it started"),
        Err(reason) => reason,
    }
}

#[actix::test]
async fn a_new_directory_is_made_and_taken() {
    let folder = folder();
    let directory = folder.path().join("deep").join("data");
    prepare(&directory, &Storage::default()).expect("fit");
    fs::write(directory.join("node.key"), "else").expect("others put their files there");
    let node = Node::start(&directory).await;
    node.put("a", plain("one"), None).await.expect("written");
    node.stop().await;
}

#[test]
fn a_file_in_the_place_of_the_directory_is_refused() {
    let folder = folder();
    let path = folder.path().join("file");
    fs::write(&path, "text").expect("writable");
    let error = refusal(&path);
    assert!(matches!(error, OpenError::File { .. }) && error.to_string().contains("is a file"), "{error}");
}

#[test]
fn a_directory_that_cannot_be_made_is_refused() {
    let error = refusal(Path::new("/proc/comet-data"));
    assert!(matches!(error, OpenError::Unwritable { .. }) && error.to_string().contains("cannot write"), "{error}");
}

#[test]
fn a_directory_with_other_things_in_it_is_left_alone() {
    let folder = folder();
    fs::write(folder.path().join("thesis.tex"), "text").expect("writable");
    let error = refusal(folder.path());
    assert!(matches!(error, OpenError::Foreign { .. }) && error.to_string().contains("not empty"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 1, "nothing was put there");
}

#[test]
fn a_fresh_file_system_counts_as_empty() {
    let folder = folder();
    fs::create_dir(folder.path().join("lost+found")).expect("writable");
    prepare(folder.path(), &Storage::default()).expect("fit");
}

#[test]
fn a_directory_of_another_format_is_refused() {
    let folder = folder();
    fs::write(folder.path().join("comet.format"), "2\n").expect("writable");
    let error = refusal(folder.path());
    assert!(matches!(&error, OpenError::Format { found, .. } if found == "2"), "{error}");
}

#[test]
fn a_new_database_wants_room() {
    let folder = folder();
    let settings = Storage { min_free_mib: 1 << 40, ..Storage::default() };
    let error = prepare(folder.path(), &settings).expect_err("no disk is as large");
    assert!(matches!(error, OpenError::Full { .. }) && error.to_string().contains("min_free_mib"), "{error}");
}

#[actix::test]
async fn a_directory_that_another_node_uses_is_refused_until_it_stops() {
    let folder = folder();
    let node = Node::start(folder.path()).await;
    assert!(matches!(refusal(folder.path()), OpenError::Busy { .. }));
    let reason = start_refusal(folder.path()).await;
    assert!(reason.contains("another node uses"), "{reason}");
    node.stop().await;
    Node::start(folder.path()).await.stop().await;
}

#[actix::test]
async fn a_first_start_that_was_interrupted_is_no_obstacle() {
    let folder = folder();
    fs::write(folder.path().join("comet.format"), "").expect("writable");
    let node = Node::start(folder.path()).await;
    node.stop().await;
    fs::rename(folder.path().join("store"), folder.path().join("store.new")).expect("renamed");
    fs::remove_file(folder.path().join("store.new").join("version")).expect("removed");
    let node = Node::start(folder.path()).await;
    node.put("a", plain("one"), None).await.expect("written");
    node.stop().await;
}

#[actix::test]
async fn a_damaged_database_is_refused_with_what_to_do() {
    let folder = folder();
    let node = Node::start(folder.path()).await;
    node.put("a", plain("one"), None).await.expect("written");
    node.stop().await;
    let keyspaces = folder.path().join("store").join("keyspaces");
    fs::rename(keyspaces.join("0").join("current"), keyspaces.join("0").join("former")).expect("renamed");
    let reason = start_refusal(folder.path()).await;
    assert!(reason.contains("damaged") && reason.contains("restore"), "{reason}");
}

#[actix::test]
async fn a_database_without_its_list_of_tables_is_refused_and_loses_none_of_them() {
    let folder = folder();
    let node = Node::start(folder.path()).await;
    node.put("a", plain("one"), None).await.expect("written");
    node.stop().await;
    let (tables, aside) = (folder.path().join("store").join("keyspaces"), folder.path().join("aside"));
    for list in [tables.join("0"), tables] {
        fs::rename(&list, &aside).expect("renamed");
        let reason = start_refusal(folder.path()).await;
        assert!(reason.contains("damaged") && reason.contains("restore"), "{reason}");
        assert!(!list.exists(), "nothing was put in its place");
        fs::rename(&aside, &list).expect("renamed back");
        let node = Node::start(folder.path()).await;
        assert_eq!(node.get("a").await, Ok(Some(plain("one"))));
        node.stop().await;
    }
}
