//! Signed scripts: what a signature allows, and what is no signature.

use comet_integration::wait::eventually;
use redis::Commands as _;

use super::world::*;

#[test]
fn signed_scripts_stand_behind_one_another_three_deep_and_no_deeper() {
    let (world, source) = (world(), world().signed("recursive_get"));
    let mut client = world.client(0);
    set(&mut client, "deep/end", "found");
    let mut chain = |keys: &[&str]| {
        for pair in keys.windows(2) {
            put_source(&mut client, pair[0], pair[1], &source, &[]);
        }
    };
    chain(&["deep/1", "deep/2", "deep/3", "deep/end"]);
    // Objects of their own: what one has asked for on behalf of few it answers to all who wait for it.
    chain(&["deeper/0", "deeper/1", "deeper/2", "deeper/3", "deep/end"]);
    for key in ["deep/3", "deep/2", "deep/1"] {
        eventually(SOON, key, || get::<Option<String>>(&mut client, &[key]).unwrap().as_deref() == Some("found"));
    }
    let is_told = |node: usize| {
        let log = world.copy(node, "deeper/3").map(|(_, log)| log).unwrap_or_default();
        log.iter().any(|line| line.contains("as many objects stand behind this event"))
    };
    eventually(SOON, "the last object is told why", || {
        assert_eq!(get::<Option<String>>(&mut client, &["deeper/0"]).unwrap(), None);
        world.holders("deeper/3").into_iter().any(is_told)
    });
}

#[test]
fn two_signed_objects_that_ask_each_other_come_to_an_end() {
    let (world, source) = (world(), world().signed("recursive_get"));
    let mut client = world.client(0);
    put_source(&mut client, "tick", "tock", &source, &[]);
    put_source(&mut client, "tock", "tick", &source, &[]);
    for node in [1, 4] {
        assert_eq!(get::<Option<String>>(&mut world.client(node), &["tick"]).unwrap(), None);
    }
    let calls = || world.calls("tick") + world.calls("tock");
    // Each of three copies asks three, to a depth of three; the rate of actions keeps it below that.
    assert!(calls() <= 2 * (3 + 9 + 27 + 81), "{} calls", calls());
}

#[test]
fn an_altered_script_is_refused_and_the_signature_of_a_stranger_counts_for_nothing() {
    let world = world();
    let (signed, mut client) = (world.signed("recursive_get"), world.client(1));
    for altered in [signed.replace("this.value, 3", "this.value, 9"), signed.replace("// Recursive", "// recursive")] {
        let put = redis::cmd("ASO.PUT").arg(&["altered", "x", "SOURCE", &altered]).query::<()>(&mut client);
        let refused = refusal(put);
        assert!(refused.starts_with("BADSCRIPT") && refused.contains("sign it again"), "{refused}");
    }
    assert_eq!(client.get::<_, Option<String>>("altered").unwrap(), None);
    let (strange, _) = world.signed_by_a_stranger("recursive_get");
    put_source(&mut client, "strange", "altered", &strange, &[]);
    let refused = refusal(get::<String>(&mut client, &["strange"]));
    assert!(refused.contains("signed by a trusted publisher"), "{refused}");
}

#[test]
fn a_publisher_whom_one_node_trusts_has_no_say_at_the_others() {
    let (source, publisher) = world().signed_by_a_stranger("pubsub_tree");
    let cluster = network(2, None);
    let mallory = another(&cluster, Some(&publisher));
    put_source(&mut mallory.connect(), "trap", "[\"treasure\"]", &source, &["JSON"]);
    eventually(SOON, "the copies of the others refuse to act", || {
        [&cluster[0], &cluster[1]].iter().all(|node| {
            let refused = refusal(node.connect().set::<_, _, ()>("trap", "spoilt"));
            refused.contains("signed by a trusted publisher")
        })
    });
}
