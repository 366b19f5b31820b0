//! A live source: pulled from its address, decoded, and found again when it is lost.
//!
//! ```text
//!             a packet                         lost: silence, error, end
//! connected ───────────▶ picture ▷     connected ───────▶ waiting ──▶ a try ──▶ connected, after a gap
//!                                                             ▲          │ fails
//!                                                             └──────────┘ until patience ends: over
//! ```
//!
//! The stream's clock goes on over a gap as if there was none, and the gap is marked. Pictures are
//! held back until the sound of their time is there, or is late, so that a segment that is closed has
//! its sound.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use media::{Decoder, Frame, Input, LiveOptions, Packet, Rational, Stream, VideoChain};

use crate::feed::{Fed, Feed, Incoming, counted};
use crate::input::Live;
use crate::sample::TICKS;
use crate::timeline::{FrameClock, Timeline, to_ticks};
use crate::{Error, Options, Result};

/// How much sound must be there beyond a picture: what resampler and encoder hold back.
const SOUND_AHEAD: i64 = TICKS / 10;
/// Sound that is later than this is not waited for.
const SOUND_LATE: i64 = TICKS;
/// The first wait after a loss; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How soon a stop is seen while waiting.
const HEARTBEAT: Duration = Duration::from_millis(50);
/// Pictures per second assumed where a source does not say.
const USUAL_RATE: Rational = Rational::new(25, 1);
/// The container whose clock may jump by design, as a live one may.
const CLOCK: &str = "mpegts";

/// Sound on its way from the connection to the track.
#[derive(Debug, Clone, Default)]
pub struct SoundQueue(Arc<Mutex<VecDeque<Heard>>>);

/// What is in a [`SoundQueue`].
#[derive(Debug)]
pub enum Heard {
    /// Another stream begins; this time of it, in its time base, is the output's 0.
    Stream(Box<Stream>, i64),
    /// A packet, on the repaired clock.
    Packet(Packet),
}

impl SoundQueue {
    pub fn pop(&self) -> Option<Heard> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    }

    fn push(&self, heard: Heard) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(heard);
    }
}

/// Connects and gives the source as a feed. `interrupt` ends whatever waits for the network.
pub fn open(live: &Live, options: &Options, interrupt: Arc<AtomicBool>) -> Result<Incoming> {
    let options = LiveOptions {
        connect: live.connect,
        silence: live.silence,
        stop: interrupt,
        open: options.open.clone(),
    };
    let connection = Connection::open(&live.address, &options, 0, None)?;
    let video = &connection.video;
    let rate = video
        .frame_rate()
        .filter(|rate| (1.0..=240.0).contains(&rate.to_f64()));
    let rate = rate.unwrap_or(USUAL_RATE);
    let sound = connection.sound.as_ref().map(|sound| sound.queue.clone());
    let chain = VideoChain::for_stream(video);
    Ok(Incoming {
        name: connection.input.name().to_string(),
        rate,
        constant: false,
        aspect: video.sample_aspect.unwrap_or(Rational::ONE),
        turned: video.orientation.swaps_sides(),
        chain: Some(chain),
        audio: None,
        live_sound: sound.clone(),
        live: true,
        feed: Box::new(LiveFeed {
            name: connection.input.name().to_string(),
            address: live.address.clone(),
            options,
            patience: live.reconnect,
            connection: Some(connection),
            lost: None,
            sound,
            ready: VecDeque::new(),
            gap: false,
            next: 0,
            nominal: to_ticks(1, rate.inverse()).max(1),
            oddities: Oddities::default(),
        }),
    })
}

/// What was survived.
#[derive(Debug, Default)]
struct Oddities {
    gaps: u32,
    jumps: u32,
    damaged: u32,
    over: Option<String>,
}

#[derive(Debug)]
struct LiveFeed {
    name: String,
    address: String,
    options: LiveOptions,
    /// How long a lost source is looked for.
    patience: Duration,
    connection: Option<Connection>,
    lost: Option<Lost>,
    sound: Option<SoundQueue>,
    /// Pictures with their times, waiting for their sound; before the first of a new connection stands
    /// a gap.
    ready: VecDeque<(Frame, i64)>,
    gap: bool,
    /// Where the next picture goes after a gap.
    next: i64,
    nominal: i64,
    oddities: Oddities,
}

/// A source that is gone.
#[derive(Debug)]
struct Lost {
    since: Instant,
    try_at: Instant,
    wait: Duration,
}

