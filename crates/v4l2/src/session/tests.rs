//! Sessions over the fake: what is asked of a device, in which order, and who has which buffer.

use super::*;
use crate::fake::{Fake, Habits, PAYLOAD};
use crate::uapi::videodev2::{V4L2_PIX_FMT_NV12, V4L2_PIX_FMT_VP8_FRAME};

const NO_TIME: Duration = Duration::ZERO;

struct Stream {
    fake: Arc<Fake>,
    session: Session,
    free: Vec<Picture>,
}

fn stream(inputs: u32, pictures: u32, memory: Memory) -> Stream {
    stream_on(Fake::default(), inputs, pictures, memory)
}

fn stream_on(fake: Fake, inputs: u32, pictures: u32, memory: Memory) -> Stream {
    let fake = Arc::new(fake);
    let kernel: Arc<dyn Kernel> = Arc::clone(&fake) as Arc<dyn Kernel>;
    let node = DecoderNode {
        media: "/dev/media0".into(),
        video: "/dev/video0".into(),
        driver: "fake".into(),
        model: "fake".into(),
    };
    let config = Config {
        coded: V4L2_PIX_FMT_VP8_FRAME,
        width: 60,
        height: 40,
        input_size: 4096,
        inputs,
        controls: &[Control::integer(7, 1)],
        raw: V4L2_PIX_FMT_NV12,
        memory,
        pictures,
    };
    let (session, free) = Session::start(&kernel, &node, &config).unwrap();
    Stream {
        fake,
        session,
        free,
    }
}

impl Stream {
    fn submission(&mut self, first: u8, micros: u64) -> Submission<'static> {
        let mut input = self.session.input().unwrap();
        input.bytes_mut()[..PAYLOAD].fill(first);
        Submission {
            input,
            length: PAYLOAD,
            timestamp: Timestamp::from_micros(micros),
            controls: &[Control {
                id: 9,
                value: crate::device::Value::Bytes(&[1, 2, 3]),
            }],
            target: Target::Picture(self.free.remove(0)),
            hold: false,
        }
    }

    fn submit(&mut self, first: u8, micros: u64) {
        let submission = self.submission(first, micros);
        self.session.submit(submission).unwrap();
    }

    /// The next picture: its first byte, its timestamp, and whether it is an error.
    fn picture(&mut self) -> Option<(u8, u64, bool)> {
        loop {
            match self.session.wait(NO_TIME).unwrap()? {
                Done::Input { .. } => {}
                Done::Picture {
                    picture,
                    timestamp,
                    error,
                } => {
                    let first = picture.bytes().unwrap()[0];
                    self.free.push(picture);
                    return Some((first, timestamp.micros(), error));
                }
            }
        }
    }

    #[track_caller]
    fn expect_log(&self, expected: &str) {
        let expected = expected.lines().map(str::trim);
        let expected: Vec<&str> = expected.filter(|line| !line.is_empty()).collect();
        assert_eq!(self.fake.take_log(), expected);
    }
}

#[test]
fn a_stream_is_set_up_in_the_order_that_drivers_want() {
    let stream = stream(2, 3, Memory::Mmap);
    stream.expect_log(
        "
        S_FMT OUTPUT VP8F 60x40
        S_EXT_CTRLS 1
        S_FMT CAPTURE NV12 60x40
        REQBUFS OUTPUT 2
        REQBUFS CAPTURE 3
        STREAMON OUTPUT
        STREAMON CAPTURE
        ",
    );
    let raw = stream.session.raw();
    assert_eq!((raw.width, raw.height, raw.stride), (64, 48, 64));
    assert_eq!(stream.free.len(), 3);
}

#[test]
fn an_access_unit_takes_seven_calls_beside_the_wait() {
    let mut stream = stream(1, 2, Memory::Mmap);
    stream.fake.take_log();
    stream.submit(5, 40);
    assert_eq!(stream.picture(), Some((5, 40, false)));
    assert_eq!(stream.picture(), None);
    stream.expect_log(
        "
        S_EXT_CTRLS request 0: 1
        QBUF OUTPUT 0 8 bytes at 40 us, request 0
        REQUEST_QUEUE 0
        QBUF CAPTURE 0
        DQBUF CAPTURE 0
        DQBUF OUTPUT 0
        REQUEST_REINIT 0
        ",
    );
}

#[test]
fn buffers_go_round_and_errors_stay_with_their_access_unit() {
    let mut stream = stream(2, 3, Memory::Mmap);
    for round in 0..10_u64 {
        let first = if round % 3 == 2 { 0xff } else { round as u8 };
        stream.submit(first, round + 1);
        stream.submit(first ^ 1, round + 100);
        assert!(stream.session.input().is_none());
        assert_eq!(stream.picture(), Some((first, round + 1, first == 0xff)));
        let second = Some((first ^ 1, round + 100, false));
        assert_eq!(stream.picture(), second);
        assert_eq!(stream.picture(), None);
        assert!(!stream.session.is_busy());
    }
}

