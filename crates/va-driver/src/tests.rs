//! The driver as a client sees it: orders of calls, through the table of functions, over the fake.

use crate::client::{Answer, Client, Part, planes_begin};
use crate::va::drm::*;
use crate::va::*;
use rustix::fd::{AsFd, OwnedFd};
use v4l2::fake::Habits;

mod allocation;
mod hold;
mod hostile;
mod several;

/// A client with a config, and a context if it has made one.
struct Stage {
    client: Client,
    config: VAConfigID,
}

const SIZE: (u16, u16) = (64, 48);
const PRIME_2: u32 = VA_SURFACE_ATTRIB_MEM_TYPE_DRM_PRIME_2;
const PRIME_3: u32 = VA_SURFACE_ATTRIB_MEM_TYPE_DRM_PRIME_3;
const COMPOSED: u32 = VA_EXPORT_SURFACE_COMPOSED_LAYERS;
const SEPARATE: u32 = VA_EXPORT_SURFACE_SEPARATE_LAYERS;

/// The data of a picture, which is what the fake "decodes": a slice's start code and a number.
fn data(number: u8) -> [u8; 8] {
    [0, 0, 1, 1, number, number, number, number]
}

/// All habits that the tests are run with.
fn habits() -> [(&'static str, Habits); 11] {
    let usual = Habits::default();
    [
        ("usual", usual),
        (
            "memory of its own only",
            Habits {
                imports: false,
                ..usual
            },
        ),
        (
            "no second fields",
            Habits {
                holds: false,
                ..usual
            },
        ),
        (
            "no adding of buffers",
            Habits {
                adds_buffers: false,
                ..usual
            },
        ),
        (
            "no taking away of buffers",
            Habits {
                removes_buffers: false,
                ..usual
            },
        ),
        (
            "buffers that are in use stay",
            Habits {
                orphans: false,
                ..usual
            },
        ),
        (
            "one format at a time",
            Habits {
                resizes: false,
                ..usual
            },
        ),
        (
            "one format at a time, and buffers that are in use stay",
            Habits {
                resizes: false,
                orphans: false,
                ..usual
            },
        ),
        (
            "memory of its own only, one format at a time, and buffers that are in use stay",
            Habits {
                imports: false,
                resizes: false,
                orphans: false,
                ..usual
            },
        ),
        ("odd sizes", Habits { block: 48, ..usual }),
        (
            "sizes and rows that nothing divides, and bytes behind pictures",
            Habits {
                block: 37,
                stride: 1,
                tail: 1009,
                ..usual
            },
        ),
    ]
}

fn stage(habits: Habits) -> Stage {
    let client = Client::new(habits).unwrap();
    let config = client
        .config(VAProfileMPEG2Main, VAEntrypointVLD, &mut [])
        .unwrap();
    Stage { client, config }
}

impl Stage {
    fn context(&self, targets: &[VASurfaceID]) -> VAContextID {
        let size = (SIZE.0.into(), SIZE.1.into());
        self.client.context(self.config, size, targets).unwrap()
    }

    fn surfaces(&self, count: usize) -> Vec<VASurfaceID> {
        let (width, height) = (SIZE.0.into(), SIZE.1.into());
        self.client.surfaces(width, height, count).unwrap()
    }

    fn decode(&self, context: VAContextID, surface: VASurfaceID, number: u8) -> Answer<()> {
        let what = (SIZE, Part::Frame);
        self.client.decode(context, surface, what, &data(number))
    }

    /// The number of the picture that a surface shows, read by an image of its own.
    fn shown(&self, surface: VASurfaceID) -> u8 {
        let (width, height) = (SIZE.0.into(), SIZE.1.into());
        let image = self.client.image(VA_FOURCC_NV12, width, height).unwrap();
        let size = (SIZE.0.into(), SIZE.1.into());
        self.client
            .get_image(surface, (0, 0), size, image.image_id)
            .unwrap();
        let numbers = self.numbers(&image);
        self.client.destroy_image(image.image_id).unwrap();
        assert_eq!(numbers[0], numbers[1], "luma and chroma");
        numbers[0]
    }

    /// The numbers at the beginning of an image's planes.
    fn numbers(&self, image: &VAImage) -> [u8; 2] {
        let read = |bytes: &mut [u8]| [0, 1].map(|plane| bytes[image.offsets[plane] as usize + 4]);
        self.client.mapped(image.buf, read).unwrap()
    }
}

/// The number of the picture in an exported surface.
fn exported((described, fd): &(VADRMPRIMESurfaceDescriptor, OwnedFd)) -> u8 {
    let [luma, chroma] = planes_begin(described, fd);
    assert_eq!(luma, chroma);
    luma[4]
}

/// Each order of calls works with each kind of decoder.
#[test]
fn orders_of_calls() {
    type Row = fn(&Stage);
    let rows: &[(&str, Row)] = &[
        ("ffmpeg", ffmpeg),
        ("chromium", chromium),
        ("gstreamer", gstreamer),
        ("mpv", mpv),
        ("fields", fields),
        ("a first field alone", first_field_alone),
        ("contexts side by side", side_by_side),
        ("destroyed before", destroyed_before),
        ("a surface again without waiting", again_without_waiting),
        ("more surfaces than buffers", many_surfaces),
        ("a change of size", change_of_size),
        ("smaller and smaller", smaller_and_smaller),
        (
            "another size with pictures in use",
            another_size_with_pictures_in_use,
        ),
        ("smaller than the surface", smaller_than_the_surface),
        ("imported", imported),
        ("imported that does not suit", imported_unsuited),
        ("put and get", put_and_get),
        ("longer pictures", longer_pictures),
        ("a broken picture", broken_picture),
    ];
    for (habit, habits) in habits() {
        for (name, row) in rows {
            let stage = stage(habits);
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| row(&stage)));
            assert!(result.is_ok(), "{name}, with {habit}");
            let log = stage.client.fake.take_log();
            let vain = log.iter().find(|line| line.ends_with("in vain"));
            assert_eq!(vain, None, "{name}, with {habit}");
            // Many decoders tell what is in a request only once it is queued.
            let is_asked = |line: &&String| line.starts_with("G_EXT_CTRLS");
            assert_eq!(log.iter().find(is_asked), None, "{name}, with {habit}");
            // One of them has done so itself.
            let _ = stage.client.terminate();
        }
    }
}

