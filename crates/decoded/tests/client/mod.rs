//! The other side: from a file to the messages that the module would make of a V4L2 client's
//! requests. Headers are read, references and buffers followed, and controls filled in as far as
//! the daemon looks at them.

mod h264;
mod split;

use bitstream::{mpeg2, vp8, vp9};
use decoded::wire::{Codec, compose};
use media::{Decoder, Frame, Input, OpenOptions};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::path::Path;
use v4l2::uapi::controls::mpeg2::{
    V4L2_CID_STATELESS_MPEG2_PICTURE, V4L2_CID_STATELESS_MPEG2_QUANTISATION,
    V4L2_CID_STATELESS_MPEG2_SEQUENCE, v4l2_ctrl_mpeg2_picture, v4l2_ctrl_mpeg2_quantisation,
    v4l2_ctrl_mpeg2_sequence,
};
use v4l2::uapi::controls::vp8::{V4L2_CID_STATELESS_VP8_FRAME, v4l2_ctrl_vp8_frame};
use v4l2::uapi::controls::vp9::{V4L2_CID_STATELESS_VP9_FRAME, v4l2_ctrl_vp9_frame};
use v4l2::uapi::kinora::{
    KINORA_DEC_JOB_CONTINUES, KINORA_DEC_JOB_HOLD, KINORA_DEC_MAX_REFERENCES, KINORA_DEC_NO_BUFFER,
    kinora_dec_job, kinora_dec_reference,
};
use v4l2::uapi::videodev2::V4L2_PIX_FMT_NV12;
use zerocopy::{FromZeros, IntoBytes};

/// A stream as jobs, and what the ordinary decoder shows of it.
pub struct Stream {
    pub codec: Codec,
    pub messages: Vec<Vec<u8>>,
    /// Pictures that are shown, in any order.
    pub shown: Vec<Seen>,
}

/// A picture's size and a digest of its samples.
pub type Seen = (u32, u32, u64);

/// More buffers than any stream refers to at a time.
const BUFFERS: u64 = 40;

/// A client of the module, and the part of the module that makes messages.
pub struct Client {
    codec: Codec,
    session: u64,
    messages: Vec<Vec<u8>>,
    /// By timestamp: the job that was decoded into the frame's buffer last.
    jobs: HashMap<u64, u64>,
    frames: u64,
}

/// Where a job's picture goes, and how fields share it.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub width: u32,
    pub height: u32,
    pub first_field: bool,
    pub second_field: bool,
}

impl Place {
    pub fn frame(width: u32, height: u32) -> Self {
        Self {
            width,
            height,
            first_field: false,
            second_field: false,
        }
    }
}

impl Client {
    pub fn new(codec: Codec, session: u64) -> Self {
        Self {
            codec,
            session,
            messages: Vec::new(),
            jobs: HashMap::new(),
            frames: 0,
        }
    }

    /// The timestamp that the next job has. As GStreamer's: a second field has its first field's.
    pub fn timestamp(&self, second_field: bool) -> u64 {
        (self.frames + u64::from(!second_field)) * 1000
    }

    /// Queues a request.
    pub fn queue(
        &mut self,
        place: Place,
        references: &[u64],
        controls: &[(u32, &[u8])],
        data: &[u8],
    ) {
        let timestamp = self.timestamp(place.second_field);
        self.frames += u64::from(!place.second_field);
        let mut all = [kinora_dec_reference::new_zeroed(); KINORA_DEC_MAX_REFERENCES];
        for (reference, &timestamp) in all.iter_mut().zip(references) {
            let job = self.jobs.get(&timestamp).copied();
            *reference = kinora_dec_reference {
                timestamp,
                job: job.unwrap_or(0),
                index: job.map_or(KINORA_DEC_NO_BUFFER, |_| index(timestamp)),
                generation: job.map_or(0, |_| index(timestamp) + 1),
            };
        }
        let job = self.messages.len() as u64 + 1;
        let stride = place.width.next_multiple_of(64);
        let index = index(timestamp);
        let head = kinora_dec_job {
            session: self.session,
            job,
            timestamp,
            coded: self.codec.fourcc(),
            flags: if place.first_field {
                KINORA_DEC_JOB_HOLD
            } else if place.second_field {
                KINORA_DEC_JOB_CONTINUES
            } else {
                0
            },
            raw: V4L2_PIX_FMT_NV12,
            width: place.width,
            height: place.height,
            stride,
            capture_size: stride * (place.height + place.height.div_ceil(2)),
            capture_index: index,
            capture_generation: index + 1,
            oldest_generation: 1,
            references_used: references.len() as u32,
            references: all,
            ..kinora_dec_job::new_zeroed()
        };
        self.messages.push(compose(&head, controls, data));
        self.jobs.insert(timestamp, job);
    }

