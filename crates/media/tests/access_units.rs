//! Pictures by access unit, against what the ordinary decoder shows.
//!
//! Every picture that is shown must be among those that the units left behind, sample for sample
//! and as often, whether two fields come in one unit or in two.

// The message that a check was left out.
#![allow(clippy::print_stderr)]

use std::collections::HashMap;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};

use media::{
    AccessUnitDecoder, AccessUnitLimits, Decoder, Destination, Frame, Input, OpenOptions, Picture,
    Rows, StatelessCodec,
};
use written::{Slice, Structure, parameter_sets};

mod written;

/// A picture's size and a digest of its visible samples.
type Seen = (u32, u32, u64);

fn codec_of(name: &str) -> Option<StatelessCodec> {
    match name {
        "mpeg2video" => Some(StatelessCodec::Mpeg2),
        "h264" => Some(StatelessCodec::H264),
        "vp8" => Some(StatelessCodec::Vp8),
        "vp9" => Some(StatelessCodec::Vp9),
        _ => None,
    }
}

/// The digest of the visible part of planes as (bytes, stride, bytes in a row, rows).
fn digest<'a>(planes: impl Iterator<Item = (&'a [u8], usize, usize, usize)>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (bytes, stride, row_bytes, rows) in planes {
        for row in bytes.chunks(stride).take(rows) {
            hasher.write(&row[..row_bytes]);
        }
    }
    hasher.finish()
}

/// Bytes in a row and rows of a plane of a picture of 4:2:0, 4:2:2 or 4:4:4.
fn extent(format: media::PixelFormat, plane: usize, width: u32, height: u32) -> (usize, usize) {
    let (width, height) = (width as usize, height as usize);
    let bytes = usize::from(format.bit_depth().unwrap_or(8) > 8) + 1;
    let (x, y) = match (plane, format.chroma()) {
        (0, _) | (_, Some("4:4:4")) => (1, 1),
        (_, Some("4:2:2")) => (2, 1),
        _ => (2, 2),
    };
    (width.div_ceil(x) * bytes, height.div_ceil(y))
}

fn of_frame(frame: &Frame) -> Seen {
    let (width, height) = (frame.width(), frame.height());
    let planes = (0..frame.planes()).map(|plane| {
        let (bytes, stride) = frame.plane(plane).unwrap();
        let (row, rows) = extent(frame.pixel_format(), plane, width, height);
        (bytes, stride, row, rows)
    });
    (width, height, digest(planes))
}

fn of_picture(picture: Picture<'_>) -> Seen {
    let (width, height) = (picture.visible_width(), picture.visible_height());
    let planes = (0..4).map_while(|plane| {
        let (bytes, stride) = picture.plane(plane)?;
        let (row, rows) = extent(picture.format(), plane, width, height);
        Some((bytes, stride, row, rows))
    });
    (width, height, digest(planes))
}

/// Luma samples of a file that are decoded, about.
const PIXELS: u64 = 50_000_000;

struct Stream {
    codec: StatelessCodec,
    /// As the demuxer gives them, in the form that the decoder wants.
    packets: Vec<Vec<u8>>,
    shown: Vec<Seen>,
}

fn read(path: &Path) -> Option<Stream> {
    let mut input = Input::open(path, &OpenOptions::default()).ok()?;
    let stream = input.best_video().ok()?.clone();
    let codec = codec_of(stream.codec())?;
    input.select(&[stream.index]);
    let mut decoder = Decoder::open(&stream, 1).unwrap();
    let mut shown = Vec::new();
    let mut packets = Vec::new();
    let extradata = stream.extradata();
    let mut head = match (codec, extradata.first()) {
        (StatelessCodec::H264, Some(1)) => record_units(extradata),
        (StatelessCodec::H264 | StatelessCodec::Mpeg2, _) => extradata.to_vec(),
        _ => Vec::new(),
    };
    let length_size = match (codec, extradata) {
        (StatelessCodec::H264, [1, _, _, _, sizes, ..]) => Some(usize::from(sizes & 3) + 1),
        _ => None,
    };
    let mut drain = |decoder: &mut Decoder| {
        loop {
            match decoder.receive() {
                Ok(Some(frame)) => shown.push(of_frame(&frame)),
                Ok(None) => break,
                Err(_) => {}
            }
        }
    };
    let pixels = u64::from(stream.width().max(64)) * u64::from(stream.height().max(64));
    let enough = (PIXELS / pixels).clamp(20, 300) as usize;
    while let (Ok(Some(packet)), true) = (input.read(), packets.len() < enough) {
        let mut unit = std::mem::take(&mut head);
        match length_size {
            Some(size) => unit.extend(annex_b(packet.data(), size)),
            None => unit.extend_from_slice(packet.data()),
        }
        packets.push(unit);
        let _ = decoder.send(Some(&packet));
        drain(&mut decoder);
    }
    decoder.send(None).unwrap();
    drain(&mut decoder);
    Some(Stream {
        codec,
        packets,
        shown,
    })
}

