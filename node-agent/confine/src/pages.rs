//! The pages of the program that a process has mapped.

use std::ffi::{c_int, c_void};
use std::time::Duration;

/// How long after it began to serve a process is done with what only its start needs: pods come back,
/// certificates are fetched.
pub const SETTLED: Duration = Duration::from_secs(3);

/// Takes all pages of the program's own code and constants out of this process. Those that it still
/// uses come back one by one, from the kernel's cache; those that only its start has used do not,
/// and the kernel can do without them when memory is short. Nothing that was written is touched.
pub fn forget_program() {
    // SAFETY: the function keeps the contract of `dl_iterate_phdr`, see there.
    unsafe { libc::dl_iterate_phdr(Some(forget_segments), std::ptr::null_mut()) };
}

/// SAFETY: called by the C library with a description of the program, which comes first, or of a
/// library, whose segments are only read.
unsafe extern "C" fn forget_segments(
    program: *mut libc::dl_phdr_info,
    _size: usize,
    _data: *mut c_void,
) -> c_int {
    // SAFETY: the C library passes a valid description, which lives as long as this call.
    let program = unsafe { &*program };
    for place in 0..usize::from(program.dlpi_phnum) {
        // SAFETY: there are `dlpi_phnum` headers at `dlpi_phdr`.
        let segment = unsafe { &*program.dlpi_phdr.add(place) };
        if segment.p_type == libc::PT_LOAD && segment.p_flags & libc::PF_W == 0 {
            forget(program.dlpi_addr + segment.p_vaddr, segment.p_memsz);
        }
    }
    // Libraries are shared with others; only the program itself, which comes first, is meant.
    1
}

/// Takes a mapping that nobody can write to out of the page table.
fn forget(start: u64, size: u64) {
    // SAFETY: the call takes a number and gives one.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let Some(offset) = u64::try_from(page)
        .ok()
        .and_then(|page| start.checked_rem(page))
    else {
        return;
    };
    let first = start - offset;
    let Ok(length) = usize::try_from(offset + size) else {
        return;
    };
    // SAFETY: the range is a segment of the program that is not writable and that the linker did not
    // have to relocate, so that every page of it can be had from the file again. (Whoever debugs the
    // process loses breakpoints.)
    unsafe { libc::madvise(first as *mut c_void, length, libc::MADV_DONTNEED) };
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    /// KiB of this program's own code that are mapped.
    fn mapped() -> u64 {
        let program = std::fs::read_link("/proc/self/exe").unwrap();
        let program = program.to_str().unwrap();
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut code = false;
        let mut sum = 0;
        for line in maps.lines() {
            if line.contains(" r-xp ") {
                code = line.ends_with(program);
            } else if let (true, Some(size)) = (code, line.strip_prefix("Rss:")) {
                sum += size.trim().trim_end_matches(" kB").parse::<u64>().unwrap();
                code = false;
            }
        }
        sum
    }

    #[test]
    fn what_is_forgotten_comes_back_when_it_is_needed() {
        let words: Vec<String> = (0..1000).map(|n| format!("{n:?}")).collect();
        let before = mapped();
        // Other tests run meanwhile, and have their pages back at once.
        let fewer = || {
            super::forget_program();
            mapped() < before
        };
        assert!((0..100).any(|_| fewer()), "never less than {before} KiB");
        let again: Vec<String> = (0..1000).map(|n| format!("{n:?}")).collect();
        assert_eq!(words, again);
    }
}
