//! The frame that a consumer holds is never overwritten.

use super::*;

/// A whole stream through a few surfaces; each picture is exported, held for a while whatever becomes
/// of its surface, and looked at when it is let go.
fn hold(habits: Habits, surfaces: usize, window: usize, pictures: usize) {
    let stage = stage(habits);
    let ids = stage.surfaces(surfaces);
    let context = stage.context(&ids);
    let mut held = std::collections::VecDeque::new();
    for picture in 0..pictures {
        let (surface, number) = (ids[picture % surfaces], picture as u8);
        stage.decode(context, surface, number).unwrap();
        let export = stage.client.export(surface, PRIME_2, SEPARATE).unwrap();
        stage.client.sync(surface).unwrap();
        held.push_back((number, export));
        if held.len() > window {
            let (number, export) = held.pop_front().unwrap();
            assert_eq!(
                exported(&export),
                number,
                "{surfaces} surfaces, {window} held"
            );
        }
    }
    // The last ones are held until there is no display any more.
    stage.client.destroy_surfaces(&ids).unwrap();
    stage.client.destroy_context(context).unwrap();
    stage.client.terminate().unwrap();
    for (number, export) in held {
        assert_eq!(
            exported(&export),
            number,
            "{surfaces} surfaces, the last {window}"
        );
    }
}

#[test]
fn held_frames_stay_as_they_are() {
    for surfaces in [1, 2, 3, 8, 40] {
        for window in [0, 1, 5, 60] {
            hold(Habits::default(), surfaces, window, 200);
        }
    }
}

/// With memory of its own only, a decoder has as many pictures as buffers; as long as those suffice
/// nothing is overwritten either.
#[test]
fn held_frames_of_a_decoder_that_imports_nothing_stay_as_they_are() {
    let habits = Habits {
        imports: false,
        ..Habits::default()
    };
    for (surfaces, window) in [(1, 1), (3, 3), (3, 10), (8, 15)] {
        hold(habits, surfaces, window, 200);
    }
}

/// When all its buffers are held, a picture is refused, and none is overwritten.
#[test]
fn a_decoder_without_a_free_buffer_refuses() {
    let stage = stage(Habits {
        imports: false,
        ..Habits::default()
    });
    let surface = stage.surfaces(1)[0];
    let context = stage.context(&[]);
    let mut held = Vec::new();
    let refused = (0..100).find(|number| {
        if stage.decode(context, surface, *number).is_err() {
            return true;
        }
        let export = stage.client.export(surface, PRIME_2, COMPOSED).unwrap();
        stage.client.sync(surface).unwrap();
        held.push(export);
        false
    });
    assert_eq!(refused, Some(32));
    for (number, export) in held.iter().enumerate() {
        assert_eq!(usize::from(exported(export)), number);
    }
}

/// An image that is derived of a surface stays what it was when the surface is decoded into again.
#[test]
fn derived_images_stay_as_they_are() {
    for (_, habits) in habits() {
        let stage = stage(habits);
        let surface = stage.surfaces(1)[0];
        let context = stage.context(&[]);
        stage.decode(context, surface, 1).unwrap();
        let image = stage.client.derive(surface).unwrap();
        stage.decode(context, surface, 2).unwrap();
        stage.client.sync(surface).unwrap();
        assert_eq!(stage.numbers(&image), [1; 2]);
        assert_eq!(stage.shown(surface), 2);
        stage.client.destroy_image(image.image_id).unwrap();
        stage.decode(context, surface, 3).unwrap();
        assert_eq!(stage.shown(surface), 3);
    }
}

/// A picture that is put into a surface leaves what a consumer holds of it alone.
#[test]
fn what_is_put_does_not_overwrite_either() {
    let stage = stage(Habits::default());
    let surface = stage.surfaces(1)[0];
    let context = stage.context(&[]);
    stage.decode(context, surface, 1).unwrap();
    stage.client.sync(surface).unwrap();
    let export = stage.client.export(surface, PRIME_2, COMPOSED).unwrap();
    let image = stage.client.image(VA_FOURCC_NV12, 2, 2).unwrap();
    stage
        .client
        .mapped(image.buf, |bytes| bytes.fill(99))
        .unwrap();
    let (id, at) = (image.image_id, (4, 0));
    stage
        .client
        .put_image(surface, id, (0, 0), (2, 2), at)
        .unwrap();
    assert_eq!(exported(&export), 1);
    let derived = stage.client.derive(surface).unwrap();
    let first = stage
        .client
        .mapped(derived.buf, |bytes| bytes[..8].to_vec());
    assert_eq!(first.unwrap(), [0, 0, 1, 1, 99, 99, 1, 1]);
}

/// A surface keeps the memory of one that is gone from being used again while it is exported.
#[test]
fn surfaces_made_later_do_not_get_held_memory() {
    for (_, habits) in habits() {
        let stage = stage(habits);
        let context = stage.context(&[]);
        let mut held = Vec::new();
        for number in 0..20 {
            let surface = stage.surfaces(1)[0];
            stage.decode(context, surface, number).unwrap();
            let export = stage.client.export(surface, PRIME_2, COMPOSED).unwrap();
            stage.client.sync(surface).unwrap();
            stage.client.destroy_surfaces(&[surface]).unwrap();
            held.push((number, export));
        }
        for (number, export) in &held {
            assert_eq!(exported(export), *number);
        }
    }
}
