//! Figures as people read them.

use comet_kernel::UnixMillis;

/// Seconds as the two largest units: `45 s`, `3 min 20 s`, `2 d 4 h`.
pub(super) fn seconds(seconds: u64) -> String {
    let two = |large: u64, large_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large} {large_unit}"),
        small => format!("{large} {large_unit} {small} {small_unit}"),
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => two(seconds / 60, "min", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

/// Milliseconds, rounded down to seconds if there are many.
pub(super) fn milliseconds(milliseconds: u64) -> String {
    if milliseconds < 10_000 { format!("{milliseconds} ms") } else { seconds(milliseconds / 1_000) }
}

/// Nanoseconds in the unit that leaves few digits.
pub(super) fn nanoseconds(nanoseconds: u64) -> String {
    match nanoseconds {
        0..10_000 => format!("{nanoseconds} ns"),
        10_000..10_000_000 => format!("{} µs", nanoseconds / 1_000),
        _ => milliseconds(nanoseconds / 1_000_000),
    }
}

/// Bytes in the unit that leaves few digits.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 10_000 {
        return format!("{bytes} B");
    }
    let power = (bytes.ilog2() / 10).min(UNITS.len() as u32);
    format!("{:.1} {}", bytes as f64 / f64::from(1 << 10).powi(power as i32), UNITS[power as usize - 1])
}

/// A point in time, in UTC: `2026-01-31 12:00:00.123`.
pub(super) fn time(at: UnixMillis) -> String {
    let (day, millisecond) = (at.0 / 86_400_000, at.0 % 86_400_000);
    let (year, month, day) = date(day);
    let (hour, minute) = (millisecond / 3_600_000, millisecond / 60_000 % 60);
    let (second, millisecond) = (millisecond / 1_000 % 60, millisecond % 1_000);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{millisecond:03}")
}

/// Year, month and day of the n-th day after 1 January 1970, by eras of 400 years that begin in March:
/// <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>.
fn date(day: u64) -> (u64, u64, u64) {
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year + u64::from(month <= 2), month, of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units_at_most() {
        for (figure, text) in
            [(0, "0 s"), (60, "1 min"), (200, "3 min 20 s"), (7_380, "2 h 3 min"), (187_200, "2 d 4 h")]
        {
            assert_eq!(seconds(figure), text);
        }
        assert_eq!(milliseconds(9_999), "9999 ms");
        assert_eq!(milliseconds(61_500), "1 min 1 s");
        assert_eq!(nanoseconds(1_234_567), "1234 µs");
    }

    #[test]
    fn sizes_have_few_digits() {
        for (figure, text) in [(0, "0 B"), (9_999, "9999 B"), (10_240, "10.0 KiB"), (5 << 20, "5.0 MiB")] {
            assert_eq!(bytes(figure), text);
        }
        assert!(bytes(u64::MAX).ends_with("TiB"));
    }

    #[test]
    fn days_fall_on_their_dates() {
        assert_eq!(time(UnixMillis(0)), "1970-01-01 00:00:00.000");
        assert_eq!(time(UnixMillis(951_782_399_999)), "2000-02-28 23:59:59.999");
        assert_eq!(time(UnixMillis(951_782_400_000)), "2000-02-29 00:00:00.000");
        assert_eq!(time(UnixMillis(1_735_689_599_000)), "2024-12-31 23:59:59.000");
    }
}