/// The NAL units of an avcC record, with start codes.
fn record_units(record: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = &record[5..];
    for mask in [0x1f, 0xff] {
        let Some((count, after)) = rest.split_first() else {
            break;
        };
        rest = after;
        for _ in 0..count & mask {
            let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
            out.extend([0, 0, 0, 1]);
            out.extend_from_slice(&rest[2..2 + length]);
            rest = &rest[2 + length..];
        }
    }
    out
}

/// NAL units behind start codes instead of lengths.
fn annex_b(mut sample: &[u8], length_size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while sample.len() > length_size {
        let (length, rest) = sample.split_at(length_size);
        let length = length
            .iter()
            .fold(0, |value, byte| value << 8 | usize::from(*byte));
        let (unit, rest) = rest.split_at(length.min(rest.len()));
        out.extend([0, 0, 0, 1]);
        out.extend_from_slice(unit);
        sample = rest;
    }
    out
}

/// Where start codes begin; the byte after each code says what follows.
fn start_codes(data: &[u8]) -> Vec<usize> {
    let code = |window: &[u8]| window == [0, 0, 1];
    (0..data.len().saturating_sub(3))
        .filter(|at| code(&data[*at..at + 3]))
        .collect()
}

/// One unit for each field or frame: cut before the headers that lead to a new picture.
fn pictures(
    data: &[u8],
    begins: impl Fn(&[u8]) -> bool,
    belongs: impl Fn(u8) -> bool,
) -> Vec<Vec<u8>> {
    let starts = start_codes(data);
    let mut cuts = Vec::new();
    let mut headers_from = None;
    let mut seen = false;
    for at in &starts {
        let kind = data[at + 3];
        if begins(&data[at + 3..]) {
            if seen {
                cuts.push(headers_from.unwrap_or(*at));
            }
            seen = true;
            headers_from = None;
        } else if belongs(kind) {
            headers_from = None;
        } else {
            headers_from = headers_from.or(Some(*at));
        }
    }
    let mut units = Vec::new();
    let mut from = 0;
    for cut in cuts.into_iter().chain([data.len()]) {
        units.push(data[from..cut].to_vec());
        from = cut;
    }
    units
}

/// The frames of a VP9 superframe (Annex B of its specification).
fn superframe(data: &[u8]) -> Vec<Vec<u8>> {
    let marker = data.last().copied().unwrap_or(0);
    let (count, width) = (
        usize::from(marker & 7) + 1,
        usize::from(marker >> 3 & 3) + 1,
    );
    let index = 2 + count * width;
    if marker & 0xe0 != 0xc0 || data.len() < index || data[data.len() - index] != marker {
        return vec![data.to_vec()];
    }
    let sizes = &data[data.len() - index + 1..data.len() - 1];
    let mut rest = data;
    let frames = sizes.chunks(width).map(|size| {
        let size = size
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | usize::from(*byte));
        let (frame, after) = rest.split_at(size);
        rest = after;
        frame.to_vec()
    });
    frames.filter(|frame| !frame.is_empty()).collect()
}

impl Stream {
    /// One unit for each field or frame.
    fn units(&self) -> Vec<Vec<u8>> {
        let cut = |packet: &Vec<u8>| match self.codec {
            StatelessCodec::H264 => pictures(
                packet,
                |unit| {
                    matches!(unit[0] & 0x1f, 1 | 2 | 5)
                        && unit.get(1).is_some_and(|first| first & 0x80 != 0)
                },
                |kind| matches!(kind & 0x1f, 1..=5),
            ),
            StatelessCodec::Mpeg2 => pictures(
                packet,
                |unit| unit[0] == 0,
                |kind| matches!(kind, 1..=0xaf | 0xb5 | 0xb2),
            ),
            StatelessCodec::Vp9 => superframe(packet),
            StatelessCodec::Vp8 => vec![packet.clone()],
        };
        self.packets.iter().flat_map(cut).collect()
    }
}

