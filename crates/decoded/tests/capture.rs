//! Pictures of real streams on their way into CAPTURE buffers: every sample in its place, nothing
//! beside them touched, and what does not fit refused.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use decoded::capture::{Capture, Coherence, Error, Nv12};
use media::{
    AccessUnitDecoder, AccessUnitLimits, Destination, Input, OpenOptions, Picture, StatelessCodec,
};
use rustix::fs::{MemfdFlags, memfd_create};

/// What a buffer holds before.
const UNTOUCHED: u8 = 0xa5;

fn packets(file: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/media/decode")
        .join(file);
    let mut input = Input::open(&path, &OpenOptions::default()).unwrap();
    let index = input.best_video().unwrap().index;
    input.select(&[index]);
    let mut packets = Vec::new();
    while let Some(packet) = input.read().unwrap() {
        packets.push(packet.data().to_vec());
    }
    packets
}

/// A buffer of its own for one picture, and the file behind it.
fn buffer(bytes: usize) -> (Capture, File) {
    let mut file = File::from(memfd_create("capture", MemfdFlags::CLOEXEC).unwrap());
    file.write_all(&vec![UNTOUCHED; bytes]).unwrap();
    let fd: OwnedFd = file.try_clone().unwrap().into();
    (Capture::map(fd, bytes, Coherence::Coherent).unwrap(), file)
}

