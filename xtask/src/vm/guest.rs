//! What of this checkout goes into the guests: programs, built by cargo inside the Debian root, and
//! the kernel module, built for each kernel.
//!
//! Both are kept up to date rather than keyed: cargo and make know what changed. Each checkout has a
//! folder of its own in the cache.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::cache::{self, Cache, Key, Lock};
use super::kernel::Built;
use super::root::Root;
use super::toolchain::{Toolchain, cargo_home};
use super::{output, run, say};

/// The packages whose programs guests have.
const PACKAGES: &[&str] = &["decoded", "guest-tests"];

const LOAD: &str = include_str!("../../vm/kinora-load.sh");

/// This checkout's things for guests.
pub struct Guest {
    checkout: PathBuf,
    folder: PathBuf,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
}

/// A line of cargo's report.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
}

impl Guest {
    pub fn new(cache: &Cache, checkout: &Path) -> Result<Self> {
        let key = Key::new().with(checkout.as_os_str().as_encoded_bytes());
        Ok(Self {
            checkout: checkout.to_owned(),
            folder: cache.place(&format!("checkout-{key}"))?,
        })
    }

    /// The folder that guests have first on their PATH.
    pub fn programs(&self) -> PathBuf {
        self.folder.join("bin")
    }

    /// The folder of the module for that kernel, and the module in it, if it has been built.
    pub fn module(&self, built: &Built) -> Option<(PathBuf, String)> {
        let folder = self.module_folder(built);
        let name = fs::read_dir(&folder).ok()?.find_map(|found| {
            let name = found.ok()?.file_name().into_string().ok()?;
            name.ends_with(".ko").then_some(name)
        })?;
        Some((folder, name))
    }

    fn module_folder(&self, built: &Built) -> PathBuf {
        self.folder.join(format!("module-{}", built.kernel.name))
    }

    /// Held while the folder changes.
    pub fn lock(&self) -> Result<Lock> {
        let lock = self.folder.join("lock");
        Lock::wait(&lock, "it builds this checkout's programs")
    }

    /// Builds the programs of those packages that the workspace has.
    pub fn build_programs(&self, _held: &Lock, root: &Root, toolchain: &Toolchain) -> Result<()> {
        let bin = self.programs();
        fs::create_dir_all(&bin)?;
        update(&bin.join("kinora-load"), LOAD.as_bytes())?;
        executable(&bin.join("kinora-load"))?;
        let packages = self.packages()?;
        if packages.is_empty() {
            say!(
                "no programs for guests yet: none of {}",
                PACKAGES.join(", ")
            );
            return Ok(());
        }
        // Whatever cargo lacks is fetched here: inside the root it works without a network.
        run(Command::new("cargo")
            .args([
                "fetch",
                "--quiet",
                "--locked",
                "--target",
                "x86_64-unknown-linux-gnu",
            ])
            .current_dir(&self.checkout))?;
        let target = self.folder.join("target");
        fs::create_dir_all(&target)?;
        let report = self.cargo(root, toolchain, &target, &packages)?;
        for line in report.lines() {
            let Ok(Message {
                executable: Some(built),
            }) = serde_json::from_str(line)
            else {
                continue;
            };
            let below = built.strip_prefix("/kinora/target")?;
            let name = below.file_name().context("a program has a name")?;
            install(&target.join(below), &bin.join(name))?;
        }
        Ok(())
    }

    fn packages(&self) -> Result<Vec<&'static str>> {
        let json = output(
            Command::new("cargo")
                .args(["metadata", "--no-deps", "--format-version", "1", "--locked"])
                .current_dir(&self.checkout),
        )?;
        let metadata: Metadata = serde_json::from_str(&json).context("read cargo metadata")?;
        let has = |name: &&&str| metadata.packages.iter().any(|found| found.name == **name);
        Ok(PACKAGES.iter().filter(has).copied().collect())
    }

    /// cargo inside the root; gives its report in JSON, a line each.
    fn cargo(
        &self,
        root: &Root,
        toolchain: &Toolchain,
        target: &Path,
        packages: &[&str],
    ) -> Result<String> {
        let cargo_home = cargo_home()?;
        let mut folders: Vec<(&Path, &str)> = vec![
            (&self.checkout, "/kinora/src"),
            (target, "/kinora/target"),
            (&cargo_home, "/kinora/cargo"),
        ];
        let mut path = "/usr/bin:/bin".to_owned();
        if let Toolchain::Folder(folder) = toolchain {
            folders.push((folder, "/kinora/rust"));
            path.insert_str(0, "/kinora/rust/bin:");
        }
        let mut command = root.command(&folders);
        command
            .arg(format!("PATH={path}"))
            .args([
                "CARGO_HOME=/kinora/cargo",
                "CARGO_TARGET_DIR=/kinora/target",
                // The speed that counts is libavcodec's; builds that take a third of the time do.
                "CARGO_PROFILE_RELEASE_LTO=false",
                "CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16",
                "--chdir=/kinora/src",
            ])
            .args([
                "cargo",
                "build",
                "--release",
                "--locked",
                "--offline",
                "--bins",
            ])
            .arg("--message-format=json-render-diagnostics");
        for package in packages {
            command.args(["--package", package]);
        }
        let done = command
            .stderr(Stdio::inherit())
            .output()
            .context("start cargo inside the root")?;
        ensure!(
            done.status.success(),
            "the programs for guests do not build"
        );
        String::from_utf8(done.stdout).context("cargo's report is not UTF-8")
    }

    /// Builds the module for a kernel.
    pub fn build_module(&self, _held: &Lock, root: &Root, built: &Built) -> Result<()> {
        let source = self.checkout.join("kernel");
        if !source.join("Makefile").exists() {
            say!("no kernel module yet: {} has no Makefile", source.display());
            return Ok(());
        }
        let folder = self.module_folder(built);
        // What was compiled against another tree is of no use.
        let against = built.image().display().to_string();
        let note = folder.join("against");
        if fs::read_to_string(&note).ok().as_deref() != Some(&against) {
            cache::remove(&folder)?;
            fs::create_dir_all(&folder)?;
        }
        let changed = copy_source(&source, &folder)?;
        if !changed && note.exists() && self.module(built).is_some() {
            return Ok(());
        }
        say!(
            "building the module for {} ({})",
            built.kernel.name,
            built.release
        );
        let development = built.development()?;
        let mut folders: Vec<(&Path, &str)> = vec![(&folder, "/kinora/module")];
        for (tree, place) in &development.folders {
            folders.push((tree, place));
        }
        // Until it is built, what lies there is not of this source.
        let _ = fs::remove_file(&note);
        run(root
            .command(&folders)
            .args(["make", "-s", "-C", "/kinora/module"])
            .args(&development.arguments))
        .with_context(|| format!("build the module for {}", built.kernel.name))?;
        Ok(fs::write(note, against)?)
    }
}

