//! `linux/dma-buf.h`: brackets around the processor's access to a dma-buf.

use crate::mirror::{constants, iow, structs};
use rustix::ioctl::Opcode;

structs! {
    /// The argument of `DMA_BUF_IOCTL_SYNC`: when the processor's access begins and ends.
    pub struct dma_buf_sync {
        pub flags: u64,
    }
}

constants! {
    pub const DMA_BUF_SYNC_READ: u64 = 1 << 0;
    pub const DMA_BUF_SYNC_WRITE: u64 = 2;
    pub const DMA_BUF_SYNC_RW: u64 = DMA_BUF_SYNC_READ | DMA_BUF_SYNC_WRITE;
    pub const DMA_BUF_SYNC_START: u64 = 0 << 2;
    pub const DMA_BUF_SYNC_END: u64 = 1 << 2;

    pub const DMA_BUF_IOCTL_SYNC: Opcode = iow::<dma_buf_sync>(b'b', 0);
}
