//! MPEG transport stream segments: a writer that needs no state from the segment before, and a
//! reader for the checker.
//!
//! ISO/IEC 13818-1 (2.4.3 packets, 2.4.3.6 PES, 2.4.4 PAT and PMT), RFC 8216 3.2. Each segment
//! starts with PAT and PMT. RFC 8216 6.2.1 wants continuity counters to run on from segment to
//! segment; they are four bits, so a segment in which every PID has a multiple of 16 packets starts
//! and ends at counter 0 whatever came before. A few packets are filled less to reach that (and PAT
//! and PMT stand there 16 times): about 8 KB a segment, half of what FFmpeg's muxer spends on tables
//! in 4 s. A segment thus depends on nothing but its own content.

use crate::h264;
use crate::iframes::Key;
use crate::sample::{Pictures, Sound, SoundFormat};

const PACKET: usize = 188;
const PAT_PID: u16 = 0;
const PMT_PID: u16 = 0x1000;
const VIDEO_PID: u16 = 0x100;
const AUDIO_PID: u16 = 0x101;
/// Values of a continuity counter.
const COUNTERS: usize = 16;
/// AAC frames in one PES packet: a header for each would cost 6 % of the sound.
const FRAMES_PER_PES: usize = 8;
/// The same where the sound carries the clock reference, which is due every 100 ms (2.7.2).
const FRAMES_PER_CLOCK: usize = 4;
/// Access unit delimiter that allows any slice type; every access unit of a segment has one.
const DELIMITER: [u8; 6] = [0, 0, 0, 1, h264::AUD, 0xf0];
/// Sampling rates by their index (ISO/IEC 14496-3 table 1.18).
const SAMPLE_RATES: [u32; 13] = [
    96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350,
];

/// A PES packet before it is cut into transport packets.
struct Pes {
    pid: u16,
    /// Decode time, by which pictures and sound are interleaved; also the clock reference.
    time: i64,
    random_access: bool,
    data: Vec<u8>,
}

/// A segment on its way that is written in parts: where its continuity counters are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Carry {
    counters: [u8; 4],
}

/// One segment with these pictures and, if there is any, this sound.
pub fn write(pictures: &Pictures, sound: Option<&Sound>) -> Vec<u8> {
    let units = interleaved(pictures, sound);
    multiplex(
        &units,
        VIDEO_PID,
        sound.is_some(),
        COUNTERS,
        true,
        &mut Carry::default(),
    )
}

/// The next part of a segment, which starts with tables as a segment does. After the last one every
/// counter is where the segment began.
pub fn write_part(
    pictures: &Pictures,
    sound: Option<&Sound>,
    last: bool,
    carry: &mut Carry,
) -> Vec<u8> {
    let units = interleaved(pictures, sound);
    multiplex(&units, VIDEO_PID, sound.is_some(), 1, last, carry)
}

fn interleaved(pictures: &Pictures, sound: Option<&Sound>) -> Vec<Pes> {
    let mut units = picture_pes(pictures);
    if let Some(sound) = sound {
        units.extend(sound_pes(sound, FRAMES_PER_PES));
        units.sort_by_key(|pes| pes.time);
    }
    units
}

/// One segment of sound alone.
pub fn write_sound(sound: &Sound) -> Vec<u8> {
    let units = sound_pes(sound, FRAMES_PER_CLOCK);
    multiplex(
        &units,
        AUDIO_PID,
        true,
        COUNTERS,
        true,
        &mut Carry::default(),
    )
}

/// The next part of a segment of sound alone.
pub fn write_sound_part(sound: &Sound, last: bool, carry: &mut Carry) -> Vec<u8> {
    let units = sound_pes(sound, FRAMES_PER_CLOCK);
    multiplex(&units, AUDIO_PID, true, 1, last, carry)
}

