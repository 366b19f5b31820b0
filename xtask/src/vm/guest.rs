//! What of this checkout goes into the guests: programs, built by cargo inside the Debian root, and
//! the kernel module, built for each kernel.
//!
//! Both are kept up to date rather than keyed: cargo and make know what changed. Each checkout has a
//! folder of its own in the cache.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::cache::{self, Cache, Key, Lock};
use super::kernel::Built;
use super::root::Root;
use super::toolchain::{Toolchain, cargo_home};
use super::{output, remove_file, run, say};

/// The packages whose programs and shared libraries guests have.
const PACKAGES: &[&str] = &["decoded", "guest-tests", "va-driver"];

/// Programs for guests that are scripts.
const SCRIPTS: [(&str, &str); 4] = [
    ("kinora-load", include_str!("../../vm/kinora-load.sh")),
    ("kinora-serve", include_str!("../../vm/kinora-serve.sh")),
    (
        "kinora-compliance",
        include_str!("../../vm/kinora-compliance.sh"),
    ),
    ("kinora-va", include_str!("../../vm/kinora-va.sh")),
];

/// A kernel module of this checkout.
#[derive(Clone, Copy)]
pub struct Module {
    name: &'static str,
    /// The folder, with a Makefile that takes KDIR and ARCH.
    source: &'static str,
}

/// The decoder's.
pub const MODULE: Module = Module {
    name: "module",
    source: "kernel",
};

/// The same source, for what is done without a machine: guests see nothing of it.
const ENTERED: Module = Module {
    name: "entered",
    ..MODULE
};

/// The one that does what the machines must notice.
pub const FAULTS: Module = Module {
    name: "faults",
    source: "xtask/vm/faults",
};

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
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

impl Message {
    /// What was made for guests, and its name there: programs, and shared libraries as those who load
    /// them look for them. Those of macros lie in another folder.
    fn made(&self) -> Option<(&Path, &str)> {
        if let Some(program) = &self.executable {
            return Some((program, program.file_name()?.to_str()?));
        }
        self.filenames.iter().find_map(|file| {
            let name = file.strip_prefix("/kinora/target/release").ok()?.to_str()?;
            let name = name.strip_prefix("lib")?;
            name.ends_with(".so").then_some((file.as_path(), name))
        })
    }
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
    pub fn module(&self, module: Module, built: &Built) -> Option<(PathBuf, String)> {
        let folder = self.module_folder(module, built);
        let name = fs::read_dir(&folder).ok()?.find_map(|found| {
            let name = found.ok()?.file_name().into_string().ok()?;
            name.ends_with(".ko").then_some(name)
        })?;
        Some((folder, name))
    }

    fn module_folder(&self, module: Module, built: &Built) -> PathBuf {
        self.folder
            .join(format!("{}-{}", module.name, built.kernel.name))
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
        for (name, text) in SCRIPTS {
            update(&bin.join(name), text.as_bytes())?;
            executable(&bin.join(name))?;
        }
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
            let message: Option<Message> = serde_json::from_str(line).ok();
            let Some((built, name)) = message.as_ref().and_then(Message::made) else {
                continue;
            };
            install(
                &target.join(built.strip_prefix("/kinora/target")?),
                &bin.join(name),
            )?;
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
        let mut command = root.command("/kinora/src", &folders)?;
        command
            .arg(format!("PATH={path}"))
            .args([
                "CARGO_HOME=/kinora/cargo",
                "CARGO_TARGET_DIR=/kinora/target",
                // The speed that counts is libavcodec's; builds that take a third of the time do.
                "CARGO_PROFILE_RELEASE_LTO=false",
                "CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16",
            ])
            .args([
                "cargo",
                "build",
                "--quiet",
                "--release",
                "--locked",
                "--offline",
                "--bins",
                "--lib",
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

    /// Builds a module for a kernel, unless neither has changed.
    pub fn build_module(
        &self,
        _held: &Lock,
        module: Module,
        root: &Root,
        built: &Built,
    ) -> Result<()> {
        if !self.checkout.join(module.source).join("Makefile").exists() {
            say!("no kernel module yet: {} has no Makefile", module.source);
            return Ok(());
        }
        let changed = self.copy_module(module, built)?;
        let folder = self.module_folder(module, built);
        let note = folder.join("built");
        if !changed && note.exists() && self.module(module, built).is_some() {
            return Ok(());
        }
        say!(
            "building the {} for {} ({})",
            module.name,
            built.kernel.name,
            built.release
        );
        // Until it is built, what lies there is not of this source.
        remove_file(&note)?;
        let (mut make, arguments) = self.beside_module(module, root, built)?;
        run(make.args(["make", "-s"]).args(arguments))
            .with_context(|| format!("build the {} for {}", module.name, built.kernel.name))?;
        Ok(fs::write(note, "")?)
    }

    /// Brings the copy of a module's source up to date; says whether anything changed.
    fn copy_module(&self, module: Module, built: &Built) -> Result<bool> {
        let folder = self.module_folder(module, built);
        // What was compiled against another tree is of no use.
        let against = built.image().display().to_string();
        let note = folder.join("against");
        if fs::read_to_string(&note).ok().as_deref() != Some(&against) {
            cache::remove(&folder)?;
            fs::create_dir_all(&folder)?;
            fs::write(note, against)?;
        }
        copy_source(&self.checkout.join(module.source), &folder)
    }

    /// A command inside the root that sees a module's copy at /kinora/module, and the arguments by
    /// which make finds what to build it against.
    fn beside_module(
        &self,
        module: Module,
        root: &Root,
        built: &Built,
    ) -> Result<(Command, Vec<String>)> {
        let folder = self.module_folder(module, built);
        let development = built.development()?;
        let mut folders: Vec<(&Path, &str)> =
            vec![(&folder, "/kinora/module"), (&self.checkout, "/kinora/src")];
        for (tree, place) in &development.folders {
            folders.push((tree, place));
        }
        Ok((
            root.command("/kinora/module", &folders)?,
            development.arguments,
        ))
    }

    /// Runs a command inside the root, in the folder of a copy of the module's source.
    pub fn enter(&self, root: &Root, built: &Built, command: &[OsString]) -> Result<ExitStatus> {
        let _lock = self.lock()?;
        self.copy_module(ENTERED, built)?;
        let (mut inside, variables) = self.beside_module(ENTERED, root, built)?;
        inside
            .args(variables)
            .args(command)
            .status()
            .context("enter the root")
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
    matches!(name, "Makefile" | "Kbuild" | "Kconfig" | "dkms.conf")
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
