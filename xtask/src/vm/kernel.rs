//! The kernels that machines boot: a row each, and how each comes to be.
//!
//! A User Mode Linux is compiled from Debian's source package by a fragment of configuration; source
//! and objects go again once the tree that modules are built against is taken from them. A stock
//! kernel is Debian's binary package, with QEMU's way to the root added. What the packages' versions
//! are is asked once and noted in the cache, so a boot needs no network; `vm build --update` asks anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::bzimage;
use super::cache::{self, Cache, Key};
use super::debian::{Apt, Archive, SUITE};
use super::root::Root;
use super::{run, say};

/// To be raised when a kernel comes out different from the same texts.
const RECIPE: &str = "1";

/// The source package of the User Mode Linux kernels, and its suite.
const SOURCE: &str = "linux-source-7.2";
const BACKPORTS: &str = "trixie-backports";
const OLD_STABLE: &str = "bookworm";

const BUILD_UML: &str = include_str!("../../vm/build-uml.sh");
const UNPACK_STOCK: &str = include_str!("../../vm/unpack-stock.sh");
const INITRAMFS: &str = include_str!("../../vm/initramfs.sh");

/// A kernel that can be asked for.
#[derive(Debug)]
pub struct Kernel {
    pub name: &'static str,
    pub kind: Kind,
    /// What the machine's `--cpus` is when nothing is said, and at most.
    pub cpus: (u32, u32),
    /// Whether it can skip idle time.
    pub time_travel: bool,
    /// Arguments of its own.
    pub arguments: &'static str,
}

#[derive(Debug)]
pub enum Kind {
    /// Compiled from the fragments.
    Uml { fragments: &'static [&'static str] },
    /// The newest of Debian's kernels whose release begins so.
    Stock { release: &'static str },
}

const UML: &str = include_str!("../../vm/uml.frag");

#[rustfmt::skip]
pub static KERNELS: [Kernel; 5] = [
    Kernel {
        name: "uml",
        kind: Kind::Uml { fragments: &[UML, include_str!("../../vm/uml-fast.frag")] },
        cpus: (1, 1), time_travel: true, arguments: "",
    },
    Kernel {
        name: "uml-debug",
        kind: Kind::Uml { fragments: &[UML, include_str!("../../vm/uml-debug.frag")] },
        // The first report of KASAN would be the only one.
        cpus: (2, 4), time_travel: false, arguments: "kasan_multi_shot",
    },
    Kernel { name: "6.1", kind: Kind::Stock { release: "6.1." }, cpus: (2, 16), time_travel: false, arguments: "" },
    Kernel { name: "6.12", kind: Kind::Stock { release: "6.12." }, cpus: (2, 16), time_travel: false, arguments: "" },
    Kernel { name: "7.2", kind: Kind::Stock { release: "7.2." }, cpus: (2, 16), time_travel: false, arguments: "" },
];

/// A kernel that can be booted and built against.
pub struct Built {
    pub kernel: &'static Kernel,
    folder: PathBuf,
    pub release: String,
}

impl Kernel {
    pub fn find(name: &str) -> Option<&'static Self> {
        KERNELS.iter().find(|kernel| kernel.name == name)
    }

    pub fn is_uml(&self) -> bool {
        matches!(self.kind, Kind::Uml { .. })
    }

    /// The key of this kernel made from packages of that version.
    fn key(&self, version: &str) -> Key {
        let parts: Vec<&str> = match &self.kind {
            Kind::Uml { fragments } => [*fragments, &[BUILD_UML]].concat(),
            Kind::Stock { .. } => vec![UNPACK_STOCK, INITRAMFS],
        };
        // Of the root only the suite counts, which has one compiler.
        [RECIPE, SUITE, self.name, version]
            .iter()
            .chain(&parts)
            .fold(Key::new(), |key, part| key.with(part))
    }

    /// The kernel, if it has been built.
    pub fn built(&'static self, cache: &Cache) -> Option<Built> {
        let version = fs::read_to_string(self.version_file(cache).ok()?).ok()?;
        Built::at(self, cache.find(self.name, self.key(&version))?).ok()
    }

    /// Where the version of its packages is noted.
    pub fn version_file(&self, cache: &Cache) -> Result<PathBuf> {
        Ok(cache.place("versions")?.join(self.name))
    }

    /// The package that its version is that of.
    fn package(&self, apt: &Apt) -> Result<String> {
        match self.kind {
            Kind::Uml { .. } => Ok(SOURCE.to_owned()),
            Kind::Stock { release } => {
                let names = apt.names(&format!("linux-headers-{release}"))?;
                newest(&names).with_context(|| format!("Debian has no kernel {release}*"))
            }
        }
    }
}