#[test]
fn two_fields_make_one_picture() {
    let mut stream = stream(2, 2, Memory::Mmap);
    let mut first = stream.submission(1, 7);
    first.hold = true;
    stream.session.submit(first).unwrap();
    assert_eq!(stream.picture(), None);
    stream.fake.take_log();
    let mut second = stream.submission(2, 7);
    let Target::Picture(unused) = std::mem::replace(&mut second.target, Target::Held) else {
        panic!("a submission without a picture");
    };
    stream.free.push(unused);
    stream.session.submit(second).unwrap();
    assert_eq!(stream.picture(), Some((2, 7, false)));
    assert_eq!(stream.free.len(), 2);
}

#[test]
fn what_is_refused_comes_back_whole() {
    let rows = [
        ("S_EXT_CTRLS", Errno::INVAL),
        ("QBUF", Errno::INVAL),
        ("REQUEST_QUEUE", Errno::NOENT),
    ];
    for (call, errno) in rows {
        let mut stream = stream(1, 1, Memory::Mmap);
        stream.fake.refuse(call, errno);
        let submission = stream.submission(3, 1);
        let refused = stream.session.submit(submission).unwrap_err();
        assert_eq!(refused.source.errno(), Some(errno), "{call}");
        assert!(!refused.is_waiting, "{call}");
        stream.free.extend(refused.picture);
        // Nothing of it is left: the same buffers serve the next one.
        stream.submit(4, 2);
        assert_eq!(stream.picture(), Some((4, 2, false)), "{call}");
    }
}

#[test]
fn a_control_that_is_refused_is_named() {
    let mut stream = stream(1, 1, Memory::Mmap);
    stream.fake.refuse("S_EXT_CTRLS", Errno::RANGE);
    let submission = stream.submission(3, 5);
    let refused = stream.session.submit(submission).unwrap_err();
    assert_eq!(refused.to_string(), "access unit at 5 us");
    assert_eq!(refused.source.to_string(), "/dev/video0: set control: 0x9");
}

#[test]
fn an_access_unit_that_is_too_long_is_not_sent() {
    let mut stream = stream(1, 1, Memory::Mmap);
    stream.fake.take_log();
    let mut submission = stream.submission(3, 5);
    submission.length = 1 << 30;
    let refused = stream.session.submit(submission).unwrap_err();
    assert!(matches!(refused.source, Error::TooLong { .. }));
    stream.expect_log("REQUEST_REINIT 0");
}

#[test]
fn buffers_of_another_session_are_not_taken() {
    let mut one = stream(1, 1, Memory::Mmap);
    let mut other = stream(1, 1, Memory::Mmap);
    let mut submission = one.submission(3, 5);
    submission.target = Target::Picture(other.free.remove(0));
    let refused = one.session.submit(submission).unwrap_err();
    assert!(matches!(refused.source, Error::Foreign));
    other.free.extend(refused.picture);
    other.submit(6, 1);
    assert_eq!(other.picture(), Some((6, 1, false)));
}

#[test]
fn a_seek_gives_back_what_was_in_flight() {
    let mut stream = stream(2, 2, Memory::Mmap);
    let mut held = stream.submission(1, 1);
    held.hold = true;
    stream.session.submit(held).unwrap();
    stream.submit(2, 2);
    stream.fake.take_log();
    let back = stream.session.flush().unwrap();
    stream.expect_log(
        "
        STREAMOFF OUTPUT
        STREAMOFF CAPTURE
        REQUEST_REINIT 0
        REQUEST_REINIT 1
        STREAMON OUTPUT
        STREAMON CAPTURE
        ",
    );
    assert_eq!(back.len(), 2);
    stream.free.extend(back);
    stream.submit(3, 3);
    stream.submit(4, 4);
    assert_eq!(stream.picture(), Some((3, 3, false)));
    assert_eq!(stream.picture(), Some((4, 4, false)));
}

#[test]
fn pictures_are_added_and_removed() {
    let mut stream = stream(1, 1, Memory::Mmap);
    stream.free.extend(stream.session.add_pictures(2).unwrap());
    let indices: Vec<_> = stream.free.iter().map(Picture::index).collect();
    assert_eq!(indices, [0, 1, 2]);
    stream.fake.take_log();
    let gone = stream.free.remove(1);
    stream.session.remove_picture(gone).unwrap();
    stream.expect_log("REMOVE_BUFS CAPTURE 1");
    stream.submit(1, 1);
    stream.submit_after_input(2, 2);
    assert_eq!(stream.free.len(), 1);
}