/// The transport packets of these units, of which those with the PID `clock` carry the clock
/// reference, with so many pairs of tables among them. The `last` ones of a segment are padded.
fn multiplex(
    units: &[Pes],
    clock: u16,
    sound: bool,
    tables_due: usize,
    last: bool,
    carry: &mut Carry,
) -> Vec<u8> {
    let pairs_due = units.iter().filter(|pes| pes.pid == clock).count();
    let extra = match last {
        true => padding(units, clock, carry),
        false => vec![0; units.len()],
    };
    let size: usize = units.iter().map(|pes| pes.data.len()).sum();
    let mut writer = Writer {
        out: Vec::with_capacity(size / 170 * PACKET + 8192),
        counters: carry.counters,
        clock,
    };
    let tables = [pat(), pmt(clock, sound)];
    let (mut seen, mut pairs) = (0, 0);
    for (pes, extra) in units.iter().zip(extra) {
        if pes.pid == clock || pairs == 0 {
            let due = (seen * tables_due / pairs_due.max(1) + 1).min(tables_due);
            writer.tables(&tables, due - pairs.min(due));
            pairs = pairs.max(due);
            seen += usize::from(pes.pid == clock);
        }
        writer.pes(pes, extra);
    }
    if last {
        let missing = COUNTERS - usize::from(writer.counters[counter(PAT_PID)]);
        writer.tables(&tables, missing % COUNTERS);
    }
    carry.counters = writer.counters;
    writer.out
}

fn picture_pes(pictures: &Pictures) -> Vec<Pes> {
    let times = pictures.decode_times();
    let with_time = pictures.pictures.iter().zip(times);
    with_time
        .map(|(picture, dts)| {
            let mut data = pes_header(0xe0, picture.pts, Some(dts), None);
            data.extend(DELIMITER);
            if picture.idr {
                for set in &pictures.headers.sets {
                    data.extend([0, 0, 0, 1]);
                    data.extend(set);
                }
            }
            for nal in h264::length_prefixed(&picture.data, 4).unwrap_or_default() {
                data.extend([0, 0, 0, 1]);
                data.extend(nal);
            }
            Pes {
                pid: VIDEO_PID,
                time: dts,
                random_access: picture.idr,
                data,
            }
        })
        .collect()
}

fn sound_pes(sound: &Sound, frames_per_pes: usize) -> Vec<Pes> {
    let firsts = (sound.first..).step_by(frames_per_pes);
    let groups = sound.frames.chunks(frames_per_pes).zip(firsts);
    groups
        .map(|(frames, first)| {
            let mut payload = Vec::new();
            for frame in frames {
                payload.extend(adts_header(&sound.format, frame.len()));
                payload.extend(frame);
            }
            let time = sound.format.frame_time(first);
            let mut data = pes_header(0xc0, time, None, Some(payload.len()));
            data.extend(payload);
            Pes {
                pid: AUDIO_PID,
                time,
                random_access: true,
                data,
            }
        })
        .collect()
}

/// PES header with one or two times. Pictures leave the length open, as only video may.
fn pes_header(stream_id: u8, pts: i64, dts: Option<i64>, length: Option<usize>) -> Vec<u8> {
    let dts = dts.filter(|&dts| dts != pts);
    let times = if dts.is_some() { 10 } else { 5 };
    let length = length.map_or(0, |length| length + 3 + times);
    let length = u16::try_from(length).unwrap_or(0).to_be_bytes();
    let flags = if dts.is_some() { 0xc0 } else { 0x80 };
    let mut header = vec![
        0,
        0,
        1,
        stream_id,
        length[0],
        length[1],
        0x84,
        flags,
        times as u8,
    ];
    header.extend(timestamp(if dts.is_some() { 3 } else { 2 }, pts));
    if let Some(dts) = dts {
        header.extend(timestamp(1, dts));
    }
    header
}

/// 33 bits with a marker after every part (2.4.3.7).
fn timestamp(prefix: u8, time: i64) -> [u8; 5] {
    let time = time as u64 & 0x1_ffff_ffff;
    [
        prefix << 4 | ((time >> 30) as u8 & 7) << 1 | 1,
        (time >> 22) as u8,
        ((time >> 15) as u8) << 1 | 1,
        (time >> 7) as u8,
        (time as u8) << 1 | 1,
    ]
}

