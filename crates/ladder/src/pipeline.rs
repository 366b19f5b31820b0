//! A pool of workers over one source and the units it feeds.
//!
//! There is no thread per encoder. Each worker takes the best job there is, does a little of it and
//! takes the next:
//!
//! 1. pictures that wait for the oldest unit nobody is working on, the biggest rung first;
//! 2. else the next pictures from the source, if nobody is reading it and the pictures waiting take
//!    less memory than the budget.
//!
//! It cannot lock up: a waiting picture always belongs to a unit that some worker is at or can
//! take, so memory over the budget is being given back: one that must first know what earlier
//! segments cost (`rate.rs`) comes after them, and the oldest never waits. Which worker did what has
//! no influence on the bytes, because a unit sees its own pictures in their order and the sizes of
//! the same earlier segments, and nothing else.
//!
//! Finished segments go to the calling thread, which hands them to the sink in order.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use media::{Frame, Rational};

use crate::audio::BIT_RATE as AUDIO_BIT_RATE;
use crate::plan::{Plan, Prepared, stop_if};
use crate::playlist::AUDIO_GROUP;
use crate::rate::Rate;
use crate::sample::{Sound, TICKS, seconds};
use crate::sink::{Progress, Segment, Sink};
use crate::source::{Event, Source};
use crate::unit::{self, Finished, Recipe, Span, Unit};
use crate::{Container, Error, Made, Options, Report, Result};

/// Memory for each worker: an encoder of 1080 lines with its look-ahead, and its share of waiting
/// pictures.
const WORKER_BYTES: u64 = 300 << 20;
/// The part of it for decoded pictures that wait.
const WAITING_BYTES: usize = 48 << 20;
/// Pictures of 1080 lines are what the above is measured for.
const WORKER_PIXELS: u64 = 1920 * 1080;
/// Pictures that a worker takes from a unit at a time.
const BATCH: usize = 4;
/// The encoder whose constant quality `rate.rs` steers.
const CONSTANT_QUALITY_ENCODER: &str = "libx264";
/// Bytes of a segment file for each byte of pictures and sound: transport packets and headers.
const PACKING: f64 = 1.03;
/// How soon a cancel is seen, and how often progress is told at most.
const HEARTBEAT: Duration = Duration::from_millis(50);
const PROGRESS_EVERY: Duration = Duration::from_millis(250);
/// Reading runs ahead of a slow sink by so many finished segments for each worker.
const UNDELIVERED: usize = 8;

/// Runs the plan.
pub fn run(
    prepared: Prepared,
    options: &Options,
    sink: &mut dyn Sink,
    cancel: &AtomicBool,
) -> Result<Report> {
    stop_if(cancel)?;
    sink.plan(&prepared.plan).map_err(Error::Sink)?;
    let wanted = Wanted::new(&prepared.plan, options);
    let encodes = wanted.encodes();
    let encoder = match (&options.encoder, encodes) {
        (_, false) => String::new(),
        (Some(encoder), true) => encoder.clone(),
        (None, true) => media::choose_h264_encoder()?,
    };
    let workers = options
        .workers
        .unwrap_or_else(|| workers(&prepared.plan))
        .max(1);
    let decoder_threads = if workers < 4 { 1 } else { workers as u32 / 2 };
    let source = match wanted.anything() {
        true => {
            let source = Source::open(&prepared, options, encodes, decoder_threads)?;
            Some(Box::new(source))
        }
        false => None,
    };
    let recipes = recipes(&prepared, options, &encoder);
    let (finished, delivered) = mpsc::channel();
    let pool = Pool {
        state: Mutex::new(State {
            ended: source.is_none(),
            source,
            rates: rates(&prepared, options, &encoder),
            ..State::default()
        }),
        wake: Condvar::new(),
        stop: AtomicBool::new(false),
        work: AtomicU64::new(0),
        undelivered: AtomicU64::new(0),
        budget: WAITING_BYTES * workers,
        most_undelivered: (UNDELIVERED * workers) as u64,
        recipes,
        wanted,
    };
    let mut delivery = Delivery::new(&prepared.plan, &pool, sink);
    let outcome = std::thread::scope(|scope| {
        for number in 0..workers {
            let (pool, finished) = (&pool, finished.clone());
            let named = std::thread::Builder::new().name(format!("ladder-{number}"));
            let started = named.spawn_scoped(scope, move || pool.work(&finished));
            if let Err(error) = started {
                pool.stop();
                return Err(Error::Sink(error));
            }
        }
        drop(finished);
        let outcome = delivery.run(&delivered, cancel);
        pool.stop();
        outcome
    });
    outcome?;
    let made = std::mem::take(&mut delivery.made);
    drop(delivery);
    let mut warnings = prepared.warnings.clone();
    warnings.append(&mut pool.lock().warnings);
    let duration_s = prepared.plan.duration_s;
    let report = Report {
        duration_s,
        encoder,
        renditions: made,
        warnings,
    };
    sink.end(&report).map_err(Error::Sink)?;
    Ok(report)
}