impl Stream {
    /// Submits when there is an input again.
    fn submit_after_input(&mut self, first: u8, micros: u64) {
        assert!(self.picture().is_some());
        assert_eq!(self.picture(), None);
        self.submit(first, micros);
    }
}

#[test]
fn imported_pictures_are_queued_with_their_memory() {
    let mut stream = stream(1, 2, Memory::DmaBuf);
    assert!(stream.free.is_empty());
    let memory = rustix::fs::memfd_create("picture", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&memory, 4608).unwrap();
    let memory = Arc::new(memory);
    assert!(stream.session.import(2, Arc::clone(&memory), 4608).is_err());
    let picture = stream.session.import(1, memory, 4608).unwrap();
    assert!(picture.bytes().is_none());
    stream.free.push(picture);
    stream.fake.take_log();
    stream.submit(1, 1);
    let log = stream.fake.take_log();
    assert_eq!(log.last().unwrap(), "QBUF CAPTURE 1 imported");
}

#[test]
fn another_size_leaves_old_pictures_for_references() {
    let mut stream = stream(1, 2, Memory::Mmap);
    stream.fake.take_log();
    let new = stream.session.resize(100, 50, 1).unwrap();
    stream.expect_log(
        "
        STREAMOFF CAPTURE
        S_FMT OUTPUT VP8F 100x50
        S_FMT CAPTURE NV12 100x50
        CREATE_BUFS CAPTURE 1
        STREAMON CAPTURE
        ",
    );
    assert_eq!(new[0].index(), 2);
    assert_eq!((new[0].format().width, new[0].format().height), (112, 64));
    assert_eq!(stream.free[0].format().width, 64);
}

/// Kernels before 4.20 free no buffers that are mapped or exported: a session lets go of its own first,
/// and says what is so when others have some.
#[test]
fn a_stream_that_ends_lets_go_before_it_frees() {
    let old = || {
        let habits = Habits {
            orphans: false,
            ..Habits::default()
        };
        stream_on(Fake::with(habits), 2, 3, Memory::Mmap)
    };
    let stream = old();
    drop(stream.free);
    stream.fake.take_log();
    let (device, _) = stream.session.stop().unwrap();
    let log = stream.fake.take_log();
    let freed = ["REQBUFS OUTPUT 0", "REQBUFS CAPTURE 0"];
    assert_eq!(log[log.len() - 2..], freed);
    device
        .request_buffers(Queue::Capture, Memory::Mmap, 1)
        .unwrap();

    let errno = |ended: Result<(Arc<Device>, MediaDevice), Error>| ended.unwrap_err().errno();
    let mut stream = old();
    let mapped = stream.free.remove(0);
    drop(stream.free);
    assert_eq!(errno(stream.session.stop()), Some(Errno::BUSY));
    drop(mapped);

    let mut stream = old();
    let (picture, fd) = stream.session.export(stream.free.remove(0)).unwrap();
    drop((picture, stream.free));
    assert_eq!(errno(stream.session.stop()), Some(Errno::BUSY));
    drop(fd);
}

/// A driver that takes no other format while it has buffers says so, and the session goes on.
#[test]
fn another_size_may_be_refused() {
    let habits = Habits {
        resizes: false,
        ..Habits::default()
    };
    let mut stream = stream_on(Fake::with(habits), 1, 2, Memory::Mmap);
    let refused = stream.session.resize(100, 50, 1).unwrap_err();
    assert_eq!(refused.errno(), Some(Errno::BUSY));
    drop(std::mem::take(&mut stream.free));
    let (device, _) = stream.session.stop().unwrap();
    let coded = Format::coded(V4L2_PIX_FMT_VP8_FRAME, 100, 50, 4096);
    assert_eq!(device.set_format(Queue::Output, coded).unwrap().width, 100);
}

#[test]
fn longer_access_units_get_longer_buffers() {
    let mut stream = stream(1, 2, Memory::Mmap);
    let long = 100 << 10;
    assert!(!stream.session.has_input_of(long));
    assert!(stream.session.input_of(long).is_none());
    stream.fake.take_log();
    stream.session.add_input(long as u32).unwrap();
    stream.expect_log("CREATE_BUFS OUTPUT 1");
    let input = stream.session.input_of(long).unwrap();
    assert!(stream.session.input_of(long).is_none());
    stream.session.release(input);
    assert!(stream.session.has_input_of(long));
    let mut submission = stream.submission(7, 9);
    submission.length = long;
    stream.session.submit(submission).unwrap();
    assert_eq!(stream.picture(), Some((7, 9, false)));
}

#[test]
fn places_for_memory_of_the_clients_are_added() {
    let mut stream = stream(1, 2, Memory::DmaBuf);
    assert_eq!(stream.session.places(), 2);
    assert!(stream.session.add_pictures(3).unwrap().is_empty());
    assert_eq!(stream.session.places(), 5);
}
