//! The meter: what one handler call may use, counted by us and not by the engine.
//!
//! The engine calls [`tick`] for every expression and statement, also inside callbacks of native functions, whose
//! operations its own counter loses. Native functions add what they cost with [`charge`]. At each of these points the
//! meter looks at five things, all of this thread: operations; processor time (not wall-clock time, which would end
//! honest handlers on a busy machine); bytes alive; the largest single allocation; and depth of the stack. Copies that
//! the engine makes by itself have no native function to charge them: allocated bytes count as operations.
//!
//! A budget that ended stays ended. Whatever swallows the error (`try`, a comparer, a callback), the next operation
//! fails again, and the call as a whole fails in the end.

use std::cell::Cell;
use std::time::Duration;

use comet_kernel::contract::aso::Budget;
use rhai::{EvalAltResult, Position};
use rustix::time::{ClockId, clock_gettime};

use super::{Budgets, allocator};

/// The processor clock is read at the first of so many operations, and then after as many again: a read costs as much
/// as ten operations, and most handlers end before the first.
const OPERATIONS_PER_CLOCK: u64 = 64;
/// Allocated bytes that count as one operation: a copy of a kilobyte takes about as long as one.
const BYTES_PER_OPERATION_SHIFT: u32 = 10;
/// What an operation is taken to cost as long as the clock was not read.
const NANOS_PER_OPERATION: u64 = 60;
/// Bytes of stack that the engine may use for nested calls and expressions. A third of the 2 MiB that threads get:
/// the rest is for the host's frames below and for dropping and cloning nested values above.
const STACK_BYTES: usize = 704 << 10;

/// A native function's result.
pub type Fallible<T> = Result<T, Box<EvalAltResult>>;

struct Meter {
    running: Cell<bool>,
    ended: Cell<Option<Budget>>,
    spent: Cell<u64>,
    operations: Cell<u64>,
    total_at_start: Cell<usize>,
    live_least: Cell<isize>,
    memory: Cell<isize>,
    largest_most: Cell<usize>,
    string: Cell<usize>,
    items: Cell<usize>,
    clock_due: Cell<u64>,
    clock_first: Cell<u64>,
    cpu: Cell<u64>,
    stack_start: Cell<usize>,
}

thread_local! {
    static METER: Meter = const { Meter {
        running: Cell::new(false),
        ended: Cell::new(None),
        spent: Cell::new(0),
        operations: Cell::new(0),
        total_at_start: Cell::new(0),
        live_least: Cell::new(0),
        memory: Cell::new(0),
        largest_most: Cell::new(0),
        string: Cell::new(0),
        items: Cell::new(0),
        clock_due: Cell::new(0),
        clock_first: Cell::new(0),
        cpu: Cell::new(0),
        stack_start: Cell::new(0),
    } };
}

/// What calls of the sandbox used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Operations, those for allocated bytes included.
    pub operations: u64,
    /// Processor time: measured if the clock was read, estimated from the operations otherwise.
    pub cpu: Duration,
}

impl std::ops::Add for Usage {
    type Output = Usage;

    fn add(self, other: Usage) -> Usage {
        Usage { operations: self.operations + other.operations, cpu: self.cpu + other.cpu }
    }
}

/// Measures one call of the sandbox from its beginning to its end: what values cost on their way in and out is not the
/// meter's to stop, but the object pays for it.
#[derive(Debug)]
pub struct Watch {
    begun: Option<u64>,
}

/// Starts a watch, before the meter. The clock is read now if the call may be `long` before its first operation;
/// otherwise what comes before the meter's first look at the clock is estimated.
pub fn watch(long: bool) -> Watch {
    METER.with(|meter| {
        meter.spent.set(0);
        meter.total_at_start.set(allocator::total());
        meter.clock_first.set(0);
    });
    Watch { begun: long.then(processor_time) }
}

impl Watch {
    /// What was used until now.
    pub fn usage(&self) -> Usage {
        METER.with(|meter| {
            let operations = meter.used();
            let since = |begun: u64| processor_time().saturating_sub(begun);
            let nanos = match (self.begun, meter.clock_first.get()) {
                (Some(begun), _) => since(begun),
                (None, 0) => operations * NANOS_PER_OPERATION,
                (None, first) => since(first) + OPERATIONS_PER_CLOCK * NANOS_PER_OPERATION,
            };
            Usage { operations, cpu: Duration::from_nanos(nanos) }
        })
    }
}

/// A running meter. One runs on a thread at a time; dropping it stops it.
#[derive(Debug)]
pub struct Running(());

/// Starts the meter of this thread.
pub fn start(budgets: &Budgets) -> Running {
    METER.with(|meter| {
        assert!(!meter.running.replace(true), "handlers do not nest");
        allocator::forget_largest();
        meter.ended.set(None);
        meter.spent.set(0);
        meter.operations.set(budgets.operations);
        meter.total_at_start.set(allocator::total());
        meter.live_least.set(allocator::live());
        meter.memory.set(isize::try_from(budgets.memory).unwrap_or(isize::MAX));
        // Text grows by doubling: the buffer of one that fits may be twice as large.
        meter.largest_most.set(budgets.string.saturating_mul(2));
        meter.string.set(budgets.string);
        meter.items.set(budgets.items);
        meter.clock_due.set(OPERATIONS_PER_CLOCK);
        meter.clock_first.set(0);
        meter.cpu.set(u64::try_from(budgets.cpu.as_nanos()).unwrap_or(u64::MAX));
        meter.stack_start.set(stack_address());
    });
    Running(())
}

