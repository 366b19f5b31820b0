//! Kinora's content-addressed store: bytes in, CIDs out.
//!
//! Content is named by the CID that Kubo and Helia give it ([`unixfs`]). Each object is one plain
//! file; which objects there are, their blocks, and the pins and names that hold them are rows in
//! SQLite. [`gateway`] answers requests for `/ipfs/<cid>` over plain [`http`] types, without a web
//! framework. The store does not know what an object means; who pins it does.
//!
//! Everything here is synchronous; [`Store`] is `Send + Sync`, and clones are cheap. Why it is
//! built this way is in `docs/design/store.md`.
#![forbid(unsafe_code)]

mod collect;
mod disk;
mod embedded;
mod error;
pub mod gateway;
mod meta;
pub mod mime;
mod names;
mod pins;
mod put;
pub mod unixfs;
mod verify;

pub use cid::Cid;
pub use collect::Collected;
pub use embedded::{Object, Stat, Store};
pub use error::Error;
pub use names::{KEEP, NameRecord};
pub use pins::Pin;
pub use put::{PutOptions, Stored, Writer};
pub use unixfs::cid_of;
pub use verify::{Fault, Finding, Verified, VerifyProgress};

/// Results of the store.
pub type Result<T, E = Error> = std::result::Result<T, E>;
