//! The test machine around a test: loading the module, daemons as child processes, what the kernel
//! said, and who hangs.

use crate::{Result, chain};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The module's name.
const MODULE: &std::ffi::CStr = c"kinora_dec";

/// Loads the module from a file.
///
/// # Errors
/// The kernel does not take it.
pub fn load(module: &Path) -> Result<()> {
    let file =
        std::fs::File::open(module).map_err(|error| format!("{}: {error}", module.display()))?;
    match rustix::system::finit_module(&file, c"", 0) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(Errno::NOENT) => {
            let what = "the modules that it uses are not loaded (kinora-load does that)";
            Err(format!("{}: load: {what}", module.display()).into())
        }
        Err(error) => Err(format!("{}: load: {error}", module.display()).into()),
    }
}

/// Unloads the module. What a process held is let go of shortly after its end.
///
/// # Errors
/// Somebody still has it.
pub fn unload() -> Result<()> {
    let unloaded = eventually(Duration::from_secs(1), || {
        // Without waiting: the kernel could wait for ever.
        let flags = OFlags::NONBLOCK.bits() as i32;
        match rustix::system::delete_module(MODULE, flags) {
            Err(Errno::AGAIN | Errno::BUSY) => None,
            other => Some(other),
        }
    });
    match unloaded {
        Some(Ok(())) => Ok(()),
        Some(Err(error)) => Err(format!("unload the module: {error}").into()),
        None => {
            let users = std::fs::read_to_string("/sys/module/kinora_dec/refcnt");
            let users = users.unwrap_or_default();
            Err(format!("the module is still in use by {}", users.trim()).into())
        }
    }
}

/// What a look finds before the time is over.
pub fn eventually<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        match look() {
            Some(found) => return Some(found),
            None if Instant::now() >= deadline => return None,
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// A daemon, real or not, in a process group of its own. It is killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
}

impl Daemon {
    /// Starts a program and waits until streams can be opened.
    ///
    /// # Errors
    /// It cannot be started, ends, or no stream can be opened within half a minute, which is long
    /// even where every step is checked.
    pub fn start(program: &Path, arguments: &[&str]) -> Result<Daemon> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let said = Arc::new(Mutex::new(Vec::new()));
        if let Some(out) = child.stdout.take() {
            let said = Arc::clone(&said);
            std::thread::spawn(move || {
                for line in BufReader::new(out).lines().map_while(std::io::Result::ok) {
                    said.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(line);
                }
            });
        }
        let mut daemon = Daemon { child, said };
        let opened = eventually(Duration::from_secs(30), || {
            let ended = daemon.child.try_wait().ok().flatten();
            if let Some(status) = ended {
                return Some(Err(format!("{} ended: {status}", program.display())));
            }
            (open_video() != Err(Errno::NODEV)).then_some(Ok(()))
        });
        match opened {
            Some(Ok(())) => Ok(daemon),
            Some(Err(error)) => Err(error.into()),
            None => Err(format!("{} serves no stream", program.display()).into()),
        }
    }

    /// Sends a signal to the daemon alone.
    ///
    /// # Errors
    /// There is no such process any longer.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(rustix::process::kill_process(self.pid(), signal)?)
    }

    /// Sends a signal to the daemon and whatever it started.
    ///
    /// # Errors
    /// There are no such processes any longer.
    pub fn signal_all(&self, signal: Signal) -> Result<()> {
        Ok(rustix::process::kill_process_group(self.pid(), signal)?)
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The processes that it started and that are still there.
    pub fn workers(&self) -> Vec<Pid> {
        let parent = self.child.id();
        let entries = std::fs::read_dir("/proc").into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let numbers = names.filter_map(|name| name.parse().ok());
        numbers
            .filter(|number| is_child(*number, parent))
            .filter_map(Pid::from_raw)
            .collect()
    }

    /// Kills all of it and waits for the end; returns what it said on stdout.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn end(mut self) -> Result<Vec<String>> {
        self.kill();
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(said.clone())
    }

    fn kill(&mut self) {
        // Each of these fails only when there is nothing left to be killed.
        let _ = self.signal_all(Signal::CONT);
        let _ = self.signal_all(Signal::KILL);
        let _ = self.child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Access units that the daemon at work has ended with an error, asked of its own program once no
/// stream is open any longer.
///
/// # Errors
/// It does not say, or a stream stays open for seconds.
pub fn errors(program: &Path) -> Result<u64> {
    figure(program, "errors ")
}

/// Access units that the daemon at work has decoded, in the same way.
///
/// # Errors
/// It does not say, or a stream stays open for seconds.
pub fn jobs(program: &Path) -> Result<u64> {
    figure(program, "past jobs ")
}

fn figure(program: &Path, name: &str) -> Result<u64> {
    let look = || {
        let done = Command::new(program).arg("--stats").output().ok()?;
        let text = String::from_utf8(done.stdout).ok()?;
        let line = text.lines().next().filter(|line| line.contains(" 0 now"))?;
        let (_, rest) = line.rsplit_once(name)?;
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        rest[..end].parse().ok()
    };
    let found = eventually(Duration::from_secs(5), look);
    Ok(found.ok_or(format!("the daemon does not say how many {name}there were"))?)
}

/// Opens the module's video node for a moment.
///
/// # Errors
/// What `open` says; `NODEV` when there is no daemon.
pub fn open_video() -> rustix::io::Result<()> {
    let video = video_node().ok_or(Errno::NOENT)?;
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::open(video, flags, Mode::empty()).map(drop)
}

/// The module's video node, by what sysfs calls its name.
pub fn video_node() -> Option<PathBuf> {
    let devices = std::fs::read_dir("/sys/class/video4linux").ok()?;
    let mut devices = devices.filter_map(|entry| entry.ok());
    devices.find_map(|device| {
        let name = std::fs::read_to_string(device.path().join("name")).ok()?;
        let is_ours = name.starts_with("kinora");
        is_ours.then(|| Path::new("/dev").join(device.file_name()))
    })
}

/// Whether a process lives, is no zombie, and has this parent.
fn is_child(process: i32, parent: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // State and parent follow the name, which is in brackets and may hold anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let mut fields = fields.split_whitespace();
    let is_zombie = fields.next() == Some("Z");
    !is_zombie && fields.next().and_then(|field| field.parse().ok()) == Some(parent)
}

/// Processes and threads that wait without being able to be woken, each with where it waits.
///
/// Anybody may do so for a moment: only who does in three looks, a tenth of a second apart, hangs.
pub fn hung() -> Vec<String> {
    let mut hung = uninterruptible();
    for _ in 0..2 {
        if hung.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
        let now = uninterruptible();
        hung.retain(|one| now.contains(one));
    }
    hung
}

fn uninterruptible() -> Vec<String> {
    let entries = |path: PathBuf| {
        let entries = std::fs::read_dir(path).into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.path()))
    };
    let is_process = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let processes = entries("/proc".into()).filter(is_process);
    let threads = processes.flat_map(|process| entries(process.join("task")));
    threads
        .filter_map(|thread| {
            let stat = std::fs::read_to_string(thread.join("stat")).ok()?;
            // The state follows the name, which is in brackets and may hold anything.
            let state = stat.rsplit_once(')')?.1.trim_start().chars().next()?;
            (state == 'D').then(|| {
                let stack = std::fs::read_to_string(thread.join("stack")).unwrap_or_default();
                format!("{} {stack}", stat.split(')').next().unwrap_or_default())
            })
        })
        .collect()
}