/// As many workers as there are cores and memory for.
fn workers(plan: &Plan) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let pixels = plan
        .rungs
        .first()
        .map_or(0, |r| u64::from(r.width) * u64::from(r.height));
    let each = WORKER_BYTES * pixels.max(WORKER_PIXELS) / WORKER_PIXELS;
    let fitting = free_memory().map_or(cores, |free| (free / each) as usize);
    cores.min(fitting).max(1)
}

/// Bytes that can be used without swapping: what the kernel says, or less if a control group
/// limits it.
fn free_memory() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo
        .lines()
        .find(|line| line.starts_with("MemAvailable:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let limit = group.and_then(|text| text.trim().parse::<u64>().ok());
    Some((kibibytes << 10).min(limit.unwrap_or(u64::MAX)))
}

fn recipes(prepared: &Prepared, options: &Options, encoder: &str) -> Vec<Arc<Recipe>> {
    let plan = &prepared.plan;
    let average = Rational::new((plan.frame_rate * 1000.0).round() as i32, 1000).reduced();
    let recipe = |rung: &crate::Rung| Recipe {
        rung: rung.clone(),
        encoder: encoder.to_string(),
        preset: rung.preset(&options.preset).to_string(),
        constant_rate: prepared.constant_rate,
        average_rate: average.is_positive().then_some(average),
        container: plan.container,
    };
    plan.rungs
        .iter()
        .map(|rung| Arc::new(recipe(rung)))
        .collect()
}

/// The rate control of each rung that libx264 encodes; other encoders keep to their own.
fn rates(prepared: &Prepared, options: &Options, encoder: &str) -> Vec<Option<Rate>> {
    let (plan, cuts) = (&prepared.plan, &prepared.cuts);
    let rate = |rung: &crate::Rung| {
        if rung.copied || encoder != CONSTANT_QUALITY_ENCODER {
            return None;
        }
        let sound = plan.audio && plan.container == Container::Ts;
        let sound = if sound { AUDIO_BIT_RATE as f64 } else { 0.0 };
        let aim = (f64::from(rung.bit_rate) + sound) * PACKING;
        let mut rate = Rate::new(aim, rung.first_crf());
        for ((name, index), bytes) in &options.done {
            let index = *index as usize;
            if let (true, Some(start)) = (*name == rung.name, cuts.starts.get(index)) {
                rate.settle(index, *bytes, seconds(cuts.end_of(index) - start));
            }
        }
        Some(rate)
    };
    plan.rungs.iter().map(rate).collect()
}

/// Which units there are to make.
struct Wanted {
    /// By rung, by segment.
    rungs: Vec<Vec<bool>>,
    audio: Vec<bool>,
    copied: Vec<bool>,
}

impl Wanted {
    fn new(plan: &Plan, options: &Options) -> Wanted {
        let segments = |name: &str| -> Vec<bool> {
            (0..plan.segments)
                .map(|at| !options.done.contains_key(&(name.to_string(), at)))
                .collect()
        };
        let separate = plan.audio && plan.container == Container::Cmaf;
        Wanted {
            rungs: plan.rungs.iter().map(|rung| segments(&rung.name)).collect(),
            audio: if separate {
                segments(AUDIO_GROUP)
            } else {
                Vec::new()
            },
            copied: plan.rungs.iter().map(|rung| rung.copied).collect(),
        }
    }

    fn rung(&self, rung: usize, segment: usize) -> bool {
        self.rungs[rung].get(segment).copied().unwrap_or(false)
    }

    fn encodes_at(&self, rung: usize, segment: usize) -> bool {
        !self.copied[rung] && self.rung(rung, segment)
    }

    /// Whether anything has to be made at all.
    fn anything(&self) -> bool {
        self.rungs
            .iter()
            .flatten()
            .chain(&self.audio)
            .any(|wanted| *wanted)
    }

    /// Whether anything has to be encoded at all.
    fn encodes(&self) -> bool {
        let segments = self.rungs.first().map_or(0, Vec::len);
        (0..self.rungs.len()).any(|rung| (0..segments).any(|at| self.encodes_at(rung, at)))
    }

    /// The smallest rung that is encoded in this segment: the ones above must pass pictures down.
    fn lowest(&self, segment: usize) -> Option<usize> {
        (0..self.rungs.len())
            .rev()
            .find(|&rung| self.encodes_at(rung, segment))
    }
}

/// What workers share.
struct Pool {
    state: Mutex<State>,
    wake: Condvar,
    stop: AtomicBool,
    /// Pixels times ticks encoded.
    work: AtomicU64,
    /// Segments finished and not yet with the sink.
    undelivered: AtomicU64,
    budget: usize,
    most_undelivered: u64,
    recipes: Vec<Arc<Recipe>>,
    wanted: Wanted,
}

#[derive(Default)]
struct State {
    /// None while a worker reads from it, and after its end.
    source: Option<Box<Source>>,
    ended: bool,
    /// By segment, then rung.
    units: BTreeMap<(usize, usize), Slot>,
    /// Bytes of all pictures that wait in slots.
    waiting: usize,
    /// By rung; none where the encoder keeps to a rate by itself.
    rates: Vec<Option<Rate>>,
    warnings: Vec<String>,
}

/// A unit and the pictures that wait for it.
struct Slot {
    /// None while a worker is at it.
    unit: Option<Box<Unit>>,
    pictures: VecDeque<(Frame, i64)>,
    /// No more pictures will come; here is the sound.
    closed: Option<Option<Arc<Sound>>>,
    /// Time of the last picture encoded.
    reached: i64,
}

enum Job {
    Read(Box<Source>),
    Encode {
        key: (usize, usize),
        unit: Box<Unit>,
        pictures: Vec<(Frame, i64)>,
        reached: i64,
    },
    Finish {
        key: (usize, usize),
        unit: Box<Unit>,
        sound: Option<Arc<Sound>>,
        reached: i64,
        end: i64,
    },
}

type Message = Result<Finished>;

impl Pool {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A worker that panicked ends the run when the scope joins it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        // Under the lock, or a worker between its check and its wait would sleep on.
        let state = self.lock();
        self.stop.store(true, Ordering::Relaxed);
        drop(state);
        self.wake.notify_all();
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn work(&self, finished: &Sender<Message>) {
        let _guard = StopOnPanic(self);
        while let Some(job) = self.next_job() {
            if let Err(error) = self.do_job(job, finished) {
                // The receiver is gone only when the run is over anyway.
                let _ = finished.send(Err(error));
                self.stop();
            }
            self.wake.notify_all();
        }
    }

    /// The best job, waiting for one if need be; `None` when there is nothing left to do.
    fn next_job(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if self.stopped() || state.ended && state.units.is_empty() {
                return None;
            }
            if let Some(job) = state.unit_job() {
                return Some(job);
            }
            let ahead = self.undelivered.load(Ordering::Relaxed) < self.most_undelivered;
            if state.waiting < self.budget && ahead {
                if let Some(source) = state.source.take() {
                    return Some(Job::Read(source));
                }
            }
            state = self
                .wake
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn do_job(&self, job: Job, finished: &Sender<Message>) -> Result<()> {
        match job {
            Job::Read(mut source) => {
                let events = source.step(&self.stop)?;
                for event in events {
                    self.take_event(event, finished)?;
                }
                let mut state = self.lock();
                if source.ended {
                    state.ended = true;
                    state.warnings = source.warnings();
                } else {
                    state.source = Some(source);
                }
                Ok(())
            }
            Job::Encode {
                key,
                unit,
                pictures,
                reached,
            } => self.encode(key, unit, pictures, reached),
            Job::Finish {
                key,
                unit,
                sound,
                reached,
                end,
            } => {
                let segment = unit.finish(sound.as_deref(), &self.stop)?;
                if segment.is_some() {
                    self.count(key.1, end - reached);
                }
                let cost = segment.as_ref().map(|finished| {
                    let segment = &finished.segment;
                    (segment.bytes.len() as u64, segment.duration)
                });
                self.deliver(segment, finished);
                let mut state = self.lock();
                if let (Some((bytes, seconds)), Some(rate)) = (cost, &mut state.rates[key.1]) {
                    rate.settle(key.0, bytes, seconds);
                }
                state.units.remove(&key);
                // What this unit passed down is complete.
                if let Some(below) = state.units.get_mut(&(key.0, key.1 + 1)) {
                    below.closed = Some(sound);
                }
                Ok(())
            }
        }
    }

    fn take_event(&self, event: Event, finished: &Sender<Message>) -> Result<()> {
        match event {
            Event::Open(span) => self.open(&span)?,
            Event::Picture(frame, pts) => {
                self.lock().give_newest(frame, pts);
                self.wake.notify_one();
            }
            Event::Close(span, sound) => {
                if self.wanted.audio.get(span.index).copied().unwrap_or(false) {
                    let packed = sound.as_deref().map(|sound| unit::pack_sound(sound, &span));
                    self.deliver(packed, finished);
                }
                if let Some(slot) = self.lock().units.get_mut(&(span.index, 0)) {
                    let muxed = self.recipes[0].container == Container::Ts;
                    slot.closed = Some(sound.filter(|_| muxed));
                }
            }
            Event::Copied(span, pictures, sound) => {
                if self.wanted.rung(0, span.index) {
                    let sound = sound.as_deref();
                    let packed = unit::pack(pictures, &span, &self.recipes[0], sound)?;
                    self.count(0, span.end - span.start);
                    self.deliver(Some(packed), finished);
                }
            }
        }
        Ok(())
    }

    /// Makes the units of a segment: those that are wanted, and those above that must scale.
    fn open(&self, span: &Arc<Span>) -> Result<()> {
        let Some(lowest) = self.wanted.lowest(span.index) else {
            return Ok(());
        };
        for rung in 0..=lowest {
            let below = self.recipes.get(rung + 1).filter(|_| rung < lowest);
            let smaller = below.map(|recipe| (recipe.rung.width, recipe.rung.height));
            let recipe = Arc::clone(&self.recipes[rung]);
            let encodes = self.wanted.encodes_at(rung, span.index);
            let unit = Unit::new(Arc::clone(span), recipe, encodes, smaller)?;
            let slot = Slot {
                unit: Some(Box::new(unit)),
                pictures: VecDeque::new(),
                closed: None,
                reached: span.start,
            };
            self.lock().units.insert((span.index, rung), slot);
        }
        Ok(())
    }

    fn encode(
        &self,
        key: (usize, usize),
        mut unit: Box<Unit>,
        pictures: Vec<(Frame, i64)>,
        mut reached: i64,
    ) -> Result<()> {
        let mut below = Vec::new();
        let mut freed = 0;
        for (frame, pts) in pictures {
            if self.stopped() {
                return Ok(());
            }
            if let Some(smaller) = unit.frame(&frame, pts)? {
                below.push((smaller, pts));
            }
            freed += frame.bytes();
            if self.wanted.encodes_at(key.1, key.0) {
                self.count(key.1, pts - reached);
            }
            reached = pts;
        }
        let mut state = self.lock();
        state.waiting -= freed;
        state.waiting += below.iter().map(|(frame, _)| frame.bytes()).sum::<usize>();
        if let Some(slot) = state.units.get_mut(&(key.0, key.1 + 1)) {
            slot.pictures.extend(below);
        }
        if let Some(slot) = state.units.get_mut(&key) {
            slot.unit = Some(unit);
            slot.reached = reached;
        }
        Ok(())
    }

    fn deliver(&self, segment: Option<Finished>, finished: &Sender<Message>) {
        if let Some(segment) = segment {
            self.undelivered.fetch_add(1, Ordering::Relaxed);
            // The receiver is gone only when the run is over anyway.
            let _ = finished.send(Ok(segment));
        }
    }

    /// The sink has taken a segment.
    fn delivered(&self) {
        // Under the lock, or a worker between its check and its wait would sleep on.
        let state = self.lock();
        self.undelivered.fetch_sub(1, Ordering::Relaxed);
        drop(state);
        self.wake.notify_all();
    }

    fn count(&self, rung: usize, ticks: i64) {
        let work = weight(&self.recipes[rung].rung).saturating_mul(ticks.max(0) as u64);
        self.work.fetch_add(work, Ordering::Relaxed);
    }
}

/// What a worker that panics was holding never comes back, and the others would wait for it.
struct StopOnPanic<'a>(&'a Pool);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}