/// Context with targets, wait, an image of its own for each picture.
fn ffmpeg(stage: &Stage) {
    let surfaces = stage.surfaces(4);
    let context = stage.context(&surfaces);
    for number in 0..20 {
        let surface = surfaces[usize::from(number) % 4];
        stage.decode(context, surface, number).unwrap();
        stage.client.sync(surface).unwrap();
        assert_eq!(stage.client.status(surface).unwrap(), VASurfaceReady);
        assert_eq!(stage.shown(surface), number);
    }
    stage.client.destroy_context(context).unwrap();
    stage.client.destroy_surfaces(&surfaces).unwrap();
}

/// Surfaces exported before there is a context, once for all; contexts without targets; surfaces
/// destroyed first.
fn chromium(stage: &Stage) {
    let surfaces = stage.surfaces(3);
    let exports: Vec<_> = surfaces
        .iter()
        .map(|surface| stage.client.export(*surface, PRIME_2, SEPARATE).unwrap())
        .collect();
    let context = stage.context(&[]);
    for number in 1..12 {
        let place = usize::from(number) % 3;
        stage.decode(context, surfaces[place], number).unwrap();
        stage.client.sync(surfaces[place]).unwrap();
        assert_eq!(exported(&exports[place]), number);
    }
    stage.client.destroy_surfaces(&surfaces).unwrap();
    stage.client.destroy_context(context).unwrap();
    assert_eq!(
        [9, 10, 11],
        [0, 1, 2].map(|place| exported(&exports[place]))
    );
}

/// Exported when they are allocated, derived when they are mapped, in two contexts one after the
/// other.
fn gstreamer(stage: &Stage) {
    let surfaces = stage.surfaces(2);
    let exports: Vec<_> = surfaces
        .iter()
        .map(|surface| stage.client.export(*surface, PRIME_2, SEPARATE).unwrap())
        .collect();
    for round in 0..2 {
        let context = stage.context(&surfaces);
        for number in 0..6 {
            let place = usize::from(number) % 2;
            stage
                .decode(context, surfaces[place], 10 * round + number)
                .unwrap();
            stage.client.sync(surfaces[place]).unwrap();
            let image = stage.client.derive(surfaces[place]).unwrap();
            assert_eq!(stage.numbers(&image), [10 * round + number; 2]);
            stage.client.destroy_image(image.image_id).unwrap();
            assert_eq!(exported(&exports[place]), 10 * round + number);
        }
        stage.client.destroy_context(context).unwrap();
    }
}

/// Exported after each decode and closed when it was shown; and, as its output to Wayland does, once
/// after the first decode, closed, and shown again and again.
fn mpv(stage: &Stage) {
    let surfaces = stage.surfaces(2);
    let context = stage.context(&surfaces);
    stage.decode(context, surfaces[1], 1).unwrap();
    let (described, fd) = stage.client.export(surfaces[1], PRIME_2, COMPOSED).unwrap();
    let shown = v4l2::sys::Mapping::new(&fd, described.objects[0].size as usize, 0).unwrap();
    drop(fd);
    for number in 2..10 {
        stage.decode(context, surfaces[0], number).unwrap();
        let export = stage.client.export(surfaces[0], PRIME_2, SEPARATE).unwrap();
        stage.client.sync(surfaces[0]).unwrap();
        assert_eq!(exported(&export), number);
        drop(export);
        stage.decode(context, surfaces[1], 100 + number).unwrap();
        stage.client.sync(surfaces[1]).unwrap();
        let mut bytes = [0; 8];
        assert!(shown.read(0, &mut bytes));
        assert_eq!(bytes[4], 100 + number);
    }
}

