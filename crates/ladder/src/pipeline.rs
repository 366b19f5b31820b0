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
use crate::headers::Codec;
use crate::key::Keys;
use crate::plan::{Cutting, Plan, Prepared, stop_if};
use crate::playlist::PICTURES;
use crate::rate::Rate;
use crate::reuse::{Delivered, Reuse};
use crate::sample::{TICKS, seconds};
use crate::sink::{Part, Progress, Segment, Sink};
use crate::source::{Event, Source};
use crate::unit::{self, Closing, Finished, FinishedPart, Recipe, Span, Unit};
use crate::{Error, Leave, Made, Options, Report, Result};

/// Memory for each worker: an encoder of 1080 lines with its look-ahead, and its share of waiting
/// pictures.
const WORKER_BYTES: u64 = 300 << 20;
/// The part of it for decoded pictures that wait.
const WAITING_BYTES: usize = 48 << 20;
/// Pictures of 1080 lines are what the above is measured for.
const WORKER_PIXELS: u64 = 1920 * 1080;
/// Pictures that a worker takes from a unit at a time.
const BATCH: usize = 4;
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
    leave: Leave,
    sink: &mut dyn Sink,
    cancel: &AtomicBool,
) -> Result<Report> {
    stop_if(cancel)?;
    sink.plan(&prepared.plan).map_err(Error::Sink)?;
    let done = sink.done();
    let mut wanted = Wanted::new(&prepared.plan, &done);
    let encoded = |rung| wanted.any(|segment| wanted.encodes_at(rung, segment));
    let encoders = encoders(&prepared.plan.rungs, options, encoded)?;
    let workers = options
        .workers
        .unwrap_or_else(|| workers(&prepared.plan))
        .max(1);
    let decoder_threads = if workers < 4 { 1 } else { workers as u32 / 2 };
    let recipes = recipes(&prepared, options, &encoders);
    let rates = rates(&prepared.plan, &encoders);
    let (plan, mut warnings) = (prepared.plan.clone(), prepared.warnings.clone());
    let keys = Keys::new(&prepared, options, &encoders)?;
    let reuse = keys.map(|keys| Reuse::new(keys, options.cached.clone(), &plan));
    let before = match (&reuse, &prepared.cuts) {
        (Some(reuse), Cutting::Planned(cuts)) => {
            let rates = self::rates(&plan, &encoders);
            reuse.deliver(cuts, &recipes, rates, &mut wanted, sink, cancel)?
        }
        _ => Delivered::new(),
    };
    let mut used: Vec<&str> = Vec::new();
    for encoder in encoders.iter().filter(|_| wanted.encodes()) {
        if !encoder.is_empty() && !used.contains(&encoder.as_str()) {
            used.push(encoder);
        }
    }
    let encoder = used.join(", ");
    let source = match wanted.anything() {
        true => {
            let source = Source::open(prepared, options, wanted.decodes(), decoder_threads)?;
            Some(Box::new(source))
        }
        false => None,
    };
    let (finished, delivered) = mpsc::channel();
    let pool = Pool {
        state: Mutex::new(State {
            ended: source.is_none(),
            source,
            rates,
            end: plan.duration_s.unwrap_or_default(),
            ..State::default()
        }),
        wake: Condvar::new(),
        stop: AtomicBool::new(false),
        leave,
        work: AtomicU64::new(0),
        undelivered: AtomicU64::new(0),
        budget: WAITING_BYTES * workers,
        most_undelivered: (UNDELIVERED * workers) as u64,
        recipes,
        wanted,
        reuse,
    };
    let mut delivery = Delivery::new(&plan, &pool, before, sink);
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
    let mut state = pool.lock();
    warnings.append(&mut state.warnings);
    warnings.append(&mut state.failures);
    let duration_s = state.end;
    drop(state);
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

/// How each rung is made.
pub fn recipes(prepared: &Prepared, options: &Options, encoders: &[String]) -> Vec<Arc<Recipe>> {
    let plan = &prepared.plan;
    let average = Rational::new((plan.frame_rate * 1000.0).round() as i32, 1000).reduced();
    let recipe = |(rung, encoder): (&crate::Rung, &String)| Recipe {
        rung: rung.clone(),
        encoder: encoder.clone(),
        preset: rung.preset(&options.preset).to_string(),
        constant_rate: prepared.constant_rate,
        average_rate: average.is_positive().then_some(average),
        container: plan.container,
        parts: plan.part_s.is_some(),
        extra: match rung.codec {
            Codec::H264 => options.encoder_options.clone(),
            Codec::Hevc | Codec::Av1 => BTreeMap::new(),
        },
        spare: None,
        is_spare: false,
    };
    // The last of a codec's encoders needs no hardware. One that has options of the caller's may fail
    // by these.
    let recipe = |row: (&crate::Rung, &String)| {
        let recipe = recipe(row);
        let plain = crate::rungs::encoders(recipe.rung.codec).last();
        let spare = plain.filter(|plain| {
            !recipe.encoder.is_empty() && (**plain != recipe.encoder || !recipe.extra.is_empty())
        });
        Recipe {
            spare: spare.map(|plain| {
                Arc::new(Recipe {
                    encoder: (*plain).to_string(),
                    extra: BTreeMap::new(),
                    is_spare: true,
                    ..recipe.clone()
                })
            }),
            ..recipe
        }
    };
    let rungs = plan.rungs.iter().zip(encoders);
    rungs.map(|rung| Arc::new(recipe(rung))).collect()
}

/// The encoder of each rung: for H.264 the one asked for, else the first that really works here.
/// Empty for what is not encoded.
pub fn encoders(
    rungs: &[crate::Rung],
    options: &Options,
    encoded: impl Fn(usize) -> bool,
) -> Result<Vec<String>> {
    let mut chosen: HashMap<&[&str], String> = HashMap::new();
    let mut encoders = Vec::new();
    for (at, rung) in rungs.iter().enumerate() {
        let asked = options.encoder.as_ref();
        encoders.push(match asked.filter(|_| rung.codec == Codec::H264) {
            _ if rung.copied || !encoded(at) => String::new(),
            Some(encoder) => encoder.clone(),
            None => match chosen.get(rung.encoders()) {
                Some(encoder) => encoder.clone(),
                None => {
                    let encoder = media::choose_encoder(rung.encoders())?;
                    chosen.insert(rung.encoders(), encoder.clone());
                    encoder
                }
            },
        });
    }
    Ok(encoders)
}

/// The rate control of each rung whose encoder is steered by quality; others keep to their own.
fn rates(plan: &Plan, encoders: &[String]) -> Vec<Option<Rate>> {
    let rate = |(rung, encoder): (&crate::Rung, &String)| {
        let scale = crate::rungs::scale(encoder).filter(|_| !rung.copied);
        let sound = if plan.muxes_sound() {
            AUDIO_BIT_RATE as f64
        } else {
            0.0
        };
        let aim = (f64::from(rung.bit_rate) + sound) * PACKING;
        scale.map(|scale| Rate::new(aim, rung.first_crf(encoder), scale))
    };
    plan.rungs.iter().zip(encoders).map(rate).collect()
}

/// Segments that the sink has, with their sizes.
type Done = HashMap<(String, u32), u64>;

/// Which units there are to make.
pub struct Wanted {
    /// By rung: segments that are there, with their sizes.
    rungs: Vec<HashMap<usize, u64>>,
    /// By rendition beside the rungs: its name, and segments that are there.
    beside: Vec<(String, HashMap<usize, u64>)>,
    /// Whether thumbnails are among them.
    pictures: bool,
    copied: Vec<bool>,
    /// `None` while the end is unknown.
    segments: Option<usize>,
}

impl Wanted {
    fn new(plan: &Plan, done: &Done) -> Wanted {
        let there = |name: &str| -> HashMap<usize, u64> {
            let own = done.iter().filter(|((rung, _), _)| rung == name);
            own.map(|((_, index), bytes)| (*index as usize, *bytes))
                .collect()
        };
        let renditions = plan.renditions().into_iter();
        let beside = renditions.filter(|rendition| !rendition.is_video());
        Wanted {
            rungs: plan.rungs.iter().map(|rung| there(&rung.name)).collect(),
            beside: beside.map(|r| (r.name.clone(), there(&r.name))).collect(),
            pictures: plan.tile.is_some(),
            copied: plan.rungs.iter().map(|rung| rung.copied).collect(),
            segments: plan.segments.map(|segments| segments as usize),
        }
    }

    /// All renditions, the rungs first.
    pub fn names(&self, recipes: &[Arc<Recipe>]) -> Vec<String> {
        let rungs = recipes.iter().map(|recipe| recipe.rung.name.clone());
        let beside = self.beside.iter().map(|(name, _)| name.clone());
        rungs.chain(beside).collect()
    }

    /// Size of a segment that is there, of a rendition by its place in [`Wanted::names`].
    pub fn there(&self, rendition: usize, segment: usize) -> Option<u64> {
        let beside = || &self.beside[rendition - self.rungs.len()].1;
        let there = self.rungs.get(rendition).unwrap_or_else(beside);
        there.get(&segment).copied()
    }

    /// Notes that a segment is there now.
    pub fn note(&mut self, rendition: usize, segment: usize, bytes: u64) {
        let rungs = self.rungs.len();
        let there = match rendition < rungs {
            true => &mut self.rungs[rendition],
            false => &mut self.beside[rendition - rungs].1,
        };
        there.insert(segment, bytes);
    }

    fn planned(&self, segment: usize) -> bool {
        self.segments.is_none_or(|segments| segment < segments)
    }

    fn rung(&self, rung: usize, segment: usize) -> bool {
        self.planned(segment) && !self.rungs[rung].contains_key(&segment)
    }

    fn beside(&self, rendition: &str, segment: usize) -> bool {
        let mut beside = self.beside.iter().filter(|(name, _)| name == rendition);
        self.planned(segment) && beside.any(|(_, there)| !there.contains_key(&segment))
    }

    /// Whether there is a segment to make of which this is true.
    fn any(&self, wanted: impl Fn(usize) -> bool) -> bool {
        self.segments
            .is_none_or(|segments| (0..segments).any(wanted))
    }

    fn encodes_at(&self, rung: usize, segment: usize) -> bool {
        !self.copied[rung] && self.rung(rung, segment)
    }

    /// Whether anything has to be made at all.
    fn anything(&self) -> bool {
        let rungs = 0..self.rungs.len();
        let beside = |at| self.beside.iter().any(|(name, _)| self.beside(name, at));
        self.any(|at| beside(at) || rungs.clone().any(|rung| self.rung(rung, at)))
    }

    /// Whether decoded pictures are needed.
    fn decodes(&self) -> bool {
        self.encodes() || self.pictures && self.any(|at| self.beside(PICTURES, at))
    }

    /// Whether anything has to be encoded at all.
    fn encodes(&self) -> bool {
        self.any(|at| self.lowest(at).is_some())
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
    leave: Leave,
    /// Pixels times ticks encoded.
    work: AtomicU64,
    /// Segments finished and not yet with the sink.
    undelivered: AtomicU64,
    budget: usize,
    most_undelivered: u64,
    recipes: Vec<Arc<Recipe>>,
    wanted: Wanted,
    /// None where nothing is known of the input.
    reuse: Option<Reuse>,
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
    /// Where the last segment that was closed ends, in seconds.
    end: f64,
    warnings: Vec<String>,
    /// Whether an encoder failed, and how the first did.
    fallen: bool,
    failures: Vec<String>,
}

/// What waits for a unit.
enum Item {
    Picture(Frame, i64),
    /// The pictures since the last one of these make a part.
    Part(Closing),
}

impl Item {
    fn bytes(&self) -> usize {
        match self {
            Item::Picture(frame, _) => frame.bytes(),
            Item::Part(_) => 0,
        }
    }
}

/// A unit and the pictures that wait for it.
struct Slot {
    /// None while a worker is at it.
    unit: Option<Box<Unit>>,
    waiting: VecDeque<Item>,
    /// No more pictures will come.
    closed: Option<Closing>,
    /// Time of the last picture encoded.
    reached: i64,
}

enum Job {
    Read(Box<Source>),
    Encode {
        key: (usize, usize),
        unit: Box<Unit>,
        items: Vec<Item>,
        reached: i64,
    },
    Finish {
        key: (usize, usize),
        unit: Box<Unit>,
        closing: Closing,
        reached: i64,
    },
}

enum Message {
    Segment(Box<Finished>),
    Part(Box<FinishedPart>),
    Notice(String),
    Failed(Error),
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A worker that panicked ends the run when the scope joins it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        // Under the lock, or a worker between its check and its wait would sleep on.
        let state = self.lock();
        self.stop.store(true, Ordering::Relaxed);
        self.leave.now();
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
                let _ = finished.send(Message::Failed(error));
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
                items,
                reached,
            } => self.encode(key, unit, items, reached, finished),
            Job::Finish {
                key,
                mut unit,
                closing,
                reached,
            } => {
                let (index, start, _) = unit.span();
                let name = self.unit_key(key.1, (index, start, closing.end), unit.quality());
                unit.flush(&self.stop)?;
                self.note_failure(&mut unit, finished);
                let name = match unit.is_spare() {
                    // Nobody looks for what a spare encoder made.
                    true => String::new(),
                    false => name,
                };
                let (mut segment, parts) = match unit.finish(&closing)? {
                    Some((segment, parts)) => (Some(segment), parts),
                    None => (None, Vec::new()),
                };
                if let Some(finished) = &mut segment {
                    finished.segment.key = name;
                    self.count(key.1, closing.end - reached);
                }
                for part in parts {
                    self.deliver_part(part, finished);
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
                    below.closed = Some(closing);
                }
                Ok(())
            }
        }
    }

    fn take_event(&self, event: Event, finished: &Sender<Message>) -> Result<()> {
        match event {
            Event::Open(span) => self.open(&span)?,
            Event::Picture(frame, pts) => {
                self.lock().give_newest(Item::Picture(frame, pts));
                self.wake.notify_one();
            }
            Event::Part(closing, beside) => {
                for part in beside {
                    let index = part.part.segment as usize;
                    if self.wanted.beside(&part.part.rung, index) {
                        self.deliver_part(part, finished);
                    }
                }
                self.lock().give_newest(Item::Part(closing));
                self.wake.notify_one();
            }
            Event::Notice(text) => {
                // The receiver is gone only when the run is over anyway.
                let _ = finished.send(Message::Notice(text));
            }
            Event::Close(span, closing, beside) => {
                for (mut packed, part) in beside {
                    let Some(rendition) = Some(&packed.segment.rung)
                        .filter(|rendition| self.wanted.beside(rendition, span.index))
                    else {
                        continue;
                    };
                    let place = (span.index, span.start, closing.end);
                    let key = |reuse: &Reuse| reuse.beside_key(rendition, place);
                    packed.segment.key = self.reuse.as_ref().map(key).unwrap_or_default();
                    packed.segment.discontinuity = span.discontinuity;
                    packed.segment.date = span.date;
                    if let Some(part) = part {
                        self.deliver_part(part, finished);
                    }
                    self.deliver(Some(packed), finished);
                }
                self.close(&span, closing);
            }
            Event::Copied(span, pictures, closing) => {
                if self.wanted.rung(0, span.index) {
                    let mut packed = unit::pack(pictures, &span, &self.recipes[0], &closing)?;
                    let place = (span.index, span.start, closing.end);
                    packed.segment.key = self.unit_key(0, place, None);
                    self.count(0, closing.end - span.start);
                    self.deliver(Some(packed), finished);
                }
            }
        }
        Ok(())
    }

    /// A segment has all its pictures.
    fn close(&self, span: &Arc<Span>, closing: Closing) {
        let mut state = self.lock();
        state.end = seconds(closing.end);
        // What is there already counts as if it had been made now.
        for (rung, there) in self.wanted.rungs.iter().enumerate() {
            if let (Some(bytes), Some(rate)) = (there.get(&span.index), &mut state.rates[rung]) {
                rate.settle(span.index, *bytes, seconds(closing.end - span.start));
            }
        }
        if let Some(slot) = state.units.get_mut(&(span.index, 0)) {
            slot.closed = Some(closing);
        }
    }

    /// Makes the units of a segment: those that are wanted, and those above that must scale.
    fn open(&self, span: &Arc<Span>) -> Result<()> {
        let Some(lowest) = self.wanted.lowest(span.index) else {
            return Ok(());
        };
        let fallen = self.lock().fallen;
        for rung in 0..=lowest {
            let below = self.recipes.get(rung + 1).filter(|_| rung < lowest);
            let smaller = below.map(|recipe| (recipe.rung.width, recipe.rung.height));
            let recipe = &self.recipes[rung];
            let spare = recipe.spare.as_ref().filter(|_| fallen);
            let recipe = Arc::clone(spare.unwrap_or(recipe));
            let encodes = self.wanted.encodes_at(rung, span.index);
            let unit = Unit::new(Arc::clone(span), recipe, encodes, smaller)?;
            let slot = Slot {
                unit: Some(Box::new(unit)),
                waiting: VecDeque::new(),
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
        items: Vec<Item>,
        mut reached: i64,
        finished: &Sender<Message>,
    ) -> Result<()> {
        let mut below = Vec::new();
        let mut freed = 0;
        self.take_found(key, &mut unit, finished);
        for item in items {
            if self.stopped() {
                return Ok(());
            }
            freed += item.bytes();
            match item {
                Item::Picture(frame, pts) => {
                    let smaller = unit.frame(&frame, pts)?;
                    below.extend(smaller.map(|smaller| Item::Picture(smaller, pts)));
                    if unit.encodes() {
                        self.count(key.1, pts - reached);
                    }
                    reached = pts;
                }
                Item::Part(closing) => {
                    unit.mark_part(&closing);
                    below.push(Item::Part(closing));
                }
            }
            self.note_failure(&mut unit, finished);
            while let Some(part) = unit.next_part()? {
                self.deliver_part(part, finished);
            }
        }
        let mut state = self.lock();
        state.waiting -= freed;
        state.waiting += below.iter().map(Item::bytes).sum::<usize>();
        if let Some(slot) = state.units.get_mut(&(key.0, key.1 + 1)) {
            slot.waiting.extend(below);
        }
        if let Some(slot) = state.units.get_mut(&key) {
            slot.unit = Some(unit);
            slot.reached = reached;
        }
        Ok(())
    }

    /// A unit that was made before is delivered as it is, when its turn comes to begin.
    fn take_found(&self, key: (usize, usize), unit: &mut Unit, finished: &Sender<Message>) {
        let Some(reuse) = self.reuse.as_ref().filter(|_| unit.begins()) else {
            return;
        };
        // Where the end is not known there is no key yet.
        let (index, start, end) = unit.span();
        if self.wanted.segments.is_none() {
            return;
        }
        let name = self.unit_key(key.1, (index, start, end), unit.quality());
        let rendition = &self.recipes[key.1].rung.name;
        let Some(found) = reuse.find(rendition, index, name) else {
            return;
        };
        unit.only_scale();
        self.count(key.1, end - start);
        let (bytes, seconds) = (found.segment.bytes.len() as u64, found.segment.duration);
        self.deliver(Some(found), finished);
        if let Some(rate) = &mut self.lock().rates[key.1] {
            rate.settle(index, bytes, seconds);
        }
    }

    fn unit_key(&self, rung: usize, span: (usize, i64, i64), quality: Option<f64>) -> String {
        let key = |reuse: &Reuse| reuse.unit_key(&self.recipes, rung, span, quality);
        self.reuse.as_ref().map(key).unwrap_or_default()
    }

    fn deliver(&self, segment: Option<Finished>, finished: &Sender<Message>) {
        if let Some(segment) = segment {
            self.undelivered.fetch_add(1, Ordering::Relaxed);
            // The receiver is gone only when the run is over anyway.
            let _ = finished.send(Message::Segment(Box::new(segment)));
        }
    }

    /// An encoder that failed is not used again, and its owner is told.
    fn note_failure(&self, unit: &mut Unit, finished: &Sender<Message>) {
        let Some(failure) = unit.failure() else {
            return;
        };
        let mut state = self.lock();
        if !std::mem::replace(&mut state.fallen, true) {
            state.failures.push(failure.clone());
            // The receiver is gone only when the run is over anyway.
            let _ = finished.send(Message::Notice(failure));
        }
    }

    fn deliver_part(&self, part: FinishedPart, finished: &Sender<Message>) {
        // The receiver is gone only when the run is over anyway.
        let _ = finished.send(Message::Part(Box::new(part)));
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
            let something = !slot.waiting.is_empty() || slot.closed.is_some();
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
        if let (true, Some(closing)) = (slot.waiting.is_empty(), slot.closed.clone()) {
            return Some(Job::Finish {
                key,
                unit,
                closing,
                reached,
            });
        }
        let count = slot.waiting.len().min(BATCH);
        let items = slot.waiting.drain(..count).collect();
        Some(Job::Encode {
            key,
            unit,
            items,
            reached,
        })
    }

    /// Puts a picture before the first rung of the newest segment, if anything is to be made of it.
    fn give_newest(&mut self, item: Item) {
        let newest = self
            .units
            .last_key_value()
            .map(|(&(segment, _), _)| segment);
        let Some(slot) = newest.and_then(|segment| self.units.get_mut(&(segment, 0))) else {
            return;
        };
        if slot.closed.is_none() {
            self.waiting += item.bytes();
            slot.waiting.push_back(item);
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
    /// Parts of segments whose turn has not come.
    parts: HashMap<(String, u32), Vec<Part>>,
    next: HashMap<String, u32>,
    made: Vec<Made>,
    /// Renditions that have begun, with their initialisation segment as far as it is known.
    begun: HashMap<String, Option<Vec<u8>>>,
    started: Instant,
    told: Option<Instant>,
    /// `None` while the end is unknown.
    total_s: Option<f64>,
    /// Work that a second of the stream is.
    work_per_s: f64,
    /// Work that was done before, if the end is known.
    skipped_work: f64,
}

impl<'a> Delivery<'a> {
    fn new(plan: &Plan, pool: &'a Pool, before: Delivered, sink: &'a mut dyn Sink) -> Delivery<'a> {
        let made = |name: &str, copied| {
            let (segments, bytes) = before.get(name).copied().unwrap_or_default();
            Made {
                name: name.to_string(),
                segments,
                bytes,
                copied,
            }
        };
        let mut renditions: Vec<Made> = plan
            .rungs
            .iter()
            .map(|rung| made(&rung.name, rung.copied))
            .collect();
        let beside = pool.wanted.beside.iter();
        renditions.extend(beside.map(|(name, _)| made(name, false)));
        let work_per_s = plan.rungs.iter().map(|rung| weight(rung) as f64);
        let work_per_s = work_per_s.sum::<f64>() * TICKS as f64;
        let segments = plan.segments.unwrap_or_default().max(1) as usize;
        let rungs = plan.rungs.iter().zip(&pool.wanted.rungs);
        let skipped = rungs.map(|(rung, there)| {
            let there = there.keys().filter(|&&at| at < segments).count();
            weight(rung) as f64 * there as f64 / segments as f64
        });
        let ticks = plan.duration_s.unwrap_or_default() * TICKS as f64;
        Delivery {
            pool,
            sink,
            waiting: HashMap::new(),
            parts: HashMap::new(),
            next: HashMap::new(),
            made: renditions,
            begun: before.into_keys().map(|name| (name, None)).collect(),
            started: Instant::now(),
            told: None,
            total_s: plan.duration_s,
            work_per_s,
            skipped_work: skipped.sum::<f64>() * ticks,
        }
    }

    /// Until all workers are gone, or something fails.
    fn run(&mut self, finished: &Receiver<Message>, cancel: &AtomicBool) -> Result<()> {
        loop {
            stop_if(cancel)?;
            self.pool.leave.look();
            match finished.recv_timeout(HEARTBEAT) {
                Ok(Message::Segment(segment)) => self.take(*segment)?,
                Ok(Message::Part(part)) => self.take_part(*part)?,
                Ok(Message::Notice(text)) => self.sink.notice(&text).map_err(Error::Sink)?,
                Ok(Message::Failed(error)) => return Err(error),
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
        self.begin(&rung, init)?;
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
            for part in self
                .parts
                .remove(&(rung.clone(), after))
                .unwrap_or_default()
            {
                self.sink.part(part).map_err(Error::Sink)?;
            }
        }
        Ok(())
    }

    fn take_part(&mut self, finished: FinishedPart) -> Result<()> {
        let FinishedPart { part, init } = finished;
        let rung = part.rung.clone();
        self.begin(&rung, init)?;
        if self.next[&rung] == part.segment {
            return self.sink.part(part).map_err(Error::Sink);
        }
        let waiting = self.parts.entry((rung, part.segment)).or_default();
        waiting.push(part);
        Ok(())
    }

    /// Before the first piece of a rendition.
    fn begin(&mut self, rung: &str, init: Option<Vec<u8>>) -> Result<()> {
        match (init, self.begun.get(rung)) {
            (Some(init), None) => {
                self.sink.init(rung, &init).map_err(Error::Sink)?;
                self.begun.insert(rung.to_string(), Some(init));
            }
            (Some(init), Some(Some(first))) if init != *first => {
                let rung = rung.to_string();
                return Err(Error::Encoder { rung });
            }
            _ => {}
        }
        if !self.next.contains_key(rung) {
            let first = self.next_wanted(rung, 0);
            self.next.insert(rung.to_string(), first);
        }
        Ok(())
    }

    /// The first segment from `index` on that this run makes.
    fn next_wanted(&self, rendition: &str, index: u32) -> u32 {
        let wanted = &self.pool.wanted;
        let rung = self
            .pool
            .recipes
            .iter()
            .position(|recipe| recipe.rung.name == rendition);
        let makes = |&at: &u32| match rung {
            Some(rung) => wanted.rung(rung, at as usize),
            None => wanted.beside(rendition, at as usize),
        };
        let mut rest = (index..).take_while(|&at| wanted.planned(at as usize));
        rest.find(makes).unwrap_or(u32::MAX)
    }

    fn tell(&mut self) -> Result<()> {
        self.told = Some(Instant::now());
        let now = self.pool.work.load(Ordering::Relaxed) as f64;
        let made_s = now / self.work_per_s.max(1.0);
        let speed = made_s / self.started.elapsed().as_secs_f64().max(1e-3);
        let progress = match self.total_s {
            None => Progress {
                fraction: None,
                media_s: made_s,
                speed,
                eta_s: None,
            },
            Some(total_s) => {
                let total_work = (self.work_per_s * total_s).max(1.0);
                let fraction = ((now + self.skipped_work) / total_work).clamp(0.0, 1.0);
                let left = total_s * (1.0 - fraction);
                Progress {
                    fraction: Some(fraction),
                    media_s: fraction * total_s,
                    speed,
                    eta_s: (speed > 0.0).then(|| left / speed),
                }
            }
        };
        self.sink.progress(&progress).map_err(Error::Sink)
    }
}
