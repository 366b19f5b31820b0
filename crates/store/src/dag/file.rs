//! The bytes of a UnixFS file, or of a range of it, from its blocks: only those that hold bytes of
//! the range are asked for, so the others may be missing.

use std::{
    io::{self, Read, Seek},
    ops::Range,
};

use bytes::Bytes;
use cid::Cid;

use super::{AnyCid, Blocks, Entity, File, MAX_DEPTH, MAX_PENDING, Malformed, entity, widen};
use crate::{Error, Store};

/// Reads a range of a file piece by piece, in order. Ends after the first error.
#[derive(Debug)]
pub struct FileReader<B> {
    blocks: B,
    range: Range<u64>,
    /// What is still to be visited, the next one last.
    pending: Vec<Pending>,
}

/// A piece of the file that is known from its parent alone.
#[derive(Debug)]
struct Pending {
    cid: AnyCid,
    at: Range<u64>,
    depth: usize,
}

impl<B: Blocks> FileReader<B> {
    /// A reader of the bytes in `range` of a file of `size` bytes.
    pub fn new(blocks: B, cid: AnyCid, size: u64, range: Range<u64>) -> Self {
        let whole = Pending {
            cid,
            at: 0..size,
            depth: 0,
        };
        Self {
            blocks,
            range,
            pending: vec![whole],
        }
    }

