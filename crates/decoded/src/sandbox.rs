//! What a process may still do once it has what it needs.
//!
//! A worker reads bytes that anybody may have made, with a decoder of a million lines of C. So it
//! keeps one descriptor and a handful of system calls, no file system, and a bound on its memory.
//! The daemon gives up root as soon as the device is open and keeps nothing of the file system but
//! a look at its own workers.
//!
//! Kernels may lack Landlock (before 5.13) or seccomp (some built for boards): that is said once and
//! lived with. Anything else that goes wrong ends the process.

use landlock::{ABI, Access, AccessFs, AccessNet, PathBeneath, PathFd, Ruleset, RulesetAttr};
use landlock::{RulesetCreatedAttr, RulesetStatus};
use rustix::process::{Pid, Resource, Rlimit, Signal};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The newest Landlock whose rights are named here; older kernels take what they know.
const KNOWN: ABI = ABI::V5;

/// Most private memory of a worker: the pictures of a session at the largest size, libavcodec's
/// tables beside them, and a message.
const MEMORY: u64 = 1 << 30;

/// Most descriptors of a worker. Its own two or three, and a buffer while it is being mapped.
const DESCRIPTORS: u64 = 64;

/// What stands between a worker and the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walls {
    /// No file system.
    pub landlock: bool,
    /// No system call but a few.
    pub seccomp: bool,
}

/// Lets this process die with its parent, which must be `parent`.
pub fn die_with(parent: Pid) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have died between the fork and this.
    if rustix::process::getppid() == Some(parent) {
        Ok(())
    } else {
        Err(io::Error::other("the daemon is gone"))
    }
}

/// Bounds what a worker may use.
pub fn limit() -> io::Result<()> {
    for (resource, most) in [
        (Resource::Data, MEMORY),
        (Resource::Nofile, DESCRIPTORS),
        (Resource::Core, 0),
        (Resource::Nproc, 0),
    ] {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        rustix::process::setrlimit(resource, limit)?;
    }
    Ok(())
}

/// Confines a worker for good: reads from `session`, writes to `session` and `written`, nothing to
/// open, nothing to start.
pub fn confine(session: BorrowedFd, written: &[BorrowedFd]) -> io::Result<Walls> {
    let landlock = without_files(&[])?;
    let seccomp = match few_calls(session, written).map_err(io::Error::other) {
        Ok(program) => match seccompiler::apply_filter(&program) {
            Ok(()) => true,
            Err(seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error))
                if is_missing(&error) =>
            {
                false
            }
            Err(error) => return Err(io::Error::other(error)),
        },
        Err(error) => return Err(error),
    };
    Ok(Walls { landlock, seccomp })
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS))
}

/// Takes the file system away, but for reading below `readable`. False where there is no Landlock.
pub fn without_files(readable: &[&str]) -> io::Result<bool> {
    let rules = || {
        let mut rules = Ruleset::default()
            .handle_access(AccessFs::from_all(KNOWN))?
            .handle_access(AccessNet::from_all(KNOWN))?
            .create()?;
        for path in readable {
            if let Ok(path) = PathFd::new(path) {
                let look = AccessFs::ReadFile | AccessFs::ReadDir;
                rules = rules.add_rule(PathBeneath::new(path, look))?;
            }
        }
        rules.restrict_self()
    };
    let status = rules().map_err(|error: landlock::RulesetError| io::Error::other(error))?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

/// The calls that decoding, the allocator and a last message need.
fn few_calls(
    session: BorrowedFd,
    written: &[BorrowedFd],
) -> Result<BpfProgram, seccompiler::BackendError> {
    let on = |fd: BorrowedFd| -> Result<SeccompRule, seccompiler::BackendError> {
        SeccompRule::new(vec![SeccompCondition::new(
            0,
            SeccompCmpArgLen::Dword,
            SeccompCmpOp::Eq,
            fd.as_raw_fd() as u64,
        )?])
    };
    let free: &[libc::c_long] = &[
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_brk,
        libc::SYS_close,
        libc::SYS_futex,
        libc::SYS_clock_gettime,
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_tgkill,
        libc::SYS_rt_sigreturn,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigaction,
        libc::SYS_sigaltstack,
        libc::SYS_restart_syscall,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];
    let mut rules: BTreeMap<libc::c_long, Vec<SeccompRule>> =
        free.iter().map(|&call| (call, Vec::new())).collect();
    // Memory, as long as it is not to be run.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        let executable = libc::PROT_EXEC as u64;
        rules.insert(
            call,
            vec![SeccompRule::new(vec![SeccompCondition::new(
                2,
                SeccompCmpArgLen::Dword,
                SeccompCmpOp::MaskedEq(executable),
                0,
            )?])?],
        );
    }
    rules.insert(libc::SYS_read, vec![on(session)?]);
    // Buffers are synchronised through descriptors of their own, so ioctl is not bound to one: what
    // a session descriptor and a dma-buf have is all that there is to reach.
    rules.insert(libc::SYS_ioctl, Vec::new());
    for call in [libc::SYS_write, libc::SYS_writev] {
        let fds = written.iter().copied().chain([session]);
        rules.insert(call, fds.map(on).collect::<Result<_, _>>()?);
    }
    SeccompFilter::new(
        rules,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        std::env::consts::ARCH.try_into()?,
    )?
    .try_into()
}

/// A user to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    uid: libc::uid_t,
    gid: libc::gid_t,
}

/// Looks a user up by name.
pub fn user(name: &str) -> io::Result<Option<User>> {
    let name = CString::new(name)?;
    let mut buffer = vec![0; 16 << 10];
    // SAFETY: all zero is a valid passwd: its pointers are null.
    let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
    let mut found = std::ptr::null_mut();
    // SAFETY: the name ends in zero, and the call writes to the three live places that it is given,
    // the buffer within its length.
    let code = unsafe {
        libc::getpwnam_r(
            name.as_ptr(),
            &raw mut entry,
            buffer.as_mut_ptr(),
            buffer.len(),
            &raw mut found,
        )
    };
    if code != 0 {
        return Err(io::Error::from_raw_os_error(code));
    }
    Ok((!found.is_null()).then_some(User {
        uid: entry.pw_uid,
        gid: entry.pw_gid,
    }))
}

/// Becomes a user, for good, with no other group than its own.
pub fn become_user(user: User) -> io::Result<()> {
    let check = |code| match code {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    };
    // SAFETY: these calls take integers, and a null list of no groups. libc's own functions are
    // used because they change all threads alike; there is one here.
    unsafe {
        check(libc::setgroups(0, std::ptr::null()))?;
        check(libc::setresgid(user.gid, user.gid, user.gid))?;
        check(libc::setresuid(user.uid, user.uid, user.uid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name() {
        assert_eq!(user("root").unwrap(), Some(User { uid: 0, gid: 0 }));
        assert_eq!(user("no such user").unwrap(), None);
        assert!(user("with\0zero").is_err());
    }
}
