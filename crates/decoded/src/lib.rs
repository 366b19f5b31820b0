//! `kinora-decoded`: decodes what clients of the kernel module `kinora_dec` ask for.
//!
//! The module gives one message per access unit: parsed headers (V4L2 controls), bytes, and which
//! earlier pictures are referred to. [`wire`] checks it, [`rebuild`] turns it back into a bitstream,
//! [`session`] decodes that through `media` and watches over the references, and [`worker`] puts
//! the picture into the client's buffer. [`daemon`] gives every stream a confined process of its
//! own. It decodes in software only: a hardware choice could lead back to its own device.

pub mod capture;
pub mod daemon;
pub mod device;
pub mod figures;
pub mod formats;
pub mod rebuild;
pub mod record;
pub mod replay;
pub mod sandbox;
pub mod session;
pub mod wire;
pub mod worker;
