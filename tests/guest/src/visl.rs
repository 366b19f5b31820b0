//! What visl, the kernel's own decoder for tests, was told: the structs of its trace.
//!
//! visl traces the controls of each request just before it would decode it, and its events hold the
//! whole structs; a reader of their bytes sees every field, also those that the text leaves out. Which
//! picture a timestamp names is told by the event of each OUTPUT buffer. The layout of what is read is
//! that of the kernel's documentation of trace events and its ring buffer: pages, each a time and a
//! length, then records with a word for a head.
//!
//! visl is loaded already, and nobody else traces.

use crate::Result;
use std::fs;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use v4l2::uapi::controls::{h264::*, mpeg2::*, vp8::*, vp9::*};
use v4l2::uapi::videodev2::V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE;

/// Where traces are mounted.
const FOLDER: &str = "/sys/kernel/tracing";

/// KiB of trace: those of a minute of any stream.
const ROOM: &str = "65536";

/// The event of a buffer that is queued.
const QUEUED: &str = "v4l2/v4l2_qbuf";

/// The events of controls, by codec in the order in which they come.
#[rustfmt::skip]
const CONTROLS: [(&str, u32); 11] = [
    ("visl_mpeg2_controls/v4l2_ctrl_mpeg2_sequence", V4L2_CID_STATELESS_MPEG2_SEQUENCE),
    ("visl_mpeg2_controls/v4l2_ctrl_mpeg2_picture", V4L2_CID_STATELESS_MPEG2_PICTURE),
    ("visl_mpeg2_controls/v4l2_ctrl_mpeg2_quantisation", V4L2_CID_STATELESS_MPEG2_QUANTISATION),
    ("visl_h264_controls/v4l2_ctrl_h264_sps", V4L2_CID_STATELESS_H264_SPS),
    ("visl_h264_controls/v4l2_ctrl_h264_pps", V4L2_CID_STATELESS_H264_PPS),
    ("visl_h264_controls/v4l2_ctrl_h264_scaling_matrix", V4L2_CID_STATELESS_H264_SCALING_MATRIX),
    ("visl_h264_controls/v4l2_ctrl_h264_slice_params", V4L2_CID_STATELESS_H264_SLICE_PARAMS),
    ("visl_h264_controls/v4l2_ctrl_h264_decode_params", V4L2_CID_STATELESS_H264_DECODE_PARAMS),
    ("visl_vp8_controls/v4l2_ctrl_vp8_frame", V4L2_CID_STATELESS_VP8_FRAME),
    ("visl_vp9_controls/v4l2_ctrl_vp9_frame", V4L2_CID_STATELESS_VP9_FRAME),
    ("visl_vp9_controls/v4l2_ctrl_vp9_compressed_hdr", V4L2_CID_STATELESS_VP9_COMPRESSED_HDR),
];

/// Those that a request's events begin with.
const FIRST: [u32; 4] = [
    V4L2_CID_STATELESS_MPEG2_SEQUENCE,
    V4L2_CID_STATELESS_H264_SPS,
    V4L2_CID_STATELESS_VP8_FRAME,
    V4L2_CID_STATELESS_VP9_FRAME,
];

/// What came with an OUTPUT buffer.
#[derive(Debug)]
pub struct Told {
    /// The buffer's timestamp in nanoseconds.
    pub timestamp: u64,
    /// The structs of its controls, by id.
    pub controls: Vec<(u32, Vec<u8>)>,
}

impl Told {
    /// The struct of a control.
    pub fn control(&self, id: u32) -> Option<&[u8]> {
        let found = self.controls.iter().find(|(one, _)| *one == id);
        found.map(|(_, bytes)| &bytes[..])
    }
}

/// The trace.
#[derive(Debug)]
pub struct Trace {
    controls: Vec<(u32, Event)>,
    queued: Event,
}

/// An event of the kernel.
#[derive(Debug)]
struct Event {
    number: u16,
    fields: Vec<Field>,
}

/// A field of an event.
#[derive(Debug)]
struct Field {
    name: String,
    offset: usize,
    size: usize,
}

impl Trace {
    /// Begins to trace.
    ///
    /// # Errors
    /// This kernel has no such traces, or visl is not loaded.
    pub fn start() -> Result<Trace> {
        write("buffer_size_kb", ROOM)?;
        let controls = CONTROLS.iter();
        let controls = controls.map(|(name, id)| Ok((*id, Event::enable(name)?)));
        Ok(Trace {
            controls: controls.collect::<Result<_>>()?,
            queued: Event::enable(QUEUED)?,
        })
    }

    /// What came since the last time, of every request.
    ///
    /// # Errors
    /// The trace was too long for its room, or is not what it should be.
    pub fn take(&self) -> Result<Vec<Told>> {
        let (mut requests, mut timestamps) = (Vec::<Vec<_>>::new(), Vec::new());
        for record in records()? {
            let Some(number) = word(&record, 0) else {
                return Err("a record without a number".into());
            };
            if number == self.queued.number {
                let kind = self.queued.value(&record, "type")?;
                if kind == u64::from(V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE) {
                    timestamps.push(self.queued.value(&record, "timestamp")?);
                }
            }
            let event = self.controls.iter().find(|(_, one)| one.number == number);
            if let Some((id, event)) = event {
                if FIRST.contains(id) {
                    requests.push(Vec::new());
                }
                let request = requests.last_mut().ok_or("a control of no request")?;
                request.push((*id, event.last(&record)?.to_vec()));
            }
        }
        if requests.len() != timestamps.len() {
            let text = format!("{} requests, {} buffers", requests.len(), timestamps.len());
            return Err(text.into());
        }
        let told = timestamps.into_iter().zip(requests);
        let told = told.map(|(timestamp, controls)| Told {
            timestamp,
            controls,
        });
        Ok(told.collect())
    }
}