impl Built {
    fn at(kernel: &'static Kernel, folder: PathBuf) -> Result<Self> {
        let file = folder.join("release");
        let release =
            fs::read_to_string(&file).with_context(|| format!("read: {}", file.display()))?;
        Ok(Self {
            kernel,
            folder,
            release: release.trim().to_owned(),
        })
    }

    /// What the host starts (User Mode Linux) or gives to QEMU.
    pub fn image(&self) -> PathBuf {
        let name = if self.kernel.is_uml() {
            "linux"
        } else {
            "vmlinux"
        };
        self.folder.join(name)
    }

    pub fn initrd(&self) -> PathBuf {
        self.folder.join("initrd.cpio")
    }

    /// The folder that a guest has as `/usr/lib/modules`.
    pub fn modules(&self) -> PathBuf {
        self.folder.join("lib/modules")
    }

    /// What modules are built against, as folders to be seen inside the root, and make's arguments.
    pub fn development(&self) -> Result<Development> {
        if self.kernel.is_uml() {
            return Ok(Development {
                folders: vec![(self.folder.join("dev"), "/kinora/kernel".to_owned())],
                arguments: vec!["KDIR=/kinora/kernel".to_owned(), "ARCH=um".to_owned()],
            });
        }
        let headers = self.folder.join("headers/usr");
        let mut folders = vec![(headers.join("src"), "/usr/src".to_owned())];
        for found in fs::read_dir(headers.join("lib"))? {
            let found = found?;
            let place = format!("/usr/lib/{}", found.file_name().to_string_lossy());
            folders.push((found.path(), place));
        }
        Ok(Development {
            folders,
            arguments: vec![
                format!("KDIR=/usr/src/linux-headers-{}", self.release),
                // Headers name the compiler of their own release; the root has one.
                "CC=gcc".to_owned(),
            ],
        })
    }
}

/// See [`Built::development`].
pub struct Development {
    pub folders: Vec<(PathBuf, String)>,
    pub arguments: Vec<String>,
}

/// Of the names of header packages the one with the newest release for common PCs.
fn newest(names: &[String]) -> Option<String> {
    let numbers = |name: &str| -> Vec<u64> {
        name.split(|c: char| !c.is_ascii_digit())
            .filter_map(|number| number.parse().ok())
            .collect()
    };
    names
        .iter()
        .filter(|name| name.ends_with("-amd64"))
        .filter(|name| !name.contains("-cloud-") && !name.contains("-rt-"))
        .max_by_key(|name| numbers(name))
        .cloned()
}

/// The kernel, built if it is not there.
pub fn build(cache: &Cache, root: &Root, kernel: &'static Kernel) -> Result<Built> {
    if let Some(built) = kernel.built(cache) {
        return Ok(built);
    }
    let lock = cache.lock(kernel.name)?;
    // Another process may have built it meanwhile.
    if let Some(built) = kernel.built(cache) {
        return Ok(built);
    }
    let workshop = Workshop::new(cache, root, kernel)?;
    let package = kernel.package(&workshop.apt)?;
    let version = format!("{package} {}", workshop.apt.field(&package, "Version")?);
    let key = kernel.key(&version);
    let folder = match cache.find(kernel.name, key) {
        Some(found) => found,
        None => cache.make(&lock, kernel.name, key, |to| match &kernel.kind {
            Kind::Uml { fragments } => workshop.build_uml(kernel.name, fragments, to),
            Kind::Stock { .. } => workshop.unpack_stock(kernel.name, &package, to),
        })?,
    };
    fs::write(kernel.version_file(cache)?, &version)?;
    cache::remove(&workshop.folder)?;
    Built::at(kernel, folder)
}

/// A folder to build one kernel in, and apt with its lists.
struct Workshop<'a> {
    root: &'a Root,
    folder: PathBuf,
    apt: Apt,
}

impl<'a> Workshop<'a> {
    fn new(cache: &Cache, root: &'a Root, kernel: &Kernel) -> Result<Self> {
        let folder = cache.scratch(&format!("{}-work", kernel.name))?;
        let suites = [SUITE, BACKPORTS, OLD_STABLE];
        let apt = Apt::new(&folder.join("apt"), &Archive::of_root(root)?, &suites)?;
        Ok(Self { root, folder, apt })
    }

    fn in_root(&self, out: &Path) -> Result<Command> {
        self.root.command(
            "/kinora/work",
            &[(&self.folder, "/kinora/work"), (out, "/kinora/out")],
        )
    }