impl State {
    /// The oldest unit with something to do.
    fn unit_job(&mut self) -> Option<Job> {
        let rates = &mut self.rates;
        let mut ready = |segment, rung: usize, slot: &Slot| {
            let Some(unit) = &slot.unit else { return false };
            let something = !slot.pictures.is_empty() || slot.closed.is_some();
            let may_start = match &mut rates[rung] {
                Some(rate) if unit.waits_for_quality() => rate.crf(segment).is_some(),
                _ => true,
            };
            something && may_start
        };
        let mut units = self.units.iter_mut();
        let (&key, slot) = units.find(|((segment, rung), slot)| ready(*segment, *rung, slot))?;
        let mut unit = slot.unit.take()?;
        if let Some(rate) = self.rates[key.1].as_mut() {
            unit.set_quality(rate.crf(key.0));
        }
        let reached = slot.reached;
        if slot.pictures.is_empty() {
            let sound = slot.closed.clone().flatten();
            let end = unit.end();
            return Some(Job::Finish {
                key,
                unit,
                sound,
                reached,
                end,
            });
        }
        let count = slot.pictures.len().min(BATCH);
        let pictures = slot.pictures.drain(..count).collect();
        Some(Job::Encode {
            key,
            unit,
            pictures,
            reached,
        })
    }