/// Rows put together as they are finished.
#[derive(Default)]
struct Assembly {
    planes: [Vec<u8>; 3],
    strides: [usize; 3],
    /// End of the rows that followed each other; `None` after a gap.
    to: Option<u32>,
}

impl Assembly {
    fn new() -> Self {
        Self {
            to: Some(0),
            ..Self::default()
        }
    }

    fn take(&mut self, rows: &Rows<'_>) {
        self.to = self.to.filter(|to| rows.first() <= *to);
        if self.to.is_none() {
            return;
        }
        self.to = Some(rows.first() + rows.count());
        for (index, plane) in self.planes.iter_mut().enumerate() {
            let Some((bytes, stride)) = rows.plane(index) else {
                continue;
            };
            let subsampled = index > 0 && rows.format().chroma() == Some("4:2:0");
            let at = (rows.first() as usize >> usize::from(subsampled)) * stride;
            plane.resize(plane.len().max(at + bytes.len()), 0);
            plane[at..at + bytes.len()].copy_from_slice(bytes);
            self.strides[index] = stride;
        }
    }

    /// The digest of the rows that were put together.
    fn digest(&self, picture: Picture<'_>) -> u64 {
        let planes = (0..3).map(|plane| {
            let (width, height) = (picture.visible_width(), self.to.unwrap_or(0));
            let (row, rows) = extent(picture.format(), plane, width, height);
            (&self.planes[plane][..], self.strides[plane], row, rows)
        });
        digest(planes)
    }
}

#[derive(Default)]
struct Outcome {
    pictures: Vec<Seen>,
    /// Units that completed the picture of the unit before.
    second_fields: Vec<usize>,
    without: usize,
    /// Pictures that came in rows.
    assembled: usize,
    complaints: Vec<String>,
    memory: usize,
}

fn decode(codec: StatelessCodec, units: &[Vec<u8>], by_rows: bool) -> Outcome {
    let mut decoder = AccessUnitDecoder::open(codec, LIMITS).unwrap();
    let mut outcome = Outcome::default();
    for (index, unit) in units.iter().enumerate() {
        let id = index as u64;
        let mut assembly = Assembly::new();
        let decoded = match by_rows {
            true => decoder.decode_with(&[unit], id, Destination::Own, &mut |rows| {
                assembly.take(&rows)
            }),
            false => decoder.decode(&[unit], id),
        };
        match decoded {
            Ok(decoded) => {
                let sound = decoded.damage.is_none();
                let damage = decoded.damage.map(|damage| format!("{id}: {damage}"));
                outcome.complaints.extend(damage);
                let Some(picture) = decoded.picture else {
                    outcome.without += 1;
                    continue;
                };
                assert!(by_rows || picture.is_whole());
                let mut seen = of_picture(picture);
                if assembly.to == Some(picture.visible_height()) {
                    outcome.assembled += 1;
                    let assembled = assembly.digest(picture);
                    // What is guessed in the end changes rows that were handed out.
                    let same = assembled == seen.2 || !picture.is_whole();
                    assert!(same || !sound, "unit {id}");
                    seen.2 = assembled;
                }
                if picture.unit() < id {
                    assert_eq!(picture.unit(), id - 1);
                    outcome.second_fields.push(index);
                    outcome.pictures.pop();
                }
                outcome.pictures.push(seen);
            }
            Err(error) => outcome.complaints.push(error.to_string()),
        }
        outcome.memory = outcome.memory.max(decoder.memory());
    }
    outcome
}

/// Both fields of a picture in one unit.
fn joined(units: &[Vec<u8>], second_fields: &[usize]) -> Vec<Vec<u8>> {
    let mut out: Vec<Vec<u8>> = Vec::new();
    for (index, unit) in units.iter().enumerate() {
        match out.last_mut() {
            Some(first) if second_fields.contains(&index) => first.extend_from_slice(unit),
            _ => out.push(unit.clone()),
        }
    }
    out
}

/// How many of the shown pictures are not among those decoded.
fn missing(shown: &[Seen], decoded: &[Seen]) -> usize {
    let mut counts: HashMap<Seen, usize> = HashMap::new();
    for seen in decoded {
        *counts.entry(*seen).or_default() += 1;
    }
    let absent = shown.iter().filter(|seen| {
        let count = counts.entry(**seen).or_default();
        let absent = *count == 0;
        *count = count.saturating_sub(1);
        absent
    });
    absent.count()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path)
            } else {
                found.push(path)
            }
        }
    }
    found.sort();
    found
}

