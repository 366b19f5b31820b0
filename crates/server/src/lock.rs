//! One server per data folder: an advisory lock (flock) on `DATA/lock`, which the kernel drops
//! when the process ends, however it ends.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::Error;

/// The lock, held until it is dropped.
pub(crate) struct DataLock {
    file: File,
}

/// To close the file is not enough: a process being started at this moment has it too, until it becomes
/// its program.
impl Drop for DataLock {
    fn drop(&mut self) {
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

impl DataLock {
    /// Makes the folder when it is not there, readable by its owner only, and locks it.
    pub(crate) fn take(data: &Path) -> Result<Self, Error> {
        let io = |operation, path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io {
                operation,
                path,
                source,
            }
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(data)
            .map_err(io("make the data folder", data))?;
        let path = data.join("lock");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(io("open", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                // The number is a courtesy: without it the message is still right.
                let _ = file.read_to_string(&mut pid);
                return Err(Error::Locked {
                    data: data.to_owned(),
                    pid: pid.trim().parse().ok(),
                });
            }
            Err(errno) => return Err(io("lock", &path)(errno.into())),
        }
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        written.map_err(io("write", &path))?;
        Ok(Self { file })
    }
}