fn contents(mut file: File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

/// The picture in a buffer of that format, sample by sample.
fn expected(picture: Picture<'_>, format: Nv12, bytes: usize) -> Vec<u8> {
    let mut out = vec![UNTOUCHED; bytes];
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let stride = format.stride as usize;
    let [(y, y_stride), (u, u_stride), (v, v_stride)] =
        [0, 1, 2].map(|plane| picture.plane(plane).unwrap());
    for row in 0..height {
        for column in 0..width {
            out[row * stride + column] = y[row * y_stride + column];
        }
    }
    let chroma = stride * format.height as usize;
    for row in 0..height.div_ceil(2) {
        for column in 0..width.div_ceil(2) {
            let at = chroma + row * stride + 2 * column;
            out[at] = u[row * u_stride + column];
            out[at + 1] = v[row * v_stride + column];
        }
    }
    out
}

#[test]
fn pictures_are_where_the_format_says() {
    // Columns and rows beyond the picture's, and the multiple of the stride.
    let formats = [(0, 0, 64), (0, 0, 2), (16, 8, 64), (3, 1, 1), (1, 5, 16)];
    let streams = [
        (StatelessCodec::H264, "cars_320x240.h264"),
        (StatelessCodec::H264, "64x64-I-P-B-P.h264"),
        (StatelessCodec::Mpeg2, "sample_h262_mpeg_audio.ts"),
        (StatelessCodec::Vp8, "vp8.webm"),
        (StatelessCodec::Vp9, "bear-vp9-odd-dimensions.webm"),
    ];
    for (codec, file) in streams {
        let packets = packets(file);
        for (columns, rows, multiple) in formats {
            let mut decoder = AccessUnitDecoder::open(codec, AccessUnitLimits::default()).unwrap();
            for (id, packet) in (0..).zip(packets.iter().take(12)) {
                let at = format!("{file}: unit {id}, format +{columns} +{rows} {multiple}");
                let decoded = decoder.decode(&[packet], id).unwrap();
                assert_eq!(decoded.damage, None, "{at}");
                let picture = decoded.picture.unwrap();
                let width = picture.width() + columns;
                let format = Nv12 {
                    width,
                    height: picture.height() + rows,
                    stride: (width + width % 2).next_multiple_of(multiple),
                };
                let rows = format.height + format.height.div_ceil(2);
                let bytes = (format.stride * rows) as usize + 100;
                let (mut capture, memory) = buffer(bytes);
                let writing = capture.begin(format).unwrap();
                writing.finish(picture).unwrap();
                assert!(contents(memory) == expected(picture, format, bytes), "{at}");
            }
        }
    }
}

#[test]
fn rows_that_come_early_give_the_same() {
    let streams = [
        (StatelessCodec::H264, "cars_320x240.h264"),
        (StatelessCodec::H264, "64x64-I-P-B-P.h264"),
        (StatelessCodec::Mpeg2, "sample_h262_mpeg_audio.ts"),
    ];
    for (codec, file) in streams {
        let open = || AccessUnitDecoder::open(codec, AccessUnitLimits::default()).unwrap();
        let (mut early, mut late) = (open(), open());
        for (id, packet) in (0..).zip(&packets(file)) {
            let picture = late.decode(&[packet], id).unwrap().picture.unwrap();
            let format = Nv12 {
                width: picture.width(),
                height: picture.height(),
                stride: picture.width().next_multiple_of(64),
            };
            let bytes = (format.stride * (format.height + format.height.div_ceil(2))) as usize;
            let (mut capture, memory) = buffer(bytes);
            let mut writing = capture.begin(format).unwrap();
            let mut bands = 0;
            let decoded = early.decode_with(&[packet], id, Destination::Own, &mut |rows| {
                bands += 1;
                writing.rows(&rows);
            });
            writing.finish(decoded.unwrap().picture.unwrap()).unwrap();
            assert!(bands > 1, "{file}: unit {id} in {bands} bands");
            let same = contents(memory) == expected(picture, format, bytes);
            assert!(same, "{file}: unit {id}");
        }
    }
}

/// Luma that is decoded into the buffer, which later pictures are predicted from.
#[test]
fn luma_in_its_place_gives_the_same() {
    let streams = [
        (StatelessCodec::H264, "cars_320x240.h264", true),
        (StatelessCodec::H264, "64x64-I-P-B-P.h264", true),
        (StatelessCodec::Mpeg2, "sample_h262_mpeg_audio.ts", false),
        (StatelessCodec::Vp8, "vp8.webm", false),
        (StatelessCodec::Vp9, "bear-vp9-odd-dimensions.webm", false),
    ];
    // Strides that libavcodec has itself, and others.
    for ((codec, file, can), stride) in streams.into_iter().flat_map(|s| [(s, 128), (s, 16)]) {
        let open = || AccessUnitDecoder::open(codec, AccessUnitLimits::default()).unwrap();
        let (mut placed, mut own) = (open(), open());
        // They stay, as a client's do.
        let mut buffers = Vec::new();
        for (id, packet) in (0..).zip(&packets(file)) {
            let at = format!("{file}: unit {id}, stride in {stride}");
            let picture = own.decode(&[packet], id).unwrap().picture.unwrap();
            let format = Nv12 {
                width: picture.width(),
                height: picture.height(),
                stride: (picture.width() + picture.width() % 2).next_multiple_of(stride),
            };
            let bytes = (format.stride * (format.height + format.height.div_ceil(2))) as usize;
            let (mut capture, memory) = buffer(bytes);
            let mut writing = capture.begin(format).unwrap();
            let place = writing.place();
            assert!(place.is_some());
            let place = place.map_or(Destination::Own, Destination::Place);
            let decoded = placed.decode_with(&[packet], id, place, &mut |rows| writing.rows(&rows));
            let found = decoded.unwrap().picture.unwrap();
            assert_eq!(found.is_placed(), can && stride == 128, "{at}");
            assert_eq!(found.is_placed(), found.plane(0).is_none(), "{at}");
            writing.finish(found).unwrap();
            assert!(contents(memory) == expected(picture, format, bytes), "{at}");
            buffers.push(capture);
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let packet = packets("vp8.webm").remove(0);
    let mut decoder =
        AccessUnitDecoder::open(StatelessCodec::Vp8, AccessUnitLimits::default()).unwrap();
    let picture = decoder.decode(&[&packet], 0).unwrap().picture.unwrap();
    let (width, height) = (picture.width(), picture.height());
    let bytes = 1 << 20;
    let (mut capture, memory) = buffer(bytes);
    let mut refusal = |width, height, stride| {
        let format = Nv12 {
            width,
            height,
            stride,
        };
        match capture.begin(format) {
            Ok(writing) => writing.finish(picture).err(),
            Err(error) => Some(error),
        }
    };
    let wide = width.next_multiple_of(64);
    let size = |error| matches!(error, Some(Error::Size { .. }));
    let layout = |error| matches!(error, Some(Error::Layout { .. }));
    assert!(size(refusal(width - 1, height, wide)));
    assert!(size(refusal(width, height - 1, wide)));
    assert!(layout(refusal(width, height, width - 1)));
    assert!(layout(refusal(width, 1 << 20, wide)));
    assert!(layout(refusal(u32::MAX, u32::MAX, u32::MAX)));
    assert!(layout(refusal(0, u32::MAX, u32::MAX)));
    assert!(contents(memory).iter().all(|byte| *byte == UNTOUCHED));
}
