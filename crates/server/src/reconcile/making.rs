//! Making a stream: a worker cuts it, this keeps what it made and publishes it.
//!
//! What happens in which order, and what a kill leaves, is the [`Publisher`]'s matter; the pieces go
//! to the store. A worker that dies is started again, and goes on after the last segment that is
//! there; a full disk is waited for.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use catalog::WorkKind;
use ladder::publish::{self, Content, Left, Publisher, Shelf};
use ladder::{Plan, Rendition, Rung, Sink};
use serde::{Deserialize, Serialize};

use super::child::{self, Limits};
use super::look::{Original, log, made, order, original};
use super::{Job, Trouble};
use crate::growing::ServedShelf;
use crate::shown::Progress;
use crate::time::now_ms;
use crate::worker::protocol::{Done, Event, Task};

/// Progress is told four times a second at most.
const TELL: Duration = Duration::from_millis(250);

/// The slowest disk that is not taken for a hanging worker, in bytes per second: before the
/// first segment a worker reads the whole file.
const SLOWEST_READ: u64 = 5_000_000;

/// What of a recipe the server shows.
#[derive(Debug, Deserialize)]
pub(crate) struct KeptPlan {
    pub(crate) plan: Plan,
}

/// What the catalog keeps of a rung.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KeptRung {
    /// `None` for a rendition that is no resolution to choose, as the sound's own.
    pub(crate) rung: Option<Rung>,
}

