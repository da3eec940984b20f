//! Waiting for a condition: by looking again until a deadline, never by a sleep that is hoped to be long enough.

use std::time::Duration;

use comet_kernel::Clock;

/// Time between two looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// Looks until the condition holds.
///
/// # Panics
///
/// If it does not hold before the deadline; `what` says what was waited for.
#[track_caller]
pub fn eventually(deadline: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let found = look(deadline, || holds().then_some(()));
    assert!(found.is_some(), "not within {deadline:?}: {what}");
}

/// Looks until there is something to find, or the deadline has passed.
pub fn look<T>(deadline: Duration, mut find: impl FnMut() -> Option<T>) -> Option<T> {
    let clock = Clock::machine();
    loop {
        // The clock is read first: a last look always comes after the deadline.
        let late = clock.now().elapsed() >= deadline;
        if let Some(found) = find() {
            return Some(found);
        }
        if late {
            return None;
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
}
