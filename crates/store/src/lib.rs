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

mod away;
pub mod backend;
mod block;
pub mod car;
mod cbor;
mod collect;
pub mod dag;
mod disk;
mod embedded;
mod error;
mod export;
pub mod fault;
pub mod gateway;
mod import;
pub mod ipns;
mod keys;
mod meta;
pub mod mime;
mod mirror;
mod names;
mod pins;
mod protobuf;
mod put;
mod records;
pub mod unixfs;
mod verify;

pub use cid::Cid;
pub use collect::{Collected, Lease};
pub use embedded::{Object, Stat, Store};
pub use error::Error;
pub use export::Exported;
pub use import::{Imported, Pinning};
pub use mirror::{BackendStatus, Mirror, MirrorEvent};
pub use names::{KEEP, NameRecord};
pub use pins::{Pin, owner};
pub use put::{PutOptions, Stored, Writer};
pub use records::TTL;
pub use unixfs::cid_of;
pub use verify::{Fault, Finding, Place, Verified, VerifyProgress};

/// Results of the store.
pub type Result<T, E = Error> = std::result::Result<T, E>;
