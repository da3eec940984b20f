//! Every message comes out of a frame as it went in, and nothing else comes out of anything.

use std::path::Path;

use comet_kernel::contract::aso::{Arrived, Refusal};
use comet_kernel::contract::routing::TravellingScript;
use comet_kernel::provenance::{Provenance, Removal, Signature};
use comet_kernel::record::{Active, ScriptRef};
use comet_kernel::{Key, Record, ScriptHash, UnixMillis, Value};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::wire::{Answer, Ask, Asker, Condition, Framed, Hello, Item, Node, Place, Stamp, check::understands};

fn key(text: &str) -> Key {
    Key::new(text.as_bytes()).expect("a short key")
}

fn provenance() -> Provenance {
    let script = Some(ScriptHash::of("fn onGet() { 1 }"));
    Provenance { by: "12D3KooW".into(), signature: Signature([7; 64]), script, replicas: Some(3), removed: None }
}

fn record() -> Record {
    let script = ScriptRef { hash: ScriptHash::of("fn onGet() { 1 }"), follows: Some("one".into()) };
    let state = Value::Map([("n".into(), Value::Int(-1))].into());
    Record {
        active: Some(Box::new(Active { script, state, timer: None, quarantined: false })),
        expires: Some(UnixMillis(12)),
        owner: Some("12D3KooW/ada".into()),
        provenance: Some(Box::new(provenance())),
        ..Record::plain(7, Value::Bytes([255, 0][..].into()))
    }
}

fn stamp() -> Stamp {
    Stamp { version: u64::MAX, provenance: provenance(), expires: Some(UnixMillis(1)), owner: Some("ada".into()) }
}

fn asks() -> Vec<Ask> {
    let asker = || Asker { user: Some("ada".into()), client: "192.0.2.1:9".into(), caused: 1 };
    let script = Some(TravellingScript { hash: ScriptHash::of(""), follows: None });
    let deep = (0..limits::VALUE_DEPTH).fold(Value::Nil, |inner, _| Value::Array(vec![inner]));
    let mut deepest = record();
    deepest.value = deep.clone();
    deepest.active.as_mut().expect("it is active").state = deep.clone();
    vec![
        Ask::Get { key: key("a"), payload: deep, asker: asker() },
        Ask::Copy { key: key("a") },
        Ask::Put {
            key: key("a"),
            value: Value::Float(0.5),
            script,
            condition: Condition::IfAbsent,
            stamp: stamp(),
            asker: asker(),
        },
        Ask::Revise { key: key("a"), base: 3, value: Some(Value::Int(2)), stamp: stamp(), asker: Asker::default() },
        Ask::Remove { key: key("a"), stamp: stamp(), asker: asker() },
        Ask::Arrive { key: key("a"), record: deepest.into(), caused: 0 },
        Ask::Compare { items: vec![Item { key: key("a"), version: 3, state: 4 }; 3] },
        Ask::Script { hash: ScriptHash::of("") },
        Ask::Log { key: key("a") },
        Ask::Nearest { place: Place([9; 32]), n: 20 },
    ]
}

fn answers() -> Vec<Answer> {
    let record = || Some(record().into());
    vec![
        Answer::Record(record().expect("it is there")),
        Answer::Handled { stamp: stamp(), outcome: Ok(Value::Bool(true)) },
        Answer::Value(Value::from("text")),
        Answer::Absent,
        Answer::Stored { former: record() },
        Answer::Kept { present: None },
        Answer::Removed { former: record() },
        Answer::Arrived(Arrived::Outdated(3)),
        Answer::Compared { wanted: vec![key("a")], newer: vec![key("b"), key("c")], declined: Vec::new() },
        Answer::Source(Some("fn onGet() { 1 }".into())),
        Answer::Nodes(vec![Node { id: "12D3KooW".into(), ip: [192, 0, 2, 1].into(), port: 7380, quic: true }]),
        Answer::Refused(Refusal::Limited { retry_after_ms: 3 }),
        Answer::Refused(Refusal::TooBig { what: "the value".into(), size: 3, limit: 2 }),
    ]
}

fn encoded<T: Serialize>(message: &T) -> BytesMut {
    let mut out = BytesMut::new();
    encode(message, &mut out).expect("it is short enough");
    out
}

fn first(bytes: &[u8]) -> Result<Option<&[u8]>, FrameError> {
    body(bytes, limits::PEER_FRAME_BYTES)
}

