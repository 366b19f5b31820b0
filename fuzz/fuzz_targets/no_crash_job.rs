//! Any bytes as the messages of a session: wire check, rebuild, decode, copy.
//!
//! The input is a record without its header (see `decoded::record`): messages one after the other,
//! each padded to 8 bytes. A seed is a record of `kinora-decoded --record`, its first 16 bytes cut
//! off. Whatever a message says, nothing may crash, and what one allocates is bounded.
#![no_main]

use decoded::capture::{Capture, Coherence, Nv12};
use decoded::session::Session;
use decoded::wire;
use libfuzzer_sys::fuzz_target;
use std::fs::File;
use std::os::fd::OwnedFd;

/// A CAPTURE buffer for pictures of ordinary size. Larger ones end where a small buffer ends them.
const BUFFER: usize = 1 << 20;

fn buffer() -> Option<Capture> {
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(format!("/dev/shm/no_crash_job-{}", std::process::id()))
        .ok()?;
    let _ = std::fs::remove_file(format!("/dev/shm/no_crash_job-{}", std::process::id()));
    file.set_len(BUFFER as u64).ok()?;
    Capture::map(OwnedFd::from(file), BUFFER, Coherence::Coherent).ok()
}

fuzz_target!(|input: &[u8]| {
    let Some(mut capture) = buffer() else {
        return;
    };
    let mut session: Option<Session> = None;
    for message in decoded::record::split(input) {
        let Ok(job) = wire::check(message, None) else {
            continue;
        };
        // What the module's own limits let through of size; libavcodec's speed is not at stake.
        if job.capture.width > 1024 || job.capture.height > 1024 {
            continue;
        }
        let codec = job.controls.codec();
        let session = match &mut session {
            Some(session) if session.codec() == codec => session,
            other => match Session::open(codec) {
                Ok(opened) => other.insert(opened),
                Err(_) => return,
            },
        };
        let format = Nv12 {
            width: job.capture.width,
            height: job.capture.height,
            stride: job.capture.stride,
        };
        let Ok(mut writing) = capture.begin(format) else {
            continue;
        };
        let place = writing.place();
        if let Ok(outcome) = session.decode(&job, place, &mut |rows| writing.rows(&rows)) {
            let _ = writing.finish(outcome.picture);
        }
    }
});
