//! CAR files: a header with roots, then blocks, each with its CID before it (ipld.io, "CARv1"). Of
//! CARv2 the wrapper is understood and the CARv1 inside it read; its index is not needed.
//!
//! The reader streams: it holds one block at a time, checks each against its CID, and allocates
//! nothing that a length merely claims. The file comes from a stranger, so every error names the
//! byte it was found at, and a wrong block its CID.

use std::io::{self, Read, Write};

use bytes::Bytes;
use cid::Cid;

use crate::{
    cbor,
    dag::{AnyCid, narrow},
    protobuf,
    unixfs::{IDENTITY, MAX_BLOCK, SHA2_256, names},
};

/// The longest header taken, in bytes: some 25 000 roots.
const MAX_HEADER: u64 = 1 << 20;

/// The longest CID: two numbers, a hash code, a length, and what identity hashes may carry.
const MAX_CID: u64 = 160;

/// A CARv2 starts as a CARv1 whose header says `{"version": 2}` and no more. So many bytes follow:
/// characteristics, where the CARv1 starts, its length, and where the index starts.
const HEADER_V2: usize = 40;

/// Why a CAR file cannot be read on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CarError {
    /// The source failed.
    #[error("reading the CAR at byte {offset}")]
    Io {
        /// How far it was read.
        offset: u64,
        /// The source's reason.
        source: io::Error,
    },
    /// It ends where something should follow.
    #[error("the CAR ends at byte {offset}, inside {inside}")]
    Truncated {
        /// Its length.
        offset: u64,
        /// What was being read.
        inside: &'static str,
    },
    /// It does not start as a CAR does.
    #[error("not a CAR file: {what}")]
    Header {
        /// What is wrong with it.
        what: &'static str,
    },
    /// A length that is no number, or more than is taken.
    #[error(
        "a {inside} at byte {offset} says that it has {length} bytes; at most {most} are taken"
    )]
    Length {
        /// Where it starts.
        offset: u64,
        /// What it is of.
        inside: &'static str,
        /// What it says; the largest number there is if it is none.
        length: u64,
        /// What is taken.
        most: u64,
    },
    /// A block starts with something else than a CID.
    #[error("no CID at byte {offset}, where a block starts")]
    NoCid {
        /// Where.
        offset: u64,
    },
    /// A block that is named by a hash other than sha2-256.
    #[error(
        "block {cid} at byte {offset} is named by a hash that cannot be checked; only sha2-256 can"
    )]
    Hash {
        /// The block.
        cid: String,
        /// Where it starts.
        offset: u64,
    },
    /// A block that is not what its CID says.
    #[error("block {cid} at byte {offset} is not what its CID says")]
    Wrong {
        /// The block.
        cid: String,
        /// Where it starts.
        offset: u64,
    },
}

/// A block of a CAR, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CarBlock {
    /// Its name.
    pub cid: Cid,
    /// Its content.
    pub bytes: Bytes,
    /// Where it starts in the file, with its length.
    pub offset: u64,
}

/// Reads a CAR from its start to its end. Ends after the first error.
#[derive(Debug)]
pub struct CarReader<R> {
    input: Counted<R>,
    roots: Vec<AnyCid>,
    /// Where the CARv1 ends, if a wrapper says so.
    end: Option<u64>,
    failed: bool,
}

impl<R: Read> CarReader<R> {
    /// Reads the header. The input should be buffered.
    pub fn new(input: R) -> Result<Self, CarError> {
        let mut input = Counted { input, offset: 0 };
        let mut header = read_header(&mut input)?;
        let mut end = None;
        if header.version == 2 {
            end = Some(enter_v2(&mut input)?);
            header = read_header(&mut input)?;
        }
        if header.version != 1 {
            return Err(CarError::Header {
                what: "its version is neither 1 nor 2",
            });
        }
        Ok(Self {
            input,
            roots: header.roots,
            end,
            failed: false,
        })
    }

    /// The roots that the header names; whether their blocks are there is another matter.
    pub fn roots(&self) -> &[AnyCid] {
        &self.roots
    }

    /// How many bytes were read.
    pub fn offset(&self) -> u64 {
        self.input.offset
    }

