//! What the layers of the configuration come to.

use super::*;

fn from_text(text: &str) -> Result<Settings, SettingsError> {
    Settings::layered(Some(File { name: "comet.toml", text }), HashMap::new(), &[])
}

#[test]
fn the_annotated_file_says_the_defaults_and_nothing_else() {
    let annotated = Settings::annotated();
    assert_eq!(from_text(&annotated), Ok(Settings::default()));
    for field in Settings::FIELDS {
        let (_, name) = field.split_once('.').expect("section.field");
        assert!(annotated.contains(&format!("\n{name} = ")), "{field} is missing");
    }
}

#[test]
fn an_unknown_field_is_named_with_its_file() {
    let error = from_text("[storage]\nflush = 3\n").expect_err("unknown").to_string();
    assert!(error.contains("comet.toml") && error.contains("flush"), "{error}");
}

#[test]
fn a_file_that_is_no_toml_is_named_with_line_and_reason_in_one_line() {
    let error = from_text("[aso]\ncpu_ms = 1\n[storage\n").expect_err("no TOML").to_string();
    assert!(error.contains("comet.toml") && error.contains("line 3") && error.contains("expected"), "{error}");
    assert!(!error.contains('\n'), "{error}");
}

#[test]
fn a_field_out_of_range_is_named_with_its_file_and_range() {
    let error = from_text("[aso]\ncpu_ms = 0\n").expect_err("out of range").to_string();
    assert!(error.contains("comet.toml") && error.contains("aso.cpu_ms is 0; it must be 1 to 1000"), "{error}");
}

#[test]
fn what_is_no_whole_number_is_refused_and_not_rounded() {
    for wrong in ["5.5", "-5", "true", "\"many\"", "[5]"] {
        let error = from_text(&format!("[aso]\ncpu_ms = {wrong}\n")).expect_err(wrong).to_string();
        assert!(error.contains("comet.toml") && error.contains("a whole number"), "{error}");
        assert!(error.contains("aso.cpu_ms"), "{error}");
    }
    let flag = Settings::layered(None, HashMap::new(), &[("aso.cpu_ms", "5.5".to_owned())]);
    assert!(flag.expect_err("no whole number").to_string().contains("aso.cpu_ms"));
    assert_eq!(from_text("[aso]\ncpu_ms = \"7\"\n").expect("a number").aso.cpu_ms, 7);
}

#[test]
fn a_publisher_that_is_no_key_is_named() {
    let error = from_text("[aso]\npublishers = [\"me\"]\n").expect_err("no key").to_string();
    assert!(error.contains("aso.publishers[0]") && error.contains("comet keys show"), "{error}");
    let right = NodeId::from_public_key(&[7; 32]);
    assert!(from_text(&format!("[aso]\npublishers = [\"{right}\"]\n")).is_ok());
}

#[test]
fn the_environment_overrides_the_file_and_flags_override_both() {
    let file = File { name: "comet.toml", text: "[aso]\ncpu_ms = 5\nshards = 1\n[storage]\ncache_mib = 9" };
    let environment = HashMap::from([
        ("COMET_ASO__CPU_MS".to_owned(), "7".to_owned()),
        ("COMET_ASO__SHARDS".to_owned(), "3".to_owned()),
        ("PATH".to_owned(), "/bin".to_owned()),
    ]);
    let flags = [("aso.shards", "4".to_owned()), ("gateway.listen", "127.0.0.1:0".to_owned())];
    let settings = Settings::layered(Some(file), environment, &flags).expect("well-formed");
    assert_eq!((settings.storage.cache_mib, settings.aso.cpu_ms, settings.aso.shards), (9, 7, 4));
    assert_eq!(settings.gateway.listen, "127.0.0.1:0");
}

#[test]
fn a_misspelt_variable_of_the_environment_is_refused() {
    let environment = HashMap::from([("COMET_ASO__CPU".to_owned(), "7".to_owned())]);
    let error = Settings::layered(None, environment, &[]).expect_err("unknown").to_string();
    assert!(error.contains("environment") && error.contains("cpu"), "{error}");
}

#[test]
fn two_users_of_one_name_are_refused() {
    let user = |name: &str, digit: &str| {
        format!("[[gateway.users]]\nname = \"{name}\"\npassword_sha256 = \"{}\"\n", digit.repeat(64))
    };
    let error = from_text(&(user("ann", "a") + &user("bob", "b") + &user("ann", "c"))).expect_err("twice").to_string();
    assert!(error.contains("gateway.users[2]") && error.contains("\"ann\""), "{error}");
    assert!(from_text(&(user("ann", "a") + &user("Ann", "a"))).is_ok());
}

#[test]
fn texts_of_the_environment_stay_as_they_are_written() {
    let environment = HashMap::from([
        ("COMET_NETWORK__KEY_FILE".to_owned(), "007".to_owned()),
        ("COMET_SCRIPTS__DIR".to_owned(), "1e3".to_owned()),
        ("COMET_ADMIN__SOCKET".to_owned(), "true".to_owned()),
        ("COMET_NETWORK__MDNS".to_owned(), "true".to_owned()),
        ("COMET_NETWORK__GROUP_PRIVATE".to_owned(), "false".to_owned()),
        ("COMET_NETWORK__ALLOW".to_owned(), "1,02".to_owned()),
        ("COMET_STORAGE__CACHE_MIB".to_owned(), "64".to_owned()),
    ]);
    let settings = Settings::layered(None, environment, &[]).expect("well-formed");
    let texts = (&*settings.network.key_file, &*settings.scripts.dir, &*settings.admin.socket);
    assert_eq!(texts, ("007", "1e3", "true"));
    assert_eq!((settings.network.mdns, settings.network.group_private, settings.storage.cache_mib), (true, false, 64));
    assert_eq!(*settings.network.allow, ["1", "02"]);
    let wrong = HashMap::from([("COMET_NETWORK__MDNS".to_owned(), "2".to_owned())]);
    let error = Settings::layered(None, wrong, &[]).expect_err("neither true nor false").to_string();
    assert!(error.contains("network.mdns"), "{error}");
}
