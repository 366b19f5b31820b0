//! CMAF: initialisation and media segments of one track each, and a reader for the checker.
//!
//! ISO/IEC 23000-19 over ISO/IEC 14496-12 (boxes), -14 (mp4a, esds), -15 (avc1, avcC). A media
//! segment is one fragment: `moof` with a `tfdt` of the segment's start and a `trun` version 1,
//! whose composition offsets may be negative; so the first picture is shown at the very start
//! although pictures are reordered, and no edit list is needed.

use crate::headers::{Codec, Headers};
use crate::sample::{Pictures, Sound, SoundFormat, TICKS};

const SYNC: u32 = 0x0200_0000;
const NOT_SYNC: u32 = 0x0101_0000;

/// Appends a box: its size, type and whatever `content` writes.
fn boxed(out: &mut Vec<u8>, kind: &[u8; 4], content: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend([0; 4]);
    out.extend(kind);
    content(out);
    let size = u32::try_from(out.len() - at).unwrap_or(u32::MAX);
    out[at..at + 4].copy_from_slice(&size.to_be_bytes());
}

/// A box that starts with a version and flags.
fn full(
    out: &mut Vec<u8>,
    kind: &[u8; 4],
    version: u8,
    flags: u32,
    content: impl FnOnce(&mut Vec<u8>),
) {
    boxed(out, kind, |out| {
        u32s(out, &[u32::from(version) << 24 | flags]);
        content(out);
    });
}

fn u16s(out: &mut Vec<u8>, values: &[u16]) {
    values
        .iter()
        .for_each(|value| out.extend(value.to_be_bytes()));
}

fn u32s(out: &mut Vec<u8>, values: &[u32]) {
    values
        .iter()
        .for_each(|value| out.extend(value.to_be_bytes()));
}

/// The unity matrix of `mvhd` and `tkhd`, 16.16 and 2.30 fixed point.
const MATRIX: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];

/// What differs between the headers of a video and an audio track.
struct Track {
    timescale: u32,
    handler: [u8; 4],
    width: u32,
    height: u32,
    media_header: Vec<u8>,
    sample_entry: Vec<u8>,
}

/// Initialisation segment of a video rendition. `None` when the parameter sets are damaged.
pub fn video_init(headers: &Headers) -> Option<Vec<u8>> {
    let described = headers.describe()?;
    let (width, height) = (described.width, described.height);
    let (entry, configuration) = headers.codec.boxes();
    let mut media_header = Vec::new();
    full(&mut media_header, b"vmhd", 0, 1, |out| out.extend([0; 8]));
    let mut sample_entry = Vec::new();
    boxed(&mut sample_entry, entry, |out| {
        out.extend([0, 0, 0, 0, 0, 0, 0, 1]);
        out.extend([0; 16]);
        u16s(out, &[width as u16, height as u16]);
        u32s(out, &[0x48_0000, 0x48_0000, 0]); // 72 dpi
        u16s(out, &[1]);
        out.extend([0; 32]); // compressorname
        u16s(out, &[0x18, 0xffff]);
        boxed(out, configuration, |out| out.extend(described.record));
        boxed(out, b"pasp", |out| u32s(out, &[1, 1]));
    });
    let timescale = TICKS as u32;
    Some(init(&Track {
        timescale,
        handler: *b"vide",
        width,
        height,
        media_header,
        sample_entry,
    }))
}

/// Initialisation segment of the audio rendition.
pub fn audio_init(format: &SoundFormat) -> Vec<u8> {
    let mut media_header = Vec::new();
    full(&mut media_header, b"smhd", 0, 0, |out| out.extend([0; 4]));
    let mut sample_entry = Vec::new();
    boxed(&mut sample_entry, b"mp4a", |out| {
        out.extend([0, 0, 0, 0, 0, 0, 0, 1]);
        out.extend([0; 8]);
        u16s(out, &[format.channels as u16, 16, 0, 0]);
        u32s(out, &[format.sample_rate << 16]);
        full(out, b"esds", 0, 0, |out| {
            elementary_stream(out, &format.config)
        });
    });
    let timescale = format.sample_rate;
    init(&Track {
        timescale,
        handler: *b"soun",
        width: 0,
        height: 0,
        media_header,
        sample_entry,
    })
}

/// ES_Descriptor, DecoderConfigDescriptor (0x40: MPEG-4 audio), DecoderSpecificInfo, SLConfig
/// (ISO/IEC 14496-1 7.2.6). All lengths stay under 128.
fn elementary_stream(out: &mut Vec<u8>, config: &[u8]) {
    let specific = config.len() as u8;
    out.extend([3, 23 + specific, 0, 0, 0]);
    out.extend([4, 15 + specific, 0x40, 0x15, 0, 0, 0]);
    u32s(out, &[0, 0]);
    out.extend([5, specific]);
    out.extend(config);
    out.extend([6, 1, 2]);
}