impl Event {
    fn enable(name: &str) -> Result<Event> {
        let format = read(&format!("events/{name}/format"))?;
        write(&format!("events/{name}/enable"), "1")?;
        let number = format.lines().find_map(|line| line.strip_prefix("ID: "));
        let number = number.ok_or("an event without a number")?.parse()?;
        let fields = format.lines().filter_map(field).collect();
        Ok(Event { number, fields })
    }

    fn bytes<'a>(&self, record: &'a [u8], field: &Field) -> Result<&'a [u8]> {
        let bytes = record.get(field.offset..field.offset + field.size);
        Ok(bytes.ok_or("a record that is too short")?)
    }

    /// The bytes of the last field: the struct.
    fn last<'a>(&self, record: &'a [u8]) -> Result<&'a [u8]> {
        let field = self.fields.last().ok_or("an event without fields")?;
        self.bytes(record, field)
    }

    fn value(&self, record: &[u8], name: &str) -> Result<u64> {
        let field = self.fields.iter().find(|field| field.name == name);
        let bytes = self.bytes(record, field.ok_or("an event without a field")?)?;
        let mut value = [0; 8];
        value[..bytes.len()].copy_from_slice(bytes);
        Ok(u64::from_le_bytes(value))
    }
}

/// A line that names a field, its offset and its size.
fn field(line: &str) -> Option<Field> {
    let mut parts = line.trim().split(';').map(str::trim);
    let declared = parts.next()?.strip_prefix("field:")?;
    let mut number = |name: &str| parts.next()?.strip_prefix(name)?.parse().ok();
    Some(Field {
        name: declared.rsplit(' ').next()?.to_owned(),
        offset: number("offset:")?,
        size: number("size:")?,
    })
}

/// All records of the trace, which is empty then. There is one processor.
fn records() -> Result<Vec<Vec<u8>>> {
    let path = PathBuf::from(FOLDER).join("per_cpu/cpu0/trace_pipe_raw");
    let mut options = fs::OpenOptions::new();
    let options = options.read(true).custom_flags(libc::O_NONBLOCK);
    let mut file = options
        .open(&path)
        .map_err(|error| format!("{}: {error}", path.display()))?;
    let (mut page, mut records) = (vec![0; 4096], Vec::new());
    loop {
        match file.read(&mut page) {
            Ok(0) => return Ok(records),
            Ok(_) => split(&page, &mut records)?,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(records),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The records of a page.
fn split(page: &[u8], records: &mut Vec<Vec<u8>>) -> Result<()> {
    const HEAD: usize = 16;
    /// Bits of the length that say that records were lost.
    const LOST: u32 = 3 << 30;
    // A record's kind where it is none of a length in words.
    const LONG: u32 = 0;
    const PADDING: u32 = 29;
    const TIME: u32 = 30;
    let length = long(page, 8).ok_or("a short page")?;
    if length & LOST != 0 {
        return Err("the trace has lost records".into());
    }
    let mut rest = page
        .get(HEAD..HEAD + length as usize)
        .ok_or("a page of a wrong length")?;
    while let Some(head) = long(rest, 0) {
        let (kind, second) = (head & 31, long(rest, 4).unwrap_or(0) as usize);
        let (start, end) = match kind {
            LONG => (8, 4 + second),
            PADDING => (4 + second, 4 + second),
            TIME.. => (8, 8),
            words => (4, 4 + 4 * words as usize),
        };
        let record = rest.get(start..end).ok_or("a record beyond its page")?;
        if !record.is_empty() {
            records.push(record.to_vec());
        }
        rest = &rest[end..];
    }
    Ok(())
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_le_bytes(bytes.try_into().ok()?))
}

fn read(name: &str) -> Result<String> {
    let path = PathBuf::from(FOLDER).join(name);
    let text = fs::read_to_string(&path);
    text.map_err(|error| format!("{}: {error}", path.display()).into())
}

fn write(name: &str, text: &str) -> Result<()> {
    let path = PathBuf::from(FOLDER).join(name);
    let done = fs::write(&path, text);
    done.map_err(|error| format!("{}: {error}", path.display()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_split_into_records() {
        let words: [u32; 12] = [
            7, 7, 32, 0, // a time, 32 bytes
            2, 1, 2, // a record of two words
            0, 8, 3, // a long one of four bytes
            30, 99, // a time
        ];
        let page: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
        let mut records = Vec::new();
        split(&page, &mut records).unwrap();
        assert_eq!(records, [vec![1, 0, 0, 0, 2, 0, 0, 0], vec![3, 0, 0, 0]]);

        let mut lost = page;
        lost[11] = 0x80;
        assert!(split(&lost, &mut records).is_err());
    }

    #[test]
    fn fields_are_read() {
        let found = field("\tfield:struct v4l2_ctrl_h264_sps s;\toffset:8;\tsize:1048;\tsigned:0;");
        let found = found.unwrap();
        assert_eq!(
            (found.name.as_str(), found.offset, found.size),
            ("s", 8, 1048)
        );
        assert!(field("print fmt: \"\"").is_none());
    }
}