/// ISO/IEC 14496-3 1.A.2.2: MPEG-4, no CRC.
fn adts_header(format: &SoundFormat, frame: usize) -> [u8; 7] {
    let index = SAMPLE_RATES
        .iter()
        .position(|&rate| rate == format.sample_rate)
        .unwrap_or(3) as u8;
    let object_type = format.config.first().map_or(2, |byte| byte >> 3).max(1);
    let channels = format.channels as u8;
    let length = (frame + 7) as u16;
    [
        0xff,
        0xf1,
        (object_type - 1) << 6 | index << 2 | channels >> 2 & 1,
        channels << 6 | (length >> 11) as u8 & 3,
        (length >> 3) as u8,
        (length as u8) << 5 | 0x1f,
        0xfc,
    ]
}

/// How many packets more than needed each unit takes, so that every PID has a multiple of 16. Spread
/// over the last units, one each, because a packet needs at least a byte to carry.
fn padding(units: &[Pes], clock: u16, carry: &Carry) -> Vec<usize> {
    let mut extra = vec![0; units.len()];
    for pid in [VIDEO_PID, AUDIO_PID] {
        let packets: usize = units
            .iter()
            .filter(|pes| pes.pid == pid)
            .map(|pes| packets_needed(pes, clock))
            .sum();
        let packets = packets + usize::from(carry.counters[counter(pid)]);
        let mut missing = (COUNTERS - packets % COUNTERS) % COUNTERS;
        while missing > 0 {
            let before = missing;
            for (pes, extra) in units.iter().zip(&mut extra).rev() {
                let room = pes.data.len() > packets_needed(pes, clock) + *extra;
                if pes.pid == pid && room && missing > 0 {
                    *extra += 1;
                    missing -= 1;
                }
            }
            if missing == before {
                break;
            }
        }
    }
    extra
}

/// The first packet of a unit with the PID `clock` also carries the clock reference, that of any
/// random access point the flag that says so.
fn adaptation(pes: &Pes, clock: u16) -> usize {
    if pes.pid == clock {
        8
    } else if pes.random_access {
        2
    } else {
        0
    }
}

fn packets_needed(pes: &Pes, clock: u16) -> usize {
    let first = PACKET - 4 - adaptation(pes, clock);
    1 + pes.data.len().saturating_sub(first).div_ceil(PACKET - 4)
}

/// Which of the counters a PID has.
fn counter(pid: u16) -> usize {
    match pid {
        PAT_PID => 0,
        PMT_PID => 1,
        VIDEO_PID => 2,
        _ => 3,
    }
}

struct Writer {
    out: Vec<u8>,
    counters: [u8; 4],
    clock: u16,
}

impl Writer {
    fn tables(&mut self, tables: &[Vec<u8>; 2], pairs: usize) {
        for _ in 0..pairs {
            self.section(PAT_PID, &tables[0]);
            self.section(PMT_PID, &tables[1]);
        }
    }

    fn section(&mut self, pid: u16, section: &[u8]) {
        self.header(pid, true, false);
        self.out.push(0); // pointer_field
        self.out.extend(section);
        let filled = 5 + section.len();
        self.out.resize(self.out.len() + PACKET - filled, 0xff);
    }

    fn header(&mut self, pid: u16, start: bool, adaptation: bool) {
        let counter = counter(pid);
        let [high, low] = pid.to_be_bytes();
        let control = if adaptation { 0x30 } else { 0x10 };
        self.out.extend([
            0x47,
            u8::from(start) << 6 | high,
            low,
            control | self.counters[counter],
        ]);
        self.counters[counter] = (self.counters[counter] + 1) % COUNTERS as u8;
    }

    fn pes(&mut self, pes: &Pes, extra: usize) {
        let packets = packets_needed(pes, self.clock) + extra;
        let mut rest = pes.data.as_slice();
        for number in 0..packets {
            let fields = if number == 0 {
                adaptation(pes, self.clock)
            } else {
                0
            };
            let room = PACKET - 4 - fields;
            // Leave every later packet a byte.
            let take = room.min(rest.len() - (packets - 1 - number));
            let stuffing = room - take;
            self.header(pes.pid, number == 0, fields + stuffing > 0);
            self.adaptation_field(pes, fields, stuffing);
            self.out.extend(&rest[..take]);
            rest = &rest[take..];
        }
    }