impl Feed for LiveFeed {
    fn next(&mut self, stop: &AtomicBool) -> Result<Fed> {
        loop {
            if stop.load(Ordering::Relaxed) {
                return Ok(Fed::Stopped);
            }
            if let Some((_, pts)) = self.ready.front() {
                if self.has_sound(*pts) {
                    if std::mem::take(&mut self.gap) {
                        return Ok(Fed::Gap);
                    }
                    if let Some((frame, pts)) = self.ready.pop_front() {
                        self.next = pts + self.nominal;
                        return Ok(Fed::Picture(frame, pts));
                    }
                }
            }
            // Whoever interrupts without stopping the run wants it to end here.
            if self.options.stop.load(Ordering::Relaxed) {
                return Ok(self.rest());
            }
            match (&mut self.connection, &self.lost) {
                (Some(_), _) => {
                    if let Some(reason) = self.read()? {
                        return Ok(self.lose(&reason));
                    }
                }
                (None, Some(lost)) if lost.try_at > Instant::now() => {
                    let left = lost.try_at.saturating_duration_since(Instant::now());
                    std::thread::sleep(left.min(HEARTBEAT));
                }
                (None, Some(_)) => {
                    if let Some(fed) = self.retry()? {
                        return Ok(fed);
                    }
                }
                (None, None) => return Ok(self.rest()),
            }
        }
    }

    fn warnings(&self) -> Vec<String> {
        let oddities = &self.oddities;
        let mut warnings = counted(&[
            (oddities.gaps, "times the source was lost and found again"),
            (oddities.jumps, "jumps of the source's clock were closed"),
            (oddities.damaged, "damaged video packets were passed over"),
        ]);
        warnings.extend(self.oddities.over.clone());
        warnings
    }
}

impl LiveFeed {
    /// Whether the sound of this time is there, or not waited for.
    fn has_sound(&self, pts: i64) -> bool {
        let Some(Connection {
            sound: Some(sound), ..
        }) = &self.connection
        else {
            return true;
        };
        let newest = self.ready.back().map_or(pts, |(_, newest)| *newest);
        sound.reached >= pts + SOUND_AHEAD || newest - pts >= SOUND_LATE
    }

    /// What is left when nothing more will come.
    fn rest(&mut self) -> Fed {
        match self.ready.pop_front() {
            Some((frame, pts)) => Fed::Picture(frame, pts),
            None => Fed::End,
        }
    }

    /// One packet further. The reason when there are no more.
    fn read(&mut self) -> Result<Option<String>> {
        let Some(connection) = &mut self.connection else {
            return Ok(None);
        };
        let jumps = connection.timeline.jumps;
        let packet = match connection.input.read() {
            Ok(Some(packet)) => packet,
            Ok(None) => return Ok(Some("it ended".to_string())),
            Err(error) => return Ok(Some(said(&error))),
        };
        if packet.stream() == connection.video.index {
            let damaged = connection.decode(Some(packet), self.next, &mut self.ready)?;
            self.oddities.damaged += damaged;
        } else {
            connection.hear(packet);
        }
        self.oddities.jumps += connection.timeline.jumps - jumps;
        Ok(None)
    }

    /// The source is gone; what the decoder holds of it comes out.
    fn lose(&mut self, reason: &str) -> Fed {
        if let Some(mut connection) = self.connection.take() {
            // After the end nothing can go wrong that matters.
            let _ = connection.decode(None, self.next, &mut self.ready);
        }
        if let Some((_, newest)) = self.ready.back() {
            self.next = newest + self.nominal;
        }
        if self.options.stop.load(Ordering::Relaxed) {
            return self.rest();
        }
        if self.patience.is_zero() {
            return self.rest();
        }
        let now = Instant::now();
        self.lost = Some(Lost {
            since: now,
            try_at: now + FIRST_WAIT.min(self.patience),
            wait: FIRST_WAIT,
        });
        let seconds = self.patience.as_secs();
        Fed::Notice(format!(
            "{}: lost: {reason}; looking for it for {seconds} s",
            self.name
        ))
    }

    /// Tries to connect again.
    fn retry(&mut self) -> Result<Option<Fed>> {
        // What was there before the loss goes out first.
        if let Some((frame, pts)) = self.ready.pop_front() {
            return Ok(Some(Fed::Picture(frame, pts)));
        }
        let Some(mut lost) = self.lost.take() else {
            return Ok(None);
        };
        let sound = self.sound.clone();
        match Connection::open(&self.address, &self.options, self.next, sound) {
            Ok(connection) => {
                self.connection = Some(connection);
                self.gap = true;
                self.oddities.gaps += 1;
                let after = lost.since.elapsed().as_secs_f64();
                let text = format!("{}: found again after {after:.1} s", self.name);
                Ok(Some(Fed::Notice(text)))
            }
            Err(_) if self.options.stop.load(Ordering::Relaxed) => Ok(None),
            Err(error) if lost.since.elapsed() >= self.patience => {
                let seconds = self.patience.as_secs();
                let reason = match &error {
                    Error::Media(error) => said(error),
                    error => error.to_string(),
                };
                let text =
                    format!("the source was lost and did not come back for {seconds} s: {reason}");
                self.oddities.over = Some(text.clone());
                Ok(Some(Fed::Notice(format!("{}: {text}", self.name))))
            }
            Err(_) => {
                lost.wait = (lost.wait * 2).min(LONGEST_WAIT);
                let end = lost.since + self.patience;
                lost.try_at = (Instant::now() + lost.wait).min(end.max(Instant::now()));
                self.lost = Some(lost);
                Ok(None)
            }
        }
    }
}

