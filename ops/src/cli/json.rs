//! JSON for programs: what the admin protocol and the Redis protocol say, as documents.

use std::fmt::Write as _;

use comet_kernel::Key;
use comet_kernel::contract::admin::ObjectRow;
use redis::Value;
use serde_json::{Map, Value as Json, json};

/// A key: `key` as text, with escapes if it is not UTF-8; then `key_hex` tells the bytes.
pub(super) fn key(key: &Key) -> Map<String, Json> {
    let mut fields = Map::new();
    if let Ok(text) = std::str::from_utf8(key.as_bytes()) {
        fields.insert("key".to_owned(), text.into());
    } else {
        let hex = key.as_bytes().iter().fold(String::new(), |mut hex, byte| {
            let _infallible = write!(hex, "{byte:02x}");
            hex
        });
        fields.insert("key".to_owned(), key.to_string().into());
        fields.insert("key_hex".to_owned(), hex.into());
    }
    fields
}

/// One object of a list.
pub(super) fn object(row: &ObjectRow) -> Json {
    let mut fields = key(&row.key);
    fields.insert("script".to_owned(), json!(row.script));
    fields.insert("size".to_owned(), json!(row.size));
    fields.insert("ttl_ms".to_owned(), json!(row.ttl_ms));
    fields.insert("timer_seconds".to_owned(), json!(row.timer_seconds));
    fields.insert("quarantined".to_owned(), json!(row.quarantined));
    Json::Object(fields)
}

/// What a client of the Redis protocol received. Bytes that are not UTF-8 become text with escapes.
pub(super) fn reply(value: &Value) -> Json {
    match value {
        Value::Nil => Json::Null,
        Value::Int(number) => json!(number),
        Value::Double(number) => json!(number),
        Value::Boolean(flag) => json!(flag),
        Value::Array(items) | Value::Set(items) | Value::Push { data: items, .. } => items.iter().map(reply).collect(),
        Value::Map(fields) => fields.iter().map(|(name, value)| (words(name), reply(value))).collect(),
        Value::Attribute { data, .. } => reply(data),
        other => words(other).into(),
    }
}

/// A scalar as text.
pub(super) fn words(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => bytes.escape_ascii().to_string(),
        },
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => text.clone(),
        Value::Okay => "OK".to_owned(),
        Value::BigNumber(digits) => digits.escape_ascii().to_string(),
        Value::ServerError(error) => error.to_string(),
        other => reply(other).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_not_text_tell_their_bytes() {
        assert_eq!(Json::Object(key(&Key::new(b"a").unwrap())), json!({"key": "a"}));
        assert_eq!(Json::Object(key(&Key::new(b"\xff").unwrap())), json!({"key": "\\xff", "key_hex": "ff"}));
    }

    #[test]
    fn a_status_is_a_word() {
        assert_eq!((words(&Value::Okay).as_str(), reply(&Value::Okay)), ("OK", json!("OK")));
    }

    #[test]
    fn replies_keep_their_types() {
        let text = |text: &str| Value::BulkString(text.into());
        let value = Value::Map(vec![
            (text("n"), Value::Int(1)),
            (text("list"), Value::Array(vec![Value::Nil, Value::Boolean(true), Value::Double(0.5), text("x")])),
        ]);
        assert_eq!(reply(&value), json!({"n": 1, "list": [null, true, 0.5, "x"]}));
    }
}
