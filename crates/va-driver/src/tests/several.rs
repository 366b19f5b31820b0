//! A machine with two decoders, which differ in codecs and sizes.

use super::*;
use rustix::event::PollFd;
use rustix::fd::{AsRawFd, BorrowedFd, RawFd};
use rustix::io::Result;
use rustix::ioctl::Opcode;
use std::ffi::c_void;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use v4l2::fake::Fake;
use v4l2::find::DecoderNode;
use v4l2::sys::Kernel;
use v4l2::uapi::media::MEDIA_IOC_REQUEST_ALLOC;
use v4l2::uapi::videodev2::*;

/// Two decoders, told apart by the number of their nodes.
#[derive(Debug)]
struct Two {
    fakes: [Fake; 2],
    /// Whose a descriptor is; the last word counts.
    owners: Mutex<Vec<(RawFd, usize)>>,
    opened: Mutex<Vec<String>>,
}

impl Two {
    fn owner(&self, fd: BorrowedFd<'_>) -> &Fake {
        let owners = self.owners.lock().unwrap();
        let mut last = owners.iter().rev();
        let found = last.find(|(own, _)| *own == fd.as_raw_fd());
        &self.fakes[found.expect("it was opened here").1]
    }

    fn take_opened(&self) -> Vec<String> {
        std::mem::take(&mut *self.opened.lock().unwrap())
    }

    /// Which decoders have streamed since the last time.
    fn streamed(&self) -> [bool; 2] {
        let is_it = |line: &String| line.starts_with("STREAMON");
        self.fakes
            .each_ref()
            .map(|fake| fake.take_log().iter().any(is_it))
    }
}

impl Kernel for Two {
    fn open(&self, node: &Path) -> Result<OwnedFd> {
        let name = node.to_string_lossy().into_owned();
        let owner = usize::from(name.ends_with('1'));
        let fd = self.fakes[owner].open(node)?;
        self.owners.lock().unwrap().push((fd.as_raw_fd(), owner));
        self.opened.lock().unwrap().push(name);
        Ok(fd)
    }

    unsafe fn ioctl(
        &self,
        fd: BorrowedFd<'_>,
        opcode: Opcode,
        argument: *mut c_void,
    ) -> Result<()> {
        let owner = self.owner(fd);
        // SAFETY: the caller's word.
        unsafe { owner.ioctl(fd, opcode, argument)? };
        if opcode == MEDIA_IOC_REQUEST_ALLOC {
            // SAFETY: this ioctl has just written a descriptor there.
            let request = unsafe { *argument.cast::<i32>() };
            let place = usize::from(std::ptr::eq(owner, &self.fakes[1]));
            self.owners.lock().unwrap().push((request, place));
        }
        Ok(())
    }

    fn poll(&self, fds: &mut [PollFd<'_>], timeout: Duration) -> Result<usize> {
        self.owner(fds[0].as_fd()).poll(fds, timeout)
    }
}

fn two(only: Option<&str>) -> Client<Two> {
    let fake = |coded: &'static [u32], largest| {
        Fake::with(Habits {
            coded,
            largest,
            ..Habits::default()
        })
    };
    let two = Two {
        fakes: [
            fake(
                &[V4L2_PIX_FMT_MPEG2_SLICE, V4L2_PIX_FMT_VP8_FRAME],
                (320, 240),
            ),
            fake(
                &[V4L2_PIX_FMT_MPEG2_SLICE, V4L2_PIX_FMT_H264_SLICE],
                (2048, 1088),
            ),
        ],
        owners: Mutex::default(),
        opened: Mutex::default(),
    };
    let node = |number: u32| DecoderNode {
        media: format!("/dev/media{number}").into(),
        video: format!("/dev/video{number}").into(),
        driver: "fake".into(),
        model: "fake".into(),
    };
    Client::of_nodes(Arc::new(two), &[node(0), node(1)], only.map(Path::new)).unwrap()
}

const MPEG2: [VAProfile; 2] = [VAProfileMPEG2Simple, VAProfileMPEG2Main];
const H264: [VAProfile; 3] = [
    VAProfileH264Main,
    VAProfileH264High,
    VAProfileH264ConstrainedBaseline,
];

/// All profiles are offered, each once; a context goes to the first decoder that has its profile and takes
/// its size, and has nodes of its own there.
#[test]
fn the_decoder_is_chosen_by_profile_and_size() {
    let client = two(None);
    let all = [&MPEG2[..], &H264, &[VAProfileVP8Version0_3]].concat();
    assert_eq!(client.profiles().unwrap(), all);
    let config = |profile| client.config(profile, VAEntrypointVLD, &mut []).unwrap();
    client.fake.take_opened();
    let rows = [
        (VAProfileMPEG2Main, (64, 48), Some(0)),
        (VAProfileMPEG2Main, (640, 480), Some(1)),
        (VAProfileVP8Version0_3, (64, 48), Some(0)),
        (VAProfileVP8Version0_3, (640, 480), None),
        (VAProfileH264High, (64, 48), Some(1)),
    ];
    for (profile, size, decoder) in rows {
        let context = client.context(config(profile), size, &[]);
        let opened = client.fake.take_opened();
        match decoder {
            Some(number) => {
                assert!(context.is_ok(), "{profile} {size:?}");
                let nodes = ["video", "media"].map(|kind| format!("/dev/{kind}{number}"));
                assert_eq!(opened, nodes, "{profile} {size:?}");
            }
            None => {
                let refused = Err(VA_STATUS_ERROR_RESOLUTION_NOT_SUPPORTED);
                assert_eq!(context, refused, "{profile} {size:?}");
                assert!(opened.is_empty());
            }
        }
    }
}

#[test]
fn one_of_two_decoders_can_be_forced() {
    let rows = [
        (
            "/dev/video0",
            [&MPEG2[..], &[VAProfileVP8Version0_3]].concat(),
        ),
        ("/dev/media1", [&MPEG2[..], &H264].concat()),
    ];
    for (only, profiles) in rows {
        assert_eq!(two(Some(only)).profiles().unwrap(), profiles, "{only}");
    }
}

/// Streams on both decoders at once, from several threads.
#[test]
fn two_decoders_at_once() {
    let client = two(None);
    let config = client
        .config(VAProfileMPEG2Main, VAEntrypointVLD, &mut [])
        .unwrap();
    std::thread::scope(|scope| {
        for (width, height) in [(64, 48), (640, 480), (128, 96), (864, 480)] {
            let client = &client;
            scope.spawn(move || {
                let size = (i32::from(width), i32::from(height));
                let context = client.context(config, size, &[]).unwrap();
                let ids = client.surfaces(width.into(), height.into(), 2).unwrap();
                for number in 0..30 {
                    let surface = ids[usize::from(number) % 2];
                    let what = ((width, height), Part::Frame);
                    client
                        .decode(context, surface, what, &data(number))
                        .unwrap();
                    client.sync(surface).unwrap();
                    let export = client.export(surface, PRIME_2, COMPOSED).unwrap();
                    assert_eq!(exported(&export), number);
                }
                client.destroy_context(context).unwrap();
            });
        }
    });
    assert_eq!(client.fake.streamed(), [true; 2]);
}
