//! A process's memory, as the kernel of the machine tells it.

/// Bytes that are resident and belong to no file: pages of the database's files come and go as the machine likes.
pub fn anonymous(pid: u32) -> u64 {
    field(pid, "RssAnon:")
}

/// Bytes that are resident, files included.
pub fn resident(pid: u32) -> u64 {
    field(pid, "VmRSS:")
}

/// The most bytes that were resident, files included.
pub(super) fn peak(pid: u32) -> u64 {
    field(pid, "VmHWM:")
}

/// Has the peak begin anew.
pub(super) fn forget_peak(pid: u32) {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("the process is ours");
}

fn field(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux tells this field");
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a figure in kB");
    kibibytes << 10
}
