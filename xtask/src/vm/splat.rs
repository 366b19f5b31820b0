//! Reads a guest's kernel log: what a kernel says when something is wrong with it or with a module.
//!
//! A command may well succeed while the kernel below it complains, and only the complaint tells of the
//! use after free. The words are those of lib/bug.c, mm/kasan/report.c, kernel/locking/lockdep.c,
//! kernel/hung_task.c, kernel/rcu/tree_stall.h, lib/ubsan.c, lib/debugobjects.c and of the traps of x86
//! and um.

/// A line with one of these begins a complaint.
const WORDS: &[&str] = &[
    "WARNING:",
    "BUG:",
    "KASAN:",
    "UBSAN:",
    "ODEBUG:",
    "DMA-API:",
    "Oops:",
    "Kernel panic",
    "general protection fault",
    "Unable to handle kernel",
    "blocked for more than",
    "detected stall",
    "self-detected stall",
    "possible circular locking",
    "possible recursive locking",
    "inconsistent lock state",
    "suspicious RCU usage",
    "trying to register non-static key",
    "DEBUG_LOCKS_WARN_ON",
    "sleeping function called",
    "scheduling while atomic",
    "list_add corruption",
    "list_del corruption",
    "refcount_t:",
];

/// A trace's first and last line, where it has them.
const CUT: &str = "[ cut here ]";
const END: &str = "[ end trace";

/// A complaint without an end is shown for so many lines: a trace with its registers.
const LINES: usize = 60;

/// The complaints in a log, each with the lines that belong to it.
pub fn complaints(log: &str) -> Vec<String> {
    let lines: Vec<&str> = log
        .lines()
        .map(|line| line.trim_end_matches('\r'))
        .collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        if !begins(lines[at]) {
            at += 1;
            continue;
        }
        let end = end(&lines, at);
        let first = if at > 0 && lines[at - 1].contains(CUT) {
            at - 1
        } else {
            at
        };
        found.push(lines[first..end].join("\n"));
        at = end;
    }
    found
}

/// The line that a machine died with, if its log has one.
pub fn death(log: &str) -> Option<&str> {
    log.lines()
        .find(|line| line.contains("Kernel panic"))
        .or_else(|| log.lines().find(|line| line.contains("Oops:")))
        .map(str::trim_end)
}

fn begins(line: &str) -> bool {
    WORDS.iter().any(|word| line.contains(word))
}

/// One past the complaint's last line: its end mark, or before the next "cut here", or after enough.
fn end(lines: &[&str], begin: usize) -> usize {
    let limit = lines.len().min(begin + LINES);
    let rest = &lines[begin + 1..limit];
    let marked = rest.iter().enumerate().find_map(|(at, line)| {
        let past = usize::from(line.contains(END));
        (past == 1 || line.contains(CUT)).then_some(begin + 1 + at + past)
    });
    marked.unwrap_or(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_told_from_talk() {
        #[rustfmt::skip]
        let rows: &[(&str, usize)] = &[
            ("", 0),
            ("[    0.29] mc: Linux media interface: v0.10\n[    0.30] visl visl.0: Device registered as /dev/video0", 0),
            ("[    1.0] kinora_dec: loading out-of-tree module taints kernel.", 0),
            ("[    1.0] Warning: unable to open an initial console.", 0),
            ("[ 1.0] ------------[ cut here ]------------\n[ 1.0] WARNING: CPU: 0 PID: 1 at a.c:3 f+0x1\n[ 1.0] ---[ end trace 0 ]---", 1),
            ("[ 1.0] BUG: KASAN: slab-use-after-free in f+0x1/0x2 [m]\n[ 1.0] Write of size 4 at addr 1", 1),
            ("[ 1.0] WARNING: possible circular locking dependency detected", 1),
            ("[ 1.0] INFO: task rmmod:12 blocked for more than 15 seconds.", 1),
            ("[ 1.0] UBSAN: shift-out-of-bounds in a.c:1:2", 1),
            ("[ 1.0] Oops: general protection fault, probably for non-canonical address", 1),
            ("[ 1.0] BUG: sleeping function called from invalid context at a.c:1", 1),
            ("[ 1.0] WARNING: a\n[ 1.0] ---[ end trace 0 ]---\n[ 1.1] talk\n[ 1.2] WARNING: b", 2),
            ("[ 1.0] BUG: a\n[ 1.0] --[ cut here ]--\n[ 1.0] WARNING: b", 2),
        ];
        for (log, count) in rows {
            assert_eq!(complaints(log).len(), *count, "{log}");
        }
    }

    #[test]
    fn a_complaint_has_its_lines_and_no_others() {
        let log =
            "before\n--[ cut here ]--\nWARNING: x\r\nCall Trace:\n---[ end trace 0 ]---\nafter";
        assert_eq!(
            complaints(log),
            ["--[ cut here ]--\nWARNING: x\nCall Trace:\n---[ end trace 0 ]---"]
        );
    }

    #[test]
    fn the_line_of_a_death_is_found() {
        let log =
            "a\n[ 1.0] Oops: 0002 [#1]\n[ 1.1] Kernel panic - not syncing: Fatal exception\nb";
        let panic = "[ 1.1] Kernel panic - not syncing: Fatal exception";
        assert_eq!(death(log), Some(panic));
        assert_eq!(
            death("[ 1.0] Oops: 0002 [#1]\n"),
            Some("[ 1.0] Oops: 0002 [#1]")
        );
        assert_eq!(death("[ 1.0] reboot: Power down"), None);
    }
}
