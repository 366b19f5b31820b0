//! What the host must have, and in which way it lets folders be entered as a system of their own.
//!
//! As root that is a mount namespace; as anybody else a user namespace, where the host allows those.
//! Booting a machine needs neither: User Mode Linux and QEMU are programs.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};

/// The list in `scripts/needs.sh`, which `./test` installs.
const NEEDS: &str = include_str!("../../../scripts/needs.sh");

/// Fails with what to install when something is missing.
pub fn check() -> Result<()> {
    let missing = missing(NEEDS, installed);
    if !missing.is_empty() {
        bail!(
            "missing packages: {0}\ninstall them as root and start again: apt-get install {0}",
            missing.join(" ")
        );
    }
    Ok(())
}

fn installed(package: &str) -> bool {
    Command::new("dpkg-query")
        .args(["-W", "-f=${db:Status-Status}", package])
        .stderr(Stdio::null())
        .output()
        .is_ok_and(|found| found.stdout == b"installed")
}

fn missing(needs: &'static str, installed: impl Fn(&str) -> bool) -> Vec<&'static str> {
    needs
        .split_once("\nVM_PACKAGES=(")
        .and_then(|(_, rest)| rest.split_once(')'))
        .map_or("", |(packages, _)| packages)
        .split_whitespace()
        .filter(|package| !installed(package))
        .collect()
}

/// Whether this process may do everything here.
fn is_root() -> bool {
    // SAFETY: geteuid reads the process's own credentials and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// How a folder is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// In a mount namespace, as root.
    Root,
    /// In a user namespace, as the user who calls.
    User,
}

impl Way {
    /// The one that works here.
    pub fn find() -> Result<Self> {
        let ways: &[Self] = if is_root() {
            &[Self::Root, Self::User]
        } else {
            &[Self::User]
        };
        for way in ways {
            let mut probe = way.unshare();
            probe
                .arg("true")
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            if probe.status().is_ok_and(|status| status.success()) {
                return Ok(*way);
            }
        }
        bail!(
            "this system allows no namespaces, in which the test machines' root is built: \
             run this as root with CAP_SYS_ADMIN, or allow user namespaces \
             (sysctl kernel.unprivileged_userns_clone=1; on Ubuntu also \
             kernel.apparmor_restrict_unprivileged_userns=0)"
        )
    }

    /// `unshare` for this way, to be completed with a command. What it starts ends with it.
    pub fn unshare(self) -> Command {
        let mut command = Command::new("unshare");
        if self == Self::User {
            command.arg("--map-root-user");
        }
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--"]);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let needs = "BUILD_PACKAGES=(a)\n\nVM_PACKAGES=(\n    b c\n    d\n)\n";
        assert_eq!(missing(needs, |package| package == "c"), ["b", "d"]);
        assert!(missing(NEEDS, |_| false).contains(&"mmdebstrap"));
    }
}
