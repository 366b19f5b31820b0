//! How a C header is mirrored: structs and constants stand once, and a list of them comes along.
//!
//! `structs!` and `constants!` each take a file's items as they would stand in any Rust file and
//! give them back unchanged, together with a list of what they are. `tests/header.rs` turns these
//! lists into assertions for the C compiler, so nothing can be mirrored without being checked.
//! Every struct is `repr(C)` and made of integers only: any bytes of its size are one of its
//! values, which `zerocopy` proves when it is compiled.

use rustix::ioctl::{Opcode, opcode};

/// A mirrored struct as Rust laid it out.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// The name, which is C's as well.
    pub name: &'static str,
    /// Bytes.
    pub size: usize,
    /// The fields in their order.
    pub fields: &'static [Field],
}

/// One field of a mirrored struct.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// The name; C's, but for one that is a word of Rust and starts with `r#`.
    pub name: &'static str,
    /// Bytes from the struct's beginning.
    pub offset: usize,
    /// Bytes.
    pub size: usize,
}

/// A mirrored constant, an ioctl's number included.
#[derive(Debug, Clone, Copy)]
pub struct Constant {
    /// The name, which is C's as well.
    pub name: &'static str,
    /// The value.
    pub value: i64,
}

/// One header, or the part of it that has a file here.
#[derive(Debug, Clone, Copy)]
pub struct Mirror {
    /// What C includes, as in `linux/videodev2.h`.
    pub header: &'static str,
    /// All structs of the file.
    pub structs: &'static [Layout],
    /// All constants of the file.
    pub constants: &'static [Constant],
}

/// The size of a field, from a function that would read it: it is never called.
pub const fn size_of_field<S, F>(_: fn(&S) -> F) -> usize {
    size_of::<F>()
}

/// `_IO`: no argument.
pub(crate) const fn io(group: u8, number: u8) -> Opcode {
    opcode::none(group, number)
}

/// `_IOR`: the kernel writes a `T`.
pub(crate) const fn ior<T>(group: u8, number: u8) -> Opcode {
    opcode::read::<T>(group, number)
}

/// `_IOW`: the kernel reads a `T`.
pub(crate) const fn iow<T>(group: u8, number: u8) -> Opcode {
    opcode::write::<T>(group, number)
}

/// `_IOWR`: the kernel reads and writes a `T`.
pub(crate) const fn iowr<T>(group: u8, number: u8) -> Opcode {
    opcode::read_write::<T>(group, number)
}

/// Mirrors structs. Extra derives or `repr`s stand above the struct, as they would elsewhere.
#[macro_export]
macro_rules! structs {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident {
            $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)*
        }
    )*) => {
        $(
            $(#[$meta])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq)]
            #[derive(::zerocopy::FromBytes, ::zerocopy::Immutable, ::zerocopy::KnownLayout)]
            #[repr(C)]
            pub struct $name {
                $($(#[$field_meta])* pub $field: $type,)*
            }
        )*

        /// Every struct of this file, for the check against the C header.
        pub const STRUCTS: &[$crate::mirror::Layout] = &[$(
            $crate::mirror::Layout {
                name: stringify!($name),
                size: size_of::<$name>(),
                fields: &[$(
                    $crate::mirror::Field {
                        name: stringify!($field),
                        offset: ::core::mem::offset_of!($name, $field),
                        size: $crate::mirror::size_of_field(|whole: &$name| whole.$field),
                    },
                )*],
            },
        )*];
    };
}

/// Mirrors constants.
#[macro_export]
macro_rules! constants {
    ($(
        $(#[$meta:meta])*
        pub const $name:ident: $type:ty = $value:expr;
    )*) => {
        $(
            $(#[$meta])*
            pub const $name: $type = $value;
        )*

        /// Every constant of this file, for the check against the C header.
        pub const CONSTANTS: &[$crate::mirror::Constant] = &[$(
            $crate::mirror::Constant {
                name: stringify!($name),
                value: $name as i64,
            },
        )*];
    };
}

pub use crate::{constants, structs};
