//! What the kernel knows about this process.

/// Descriptors open now, or nothing where `/proc` is not mounted.
pub(crate) fn open_fds() -> Option<u64> {
    let count = std::fs::read_dir("/proc/self/fd").ok()?.count();
    // Reading the directory holds a descriptor of its own.
    u64::try_from(count)
        .ok()
        .map(|count| count.saturating_sub(1))
}

/// The soft limit on descriptors.
pub(crate) fn max_fds() -> Option<u64> {
    soft_limit(&std::fs::read_to_string("/proc/self/limits").ok()?)
}

fn soft_limit(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    let soft = line.split_whitespace().next()?;
    if soft == "unlimited" {
        Some(u64::MAX)
    } else {
        soft.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn the_soft_limit_is_the_first_column() {
        let text = "Limit  Soft Limit  Hard Limit  Units\nMax open files   1024   4096   files\n";
        assert_eq!(soft_limit(text), Some(1024));
        assert_eq!(
            soft_limit("Max open files  unlimited unlimited files"),
            Some(u64::MAX)
        );
        assert_eq!(soft_limit("nothing"), None);
    }

    #[test]
    fn an_open_file_is_counted() {
        let before = open_fds().unwrap();
        let held: Vec<_> = (0..50)
            .map(|_| std::fs::File::open("/proc/self/stat").unwrap())
            .collect();
        // Other tests of this binary open and close files at the same time.
        assert!(open_fds().unwrap() > before + 25);
        drop(held);
        assert!(max_fds().unwrap() > 0);
    }
}