/// Bodies of every kind of frame.
fn bodies() -> Vec<Vec<u8>> {
    let asks = asks().into_iter().map(|body| encoded(&Framed { id: 300, left_ms: 2_000, body }));
    let answers = answers().into_iter().map(|body| encoded(&Framed { id: 300, left_ms: 0, body }));
    let hello = encoded(&Hello { protocol: "comet".to_owned(), version: 1, refusal: Some("no".to_owned()) });
    asks.chain(answers).chain([hello]).map(|frame| frame[HEAD..].to_vec()).collect()
}

#[test]
fn everything_that_nodes_say_comes_out_as_it_went_in() {
    for (id, ask) in asks().into_iter().enumerate() {
        let framed = Framed { id: id as u64, left_ms: 2_000, body: ask };
        let frame = encoded(&framed);
        assert_eq!(decode(first(&frame).expect("short").expect("whole")), Ok(framed));
    }
    for (id, answer) in answers().into_iter().enumerate() {
        let framed = Framed { id: id as u64, left_ms: 0, body: answer };
        let frame = encoded(&framed);
        assert_eq!(decode(first(&frame).expect("short").expect("whole")), Ok(framed));
    }
    assert!(bodies().iter().all(|body| understands(body)));
}

#[test]
fn frames_that_follow_each_other_are_found_when_the_last_byte_of_each_is_there() {
    let mut bytes = BytesMut::new();
    for number in 0..3_u32 {
        encode(&number, &mut bytes).expect("it is short enough");
    }
    let size = bytes.len() / 3;
    for end in 0..size {
        assert_eq!(first(&bytes[..end]), Ok(None));
    }
    for (number, frame) in bytes.chunks(size).enumerate() {
        assert_eq!(decode::<usize>(first(frame).expect("short").expect("whole")), Ok(number));
    }
}

#[test]
fn a_frame_that_claims_too_many_bytes_is_refused_before_any_of_them_came() {
    let claim = (limits::PEER_FRAME_BYTES as u32 + 1).to_be_bytes();
    let limit = limits::PEER_FRAME_BYTES;
    assert_eq!(first(&claim), Err(FrameError::TooLong { size: limit + 1, limit }));
    assert_eq!(first(&[255; 4]), Err(FrameError::TooLong { size: u32::MAX as usize, limit }));
    assert_eq!(first(&(limit as u32).to_be_bytes()), Ok(None));
}

#[test]
fn a_message_that_is_too_long_leaves_no_trace() {
    let mut bytes = encoded(&1);
    let before = bytes.clone();
    let long = serde_bytes::ByteBuf::from(vec![0; limits::PEER_FRAME_BYTES]);
    let error = encode(&long, &mut bytes).expect_err("too long");
    assert!(error.to_string().contains(&limits::PEER_FRAME_BYTES.to_string()), "{error}");
    assert_eq!(bytes, before);
}