const LIMITS: AccessUnitLimits = AccessUnitLimits {
    max_width: 8192,
    max_height: 8192,
    max_pictures: 36,
    max_bytes: 1 << 29,
};

/// Decodes a file in each way; lines for what is not as it should be, and what came of it.
fn check(path: &Path, stream: &Stream, may_be_damaged: bool) -> (Vec<String>, Outcome) {
    let units = stream.units();
    let by_rows = decode(stream.codec, &units, true);
    let mut ways = vec![("rows", &by_rows)];
    // Without fields, and without rows that come early, all ways are the same.
    let others = matches!(stream.codec, StatelessCodec::H264 | StatelessCodec::Mpeg2).then(|| {
        let pairs = joined(&units, &by_rows.second_fields);
        let in_pairs = decode(stream.codec, &pairs, true);
        (decode(stream.codec, &units, false), in_pairs)
    });
    if let Some((whole, in_pairs)) = &others {
        ways.extend([("units", whole), ("pairs", in_pairs)]);
    }
    let mut lines = Vec::new();
    for (way, outcome) in ways {
        let sound = outcome.complaints.is_empty();
        let missing = missing(&stream.shown, &outcome.pictures);
        // A picture that VP9 shows again was decoded once only, and the unit that says so has none.
        if (missing > outcome.without) && sound || !sound && !may_be_damaged {
            lines.push(format!(
                "{} in {way}: {} shown, {} decoded, {missing} missing, {} units without, {:?}",
                path.display(),
                stream.shown.len(),
                outcome.pictures.len(),
                outcome.without,
                outcome.complaints.first()
            ));
        }
        if sound && outcome.pictures != by_rows.pictures {
            lines.push(format!("{} in {way}: other pictures", path.display()));
        }
    }
    if by_rows.without > 0 && stream.codec != StatelessCodec::Vp9 && !may_be_damaged {
        lines.push(format!("{}: units without picture", path.display()));
    }
    (lines, by_rows)
}

#[test]
fn carried_streams() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/media/decode");
    // File, units, pictures, how many of them come in rows.
    let rows = [
        ("64x64-I-P-B-P.h264", 3, 3, 3),
        ("cars_320x240.h264", 30, 30, 30),
        ("sample_h262_mpeg_audio.ts", 3, 3, 3),
        ("field-pictures.m2v", 20, 10, 10),
        ("dual-prime.m2v", 12, 6, 6),
        ("vp8.webm", 10, 10, 0),
        // Two of its packets hold a picture that is not shown beside one that is.
        ("bear-vp9-odd-dimensions.webm", 32, 32, 0),
    ];
    for (file, units, pictures, in_rows) in rows {
        let stream = read(&folder.join(file)).unwrap();
        let (wrong, outcome) = check(Path::new(file), &stream, false);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        let seen = (
            stream.units().len(),
            outcome.pictures.len(),
            outcome.assembled,
        );
        assert_eq!(seen, (units, pictures, in_rows), "{file}");
    }
}

#[test]
fn limits_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/media/decode");
    let stream = read(&folder.join("cars_320x240.h264")).unwrap();
    let units = stream.units();
    let rows = [
        // Limits, whether the first unit decodes, whether all do.
        (LIMITS, true, true),
        (
            AccessUnitLimits {
                max_width: 319,
                ..LIMITS
            },
            false,
            false,
        ),
        (
            AccessUnitLimits {
                max_height: 239,
                ..LIMITS
            },
            false,
            false,
        ),
        (
            AccessUnitLimits {
                max_pictures: 1,
                ..LIMITS
            },
            true,
            false,
        ),
        (
            AccessUnitLimits {
                max_bytes: 250_000,
                ..LIMITS
            },
            true,
            false,
        ),
        (
            AccessUnitLimits {
                max_bytes: 1000,
                ..LIMITS
            },
            false,
            false,
        ),
    ];
    for (limits, first, all) in rows {
        let mut decoder = AccessUnitDecoder::open(stream.codec, limits).unwrap();
        let mut sound = Vec::new();
        for (id, unit) in (0..).zip(&units) {
            let decoded = decoder.decode(&[unit], id);
            sound.push(matches!(decoded, Ok(decoded) if decoded.damage.is_none()));
            let held = (0..=id).filter(|unit| decoder.holds(*unit)).count();
            assert!(held <= limits.max_pictures, "{limits:?}: {held}");
            assert!(
                decoder.memory() <= limits.max_bytes + (1 << 20),
                "{limits:?}"
            );
        }
        let outcome = (sound[0], sound.iter().all(|sound| *sound));
        assert_eq!(outcome, (first, all), "{limits:?}");
    }
}

