//! Recorded jobs: the messages of sessions verbatim, behind a header of 16 bytes.
//!
//! A message tells its own length, and sessions that were recorded side by side tell theirs, so
//! there is nothing between one message and the next but padding to a multiple of 8.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use v4l2::uapi::kinora::{KINORA_DEC_ABI, kinora_dec_job};

const MAGIC: [u8; 8] = *b"kinorajb";

/// What a record begins with.
pub fn header() -> [u8; 16] {
    let mut header = [0; 16];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&KINORA_DEC_ABI.to_ne_bytes());
    header
}

/// Appends one message. It goes in one call, so that several processes can append to the same file.
pub fn append(mut file: &File, message: &[u8]) -> io::Result<()> {
    let padding = [0; 8];
    let padding = &padding[..message.len().next_multiple_of(8) - message.len()];
    let written = file.write_vectored(&[IoSlice::new(message), IoSlice::new(padding)])?;
    if written == message.len() + padding.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::WriteZero.into())
    }
}

/// A record in memory.
#[derive(Debug)]
pub struct Record {
    bytes: Vec<u8>,
}

impl Record {
    /// Reads a whole record.
    ///
    /// # Errors
    /// `InvalidData` when it does not begin like one.
    pub fn read(mut file: impl Read) -> io::Result<Self> {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        if bytes.get(..16) != Some(&header()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "not a record of jobs of this ABI",
            ));
        }
        Ok(Self { bytes })
    }

    /// The messages, in order, as long as their lengths make sense. They are not checked.
    pub fn messages(&self) -> impl Iterator<Item = &[u8]> {
        split(self.bytes.get(16..).unwrap_or_default())
    }
}

/// The messages of a record whose header is cut off.
pub fn split(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (head, _) = v4l2::from_bytes::<kinora_dec_job>(rest)?;
        let size = head.size as usize;
        let message = rest.get(..size).filter(|_| size > 0)?;
        rest = rest.get(size.next_multiple_of(8)..).unwrap_or_default();
        Some(message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Seek;
    use zerocopy::FromZeros;

    #[test]
    fn what_was_appended_is_read() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&header()).unwrap();
        let head = kinora_dec_job::new_zeroed();
        let messages: Vec<_> = [&b"one"[..], b"", b"eight by"]
            .iter()
            .map(|data| crate::wire::compose(&head, &[], data))
            .collect();
        for message in &messages {
            append(&file, message).unwrap();
        }
        file.rewind().unwrap();
        let record = Record::read(&file).unwrap();
        assert_eq!(record.messages().collect::<Vec<_>>(), messages);
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for bytes in [
            &b""[..],
            b"kinorajb",
            b"some other file of more than 16 bytes",
        ] {
            let error = Record::read(bytes).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
        let mut cut = header().to_vec();
        cut.extend_from_slice(&[0xff; 500]);
        assert_eq!(Record::read(&cut[..]).unwrap().messages().count(), 0);
    }
}