    fn block(&mut self) -> Result<Option<CarBlock>, CarError> {
        // Identity CIDs carry their block; some writers list them all the same.
        loop {
            let offset = self.input.offset;
            if self.end.is_some_and(|end| offset >= end) {
                return Ok(None);
            }
            let Some(length) = self.input.length("block", MAX_BLOCK as u64 + MAX_CID)? else {
                return Ok(None);
            };
            let section = self.input.take(length, "a block")?;
            let mut rest = &section[..];
            let cid = AnyCid::read_bytes(&mut rest).map_err(|_| CarError::NoCid { offset })?;
            let bytes = section.slice_ref(rest);
            if cid.hash().code() == IDENTITY && cid.hash().digest() == &bytes[..] {
                continue;
            }
            let wrong = || CarError::Wrong {
                cid: cid.to_string(),
                offset,
            };
            let known = matches!(cid.hash().code(), SHA2_256 | IDENTITY);
            let Some(cid) = narrow(&cid).filter(|_| known) else {
                let cid = cid.to_string();
                return Err(CarError::Hash { cid, offset });
            };
            if !names(&cid, &bytes) {
                return Err(wrong());
            }
            return Ok(Some(CarBlock { cid, bytes, offset }));
        }
    }
}

impl<R: Read> Iterator for CarReader<R> {
    type Item = Result<CarBlock, CarError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let block = self.block();
        self.failed = block.is_err();
        block.transpose()
    }
}

struct Header {
    version: u64,
    roots: Vec<AnyCid>,
}

fn read_header<R: Read>(input: &mut Counted<R>) -> Result<Header, CarError> {
    let header = |what| CarError::Header { what };
    let length = input
        .length("header", MAX_HEADER)?
        .ok_or(header("it is empty"))?;
    let bytes = input.take(length, "the header")?;
    let broken = |_| header("its header is not DAG-CBOR");
    let mut reader = cbor::Reader::new(&bytes);
    let cbor::Item::Map(pairs) = reader.item().map_err(broken)? else {
        return Err(header("its header is not a map"));
    };
    let (mut version, mut roots) = (None, Vec::new());
    for _ in 0..pairs {
        match reader.item().map_err(broken)? {
            cbor::Item::Text("version") => {
                if let cbor::Item::Uint(number) = reader.item().map_err(broken)? {
                    version = Some(number);
                }
            }
            cbor::Item::Text("roots") => roots = read_roots(&mut reader)?,
            _ => reader.skip().map_err(broken)?,
        }
    }
    if !reader.is_at_end() {
        return Err(header("more follows the map in its header"));
    }
    let version = version.ok_or(header("it says no version"))?;
    Ok(Header { version, roots })
}

fn read_roots(reader: &mut cbor::Reader<'_>) -> Result<Vec<AnyCid>, CarError> {
    let broken = || CarError::Header {
        what: "its roots are not a list of CIDs",
    };
    let Ok(cbor::Item::Array(count)) = reader.item() else {
        return Err(broken());
    };
    let mut roots = Vec::new();
    for _ in 0..count {
        match reader.item() {
            Ok(cbor::Item::Link(cid)) => {
                roots.push(AnyCid::try_from(cid).map_err(|_| broken())?);
            }
            _ => return Err(broken()),
        }
    }
    Ok(roots)
}

/// Goes to the CARv1 inside a CARv2 and says where it ends.
fn enter_v2<R: Read>(input: &mut Counted<R>) -> Result<u64, CarError> {
    let header = input.take(HEADER_V2 as u64, "the CARv2 header")?;
    let number = |at: usize| {
        let bytes = header[at..at + 8].try_into().expect("eight bytes");
        u64::from_le_bytes(bytes)
    };
    let (start, size) = (number(16), number(24));
    let lie = CarError::Header {
        what: "its CARv2 header points outside",
    };
    let (Some(padding), Some(end)) = (start.checked_sub(input.offset), start.checked_add(size))
    else {
        return Err(lie);
    };
    input.pass(padding)?;
    Ok(end)
}

/// A source that knows how far it was read.
#[derive(Debug)]
struct Counted<R> {
    input: R,
    offset: u64,
}

