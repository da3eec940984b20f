//! Huge pages: memory for speed, once there is much memory in use.
//!
//! A program with the sandbox's allocator begins without them. A node that has little to store would take up more than twice
//! the memory for them; one with 100,000 objects saves a quarter of a get's processor time.

use std::time::Duration;

use comet_kernel::Clock;
use rustix::thread::disable_transparent_huge_pages;

/// KiB of memory in use, the program itself not counted, from which on pages are huge. An idle node needs less.
const MUCH_KIB: u64 = 16 << 10;
/// How long between two looks. What is loaded before stays in small pages, and a client may load a hundred megabytes in a
/// second.
const LOOK: Duration = Duration::from_millis(100);

/// Huge pages for what comes after this node has stored much.
pub async fn grow(clock: Clock) {
    while in_use().is_some_and(|kib| kib < MUCH_KIB) {
        clock.sleep(LOOK).await;
    }
    let _as_it_was = disable_transparent_huge_pages(false);
}

/// KiB in use; none if the system does not say.
fn in_use() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use rustix::thread::transparent_huge_pages_are_disabled;

    use super::*;

    #[actix::test]
    async fn pages_are_huge_once_much_is_in_use() {
        assert_eq!(transparent_huge_pages_are_disabled(), Ok(true));
        let memory = vec![1_u8; 96 << 20];
        grow(Clock::machine()).await;
        assert_eq!(transparent_huge_pages_are_disabled(), Ok(false), "{}", memory.len());
    }
}