fn fields(stage: &Stage) {
    let surfaces = stage.surfaces(2);
    let context = stage.context(&surfaces);
    for number in 0..6 {
        let surface = surfaces[usize::from(number) % 2];
        let client = &stage.client;
        for (part, add) in [(Part::First, 0), (Part::Second, 100)] {
            let data = data(number + add);
            client
                .decode(context, surface, (SIZE, part), &data)
                .unwrap();
        }
        client.sync(surface).unwrap();
        assert_eq!(stage.shown(surface), number + 100);
    }
}

fn first_field_alone(stage: &Stage) {
    let surfaces = stage.surfaces(2);
    let context = stage.context(&surfaces);
    let client = &stage.client;
    let first = (SIZE, Part::First);
    // Waited for as it is.
    client
        .decode(context, surfaces[0], first, &data(1))
        .unwrap();
    client.sync(surfaces[0]).unwrap();
    assert_eq!(stage.shown(surfaces[0]), 1);
    // Exported as it is and held while the second comes: they are one picture.
    let export = client.export(surfaces[0], PRIME_2, COMPOSED).unwrap();
    let second = (SIZE, Part::Second);
    client
        .decode(context, surfaces[0], second, &data(9))
        .unwrap();
    client.sync(surfaces[0]).unwrap();
    assert_eq!((stage.shown(surfaces[0]), exported(&export)), (9, 9));
    drop(export);
    // Given up for another picture, and for another one in the same surface.
    client
        .decode(context, surfaces[0], first, &data(2))
        .unwrap();
    stage.decode(context, surfaces[1], 3).unwrap();
    client
        .decode(context, surfaces[0], first, &data(4))
        .unwrap();
    stage.decode(context, surfaces[0], 5).unwrap();
    assert_eq!([stage.shown(surfaces[0]), stage.shown(surfaces[1])], [5, 3]);
    // Left behind.
    client
        .decode(context, surfaces[0], first, &data(6))
        .unwrap();
    client.destroy_context(context).unwrap();
    assert_eq!(stage.shown(surfaces[0]), 6);
}

fn side_by_side(stage: &Stage) {
    let surfaces = stage.surfaces(6);
    let contexts = [(); 3].map(|()| stage.context(&[]));
    std::thread::scope(|scope| {
        for (at, context) in contexts.into_iter().enumerate() {
            let surfaces = &surfaces[2 * at..2 * at + 2];
            scope.spawn(move || {
                for number in 0..30 {
                    let surface = surfaces[usize::from(number) % 2];
                    stage.decode(context, surface, number).unwrap();
                    assert_eq!(stage.shown(surface), number);
                }
            });
        }
    });
    // A surface goes from one context to another.
    for (number, context) in contexts.into_iter().enumerate() {
        stage
            .decode(context, surfaces[0], number as u8 + 50)
            .unwrap();
        assert_eq!(stage.shown(surfaces[0]), number as u8 + 50);
    }
}

/// What is in flight when its context goes is there afterwards; images outlive surfaces, exports
/// outlive all.
fn destroyed_before(stage: &Stage) {
    let surfaces = stage.surfaces(3);
    let context = stage.context(&surfaces);
    for (number, surface) in (7..).zip(&surfaces) {
        stage.decode(context, *surface, number).unwrap();
    }
    let image = stage.client.derive(surfaces[1]).unwrap();
    let export = stage.client.export(surfaces[2], PRIME_3, COMPOSED).unwrap();
    stage.client.destroy_context(context).unwrap();
    assert_eq!(
        stage.client.begin(context, surfaces[0]),
        Err(VA_STATUS_ERROR_INVALID_CONTEXT)
    );
    assert_eq!(stage.shown(surfaces[0]), 7);
    stage.client.destroy_surfaces(&surfaces).unwrap();
    assert_eq!(
        stage.client.sync(surfaces[0]),
        Err(VA_STATUS_ERROR_INVALID_SURFACE)
    );
    assert_eq!(stage.numbers(&image), [8; 2]);
    stage.client.destroy_image(image.image_id).unwrap();
    stage.client.terminate().unwrap();
    assert_eq!(
        stage.client.terminate(),
        Err(VA_STATUS_ERROR_INVALID_DISPLAY)
    );
    assert_eq!(exported(&export), 9);
}

fn again_without_waiting(stage: &Stage) {
    let surfaces = stage.surfaces(1);
    let context = stage.context(&surfaces);
    for number in 0..9 {
        stage.decode(context, surfaces[0], number).unwrap();
    }
    stage.client.sync(surfaces[0]).unwrap();
    assert_eq!(stage.shown(surfaces[0]), 8);
}