/// Makes the copy's sources those of the original and says whether anything changed. make goes by
/// times, so what is the same is left alone.
fn copy_source(from: &Path, to: &Path) -> Result<bool> {
    let mut changed = false;
    let mut present = Vec::new();
    for found in fs::read_dir(from).with_context(|| format!("read: {}", from.display()))? {
        let found = found?;
        let (path, copy) = (found.path(), to.join(found.file_name()));
        if found.file_type()?.is_dir() {
            fs::create_dir_all(&copy)?;
            changed |= copy_source(&path, &copy)?;
        } else if is_source(&path) {
            let bytes = fs::read(&path).with_context(|| format!("read: {}", path.display()))?;
            changed |= update(&copy, &bytes)?;
            present.push(copy);
        }
    }
    for found in fs::read_dir(to)? {
        let path = found?.path();
        if path.is_file() && is_source(&path) && !present.contains(&path) && !is_generated(&path) {
            fs::remove_file(&path)?;
            changed = true;
        }
    }
    Ok(changed)
}

fn is_source(path: &Path) -> bool {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("");
    matches!(name, "Makefile" | "Kbuild" | "Kconfig")
        || name.ends_with(".c")
        || name.ends_with(".h")
}

/// What the kernel's build writes beside the sources.
fn is_generated(path: &Path) -> bool {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("");
    name.ends_with(".mod.c") || name.starts_with('.')
}

/// Writes a file unless it has that content already; says whether it wrote.
fn update(path: &Path, bytes: &[u8]) -> Result<bool> {
    match fs::read(path) {
        Ok(there) if there == bytes => return Ok(false),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("read: {}", path.display()));
        }
        _ => {}
    }
    fs::write(path, bytes).with_context(|| format!("write: {}", path.display()))?;
    Ok(true)
}

/// Puts a program in place under guests that may be running it.
fn install(from: &Path, to: &Path) -> Result<()> {
    let same = |one: &fs::Metadata, other: &fs::Metadata| -> io::Result<bool> {
        Ok(one.len() == other.len() && one.modified()? <= other.modified()?)
    };
    if let (Ok(built), Ok(there)) = (fs::metadata(from), fs::metadata(to)) {
        if same(&built, &there)? {
            return Ok(());
        }
    }
    let mut beside = to.as_os_str().to_owned();
    beside.push(".new");
    fs::copy(from, &beside).with_context(|| format!("copy: {}", from.display()))?;
    fs::rename(&beside, to).with_context(|| format!("write: {}", to.display()))
}

fn executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::set_permissions(
        path,
        fs::Permissions::from_mode(0o755),
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_follows_its_source_and_keeps_what_was_built() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir_all(from.join("include")).unwrap();
        fs::create_dir(&to).unwrap();
        let write = |path: PathBuf, text: &str| fs::write(path, text).unwrap();
        write(from.join("Makefile"), "obj-m := a.o");
        write(from.join("a.c"), "int a;");
        write(from.join("a.o"), "an object of another build");
        write(from.join("include/a.h"), "extern int a;");
        assert!(copy_source(&from, &to).unwrap());
        assert!(to.join("include/a.h").exists() && !to.join("a.o").exists());

        write(to.join("a.o"), "built");
        write(to.join("a.mod.c"), "built");
        assert!(!copy_source(&from, &to).unwrap(), "nothing changed");
        assert!(to.join("a.o").exists() && to.join("a.mod.c").exists());

        write(from.join("include/a.h"), "extern long a;");
        assert!(copy_source(&from, &to).unwrap());
        fs::remove_file(from.join("a.c")).unwrap();
        assert!(copy_source(&from, &to).unwrap());
        assert!(!to.join("a.c").exists());
        assert!(!copy_source(&from, &to).unwrap());
    }
}
