//! `linux/media.h`: what a media device is made of, and the requests that tie a frame's controls to
//! its buffers.

use crate::mirror::{constants, io, ior, iowr, structs};
use rustix::ioctl::Opcode;

structs! {
    /// Who drives the device.
    pub struct media_device_info {
        pub driver: [u8; 16],
        pub model: [u8; 32],
        pub serial: [u8; 40],
        pub bus_info: [u8; 32],
        pub media_version: u32,
        pub hw_revision: u32,
        pub driver_version: u32,
        pub reserved: [u32; 31],
    }

    /// A block of the device, such as a decoder.
    pub struct media_v2_entity {
        pub id: u32,
        pub name: [u8; 64],
        pub function: u32,
        pub flags: u32,
        pub reserved: [u32; 5],
    }

    /// A way into the device; `raw` begins with the node's major and minor number.
    pub struct media_v2_interface {
        pub id: u32,
        pub intf_type: u32,
        pub flags: u32,
        pub reserved: [u32; 9],
        pub raw: [u32; 16],
    }

    /// Where a link is fastened to an entity.
    pub struct media_v2_pad {
        pub id: u32,
        pub entity_id: u32,
        pub flags: u32,
        pub index: u32,
        pub reserved: [u32; 4],
    }

    /// Joins two pads, or an interface and the entity that it controls.
    pub struct media_v2_link {
        pub id: u32,
        pub source_id: u32,
        pub sink_id: u32,
        pub flags: u32,
        pub reserved: [u32; 6],
    }

    /// All of it: numbers are filled in where a pointer is null, tables where it is not.
    pub struct media_v2_topology {
        pub topology_version: u64,
        pub num_entities: u32,
        pub reserved1: u32,
        pub ptr_entities: u64,
        pub num_interfaces: u32,
        pub reserved2: u32,
        pub ptr_interfaces: u64,
        pub num_pads: u32,
        pub reserved3: u32,
        pub ptr_pads: u64,
        pub num_links: u32,
        pub reserved4: u32,
        pub ptr_links: u64,
    }
}

constants! {
    pub const MEDIA_ENT_F_IO_V4L: u32 = 0x0001_0001;
    pub const MEDIA_ENT_F_PROC_VIDEO_ENCODER: u32 = 0x4007;
    pub const MEDIA_ENT_F_PROC_VIDEO_DECODER: u32 = 0x4008;

    pub const MEDIA_INTF_T_V4L_VIDEO: u32 = 0x0000_0200;

    pub const MEDIA_LNK_FL_LINK_TYPE: u32 = 0xf << 28;
    pub const MEDIA_LNK_FL_DATA_LINK: u32 = 0 << 28;
    pub const MEDIA_LNK_FL_INTERFACE_LINK: u32 = 1 << 28;

    pub const MEDIA_IOC_DEVICE_INFO: Opcode = iowr::<media_device_info>(b'|', 0x00);
    pub const MEDIA_IOC_G_TOPOLOGY: Opcode = iowr::<media_v2_topology>(b'|', 0x04);
    pub const MEDIA_IOC_REQUEST_ALLOC: Opcode = ior::<i32>(b'|', 0x05);
    pub const MEDIA_REQUEST_IOC_QUEUE: Opcode = io(b'|', 0x80);
    pub const MEDIA_REQUEST_IOC_REINIT: Opcode = io(b'|', 0x81);
}