    /// `fields` bytes of flags and clock reference, then `stuffing` bytes, 0 for neither.
    fn adaptation_field(&mut self, pes: &Pes, fields: usize, stuffing: usize) {
        let total = fields + stuffing;
        if total == 0 {
            return;
        }
        self.out.push((total - 1) as u8);
        if total == 1 {
            return;
        }
        let end = self.out.len() + total - 1;
        let clock = fields == 8;
        let random_access = fields > 0 && pes.random_access;
        self.out
            .push(u8::from(random_access) << 6 | u8::from(clock) << 4);
        if clock {
            let base = pes.time.max(0) as u64 & 0x1_ffff_ffff;
            let [.., b4, b3, b2, b1, b0] = (base << 7).to_be_bytes();
            // Six reserved bits and a zero extension follow the 33 bits.
            self.out.extend([b4, b3, b2, b1, b0 | 0x7e, 0]);
        }
        self.out.resize(end, 0xff);
    }
}

fn pat() -> Vec<u8> {
    let [high, low] = PMT_PID.to_be_bytes();
    section(0x00, &[0, 1, 0xc1, 0, 0, 0, 1, 0xe0 | high, low])
}

/// Stream types: 0x1b H.264, 0x0f AAC in ADTS.
fn pmt(clock: u16, sound: bool) -> Vec<u8> {
    let [video_high, video_low] = VIDEO_PID.to_be_bytes();
    let [audio_high, audio_low] = AUDIO_PID.to_be_bytes();
    let [clock_high, clock_low] = clock.to_be_bytes();
    let mut body = vec![0, 1, 0xc1, 0, 0, 0xe0 | clock_high, clock_low, 0xf0, 0];
    if clock == VIDEO_PID {
        body.extend([0x1b, 0xe0 | video_high, video_low, 0xf0, 0]);
    }
    if sound {
        body.extend([0x0f, 0xe0 | audio_high, audio_low, 0xf0, 0]);
    }
    section(0x02, &body)
}

fn section(table: u8, body: &[u8]) -> Vec<u8> {
    let mut section = vec![table, 0xb0, (body.len() + 4) as u8];
    section.extend(body);
    section.extend(crc32(&section).to_be_bytes());
    section
}

/// Annex A: polynomial 0x04c11db7, most significant bit first, starting with ones.
fn crc32(data: &[u8]) -> u32 {
    data.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte) << 24, |crc, _| {
            crc << 1 ^ if crc >> 31 == 1 { 0x04c1_1db7 } else { 0 }
        })
    })
}

/// A picture or a group of sound frames as found in a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Display time.
    pub pts: i64,
    /// Decode time.
    pub dts: i64,
    /// Payload of the PES packet.
    pub data: Vec<u8>,
}

/// What is in a segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// Pictures in the order they stand there.
    pub video: Vec<Unit>,
    /// Groups of AAC frames with ADTS headers.
    pub audio: Vec<Unit>,
    /// First and last continuity counter of each PID that has a payload, by PID.
    pub counters: Vec<(u16, u8, u8)>,
    /// What breaks the standard.
    pub faults: Vec<String>,
}

/// The key pictures: the packets of each picture that is marked as a random access point.
pub fn random_access(data: &[u8]) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    let mut open = None;
    for (number, packet) in data.chunks_exact(PACKET).enumerate() {
        let pid = u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
        let (start, control) = (packet[1] & 0x40 != 0, packet[3] >> 4 & 3);
        if start && open == Some(pid) {
            open = None;
        }
        let fields = if control & 2 != 0 { packet[4] } else { 0 };
        let key = start && fields > 0 && packet[5] & 0x40 != 0;
        if key && open.is_none() {
            let payload = packet.get(5 + usize::from(fields)..).unwrap_or_default();
            let video = payload.get(3).is_some_and(|id| id & 0xf0 == 0xe0);
            let time = payload.get(9..14).and_then(read_timestamp);
            if let Some(pts) = time.filter(|_| video) {
                open = Some(pid);
                keys.push(Key {
                    offset: number * PACKET,
                    length: 0,
                    pts,
                });
            }
        }
        if let (true, Some(key)) = (open == Some(pid), keys.last_mut()) {
            key.length = (number + 1) * PACKET - key.offset;
        }
    }
    keys
}