#[test]
fn memory_is_used_again() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/media/decode");
    let stream = read(&folder.join("cars_320x240.h264")).unwrap();
    let mut decoder = AccessUnitDecoder::open(stream.codec, LIMITS).unwrap();
    let mut after_each = Vec::new();
    for _ in 0..4 {
        for (id, unit) in (0..).zip(stream.units()) {
            decoder.decode(&[&unit], id).unwrap();
        }
        after_each.push(decoder.memory());
    }
    assert_eq!(after_each[1], after_each[3], "{after_each:?}");
    decoder.flush();
    assert!(!(0..100).any(|unit| decoder.holds(unit)));
    assert_eq!(decoder.memory(), after_each[3]);
}

#[test]
fn every_shown_picture_is_a_units() {
    let Some(folder) = std::env::var_os("KINORA_MEDIA").map(PathBuf::from) else {
        eprintln!("KINORA_MEDIA is not set: real-world media not checked");
        return;
    };
    let mut lines = Vec::new();
    let mut streams: HashMap<&str, usize> = HashMap::new();
    let mut second_fields = HashMap::new();
    let mut assembled = 0;
    for path in files(&folder) {
        let Some(stream) = read(&path) else { continue };
        let name = path.strip_prefix(&folder).unwrap();
        let (wrong, outcome) = check(name, &stream, name.starts_with("robust"));
        lines.extend(wrong);
        *streams.entry(stream.codec.name()).or_default() += 1;
        let file = name.file_name().unwrap().to_string_lossy().into_owned();
        second_fields.insert(file, outcome.second_fields.len());
        assembled += outcome.assembled;
    }
    assert!(lines.is_empty(), "{streams:?}:\n{}", lines.join("\n"));
    for (codec, least) in [("mpeg2", 4), ("h264", 140), ("vp8", 40), ("vp9", 90)] {
        assert!(streams[codec] >= least, "{streams:?}");
    }
    for (file, count) in [
        ("HCAFF1_HHI.264", 4),
        ("HPCAFL_BRCM_C.264", 150),
        ("freh10.264", 100),
        ("freh11.264", 100),
        ("freh3.264", 0),
    ] {
        assert_eq!(second_fields.get(file), Some(&count), "{file}");
    }
    assert!(assembled > 5000, "{assembled} pictures came in rows");
}

/// What a written unit must come to.
struct Expected {
    /// The unit whose picture it is, and the luma of its rows, from row to row of macroblocks in
    /// frames and to and fro in fields.
    picture: Option<(u64, Vec<u8>)>,
    sound: bool,
    stand_ins: u32,
}

/// A unit, and what it must come to.
type Written = (Vec<u8>, Expected);

fn slice(
    structure: Structure,
    frame_num: u32,
    idr: bool,
    macroblock: u32,
    value: Option<u8>,
) -> Slice {
    Slice {
        structure,
        frame_num,
        idr,
        macroblock,
        value,
    }
}

/// The luma of the first column.
fn column(picture: Picture<'_>) -> Vec<u8> {
    let (luma, stride) = picture.plane(0).unwrap();
    luma.chunks(stride).map(|row| row[0]).collect()
}

/// Rows of two fields.
fn woven(top: &[u8], bottom: &[u8]) -> Vec<u8> {
    let rows = |values: &[u8]| {
        values
            .iter()
            .flat_map(|value| [*value; 16])
            .collect::<Vec<_>>()
    };
    let pairs = rows(top).into_iter().zip(rows(bottom));
    pairs.flat_map(|(top, bottom)| [top, bottom]).collect()
}

fn stacked(values: &[u8]) -> Vec<u8> {
    values.iter().flat_map(|value| [*value; 16]).collect()
}

