//! The functions that a script can use besides `comet`: an allow-list, and every function on it bounded.
//!
//! Arithmetic, mathematics and comparison of numbers are the engine's own packages, where each function takes constant
//! time. Everything that touches text, arrays, maps or blobs is ours: it charges the meter for what it does and
//! checks the size of what it makes. There is no `eval`, `import`, `sleep`, `timestamp`, `print` or `curry`.

mod arrays;
mod maps;
mod ranges;
mod texts;
mod values;

use rhai::packages::{ArithmeticPackage, BasicMathPackage, LogicPackage, Package};
use rhai::{Engine, FuncRegistration, RhaiNativeFunc, Variant};

/// Registers every function but those of `comet`.
pub fn register(engine: &mut Engine) {
    for package in [
        ArithmeticPackage::new().as_shared_module(),
        LogicPackage::new().as_shared_module(),
        BasicMathPackage::new().as_shared_module(),
    ] {
        engine.register_global_module(package);
    }
    values::register(engine);
    texts::register(engine);
    arrays::register(engine);
    maps::register(engine);
    ranges::register(engine);
}

/// Registration with a line of documentation, which definition files and `comet script` show.
pub trait Register {
    /// Adds a function.
    fn add<A: 'static, const N: usize, const X: bool, R: Variant + Clone, const F: bool>(
        &mut self,
        name: &str,
        doc: &str,
        function: impl RhaiNativeFunc<A, N, X, R, F> + Send + Sync + 'static,
    ) -> &mut Self;

    /// Adds a function of one argument that also reads as a property: `s.len()` and `s.len`.
    fn add_property<A: 'static, const N: usize, const X: bool, R: Variant + Clone, const F: bool>(
        &mut self,
        name: &str,
        doc: &str,
        function: impl RhaiNativeFunc<A, N, X, R, F> + Clone + Send + Sync + 'static,
    ) -> &mut Self;

    /// Adds a function that changes its first argument, which a constant must not be.
    fn add_change<A: 'static, const N: usize, const X: bool, R: Variant + Clone, const F: bool>(
        &mut self,
        name: &str,
        doc: &str,
        function: impl RhaiNativeFunc<A, N, X, R, F> + Send + Sync + 'static,
    ) -> &mut Self;
}

impl Register for Engine {
    fn add<A: 'static, const N: usize, const X: bool, R: Variant + Clone, const F: bool>(
        &mut self,
        name: &str,
        doc: &str,
        function: impl RhaiNativeFunc<A, N, X, R, F> + Send + Sync + 'static,
    ) -> &mut Self {
        FuncRegistration::new(name).with_comments([doc]).with_purity(true).register_into_engine(self, function);
        self
    }

    fn add_property<A: 'static, const N: usize, const X: bool, R: Variant + Clone, const F: bool>(
        &mut self,
        name: &str,
        doc: &str,
        function: impl RhaiNativeFunc<A, N, X, R, F> + Clone + Send + Sync + 'static,
    ) -> &mut Self {
        FuncRegistration::new_getter(name).with_purity(true).register_into_engine(self, function.clone());
        self.add(name, doc, function)
    }

    fn add_change<A: 'static, const N: usize, const X: bool, R: Variant + Clone, const F: bool>(
        &mut self,
        name: &str,
        doc: &str,
        function: impl RhaiNativeFunc<A, N, X, R, F> + Send + Sync + 'static,
    ) -> &mut Self {
        FuncRegistration::new(name).with_comments([doc]).with_purity(false).register_into_engine(self, function);
        self
    }
}

/// The index that a script means: negative ones count from the end. `None` if it lies outside.
fn index(index: i64, length: usize) -> Option<usize> {
    let from_start = if index < 0 { (length as i64).checked_add(index)? } else { index };
    usize::try_from(from_start).ok().filter(|index| *index < length)
}

/// The part of `0..length` that a script means by a start (negative ones count from the end) and a length, both of
/// which may lie outside.
fn part(start: i64, count: i64, length: usize) -> std::ops::Range<usize> {
    let length = length as i64;
    let start = if start < 0 { length.saturating_add(start).max(0) } else { start.min(length) };
    let end = start.saturating_add(count.max(0)).min(length);
    start as usize..end as usize
}
