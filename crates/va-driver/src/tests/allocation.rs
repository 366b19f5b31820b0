//! Nothing is allocated for a picture once a stream runs: not by the driver, and the fake in the
//! kernel's place is not counted.

use super::*;
use crate::client::kernels::{Cost, Counting, Uncounted, cost};
use std::sync::Arc;
use v4l2::fake::Fake;
use v4l2::sys::Kernel;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// As a picture of 1080p has in MPEG-2.
const SLICES: usize = 68;

/// Decodes a picture as clients do, without allocating anything itself, and waits for it.
fn picture(
    client: &Client,
    context: VAContextID,
    surface: VASurfaceID,
    parts: &[(VABufferType, &[u8])],
) {
    let mut buffers = [0; 1 + 2 * SLICES];
    for (buffer, (kind, bytes)) in buffers.iter_mut().zip(parts) {
        *buffer = client.borrowed_buffer(context, *kind, bytes).unwrap();
    }
    client.begin(context, surface).unwrap();
    client.render_borrowed(context, &mut buffers).unwrap();
    for buffer in buffers {
        client.destroy_buffer(buffer).unwrap();
    }
    client.end(context).unwrap();
    client.sync(surface).unwrap();
}

#[test]
fn nothing_is_allocated_for_a_picture() {
    for (habit, habits) in habits() {
        let fake = Arc::new(Fake::with(habits));
        let kernel: Arc<dyn Kernel> = Arc::new(Uncounted(Arc::clone(&fake)));
        let client = Client::over(fake, &kernel, None).unwrap();
        let config = client
            .config(VAProfileMPEG2Main, VAEntrypointVLD, &mut [])
            .unwrap();
        let stage = Stage { client, config };
        let surfaces = stage.surfaces(3);
        let context = stage.context(&surfaces);
        let buffers = stage
            .client
            .picture_buffers(context, (SIZE, Part::Frame), &data(5))
            .unwrap();
        let bytes = buffers.map(|buffer| {
            let (kind, ..) = stage.client.buffer_info(buffer).unwrap();
            (
                kind,
                stage.client.mapped(buffer, |bytes| bytes.to_vec()).unwrap(),
            )
        });
        let [header, slice @ ..] = bytes.each_ref().map(|(kind, bytes)| (*kind, &bytes[..]));
        let parts = [&[header], &slice.repeat(SLICES)[..]].concat();
        let decode = |rounds: usize| {
            for round in 0..rounds {
                picture(&stage.client, context, surfaces[round % 3], &parts);
            }
        };
        // The first pictures find their memory.
        decode(10);
        let ((), Cost { allocations, .. }) = cost(|| decode(50));
        assert_eq!(allocations, 0, "in 50 pictures, with {habit}");
        // The count counts.
        let ((), Cost { allocations, .. }) = cost(|| drop(std::hint::black_box(Box::new(habit))));
        assert_eq!(allocations, 1);
    }
}