/// Makes what is missing of the job's stream.
pub(crate) fn stream(job: &Job<'_>) {
    let app = job.app;
    app.announce(job.asset());
    let (name, outcome) = match original(job) {
        Ok(original) => {
            let outcome = make(job, &original);
            (original.name, outcome)
        }
        Err(trouble) => (String::new(), Err(trouble)),
    };
    match outcome {
        Ok(()) => tracing::info!(asset = job.asset(), name, "stream made"),
        Err(trouble) => {
            let Some(why) = trouble.why() else { return };
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

fn make(job: &Job<'_>, original: &Original) -> Result<(), Trouble> {
    let Original { name, cid, file } = original;
    let size = file.metadata().map_or(0, |file| file.len());
    let limits = Limits {
        whole: None,
        silence: job.app.config.silence_limit + Duration::from_secs(size / SLOWEST_READ),
    };
    let mut died = false;
    loop {
        let mut making = Making::new(job, name);
        making.need_room()?;
        let (recipe, done) = making.there()?;
        let segment_s = job.app.config.segment_s;
        let task = Task::Ladder {
            identity: cid.clone(),
            segment_s,
            recipe,
            done,
        };
        let order = order(task, name.clone());
        let file = file
            .try_clone()
            .map_err(|e| child::failed(name, "cannot open it again", &e))?;
        let outcome = child::run(job, file, &order, limits, &mut |event, folder| {
            making.hear(event, folder)
        });
        match outcome {
            Ok(()) => return making.finish(),
            // Once more, unless it dies in the same place: then it is the file.
            Err(Trouble::Died(why)) if making.kept > 0 || !died => {
                died = true;
                let asset = job.asset();
                tracing::warn!(asset, name, error = why, "a worker died, starting another");
            }
            Err(Trouble::Full(why)) => making.wait_after(&why)?,
            Err(trouble) => return Err(trouble),
        }
    }
}

/// One worker's part in a stream.
pub(super) struct Making<'a> {
    job: &'a Job<'a>,
    name: &'a str,
    publisher: Publisher<ServedShelf>,
    plan: Option<Plan>,
    /// Segments kept since the worker was started.
    pub(super) kept: usize,
    told: Instant,
    untold: bool,
}

impl<'a> Making<'a> {
    pub(super) fn new(job: &'a Job<'a>, name: &'a str) -> Self {
        let app = Arc::clone(job.app);
        let stream = job.asset().to_owned();
        let publisher = Publisher::over(ServedShelf::new(job.app, job.asset()))
            .on_update(move |update| app.follow(&stream, update));
        Self {
            job,
            name,
            publisher,
            plan: None,
            kept: 0,
            told: Instant::now(),
            untold: false,
        }
    }

    /// What an earlier run left: by what it was made, and which segments.
    fn there(&mut self) -> Result<(Option<String>, Vec<Done>), Trouble> {
        let Some(left) = self.left()? else {
            return Ok((None, Vec::new()));
        };
        let segments = left.segments();
        let done = segments.map(|(rung, number, bytes)| Done {
            rung: rung.to_owned(),
            number,
            bytes,
        });
        let done = done.collect();
        Ok((Some(left.recipe), done))
    }

    /// Everything that an earlier run left.
    pub(super) fn left(&mut self) -> Result<Option<Left>, Trouble> {
        Ok(self.publisher.shelf_mut().left()?)
    }

    pub(super) fn hear(&mut self, event: Option<Event>, folder: &Path) -> Result<(), Trouble> {
        match event {
            Some(Event::Plan { plan, made_by }) => self.plan(plan, made_by)?,
            Some(Event::Init { rung, file }) => {
                let file = made(folder, &file)?;
                self.publisher.keep_init(&rung, Content::File(&file))?;
            }
            Some(Event::Part { part, file }) => {
                let file = made(folder, &file)?;
                self.publisher.keep_part(&part, Content::File(&file))?;
            }
            Some(Event::Segment { segment, file }) => {
                let file = made(folder, &file)?;
                self.need_room()?;
                if self
                    .publisher
                    .keep_segment(&segment, Content::File(&file))?
                {
                    store::fault::point("segment-stored");
                    self.kept += 1;
                    self.note(&segment.rung)?;
                }
            }
            Some(Event::Progress(progress)) => self.progress(&progress),
            // Nothing else belongs to a ladder.
            Some(_) | None => {}
        }
        self.tell();
        Ok(())
    }

    pub(super) fn plan(&mut self, plan: Plan, made_by: String) -> Result<(), Trouble> {
        let recipe = publish::recipe(&plan, &made_by);
        let rungs: Vec<(String, String)> = plan
            .renditions()
            .into_iter()
            .map(|rendition| {
                let rung = plan.rungs.iter().find(|rung| rung.name == rendition.name);
                let kept = KeptRung {
                    rung: rung.cloned(),
                };
                let facts = serde_json::to_string(&kept).unwrap_or_default();
                (rendition.name, facts)
            })
            .collect();
        if self.of_an_asset() {
            let asset = self.job.asset();
            self.job.app.catalog.set_plan(asset, &recipe, &rungs)?;
        }
        self.publisher.made_by(made_by);
        self.publisher.plan(&plan)?;
        for (rung, _) in &rungs {
            self.note(rung)?;
        }
        self.plan = Some(plan);
        Ok(())
    }

    /// Writes down how far a rendition is, and that the stream can be watched once it can.
    fn note(&mut self, rung: &str) -> Result<(), Trouble> {
        self.untold = true;
        if !self.of_an_asset() {
            return Ok(());
        }
        let renditions = self.publisher.renditions();
        let catalog = &self.job.app.catalog;
        let asset = self.job.asset();
        if let Some(rendition) = renditions.iter().find(|rendition| rendition.name == rung) {
            let segments = rendition.segments.len() as u64;
            let (bytes, duration_s) = (rendition.bytes(), rendition.duration());
            catalog.set_rung(asset, rung, segments, bytes, duration_s)?;
        }
        if renditions.iter().all(|r| !r.segments.is_empty()) {
            store::fault::point("playlist-published");
            catalog.set_published(asset)?;
        }
        Ok(())
    }

    fn progress(&mut self, progress: &ladder::Progress) {
        let now = Progress {
            fraction: progress.fraction.unwrap_or(0.0),
            media_s: progress.media_s,
            total_s: self.plan.as_ref().and_then(|plan| plan.duration_s),
            speed: Some(progress.speed),
            eta_s: progress.eta_s,
            waiting: None,
        };
        self.job.app.set_progress(self.job.asset(), Some(now));
        self.untold = true;
    }

    /// Whether rows of an asset say how far the stream is; of a live one the store is asked.
    fn of_an_asset(&self) -> bool {
        self.job.work.kind == WorkKind::Stream
    }

    /// The stream of an asset is whole: its playlists say so.
    fn finish(&mut self) -> Result<(), Trouble> {
        let renditions = self.publisher.renditions();
        let planned = self.plan.as_ref().and_then(|plan| plan.segments);
        let most = renditions.iter().map(|r| r.segments.len()).max();
        let count = planned.map_or(most.unwrap_or(0), |count| count as usize);
        let short = |rendition: &&Rendition| rendition.segments.len() != count;
        if let Some(short) = renditions.iter().find(short) {
            return Err(Trouble::Failed(format!(
                "the worker ended after {} of {count} segments of {}",
                short.segments.len(),
                short.name
            )));
        }
        if count == 0 {
            return Err(Trouble::Failed("the worker made nothing".to_owned()));
        }
        self.end()?;
        let app = self.job.app;
        store::fault::point("stream-made");
        app.catalog.finish_stream(self.job.asset(), now_ms())?;
        Ok(())
    }

    /// Ends the playlists.
    pub(super) fn end(&mut self) -> Result<(), Trouble> {
        loop {
            match self.publisher.finish().map_err(Trouble::from) {
                Err(Trouble::Full(why)) => self.wait_after(&why)?,
                outcome => return outcome,
            }
        }
    }

    /// Waits while the disk is so full that not even this could be written down.
    pub(super) fn need_room(&self) -> Result<(), Trouble> {
        self.job.need_room(self.name, 1)
    }

    /// Something could not be written: waits until it is worth another try.
    pub(super) fn wait_after(&self, why: &str) -> Result<(), Trouble> {
        self.job.wait_after(self.name, why)
    }

    fn tell(&mut self) {
        if self.untold && self.told.elapsed() >= TELL {
            self.job.announce();
            self.told = Instant::now();
            self.untold = false;
        }
    }
}

/// Nothing comes from this worker any more: who waits for it is answered.
impl Drop for Making<'_> {
    fn drop(&mut self) {
        self.job.app.growing.rest(self.job.asset());
    }
}
