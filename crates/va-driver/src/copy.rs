//! Copying parts of pictures between memories, NV12 and I420.
//!
//! Everything goes through a stretch of the stack, by calls that check each offset: neither memory
//! is ever a slice, because clients, devices and other processes write it when they like. Positions
//! and sizes are in luma samples and may be odd: the chroma of a region is that of all samples that
//! it touches.

use crate::error::Error;
use crate::va::{VA_FOURCC_I420, VA_FOURCC_NV12};
use v4l2::sys::Stretch;

const OUTSIDE: Error = Error::Parameter(std::borrow::Cow::Borrowed(
    "a part of a picture lies outside of its memory",
));

fn read(memory: &Stretch, offset: usize, bytes: &mut [u8]) -> Result<(), Error> {
    memory.read(offset, bytes).then_some(()).ok_or(OUTSIDE)
}

fn write(memory: &Stretch, offset: usize, bytes: &[u8]) -> Result<(), Error> {
    memory.write(offset, bytes).then_some(()).ok_or(OUTSIDE)
}

/// A picture in some memory.
#[derive(Debug, Clone, Copy)]
pub struct Planes<'a> {
    /// The memory.
    pub memory: &'a Stretch,
    /// `VA_FOURCC_NV12` or `VA_FOURCC_I420`.
    pub fourcc: u32,
    /// Offset and stride of each plane.
    pub places: [(usize, usize); 3],
}

/// A position in luma samples.
pub type Position = (u32, u32);

/// Bytes that are on their way at a time.
const STRETCH: usize = 4096;

/// Copies a region of `size` at `from_at` to `to_at`.
///
/// # Errors
/// It does not lie in one of the memories, or a format is not known.
pub fn copy(
    from: &Planes<'_>,
    from_at: Position,
    to: &Planes<'_>,
    to_at: Position,
    (width, height): (u32, u32),
) -> Result<(), Error> {
    for row in 0..height as usize {
        let at = |planes: &Planes<'_>, (x, y): Position| {
            let (offset, stride) = planes.places[0];
            offset + (y as usize + row) * stride + x as usize
        };
        let (source, target) = (at(from, from_at), at(to, to_at));
        copy_row(from.memory, source, to.memory, target, width as usize)?;
    }
    let halves = |start: u32, length: u32| (start + length).div_ceil(2) - start / 2;
    let columns = halves(from_at.0, width) as usize;
    let rows = halves(from_at.1, height);
    for row in 0..rows {
        let source = (from_at.0 / 2, from_at.1 / 2 + row);
        let target = (to_at.0 / 2, to_at.1 / 2 + row);
        copy_chroma(from, source, to, target, columns)?;
    }
    Ok(())
}

fn copy_row(
    from: &Stretch,
    source: usize,
    to: &Stretch,
    target: usize,
    length: usize,
) -> Result<(), Error> {
    let mut bytes = [0; STRETCH];
    for start in (0..length).step_by(STRETCH) {
        let bytes = &mut bytes[..STRETCH.min(length - start)];
        read(from, source + start, bytes)?;
        write(to, target + start, bytes)?;
    }
    Ok(())
}

/// Copies a row of chroma samples, which are pairs on the way.
fn copy_chroma(
    from: &Planes<'_>,
    source: Position,
    to: &Planes<'_>,
    target: Position,
    columns: usize,
) -> Result<(), Error> {
    let mut pairs = [0; STRETCH];
    for start in (0..columns).step_by(STRETCH / 2) {
        let pairs = &mut pairs[..2 * (STRETCH / 2).min(columns - start)];
        from.read_pairs(source, start, pairs)?;
        to.write_pairs(target, start, pairs)?;
    }
    Ok(())
}

