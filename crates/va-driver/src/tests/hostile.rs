//! Clients that call with what makes no sense.

use super::*;

/// Each kind of object is asked for with ids of the others, with made-up ones and with those of
/// objects that are gone.
#[test]
fn ids_that_name_nothing() {
    let stage = stage(Habits::default());
    let client = &stage.client;
    let surface = stage.surfaces(1)[0];
    let context = stage.context(&[]);
    let image = client.image(VA_FOURCC_NV12, 16, 16).unwrap();
    let gone = client
        .empty_buffer(context, VASliceDataBufferType, 16, 1)
        .unwrap();
    client.destroy_buffer(gone).unwrap();
    let ids = [0, 1, u32::MAX, gone, stage.config, surface ^ (1 << 20)];
    for id in ids {
        let what = format!("{id:#x}");
        assert_eq!(
            client.begin(context, id),
            Err(VA_STATUS_ERROR_INVALID_SURFACE),
            "{what}"
        );
        assert_eq!(
            client.begin(id, surface),
            Err(VA_STATUS_ERROR_INVALID_CONTEXT),
            "{what}"
        );
        assert_eq!(
            client.end(id),
            Err(VA_STATUS_ERROR_INVALID_CONTEXT),
            "{what}"
        );
        assert_eq!(
            client.sync(id),
            Err(VA_STATUS_ERROR_INVALID_SURFACE),
            "{what}"
        );
        assert_eq!(
            client.status(id),
            Err(VA_STATUS_ERROR_INVALID_SURFACE),
            "{what}"
        );
        assert_eq!(
            client.destroy_surfaces(&[id]),
            Err(VA_STATUS_ERROR_INVALID_SURFACE),
            "{what}"
        );
        assert_eq!(
            client.destroy_context(id),
            Err(VA_STATUS_ERROR_INVALID_CONTEXT),
            "{what}"
        );
        assert_eq!(
            client.destroy_buffer(id),
            Err(VA_STATUS_ERROR_INVALID_BUFFER),
            "{what}"
        );
        assert_eq!(
            client.sync_buffer(id),
            Err(VA_STATUS_ERROR_INVALID_BUFFER),
            "{what}"
        );
        assert_eq!(
            client.set_elements(id, 1),
            Err(VA_STATUS_ERROR_INVALID_BUFFER),
            "{what}"
        );
        assert_eq!(
            client.destroy_image(id),
            Err(VA_STATUS_ERROR_INVALID_IMAGE),
            "{what}"
        );
        assert_eq!(
            client.derive(id).err(),
            Some(VA_STATUS_ERROR_INVALID_SURFACE),
            "{what}"
        );
        assert_eq!(
            client.surface_error(id),
            Err(VA_STATUS_ERROR_INVALID_SURFACE),
            "{what}"
        );
        let export = client.export(id, PRIME_2, 0).err();
        assert_eq!(export, Some(VA_STATUS_ERROR_INVALID_SURFACE), "{what}");
        let get = client.get_image(surface, (0, 0), (1, 1), id);
        assert_eq!(get, Err(VA_STATUS_ERROR_INVALID_IMAGE), "{what}");
        let get = client.get_image(id, (0, 0), (1, 1), image.image_id);
        assert_eq!(get, Err(VA_STATUS_ERROR_INVALID_SURFACE), "{what}");
    }
    for id in ids.into_iter().filter(|id| *id != stage.config) {
        assert_eq!(
            client.destroy_config(id),
            Err(VA_STATUS_ERROR_INVALID_CONFIG)
        );
        assert_eq!(
            client.context(id, (64, 48), &[]),
            Err(VA_STATUS_ERROR_INVALID_CONFIG)
        );
        assert_eq!(
            client.context(stage.config, (64, 48), &[id]),
            Err(VA_STATUS_ERROR_INVALID_SURFACE)
        );
    }
    assert_eq!(client.surface_error(surface), Ok(-1));
}

