//! Answers as bytes, in version 2 or 3 of the Redis protocol.
//!
//! Version 3 has a type for each of ours. Version 2 flattens: a boolean is 1 or 0, a float is text, a map is an array
//! of names and values in turn. Bytes are copied once, from the shared value into the connection's output.

use std::io::Write;

use comet_kernel::Value;

use crate::frame::Frame;

/// The version of the protocol that a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// What every connection starts with.
    Two,
    /// What `HELLO 3` asks for.
    Three,
}

/// Writes one answer behind what `out` holds.
pub(crate) fn frame(out: &mut Vec<u8>, frame: &Frame, version: Version) {
    match frame {
        Frame::Status(status) => line(out, b'+', status.as_bytes()),
        Frame::Error(error) => line(out, b'-', error.as_str().as_bytes()),
        Frame::Value(it) => value(out, it, version),
        Frame::Record(record) => value(out, &record.value, version),
        Frame::Array(items) => {
            header(out, b'*', items.len());
            for item in items {
                self::frame(out, item, version);
            }
        }
    }
}

fn value(out: &mut Vec<u8>, value: &Value, version: Version) {
    match (value, version) {
        (Value::Text(text), _) => bulk(out, text.as_bytes()),
        (Value::Bytes(bytes), _) => bulk(out, bytes),
        (Value::Int(number), _) => integer(out, *number),
        (Value::Nil, Version::Two) => out.extend_from_slice(b"$-1\r\n"),
        (Value::Nil, Version::Three) => out.extend_from_slice(b"_\r\n"),
        (Value::Bool(flag), Version::Two) => integer(out, i64::from(*flag)),
        (Value::Bool(flag), Version::Three) => out.extend_from_slice(if *flag { b"#t\r\n" } else { b"#f\r\n" }),
        (Value::Float(number), Version::Two) => bulk(out, float(*number).as_bytes()),
        (Value::Float(number), Version::Three) => line(out, b',', float(*number).as_bytes()),
        (Value::Array(items), _) => {
            header(out, b'*', items.len());
            for item in items {
                self::value(out, item, version);
            }
        }
        (Value::Map(fields), _) => {
            match version {
                Version::Two => header(out, b'*', fields.len() * 2),
                Version::Three => header(out, b'%', fields.len()),
            }
            for (name, field) in fields {
                bulk(out, name.as_bytes());
                self::value(out, field, version);
            }
        }
    }
}

/// A float as Redis writes it: no fraction if there is none, an exponent only for what is very large or very small.
pub(crate) fn float(number: f64) -> String {
    let size = number.abs();
    if number.is_nan() {
        "nan".to_owned()
    } else if size == 0.0 || (1e-5..1e17).contains(&size) || size.is_infinite() {
        number.to_string()
    } else {
        format!("{number:e}")
    }
}

fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() + 24);
    header(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

fn line(out: &mut Vec<u8>, kind: u8, text: &[u8]) {
    out.push(kind);
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

fn header(out: &mut Vec<u8>, kind: u8, length: usize) {
    out.push(kind);
    if length < 10 {
        out.push(b'0' + length as u8);
    } else {
        decimal(out, length as u64);
    }
    out.extend_from_slice(b"\r\n");
}

fn integer(out: &mut Vec<u8>, number: i64) {
    let _a_vector_takes_everything = write!(out, ":{number}\r\n");
}

fn decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    while start == digits.len() || number > 0 {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::error_line::ErrorLine;

    fn encoded(it: impl Into<Frame>, version: Version) -> String {
        let mut out = Vec::new();
        frame(&mut out, &it.into(), version);
        String::from_utf8(out).expect("these are text")
    }

    #[test]
    fn version_3_keeps_the_type_of_every_value() {
        let map = Value::Map(BTreeMap::from([("a".into(), Value::Bool(true)), ("b".into(), Value::Nil)]));
        let value = Value::Array(vec![Value::Int(-7), Value::Float(0.5), Value::from("x"), map]);
        assert_eq!(
            encoded(value, Version::Three),
            "*4\r\n:-7\r\n,0.5\r\n$1\r\nx\r\n%2\r\n$1\r\na\r\n#t\r\n$1\r\nb\r\n_\r\n"
        );
    }

    #[test]
    fn version_2_flattens_what_it_has_no_type_for() {
        let map = Value::Map(BTreeMap::from([("a".into(), Value::Bool(true)), ("b".into(), Value::Nil)]));
        let value = Value::Array(vec![Value::Float(0.5), map]);
        assert_eq!(encoded(value, Version::Two), "*2\r\n$3\r\n0.5\r\n*4\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n$-1\r\n");
    }

    #[test]
    fn floats_are_written_as_redis_writes_them() {
        let cases = [
            (3.0, "3"),
            (-0.1, "-0.1"),
            (1e300, "1e300"),
            (1e-9, "1e-9"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ];
        for (number, text) in cases {
            assert_eq!(float(number), text);
        }
    }

    #[test]
    fn lengths_of_any_size_are_written_in_full() {
        for length in [0, 9, 10, 99, 100, 1_048_576] {
            let mut out = Vec::new();
            header(&mut out, b'$', length);
            assert_eq!(out, format!("${length}\r\n").into_bytes());
        }
    }

    #[test]
    fn an_error_is_one_line() {
        assert_eq!(encoded(Frame::Error(ErrorLine::new("ERR a\r\nb")), Version::Two), "-ERR a  b\r\n");
    }
}