fn many_surfaces(stage: &Stage) {
    // A decoder that allocates pictures itself has no more of them than buffers.
    let count = if stage.client.fake.habits().imports {
        50
    } else {
        24
    };
    let surfaces = stage.surfaces(count);
    let context = stage.context(&surfaces[..8]);
    for round in 0..3_u8 {
        for (at, surface) in surfaces
            .iter()
            .enumerate()
            .take(if round == 0 { 5 } else { count })
        {
            let decoded = stage.decode(context, *surface, round + at as u8);
            if decoded.is_err() && !stage.client.fake.habits().adds_buffers {
                return;
            }
            decoded.unwrap();
        }
    }
    for (at, surface) in surfaces.iter().enumerate() {
        assert_eq!(stage.shown(*surface), 2 + at as u8);
    }
}

fn change_of_size(stage: &Stage) {
    let context = stage.context(&[]);
    let sizes = [(64, 48), (128, 96), (64, 48), (864, 480), (32, 32)];
    let mut kept = Vec::new();
    for (at, (width, height)) in sizes.into_iter().enumerate() {
        let client = &stage.client;
        let surfaces = client.surfaces(width.into(), height.into(), 3).unwrap();
        for (place, surface) in surfaces.iter().enumerate() {
            let number = (10 * at + place) as u8;
            let what = ((width, height), Part::Frame);
            client
                .decode(context, *surface, what, &data(number))
                .unwrap();
            kept.push((*surface, number, (width, height)));
        }
    }
    for (surface, number, (width, height)) in kept {
        let image = stage.client.derive(surface).unwrap();
        assert_eq!((image.width, image.height), (width, height));
        assert_eq!(stage.numbers(&image), [number; 2]);
        stage.client.destroy_image(image.image_id).unwrap();
    }
}

/// A stream that becomes smaller again and again, and has used up all buffers by then.
fn smaller_and_smaller(stage: &Stage) {
    let context = stage.context(&[]);
    for side in (2..30).rev().map(|blocks| 16 * blocks) {
        let surfaces = stage.client.surfaces(side.into(), side.into(), 4).unwrap();
        for surface in &surfaces {
            let (what, number) = (((side, side), Part::Frame), (side / 16) as u8);
            let client = &stage.client;
            client
                .decode(context, *surface, what, &data(number))
                .unwrap();
            client.sync(*surface).unwrap();
            let image = client.derive(*surface).unwrap();
            assert_eq!(stage.numbers(&image), [number; 2]);
            client.destroy_image(image.image_id).unwrap();
        }
        stage.client.destroy_surfaces(&surfaces).unwrap();
    }
}

/// The size changes back and forth while an image is derived and mapped of one picture, and another one
/// is exported and mapped by the client: both stay as they are, and both surfaces can be decoded into.
fn another_size_with_pictures_in_use(stage: &Stage) {
    let client = &stage.client;
    let context = stage.context(&[]);
    let sizes = [(64, 48), (128, 96), (32, 32), (64, 48)];
    let mut kept = Vec::new();
    for (number, (width, height)) in (0..).step_by(10).zip(sizes) {
        let surfaces = client.surfaces(width.into(), height.into(), 2).unwrap();
        let decode = |surface, number| {
            let what = ((width, height), Part::Frame);
            client
                .decode(context, surface, what, &data(number))
                .unwrap();
            client.sync(surface).unwrap();
        };
        for (surface, number) in surfaces.iter().zip(number..) {
            decode(*surface, number);
        }
        let image = client.derive(surfaces[0]).unwrap();
        let address = client.mapped(image.buf, |bytes| bytes.as_ptr()).unwrap();
        let export = client.export(surfaces[1], PRIME_2, COMPOSED).unwrap();
        let size = export.0.objects[0].size as usize;
        let mapping = v4l2::sys::Mapping::new(&export.1, size, 0).unwrap();
        // The surfaces go on with other memory.
        for surface in &surfaces {
            decode(*surface, 200);
        }
        kept.push((number, image, address, export, mapping));
    }
    for (number, image, address, export, mapping) in kept {
        assert_eq!(
            client.mapped(image.buf, |bytes| bytes.as_ptr()),
            Ok(address)
        );
        assert_eq!(stage.numbers(&image), [number; 2]);
        assert_eq!(exported(&export), number + 1);
        let mut bytes = [0; 8];
        assert!(mapping.read(0, &mut bytes));
        assert_eq!(bytes, data(number + 1));
        client.destroy_image(image.image_id).unwrap();
    }
}

/// As FFmpeg does when VP8 becomes smaller: it keeps the surfaces and downloads all of them.
fn smaller_than_the_surface(stage: &Stage) {
    let (client, context) = (&stage.client, stage.context(&[]));
    let (width, height) = (u32::from(SIZE.0), u32::from(SIZE.1));
    let surface = client.surfaces(width, height, 1).unwrap()[0];
    for (number, size) in [(1, SIZE), (2, (SIZE.0 / 2, SIZE.1 / 2))] {
        client
            .decode(context, surface, (size, Part::Frame), &data(number))
            .unwrap();
        client.sync(surface).unwrap();
        assert_eq!(stage.shown(surface), number);
    }
}