#[test]
fn sizes_that_cannot_be() {
    let stage = stage(Habits::default());
    let client = &stage.client;
    for (width, height) in [(0, 16), (16, 0), (20000, 16), (u32::MAX, u32::MAX)] {
        let surfaces = client.surfaces(width, height, 1);
        assert_eq!(surfaces, Err(VA_STATUS_ERROR_RESOLUTION_NOT_SUPPORTED));
        let image = client.image(VA_FOURCC_NV12, width as i32, height as i32);
        assert_eq!(image.err(), Some(VA_STATUS_ERROR_INVALID_PARAMETER));
    }
    let contexts = [
        ((0, 48), VA_STATUS_ERROR_INVALID_PARAMETER),
        ((64, -1), VA_STATUS_ERROR_INVALID_PARAMETER),
        (
            (i32::MAX, i32::MAX),
            VA_STATUS_ERROR_RESOLUTION_NOT_SUPPORTED,
        ),
        ((8, 8), VA_STATUS_ERROR_RESOLUTION_NOT_SUPPORTED),
    ];
    for (size, status) in contexts {
        assert_eq!(
            client.context(stage.config, size, &[]),
            Err(status),
            "{size:?}"
        );
    }
    let context = stage.context(&[]);
    let kind = VASliceDataBufferType;
    for (size, count) in [
        (u32::MAX, 2),
        (1 << 16, 1 << 16),
        (u32::MAX, u32::MAX),
        (1 << 29, 1),
    ] {
        let buffer = client.empty_buffer(context, kind, size, count);
        assert_eq!(
            buffer,
            Err(VA_STATUS_ERROR_INVALID_PARAMETER),
            "{size} {count}"
        );
    }
    let buffer = client.empty_buffer(context, kind, 0, 0).unwrap();
    let large = client.set_elements(buffer, u32::MAX);
    assert_eq!(large, Ok(()), "of no bytes each");
    let buffer = client.empty_buffer(context, kind, 100, 4).unwrap();
    assert_eq!(client.set_elements(buffer, 3), Ok(()));
    assert_eq!(client.buffer_info(buffer), Ok((kind, 100, 3)));
    assert_eq!(
        client.set_elements(buffer, 400),
        Err(VA_STATUS_ERROR_INVALID_PARAMETER)
    );
    let unknown = client.empty_buffer(context, 30, 16, 1);
    assert_eq!(unknown, Err(VA_STATUS_ERROR_UNSUPPORTED_BUFFERTYPE));
    // A surface that no decoder takes has no memory.
    let large = client.surfaces(8000, 8000, 1).unwrap()[0];
    let derived = client.derive(large).err();
    assert!(derived.is_some(), "{derived:?}");
}

#[test]
fn regions_outside() {
    let stage = stage(Habits::default());
    let client = &stage.client;
    let surface = stage.surfaces(1)[0];
    let image = client.image(VA_FOURCC_I420, 64, 48).unwrap().image_id;
    let regions = [
        ((-1, 0), (8, 8)),
        ((0, i32::MIN), (8, 8)),
        ((60, 0), (8, 8)),
        ((0, 0), (64, 49)),
        ((1, 1), (u32::MAX, u32::MAX)),
        ((i32::MAX, i32::MAX), (1, 1)),
    ];
    for (at, size) in regions {
        let refused = Err(VA_STATUS_ERROR_INVALID_PARAMETER);
        assert_eq!(
            client.get_image(surface, at, size, image),
            refused,
            "{at:?} {size:?}"
        );
        assert_eq!(
            client.put_image(surface, image, (0, 0), size, at),
            refused,
            "{at:?} {size:?}"
        );
        assert_eq!(
            client.put_image(surface, image, at, size, (0, 0)),
            refused,
            "{at:?} {size:?}"
        );
    }
}

/// Descriptors of memory that is not there, or does not hold what they say.
#[test]
fn imports_that_lie() {
    type Spoil = fn(&mut VADRMPRIMESurfaceDescriptor);
    let rows: &[(&str, Spoil)] = &[
        ("fourcc", |one| one.fourcc = VA_FOURCC_I420),
        ("objects", |one| one.num_objects = 0),
        ("layers", |one| one.num_layers = 0),
        ("too many layers", |one| one.num_layers = 9),
        ("planes", |one| one.layers[0].num_planes = 3),
        ("object index", |one| one.layers[1].object_index[0] = 3),
        ("modifier", |one| one.objects[0].drm_format_modifier = 7),
        ("pitch", |one| one.layers[0].pitch[0] = 63),
        ("no pitch", |one| one.layers[1].pitch[0] = 0),
        ("offset", |one| one.layers[1].offset[0] = u32::MAX),
        ("overlap", |one| one.layers[1].offset[0] = 8),
        ("width", |one| one.width = 65),
        ("no height", |one| one.height = 0),
        ("height", |one| one.height = u32::MAX),
    ];
    let stage = stage(Habits::default());
    let (described, memory) = foreign(64);
    for (what, spoil) in rows {
        let mut described = described;
        spoil(&mut described);
        let import = stage.client.import(&described, Some(memory.as_fd()));
        assert!(import.is_err(), "{what}");
    }
    assert!(stage.client.import(&described, None).is_err());
    rustix::fs::ftruncate(&memory, 100).unwrap();
    assert!(
        stage
            .client
            .import(&described, Some(memory.as_fd()))
            .is_err()
    );
}

