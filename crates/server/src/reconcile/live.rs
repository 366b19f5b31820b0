//! The stream of a live source: a worker pulls and cuts it for as long as it goes on.
//!
//! Nothing of it is given up: a source that cannot be reached is tried again, a worker that dies is
//! started again, and the stream goes on after a gap, marked as such, under the next numbers. It ends
//! when its source does, or when it is told to; what there is can then be watched as a whole.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use ladder::Plan;
use ladder::publish::{Kind, Left, Record};
use serde::Deserialize;

use super::child::{self, Limits};
use super::look::{log, order};
use super::making::Making;
use super::{Job, Trouble};
use crate::live::Facts;
use crate::time::now_ms;
use crate::worker::protocol::{Event, LiveTask, Next, Order, Task};

/// The first wait before another try; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How often the row is asked whether the stream shall end.
const ASK: Duration = Duration::from_millis(500);

/// Makes the job's stream until it ends.
pub(crate) fn live(job: &Job<'_>) {
    let (app, name) = (job.app, job.asset());
    app.announce_live(name);
    match make(job) {
        Ok(()) => {
            tracing::info!(stream = name, "live stream ended");
            log(job, app.catalog.finish_live(name, now_ms()));
        }
        Err(trouble) => {
            if let Some(why) = trouble.why() {
                // The row still wants it: the lease's end brings it back.
                tracing::error!(stream = name, error = why, "cannot make a live stream");
            }
        }
    }
    app.unfollow(name);
    app.set_progress(name, None);
    app.announce_live(name);
}

fn make(job: &Job<'_>) -> Result<(), Trouble> {
    let (app, name) = (job.app, job.asset());
    let row = app
        .catalog
        .live(name, now_ms())?
        .ok_or(Trouble::Cancelled)?;
    let facts = Facts::read(&row.facts).map_err(Trouble::Failed)?;
    if let Some(webhook) = &facts.webhook {
        app.follow_with(name, webhook.target())?;
    }
    let mut wait = FIRST_WAIT;
    loop {
        let mut making = Making::new(job, name);
        making.need_room()?;
        let left = making.left()?;
        if app
            .catalog
            .live(name, now_ms())?
            .is_some_and(|row| row.ending)
        {
            return end(&mut making, left);
        }
        let nothing = File::open("/dev/null").map_err(|e| child::failed(name, "/dev/null", &e))?;
        let order = order(Task::Live(task(&facts, left)), name.to_owned());
        let limits = Limits {
            whole: None,
            silence: job.app.config.silence_limit,
        };
        let mut asked = Instant::now();
        let mut listener = |event: Option<Event>, folder: &Path| {
            if asked.elapsed() > ASK {
                asked = Instant::now();
                let row = job.app.catalog.live(name, now_ms())?;
                if row.is_some_and(|row| row.ending) {
                    std::fs::write(folder.join(Order::END), "")?;
                }
            }
            making.hear(event, folder)
        };
        let why = match child::run(job, nothing, &order, limits, &mut listener) {
            Ok(()) => return making.end(),
            Err(Trouble::Full(why)) => {
                making.wait_after(&why)?;
                continue;
            }
            Err(trouble) => trouble.why().ok_or(Trouble::Cancelled)?,
        };
        if making.kept > 0 {
            wait = FIRST_WAIT;
        }
        job.wait(&format!("{why}; trying again"), wait)?;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Ends a stream that nobody is making: what is there becomes the whole of it.
fn end(making: &mut Making<'_>, left: Option<Left>) -> Result<(), Trouble> {
    #[derive(Deserialize)]
    struct Recipe {
        made_by: String,
        plan: Plan,
    }
    let Some(left) = left else { return Ok(()) };
    if let Ok(Recipe { made_by, plan }) = serde_json::from_str(&left.recipe) {
        making.plan(plan, made_by)?;
        making.end()?;
    }
    Ok(())
}

fn task(facts: &Facts, left: Option<Left>) -> LiveTask {
    let mut next: Vec<Next> = Vec::new();
    for (piece, _, record) in left.iter().flat_map(|left| &left.pieces) {
        let (Some(Kind::Segment(number)), Ok(record)) =
            (piece.kind(), serde_json::from_str::<Record>(record))
        else {
            continue;
        };
        let (number, start_s) = (number + 1, record.start + record.duration());
        let rung = &piece.rendition;
        match next.iter_mut().find(|next| next.rung == *rung) {
            Some(next) if next.number < number => (next.number, next.start_s) = (number, start_s),
            Some(_) => {}
            None => next.push(Next {
                rung: rung.clone(),
                number,
                start_s,
            }),
        }
    }
    LiveTask {
        source: facts.source.clone(),
        segment_s: facts.segment_s,
        part_s: facts.part_s,
        window_s: facts.window_s,
        container: facts.container,
        recipe: left.map(|left| left.recipe),
        next,
    }
}
