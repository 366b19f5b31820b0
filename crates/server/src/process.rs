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
    let Ok(maps) = std::fs::read_to_string("/proc/self/smaps") else {
        return;
    };
    for (start, len) in clean_mappings(&maps) {
        // SAFETY: the range is one mapping of this process as the kernel just listed it: private,
        // of a file, not writable, and without a single page of its own ("Anonymous: 0"; what
        // the linker relocated and then protected has such pages and is left out). So every page
        // equals the file, dropping one loses nothing, and the next access reads it again.
        // Libraries stay mapped for the life of the process, and nothing makes a mapping of one
        // writable after it was loaded. Should a range be gone all the same, madvise fails.
        let outcome = unsafe { madvise(start as *mut _, len, Advice::LinuxDontNeed) };
        if let Err(error) = outcome {
            tracing::debug!(%error, "cannot release pages");
        }
    }
}

/// Start and length of each mapping of `/proc/self/smaps` that is private, read-only, of a file,
/// and holds nothing but what is in the file.
fn clean_mappings(maps: &str) -> Vec<(usize, usize)> {
    let mut clean = Vec::new();
    let mut current = None;
    for line in maps.lines() {
        if let Some(kib) = line.strip_prefix("Anonymous:") {
            clean.extend(current.take().filter(|_| kib.trim() == "0 kB"));
        } else if line
            .split_ascii_whitespace()
            .next()
            .is_some_and(|word| !word.ends_with(':'))
        {
            current = read_only_file(line);
        }
    }
    clean
}

/// Start and length of a mapping that is private, read-only and of a file.
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
        for (mapping, anonymous, released) in [
            (
                "7f0000001000-7f0000003000 r--p 00000000 08:01 42   /usr/lib/libx265.so.199",
                "0 kB",
                Some((0x7f00_0000_1000, 0x2000)),
            ),
            (
                "7f0000003000-7f0000004000 r-xp 00002000 08:01 42   /usr/lib/libx265.so.199",
                "0 kB",
                Some((0x7f00_0000_3000, 0x1000)),
            ),
            // Relocated by the linker, then protected.
            (
                "7f0000004000-7f0000005000 r--p 00003000 08:01 42   /usr/lib/libx265.so.199",
                "4 kB",
                None,
            ),
            (
                "7f0000005000-7f0000006000 rw-p 00003000 08:01 42   /usr/lib/libx265.so.199",
                "0 kB",
                None,
            ),
            (
                "7f0000006000-7f0000007000 r--s 00000000 08:01 43   /data/catalog.db-shm",
                "0 kB",
                None,
            ),
            (
                "7f0000007000-7f0000008000 rw-p 00000000 00:00 0",
                "0 kB",
                None,
            ),
            (
                "7ffd00000000-7ffd00001000 r-xp 00000000 00:00 0    [vdso]",
                "0 kB",
                None,
            ),
        ] {
            let maps =
                format!("{mapping}\nSize: 8 kB\nAnonymous:      {anonymous}\nVmFlags: rd mr\n");
            assert_eq!(clean_mappings(&maps), Vec::from_iter(released), "{mapping}");
        }
    }

    /// Every library is still what it was: constants, relocated tables and code are used.
    #[test]
    fn released_pages_come_back() {
        release_startup_pages();
        assert!(media::choose_h264_encoder().is_ok());
        assert!(
            std::process::Command::new("true")
                .status()
                .unwrap()
                .success()
        );
    }
}