/// NV12 of the size of `SIZE` with a stride, in memory of the test's own.
fn foreign(stride: u32) -> (VADRMPRIMESurfaceDescriptor, OwnedFd) {
    use zerocopy::FromZeros;
    let (width, height) = (u32::from(SIZE.0), u32::from(SIZE.1));
    let fd = rustix::fs::memfd_create("foreign", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&fd, u64::from(stride * height * 3 / 2)).unwrap();
    let mut described = VADRMPRIMESurfaceDescriptor::new_zeroed();
    (described.fourcc, described.width, described.height) = (VA_FOURCC_NV12, width, height);
    (described.num_objects, described.num_layers) = (1, 2);
    for (at, offset) in [0, stride * height].into_iter().enumerate() {
        let layer = &mut described.layers[at];
        (layer.num_planes, layer.offset[0], layer.pitch[0]) = (1, offset, stride);
    }
    described.objects[0].size = stride * height * 3 / 2;
    (described, fd)
}

fn imported(stage: &Stage) {
    decode_into(stage, 64);
}

/// As Chromium does: an object for each plane, of the same memory.
#[test]
fn imports_of_several_descriptors() {
    let stage = stage(Habits::default());
    let (mut described, memory) = foreign(64);
    let second = memory.try_clone().unwrap();
    described.num_objects = 2;
    described.layers[1].object_index[0] = 1;
    let mut import = |fd: &OwnedFd| {
        described.objects[1].fd = std::os::fd::AsRawFd::as_raw_fd(fd);
        stage.client.import(&described, Some(memory.as_fd()))
    };
    assert!(import(&second).is_ok());
    let (_, other) = foreign(64);
    assert_eq!(import(&other), Err(VA_STATUS_ERROR_INVALID_PARAMETER));
}

fn imported_unsuited(stage: &Stage) {
    decode_into(stage, 100);
}

fn decode_into(stage: &Stage, stride: u32) {
    let (described, memory) = foreign(stride);
    let surface = stage
        .client
        .import(&described, Some(memory.as_fd()))
        .unwrap();
    let context = stage.context(&[surface]);
    for number in 1..5 {
        stage.decode(context, surface, number).unwrap();
        stage.client.sync(surface).unwrap();
        let [luma, chroma] = planes_begin(&described, &memory);
        assert_eq!((luma, chroma), (data(number), data(number)));
    }
}

fn put_and_get(stage: &Stage) {
    let surface = stage.surfaces(1)[0];
    let client = &stage.client;
    assert_eq!(
        client.image_formats().unwrap(),
        [VA_FOURCC_NV12, VA_FOURCC_I420]
    );
    let image = client.image(VA_FOURCC_I420, 15, 9).unwrap();
    assert_eq!(image.num_planes, 3);
    client.mapped(image.buf, |bytes| bytes.fill(7)).unwrap();
    client
        .put_image(surface, image.image_id, (0, 0), (15, 9), (20, 10))
        .unwrap();
    let got = client.image(VA_FOURCC_NV12, 17, 17).unwrap();
    client
        .get_image(surface, (19, 9), (17, 11), got.image_id)
        .unwrap();
    let rows = client.mapped(got.buf, |bytes| {
        let row = |offset: u32, row: u32, pitch: u32| {
            let start = (offset + row * pitch) as usize;
            bytes[start..start + 18].to_vec()
        };
        [
            row(0, 0, got.pitches[0]),
            row(0, 1, got.pitches[0]),
            row(got.offsets[1], 1, got.pitches[1]),
        ]
    });
    let rows = rows.unwrap();
    assert!(rows[0].iter().all(|sample| *sample == 0));
    let mut luma = [7; 18];
    (luma[0], luma[16], luma[17]) = (0, 0, 0);
    assert_eq!(rows[1], luma);
    // Chroma of 10..19 of the surface: the eight samples from 10 on were put there.
    let mut chroma = [7; 18];
    (chroma[0], chroma[1]) = (0, 0);
    assert_eq!(rows[2], chroma);
}

fn longer_pictures(stage: &Stage) {
    let surfaces = stage.surfaces(2);
    let context = stage.context(&surfaces);
    for (number, length) in [
        (1, 100),
        (2, 100 << 10),
        (3, 900 << 10),
        (4, 50),
        (5, 300 << 10),
    ] {
        let mut bytes = vec![3; length];
        bytes[..8].copy_from_slice(&data(number));
        let surface = surfaces[usize::from(number) % 2];
        let what = (SIZE, Part::Frame);
        stage.client.decode(context, surface, what, &bytes).unwrap();
        assert_eq!(stage.shown(surface), number);
    }
}