#[test]
fn a_field_that_this_version_does_not_know_is_ignored() {
    #[derive(Serialize)]
    struct Tomorrow {
        protocol: &'static str,
        colour: [&'static str; 2],
        version: u32,
    }
    let frame = encoded(&Tomorrow { protocol: "comet", colour: ["a", "b"], version: 1 });
    let hello = Hello { protocol: "comet".to_owned(), version: 1, refusal: None };
    assert_eq!(decode(&frame[HEAD..]), Ok(hello));
}

#[test]
fn whatever_follows_the_message_in_its_frame_makes_it_malformed() {
    for rest in [&[0xc0][..], &[0xd9], &[0x91], &[0xc1], &[0xda, 0xff]] {
        let mut bytes = encoded(&Framed { id: 1, left_ms: 1, body: Ask::Copy { key: key("a") } })[HEAD..].to_vec();
        bytes.extend_from_slice(rest);
        assert!(matches!(decode::<Framed<Ask>>(&bytes), Err(FrameError::Malformed { .. })), "{rest:?}");
    }
}

#[test]
fn a_frame_cut_short_anywhere_is_malformed() {
    for body in bodies() {
        for end in 0..body.len() {
            assert!(!understands(&body[..end]), "{end} of {} bytes", body.len());
        }
    }
}

#[test]
fn items_and_depths_that_are_only_claimed_cost_nothing() {
    let claims: [&[u8]; 6] = [
        &[0xdd, 0xff, 0xff, 0xff, 0xff],       // an array of 2^32 - 1 items
        &[0xdf, 0xff, 0xff, 0xff, 0xff],       // a map
        &[0xdb, 0xff, 0xff, 0xff, 0xff, b'a'], // a text
        &[0xc6, 0xff, 0xff, 0xff, 0xff, 0],    // bytes
        &[0xc9, 0xff, 0xff, 0xff, 0xff, 5, 1], // an extension
        &[0x91; 10_000],                       // arrays in arrays
    ];
    let before: [(&str, &[&str]); 4] = [("Get", &["payload"]), ("Compare", &["items"]), ("Nodes", &[]), ("Value", &[])];
    for claim in claims {
        assert!(!understands(claim));
        for (variant, fields) in before {
            let mut bytes = encoded(&("id", 1, "body"))[HEAD + 1..].to_vec();
            bytes.insert(0, 0x82);
            bytes.push(0x81);
            bytes.extend_from_slice(&encoded(&variant)[HEAD..]);
            for field in fields {
                bytes.push(0x81);
                bytes.extend_from_slice(&encoded(field)[HEAD..]);
            }
            bytes.extend_from_slice(claim);
            assert!(!understands(&bytes), "{variant}");
        }
    }
}

#[test]
fn lists_and_names_that_are_longer_than_any_node_writes_are_malformed() {
    let items = |number| Ask::Compare { items: vec![Item { key: key("a"), version: 1, state: 0 }; number] };
    let nodes = |number, id: &str| {
        Answer::Nodes(vec![Node { id: id.into(), ip: [192, 0, 2, 1].into(), port: 1, quic: false }; number])
    };
    let keys = |number| Answer::Compared { wanted: Vec::new(), newer: vec![key("a"); number], declined: Vec::new() };
    let understood = |framed: BytesMut| understands(&framed[HEAD..]);
    let asks = |body| understood(encoded(&Framed { id: 1, left_ms: 1, body }));
    let answers = |body| understood(encoded(&Framed { id: 1, left_ms: 0, body }));
    assert!(asks(items(500)) && !asks(items(501)));
    assert!(answers(keys(500)) && !answers(keys(501)));
    assert!(answers(nodes(20, &"1".repeat(128))));
    assert!(!answers(nodes(21, "1")));
    assert!(!answers(nodes(1, &"z".repeat(129))), "it would take minutes to find out what it means");
}

/// What the fuzzer starts with: see `integration/README.md`.
#[test]
fn the_seeds_of_the_fuzzer_are_frames_and_records_of_this_version() {
    // A stream: how it is cut, a greeting, and a body.
    let hello = encoded(&Hello { protocol: "comet".to_owned(), version: 1, refusal: None });
    let stream = |body: &Vec<u8>| [&[7], &hello[..], &(body.len() as u32).to_be_bytes(), body].concat();
    let mut removed = Record { active: None, value: Value::Nil, ..record() };
    removed.provenance.as_mut().expect("it has one").removed = Some(Removal::Everywhere);
    let mark =
        Record { shadows: true, ..record() }.mark(UnixMillis::default()).expect("something older may outlive it");
    let records = [record(), Record::plain(7, Value::from("text")), removed, mark];
    let records = records.map(|record| encoded(&record)[HEAD..].to_vec());
    for (target, seeds) in [("frames", bodies().iter().map(stream).collect()), ("records", records.to_vec())] {
        for (number, bytes) in seeds.into_iter().enumerate() {
            let seed = format!("../../integration/fuzz/corpus/{target}/{number:02}");
            let seed = Path::new(env!("CARGO_MANIFEST_DIR")).join(seed);
            if std::env::var_os("COMET_WRITE_SEEDS").is_some() {
                std::fs::write(&seed, &bytes).expect("the folder is there");
            }
            assert!(std::fs::read(&seed).is_ok_and(|kept| kept == bytes), "{} is not current", seed.display());
        }
    }
}

#[test]
fn an_unknown_field_cannot_nest_without_end() {
    let mut bytes = vec![0x81, 0xa1, b'x'];
    bytes.resize(1 << 20, 0x91);
    assert!(matches!(decode::<Hello>(&bytes), Err(FrameError::Malformed { .. })));
}

#[test]
fn no_bytes_make_the_decoder_fail_otherwise_than_with_an_error() {
    let mut random = StdRng::seed_from_u64(0xC0_3E7);
    let whole = bodies();
    for _ in 0..20_000 {
        let mut bytes = whole[random.random_range(0..whole.len())].clone();
        for _ in 0..random.random_range(1..6) {
            let at = random.random_range(0..bytes.len());
            match random.random_range(0..4) {
                0 => bytes[at] = random.random(),
                1 => bytes[at] = [0xdd, 0xdf, 0xdb, 0xc6, 0xc9, 0x91, 0x81, 0xc1][random.random_range(0..8)],
                2 => bytes.insert(at, random.random()),
                _ => bytes.truncate(at.max(1)),
            }
        }
        understands(&bytes);
        let _short_or_refused = first(&bytes);
    }
    for _ in 0..20_000 {
        let bytes: Vec<u8> = (0..random.random_range(0..64)).map(|_| random.random()).collect();
        understands(&bytes);
    }
}
