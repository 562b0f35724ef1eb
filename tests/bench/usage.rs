//! Processor time and memory of processes and their children, from `/proc`.

use std::fs;

/// Ticks of `/proc/*/stat` a second; the kernel's ABI has it fixed for user space on Linux.
const TICKS: f64 = 100.0;

/// What processes have used.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Usage {
    /// Processor time, user and system.
    pub(crate) cpu_seconds: f64,
    /// Resident memory.
    pub(crate) rss_mb: f64,
}

impl Usage {
    /// Of these processes and all their children, dead children included.
    pub(crate) fn of(roots: &[u32]) -> Usage {
        let mut total = Usage::default();
        let all = processes();
        for process in &all {
            let parent_is_root = roots.contains(&process.parent);
            if roots.contains(&process.id) {
                total.cpu_seconds += process.own + process.dead_children;
            } else if parent_is_root {
                total.cpu_seconds += process.own;
            }
            if roots.contains(&process.id) || parent_is_root {
                total.rss_mb += process.rss_mb;
            }
        }
        total
    }
}

struct Process {
    id: u32,
    parent: u32,
    own: f64,
    dead_children: f64,
    rss_mb: f64,
}

fn processes() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(process)
        .collect()
}

fn process(id: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name in parentheses may hold anything; the fields follow its last parenthesis.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let number = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok());
    Some(Process {
        id,
        parent: fields.get(1)?.parse().ok()?,
        own: (number(11)? + number(12)?) / TICKS,
        dead_children: (number(13)? + number(14)?) / TICKS,
        rss_mb: number(21)? * 4_096.0 / 1e6,
    })
}