/// An error without the source's name, which is said already.
fn said(error: &media::Error) -> String {
    let text = error.to_string();
    match text.split_once(": ") {
        Some((_, rest)) => rest.to_string(),
        None => text,
    }
}

/// An open source.
struct Connection {
    input: Input,
    video: Stream,
    decoder: Decoder,
    timeline: Timeline,
    /// Set by the first picture.
    clock: Option<FrameClock>,
    /// Where the first picture goes.
    starts: i64,
    nominal: i64,
    sound: Option<Hearing>,
}

/// The sound of a connection.
struct Hearing {
    stream: Stream,
    timeline: Timeline,
    queue: SoundQueue,
    /// Packets from before the first picture, which says where they go.
    early: Vec<Packet>,
    origin: Option<i64>,
    /// How far the sound has come, in ticks of the output.
    reached: i64,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Connection")
            .field(&self.input.name())
            .finish()
    }
}

impl Connection {
    /// Connects. The first picture is shown at `starts`. Sound goes to `sound`, or, for the first
    /// connection, to a new queue if there is any.
    fn open(
        address: &str,
        options: &LiveOptions,
        starts: i64,
        sound: Option<SoundQueue>,
    ) -> Result<Connection> {
        let mut input = Input::open_live(address, options)?;
        let video = input.best_video()?.clone();
        let first = starts == 0;
        let heard = input
            .best_audio()
            .cloned()
            .filter(|_| first || sound.is_some());
        let mut wanted = vec![video.index];
        wanted.extend(heard.as_ref().map(|stream| stream.index));
        input.select(&wanted);
        let rate = video.frame_rate().unwrap_or(USUAL_RATE);
        let nominal = to_ticks(1, rate.inverse()).clamp(1, TICKS);
        let hearing = heard.map(|stream| Hearing {
            timeline: Timeline::new(CLOCK, stream.time_base, nominal),
            queue: sound.unwrap_or_default(),
            early: Vec::new(),
            origin: None,
            reached: i64::MIN,
            stream,
        });
        Ok(Connection {
            decoder: Decoder::open(&video, 1)?,
            timeline: Timeline::new(CLOCK, video.time_base, nominal),
            clock: None,
            starts,
            nominal,
            sound: hearing,
            input,
            video,
        })
    }

    /// A packet, or the end, to the decoder; what comes out goes to `ready`. How many were damaged.
    fn decode(
        &mut self,
        mut packet: Option<Packet>,
        next: i64,
        ready: &mut VecDeque<(Frame, i64)>,
    ) -> Result<u32> {
        if let Some(packet) = &mut packet {
            self.timeline.place(packet);
        }
        match self.decoder.send(packet.as_ref()) {
            Ok(()) => {}
            Err(error @ media::Error::TooLarge { .. }) => return Err(error.into()),
            Err(_) => return Ok(1),
        }
        loop {
            match self.decoder.receive() {
                Ok(Some(frame)) => {
                    let pts = frame.pts();
                    if self.clock.is_none() {
                        self.begin(pts.unwrap_or(0), next.max(self.starts));
                    }
                    let time = self.clock.as_mut().and_then(|clock| clock.next(pts));
                    ready.extend(time.map(|time| (frame, time)));
                }
                Ok(None) => return Ok(0),
                Err(error @ media::Error::TooLarge { .. }) => return Err(error.into()),
                Err(_) => return Ok(1),
            }
        }
    }

    /// The first picture has this time of the source and is shown at `starts`.
    fn begin(&mut self, pts: i64, starts: i64) {
        let base = self.video.time_base;
        let tick = crate::timeline::TICK;
        let origin = pts.saturating_sub(tick.rescale(starts, base));
        self.clock = Some(FrameClock::new(base, origin, self.nominal));
        if let Some(sound) = &mut self.sound {
            let origin = base.rescale(origin, sound.stream.time_base);
            sound.origin = Some(origin);
            let stream = Box::new(sound.stream.clone());
            sound.queue.push(Heard::Stream(stream, origin));
            for packet in std::mem::take(&mut sound.early) {
                sound.hear(packet, origin);
            }
        }
    }

    fn hear(&mut self, mut packet: Packet) {
        let Some(sound) = &mut self.sound else { return };
        sound.timeline.place(&mut packet);
        match sound.origin {
            Some(origin) => sound.hear(packet, origin),
            None => sound.early.push(packet),
        }
    }
}

impl Hearing {
    fn hear(&mut self, packet: Packet, origin: i64) {
        if let Some(pts) = packet.pts().or(packet.dts()) {
            let end = pts.saturating_add(packet.duration()).saturating_sub(origin);
            self.reached = self.reached.max(to_ticks(end, packet.time_base()));
        }
        self.queue.push(Heard::Packet(packet));
    }
}
