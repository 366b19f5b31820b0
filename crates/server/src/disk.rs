//! Room on the disk: how much is free, and how much of that is left alone.
//!
//! The reserve is what the databases need to say that the disk is full. Uploads and workers stop
//! before they eat it.

use std::path::{Path, PathBuf};

/// The disk that holds the data folder.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    folder: PathBuf,
    reserve: Option<u64>,
}

/// Too little room is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full {
    /// Bytes that could still be taken.
    pub(crate) usable: u64,
}

impl Disk {
    pub(crate) fn new(folder: &Path, reserve: Option<u64>) -> Self {
        Self {
            folder: folder.to_owned(),
            reserve,
        }
    }

    /// Bytes that may still be taken: what is free less the reserve.
    pub(crate) fn usable(&self) -> std::io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.folder)?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let whole = stat.f_blocks.saturating_mul(stat.f_frsize);
        let reserve = self
            .reserve
            .unwrap_or_else(|| (whole / 50).clamp(16 << 20, 1 << 30));
        Ok(free.saturating_sub(reserve))
    }

    /// Bytes of the disk, used or not.
    pub(crate) fn whole(&self) -> std::io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.folder)?;
        Ok(stat.f_blocks.saturating_mul(stat.f_frsize))
    }

    /// Refuses when `wanted` more bytes would reach into the reserve.
    pub(crate) fn need(&self, wanted: u64) -> std::io::Result<Result<(), Full>> {
        let usable = self.usable()?;
        Ok(if usable < wanted {
            Err(Full { usable })
        } else {
            Ok(())
        })
    }
}

/// Whether the system said that the disk or the quota is full.
pub(crate) fn is_full(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
    )
}

/// `1.5 GB`: sizes as people compare them, in thousands.
pub(crate) fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} bytes")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}