/// Takes a segment apart. Anything that breaks the standard is a fault in the result.
pub fn read(data: &[u8]) -> Content {
    let mut reader = Reader::default();
    if data.len() % PACKET != 0 {
        reader.content.faults.push(format!(
            "size is not a multiple of {PACKET}: {}",
            data.len()
        ));
    }
    for (number, packet) in data.chunks_exact(PACKET).enumerate() {
        if reader.packet(packet).is_none() {
            reader
                .content
                .faults
                .push(format!("damaged packet at byte {}", number * PACKET));
        }
    }
    reader.finish()
}

#[derive(Default)]
struct Reader {
    content: Content,
    pmt: Option<u16>,
    /// PID and stream type.
    streams: Vec<(u16, u8)>,
    open: Vec<(u16, Vec<u8>)>,
}

impl Reader {
    fn packet(&mut self, packet: &[u8]) -> Option<()> {
        if packet[0] != 0x47 {
            return None;
        }
        let pid = u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
        let (start, control, counter) = (packet[1] & 0x40 != 0, packet[3] >> 4 & 3, packet[3] & 15);
        let skip = if control & 2 != 0 {
            1 + usize::from(packet[4])
        } else {
            0
        };
        if control & 1 == 0 || pid == 0x1fff {
            return Some(());
        }
        let payload = packet.get(4 + skip..)?;
        self.count(pid, counter);
        if pid == PAT_PID && start {
            self.pmt = Some(first_program(payload)?);
        } else if Some(pid) == self.pmt && start {
            self.streams = streams(payload)?;
        } else if self.streams.iter().any(|(stream, _)| *stream == pid) {
            if start {
                self.close(pid);
                self.open.push((pid, payload.to_vec()));
            } else if let Some((_, data)) = self.open.iter_mut().find(|(open, _)| *open == pid) {
                data.extend(payload);
            }
        }
        Some(())
    }

    fn count(&mut self, pid: u16, counter: u8) {
        let known = self
            .content
            .counters
            .iter_mut()
            .find(|(known, ..)| *known == pid);
        let Some((.., last)) = known else {
            self.content.counters.push((pid, counter, counter));
            return;
        };
        if counter != (*last + 1) % 16 {
            let text = format!("continuity counter of PID {pid:#x} jumps from {last} to {counter}");
            self.content.faults.push(text);
        }
        *last = counter;
    }

    fn close(&mut self, pid: u16) {
        let Some(at) = self.open.iter().position(|(open, _)| *open == pid) else {
            return;
        };
        let (_, data) = self.open.remove(at);
        let Some(unit) = pes(&data) else {
            self.content
                .faults
                .push(format!("damaged PES header in PID {pid:#x}"));
            return;
        };
        match self.streams.iter().find(|(stream, _)| *stream == pid) {
            Some((_, 0x1b)) => self.content.video.push(unit),
            Some((_, 0x0f)) => self.content.audio.push(unit),
            _ => {}
        }
    }

    fn finish(mut self) -> Content {
        for pid in self.streams.iter().map(|(pid, _)| *pid).collect::<Vec<_>>() {
            self.close(pid);
        }
        if self.streams.is_empty() {
            self.content.faults.push("no PAT and PMT".to_string());
        }
        self.content
    }
}

fn checked_section(payload: &[u8]) -> Option<&[u8]> {
    let section = payload.get(1 + usize::from(*payload.first()?)..)?;
    let length = usize::from(u16::from_be_bytes([
        section.get(1)? & 0x0f,
        *section.get(2)?,
    ]));
    let section = section.get(..3 + length)?;
    (crc32(section) == 0).then_some(section)
}

