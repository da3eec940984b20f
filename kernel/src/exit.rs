//! How an actor ends, and how its supervisor learns of it.
//!
//! Each actor holds a [`Guard`]. Whatever ends the actor drops the guard: a stop, a panic in a handler, the end of its
//! thread. The guard tells a panic from a stop by asking whether the thread unwinds, and takes the panic's message and
//! backtrace from where the panic hook left them.

use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::fmt;
use std::sync::Once;

/// Why an actor ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It was asked to stop, or stopped by itself, having finished its work.
    Stopped,
    /// One of its handlers, hooks or futures panicked.
    Panicked(Box<Panic>),
    /// It answered no probe in time; whatever it holds is abandoned.
    Stuck,
    /// It did not stop in the time that its specification allows; whatever it holds is abandoned.
    Killed,
    /// Its factory could not make it, for this reason.
    NotStarted(String),
    /// It was a supervisor whose children failed too often.
    Escalated(String),
    /// Its thread ended under it.
    Lost,
}

impl Exit {
    /// Whether the actor ended as it should.
    pub fn is_normal(&self) -> bool {
        matches!(self, Exit::Stopped)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Stopped => formatter.write_str("stopped"),
            Exit::Panicked(panic) => write!(formatter, "panicked at {}: {}", panic.location, panic.message),
            Exit::Stuck => formatter.write_str("made no progress"),
            Exit::Killed => formatter.write_str("did not stop in time"),
            Exit::NotStarted(reason) => write!(formatter, "did not start: {reason}"),
            Exit::Escalated(reason) => write!(formatter, "gave up: {reason}"),
            Exit::Lost => formatter.write_str("lost its thread"),
        }
    }
}

/// What is known of a panic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Panic {
    /// What it said.
    pub message: String,
    /// File, line and column.
    pub location: String,
    /// The stack at that moment, in so far as the binary has symbols.
    pub backtrace: String,
}

thread_local! {
    static LAST_PANIC: RefCell<Option<Panic>> = const { RefCell::new(None) };
}

/// Makes panics tell supervisors what happened. Does nothing the second time.
///
/// # Panics
///
/// If the binary was built with `panic = "abort"`, under which nothing could be supervised.
#[expect(clippy::assertions_on_constants, reason = "how it was built is known only when it starts")]
pub fn install_panic_hook() {
    static ONCE: Once = Once::new();
    assert!(cfg!(panic = "unwind"), "supervision needs panic = \"unwind\"; build with that");
    ONCE.call_once(|| {
        let former = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !tracing::dispatcher::has_been_set() {
                // Nobody would see what is logged: a test that fails, or a failure before the log is there.
                former(info);
            }
            let message = message_of(info.payload());
            let location = info.location().map(ToString::to_string).unwrap_or_default();
            let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
            tracing::error!(thread, location, message, "panic");
            let backtrace = Backtrace::force_capture().to_string();
            LAST_PANIC.with_borrow_mut(|last| *last = Some(Panic { message, location, backtrace }));
        }));
    });
}

/// What a panic's payload says.
pub fn message_of(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "(no message)".to_owned())
}

type Report = Box<dyn FnOnce(Exit) + Send>;

/// Reports the end of the actor that holds it.
pub(crate) struct Guard {
    report: Option<Report>,
    exit: Exit,
}

impl Guard {
    pub(crate) fn new(report: impl FnOnce(Exit) + Send + 'static) -> Self {
        Guard { report: Some(Box::new(report)), exit: Exit::Lost }
    }

    /// The end that follows is this one, unless it is a panic.
    pub(crate) fn ends(&mut self, exit: Exit) {
        self.exit = exit;
    }

    /// The end that follows is nobody's business.
    pub(crate) fn disarm(&mut self) {
        self.report = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let exit = if std::thread::panicking() {
            Exit::Panicked(Box::new(LAST_PANIC.with_borrow_mut(Option::take).unwrap_or_default()))
        } else {
            std::mem::replace(&mut self.exit, Exit::Lost)
        };
        if let Some(report) = self.report.take() {
            report(exit);
        }
    }
}