    pub fn finish(self) -> Vec<Vec<u8>> {
        self.messages
    }
}

fn index(timestamp: u64) -> u32 {
    (timestamp / 1000 % BUFFERS) as u32
}

/// Reads a file; `None` when it holds no video of these codecs.
pub fn read(path: &Path) -> Option<Stream> {
    read_without(path, None)
}

/// As [`read`], when a packet of the file got lost on its way to the client.
pub fn read_without(path: &Path, lost: Option<usize>) -> Option<Stream> {
    let mut input = Input::open(path, &OpenOptions::default()).ok()?;
    let stream = input.best_video().ok()?.clone();
    let codec = match stream.codec() {
        "mpeg2video" => Codec::Mpeg2,
        "h264" => Codec::H264,
        "vp8" => Codec::Vp8,
        "vp9" => Codec::Vp9,
        _ => return None,
    };
    input.select(&[stream.index]);
    let mut decoder = Decoder::open(&stream, 1).ok()?;
    let mut packets: Vec<Vec<u8>> = Vec::new();
    let mut shown = Vec::new();
    let mut drain = |decoder: &mut Decoder| {
        loop {
            match decoder.receive() {
                Ok(Some(frame)) => shown.push(seen(&frame)),
                Ok(None) => break,
                Err(_) => {}
            }
        }
    };
    while let Ok(Some(packet)) = input.read() {
        packets.push(packet.data().to_owned());
        let _ = decoder.send(Some(&packet));
        drain(&mut decoder);
    }
    let _ = decoder.send(None);
    drain(&mut decoder);
    if let Some(lost) = lost {
        packets.remove(lost);
    }
    let messages = match codec {
        Codec::Mpeg2 => mpeg2_jobs(stream.extradata(), &packets),
        Codec::H264 => h264::jobs(stream.extradata(), &packets),
        Codec::Vp8 => vp8_jobs(&packets),
        Codec::Vp9 => vp9_jobs(&packets),
    };
    Some(Stream {
        codec,
        messages,
        shown,
    })
}

fn seen(frame: &Frame) -> Seen {
    let (width, height) = (frame.width(), frame.height());
    let mut hasher = DefaultHasher::new();
    for plane in 0..3 {
        if let Some((bytes, stride)) = frame.plane(plane) {
            let shift = usize::from(plane > 0);
            let row = (width as usize).div_ceil(1 << shift);
            let rows = (height as usize).div_ceil(1 << shift);
            for line in bytes.chunks(stride).take(rows) {
                hasher.write(&line[..row.min(line.len())]);
            }
        }
    }
    (width, height, hasher.finish())
}

/// The same of a part of an NV12 buffer.
pub fn seen_nv12(bytes: &[u8], (width, height): (u32, u32), (rows, stride): (u32, u32)) -> Seen {
    let stride = stride as usize;
    let mut hasher = DefaultHasher::new();
    let (luma, chroma) = bytes.split_at(stride * rows as usize);
    for line in luma.chunks(stride).take(height as usize) {
        hasher.write(&line[..width as usize]);
    }
    let columns = width.div_ceil(2) as usize;
    for plane in 0..2 {
        for line in chroma.chunks(stride).take(height.div_ceil(2) as usize) {
            let pairs = line.chunks_exact(2).take(columns);
            let row: Vec<u8> = pairs.map(|pair| pair[plane]).collect();
            hasher.write(&row);
        }
    }
    (width, height, hasher.finish())
}

fn vp8_jobs(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut client = Client::new(Codec::Vp8, 1);
    let mut state = vp8::State::new();
    for data in packets {
        let Ok(header) = state.parse(data) else {
            continue;
        };
        let frame = &header.frame;
        let references: Vec<u64> = match state.references() {
            Some(all) if !frame.is_key_frame() => vec![all.last, all.golden, all.alternate],
            _ => Vec::new(),
        };
        let control = v4l2_ctrl_vp8_frame {
            width: frame.width,
            height: frame.height,
            flags: frame.flags,
            last_frame_ts: references.first().copied().unwrap_or(0),
            ..v4l2_ctrl_vp8_frame::new_zeroed()
        };
        let timestamp = client.timestamp(false);
        client.queue(
            Place::frame(frame.width.into(), frame.height.into()),
            &references,
            &[(V4L2_CID_STATELESS_VP8_FRAME, control.as_bytes())],
            data,
        );
        state.decoded(&header, timestamp);
    }
    client.finish()
}

