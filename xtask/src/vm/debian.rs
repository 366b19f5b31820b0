//! Where Debian's packages come from, and single packages from there, by the host's own apt.
//!
//! Nothing here names a server. A Debian host says which it uses; on others the tool that makes the
//! root chooses one, and the root then says which. apt runs with lists of its own below a folder, so
//! the host's configuration stays as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::root::Root;
use super::{output, run};

/// The keys that Debian signs with; the package debian-archive-keyring, on Ubuntu too.
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The suite of the root.
pub const SUITE: &str = "trixie";

/// Asks apt-get for a line per list that it would fetch, as [`Archive::of_targets`] reads it.
const INDEX_TARGETS: [&str; 4] = [
    "indextargets",
    "--format",
    "$(ORIGIN)\t$(LABEL)\t$(RELEASE)\t$(REPO_URI)",
    "Created-By: Packages",
];
/// Also for lists that have never been fetched; origin and label are not known then.
const UNFETCHED: &str = "--no-release-info";

/// The addresses of a Debian archive and of its security updates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    pub packages: String,
    pub security: Option<String>,
}

impl Archive {
    /// What the host's apt uses, when it is a Debian.
    pub fn of_host() -> Result<Option<Self>> {
        let is_debian = fs::read_to_string("/etc/os-release")
            .is_ok_and(|release| release.lines().any(|line| line == "ID=debian"));
        if !is_debian {
            return Ok(None);
        }
        let mut ask = Command::new("apt-get");
        if let Some(archive) = Self::of_targets(&output(ask.args(INDEX_TARGETS))?) {
            return Ok(Some(archive));
        }
        Ok(Self::of_targets(&output(ask.arg(UNFETCHED))?))
    }

    /// What a finished root was made from.
    pub fn of_root(root: &Root) -> Result<Self> {
        let mut ask = root.command("/", &[])?;
        let targets = output(ask.arg("apt-get").args(INDEX_TARGETS).arg(UNFETCHED))?;
        Self::of_targets(&targets).context("the root's apt names no Debian archive")
    }

    /// Reads lines of origin, label, suite and address. Where origin and label are not known, the
    /// suite's name has to do.
    fn of_targets(targets: &str) -> Option<Self> {
        const RELEASES: [&str; 5] = ["bookworm", "trixie", "forky", "sid", "stable"];
        let address = |security: bool| {
            targets.lines().find_map(|line| {
                let [origin, label, suite, address] =
                    line.split('\t').collect::<Vec<_>>().try_into().ok()?;
                let release = suite.strip_suffix("-security");
                let ours = match (origin, label) {
                    ("Debian", "Debian") => !security,
                    ("Debian", "Debian-Security") => security,
                    ("$(ORIGIN)", _) => {
                        release.is_some() == security
                            && RELEASES.contains(&release.unwrap_or(suite))
                    }
                    _ => false,
                };
                ours.then(|| address.trim_end_matches('/').to_owned())
            })
        };
        Some(Self {
            packages: address(false)?,
            security: address(true),
        })
    }

    /// Lines for a list of sources: each suite, and for the root's own also its updates.
    pub fn sources(&self, suites: &[&str]) -> String {
        let line = |address: &str, suite: &str| {
            format!("deb [signed-by={KEYRING}] {address} {suite} main\n")
        };
        let mut lines: String = suites
            .iter()
            .map(|suite| line(&self.packages, suite))
            .collect();
        if suites.contains(&SUITE) {
            lines += &line(&self.packages, &format!("{SUITE}-updates"));
            if let Some(security) = &self.security {
                lines += &line(security, &format!("{SUITE}-security"));
            }
        }
        lines
    }
}

/// apt with its own lists in a folder.
pub struct Apt {
    folder: PathBuf,
}