    /// Puts a picture before the first rung of the newest segment, if anything is to be made of it.
    fn give_newest(&mut self, frame: Frame, pts: i64) {
        let newest = self
            .units
            .last_key_value()
            .map(|(&(segment, _), _)| segment);
        let Some(slot) = newest.and_then(|segment| self.units.get_mut(&(segment, 0))) else {
            return;
        };
        if slot.closed.is_none() {
            self.waiting += frame.bytes();
            slot.pictures.push_back((frame, pts));
        }
    }
}

/// How much of the work a rung is, per tick: its pixels; for a copied one, next to nothing.
fn weight(rung: &crate::Rung) -> u64 {
    let pixels = u64::from(rung.width) * u64::from(rung.height);
    if rung.copied { pixels / 50 + 1 } else { pixels }
}

/// The calling thread's part: hands segments to the sink in order and tells progress.
struct Delivery<'a> {
    pool: &'a Pool,
    sink: &'a mut dyn Sink,
    waiting: HashMap<(String, u32), Segment>,
    next: HashMap<String, u32>,
    done: HashMap<String, Vec<bool>>,
    made: Vec<Made>,
    started: Instant,
    told: Option<Instant>,
    total_s: f64,
    total_work: f64,
    skipped_work: f64,
}

impl<'a> Delivery<'a> {
    fn new(plan: &Plan, pool: &'a Pool, sink: &'a mut dyn Sink) -> Delivery<'a> {
        let made = |name: &str, copied| Made {
            name: name.to_string(),
            segments: 0,
            bytes: 0,
            copied,
        };
        let mut renditions: Vec<Made> = plan
            .rungs
            .iter()
            .map(|rung| made(&rung.name, rung.copied))
            .collect();
        let names = plan.rungs.iter().map(|rung| rung.name.clone());
        let mut done: HashMap<String, Vec<bool>> =
            names.zip(pool.wanted.rungs.iter().cloned()).collect();
        if !pool.wanted.audio.is_empty() {
            renditions.push(made(AUDIO_GROUP, false));
            done.insert(AUDIO_GROUP.to_string(), pool.wanted.audio.clone());
        }
        let ticks = plan.duration_s * TICKS as f64;
        let total_work = plan
            .rungs
            .iter()
            .map(|rung| weight(rung) as f64)
            .sum::<f64>()
            * ticks;
        let share = |wanted: &Vec<bool>| {
            let skipped = wanted.iter().filter(|wanted| !**wanted).count();
            skipped as f64 / wanted.len().max(1) as f64
        };
        let rungs = plan.rungs.iter().zip(&pool.wanted.rungs);
        let skipped_work = rungs
            .map(|(rung, wanted)| weight(rung) as f64 * share(wanted))
            .sum::<f64>();
        Delivery {
            pool,
            sink,
            waiting: HashMap::new(),
            next: HashMap::new(),
            done,
            made: renditions,
            started: Instant::now(),
            told: None,
            total_s: plan.duration_s,
            total_work,
            skipped_work: skipped_work * ticks,
        }
    }

    /// Until all workers are gone, or something fails.
    fn run(&mut self, finished: &Receiver<Message>, cancel: &AtomicBool) -> Result<()> {
        loop {
            stop_if(cancel)?;
            match finished.recv_timeout(HEARTBEAT) {
                Ok(message) => self.take(message?)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self
                .told
                .is_none_or(|told| told.elapsed() >= PROGRESS_EVERY)
            {
                self.tell()?;
            }
        }
        stop_if(cancel)?;
        self.tell()
    }

    fn take(&mut self, finished: Finished) -> Result<()> {
        let Finished { segment, init } = finished;
        let rung = segment.rung.clone();
        if let Some(init) = init.filter(|_| !self.next.contains_key(&rung)) {
            self.sink.init(&rung, &init).map_err(Error::Sink)?;
        }
        let first = self.next_wanted(&rung, 0);
        self.next.entry(rung.clone()).or_insert(first);
        self.waiting.insert((rung.clone(), segment.index), segment);
        while let Some(segment) = self.waiting.remove(&(rung.clone(), self.next[&rung])) {
            let after = self.next_wanted(&rung, segment.index + 1);
            self.next.insert(rung.clone(), after);
            if let Some(made) = self.made.iter_mut().find(|made| made.name == rung) {
                made.segments += 1;
                made.bytes += segment.bytes.len() as u64;
            }
            self.sink.segment(segment).map_err(Error::Sink)?;
            self.pool.delivered();
        }
        Ok(())
    }

    /// The first segment from `index` on that this run makes.
    fn next_wanted(&self, rung: &str, index: u32) -> u32 {
        let wanted = self.done.get(rung).map_or(&[][..], Vec::as_slice);
        let mut rest = (index..).zip(wanted.iter().skip(index as usize));
        rest.find(|(_, wanted)| **wanted)
            .map_or(u32::MAX, |(at, _)| at)
    }

    fn tell(&mut self) -> Result<()> {
        self.told = Some(Instant::now());
        let now = self.pool.work.load(Ordering::Relaxed) as f64;
        let total = self.total_work.max(1.0);
        let fraction = ((now + self.skipped_work) / total).clamp(0.0, 1.0);
        let elapsed = self.started.elapsed().as_secs_f64();
        let speed = now / total * self.total_s / elapsed.max(1e-3);
        let left = self.total_s * (1.0 - fraction);
        let eta_s = (speed > 0.0).then(|| left / speed);
        let media_s = fraction * self.total_s;
        let progress = Progress {
            fraction,
            media_s,
            speed,
            eta_s,
        };
        self.sink.progress(&progress).map_err(Error::Sink)
    }
}