fn vp9_jobs(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut client = Client::new(Codec::Vp9, 1);
    let mut state = vp9::State::new();
    for data in packets.iter().flat_map(|packet| split::superframe(packet)) {
        let Ok(vp9::Header::Coded(coded)) = state.parse(data) else {
            continue;
        };
        let slots = state.references();
        let references: Vec<u64> = coded
            .ref_frame_idx
            .iter()
            .flatten()
            .map(|&slot| slots[usize::from(slot)].unwrap_or(0))
            .collect();
        let control = v4l2_ctrl_vp9_frame {
            flags: coded.frame.flags,
            frame_width_minus_1: coded.frame.frame_width_minus_1,
            frame_height_minus_1: coded.frame.frame_height_minus_1,
            ..v4l2_ctrl_vp9_frame::new_zeroed()
        };
        let place = Place::frame(
            u32::from(coded.frame.frame_width_minus_1) + 1,
            u32::from(coded.frame.frame_height_minus_1) + 1,
        );
        let timestamp = client.timestamp(false);
        client.queue(
            place,
            &references,
            &[(V4L2_CID_STATELESS_VP9_FRAME, control.as_bytes())],
            data,
        );
        state.decoded(&coded, timestamp);
    }
    client.finish()
}

fn mpeg2_jobs(extradata: &[u8], packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut client = Client::new(Codec::Mpeg2, 1);
    let mut state = mpeg2::State::new();
    let stream = [extradata, &packets.concat()].concat();
    for picture in mpeg2::pictures(&stream) {
        let Ok(coded) = state.parse(picture) else {
            continue;
        };
        let (sequence, picture) = (coded.sequence, coded.picture);
        let sequence_control = v4l2_ctrl_mpeg2_sequence {
            horizontal_size: sequence.horizontal_size,
            vertical_size: sequence.vertical_size,
            // As GStreamer does: in bits.
            vbv_buffer_size: sequence.vbv_buffer_size * 16 * 1024,
            profile_and_level_indication: sequence.profile_and_level_indication,
            chroma_format: sequence.chroma_format,
            flags: sequence.flags,
        };
        let none = u64::MAX;
        let references = [
            coded.prediction.forward.unwrap_or(none),
            coded.prediction.backward.unwrap_or(none),
        ];
        let picture_control = v4l2_ctrl_mpeg2_picture {
            backward_ref_ts: references[1],
            forward_ref_ts: references[0],
            flags: picture.flags,
            f_code: picture.f_code,
            picture_coding_type: picture.picture_coding_type,
            picture_structure: picture.picture_structure,
            intra_dc_precision: picture.intra_dc_precision,
            reserved: [0; 5],
        };
        let matrices = &coded.quantisation;
        let quantisation = v4l2_ctrl_mpeg2_quantisation {
            intra_quantiser_matrix: matrices.intra_quantiser_matrix,
            non_intra_quantiser_matrix: matrices.non_intra_quantiser_matrix,
            chroma_intra_quantiser_matrix: matrices.chroma_intra_quantiser_matrix,
            chroma_non_intra_quantiser_matrix: matrices.chroma_non_intra_quantiser_matrix,
        };
        let used = match picture.picture_coding_type {
            mpeg2::CODING_TYPE_P => &references[..1],
            mpeg2::CODING_TYPE_B => &references[..],
            _ => &[],
        };
        let place = Place {
            first_field: picture.picture_structure != mpeg2::FRAME
                && !coded.prediction.second_field,
            second_field: coded.prediction.second_field,
            ..Place::frame(
                sequence.horizontal_size.into(),
                sequence.vertical_size.into(),
            )
        };
        let timestamp = client.timestamp(coded.prediction.second_field);
        client.queue(
            place,
            used,
            &[
                (
                    V4L2_CID_STATELESS_MPEG2_SEQUENCE,
                    sequence_control.as_bytes(),
                ),
                (V4L2_CID_STATELESS_MPEG2_PICTURE, picture_control.as_bytes()),
                (
                    V4L2_CID_STATELESS_MPEG2_QUANTISATION,
                    quantisation.as_bytes(),
                ),
            ],
            coded.slices,
        );
        state.decoded(&coded, timestamp);
    }
    client.finish()
}