impl Running {
    /// The operations that were used so far, and the budget that ended. The meter looks once more, for what happened after
    /// the last operation.
    #[expect(clippy::unused_self, reason = "there is something to read only as long as the meter runs")]
    pub fn look(&self) -> (u64, Option<Budget>) {
        METER.with(|meter| {
            let _ = meter.look(0);
            (meter.used(), meter.ended.get())
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        METER.with(|meter| meter.running.set(false));
    }
}

/// One operation of the engine. `Some` ends the script.
#[inline]
pub fn tick() -> Option<Budget> {
    METER.with(|meter| meter.look(1))
}

/// A native function's cost, in operations.
#[inline]
pub fn charge(operations: usize) -> Fallible<()> {
    match METER.with(|meter| meter.look(operations as u64)) {
        None => Ok(()),
        Some(budget) => Err(over(budget)),
    }
}

/// The cost of touching so many bytes.
#[inline]
pub fn charge_bytes(bytes: usize) -> Fallible<()> {
    charge(1 + bytes / 64)
}

/// The cost of touching so many items of an array or map.
#[inline]
pub fn charge_items(items: usize) -> Fallible<()> {
    charge(1 + items / 4)
}

/// Ends the script if text of this many bytes is too long.
#[inline]
pub fn fits_text(bytes: usize) -> Fallible<()> {
    if METER.with(|meter| bytes <= meter.string.get()) { Ok(()) } else { Err(end(Budget::Size)) }
}

/// Ends the script if an array or map of this many items is too large.
#[inline]
pub fn fits_items(items: usize) -> Fallible<()> {
    if METER.with(|meter| items <= meter.items.get()) { Ok(()) } else { Err(end(Budget::Size)) }
}

/// Ends the script for good: nothing in it can catch this.
#[expect(clippy::unnecessary_box_returns, reason = "the engine's errors are boxed")]
pub fn end(budget: Budget) -> Box<EvalAltResult> {
    METER.with(|meter| {
        if meter.ended.get().is_none() {
            meter.ended.set(Some(budget));
        }
    });
    over(budget)
}

#[expect(clippy::unnecessary_box_returns, reason = "the engine's errors are boxed")]
fn over(budget: Budget) -> Box<EvalAltResult> {
    Box::new(EvalAltResult::ErrorTerminated(budget.to_string().into(), Position::NONE))
}

impl Meter {
    #[inline]
    fn used(&self) -> u64 {
        let bytes = allocator::total().wrapping_sub(self.total_at_start.get());
        self.spent.get() + (bytes >> BYTES_PER_OPERATION_SHIFT) as u64
    }

    #[inline]
    fn look(&self, operations: u64) -> Option<Budget> {
        self.spent.set(self.spent.get() + operations);
        let used = self.used();
        if used >= self.clock_due.get() {
            self.look_at_the_clock(used);
        }
        let live = allocator::live();
        if live < self.live_least.get() {
            // A script that frees what was there before it must not gain from it.
            self.live_least.set(live);
        }
        // One comparison each; the branch is not taken until the script's last operation.
        if self.ended.get().is_some()
            || used > self.operations.get()
            || live - self.live_least.get() > self.memory.get()
            || allocator::largest() > self.largest_most.get()
            || self.stack_start.get().saturating_sub(stack_address()) > STACK_BYTES
        {
            return self.find_what_ended(used);
        }
        None
    }

    #[cold]
    fn look_at_the_clock(&self, used: u64) {
        let now = processor_time();
        self.clock_due.set(used + OPERATIONS_PER_CLOCK);
        if self.clock_first.get() == 0 {
            self.clock_first.set(now);
        } else if now - self.clock_first.get() > self.cpu.get() && self.ended.get().is_none() {
            self.ended.set(Some(Budget::Time));
        }
    }

    #[cold]
    fn find_what_ended(&self, used: u64) -> Option<Budget> {
        if !self.running.get() {
            return None;
        }
        let budget = self.ended.get().unwrap_or_else(|| {
            if used > self.operations.get() {
                Budget::Operations
            } else if allocator::largest() > self.largest_most.get() {
                Budget::Size
            } else if allocator::live() - self.live_least.get() > self.memory.get() {
                Budget::Memory
            } else {
                Budget::Depth
            }
        });
        self.ended.set(Some(budget));
        Some(budget)
    }
}

/// Nanoseconds of processor time that this thread has used.
fn processor_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// Where the stack is now. It grows downwards on every platform that Comet builds for.
#[inline]
fn stack_address() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(std::hint::black_box(&here)).addr()
}