impl<R: Read> Counted<R> {
    /// A length as CAR files say it; `None` at the end of the input.
    fn length(&mut self, inside: &'static str, most: u64) -> Result<Option<u64>, CarError> {
        let offset = self.offset;
        let mut bytes = Vec::with_capacity(10);
        while bytes.last().is_none_or(|byte| byte & 0x80 != 0) && bytes.len() < 10 {
            let mut byte = [0];
            match self.read(&mut byte)? {
                0 if bytes.is_empty() => return Ok(None),
                0 => {
                    return Err(CarError::Truncated {
                        offset: self.offset,
                        inside: "a length",
                    });
                }
                _ => bytes.push(byte[0]),
            }
        }
        let length = protobuf::varint(&bytes).map_or(u64::MAX, |(length, _)| length);
        if length > most {
            return Err(CarError::Length {
                offset,
                inside,
                length,
                most,
            });
        }
        Ok(Some(length))
    }

    /// So many bytes, which are fewer than some limit of the caller's.
    fn take(&mut self, length: u64, inside: &'static str) -> Result<Bytes, CarError> {
        let mut bytes = vec![0; length as usize];
        let mut filled = 0;
        while filled < bytes.len() {
            match self.read(&mut bytes[filled..])? {
                0 => {
                    return Err(CarError::Truncated {
                        offset: self.offset,
                        inside,
                    });
                }
                n => filled += n,
            }
        }
        Ok(bytes.into())
    }

    /// Passes over so many bytes, or to the end.
    fn pass(&mut self, length: u64) -> Result<(), CarError> {
        let offset = self.offset;
        let passed = io::copy(&mut (&mut self.input).take(length), &mut io::sink())
            .map_err(|source| CarError::Io { offset, source })?;
        self.offset += passed;
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, CarError> {
        loop {
            match self.input.read(buffer) {
                Ok(n) => {
                    self.offset += n as u64;
                    return Ok(n);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(CarError::Io {
                        offset: self.offset,
                        source,
                    });
                }
            }
        }
    }
}

/// The header of a CARv1 with these roots, as it stands at the start of the file.
pub fn header(roots: &[AnyCid]) -> Bytes {
    let mut map = Vec::new();
    cbor::put_map(&mut map, 2);
    cbor::put_text(&mut map, "roots");
    cbor::put_array(&mut map, roots.len() as u64);
    for root in roots {
        cbor::put_link(&mut map, &root.to_bytes());
    }
    cbor::put_text(&mut map, "version");
    cbor::put_uint(&mut map, 1);
    let mut out = Vec::with_capacity(map.len() + 3);
    protobuf::put_varint(&mut out, map.len() as u64);
    out.extend_from_slice(&map);
    out.into()
}

/// What stands before a block's bytes: their length and its CID.
pub fn block_head(cid: &AnyCid, length: usize) -> Bytes {
    let cid = cid.to_bytes();
    let mut out = Vec::with_capacity(cid.len() + 5);
    protobuf::put_varint(&mut out, (cid.len() + length) as u64);
    out.extend_from_slice(&cid);
    out.into()
}

/// Writes a CARv1 block by block; the caller sees to their order.
#[derive(Debug)]
pub struct CarWriter<W> {
    output: W,
    written: u64,
}

impl<W: Write> CarWriter<W> {
    /// Begins a CAR with these roots. The output should be buffered.
    pub fn new(output: W, roots: &[AnyCid]) -> io::Result<Self> {
        let mut writer = Self { output, written: 0 };
        writer.put(&header(roots))?;
        Ok(writer)
    }

