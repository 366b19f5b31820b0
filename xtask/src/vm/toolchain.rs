//! The Rust toolchain that builds the guests' programs: the host's own where it is a folder that can
//! be seen from inside the root, so that one toolchain serves both; else that of Debian 13.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::output;

pub enum Toolchain {
    /// A folder with `bin/cargo`, as rustup makes them.
    Folder(PathBuf),
    /// Part of the host's own system: its libraries are not the root's.
    Debian,
}

impl Toolchain {
    /// The one that the checkout is built with.
    pub fn of_host(checkout: &Path) -> Result<Self> {
        let sysroot = output(
            Command::new("rustc")
                .args(["--print", "sysroot"])
                .current_dir(checkout),
        )?;
        Ok(Self::at(Path::new(sysroot.trim_end())))
    }

    fn at(sysroot: &Path) -> Self {
        let of_system = ["/usr", "/usr/local", "/"]
            .iter()
            .any(|folder| Path::new(folder) == sysroot)
            || sysroot.starts_with("/usr/lib");
        if of_system || !sysroot.join("bin/cargo").exists() {
            Self::Debian
        } else {
            Self::Folder(sysroot.to_owned())
        }
    }

    /// What the root must have for it.
    pub fn packages(&self) -> &'static [&'static str] {
        match self {
            Self::Folder(_) => &[],
            Self::Debian => &["cargo"],
        }
    }
}

/// Where cargo keeps what it fetched.
pub fn cargo_home() -> Result<PathBuf> {
    std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))
        .context("neither CARGO_HOME nor HOME is set")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_folder_of_its_own_can_be_taken_along() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Toolchain::at(folder.path()), Toolchain::Debian));
        std::fs::create_dir(folder.path().join("bin")).unwrap();
        std::fs::write(folder.path().join("bin/cargo"), "").unwrap();
        assert!(matches!(Toolchain::at(folder.path()), Toolchain::Folder(_)));
        assert!(matches!(
            Toolchain::at(Path::new("/usr")),
            Toolchain::Debian
        ));
    }
}