impl Planes<'_> {
    /// Where a chroma sample lies in one of the planes after luma.
    fn chroma(&self, plane: usize, (x, y): Position, start: usize, bytes: usize) -> usize {
        let (offset, stride) = self.places[plane];
        offset + y as usize * stride + (x as usize + start) * bytes
    }

    fn read_pairs(&self, at: Position, start: usize, pairs: &mut [u8]) -> Result<(), Error> {
        match self.fourcc {
            VA_FOURCC_NV12 => read(self.memory, self.chroma(1, at, start, 2), pairs),
            VA_FOURCC_I420 => {
                let mut samples = [0; STRETCH / 2];
                let samples = &mut samples[..pairs.len() / 2];
                for plane in 0..2 {
                    let place = self.chroma(1 + plane, at, start, 1);
                    read(self.memory, place, samples)?;
                    for (pair, sample) in pairs.chunks_exact_mut(2).zip(&*samples) {
                        pair[plane] = *sample;
                    }
                }
                Ok(())
            }
            other => Err(Error::ImageFormat(other)),
        }
    }

    fn write_pairs(&self, at: Position, start: usize, pairs: &[u8]) -> Result<(), Error> {
        match self.fourcc {
            VA_FOURCC_NV12 => write(self.memory, self.chroma(1, at, start, 2), pairs),
            VA_FOURCC_I420 => {
                let mut samples = [0; STRETCH / 2];
                let samples = &mut samples[..pairs.len() / 2];
                for plane in 0..2 {
                    for (sample, pair) in samples.iter_mut().zip(pairs.chunks_exact(2)) {
                        *sample = pair[plane];
                    }
                    let place = self.chroma(1 + plane, at, start, 1);
                    write(self.memory, place, samples)?;
                }
                Ok(())
            }
            other => Err(Error::ImageFormat(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::Heap;

    /// A picture of 10x6 with luma 100 + 10y + x and chroma 2(10y + x), 2(10y + x) + 1.
    fn picture(fourcc: u32) -> (Heap, [(usize, usize); 3]) {
        let places = match fourcc {
            VA_FOURCC_NV12 => [(0, 16), (96, 16), (0, 0)],
            _ => [(0, 16), (96, 8), (120, 8)],
        };
        (Heap::new(144).unwrap(), places)
    }

    fn filled(fourcc: u32) -> (Heap, [(usize, usize); 3]) {
        let (heap, places) = picture(fourcc);
        for y in 0..6 {
            for x in 0..10 {
                assert!(heap.write(16 * y + x, &[(100 + 10 * y + x) as u8]));
            }
        }
        for y in 0..3 {
            for x in 0..5 {
                let pair = [2 * (10 * y + x) as u8, 2 * (10 * y + x) as u8 + 1];
                if fourcc == VA_FOURCC_NV12 {
                    assert!(heap.write(96 + 16 * y + 2 * x, &pair));
                } else {
                    assert!(heap.write(96 + 8 * y + x, &pair[..1]));
                    assert!(heap.write(120 + 8 * y + x, &pair[1..]));
                }
            }
        }
        (heap, places)
    }

    fn planes(heap: &Heap, fourcc: u32, places: [(usize, usize); 3]) -> Planes<'_> {
        Planes {
            memory: heap,
            fourcc,
            places,
        }
    }

    #[test]
    fn regions_are_copied_between_formats() {
        let formats = [VA_FOURCC_NV12, VA_FOURCC_I420];
        let regions = [
            ((0, 0), (10, 6)),
            ((0, 0), (9, 5)),
            ((2, 2), (4, 3)),
            ((3, 1), (5, 3)),
            ((9, 5), (1, 1)),
            ((4, 4), (0, 0)),
        ];
        for from in formats {
            for to in formats {
                for (at, size) in regions {
                    check(from, to, at, size);
                }
            }
        }
    }

    fn check(from: u32, to: u32, at: Position, size: (u32, u32)) {
        let (source, source_places) = filled(from);
        let (target, target_places) = picture(to);
        let (source, target) = (
            planes(&source, from, source_places),
            planes(&target, to, target_places),
        );
        copy(&source, at, &target, (0, 0), size).unwrap();
        let what = format!("{from:#x} to {to:#x}, {size:?} at {at:?}");
        for y in 0..6_u32 {
            for x in 0..10_u32 {
                let mut got = [0];
                read(target.memory, (16 * y + x) as usize, &mut got).unwrap();
                let is_inside = x < size.0 && y < size.1;
                let sample = 100 + 10 * (at.1 + y) + at.0 + x;
                let expected = if is_inside { sample as u8 } else { 0 };
                assert_eq!(got[0], expected, "{what}: luma {x} {y}");
            }
        }
        let columns = (at.0 + size.0).div_ceil(2) - at.0 / 2;
        let rows = (at.1 + size.1).div_ceil(2) - at.1 / 2;
        for y in 0..rows {
            for x in 0..columns {
                let mut got = [0; 2];
                target.read_pairs((x, y), 0, &mut got).unwrap();
                let first = 2 * (10 * (at.1 / 2 + y) + at.0 / 2 + x) as u8;
                assert_eq!(got, [first, first + 1], "{what}: chroma {x} {y}");
            }
        }
    }

    #[test]
    fn what_lies_outside_is_refused() {
        let (source, places) = filled(VA_FOURCC_NV12);
        let source = planes(&source, VA_FOURCC_NV12, places);
        let (target, places) = picture(VA_FOURCC_I420);
        let target = planes(&target, VA_FOURCC_I420, places);
        assert!(copy(&source, (0, 0), &target, (0, 0), (10, 10)).is_err());
        assert!(copy(&source, (0, 8), &target, (0, 0), (8, 2)).is_err());
        let unknown = Planes {
            fourcc: 7,
            ..target
        };
        assert!(copy(&source, (0, 0), &unknown, (0, 0), (2, 2)).is_err());
    }
}