fn broken_picture(stage: &Stage) {
    let surfaces = stage.surfaces(2);
    let context = stage.context(&surfaces);
    let client = &stage.client;
    for (round, call) in ["S_EXT_CTRLS", "QBUF", "REQUEST_QUEUE", "DQBUF"]
        .into_iter()
        .enumerate()
    {
        let number = 10 * round as u8;
        stage.decode(context, surfaces[0], number).unwrap();
        client.sync(surfaces[0]).unwrap();
        client.fake.refuse(call, rustix::io::Errno::IO);
        let ended = stage.decode(context, surfaces[1], number + 1);
        let synced = client.sync(surfaces[1]);
        let failed = Err(VA_STATUS_ERROR_DECODING_ERROR);
        let is_said = ended == Err(VA_STATUS_ERROR_OPERATION_FAILED) || synced == failed;
        assert!(is_said, "{call}: {ended:?} {synced:?}");
        stage.decode(context, surfaces[1], number + 2).unwrap();
        client.sync(surfaces[1]).unwrap();
        assert_eq!(stage.shown(surfaces[1]), number + 2, "{call}");
    }
}

#[test]
fn the_whole_table_is_there_and_says_what_is_decoded() {
    let stage = stage(Habits::default());
    let client = &stage.client;
    assert_eq!(client.missing_entries(), 0);
    let profiles = [
        VAProfileMPEG2Simple,
        VAProfileMPEG2Main,
        VAProfileH264Main,
        VAProfileH264High,
        VAProfileH264ConstrainedBaseline,
        VAProfileVP8Version0_3,
        VAProfileVP9Profile0,
    ];
    assert_eq!(client.profiles().unwrap(), profiles);
    assert_eq!(
        client.entry_points(VAProfileH264High),
        Ok(vec![VAEntrypointVLD])
    );
    assert_eq!(
        client.entry_points(99),
        Err(VA_STATUS_ERROR_UNSUPPORTED_PROFILE)
    );
    let attributes = [
        (VAConfigAttribRTFormat, VA_RT_FORMAT_YUV420),
        (VAConfigAttribMaxPictureWidth, 2048),
        (VAConfigAttribMaxPictureHeight, 1088),
        (77, VA_ATTRIB_NOT_SUPPORTED),
    ];
    for (kind, value) in attributes {
        assert_eq!(client.attribute(VAProfileVP9Profile0, kind), Ok(value));
    }
    assert_eq!(client.config_attributes(stage.config).unwrap().len(), 4);
    let all = client.surface_attributes(stage.config, None).unwrap().len();
    assert_eq!(
        client.surface_attributes(stage.config, Some(all - 1)),
        Err(VA_STATUS_ERROR_MAX_NUM_EXCEEDED)
    );
    let given = client
        .surface_attributes(stage.config, Some(all + 3))
        .unwrap();
    let fourcc = given
        .iter()
        .find(|one| one.r#type == VASurfaceAttribPixelFormat);
    assert_eq!(fourcc.unwrap().value.value, u64::from(VA_FOURCC_NV12));
    assert_eq!(given.len(), all);
}

/// FFmpeg makes another context when VP9 changes its size, whose first picture refers to surfaces of
/// the one before: it goes on in that one's session.
#[test]
fn a_context_goes_on_where_its_references_are() {
    let stage = stage(Habits::default());
    let client = &stage.client;
    let small = stage.surfaces(2);
    let first = stage.context(&small);
    stage.decode(first, small[0], 1).unwrap();
    client.destroy_context(first).unwrap();
    let large = client.surfaces(128, 96, 2).unwrap();
    let second = client.context(stage.config, (128, 96), &large).unwrap();
    client.fake.take_log();
    client
        .predict(second, (large[0], small[0]), (128, 96), &data(2))
        .unwrap();
    let log = client.fake.take_log();
    assert!(log.contains(&"S_FMT CAPTURE NV12 128x96".into()), "{log:?}");
    assert!(
        !log.iter().any(|line| line.starts_with("REQBUFS OUTPUT")),
        "{log:?}"
    );
    client.sync(large[0]).unwrap();
    // Down again, in the same way, and in a context that is not destroyed: that one keeps its own.
    client.destroy_context(second).unwrap();
    let third = stage.context(&[]);
    client
        .predict(third, (small[1], large[0]), SIZE, &data(3))
        .unwrap();
    let fourth = stage.context(&[]);
    client.fake.take_log();
    client
        .predict(fourth, (large[1], small[1]), SIZE, &data(4))
        .unwrap();
    let log = client.fake.take_log();
    assert!(
        log.iter().any(|line| line.starts_with("REQBUFS OUTPUT")),
        "{log:?}"
    );
    assert_eq!([stage.shown(small[0]), stage.shown(large[0])], [1, 2]);
    assert_eq!([stage.shown(small[1]), stage.shown(large[1])], [3, 4]);
}

/// A decoder of one codec is offered with that codec only.
#[test]
fn only_what_the_decoder_has_is_offered() {
    let coded = &[v4l2::uapi::videodev2::V4L2_PIX_FMT_VP8_FRAME];
    let client = Client::new(Habits {
        coded,
        ..Habits::default()
    });
    let client = client.unwrap();
    assert_eq!(client.profiles(), Ok(vec![VAProfileVP8Version0_3]));
    let config = client.config(VAProfileH264Main, VAEntrypointVLD, &mut []);
    assert_eq!(config, Err(VA_STATUS_ERROR_UNSUPPORTED_PROFILE));
}

/// `KINORA_VA_DEVICE` names one of a decoder's nodes, and where there is no decoder libva hears it.
#[test]
fn a_decoder_is_chosen_by_its_node() {
    use std::path::Path;
    use std::sync::Arc;
    use v4l2::{fake::Fake, sys::Kernel};
    let rows = [
        (None, true),
        (Some("/dev/video0"), true),
        (Some("/dev/media0"), true),
        (Some("/dev/video1"), false),
        (Some(""), false),
    ];
    for (only, is_there) in rows {
        let fake = Arc::new(Fake::default());
        let kernel: Arc<dyn Kernel> = Arc::clone(&fake) as Arc<dyn Kernel>;
        let client = Client::over(fake, &kernel, only.map(Path::new));
        assert_eq!(client.is_ok(), is_there, "{only:?}");
    }
    assert!(crate::client::was_told(
        "no V4L2 stateless decoder answers here"
    ));
}

/// Creating surfaces asks nothing of a decoder.
#[test]
fn surfaces_are_made_without_a_device() {
    let stage = stage(Habits::default());
    stage.client.fake.take_log();
    let surfaces = stage.surfaces(40);
    stage.client.destroy_surfaces(&surfaces).unwrap();
    assert!(stage.client.fake.take_log().is_empty());
}

/// What a picture costs once a stream runs: seven calls and a wait, and no open, no mapping, no new buffer.
#[test]
fn a_picture_takes_seven_calls_and_a_wait() {
    let stage = stage(Habits::default());
    let surfaces = stage.surfaces(2);
    let context = stage.context(&surfaces);
    for surface in &surfaces {
        stage.decode(context, *surface, 1).unwrap();
        stage.client.sync(*surface).unwrap();
    }
    stage.client.fake.take_log();
    stage.decode(context, surfaces[0], 2).unwrap();
    stage.client.sync(surfaces[0]).unwrap();
    let log = stage.client.fake.take_log();
    let calls: Vec<&str> = log
        .iter()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    let expected = [
        "S_EXT_CTRLS",
        "QBUF",
        "REQUEST_QUEUE",
        "QBUF",
        "poll",
        "DQBUF",
        "DQBUF",
        "REQUEST_REINIT",
    ];
    assert_eq!(calls, expected);
}

#[test]
fn exports_say_what_lies_where() {
    let stage = stage(Habits::default());
    let surface = stage.client.surfaces(864, 479, 1).unwrap()[0];
    let rows = [
        (PRIME_2, COMPOSED, 1, NV12, 2),
        (PRIME_2, SEPARATE, 2, R8, 1),
        (PRIME_2, VA_EXPORT_SURFACE_READ_ONLY, 2, R8, 1),
        (PRIME_3, COMPOSED | VA_EXPORT_SURFACE_WRITE_ONLY, 1, NV12, 2),
        (PRIME_3, SEPARATE, 2, R8, 1),
    ];
    for (memory_type, flags, layers, format, planes) in rows {
        let (described, fd) = stage.client.export(surface, memory_type, flags).unwrap();
        assert_eq!((described.width, described.height), (864, 479));
        assert_eq!((described.num_objects, described.num_layers), (1, layers));
        assert_eq!(described.objects[0].drm_format_modifier, LINEAR);
        let size = rustix::fs::fstat(&fd).unwrap().st_size;
        assert_eq!(i64::from(described.objects[0].size), size);
        let first = described.layers[0];
        assert_eq!((first.drm_format, first.num_planes), (format, planes));
        assert_eq!((first.offset[0], first.pitch[0]), (0, 896));
        let chroma = if layers == 1 {
            (first.offset[1], first.pitch[1])
        } else {
            assert_eq!(described.layers[1].drm_format, GR88);
            (described.layers[1].offset[0], described.layers[1].pitch[0])
        };
        assert_eq!(chroma, (896 * 480, 896));
    }
    let refused = [
        (
            VA_SURFACE_ATTRIB_MEM_TYPE_VA,
            COMPOSED,
            VA_STATUS_ERROR_UNSUPPORTED_MEMORY_TYPE,
        ),
        (
            PRIME_2,
            COMPOSED | SEPARATE,
            VA_STATUS_ERROR_INVALID_PARAMETER,
        ),
    ];
    for (memory_type, flags, status) in refused {
        assert_eq!(
            stage.client.export(surface, memory_type, flags).err(),
            Some(status)
        );
    }
}

/// A time limit ends a wait, and what was waited for is still there afterwards.
#[test]
fn waits_have_their_limits() {
    let stage = stage(Habits::default());
    let surfaces = stage.surfaces(2);
    let context = stage.context(&surfaces);
    stage.client.fake.pause(true);
    stage.decode(context, surfaces[0], 1).unwrap();
    let client = &stage.client;
    for nanos in [0, 1_000_000] {
        assert_eq!(
            client.sync_for(surfaces[0], nanos),
            Err(VA_STATUS_ERROR_TIMEDOUT)
        );
    }
    assert_eq!(client.status(surfaces[0]), Ok(VASurfaceRendering));
    assert_eq!(client.status(surfaces[1]), Ok(VASurfaceReady));
    assert_eq!(client.sync_for(surfaces[1], 0), Ok(()));
    // Buffers were copied when the picture ended, and can be written again.
    let buffers = client
        .picture_buffers(context, (SIZE, Part::Frame), &data(2))
        .unwrap();
    client.begin(context, surfaces[1]).unwrap();
    client.render(context, &buffers).unwrap();
    client.end(context).unwrap();
    for buffer in buffers {
        assert_eq!(client.sync_buffer(buffer), Ok(()));
        client.mapped(buffer, |bytes| bytes.fill(0xff)).unwrap();
    }
    client.fake.pause(false);
    assert_eq!(client.status(surfaces[0]), Ok(VASurfaceReady));
    assert_eq!(client.sync_for(surfaces[0], 0), Ok(()));
    assert_eq!(client.sync_for(surfaces[0], VA_TIMEOUT_INFINITE), Ok(()));
    assert_eq!([stage.shown(surfaces[0]), stage.shown(surfaces[1])], [1, 2]);
}

/// A derived image is the surface's memory: what is written to the one is in the other.
#[test]
fn a_derived_image_is_no_copy() {
    for (habit, habits) in habits() {
        let stage = stage(habits);
        let surface = stage.surfaces(1)[0];
        let context = stage.context(&[]);
        stage.decode(context, surface, 1).unwrap();
        stage.client.sync(surface).unwrap();
        let (described, fd) = stage.client.export(surface, PRIME_2, COMPOSED).unwrap();
        let image = stage.client.derive(surface).unwrap();
        let pitch = image.pitches[0] as usize;
        let write = |bytes: &mut [u8]| bytes[pitch] = 77;
        stage.client.mapped(image.buf, write).unwrap();
        let size = described.objects[0].size as usize;
        let seen = v4l2::sys::Mapping::new(&fd, size, 0).unwrap();
        let mut row = [0];
        assert!(seen.read(described.layers[0].pitch[0] as usize, &mut row));
        assert_eq!(row, [77], "{habit}");
    }
}

/// After a seek pictures may refer to surfaces that hold nothing, or something else by now: they come to
/// an end, one way or the other, and the next whole picture is right.
#[test]
fn a_seek_into_the_middle() {
    for (habit, habits) in habits() {
        let stage = stage(habits);
        let client = &stage.client;
        let surfaces = stage.surfaces(4);
        let context = stage.context(&surfaces);
        // The stream begins there.
        let _ = client.predict(context, (surfaces[0], surfaces[1]), SIZE, &data(1));
        let _ = client.sync(surfaces[0]);
        for round in 0..8 {
            stage.decode(context, surfaces[2], 10 + round).unwrap();
            let seek = (surfaces[3], surfaces[usize::from(round) % 2]);
            let _ = client.predict(context, seek, SIZE, &data(90));
            // Of the surface itself, and of what was never one.
            let _ = client.predict(context, (surfaces[3], surfaces[3]), SIZE, &data(91));
            let _ = client.predict(context, (surfaces[3], 7), SIZE, &data(92));
            let _ = client.sync(surfaces[3]);
            stage.decode(context, surfaces[3], 20 + round).unwrap();
            let shown = [stage.shown(surfaces[2]), stage.shown(surfaces[3])];
            assert_eq!(shown, [10 + round, 20 + round], "{habit}");
        }
    }
}

/// Several threads wait for pictures of one context, and another one goes on decoding.
#[test]
fn threads_wait_beside_one_another() {
    let stage = stage(Habits::default());
    let surfaces = stage.surfaces(4);
    let context = stage.context(&surfaces);
    for round in 0..50 {
        stage.client.fake.pause(true);
        for (at, surface) in surfaces[..3].iter().enumerate() {
            stage.decode(context, *surface, round + at as u8).unwrap();
        }
        std::thread::scope(|scope| {
            for surface in &surfaces[..3] {
                scope.spawn(|| stage.client.sync(*surface).unwrap());
            }
            stage.client.fake.pause(false);
            stage.decode(context, surfaces[3], 200).unwrap();
        });
        assert_eq!(stage.shown(surfaces[2]), round + 2);
    }
}