    /// Visits blocks until one has bytes of the range.
    fn piece(&mut self) -> Result<Option<Bytes>, Error> {
        while let Some(pending) = self.pending.pop() {
            if overlap(&pending.at, &self.range).is_empty() {
                continue;
            }
            let block = self.blocks.needed(&pending.cid)?;
            let file = part(&pending, &block).map_err(|e| e.of(&pending.cid))?;
            let bytes = self.open(&pending, file).map_err(|e| e.of(&pending.cid))?;
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// Queues the parts of a piece, and gives its own bytes.
    fn open(&mut self, pending: &Pending, file: File) -> Result<Bytes, Malformed> {
        let start = pending.at.start;
        let own = overlap(&(start..start + file.inline.len() as u64), &self.range);
        let bytes = file
            .inline
            .slice((own.start - start) as usize..(own.end - start) as usize);
        let first = self.pending.len();
        let mut end = start + file.inline.len() as u64;
        for part in file.parts {
            let at = end..end + part.size;
            end = at.end;
            // A part without bytes of the range is not followed, and one without bytes at all
            // neither: a graph of empty nodes can be larger than any time there is.
            if !overlap(&at, &self.range).is_empty() {
                self.pending.push(Pending {
                    cid: part.cid,
                    at,
                    depth: pending.depth + 1,
                });
            }
        }
        if self.pending.len() > first && pending.depth >= MAX_DEPTH {
            return Err(Malformed("a file that is too deep"));
        }
        if self.pending.len() > MAX_PENDING {
            return Err(Malformed("a file that is too wide"));
        }
        self.pending[first..].reverse();
        Ok(bytes)
    }
}

/// The block as the piece of a file that its parent says it is.
fn part(pending: &Pending, block: &Bytes) -> Result<File, Malformed> {
    match entity(&pending.cid, block)? {
        Some(Entity::File(file)) if file.size == pending.at.end - pending.at.start => Ok(file),
        Some(Entity::File(_)) => Err(Malformed("a piece of a file of another size than said")),
        _ => Err(Malformed("not a piece of a file, as said")),
    }
}

/// What two ranges share; empty, and within the first, if that is nothing.
pub(super) fn overlap(a: &Range<u64>, b: &Range<u64>) -> Range<u64> {
    let start = b.start.clamp(a.start, a.end);
    start..b.end.clamp(start, a.end)
}

impl<B: Blocks> Iterator for FileReader<B> {
    type Item = Result<Bytes, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let piece = self.piece().transpose();
        if matches!(piece, Some(Err(_))) {
            self.pending.clear();
        }
        piece
    }
}

impl Store {
    /// A reader of a file's content, whether it was put whole or lies in blocks that came one by
    /// one. `None` if it is not held; a block that is missing further on is an error of the reader.
    pub fn read(&self, cid: &Cid) -> Result<Option<Box<dyn io::Read + Send>>, Error> {
        if let Some(mut object) = self.get(cid)? {
            let start = io::SeekFrom::Start(object.offset);
            object
                .file
                .seek(start)
                .map_err(|e| Error::io("reading", self.root(), e))?;
            return Ok(Some(Box::new(object.file.take(object.size))));
        }
        let cid = widen(cid);
        let Some(block) = self.block(&cid)? else {
            return Ok(None);
        };
        match entity(&cid, &block).map_err(|e| e.of(&cid))? {
            Some(Entity::File(file)) => {
                let reader = FileReader::new(self.clone(), cid, file.size, 0..file.size);
                Ok(Some(Box::new(reader.reading())))
            }
            _ => Err(Malformed("it is not a file").of(&cid)),
        }
    }
}

/// The same bytes for those who read.
#[derive(Debug)]
pub struct Reading<B> {
    pieces: FileReader<B>,
    piece: Bytes,
}

impl<B: Blocks> FileReader<B> {
    /// As a [`io::Read`].
    pub fn reading(self) -> Reading<B> {
        Reading {
            pieces: self,
            piece: Bytes::new(),
        }
    }
}

impl<B: Blocks> io::Read for Reading<B> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            self.piece = match self.pieces.next() {
                Some(piece) => piece.map_err(io::Error::other)?,
                None => return Ok(0),
            };
        }
        let piece = self.piece.split_to(buffer.len().min(self.piece.len()));
        buffer[..piece.len()].copy_from_slice(&piece);
        Ok(piece.len())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Heap;
    use super::*;
    use crate::unixfs::RAW;

    fn read(heap: &Heap, cid: AnyCid, size: u64, range: Range<u64>) -> Result<Vec<u8>, String> {
        let pieces: Result<Vec<_>, _> = FileReader::new(heap, cid, size, range).collect();
        pieces
            .map(|pieces| pieces.concat())
            .map_err(|error| match error {
                Error::Malformed { what, .. } => what.to_owned(),
                Error::Missing { .. } => "missing".to_owned(),
                other => other.to_string(),
            })
    }

    /// A tree of every form: bytes in inner nodes, leaves of both kinds, uneven depth.
    fn tree(heap: &mut Heap) -> (AnyCid, Vec<AnyCid>) {
        let a = heap.put(RAW, b"abc".to_vec());
        let b = heap.file(b"defg", 4, &[]);
        let c = heap.put(RAW, b"hij".to_vec());
        let empty = heap.put(RAW, Vec::new());
        let inner = heap.file(b"xy", 9, &[(b, 4), (empty, 0), (c, 3)]);
        let root = heap.file(b"", 12, &[(a, 3), (inner, 9)]);
        (root, vec![a, b, c, empty])
    }

    #[test]
    fn ranges_are_read() {
        let mut heap = Heap::default();
        let (root, _) = tree(&mut heap);
        let whole = b"abcxydefghij";
        for from in 0..=12 {
            for to in from..=12 {
                let expected = whole[from..to].to_vec();
                let range = from as u64..to as u64;
                assert_eq!(
                    read(&heap, root, 12, range.clone()),
                    Ok(expected),
                    "{range:?}"
                );
            }
        }
        let mut text = String::new();
        let reader = FileReader::new(&heap, root, 12, 1..11);
        reader.reading().read_to_string(&mut text).unwrap();
        assert_eq!(text, "bcxydefghi");
    }

    #[test]
    fn only_the_blocks_of_the_range_are_needed() {
        let mut heap = Heap::default();
        let (root, leaves) = tree(&mut heap);
        for leaf in [0, 2, 3] {
            heap.0.remove(&leaves[leaf]);
        }
        type Row<'a> = (Range<u64>, Result<&'a [u8], &'a str>);
        let rows: [Row<'_>; 5] = [
            (3..9, Ok(b"xydefg")),
            (5..9, Ok(b"defg")),
            (2..3, Err("missing")),
            (8..10, Err("missing")),
            (9..9, Ok(b"")),
        ];
        for (range, expected) in rows {
            let expected = expected.map(<[u8]>::to_vec).map_err(str::to_owned);
            assert_eq!(read(&heap, root, 12, range.clone()), expected, "{range:?}");
        }
    }

    #[test]
    fn hostile_files_end() {
        let mut heap = Heap::default();
        let leaf = heap.put(RAW, b"abc".to_vec());
        let directory = heap.directory(&[]);
        let larger = heap.file(b"", 9, &[(leaf, 9)]);
        let wrong = heap.file(b"", 3, &[(directory, 3)]);
        let mut deep = leaf;
        for _ in 0..=MAX_DEPTH {
            deep = heap.file(b"", 3, &[(deep, 3)]);
        }
        // 256 to the power of 40 visits for not a single byte, if they were made.
        let mut empty = heap.put(RAW, Vec::new());
        for _ in 0..40 {
            empty = heap.file(b"", 0, &[(empty, 0); 256]);
        }
        let beside = heap.file(b"", 3, &[(empty, 0), (leaf, 3), (empty, 0)]);
        // Each level as wide as a block allows.
        let mut wide = leaf;
        let mut size = 3_u64;
        for _ in 0..4 {
            wide = heap.file(b"", size * 40_000, &vec![(wide, size); 40_000]);
            size *= 40_000;
        }
        let rows = [
            (
                larger,
                9,
                Err("a piece of a file of another size than said"),
            ),
            (wrong, 3, Err("not a piece of a file, as said")),
            (leaf, 4, Err("a piece of a file of another size than said")),
            (deep, 3, Err("a file that is too deep")),
            (beside, 3, Ok(b"abc")),
            (wide, size, Err("a file that is too wide")),
        ];
        for (cid, size, expected) in rows {
            let expected = expected
                .map(|b: &[u8; 3]| b.to_vec())
                .map_err(str::to_owned);
            assert_eq!(read(&heap, cid, size, 0..size), expected, "{cid}");
        }
    }
}