fn init(track: &Track) -> Vec<u8> {
    let mut out = Vec::new();
    boxed(&mut out, b"ftyp", |out| {
        out.extend(b"iso6");
        u32s(out, &[0]);
        out.extend(b"iso6cmfcmp41");
    });
    boxed(&mut out, b"moov", |out| {
        full(out, b"mvhd", 0, 0, |out| {
            u32s(out, &[0, 0, track.timescale, 0, 0x1_0000]);
            out.extend([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            u32s(out, &MATRIX);
            out.extend([0; 24]);
            u32s(out, &[2]);
        });
        boxed(out, b"trak", |out| trak(out, track));
        boxed(out, b"mvex", |out| {
            full(out, b"trex", 0, 0, |out| u32s(out, &[1, 1, 0, 0, 0]))
        });
    });
    out
}

fn trak(out: &mut Vec<u8>, track: &Track) {
    full(out, b"tkhd", 0, 7, |out| {
        u32s(out, &[0, 0, 1, 0, 0, 0, 0]);
        let volume = if track.width == 0 { 0x100 } else { 0 };
        u16s(out, &[0, 0, volume, 0]);
        u32s(out, &MATRIX);
        u32s(out, &[track.width << 16, track.height << 16]);
    });
    boxed(out, b"mdia", |out| {
        // "und", five bits a letter.
        full(out, b"mdhd", 0, 0, |out| {
            u32s(out, &[0, 0, track.timescale, 0, 0x55c4_0000])
        });
        full(out, b"hdlr", 0, 0, |out| {
            u32s(out, &[0]);
            out.extend(track.handler);
            out.extend([0; 13]);
        });
        boxed(out, b"minf", |out| {
            out.extend(&track.media_header);
            boxed(out, b"dinf", |out| {
                full(out, b"dref", 0, 0, |out| {
                    u32s(out, &[1]);
                    full(out, b"url ", 0, 1, |_| ());
                });
            });
            boxed(out, b"stbl", |out| {
                full(out, b"stsd", 0, 0, |out| {
                    u32s(out, &[1]);
                    out.extend(&track.sample_entry);
                });
                full(out, b"stts", 0, 0, |out| u32s(out, &[0]));
                full(out, b"stsc", 0, 0, |out| u32s(out, &[0]));
                full(out, b"stsz", 0, 0, |out| u32s(out, &[0, 0]));
                full(out, b"stco", 0, 0, |out| u32s(out, &[0]));
            });
        });
    });
}

/// One line of a `trun`.
struct Entry {
    duration: u32,
    size: u32,
    flags: u32,
    offset: i32,
}

/// Media segment of a video rendition. The n-th picture in decode order is decoded when the n-th in
/// display order is shown. A fragment starts at each key picture, so that I-frame playlists can give
/// it: the fragment up to the end of its first sample.
pub fn video_segment(pictures: &Pictures, index: u32) -> Vec<u8> {
    video_part(pictures, index, 0)
}

/// The part of this number of a video segment; the parts one after another are the segment.
pub fn video_part(pictures: &Pictures, index: u32, part: u32) -> Vec<u8> {
    let shown = pictures.shown();
    let next = shown.iter().skip(1).chain(std::iter::once(&pictures.end));
    let entries = pictures.pictures.iter().zip(shown.iter().zip(next));
    let entries: Vec<Entry> = entries
        .map(|(picture, (&decoded, &next))| Entry {
            duration: (next - decoded) as u32,
            size: picture.data.len() as u32,
            flags: if picture.idr { SYNC } else { NOT_SYNC },
            offset: (picture.pts - decoded) as i32,
        })
        .collect();
    let mut out = beginning(part);
    let mut from = 0;
    let runs = pictures.pictures.chunk_by(|_, next| !next.idr);
    for (number, run) in runs.enumerate() {
        let to = from + run.len();
        let data = run.iter().map(|picture| picture.data.as_slice());
        let sequence = index << FRAGMENT_BITS | (part + number as u32);
        fragment(&mut out, sequence, shown[from], &entries[from..to], data);
        from = to;
    }
    out
}

/// Media segment of the audio rendition.
pub fn audio_segment(sound: &Sound, index: u32) -> Vec<u8> {
    audio_part(sound, index, 0)
}

/// The part of this number of an audio segment.
pub fn audio_part(sound: &Sound, index: u32, part: u32) -> Vec<u8> {
    let frame = crate::sample::AAC_FRAME;
    let entry = |data: &Vec<u8>| Entry {
        duration: frame as u32,
        size: data.len() as u32,
        flags: SYNC,
        offset: 0,
    };
    let entries: Vec<Entry> = sound.frames.iter().map(entry).collect();
    let mut out = beginning(part);
    fragment(
        &mut out,
        index << FRAGMENT_BITS | part,
        sound.first * frame,
        &entries,
        sound.frames.iter().map(Vec::as_slice),
    );
    out
}

/// Fragments are numbered through; no segment has so many.
const FRAGMENT_BITS: u32 = 14;

fn beginning(part: u32) -> Vec<u8> {
    let mut out = Vec::new();
    if part > 0 {
        return out;
    }
    boxed(&mut out, b"styp", |out| {
        out.extend(b"msdh");
        u32s(out, &[0]);
        out.extend(b"msdhcmfs");
    });
    out
}

/// `moof` and `mdat` of some samples, the first of which is decoded at `start`.
fn fragment<'a>(
    out: &mut Vec<u8>,
    sequence: u32,
    start: i64,
    entries: &[Entry],
    data: impl Iterator<Item = &'a [u8]>,
) {
    let moof = out.len();
    boxed(out, b"moof", |out| {
        full(out, b"mfhd", 0, 0, |out| u32s(out, &[sequence + 1]));
        boxed(out, b"traf", |out| {
            full(out, b"tfhd", 0, 0x2_0000, |out| u32s(out, &[1])); // default-base-is-moof
            full(out, b"tfdt", 1, 0, |out| out.extend(start.to_be_bytes()));
            // Data offset, then duration, size, flags and composition offset of each sample.
            full(out, b"trun", 1, 0xf01, |out| {
                u32s(out, &[entries.len() as u32, 0]);
                for entry in entries {
                    u32s(
                        out,
                        &[entry.duration, entry.size, entry.flags, entry.offset as u32],
                    );
                }
            });
        });
    });
    // The data offset is the last field before the entries; it counts from the start of the moof.
    let offset = (out.len() - moof + 8) as u32;
    let at = out.len() - 16 * entries.len() - 4;
    out[at..at + 4].copy_from_slice(&offset.to_be_bytes());
    boxed(out, b"mdat", |out| {
        data.for_each(|sample| out.extend(sample))
    });
}

/// What an initialisation segment says about its one track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Ticks per second of the track's times.
    pub timescale: u32,
    /// The parameter sets of a video track.
    pub headers: Option<Headers>,
    /// Whether it is an AAC track.
    pub aac: bool,
    defaults: [u32; 3],
}

