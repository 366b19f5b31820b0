//! The Debian 13 folder that every guest has as its root, and in which everything for guests is built.
//!
//! It holds the clients that decode (GStreamer, ffmpeg, mpv, libva's tools, v4l-utils) and a compiler,
//! so what is built in it fits the guests whatever the host is. Nothing writes to it once it is made.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::Result;

use super::cache::{Cache, Key};
use super::debian::{Archive, KEYRING, SUITE};
use super::host::Way;
use super::toolchain::Toolchain;
use super::{die_with_parent, output, run, say};

/// To be raised when the root comes out different from the same lists.
const RECIPE: &str = "1";

#[rustfmt::skip]
const PACKAGES: &[&str] = &[
    // The system.
    "busybox-static", "kmod", "procps", "strace", "util-linux",
    // Clients.
    "ffmpeg", "gstreamer1.0-libav", "gstreamer1.0-plugins-bad", "gstreamer1.0-plugins-base", "gstreamer1.0-plugins-good",
    "gstreamer1.0-tools", "mpv", "v4l-utils", "vainfo",
    // For a client that draws what the driver exports: a Vulkan device and a screen, both in software.
    "mesa-vulkan-drivers", "xvfb",
    // For a client of GStreamer that seeks.
    "gir1.2-gstreamer-1.0", "python3-gi",
    // For our programs.
    "clang", "gcc", "libavcodec-dev", "libavfilter-dev", "libavformat-dev", "libavutil-dev", "libc6-dev",
    "libclang1", "libdrm-dev", "libswresample-dev", "libswscale-dev", "libva-dev", "make", "pkg-config",
    // For kernels and their modules.
    "bc", "bison", "cpio", "flex", "libelf-dev", "pahole", "sparse", "xz-utils", "zstd",
];

/// Hundreds of megabytes that nothing here reads.
const EXCLUDED: &[&str] = &[
    "/usr/share/doc/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/man/*",
    "/usr/lib/llvm-*/lib/*.a",
    "/usr/lib/x86_64-linux-gnu/libav*.a",
    "/usr/lib/x86_64-linux-gnu/libsw*.a",
];

const BOOT: &str = include_str!("../../vm/boot.sh");
const ENTER: &str = include_str!("../../vm/enter.sh");
const FINISH: &str = include_str!("../../vm/finish-root.sh");

/// The folder.
pub struct Root {
    path: PathBuf,
}

impl Root {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The root, if it has been made.
    pub fn find(cache: &Cache, toolchain: &Toolchain) -> Option<Self> {
        let edition = fs::read_to_string(edition_file(cache).ok()?).ok()?;
        let recipe = recipe(toolchain);
        let path = cache.find("root", recipe.with(edition))?;
        Some(Self { path })
    }

    pub fn make(cache: &Cache, toolchain: &Toolchain) -> Result<Self> {
        let way = Way::find()?;
        let lock = cache.lock("root")?;
        // Another process may have made it meanwhile.
        if let Some(root) = Self::find(cache, toolchain) {
            return Ok(root);
        }
        let (edition, recipe) = (today()?, recipe(toolchain));
        let key = recipe.with(&edition);
        let path = match cache.find("root", key) {
            Some(path) => path,
            None => cache.make(&lock, "root", key, |to| {
                say!("making the Debian root (one or two minutes, and a download of 400 MB)");
                let work = cache.scratch("root-work")?;
                bootstrap(to, &work, way, toolchain)?;
                fs::write(work.join("boot.sh"), BOOT)?;
                fs::write(work.join("finish.sh"), FINISH)?;
                let unfinished = Self {
                    path: to.to_owned(),
                };
                run(unfinished
                    .command("/", &[(&work, "/kinora/work")])?
                    .args(["bash", "/kinora/work/finish.sh"]))?;
                super::cache::remove(&work)
            })?,
        };
        fs::write(edition_file(cache)?, edition)?;
        Ok(Self { path })
    }

    /// A command inside the root, to be completed with variables, the program and its arguments. It
    /// runs in the folder `place`; folders of the host are seen at the places named.
    pub fn command(&self, place: &str, folders: &[(&Path, &str)]) -> Result<Command> {
        let mut command = Way::find()?.unshare();
        command
            .args(["bash", "-c", ENTER, "enter.sh"])
            .arg(&self.path)
            .arg(place);
        for (folder, place) in folders {
            command.arg(folder).arg(place);
        }
        command.arg("--");
        die_with_parent(&mut command);
        Ok(command)
    }
}

fn packages(toolchain: &Toolchain) -> Vec<&'static str> {
    [PACKAGES, toolchain.packages()].concat()
}

/// Where it is noted of which day the packages are: those of a suite change without a new name.
pub fn edition_file(cache: &Cache) -> Result<PathBuf> {
    Ok(cache.place("versions")?.join("root"))
}

/// The day, as a number.
fn today() -> Result<String> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok((since.as_secs() / (24 * 3600)).to_string())
}

/// What the root is made by, but for the day.
fn recipe(toolchain: &Toolchain) -> Key {
    let parts = [RECIPE, SUITE, BOOT, FINISH];
    let key = parts.iter().fold(Key::new(), |key, part| key.with(part));
    let lists = [packages(toolchain), EXCLUDED.to_vec()].concat();
    lists.iter().fold(key, |key, part| key.with(part))
}

fn bootstrap(to: &Path, work: &Path, way: Way, toolchain: &Toolchain) -> Result<()> {
    // As root it mounts /dev and more in the root: in a namespace, so that nothing is mounted there
    // any more when it was killed and the rest is removed. As a user it makes one itself.
    let mut command = match way {
        Way::Root => way.unshare(),
        Way::User => Command::new("env"),
    };
    command
        .arg("mmdebstrap")
        .args(["--quiet", "--variant=minbase", "--architectures=amd64"])
        .arg("--aptopt=Apt::Install-Recommends \"false\"")
        .arg(format!("--keyring={KEYRING}"))
        .arg(format!("--include={}", packages(toolchain).join(",")));
    for pattern in EXCLUDED {
        command.arg(format!("--dpkgopt=path-exclude={pattern}"));
    }
    // Whom the files belong to cannot be kept by a user, so that root is packed and unpacked once.
    let packed = work.join("root.tar");
    match way {
        Way::Root => command.arg("--mode=root").arg(SUITE).arg(to),
        Way::User => command.arg("--mode=unshare").arg(SUITE).arg(&packed),
    };
    if let Some(archive) = Archive::of_host()? {
        let sources = work.join("sources.list");
        fs::write(&sources, archive.sources(&[SUITE]))?;
        command.arg(sources);
    }
    die_with_parent(&mut command);
    // Its talk is wanted when it fails only.
    output(&mut command)?;
    if way == Way::User {
        run(Command::new("tar")
            .args(["-x", "--no-same-owner", "--exclude=./dev/*", "-f"])
            .arg(&packed)
            .arg("-C")
            .arg(to))?;
    }
    Ok(())
}