fn first_program(payload: &[u8]) -> Option<u16> {
    let programs = checked_section(payload)?.get(8..)?;
    let mut entries = programs
        .chunks_exact(4)
        .take(programs.len().saturating_sub(4) / 4);
    let entry = entries.find(|entry| entry[..2] != [0, 0])?;
    Some(u16::from_be_bytes([entry[2] & 0x1f, entry[3]]))
}

fn streams(payload: &[u8]) -> Option<Vec<(u16, u8)>> {
    let section = checked_section(payload)?;
    let skip = usize::from(u16::from_be_bytes([
        section.get(10)? & 0x0f,
        *section.get(11)?,
    ]));
    let mut rest = section.get(12 + skip..section.len().checked_sub(4)?)?;
    let mut streams = Vec::new();
    while let [kind, high, low, info_high, info_low, after @ ..] = rest {
        streams.push((u16::from_be_bytes([high & 0x1f, *low]), *kind));
        rest = after.get(usize::from(u16::from_be_bytes([info_high & 0x0f, *info_low]))..)?;
    }
    Some(streams)
}

fn pes(data: &[u8]) -> Option<Unit> {
    if data.get(..3)? != [0, 0, 1] {
        return None;
    }
    let flags = data.get(7)? >> 6;
    let payload = data.get(9 + usize::from(*data.get(8)?)..)?;
    let pts = read_timestamp(data.get(9..14)?).filter(|_| flags & 2 != 0)?;
    let dts = if flags == 3 {
        read_timestamp(data.get(14..19)?)?
    } else {
        pts
    };
    Some(Unit {
        pts,
        dts,
        data: payload.to_vec(),
    })
}

fn read_timestamp(bytes: &[u8]) -> Option<i64> {
    let &[a, b, c, d, e] = bytes else { return None };
    let [a, b, c, d, e] = [a, b, c, d, e].map(i64::from);
    Some((a >> 1 & 7) << 30 | b << 22 | c >> 1 << 15 | d << 7 | e >> 1)
}

