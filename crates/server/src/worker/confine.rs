//! What a worker may reach once it has read its order: its input, its folder, the system's
//! libraries, and devices that decode or encode. No other file (Landlock, Linux 5.13), no socket,
//! no other process, nothing of the system's administration (seccomp).
//!
//! Files are walled by what is allowed, calls by what is forbidden: what drivers of hardware
//! encoders call is theirs to choose, and none of it is on the list. Kernels without the one or the
//! other run the worker without it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError,
};
use libc::c_long;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule,
};

/// The newest version whose rights are named here; older kernels take what they know.
const KNOWN: ABI = ABI::V5;

/// Where libraries, their settings, and what the kernel says about the machine are.
const SYSTEM: &[&str] = &[
    "/usr",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/drirc",
    "/etc/fonts",
    "/etc/glvnd",
    "/etc/libva.conf",
    "/etc/OpenCL",
    "/etc/vulkan",
    "/proc/cpuinfo",
    "/proc/devices",
    "/proc/driver",
    "/proc/filesystems",
    "/proc/meminfo",
    "/proc/modules",
    "/proc/stat",
    "/proc/sys",
    "/proc/version",
    "/sys",
];

/// What the kernel says about this process. Not about others: the server's environment may hold the
/// secrets of its store.
const OWN: &str = "/proc/self";

/// What finding a live source's host and trusting it takes.
const SYSTEM_ONLINE: &[&str] = &[
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl",
    "/etc/gnutls",
    RESOLVER,
];

/// Beginnings of the names in `/dev` that hardware encoders and libc open.
const DEVICES: &[&str] = &[
    "dri",
    "nvidia",
    "video",
    "media",
    "dma_heap",
    "mpp_service",
    "rga",
    "null",
    "zero",
    "random",
    "urandom",
];

/// Calls that no decoder and no encoder makes, and that whoever takes over a worker would.
const FORBIDDEN: &[c_long] = &[
    // Other programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Other processes: the server is one that this user may touch.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    // Ways around both walls.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_userfaultfd,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // The machine.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_personality,
    libc::SYS_syslog,
];

/// Calls that make or take a connection.
const NETWORK: &[c_long] = &[
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
];

/// Numbers of the x32 calls, which kernels may have beside those of x86-64.
#[cfg(target_arch = "x86_64")]
const ALSO: Option<c_long> = Some(0x4000_0000);
#[cfg(not(target_arch = "x86_64"))]
const ALSO: Option<c_long> = None;

/// Where systemd keeps what `/etc/resolv.conf` leads to.
const RESOLVER: &str = "/run/systemd/resolve";

/// Confines this thread and those it starts, for good. Who is `online`, for a live source, may make
/// connections, and listens to none.
pub(super) fn confine(input: &File, folder: &Path, online: bool) -> io::Result<()> {
    let everything = AccessFs::from_all(KNOWN);
    restrict(input, folder, everything, online).map_err(io::Error::other)?;
    // What clone3 is to make cannot be looked at: libc is told that there is none, and takes clone.
    forbid(&forbidden(online).map_err(io::Error::other)?, libc::EPERM)?;
    let unreadable = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    forbid(&unreadable, libc::ENOSYS)
}

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

fn forbidden(online: bool) -> Result<Rules, BackendError> {
    let network = if online { &[] } else { NETWORK };
    let mut rules: Rules = FORBIDDEN
        .iter()
        .chain(network)
        .map(|call| (*call, Vec::new()))
        .collect();
    let when = |argument, operator, value| {
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Qword, operator, value)?;
        SeccompRule::new(vec![condition])
    };
    // Threads, but no processes.
    let thread = libc::CLONE_THREAD as u64;
    rules.insert(
        libc::SYS_clone,
        vec![when(0, SeccompCmpOp::MaskedEq(thread), 0)?],
    );
    // Signals to itself, as `abort` sends them, and limits of its own.
    let own = u64::from(std::process::id());
    rules.insert(libc::SYS_tgkill, vec![when(0, SeccompCmpOp::Ne, own)?]);
    rules.insert(libc::SYS_prlimit64, vec![when(0, SeccompCmpOp::Ne, 0)?]);
    // Where there are such calls: elsewhere they are clone already.
    #[cfg(target_arch = "x86_64")]
    rules.extend([
        (libc::SYS_fork, Vec::new()),
        (libc::SYS_vfork, Vec::new()),
        (libc::SYS_iopl, Vec::new()),
        (libc::SYS_ioperm, Vec::new()),
    ]);
    Ok(rules)
}

/// Answers these calls with an error, from here on and for good.
fn forbid(rules: &Rules, error: libc::c_int) -> io::Result<()> {
    let mut rules = rules.clone();
    if let Some(also) = ALSO {
        let again: Rules = rules
            .iter()
            .map(|(call, when)| (call | also, when.clone()))
            .collect();
        rules.extend(again);
    }
    let architecture = std::env::consts::ARCH
        .try_into()
        .map_err(io::Error::other)?;
    let answer = SeccompAction::Errno(error.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, answer, architecture)
        .map_err(io::Error::other)?;
    let program: BpfProgram = filter.try_into().map_err(io::Error::other)?;
    match seccompiler::apply_filter(&program) {
        Ok(()) => Ok(()),
        // Kernels of some boards are built without.
        Err(seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error))
            if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) =>
        {
            Ok(())
        }
        Err(error) => Err(io::Error::other(error)),
    }
}

