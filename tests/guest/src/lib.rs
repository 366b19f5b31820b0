//! Programs that run inside the test machines, against the module `kinora_dec` and its daemon.
//!
//! `responder` stands in for the daemon and misbehaves on order; `stress` sends ioctls in any order
//! from several threads; `faults` goes through everything that can befall a daemon; `client` decodes
//! a file. This library holds what they share. They run as root in a machine that is thrown away.

pub mod arguments;
pub mod chardev;
pub mod random;

/// What a program ends with: a message for who started it.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