/// The AAC frames in data with ADTS headers: sampling rate and how many. `None` when damaged.
pub fn adts_frames(mut data: &[u8]) -> Option<(u32, usize)> {
    let (mut rate, mut frames) = (0, 0);
    while !data.is_empty() {
        let header = data.first_chunk::<7>()?;
        if header[0] != 0xff || header[1] & 0xf6 != 0xf0 {
            return None;
        }
        rate = *SAMPLE_RATES.get(usize::from(header[2] >> 2 & 15))?;
        let [a, b, c] = [header[3] & 3, header[4], header[5]].map(usize::from);
        data = data.get((a << 11 | b << 3 | c >> 5).max(7)..)?;
        frames += 1;
    }
    Some((rate, frames))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::{Codec, Headers};
    use crate::sample::Picture;

    fn pictures(sizes: &[usize]) -> Pictures {
        let picture = |(number, &size): (usize, &usize)| {
            let mut nal = vec![if number == 0 { 0x65 } else { 0x41 }];
            nal.extend((1..size).map(|byte| (byte % 251) as u8 | 1));
            let mut data = (nal.len() as u32).to_be_bytes().to_vec();
            data.extend(&nal);
            Picture {
                pts: number as i64 * 3600,
                idr: number == 0,
                data,
            }
        };
        Pictures {
            headers: Headers {
                codec: Codec::H264,
                sets: vec![vec![0x67, 100, 0, 40], vec![0x68, 1]],
            },
            pictures: sizes.iter().enumerate().map(picture).collect(),
            before: Vec::new(),
            reorder: 0,
            end: sizes.len() as i64 * 3600,
        }
    }

    fn sound(frames: usize) -> Sound {
        let format = SoundFormat {
            sample_rate: 48000,
            channels: 2,
            config: vec![0x11, 0x90],
        };
        Sound {
            format,
            first: 0,
            frames: vec![vec![0x21; 300]; frames],
        }
    }

    fn check(sizes: &[usize], frames: usize) {
        let pictures = pictures(sizes);
        let sound = (frames > 0).then(|| sound(frames));
        let bytes = write(&pictures, sound.as_ref());
        let content = read(&bytes);
        assert_eq!(content.faults, Vec::<String>::new(), "{sizes:?}");
        for (pid, first, last) in &content.counters {
            assert_eq!((*first, *last), (0, 15), "PID {pid:#x} {sizes:?}");
        }
        assert_eq!(content.video.len(), sizes.len());
        for (unit, picture) in content.video.iter().zip(&pictures.pictures) {
            assert_eq!((unit.pts, unit.dts), (picture.pts, picture.pts));
            let nals = h264::annex_b(&unit.data);
            assert_eq!(h264::kind(nals[0]), h264::AUD);
            assert_eq!(nals.last().unwrap(), &&picture.data[4..]);
        }
        let sound_frames = content
            .audio
            .iter()
            .map(|unit| adts_frames(&unit.data).unwrap());
        let (rates, counts): (Vec<u32>, Vec<usize>) = sound_frames.unzip();
        assert_eq!(counts.iter().sum::<usize>(), frames);
        assert!(rates.iter().all(|&rate| rate == 48000));
    }

    #[test]
    fn counters_run_on_whatever_the_sizes() {
        check(&[1], 0);
        check(&[10, 10, 10], 1);
        check(&[100_000, 3000, 200, 150, 149, 148, 147], 188);
        for size in 130..200 {
            check(&[size], 3);
        }
        let many: Vec<usize> = (0..240).map(|n| 20 + n * 7).collect();
        check(&many, 400);
    }

    #[test]
    fn sound_stands_alone() {
        for frames in [1, 3, 4, 188] {
            let bytes = write_sound(&sound(frames));
            let content = read(&bytes);
            assert_eq!(content.faults, Vec::<String>::new(), "{frames}");
            for (pid, first, last) in &content.counters {
                assert_eq!((*first, *last), (0, 15), "PID {pid:#x} of {frames}");
            }
            let counts = content
                .audio
                .iter()
                .map(|unit| adts_frames(&unit.data).unwrap().1);
            assert_eq!((counts.sum::<usize>(), content.video.len()), (frames, 0));
            assert_eq!(random_access(&bytes), []);
        }
    }

    #[test]
    fn key_pictures_are_runs_of_packets() {
        for sizes in [&[100_000, 3000, 200][..], &[20, 20], &[1]] {
            let mut pictures = pictures(sizes);
            let last = sizes.len() - 1;
            pictures.pictures[last].idr = true;
            let bytes = write(&pictures, Some(&sound(9)));
            let keys = random_access(&bytes);
            let times: Vec<i64> = keys.iter().map(|key| key.pts).collect();
            let mut expected = vec![0, last as i64 * 3600];
            expected.dedup();
            assert_eq!(times, expected);
            for key in keys {
                // With the tables that open every segment, the picture and nothing else.
                let alone = [&bytes[..2 * PACKET], &bytes[key.offset..][..key.length]].concat();
                let content = read(&alone);
                assert_eq!(content.faults, Vec::<String>::new(), "{key:?}");
                assert_eq!((content.video.len(), content.audio.len()), (1, 0));
                assert_eq!(content.video[0].pts, key.pts);
            }
        }
    }

    #[test]
    fn times_survive_the_packing() {
        for time in [0, 1, 90_000, (1 << 33) - 1, 0x1_2345_6789] {
            assert_eq!(read_timestamp(&timestamp(2, time)), Some(time));
        }
    }

    #[test]
    fn damage_is_reported() {
        let bytes = write(&pictures(&[5000, 300]), None);
        let faults = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut changed = bytes.clone();
            change(&mut changed);
            read(&changed).faults
        };
        assert!(faults(&|_| ()).is_empty());
        assert!(!faults(&|data| data.truncate(data.len() - 7)).is_empty());
        assert!(!faults(&|data| drop(data.drain(5 * PACKET..6 * PACKET))).is_empty());
        assert!(!faults(&|data| data[PACKET] = 0).is_empty());
        assert!(!faults(&|data| data.iter_mut().for_each(|byte| *byte = 0x47)).is_empty());
    }
}
