//! Superframes (VP9 specification v0.6, annex B): several frames in what a container calls one, all but
//! the last of them usually hidden. An index behind them says where each ends.

use crate::fields::FieldError;

/// Most frames that an index can name.
pub const MAX_FRAMES: usize = 8;

/// Why a superframe cannot be taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SuperframeError {
    /// Nothing at all: not even a frame.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The index names more bytes than there are.
    #[error("frame {frame} of a superframe, {size} bytes at byte {position}, ends behind it")]
    Frame {
        /// Counted from 0.
        frame: usize,
        /// Its length by the index.
        size: u32,
        /// Where it begins.
        position: usize,
    },
}

/// The frames of a superframe; of anything else the one frame that it is.
#[derive(Debug, Clone)]
pub struct Superframe<'a> {
    frames: [&'a [u8]; MAX_FRAMES],
    next: usize,
    count: usize,
}

impl<'a> Superframe<'a> {
    /// Takes `data` apart. Frames of no bytes, which some encoders leave out in this way, are none.
    pub fn parse(data: &'a [u8]) -> Result<Self, SuperframeError> {
        let Some(&marker) = data.last() else {
            return Err(SuperframeError::Field(FieldError::End {
                field: "frame_marker",
                position: 0,
            }));
        };
        let mut superframe = Superframe {
            frames: [&[]; MAX_FRAMES],
            next: 0,
            count: 0,
        };
        let count = usize::from(marker & 7) + 1;
        let size_bytes = usize::from(marker >> 3 & 3) + 1;
        let index = data.len().checked_sub(2 + count * size_bytes);
        let (Some(index), 0b110) = (index, marker >> 5) else {
            superframe.push(data);
            return Ok(superframe);
        };
        if data[index] != marker {
            superframe.push(data);
            return Ok(superframe);
        }
        let (mut frames, sizes) = data.split_at(index);
        for (frame, bytes) in sizes[1..].chunks_exact(size_bytes).take(count).enumerate() {
            let mut size = [0; 4];
            size[..size_bytes].copy_from_slice(bytes);
            let size = u32::from_le_bytes(size);
            let Some((head, rest)) = frames.split_at_checked(size as usize) else {
                return Err(SuperframeError::Frame {
                    frame,
                    size,
                    position: index - frames.len(),
                });
            };
            superframe.push(head);
            frames = rest;
        }
        Ok(superframe)
    }

    fn push(&mut self, frame: &'a [u8]) {
        if !frame.is_empty() {
            self.frames[self.count] = frame;
            self.count += 1;
        }
    }
}

impl<'a> Iterator for Superframe<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let frame = *self.frames[..self.count].get(self.next)?;
        self.next += 1;
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_those_of_the_index() {
        for (data, frames) in [
            (&[0x82, 1, 2][..], &[&[0x82, 1, 2][..]][..]),
            (&[1, 2, 3, 0xc1, 1, 2, 0xc1], &[&[1], &[2, 3]]),
            (&[1, 2, 3, 0xc9, 1, 0, 2, 0, 0xc9], &[&[1], &[2, 3]]),
            // A frame of no bytes, and bytes that no frame has.
            (&[1, 2, 3, 0xc1, 0, 2, 0xc1], &[&[1, 2]]),
            // An index is one only between two markers.
            (
                &[1, 2, 3, 0xc2, 1, 2, 0xc1],
                &[&[1, 2, 3, 0xc2, 1, 2, 0xc1]],
            ),
            (&[0xc7], &[&[0xc7]]),
        ] {
            let split = Superframe::parse(data).unwrap();
            assert_eq!(split.collect::<Vec<_>>(), frames, "{data:?}");
        }
    }

    #[test]
    fn an_index_that_names_too_much_is_refused() {
        assert_eq!(
            Superframe::parse(&[1, 2, 3, 0xc1, 1, 3, 0xc1]).unwrap_err(),
            SuperframeError::Frame {
                frame: 1,
                size: 3,
                position: 1
            }
        );
        assert!(Superframe::parse(&[]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_crash(mut data: Vec<u8>, marker in 0xc0..=0xdf_u8) {
            let index = 2 + (usize::from(marker & 7) + 1) * (usize::from(marker >> 3 & 3) + 1);
            if let Some(at) = data.len().checked_sub(index) {
                data[at] = marker;
                *data.last_mut().unwrap() = marker;
            }
            if let Ok(frames) = Superframe::parse(&data) {
                proptest::prop_assert!(frames.map(<[u8]>::len).sum::<usize>() <= data.len());
            }
        }
    }
}