/// One sample of a media segment, in the track's timescale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample<'a> {
    /// Decode time.
    pub dts: i64,
    /// Display time.
    pub pts: i64,
    /// Duration.
    pub duration: i64,
    /// Whether the container says that decoding can start here.
    pub sync: bool,
    /// Its bytes.
    pub data: &'a [u8],
    /// Where they end in the segment.
    pub end: usize,
}

/// The contents of every box of this type at this level.
fn children<'a>(mut data: &'a [u8], kind: &[u8; 4]) -> Vec<&'a [u8]> {
    let mut found = Vec::new();
    while let Some(&[a, b, c, d, ref name @ ..]) = data.first_chunk::<8>() {
        let size = u32::from_be_bytes([a, b, c, d]) as usize;
        let Some(content) = data.get(8..size) else {
            break;
        };
        if name == kind {
            found.push(content);
        }
        data = &data[size..];
    }
    found
}

fn child<'a>(data: &'a [u8], path: &[&[u8; 4]]) -> Option<&'a [u8]> {
    path.iter()
        .try_fold(data, |data, kind| children(data, kind).first().copied())
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*data.get(at..)?.first_chunk()?))
}

/// Reads an initialisation segment. `None` when it is damaged.
pub fn read_init(data: &[u8]) -> Option<Header> {
    let mdia = child(data, &[b"moov", b"trak", b"mdia"])?;
    let mdhd = child(mdia, &[b"mdhd"])?;
    let timescale = u32_at(mdhd, if mdhd.first() == Some(&1) { 20 } else { 12 })?;
    let entries = child(mdia, &[b"minf", b"stbl", b"stsd"])?.get(8..)?;
    let headers = Codec::ALL.into_iter().find_map(|codec| {
        let (entry, configuration) = codec.boxes();
        let record = child(child(entries, &[entry])?.get(78..)?, &[configuration])?;
        Headers::parse(codec, record)
    });
    let trex = child(data, &[b"moov", b"mvex", b"trex"])?;
    Some(Header {
        timescale: (timescale > 0).then_some(timescale)?,
        headers,
        aac: child(entries, &[b"mp4a"]).is_some(),
        defaults: [u32_at(trex, 12)?, u32_at(trex, 16)?, u32_at(trex, 20)?],
    })
}

