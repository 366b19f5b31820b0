//! Generated content for tests: the same bytes each time, made as they are read.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::io::Read;

use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};
use sha2::{Digest, Sha256};

pub const CHUNK: usize = 1 << 20;

/// ChaCha20 key stream with the key sha256(seed) and a zero nonce: the content of Kubo's vectors.
pub fn keyed(seed: &str) -> ChaCha20Rng {
    ChaCha20Rng::from_seed(Sha256::digest(seed).into())
}

/// Some bytes of that stream.
pub fn bytes(seed: &str, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    keyed(seed).fill_bytes(&mut bytes);
    bytes
}

/// Chunks of 1 MiB of xorshift words, the chunk's number added to the first word of each; cheap
/// enough for a gigabyte in an unoptimised build. `npm/cids.mjs` makes the same.
pub struct Pattern {
    chunk: Vec<u8>,
    first: u32,
    position: u64,
    size: u64,
}

impl Pattern {
    pub fn new(size: u64) -> Self {
        let mut x = 0x9e37_79b9_u32;
        let mut chunk = Vec::with_capacity(CHUNK);
        for _ in 0..CHUNK / 4 {
            x ^= x << 13;
            x ^= x >> 17;
            x ^= x << 5;
            chunk.extend_from_slice(&x.to_le_bytes());
        }
        let first = u32::from_le_bytes(chunk[..4].try_into().unwrap());
        Self {
            chunk,
            first,
            position: 0,
            size,
        }
    }
}

impl Read for Pattern {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let within = (self.position % CHUNK as u64) as usize;
        if within == 0 {
            let number = (self.position / CHUNK as u64) as u32;
            self.chunk[..4].copy_from_slice(&self.first.wrapping_add(number).to_le_bytes());
        }
        let left = (self.size - self.position).min((CHUNK - within) as u64) as usize;
        let n = buffer.len().min(left);
        buffer[..n].copy_from_slice(&self.chunk[within..within + n]);
        self.position += n as u64;
        Ok(n)
    }
}

/// Gives at most the next of these lengths per read, over and over.
pub struct Choppy<'a> {
    pub rest: &'a [u8],
    pub lengths: std::iter::Cycle<std::vec::IntoIter<usize>>,
}

impl<'a> Choppy<'a> {
    pub fn new(rest: &'a [u8], lengths: Vec<usize>) -> Self {
        Self {
            rest,
            lengths: lengths.into_iter().cycle(),
        }
    }
}

impl Read for Choppy<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self
            .lengths
            .next()
            .unwrap_or(usize::MAX)
            .clamp(1, buffer.len())
            .min(self.rest.len());
        let (now, later) = self.rest.split_at(n);
        buffer[..n].copy_from_slice(now);
        self.rest = later;
        Ok(n)
    }
}
