//! Making a stream: a worker cuts it, this stores it and publishes what is there.
//!
//! Per segment, in this order: the block is stored and pinned, its row is written, the rung's
//! playlist that names it is published, then the master. So a reader never sees a playlist that
//! names a missing block, and a kill between two steps only loses what the next run writes again.

use std::path::Path;
use std::time::{Duration, Instant};

use catalog::roots;
use ladder::playlist::{self, Rendition, SegmentInfo};
use ladder::{Plan, Rung};
use serde::{Deserialize, Serialize};
use store::PutOptions;

use super::child::{self, Limits};
use super::look::{log, made, order, original};
use super::{Job, Trouble};
use crate::disk;
use crate::shown::Progress;
use crate::streams::PLAYLIST;
use crate::time::now_ms;
use crate::worker::protocol::{Done, Event, Task};

/// Progress is told four times a second at most.
const TELL: Duration = Duration::from_millis(250);

/// The slowest disk that is not taken for a hanging worker, in bytes per second: before the
/// first segment a worker reads the whole file.
const SLOWEST_READ: u64 = 5_000_000;

/// What the catalog keeps of a plan. Runs whose texts are equal make the same segments.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KeptPlan {
    pub(crate) plan: Plan,
    made_by: String,
}

/// What the catalog keeps of a rung.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KeptRung {
    rendition: Rendition,
    /// `None` for the sound's own rendition.
    pub(crate) rung: Option<Rung>,
}

/// Makes what is missing of the job's stream.
pub(crate) fn stream(job: &Job<'_>) {
    let app = job.app;
    app.announce(job.asset());
    let (name, outcome) = match original(job) {
        Ok((name, file)) => {
            let outcome = make(job, &name, file);
            (name, outcome)
        }
        Err(trouble) => (String::new(), Err(trouble)),
    };
    match outcome {
        Ok(()) => tracing::info!(asset = job.asset(), name, "stream made"),
        Err(Trouble::Cancelled) => {}
        Err(Trouble::Failed(why)) => {
            let why = if why.contains(&name) {
                why
            } else {
                format!("{name}: {why}")
            };
            tracing::warn!(asset = job.asset(), error = why, "cannot make a stream");
            log(job, app.catalog.fail_stream(job.asset(), &why));
        }
    }
}

fn make(job: &Job<'_>, name: &str, file: std::fs::File) -> Result<(), Trouble> {
    let size = file.metadata().map_or(0, |file| file.len());
    let limits = Limits {
        whole: None,
        silence: job.app.config.silence_limit + Duration::from_secs(size / SLOWEST_READ),
    };
    loop {
        let done = done(job)?;
        let mut making = Making {
            job,
            name,
            segments: 0,
            duration_s: 0.0,
            extension: "",
            resumed: !done.is_empty(),
            renditions: Vec::new(),
            master: String::new(),
            told: Instant::now(),
            untold: false,
        };
        making.need_room()?;
        let was_resumed = making.resumed;
        let segment_s = job.app.config.segment_s;
        let order = order(Task::Ladder { segment_s, done }, name.to_owned());
        let file = file
            .try_clone()
            .map_err(|e| child::failed(name, "cannot open it again", &e))?;
        let outcome = child::run(job, file, &order, limits, &mut |event, folder| {
            making.hear(event, folder)
        });
        match outcome {
            Ok(()) => return making.finish(),
            // The old plan was dropped.
            Err(Trouble::Cancelled) if was_resumed && !making.resumed => {}
            Err(trouble) => return Err(trouble),
        }
    }
}

/// The segments that are there already.
fn done(job: &Job<'_>) -> Result<Vec<Done>, Trouble> {
    let asset = job.app.catalog.asset(job.asset(), now_ms())?;
    let stream = asset
        .and_then(|asset| asset.stream)
        .ok_or(Trouble::Cancelled)?;
    let mut done = Vec::new();
    for rung in &stream.rungs {
        for segment in job.app.catalog.segments(job.asset(), &rung.name)? {
            done.push(Done {
                rung: rung.name.clone(),
                number: u32::try_from(segment.number).unwrap_or(u32::MAX),
                bytes: segment.bytes,
            });
        }
    }
    Ok(done)
}

struct Making<'a> {
    job: &'a Job<'a>,
    name: &'a str,
    /// Segments each rendition will have.
    segments: u32,
    duration_s: f64,
    extension: &'static str,
    /// The worker was told of segments that are there.
    resumed: bool,
    renditions: Vec<Rendition>,
    /// The master playlist as it was last published.
    master: String,
    told: Instant,
    untold: bool,
}

