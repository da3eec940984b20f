//! The scripts that come with the binary, known by name from the start.

macro_rules! built_in {
    ($($name:literal),+ $(,)?) => {
        /// Names and sources.
        pub(crate) const BUILT_IN: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../../../scripts/", $name, ".rhai"))),)+];
    };
}

built_in!(
    "access_log",
    "delayed_get",
    "dynamic_value",
    "merged_counter",
    "node_lifetimes",
    "one_time",
    "password",
    "pubsub",
    "pubsub_tree",
    "read_counter",
    "read_only",
    "recursive_get",
    "replica_monitor",
    "self_replicating",
    "smart_replication",
    "time_out",
    "time_release",
    "tracker",
);