#[test]
fn written_units() {
    use Structure::{Bottom, Frame, Top};
    let sets = |gaps| parameter_sets(3, gaps);
    let field = |structure, frame_num, idr, values: &[Option<u8>]| -> Vec<u8> {
        let slices = (0..).zip(values);
        slices
            .flat_map(|(at, value)| slice(structure, frame_num, idr, at, *value).nal())
            .collect()
    };
    let pcm = |values: &[u8]| values.iter().copied().map(Some).collect::<Vec<_>>();
    let [a, b, c] = [[50, 60, 70], [80, 90, 100], [110, 120, 130]];
    let six = [20, 30, 40, 50, 60, 70];
    let first = [sets(false), field(Top, 0, true, &pcm(&a))].concat();
    let whole = [sets(true), field(Frame, 0, true, &pcm(&six))].concat();
    let good = |unit, rows| Expected {
        picture: Some((unit, rows)),
        sound: true,
        stand_ins: 0,
    };
    let bad = || Expected {
        picture: None,
        sound: false,
        stand_ins: 0,
    };
    let top_only = |unit| Expected {
        picture: Some((unit, Vec::new())),
        sound: true,
        stand_ins: 0,
    };
    let rows: Vec<(&str, Vec<Written>)> = vec![
        (
            "a field of its own, one copied from it, then a pair that is copied",
            vec![
                (first.clone(), top_only(0)),
                (field(Bottom, 0, false, &[None; 3]), good(0, woven(&a, &a))),
                (field(Top, 1, false, &pcm(&b)), top_only(2)),
                (field(Bottom, 1, false, &pcm(&c)), good(2, woven(&b, &c))),
                (field(Top, 2, false, &[None; 3]), top_only(4)),
                (field(Bottom, 2, false, &[None; 3]), good(4, woven(&b, &c))),
            ],
        ),
        (
            "both fields in one unit",
            vec![(
                [first.clone(), field(Bottom, 0, false, &pcm(&c))].concat(),
                good(0, woven(&a, &c)),
            )],
        ),
        (
            "a field without its second, then a pair",
            vec![
                (first.clone(), top_only(0)),
                (field(Top, 1, false, &pcm(&b)), top_only(1)),
                (field(Bottom, 1, false, &pcm(&c)), good(1, woven(&b, &c))),
            ],
        ),
        (
            "a field that lacks its second row",
            vec![
                (first.clone(), top_only(0)),
                (
                    [
                        slice(Bottom, 0, false, 0, Some(9)).nal(),
                        slice(Bottom, 0, false, 2, Some(9)).nal(),
                    ]
                    .concat(),
                    bad(),
                ),
            ],
        ),
        (
            "a first field that lacks its last row",
            vec![(
                [sets(false), field(Top, 0, true, &pcm(&a[..2]))].concat(),
                bad(),
            )],
        ),
        (
            "a frame, and one that lacks rows",
            vec![
                (whole.clone(), good(0, stacked(&six))),
                (field(Frame, 1, false, &pcm(&six[..4])), bad()),
            ],
        ),
        (
            "a gap in frame_num that is allowed",
            vec![
                (whole.clone(), good(0, stacked(&six))),
                (
                    field(Frame, 3, false, &[None; 6]),
                    Expected {
                        stand_ins: 2,
                        ..good(1, stacked(&six))
                    },
                ),
            ],
        ),
        (
            "a picture whose reference is missing",
            vec![(
                [sets(false), field(Frame, 0, false, &[None; 6])].concat(),
                bad(),
            )],
        ),
        (
            "pictures whose reference is made up",
            vec![(
                [sets(false), field(Frame, 1, false, &[None; 6])].concat(),
                Expected {
                    stand_ins: 1,
                    ..good(0, Vec::new())
                },
            )],
        ),
        (
            "headers without a picture, noise, nothing, and a picture again",
            vec![
                (sets(false), bad()),
                (vec![0, 0, 1, 0x65, 0x88, 0x80, 1, 2, 3], bad()),
                (Vec::new(), bad()),
                (whole.clone(), good(3, stacked(&six))),
            ],
        ),
    ];
    for (name, units) in rows {
        let mut decoder = AccessUnitDecoder::open(StatelessCodec::H264, LIMITS).unwrap();
        for (id, (unit, expected)) in (0..).zip(&units) {
            let at = format!("{name}: unit {id}");
            let decoded = match decoder.decode_with(&[unit], id, Destination::Own, &mut |_| {}) {
                Ok(decoded) => decoded,
                Err(error) => {
                    assert!(!expected.sound, "{at}: {error}");
                    continue;
                }
            };
            let sound = decoded.damage.is_none() && decoded.picture.is_some();
            assert_eq!(sound, expected.sound, "{at}: {decoded:?}");
            let (Some(picture), Some((unit, rows))) = (decoded.picture, &expected.picture) else {
                continue;
            };
            assert_eq!(decoded.stand_ins, expected.stand_ins, "{at}: {decoded:?}");
            assert_eq!(picture.unit(), *unit, "{at}");
            if !rows.is_empty() {
                assert_eq!(&column(picture), rows, "{at}");
            }
        }
    }
}