impl Making<'_> {
    fn hear(&mut self, event: Option<Event>, folder: &Path) -> Result<(), Trouble> {
        match event {
            Some(Event::Plan { plan, made_by }) => self.plan(plan, made_by)?,
            Some(Event::Init { rung, file }) => self.init(&rung, &made(folder, &file)?)?,
            Some(Event::Segment {
                rung,
                number,
                start_s,
                duration_s,
                codecs,
                file,
            }) => {
                let segment = catalog::Segment {
                    number: number.into(),
                    cid: String::new(),
                    bytes: 0,
                    start_s,
                    duration_s,
                };
                self.segment(&rung, codecs, segment, &made(folder, &file)?)?;
            }
            Some(Event::Progress(progress)) => self.progress(&progress),
            // Nothing else belongs to a ladder.
            Some(_) | None => {}
        }
        self.tell();
        Ok(())
    }

    fn plan(&mut self, plan: Plan, made_by: String) -> Result<(), Trouble> {
        let asset = self.job.asset();
        let catalog = &self.job.app.catalog;
        self.segments = plan.segments;
        self.duration_s = plan.duration_s;
        self.extension = plan.container.extension();
        self.renditions = plan.renditions();
        let rungs: Vec<(String, String)> = self
            .renditions
            .iter()
            .map(|rendition| {
                let rung = plan.rungs.iter().find(|rung| rung.name == rendition.name);
                let kept = KeptRung {
                    rendition: rendition.clone(),
                    rung: rung.cloned(),
                };
                Ok((rendition.name.clone(), text(&kept)?))
            })
            .collect::<Result<_, Trouble>>()?;
        let dropped = catalog.set_plan(asset, &text(&KeptPlan { plan, made_by })?, &rungs)?;
        if dropped && self.resumed {
            // The worker leaves out the numbers it was told of, but what was there under them was
            // made otherwise (another version or encoder). Start again from nothing.
            roots::drop_stream(&self.job.app.store, asset)?;
            self.resumed = false;
            return Err(Trouble::Cancelled);
        }
        roots::drop_stale_segments(catalog, &self.job.app.store, asset)?;
        self.untold = true;
        self.take_up()
    }

    /// Takes up what an earlier run stored, and publishes it in case that run could not.
    fn take_up(&mut self) -> Result<(), Trouble> {
        let asset = self.job.asset();
        let catalog = &self.job.app.catalog;
        let rows = catalog
            .asset(asset, now_ms())?
            .and_then(|asset| asset.stream);
        let rows = rows.ok_or(Trouble::Cancelled)?.rungs;
        for at in 0..self.renditions.len() {
            let name = self.renditions[at].name.clone();
            let Some(row) = rows.iter().find(|row| row.name == name) else {
                continue;
            };
            if let Some((cid, _)) = &row.init {
                self.renditions[at].init = Some(init_uri(cid));
            }
            self.renditions[at].codecs.clone_from(&row.codecs);
            for segment in catalog.segments(asset, &name)? {
                let uri = self.uri(&segment);
                self.renditions[at].segments.push(SegmentInfo {
                    uri,
                    duration: segment.duration_s,
                    bytes: segment.bytes,
                });
            }
            if !self.renditions[at].segments.is_empty() {
                self.publish(at, false)?;
            }
        }
        self.publish_master()
    }

    fn init(&mut self, rung: &str, file: &Path) -> Result<(), Trouble> {
        let at = self.at(rung)?;
        let asset = self.job.asset();
        let pin = roots::init(asset, rung);
        let stored = self
            .job
            .app
            .store
            .put_file(file, &media(&pin, "video/mp4"))?;
        let cid = stored.cid.to_string();
        self.job
            .app
            .catalog
            .set_init(asset, rung, &cid, stored.size)?;
        self.renditions[at].init = Some(init_uri(&cid));
        Ok(())
    }

    fn segment(
        &mut self,
        rung: &str,
        codecs: String,
        mut segment: catalog::Segment,
        file: &Path,
    ) -> Result<(), Trouble> {
        let at = self.at(rung)?;
        let next = self.renditions[at].segments.len() as u64;
        if segment.number != next {
            return Err(Trouble::Failed(format!(
                "the worker made segment {} of {rung} where {next} comes next",
                segment.number
            )));
        }
        self.need_room()?;
        let asset = self.job.asset();
        let mime = match self.extension {
            "ts" => "video/mp2t",
            _ => "video/mp4",
        };
        let pin = roots::segment(asset, rung, segment.number);
        let stored = self.job.app.store.put_file(file, &media(&pin, mime))?;
        segment.cid = stored.cid.to_string();
        segment.bytes = stored.size;
        self.job
            .app
            .catalog
            .add_segment(asset, rung, &codecs, &segment)?;
        let uri = self.uri(&segment);
        self.renditions[at].codecs = codecs;
        self.renditions[at].segments.push(SegmentInfo {
            uri,
            duration: segment.duration_s,
            bytes: segment.bytes,
        });
        self.publish(at, false)?;
        self.publish_master()?;
        self.untold = true;
        Ok(())
    }

    fn progress(&mut self, progress: &ladder::Progress) {
        let now = Progress {
            fraction: progress.fraction,
            media_s: progress.media_s,
            total_s: Some(self.duration_s),
            speed: Some(progress.speed),
            eta_s: progress.eta_s,
        };
        self.job.app.set_progress(self.job.asset(), Some(now));
        self.untold = true;
    }

    /// The stream is whole: its playlists say so.
    fn finish(mut self) -> Result<(), Trouble> {
        let short = |rendition: &&Rendition| rendition.segments.len() != self.segments as usize;
        if let Some(short) = self.renditions.iter().find(short) {
            return Err(Trouble::Failed(format!(
                "the worker ended after {} of {} segments of {}",
                short.segments.len(),
                self.segments,
                short.name
            )));
        }
        if self.segments == 0 || self.renditions.is_empty() {
            return Err(Trouble::Failed("the worker made nothing".to_owned()));
        }
        for at in 0..self.renditions.len() {
            self.renditions[at].finish();
            self.publish(at, true)?;
        }
        self.publish_master()?;
        let app = self.job.app;
        app.catalog.finish_stream(self.job.asset(), now_ms())?;
        Ok(())
    }

    fn publish(&self, at: usize, ended: bool) -> Result<(), Trouble> {
        let rendition = &self.renditions[at];
        let name = roots::rendition_name(self.job.asset(), &rendition.name);
        self.put_playlist(&name, &playlist::media(rendition, ended))
    }

    /// Publishes the master once every rendition has a segment, and whenever it changes.
    fn publish_master(&mut self) -> Result<(), Trouble> {
        if self.renditions.iter().any(|r| r.segments.is_empty()) {
            return Ok(());
        }
        let text = playlist::master(&self.renditions);
        if text == self.master {
            return Ok(());
        }
        let asset = self.job.asset();
        self.put_playlist(&roots::master_name(asset), &text)?;
        self.job.app.catalog.set_published(asset)?;
        self.master = text;
        Ok(())
    }

    fn put_playlist(&self, name: &str, text: &str) -> Result<(), Trouble> {
        let options = PutOptions {
            mime: Some(PLAYLIST),
            publish: Some(name),
            ..PutOptions::default()
        };
        self.job.app.store.put(text.as_bytes(), &options)?;
        Ok(())
    }

    fn at(&self, rung: &str) -> Result<usize, Trouble> {
        let at = self.renditions.iter().position(|r| r.name == rung);
        at.ok_or_else(|| Trouble::Failed(format!("the worker made an unplanned rung {rung:?}")))
    }

    fn uri(&self, segment: &catalog::Segment) -> String {
        format!(
            "/ipfs/{}?filename={:05}.{}",
            segment.cid, segment.number, self.extension
        )
    }

    /// Stops before the disk is so full that not even this could be written down.
    fn need_room(&self) -> Result<(), Trouble> {
        let room = self.job.app.disk.need(1);
        match room {
            Ok(Ok(())) => Ok(()),
            Ok(Err(full)) => Err(Trouble::Failed(format!(
                "{}: the disk is full ({} left to take); remove something and ask for the stream \
                 again",
                self.name,
                disk::human(full.usable)
            ))),
            Err(error) => Err(child::failed(
                self.name,
                "cannot see how full the disk is",
                &error,
            )),
        }
    }

    fn tell(&mut self) {
        if self.untold && self.told.elapsed() >= TELL {
            self.job.app.announce(self.job.asset());
            self.told = Instant::now();
            self.untold = false;
        }
    }
}

fn media<'a>(pin: &'a str, mime: &'a str) -> PutOptions<'a> {
    PutOptions {
        mime: Some(mime),
        pin: Some(pin),
        ..PutOptions::default()
    }
}

fn init_uri(cid: &str) -> String {
    format!("/ipfs/{cid}?filename=init.mp4")
}

fn text(kept: &impl Serialize) -> Result<String, Trouble> {
    serde_json::to_string(kept)
        .map_err(|error| Trouble::Failed(format!("cannot write down the plan: {error}")))
}
