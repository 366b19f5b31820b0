//! What only the operating system can do to this process, and needs unsafe code for. The only
//! such file of this crate.

#![allow(unsafe_code)]

use rustix::mm::{Advice, madvise};

/// `ioprio_set(2)`: who the process itself is, and the idle class.
const IOPRIO_WHO_PROCESS: libc::c_int = 1;
const IOPRIO_CLASS_IDLE: libc::c_int = 3;
const IOPRIO_CLASS_SHIFT: libc::c_int = 13;

/// Lets go of the pages of libraries that only the dynamic linker read.
///
/// Linking against libav maps some 170 libraries, and the linker reads all their symbol tables:
/// 30 MB that are resident from then on, although the server calls none of them. They are clean
/// file pages, so whatever is used after all comes back by a minor fault.
pub(crate) fn release_startup_pages() {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else {
        return;
    };
    for (start, len) in maps.lines().filter_map(read_only_file) {
        // SAFETY: the range is one mapping of this process as the kernel just listed it: private,
        // of a regular file, and not writable, so no page of it differs from the file and
        // dropping one loses nothing; the next access reads it again. Libraries are mapped for
        // the life of the process, and nothing else unmaps at this point of the start. Should a
        // range be gone all the same, madvise fails and changes nothing.
        let outcome = unsafe { madvise(start as *mut _, len, Advice::LinuxDontNeed) };
        if let Err(error) = outcome {
            tracing::debug!(%error, "cannot release pages");
        }
    }
}

/// Start and length of a mapping of `/proc/self/maps` that is private, read-only and of a file.
fn read_only_file(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let rights = fields.next()?;
    let path = fields.nth(3)?;
    if !path.starts_with('/') || !matches!(rights, "r--p" | "r-xp") {
        return None;
    }
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    Some((start, end.checked_sub(start)?))
}

/// Puts this thread's disk access behind everybody else's; threads it starts inherit that.
pub(crate) fn idle_disk_class() -> std::io::Result<()> {
    let priority = IOPRIO_CLASS_IDLE << IOPRIO_CLASS_SHIFT;
    // SAFETY: ioprio_set takes three integers and touches no memory of this process.
    let outcome = unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, priority) };
    if outcome == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_that_may_be_released() {
        for (line, released) in [
            (
                "7f0000001000-7f0000003000 r--p 00000000 08:01 42   /usr/lib/libx265.so.199",
                Some((0x7f00_0000_1000, 0x2000)),
            ),
            (
                "7f0000003000-7f0000004000 r-xp 00002000 08:01 42   /usr/lib/libx265.so.199",
                Some((0x7f00_0000_3000, 0x1000)),
            ),
            (
                "7f0000004000-7f0000005000 rw-p 00003000 08:01 42   /usr/lib/libx265.so.199",
                None,
            ),
            (
                "7f0000005000-7f0000006000 r--s 00000000 08:01 43   /data/catalog.db-shm",
                None,
            ),
            ("7f0000006000-7f0000007000 rw-p 00000000 00:00 0", None),
            (
                "7ffd00000000-7ffd00001000 r-xp 00000000 00:00 0    [vdso]",
                None,
            ),
        ] {
            assert_eq!(read_only_file(line), released, "{line}");
        }
    }

    #[test]
    fn released_pages_come_back() {
        release_startup_pages();
        assert_eq!("still here".to_uppercase(), "STILL HERE");
    }
}
