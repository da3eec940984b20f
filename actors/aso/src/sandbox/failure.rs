//! How a handler call or a compilation can fail, and how the engine's errors become ours.

use std::fmt;

use comet_kernel::contract::aso::Budget;
use comet_kernel::limits;
use rhai::{Dynamic, EvalAltResult, ParseError, Position};

use super::meter::Fallible;
use super::text;

/// Why a handler call failed. The state is as it was before and no action is carried out, whichever it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The script threw this text: its way to refuse. At most [`limits::REFUSAL_BYTES`] long.
    #[error("{0}")]
    Thrown(String),
    /// The call ran out of this budget.
    #[error("out of budget: {0}")]
    Budget(Budget),
    /// What the script was to be given has more items than it may see. It did not run: this is the doing of whoever sent
    /// that.
    #[error("{what} has more than {limit} items")]
    Given {
        /// What has them.
        what: &'static str,
        /// How many it may have.
        limit: usize,
    },
    /// The script is wrong: types that do not fit, a function that does not exist, a division by zero. The text
    /// opens with line and column where they are known.
    #[error("{0}")]
    Error(String),
    /// Native code panicked. This is a fault of ours, not of the script.
    #[error("the sandbox panicked: {0}")]
    Panicked(String),
}

/// Why a source is no script. Line and column count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    /// What is wrong.
    pub message: String,
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

impl fmt::Display for CompileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for CompileError {}

impl CompileError {
    pub(super) fn at(position: Position, message: impl Into<String>) -> Self {
        let line = position.line().unwrap_or(1);
        let column = position.position().unwrap_or(1);
        CompileError { message: message.into(), line, column }
    }
}

impl From<ParseError> for CompileError {
    fn from(error: ParseError) -> Self {
        let message = text::shown(&error.0, limits::REFUSAL_BYTES);
        CompileError::at(error.1, message)
    }
}

/// A native function's word on what is wrong with its arguments. A script can catch it, and it is not mistaken for
/// what a script throws.
#[cold]
#[expect(clippy::unnecessary_box_returns, reason = "the engine's errors are boxed")]
pub(super) fn complaint(message: impl Into<String>) -> Box<EvalAltResult> {
    Box::new(EvalAltResult::ErrorArithmetic(message.into(), Position::NONE))
}

/// A [`complaint`] as a result.
pub(super) fn refuse<T>(message: impl Into<String>) -> Fallible<T> {
    Err(complaint(message))
}

impl Failure {
    /// What an error of the engine means. A budget that ended outranks it, see [`super::meter`].
    #[expect(clippy::boxed_local, reason = "the engine's errors are boxed, and so are those inside them")]
    pub(super) fn from_engine(mut error: Box<EvalAltResult>, ended: Option<Budget>) -> Self {
        if let Some(budget) = ended {
            return Failure::Budget(budget);
        }
        while let EvalAltResult::ErrorInFunctionCall(_, _, inner, _) = *error {
            error = inner;
        }
        match *error {
            EvalAltResult::ErrorRuntime(thrown, _) => Failure::Thrown(thrown_text(&thrown)),
            EvalAltResult::ErrorTooManyOperations(_) => Failure::Budget(Budget::Operations),
            EvalAltResult::ErrorStackOverflow(_) => Failure::Budget(Budget::Depth),
            EvalAltResult::ErrorDataTooLarge(..) | EvalAltResult::ErrorTooManyVariables(_) => {
                Failure::Budget(Budget::Size)
            }
            other => Failure::Error(error_text(other)),
        }
    }

    /// The payload of a panic as text.
    pub(super) fn from_panic(payload: &(dyn std::any::Any + Send)) -> Self {
        let text = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        Failure::Panicked(text::cut(text, limits::REFUSAL_BYTES))
    }
}

/// What a client reads of a thrown value.
fn thrown_text(thrown: &Dynamic) -> String {
    if thrown.is_unit() {
        return "refused by the script".to_owned();
    }
    text::clipped(thrown, limits::REFUSAL_BYTES)
}

fn error_text(mut error: EvalAltResult) -> String {
    let position = error.take_position();
    let message = text::shown(&error, limits::REFUSAL_BYTES);
    match (position.line(), position.position()) {
        (Some(line), Some(column)) => format!("line {line}, column {column}: {message}"),
        (Some(line), None) => format!("line {line}: {message}"),
        _ => message,
    }
}