/// Pictures that were not begun, have no buffers or wrong ones; the next good one decodes.
#[test]
fn pictures_out_of_order() {
    let stage = stage(Habits::default());
    let client = &stage.client;
    let surface = stage.surfaces(1)[0];
    let context = stage.context(&[]);
    let failed = Err(VA_STATUS_ERROR_OPERATION_FAILED);
    assert_eq!(client.end(context), failed);
    assert_eq!(client.render(context, &[5]), failed);
    let good = |number| {
        stage.decode(context, surface, number).unwrap();
        assert_eq!(stage.shown(surface), number);
    };
    good(1);
    client.begin(context, surface).unwrap();
    assert_eq!(client.end(context), Err(VA_STATUS_ERROR_DECODING_ERROR));
    good(2);
    let buffers = client
        .picture_buffers(context, (SIZE, Part::Frame), &data(9))
        .unwrap();
    for some in [
        &buffers[..1],
        &buffers[1..],
        &buffers[2..],
        &[buffers[0], buffers[2]],
    ] {
        client.begin(context, surface).unwrap();
        client.render(context, some).unwrap();
        assert_eq!(
            client.end(context),
            Err(VA_STATUS_ERROR_DECODING_ERROR),
            "{some:?}"
        );
    }
    good(3);
    // One wrong buffer among right ones is said when the picture ends.
    client.begin(context, surface).unwrap();
    client
        .render(context, &[buffers[0], 77, buffers[1]])
        .unwrap();
    client.render(context, &buffers[2..]).unwrap();
    assert_eq!(client.end(context), Err(VA_STATUS_ERROR_INVALID_BUFFER));
    assert!(crate::client::was_told("no buffer has the id 0x0000004d"));
    good(4);
    // Begun twice, and in any order.
    client.begin(context, surface).unwrap();
    client.begin(context, surface).unwrap();
    client.render(context, &[buffers[2]]).unwrap();
    client.render(context, &[buffers[0], buffers[1]]).unwrap();
    client.end(context).unwrap();
    assert_eq!(stage.shown(surface), 9);
    client.begin(context, surface).unwrap();
    client.destroy_context(context).unwrap();
}

/// What says to a process that it is alone, so that it can count its descriptors.
const ALONE: &str = "KINORA_VA_TEST_ALONE";

/// As many descriptors and mappings after many displays as after a few, whatever a client leaves
/// behind. Other tests have theirs, so this one runs in a process of its own.
#[test]
fn nothing_is_left_behind() {
    if std::env::var_os(ALONE).is_none() {
        let done = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::hostile::nothing_is_left_behind"])
            .env(ALONE, "yes")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let count = || {
        let open = std::fs::read_dir("/proc/self/fd").unwrap().count();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        (
            open,
            maps.lines().filter(|line| line.contains("memfd")).count(),
        )
    };
    for _ in 0..3 {
        leave_everything();
    }
    let before = count();
    for _ in 0..200 {
        leave_everything();
    }
    assert_eq!(count(), before);
    assert_eq!(before.1, 0);
}

fn leave_everything() {
    for (_, habits) in habits() {
        let stage = stage(habits);
        let surfaces = stage.surfaces(6);
        let context = stage.context(&surfaces);
        for surface in &surfaces {
            stage.decode(context, *surface, 1).unwrap();
        }
        drop(stage.client.export(surfaces[0], PRIME_2, COMPOSED).unwrap());
        stage.client.derive(surfaces[1]).unwrap();
        stage.client.begin(context, surfaces[2]).unwrap();
    }
}
