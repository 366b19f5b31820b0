//! What the VA driver itself takes for a picture: time on the clock and allocations, without the
//! kernel's part. Copies of the coded data, of which there are two, are in it.
//!
//! Runs anywhere: the decoder is the one made of memory, which decodes nothing. Streams are those that
//! `stream` reads; each goes through the driver's own table as a client would send it, picture after
//! picture, each waited for, several times. For each file a line: its name, microseconds of a picture
//! (each picture's best, because what else a machine does only adds), allocations of a picture (after
//! the first pass).

use guest_tests::arguments::Arguments;
use guest_tests::stream::{Frame, Step, Stream};
use guest_tests::va::Buffer;
use guest_tests::{Result, report, va};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use v4l2::fake::{Fake, Habits};
use v4l2::queue::Timestamp;
use v4l2::sys::Kernel;
use va_driver::client::kernels::{Cost, Counting, Uncounted, cost};
use va_driver::client::{Answer, Client};
use va_driver::va::*;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// More surfaces than are referred to.
const SURFACES: usize = 20;

/// Passes over a stream; the one before them finds its memory.
const PASSES: usize = 5;

fn main() -> ExitCode {
    report(all())
}

fn all() -> Result<ExitCode> {
    for file in Arguments::of_process(&[])?.free {
        let (time, allocations) = costs(Path::new(&file)).map_err(|e| format!("{file}: {e}"))?;
        writeln!(std::io::stdout(), "{file} {time:.3} {allocations:.3}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Microseconds and allocations of a picture.
fn costs(file: &Path) -> Result<(f64, f64)> {
    let mut stream = Stream::open(file)?;
    let fake = Arc::new(Fake::with(Habits::default()));
    let kernel: Arc<dyn Kernel> = Arc::new(Uncounted(Arc::clone(&fake)));
    let client = asked("vaInitialize", Client::over(fake, &kernel, None))?;
    let mut screen = Screen::new(&client, &mut stream)?;
    // The least that each picture took.
    let mut least: Vec<Duration> = Vec::new();
    let mut allocations = 0;
    for pass in 0..=PASSES {
        stream.reset();
        let mut number = 0;
        for unit in 0..stream.len() {
            let needed = stream.references();
            let coded = stream.coded();
            let Step::Decode(frame) = stream.read(unit)? else {
                continue;
            };
            let cost = screen.decode(coded, &frame, &needed)?;
            match least.get_mut(number) {
                None => least.push(cost.time),
                Some(least) => {
                    *least = cost.time.min(*least);
                    allocations += cost.allocations;
                }
            }
            number += 1;
        }
        if number != least.len() {
            return Err(format!("pass {pass} has {number} pictures").into());
        }
    }
    let pictures = least.len() as f64;
    let time: Duration = least.iter().sum();
    Ok((
        time.as_secs_f64() * 1e6 / pictures,
        allocations as f64 / pictures / PASSES as f64,
    ))
}

fn asked<T>(what: &str, answer: Answer<T>) -> Result<T> {
    answer.map_err(|status| format!("{what}: status {status:#x}").into())
}

/// A context and its surfaces.
struct Screen<'a> {
    client: &'a Client,
    context: VAContextID,
    /// The one that was decoded into the longest ago comes first.
    surfaces: Vec<VASurfaceID>,
    places: BTreeMap<Timestamp, VASurfaceID>,
}

impl<'a> Screen<'a> {
    fn new(client: &'a Client, stream: &mut Stream) -> Result<Screen<'a>> {
        let profile = va::profile(stream.coded())?;
        let Step::Decode(first) = stream.read(0)? else {
            return Err("a stream begins with a picture".into());
        };
        let (width, height) = first.size;
        let config = client.config(profile, VAEntrypointVLD, &mut []);
        let config = asked("vaCreateConfig", config)?;
        let surfaces = asked("vaCreateSurfaces", client.surfaces(width, height, SURFACES))?;
        let size = (width as i32, height as i32);
        let context = asked("vaCreateContext", client.context(config, size, &surfaces))?;
        Ok(Screen {
            client,
            context,
            surfaces,
            places: BTreeMap::new(),
        })
    }

    fn decode(&mut self, coded: u32, frame: &Frame<'_>, needed: &[Timestamp]) -> Result<Cost> {
        self.places.retain(|picture, _| needed.contains(picture));
        let target = match self.places.get(&frame.timestamp) {
            Some(first_field) => *first_field,
            None => {
                let free = |one: &VASurfaceID| !self.places.values().any(|used| used == one);
                let place = self.surfaces.iter().position(free);
                let target = self.surfaces.remove(place.ok_or("too few surfaces")?);
                self.surfaces.push(target);
                self.places.insert(frame.timestamp, target);
                target
            }
        };
        let surface = |picture| self.places.get(&picture).copied();
        let buffers = va::buffers(coded, frame, &|picture| {
            surface(picture).unwrap_or(VA_INVALID_SURFACE)
        })?;
        let (client, context) = (self.client, self.context);
        let mut ids = vec![VA_INVALID_ID; buffers.len()];
        let (done, cost) = cost(|| picture(client, context, target, &buffers, &mut ids));
        asked("a picture", done)?;
        // It keeps a list of calls, which would become long.
        client.fake.take_log();
        Ok(cost)
    }
}

/// As FFmpeg does it: all buffers are made, given at once and destroyed at the end.
fn picture(
    client: &Client,
    context: VAContextID,
    target: VASurfaceID,
    buffers: &[Buffer],
    ids: &mut [VABufferID],
) -> Answer<()> {
    for (id, buffer) in ids.iter_mut().zip(buffers) {
        *id = client.borrowed_buffer(context, buffer.kind, &buffer.bytes)?;
    }
    client.begin(context, target)?;
    client.render_borrowed(context, ids)?;
    client.end(context)?;
    for id in ids {
        client.destroy_buffer(*id)?;
    }
    client.sync(target)
}
