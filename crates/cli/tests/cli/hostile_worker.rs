//! A worker that was taken over: a library put before libav runs its own code where the file would be
//! opened, which is where a hostile file would, and tries what it must not be able to do.

use crate::process::kinora;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

/// Each attempt is written down as a name and an error number, 0 where it went well. What is tried
/// in this program's processes and files only.
const TAKEN_OVER: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static FILE *said;
static void say(const char *what, long outcome) {
    fprintf(said, "%s %d\n", what, outcome < 0 ? errno : 0);
    fflush(said);
}
static long opened(const char *folder, const char *name, int flags) {
    char path[4096];
    snprintf(path, sizeof path, "%s%s", folder, name);
    return open(path, flags, 0600);
}

/* A file that opens and holds nothing is as good as closed. */
static long bytes(long file) {
    char byte;
    long length = file < 0 ? -1 : read(file, &byte, 1);
    if (length == 0) errno = ENODATA;
    return length > 0 ? 0 : -1;
}

int avformat_open_input(void **context, const char *url, const void *format, void **options) {
    const char *own = getenv("HOSTILE_OWN"), *other = getenv("HOSTILE_OTHER");
    char path[4096], parent[64], byte;
    snprintf(path, sizeof path, "%s/said", own);
    if (!(said = fopen(path, "w"))) _exit(40);
    say("landlock", syscall(SYS_landlock_create_ruleset, 0, 0, 1));
    say("read-input", opened("/proc/self/fd/0", "", O_RDONLY));
    say("write-own", opened(own, "/made", O_CREAT | O_WRONLY));
    say("read-other", opened(other, "/secret", O_RDONLY));
    say("write-other", opened(other, "/secret", O_WRONLY));
    say("create-other", opened(other, "/new", O_CREAT | O_WRONLY));
    snprintf(path, sizeof path, "%s/secret", other);
    say("remove-other", unlink(path));
    say("write-input", opened("/proc/self/fd/0", "", O_WRONLY));
    say("read-passwords", open("/etc/passwd", O_RDONLY));
    snprintf(parent, sizeof parent, "/proc/%d", getppid());
    say("read-environment", bytes(opened(parent, "/environ", O_RDONLY)));
    say("read-memory", opened(parent, "/mem", O_RDONLY));
    say("socket-inet", socket(AF_INET, SOCK_STREAM, 0));
    say("socket-inet6", socket(AF_INET6, SOCK_DGRAM, 0));
    say("socket-unix", socket(AF_UNIX, SOCK_STREAM, 0));
    say("socket-netlink", socket(AF_NETLINK, SOCK_RAW, 0));
    say("fork", fork());
    say("clone", syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
    char *arguments[] = {"true", 0};
    say("exec", execve("/bin/true", arguments, arguments + 1));
    say("signal", kill(getppid(), 0));
    say("trace", ptrace(PTRACE_ATTACH, getppid(), 0, 0));
    struct iovec here = {&byte, 1}, there = {&byte, 1};
    say("peek", process_vm_readv(getppid(), &here, 1, &there, 1, 0));
    say("namespace", unshare(CLONE_NEWUSER));
    say("mount", mount("none", "/mnt", "tmpfs", 0, 0));
    say("rings", syscall(SYS_io_uring_setup, 1, 0));
    say("programs", syscall(SYS_bpf, 0, 0, 0));
    _exit(41);
}
"#;

/// Done, and needed; the rest is to fail.
const ALLOWED: [&str; 2] = ["read-input", "write-own"];
/// Attempts that Landlock answers, in kernels that have it.
const BY_LANDLOCK: [&str; 8] = [
    "read-other",
    "write-other",
    "create-other",
    "remove-other",
    "write-input",
    "read-passwords",
    "read-environment",
    "read-memory",
];

fn library(folder: &Path) -> std::path::PathBuf {
    let (source, library) = (folder.join("taken.c"), folder.join("taken.so"));
    fs::write(&source, TAKEN_OVER).unwrap();
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-w", "-o"])
        .args([&library, &source])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{said}");
    library
}

#[test]
fn a_worker_that_was_taken_over_reaches_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (own, other) = (folder.path().join("own"), folder.path().join("other"));
    fs::create_dir_all(&own).unwrap();
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("secret"), "secret").unwrap();
    let input = folder.path().join("input.wav");
    // Enough of a file to get as far as libav.
    fs::write(&input, [&b"RIFF\x24\0\0\0WAVEfmt "[..], &[0; 64]].concat()).unwrap();
    let order = serde_json::json!({
        "task": "probe",
        "input": "/proc/self/fd/0",
        "name": "input.wav",
        "parent": std::process::id(),
    });
    fs::write(own.join("order.json"), order.to_string()).unwrap();
    let ended = kinora(["worker", "probe"])
        .arg(&own)
        .env("LD_PRELOAD", library(folder.path()))
        .env("HOSTILE_OWN", &own)
        .env("HOSTILE_OTHER", &other)
        .stdin(File::open(&input).unwrap())
        .output()
        .unwrap();
    let talk = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(
        ended.status.code(),
        Some(41),
        "it was not taken over: {talk}"
    );
    let said = fs::read_to_string(own.join("said")).unwrap();
    let outcomes: BTreeMap<&str, i32> = said
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(what, error)| (what, error.parse().unwrap()))
        .collect();
    assert_eq!(outcomes.len(), 25, "{said}");
    for (what, error) in &outcomes {
        let allowed = ALLOWED.contains(what);
        let unknown = outcomes["landlock"] != 0 && BY_LANDLOCK.contains(what);
        if *what != "landlock" && !unknown {
            assert_eq!(*error == 0, allowed, "{what}: {said}");
        }
    }
    assert_eq!(fs::read_to_string(other.join("secret")).unwrap(), "secret");
}