/// Reads the samples of a media segment. `None` when it is damaged.
pub fn read_segment<'a>(header: &Header, data: &'a [u8]) -> Option<Vec<Sample<'a>>> {
    let fragments = read_fragments(header, data)?;
    Some(fragments.into_iter().flat_map(|f| f.samples).collect())
}

/// What a `moof` describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// Where the `moof` starts.
    pub offset: usize,
    /// What is in it.
    pub samples: Vec<Sample<'a>>,
}

/// Reads the first sample of a fragment that may be cut off behind it. `None` when it is damaged.
pub fn read_first<'a>(header: &Header, data: &'a [u8]) -> Option<Sample<'a>> {
    let size = u32_at(data, 0)? as usize;
    let moof = data
        .get(8..size)
        .filter(|_| data.get(4..8) == Some(b"moof".as_slice()))?;
    let mut samples = Vec::new();
    for traf in children(moof, b"traf") {
        // What is cut off ends the reading; the samples before are there.
        let _ = read_track(header, data, 0, traf, &mut samples);
    }
    samples.into_iter().next()
}

/// Reads the fragments of a media segment. `None` when it is damaged.
pub fn read_fragments<'a>(header: &Header, data: &'a [u8]) -> Option<Vec<Fragment<'a>>> {
    let mut fragments: Vec<Fragment<'a>> = Vec::new();
    let mut at = 0;
    while at < data.len() {
        let size = u32_at(data, at)? as usize;
        let whole = data.get(at..at.checked_add(size)?).filter(|_| size >= 8)?;
        if whole.get(4..8) == Some(b"moof".as_slice()) {
            let mut samples = Vec::new();
            for traf in children(&whole[8..], b"traf") {
                read_track(header, data, at, traf, &mut samples)?;
            }
            fragments.push(Fragment {
                offset: at,
                samples,
            });
        }
        at += size;
    }
    Some(fragments)
}

fn read_track<'a>(
    header: &Header,
    data: &'a [u8],
    moof: usize,
    traf: &[u8],
    samples: &mut Vec<Sample<'a>>,
) -> Option<()> {
    let tfhd = child(traf, &[b"tfhd"])?;
    let flags = u32_at(tfhd, 0)? & 0xff_ffff;
    let mut field = Fields { data: tfhd, at: 8 };
    field.skip(if flags & 1 != 0 { 8 } else { 0 } + if flags & 2 != 0 { 4 } else { 0 });
    let [duration, size, sample_flags] = header.defaults;
    let duration = field.optional(flags & 8 != 0, duration)?;
    let size = field.optional(flags & 0x10 != 0, size)?;
    let sample_flags = field.optional(flags & 0x20 != 0, sample_flags)?;
    let tfdt = child(traf, &[b"tfdt"])?;
    let mut dts = match tfdt.first()? {
        1 => i64::from_be_bytes(*tfdt.get(4..)?.first_chunk()?),
        _ => i64::from(u32_at(tfdt, 4)?),
    };
    for trun in children(traf, b"trun") {
        let flags = u32_at(trun, 0)? & 0xff_ffff;
        let mut field = Fields { data: trun, at: 4 };
        let count = field.optional(true, 0)?;
        let offset = field.optional(flags & 1 != 0, 0)?;
        let mut position = moof.checked_add_signed(offset as i32 as isize)?;
        let first_flags = field.optional(flags & 4 != 0, sample_flags)?;
        for number in 0..count {
            let duration = field.optional(flags & 0x100 != 0, duration)?;
            let size = field.optional(flags & 0x200 != 0, size)? as usize;
            let usual = if number == 0 {
                first_flags
            } else {
                sample_flags
            };
            let sample_flags = field.optional(flags & 0x400 != 0, usual)?;
            let offset = field.optional(flags & 0x800 != 0, 0)? as i32;
            let data = data.get(position..position.checked_add(size)?)?;
            let sync = sample_flags & 0x1_0000 == 0;
            let duration = i64::from(duration);
            samples.push(Sample {
                dts,
                pts: dts + i64::from(offset),
                duration,
                sync,
                data,
                end: position + size,
            });
            position += size;
            dts += duration;
        }
    }
    Some(())
}

struct Fields<'a> {
    data: &'a [u8],
    at: usize,
}