    fn build_uml(&self, name: &str, fragments: &[&str], to: &Path) -> Result<()> {
        self.source()?;
        say!("building the kernel {name} (three to eight minutes on two cores)");
        let objects = self.folder.join("objects");
        fs::create_dir(&objects)?;
        fs::write(objects.join("fragment"), fragments.concat())?;
        fs::write(self.folder.join("build-uml.sh"), BUILD_UML)?;
        run(self
            .in_root(to)?
            .args([
                "bash",
                "build-uml.sh",
                "/kinora/work/objects",
                "/kinora/out",
            ])
            .arg(jobs().to_string()))
    }

    /// Unpacks the kernel's source.
    fn source(&self) -> Result<()> {
        say!("fetching {SOURCE}");
        self.apt
            .download(&[SOURCE.to_owned()], &self.folder.join("source-deb"))?;
        let unpack = "dpkg-deb -x source-deb/*.deb source-deb && mkdir source && \
             tar -xf source-deb/usr/src/linux-source-*.tar.xz -C source --strip-components=1 && \
             rm -r source-deb";
        let mut command = self
            .root
            .command("/kinora/work", &[(&self.folder, "/kinora/work")])?;
        run(command.args(["bash", "-c", unpack]))
    }

    fn unpack_stock(&self, name: &str, headers: &str, to: &Path) -> Result<()> {
        say!("fetching Debian's kernel {name} (150 MB) and preparing it");
        let debs = self.folder.join("debs");
        let release = headers
            .strip_prefix("linux-headers-")
            .context("a header package's name begins so")?;
        self.apt
            .download(&self.stock_packages(headers, release)?, &debs)?;
        fs::write(self.folder.join("unpack-stock.sh"), UNPACK_STOCK)?;
        fs::write(self.folder.join("initramfs.sh"), INITRAMFS)?;
        run(self
            .in_root(to)?
            .args(["bash", "unpack-stock.sh", "/kinora/out"])
            .arg(release))?;
        self.unpack_image(to)
    }

    /// The kernel, its modules and headers. Older releases have image and modules in one package.
    fn stock_packages(&self, headers: &str, release: &str) -> Result<Vec<String>> {
        let all = self.apt.names("linux-")?;
        let depends = self.apt.field(headers, "Depends")?;
        let needed = depends
            .split([',', '|'])
            .filter_map(|one| one.split_whitespace().next())
            .filter(|one| one.starts_with("linux-kbuild-") || one.ends_with("-common"));
        let binary = format!("linux-binary-{release}");
        let images = if all.contains(&binary) {
            // What is built in, the base tells.
            let parts = ["base", "modules"].map(|part| format!("linux-{part}-{release}"));
            [vec![binary], parts.to_vec()].concat()
        } else {
            vec![format!("linux-image-{release}")]
        };
        Ok(images
            .into_iter()
            .chain([headers.to_owned()])
            .chain(needed.map(str::to_owned))
            .collect())
    }

    /// QEMU starts the kernel itself two seconds sooner than the program that unpacks it.
    fn unpack_image(&self, to: &Path) -> Result<()> {
        let file = to.join("vmlinuz");
        let image = fs::read(&file)?;
        let payload = bzimage::payload(&image)
            .with_context(|| format!("find the kernel in {}", file.display()))?;
        let packed = self.folder.join("vmlinux.packed");
        fs::write(&packed, payload.bytes)?;
        let mut unpack = self.in_root(to)?;
        let script = format!(
            "{} </kinora/work/vmlinux.packed >/kinora/out/vmlinux",
            payload.unpack
        );
        run(unpack.args(["bash", "-c", &script]))?;
        fs::remove_file(file)?;
        Ok(())
    }
}

fn jobs() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_for_common_pcs_is_taken() {
        #[rustfmt::skip]
        let rows: &[(&[&str], Option<&str>)] = &[
            (&["linux-headers-6.1.0-9-amd64", "linux-headers-6.1.0-50-amd64", "linux-headers-6.1.0-50-common"],
             Some("linux-headers-6.1.0-50-amd64")),
            (&["linux-headers-7.2.12+deb13-amd64", "linux-headers-7.2.13+deb13-rt-amd64",
               "linux-headers-7.2.13+deb13-cloud-amd64", "linux-headers-7.2.6+deb13-amd64"],
             Some("linux-headers-7.2.12+deb13-amd64")),
            (&["linux-headers-7.2.12+deb13-common"], None),
        ];
        for (names, expected) in rows {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(newest(&names).as_deref(), *expected);
        }
    }

    #[test]
    fn names_are_found() {
        for kernel in &KERNELS {
            assert!(std::ptr::eq(Kernel::find(kernel.name).unwrap(), kernel));
        }
        assert!(Kernel::find("5.10").is_none());
    }
}