fn restrict(
    input: &File,
    folder: &Path,
    everything: BitFlags<AccessFs>,
    online: bool,
) -> Result<(), RulesetError> {
    let look = AccessFs::ReadFile | AccessFs::ReadDir;
    let mut network = AccessNet::from_all(KNOWN);
    if online {
        network.remove(AccessNet::ConnectTcp);
    }
    let mut rules = Ruleset::default()
        .handle_access(everything)?
        .handle_access(network)?
        .create()?
        .add_rule(PathBeneath::new(input, AccessFs::ReadFile))?;
    rules = below(rules, folder, everything)?;
    let online = if online { SYSTEM_ONLINE } else { &[] };
    rules = below(rules, Path::new(OWN), look)?;
    // Never closed: the rule stands for this directory as long as the kernel does not forget it.
    if let Ok(own) = PathFd::new(OWN) {
        std::mem::forget(own);
    }
    for path in SYSTEM.iter().chain(online) {
        rules = below(rules, Path::new(path), look)?;
    }
    let use_it = look | AccessFs::WriteFile | AccessFs::IoctlDev;
    for entry in std::fs::read_dir("/dev").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if DEVICES.iter().any(|device| name.starts_with(device)) {
            rules = below(rules, &entry.path(), use_it)?;
        }
    }
    rules.restrict_self()?;
    Ok(())
}

/// Allows `access` at and below `path`, if there is such a thing.
fn below(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    let Ok(opened) = PathFd::new(path) else {
        return Ok(rules);
    };
    let of_a_file = AccessFs::from_file(KNOWN);
    let access = if path.is_dir() {
        access
    } else {
        access & of_a_file
    };
    rules.add_rule(PathBeneath::new(opened, access))
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind::PermissionDenied;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::UnixStream;
    use std::process::Command;

    use rustix::process::PidfdFlags;

    use super::*;

    #[test]
    fn a_confined_thread_reaches_its_input_and_its_folder() {
        if landlock::RulesetStatus::NotEnforced == status_of_a_thread() {
            // Seen even where the test passes: what was not tried should not look tried.
            let _ = writeln!(std::io::stderr(), "skipped: this kernel has no Landlock");
            return;
        }
        let outside = tempfile::tempdir().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let input = outside.path().join("input");
        let other = outside.path().join("other");
        std::fs::write(&input, "input").unwrap();
        std::fs::write(&other, "secret").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let opened = File::open(&input).unwrap();
        let inside = folder.path().join("made");
        std::thread::spawn(move || {
            confine(&opened, folder.path(), false).unwrap();
            let denied = |outcome: io::Result<()>| {
                let error = outcome.expect_err("was allowed");
                assert_eq!(error.kind(), PermissionDenied, "{error}");
            };
            let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&opened));
            let mut text = String::new();
            File::open(again)
                .unwrap()
                .read_to_string(&mut text)
                .unwrap();
            assert_eq!(text, "input");
            std::fs::write(&inside, "made").unwrap();
            std::fs::rename(&inside, inside.with_extension("renamed")).unwrap();
            File::open("/proc/meminfo").unwrap();
            File::open("/proc/self/status").unwrap();
            let server = rustix::process::getppid().unwrap();
            denied(std::fs::read(format!("/proc/{}/environ", server.as_raw_pid())).map(drop));
            denied(std::fs::read(&other).map(drop));
            denied(std::fs::read("/etc/passwd").map(drop));
            denied(std::fs::write(&other, "changed"));
            denied(std::fs::write("/etc/kinora-was-here", "x"));
            denied(File::options().write(true).open(&input).map(drop));
            denied(std::fs::remove_file(&input));
            denied(TcpStream::connect(address).map(drop));
            denied(UdpSocket::bind("127.0.0.1:0").map(drop));
            denied(UnixStream::pair().map(drop));
            denied(Command::new("/bin/true").status().map(drop));
            denied(rustix::process::test_kill_process(server).map_err(io::Error::from));
            denied(
                rustix::process::pidfd_open(server, PidfdFlags::empty())
                    .map(drop)
                    .map_err(io::Error::from),
            );
            // What decoders and encoders do goes on.
            std::thread::spawn(|| vec![0_u8; 1 << 20]).join().unwrap();
        })
        .join()
        .unwrap();
    }

    fn status_of_a_thread() -> landlock::RulesetStatus {
        std::thread::spawn(|| {
            let rules = Ruleset::default().handle_access(AccessFs::Execute);
            let created = rules.and_then(Ruleset::create).unwrap();
            created.restrict_self().unwrap().ruleset
        })
        .join()
        .unwrap()
    }
}