impl Fields<'_> {
    fn skip(&mut self, bytes: usize) {
        self.at += bytes;
    }

    /// The next 32 bits when they are there, else the default.
    fn optional(&mut self, present: bool, default: u32) -> Option<u32> {
        if !present {
            return Some(default);
        }
        let value = u32_at(self.data, self.at)?;
        self.at += 4;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Picture;

    fn sps() -> Vec<u8> {
        let hex = "6742c00bda0a37e4c044000003000400000300c83c50aa80";
        let digits: Vec<u8> = hex
            .bytes()
            .map(|c| char::from(c).to_digit(16).unwrap() as u8)
            .collect();
        digits
            .chunks(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect()
    }

    fn headers() -> Headers {
        Headers {
            codec: Codec::H264,
            sets: vec![sps(), vec![0x68, 1]],
        }
    }

    fn pictures(start: i64, order: &[i64]) -> Pictures {
        let picture = |(number, &place): (usize, &i64)| Picture {
            pts: start + place * 3600,
            idr: number == 0,
            data: vec![number as u8; 5 + number],
        };
        Pictures {
            headers: headers(),
            pictures: order.iter().enumerate().map(picture).collect(),
            before: Vec::new(),
            reorder: 2,
            end: start + order.len() as i64 * 3600,
        }
    }

    #[test]
    fn video_roundtrip() {
        let pictures = pictures(360_000, &[0, 4, 2, 1, 3]);
        let header = read_init(&video_init(&pictures.headers).unwrap()).unwrap();
        assert_eq!(
            (header.timescale, header.headers.clone(), header.aac),
            (90_000, Some(headers()), false)
        );
        let bytes = video_segment(&pictures, 1);
        let samples = read_segment(&header, &bytes).unwrap();
        assert_eq!(samples.len(), 5);
        for (place, (sample, picture)) in samples.iter().zip(&pictures.pictures).enumerate() {
            assert_eq!(
                (sample.pts, sample.sync, sample.data),
                (picture.pts, picture.idr, picture.data.as_slice())
            );
            assert_eq!(
                (sample.dts, sample.duration),
                (360_000 + place as i64 * 3600, 3600)
            );
        }
    }

    #[test]
    fn key_pictures_start_fragments() {
        let mut pictures = pictures(0, &[0, 2, 1, 3, 4]);
        pictures.pictures[3].idr = true;
        let header = read_init(&video_init(&pictures.headers).unwrap()).unwrap();
        let bytes = video_segment(&pictures, 0);
        let fragments = read_fragments(&header, &bytes).unwrap();
        let counts: Vec<usize> = fragments.iter().map(|f| f.samples.len()).collect();
        assert_eq!(counts, [3, 2]);
        for fragment in &fragments {
            let first = &fragment.samples[0];
            assert!(first.sync);
            assert_eq!(&bytes[first.end - first.data.len()..first.end], first.data);
            let alone = &bytes[fragment.offset..first.end];
            let read = read_first(&header, alone).unwrap();
            assert_eq!((read.pts, read.data), (first.pts, first.data));
            assert_eq!(read_first(&header, &alone[..alone.len() - 1]), None);
        }
    }

    #[test]
    fn audio_roundtrip() {
        let format = SoundFormat {
            sample_rate: 44100,
            channels: 2,
            config: vec![0x12, 0x10],
        };
        let header = read_init(&audio_init(&format)).unwrap();
        assert_eq!(
            (header.timescale, header.headers.clone(), header.aac),
            (44100, None, true)
        );
        let sound = Sound {
            format,
            first: 172,
            frames: vec![vec![1; 300], vec![2; 10]],
        };
        let bytes = audio_segment(&sound, 1);
        let samples = read_segment(&header, &bytes).unwrap();
        let found: Vec<_> = samples.iter().map(|s| (s.pts, s.data.to_vec())).collect();
        assert_eq!(
            found,
            [(172 * 1024, vec![1; 300]), (173 * 1024, vec![2; 10])]
        );
    }

    #[test]
    fn no_crash_on_damage() {
        let pictures = pictures(0, &[0, 1, 2]);
        let init = video_init(&pictures.headers).unwrap();
        let header = read_init(&init).unwrap();
        let bytes = video_segment(&pictures, 0);
        for length in 0..bytes.len() {
            let read = read_segment(&header, &bytes[..length]);
            assert!(
                read.is_none_or(|samples| samples.len() < 3),
                "{length} bytes"
            );
        }
        for at in 0..init.len() {
            let mut changed = init.clone();
            changed[at] ^= 0xff;
            let _ = read_init(&changed);
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0xff;
            let _ = read_segment(&header, &changed);
        }
    }
}
