//! What this process has used so far, from `/proc`: for the benches.

/// CPU seconds of all threads, from the kernel's clock ticks of 10 ms.
pub fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / 100.0
}

/// The most memory that was resident, in MB.
pub fn peak() -> f64 {
    memory("VmHWM:")
}

/// The memory that is resident now, in MB.
pub fn resident() -> f64 {
    memory("VmRSS:")
}

/// What of that is no page of a file, in MB.
pub fn own() -> f64 {
    memory("RssAnon:")
}

fn memory(of: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(of));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok()).unwrap_or_default() / 1024.0
}