/// The kernel's log from now on.
#[derive(Debug)]
pub struct KernelLog {
    fd: rustix::fd::OwnedFd,
}

/// What the kernel says when something is wrong with it.
const BAD_NEWS: &[&str] = &[
    "BUG",
    "WARNING",
    "Oops",
    "general protection",
    "circular locking",
    "inconsistent lock",
    "suspicious RCU",
    "blocked for more than",
    "refcount_t",
    "UBSAN",
    "KASAN",
    "soft lockup",
    "scheduling while atomic",
    "sleeping function called",
    "use-after-free",
];

impl KernelLog {
    /// Begins behind what was said so far.
    ///
    /// # Errors
    /// There is no log.
    pub fn open() -> Result<KernelLog> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open("/dev/kmsg", flags, Mode::empty())
            .map_err(|error| format!("/dev/kmsg: {error}"))?;
        rustix::fs::seek(&fd, rustix::fs::SeekFrom::End(0))?;
        Ok(KernelLog { fd })
    }

    /// The bad news since the last time.
    pub fn bad_news(&mut self) -> Vec<String> {
        let mut news = Vec::new();
        let mut record = [0; 8192];
        loop {
            match rustix::io::read(&self.fd, &mut record[..]) {
                Ok(0) => break,
                Ok(size) => {
                    let text = String::from_utf8_lossy(&record[..size]);
                    let text = text.split_once(';').map_or("", |(_, text)| text);
                    news.extend(
                        text.lines()
                            .next()
                            .filter(|line| is_bad(line))
                            .map(str::to_owned),
                    );
                }
                // Lines were lost because there were so many; what follows is read.
                Err(Errno::PIPE | Errno::INTR) => {}
                Err(_) => break,
            }
        }
        news
    }
}

fn is_bad(line: &str) -> bool {
    BAD_NEWS.iter().any(|news| line.contains(news))
}

/// An error, if there is one, with what was done before it.
pub fn doing<T>(what: &str, result: Result<T>) -> Result<T> {
    result.map_err(|error| format!("{what}: {}", chain(&*error)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_news_are_known() {
        let rows = [
            ("WARNING: CPU: 0 PID: 9 at kernel/x.c:1 y+0x1/0x2", true),
            ("BUG: KASAN: slab-use-after-free in kdec_x", true),
            (
                "INFO: task client:42 blocked for more than 30 seconds.",
                true,
            ),
            (
                "WARNING: possible circular locking dependency detected",
                true,
            ),
            (
                "kinora_dec: loading out-of-tree module taints kernel.",
                false,
            ),
            ("videobuf2_common:      setup: 1 start_streaming: 1", false),
        ];
        for (line, expected) in rows {
            assert_eq!(is_bad(line), expected, "{line}");
        }
    }

    #[test]
    fn what_comes_is_waited_for_and_no_longer() {
        let mut looks = 0;
        let found = eventually(Duration::from_secs(5), || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(found, Some(3));
        assert_eq!(eventually(Duration::ZERO, || None::<()>), None);
    }
}
