//! `kernel/include/uapi/linux/kinora_dec.h`: what the module `kinora_dec` and the daemon that
//! decodes for it say to each other. The header documents every field and every rule.

use crate::mirror::{constants, iow, iowr, structs};
use rustix::ioctl::Opcode;
use zerocopy::IntoBytes;

structs! {
    /// One pair of formats that the daemon decodes.
    #[derive(IntoBytes)]
    pub struct kinora_dec_format {
        pub coded: u32,
        pub raw: u32,
        pub min_width: u32,
        pub max_width: u32,
        pub step_width: u32,
        pub min_height: u32,
        pub max_height: u32,
        pub step_height: u32,
        pub profiles: u64,
        pub max_level: u32,
        pub reserved: [u32; 5],
    }

    /// All that the daemon decodes: the argument of `KINORA_DEC_IOC_ADVERTISE`.
    #[derive(IntoBytes)]
    pub struct kinora_dec_advertise {
        pub abi: u32,
        pub count: u32,
        pub formats: [kinora_dec_format; KINORA_DEC_MAX_FORMATS],
    }

    /// What `read()` on the control descriptor returns.
    #[derive(IntoBytes)]
    pub struct kinora_dec_event {
        pub r#type: u32,
        pub pid: u32,
        pub session: u64,
        pub coded: u32,
        pub width: u32,
        pub height: u32,
        pub reserved: u32,
        pub comm: [u8; 16],
    }

    /// The argument of `KINORA_DEC_IOC_ATTACH`.
    #[derive(IntoBytes)]
    pub struct kinora_dec_attach {
        pub session: u64,
        pub fd: i32,
        pub reserved: u32,
    }

    /// A picture that a job's controls refer to.
    #[derive(IntoBytes)]
    pub struct kinora_dec_reference {
        pub timestamp: u64,
        pub job: u64,
        pub index: u32,
        pub generation: u32,
    }

    /// The head of what `read()` on a session descriptor returns.
    #[derive(IntoBytes)]
    pub struct kinora_dec_job {
        pub abi: u32,
        pub size: u32,
        pub session: u64,
        pub job: u64,
        pub timestamp: u64,
        pub coded: u32,
        pub flags: u32,
        pub controls: u32,
        pub data_offset: u32,
        pub data_size: u32,
        pub raw: u32,
        pub width: u32,
        pub height: u32,
        pub stride: u32,
        pub capture_size: u32,
        pub capture_index: u32,
        pub capture_generation: u32,
        pub oldest_generation: u32,
        pub references_used: u32,
        pub references: [kinora_dec_reference; KINORA_DEC_MAX_REFERENCES],
    }

    /// The head of one control of a job; the value follows, padded to a multiple of 8.
    #[derive(IntoBytes)]
    pub struct kinora_dec_control {
        pub id: u32,
        pub elems: u32,
        pub size: u32,
        pub reserved: u32,
    }

    /// The argument of `KINORA_DEC_IOC_BUFFER`.
    #[derive(IntoBytes)]
    pub struct kinora_dec_buffer {
        pub index: u32,
        pub generation: u32,
        pub fd: i32,
        pub reserved: u32,
        pub size: u64,
    }

    /// What `write()` on a session descriptor takes.
    #[derive(IntoBytes)]
    pub struct kinora_dec_done {
        pub job: u64,
        pub status: u32,
        pub reserved: u32,
    }
}

/// The control device's name below `/dev`.
pub const KINORA_DEC_NAME: &str = "kinora-dec";

constants! {
    pub const KINORA_DEC_ABI: u32 = 1;
    pub const KINORA_DEC_MAX_FORMATS: usize = 16;
    pub const KINORA_DEC_MAX_REFERENCES: usize = 16;
    pub const KINORA_DEC_NO_BUFFER: u32 = 0xffff_ffff;

    pub const KINORA_DEC_EVENT_OPEN: u32 = 1;
    pub const KINORA_DEC_EVENT_HUNG: u32 = 2;
    pub const KINORA_DEC_EVENT_CLOSE: u32 = 3;

    pub const KINORA_DEC_JOB_HOLD: u32 = 1 << 0;
    pub const KINORA_DEC_JOB_CONTINUES: u32 = 1 << 1;

    pub const KINORA_DEC_STATUS_DONE: u32 = 0;
    pub const KINORA_DEC_STATUS_ERROR: u32 = 1;

    pub const KINORA_DEC_IOC_ADVERTISE: Opcode = iow::<kinora_dec_advertise>(b'K', 0);
    pub const KINORA_DEC_IOC_ATTACH: Opcode = iowr::<kinora_dec_attach>(b'K', 1);
    pub const KINORA_DEC_IOC_BUFFER: Opcode = iowr::<kinora_dec_buffer>(b'K', 2);
}