impl Apt {
    /// Fetches the lists of the suites.
    pub fn new(folder: &Path, archive: &Archive, suites: &[&str]) -> Result<Self> {
        for part in ["lists/partial", "archives/partial", "none"] {
            fs::create_dir_all(folder.join(part))?;
        }
        fs::write(folder.join("sources.list"), archive.sources(suites))?;
        // An empty dpkg status: what the host has installed is of no account.
        fs::write(folder.join("status"), "")?;
        let apt = Self {
            folder: folder.to_owned(),
        };
        run(apt.command("apt-get").args(["-qq", "update"]))?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let path = |name: &str| self.folder.join(name).display().to_string();
        let mut command = Command::new(program);
        for option in [
            format!("Dir::Etc::SourceList={}", path("sources.list")),
            format!("Dir::Etc::SourceParts={}", path("none")),
            format!("Dir::Etc::Preferences={}", path("none/preferences")),
            format!("Dir::Etc::PreferencesParts={}", path("none")),
            format!("Dir::State::Lists={}", path("lists")),
            format!("Dir::State::status={}", path("status")),
            format!("Dir::Cache={}", self.folder.display()),
            "APT::Architecture=amd64".to_owned(),
            "APT::Architectures=amd64".to_owned(),
            "Acquire::Languages=none".to_owned(),
            // Else, as root, apt fetches as a user who may not write here.
            "APT::Sandbox::User=root".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        command
    }

    /// The packages whose name begins so.
    pub fn names(&self, beginning: &str) -> Result<Vec<String>> {
        let names = output(self.command("apt-cache").args(["pkgnames", beginning]))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// One field of a package's newest version.
    pub fn field(&self, package: &str, field: &str) -> Result<String> {
        let shown = output(
            self.command("apt-cache")
                .args(["show", "--no-all-versions", package]),
        )?;
        shown
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(": "))
            .map(str::to_owned)
            .with_context(|| format!("package {package} has no field {field}"))
    }

    /// Fetches packages into a folder.
    pub fn download(&self, packages: &[String], into: &Path) -> Result<()> {
        fs::create_dir_all(into)?;
        run(self
            .command("apt-get")
            .args(["-qq", "download"])
            .args(packages)
            .current_dir(into))?;
        let fetched = fs::read_dir(into)?.count();
        ensure!(
            fetched >= packages.len(),
            "apt fetched {fetched} of {} packages: {}",
            packages.len(),
            packages.join(" ")
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debian_host_tells_its_archive() {
        let found = |packages: &str, security: Option<&str>| {
            Some(Archive {
                packages: packages.to_owned(),
                security: security.map(str::to_owned),
            })
        };
        #[rustfmt::skip]
        let rows: &[(&str, Option<Archive>)] = &[
            ("Debian\tDebian\tbookworm\thttp://a/debian/\nDebian\tDebian-Security\tbookworm-security\thttp://b/sec/\n",
             found("http://a/debian", Some("http://b/sec"))),
            // Another vendor's repository for Debian.
            ("Vendor\tDebian\tbookworm\thttp://v/\nDebian\tDebian\ttrixie\tmirror+file:/etc/m\n",
             found("mirror+file:/etc/m", None)),
            // Lists that were never fetched.
            ("$(ORIGIN)\t$(LABEL)\tbookworm-tools\thttp://t/\n$(ORIGIN)\t$(LABEL)\ttrixie-security\thttp://b/\n\
              $(ORIGIN)\t$(LABEL)\ttrixie\thttp://a/\n",
             found("http://a", Some("http://b"))),
            ("Ubuntu\tUbuntu\tnoble\thttp://u/ubuntu/\n", None),
            ("", None),
        ];
        for (targets, expected) in rows {
            assert_eq!(&Archive::of_targets(targets), expected, "{targets}");
        }
    }

    #[test]
    fn each_suite_has_its_line() {
        let archive = Archive {
            packages: "http://a/debian".to_owned(),
            security: Some("http://b/sec".to_owned()),
        };
        let suites = |suites: &[&str]| -> Vec<String> {
            let sources = archive.sources(suites);
            let lines = sources
                .lines()
                .map(|line| line.split_once("] ").unwrap().1.to_owned());
            lines.collect()
        };
        assert_eq!(suites(&["bookworm"]), ["http://a/debian bookworm main"]);
        #[rustfmt::skip]
        assert_eq!(suites(&[SUITE, "trixie-backports"]), [
            "http://a/debian trixie main",
            "http://a/debian trixie-backports main",
            "http://a/debian trixie-updates main",
            "http://b/sec trixie-security main",
        ]);
    }
}
