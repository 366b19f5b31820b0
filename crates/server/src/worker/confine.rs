//! What a worker may reach once it has read its order: its input, its folder, the system's
//! libraries, and devices that decode or encode. No other file, no socket (Landlock, Linux 5.13;
//! connections since 6.7). Kernels without it run the worker unconfined.

use std::fs::File;
use std::io;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError,
};

/// The newest version whose rights are named here; older kernels take what they know.
const KNOWN: ABI = ABI::V5;

/// Where libraries, their settings, and what the kernel says about the machine are.
const SYSTEM: &[&str] = &["/usr", "/lib", "/lib64", "/etc", "/proc", "/sys"];

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

/// Confines this thread and those it starts, for good.
pub(super) fn confine(input: &File, folder: &Path) -> io::Result<()> {
    let everything = AccessFs::from_all(KNOWN);
    restrict(input, folder, everything).map_err(io::Error::other)
}

fn restrict(
    input: &File,
    folder: &Path,
    everything: BitFlags<AccessFs>,
) -> Result<(), RulesetError> {
    let look = AccessFs::ReadFile | AccessFs::ReadDir;
    let mut rules = Ruleset::default()
        .handle_access(everything)?
        .handle_access(AccessNet::from_all(KNOWN))?
        .create()?
        .add_rule(PathBeneath::new(input, AccessFs::ReadFile))?;
    rules = below(rules, folder, everything)?;
    for path in SYSTEM {
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
    use std::net::{TcpListener, TcpStream};

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
            confine(&opened, folder.path()).unwrap();
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
            denied(std::fs::read(&other).map(drop));
            denied(std::fs::write(&other, "changed"));
            denied(std::fs::write("/etc/kinora-was-here", "x"));
            denied(File::options().write(true).open(&input).map(drop));
            denied(std::fs::remove_file(&input));
            denied(TcpStream::connect(address).map(drop));
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
