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
    "one_time",
    "password",
    "read_counter",
    "read_only",
    "time_out",
    "time_release",
);
