//! `ARCHITECTURE.md` against the node: a traced get takes the hops of its table, and every file that it names is there.

#![allow(clippy::unwrap_used, reason = "a test that unwraps in vain fails, as it should")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use comet_kernel::contract::aso::{Call, Op, Put, Reply, ScriptChoice};
use comet_kernel::directory::Asked;
use comet_kernel::request::Hop;
use comet_kernel::{Caller, Clock, Kernel, Key, Request, Settings, Trace, Value};
use comet_ops::identity::Identity;
use comet_ops::tree::{self, Medium, Node};

/// One row of the table.
#[derive(Debug)]
struct Row {
    hop: String,
    file: String,
    message: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn architecture() -> String {
    std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap()
}

/// The rows of the table under the heading.
fn table() -> Vec<Row> {
    let text = architecture();
    let (_, section) = text.split_once("\n## The path of a get\n").expect("there is such a heading");
    let (section, _) = section.split_once("\n## ").expect("there is another after it");
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    rows.map(cells)
        .map(|cells| Row { hop: cells[1].clone(), file: cells[2].clone(), message: cells[3].clone() })
        .collect()
}

/// What stands between back-ticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The hops of the table that are actors: what stands in back-ticks is a path of the supervision tree.
fn actors(rows: &[Row]) -> Vec<(Hop, bool)> {
    let named = rows.iter().filter(|row| row.hop.starts_with('`'));
    named
        .map(|row| {
            let message: &'static str = quoted(&row.message)[0].to_owned().leak();
            (Hop { actor: quoted(&row.hop)[0].to_owned(), message }, row.message.contains("only if"))
        })
        .collect()
}

/// A node in this process, and a way to ask it.
struct Asker {
    node: Node,
    clock: Clock,
    caller: Arc<Caller>,
}

impl Asker {
    async fn start(folder: &Path) -> Asker {
        let flags = [("gateway.listen", "127.0.0.1:0".to_owned())];
        let settings = Settings::layered(None, std::collections::HashMap::new(), &flags).unwrap();
        let kernel = Kernel::new(Clock::machine());
        let (identity, data) = (Identity::of([1; 32]), folder.join("data"));
        comet_storage::prepare(&data, &settings.storage).unwrap();
        let node = tree::start(&kernel, &settings, &data, &identity, Medium::SOCKETS).await.unwrap();
        Asker { node, clock: kernel.clock, caller: Arc::new(Caller::node(&identity.id)) }
    }

    async fn ask(&self, key: &Key, op: Op, trace: Option<Trace>) -> Reply {
        let request = Request::until(self.clock.now() + Duration::from_secs(30));
        let request = if let Some(trace) = trace { request.traced(trace) } else { request };
        let call = Call { key: key.clone(), request, caller: self.caller.clone(), op, stamp: None };
        match self.node.aso.directory.ask(call, self.clock.now(), false) {
            Asked::Done(outcome) => outcome.unwrap(),
            Asked::Later(pending) => pending.await.unwrap().unwrap(),
        }
    }

    /// A get, with the hops that it took.
    async fn traced_get(&self, key: &Key) -> (Reply, Vec<Hop>) {
        let trace = Trace::default();
        let reply = self.ask(key, Op::Get { payload: Value::Nil }, Some(trace.clone())).await;
        (reply, trace.hops())
    }
}

#[test]
fn a_traced_get_takes_the_hops_of_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let key = Key::new(b"traced").unwrap();
    let table = actors(&table());
    let on_the_way = |always_only: bool| {
        let hops = table.iter().filter(move |(_, conditional)| !always_only || !conditional);
        hops.map(|(hop, _)| hop.clone()).collect::<Vec<_>>()
    };
    actix::System::new().block_on(async {
        let asker = Asker::start(folder.path()).await;
        let source = ScriptChoice::Source("fn onGet() { \"got\" }".into());
        let put = Put { script: Some(source), ..Put::plain(Value::Int(1)) };
        let stored = asker.ask(&key, Op::Put(Box::new(put)), None).await;
        assert!(matches!(stored, Reply::Stored { former: None }), "{stored:?}");
        asker.node.tree.stop().await;
    });
    actix::System::new().block_on(async {
        let asker = Asker::start(folder.path()).await;
        let (asleep, hops) = asker.traced_get(&key).await;
        assert_eq!(hops, on_the_way(false), "a get on an object that sleeps on the disk");
        let (awake, hops) = asker.traced_get(&key).await;
        assert_eq!(hops, on_the_way(true), "a get on an object that is awake");
        for reply in [asleep, awake] {
            assert!(matches!(&reply, Reply::Value(Value::Text(text)) if &**text == "got"), "{reply:?}");
        }
        asker.node.tree.stop().await;
    });
}

#[test]
fn every_file_that_the_page_names_is_there() {
    let text = architecture();
    let names = |word: &&str| {
        let extension = Path::new(word).extension().and_then(|it| it.to_str());
        word.contains('/')
            && (word.ends_with('/') || extension.is_some_and(|it| ["rs", "md", "toml", "rhai"].contains(&it)))
    };
    let named: Vec<&str> = quoted(&text).into_iter().filter(names).collect();
    assert!(named.len() > 15, "{named:?}");
    let missing: Vec<_> = named.iter().filter(|name| !name.contains('*') && !root().join(name).exists()).collect();
    // Folders of a crate are named without the crate in its own paragraph.
    assert!(missing.iter().all(|name| root().join("kernel/src").join(name).exists()), "{missing:?}");
}

#[test]
fn every_hop_of_the_table_has_its_file() {
    let rows = table();
    assert!(rows.len() >= 4, "{rows:?}");
    for row in &rows {
        let file = quoted(&row.file)[0];
        assert!(root().join(file).is_file(), "{file} of {} is missing", row.hop);
    }
}