    /// Adds a block.
    pub fn block(&mut self, cid: &AnyCid, bytes: &[u8]) -> io::Result<()> {
        self.put(&block_head(cid, bytes.len()))?;
        self.put(bytes)
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Ends the CAR, which takes no bytes, and hands the output back flushed.
    pub fn finish(mut self) -> io::Result<W> {
        self.output.flush()?;
        Ok(self.output)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dag::tests::Heap;
    use crate::unixfs::{DAG_PB, RAW};
    use cid::multihash::Multihash;

    struct Sample {
        car: Vec<u8>,
        root: AnyCid,
        leaf: AnyCid,
        /// Where the first and the second block start.
        first: usize,
        second: usize,
    }

    fn sample() -> Sample {
        let mut heap = Heap::default();
        let leaf = heap.put(RAW, b"leaf".to_vec());
        let root = heap.directory(&[("leaf", leaf)]);
        let mut writer = CarWriter::new(Vec::new(), &[root]).unwrap();
        let first = writer.written() as usize;
        writer.block(&root, &heap.0[&root]).unwrap();
        let second = writer.written() as usize;
        writer.block(&leaf, b"leaf").unwrap();
        Sample {
            car: writer.finish().unwrap(),
            root,
            leaf,
            first,
            second,
        }
    }

    /// The roots and the number of blocks, or the error in words.
    fn read(car: &[u8]) -> Result<(Vec<AnyCid>, usize), String> {
        let mut reader = CarReader::new(car).map_err(|e| e.to_string())?;
        let blocks = reader.by_ref().collect::<Result<Vec<_>, _>>();
        let blocks = blocks.map_err(|e| e.to_string())?;
        assert!(reader.next().is_none());
        Ok((reader.roots().to_vec(), blocks.len()))
    }

    #[test]
    fn what_is_written_is_read() {
        let Sample { car, root, .. } = sample();
        assert_eq!(read(&car), Ok((vec![root], 2)));
        assert_eq!(read(&header(&[])), Ok((vec![], 0)));
        // The same in a CARv2, with padding before it and an index after it.
        let mut v2 = b"\x0a\xa1gversion\x02".to_vec();
        v2.extend([0; 16]);
        v2.extend(60_u64.to_le_bytes());
        v2.extend((car.len() as u64).to_le_bytes());
        v2.extend([0; 8]);
        v2.extend([0; 9]);
        v2.extend(&car);
        v2.extend(b"an index");
        assert_eq!(read(&v2), Ok((vec![root], 2)));
    }

    #[test]
    fn identity_blocks_are_passed_over() {
        let inline = AnyCid::new_v1(RAW, Multihash::wrap(IDENTITY, b"inline").unwrap());
        let mut writer = CarWriter::new(Vec::new(), &[inline]).unwrap();
        writer.block(&inline, b"inline").unwrap();
        assert_eq!(read(&writer.finish().unwrap()), Ok((vec![inline], 0)));
        let mut writer = CarWriter::new(Vec::new(), &[inline]).unwrap();
        writer.block(&inline, b"other").unwrap();
        let error = read(&writer.finish().unwrap()).unwrap_err();
        assert!(error.contains("not what its CID says"), "{error}");
    }

    #[test]
    fn every_cut_is_noticed() {
        let Sample {
            car, first, second, ..
        } = sample();
        for end in 0..car.len() {
            let result = read(&car[..end]);
            if [first, second].contains(&end) {
                assert!(result.is_ok(), "{end}: a whole CAR of fewer blocks");
            } else {
                let error = result.unwrap_err();
                let expected = if end == 0 {
                    "empty"
                } else {
                    &*format!("byte {end}")
                };
                assert!(error.contains(expected), "{end}: {error}");
            }
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let Sample {
            car,
            leaf,
            second,
            root,
            first,
        } = sample();
        let changed = |at: usize, with: &[u8]| {
            let mut changed = car.clone();
            changed.splice(at..at + with.len(), with.iter().copied());
            changed
        };
        let flipped = changed(car.len() - 1, b"!");
        let sha512 = [&car[..second], &[4 + 64 + 3, 1, 0x55, 0x13, 64], &[7; 67]].concat();
        let megabytes = [&[0x80, 0x80, 0x80, 0x32][..], &[0; 9]].concat();
        let rows: [(&[u8], String); 10] = [
            (
                &flipped,
                format!("block {leaf} at byte {second} is not what"),
            ),
            (
                &changed(first + 45, b"\xff"),
                format!("block {root} at byte {first} is not what"),
            ),
            (
                &changed(second + 1, b"\x09"),
                format!("no CID at byte {second}"),
            ),
            (&sha512, format!("at byte {second} is named by a hash")),
            // A length of 100 MB before the header, and of more than there is before a block.
            (
                &megabytes,
                "header at byte 0 says that it has 104857600 bytes".into(),
            ),
            (
                &[&car[..second], &[0xff; 9], &[1]].concat(),
                format!("block at byte {second} says that it has 18446744073709551615"),
            ),
            (
                &[&car[..second], &[0xff; 10]].concat(),
                format!("block at byte {second} says"),
            ),
            (b"\x05hello", "not DAG-CBOR".into()),
            (b"\x0a\xa1gversion\x03", "neither 1 nor 2".into()),
            (b"\x0a\xa1gversion\x02", "inside the CARv2 header".into()),
        ];
        for (car, expected) in rows {
            let error = read(car).unwrap_err();
            assert!(error.contains(&expected), "{error}: not {expected}");
        }
        assert_eq!(root.codec(), DAG_PB);
    }
}
