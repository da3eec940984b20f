//! What a command answers, before it is bytes.

use std::sync::Arc;

use comet_kernel::contract::aso::Reply;
use comet_kernel::{Record, Value};

use crate::error_line::ErrorLine;

/// One answer. A record is shared and not copied until it is written out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Frame {
    /// A short word of success.
    Status(&'static str),
    /// A value, in the type that it has.
    Value(Value),
    /// The value of a record.
    Record(Arc<Record>),
    /// Answers in order.
    Array(Vec<Frame>),
    /// An error.
    Error(ErrorLine),
}

/// What came of a call of an object.
pub(crate) type Outcome = Result<Reply, ErrorLine>;

impl Frame {
    /// `+OK`.
    pub(crate) const OK: Frame = Frame::Status("OK");
    /// The absence of an answer.
    pub(crate) const NULL: Frame = Frame::Value(Value::Nil);

    /// Text.
    pub(crate) fn text(text: &str) -> Self {
        Frame::Value(Value::from(text))
    }

    /// 1 or 0.
    pub(crate) fn flag(flag: bool) -> Self {
        Frame::Value(Value::Int(i64::from(flag)))
    }

    /// A count.
    pub(crate) fn count(count: usize) -> Self {
        Frame::Value(Value::Int(count as i64))
    }

    /// A record's value, or null if there is none.
    pub(crate) fn record(record: Option<Arc<Record>>) -> Self {
        record.map_or(Frame::NULL, Frame::Record)
    }

    /// An answer, or why there is none.
    pub(crate) fn of<T: Into<Frame>>(result: Result<T, ErrorLine>) -> Self {
        result.map_or_else(Frame::Error, Into::into)
    }
}

impl From<Value> for Frame {
    fn from(value: Value) -> Self {
        Frame::Value(value)
    }
}
