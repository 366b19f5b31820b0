//! Making a variant: a worker renders it, this keeps what it made.
//!
//! ```text
//! file in the work folder ─► store: bytes, pin with its note ─► row ─► boards play it ─► the old one goes
//! ```
//! The note is what the row will say, so a kill between pin and row costs no second rendering. A worker
//! that dies is started once more; a full disk is waited for.

use std::path::Path;
use std::time::{Duration, Instant};

use catalog::variant::{Made, Want, want};
use catalog::{VariantState, roots};
use serde::{Deserialize, Serialize};
use store::{Cid, PutOptions, fault};

use super::child::{self, Limits};
use super::look::{Original, log, made, order, original};
use super::{Job, Trouble};
use crate::app::App;
use crate::shown::Progress;
use crate::time::now_ms;
use crate::variants;
use crate::worker::protocol::{Event, How, RenderTask, Task};

/// Progress is told four times a second at most.
const TELL: Duration = Duration::from_millis(250);

/// How often it is asked whether a copy is made.
const COPIED: Duration = Duration::from_millis(50);

/// How long to wait before what may have been a moment's trouble is looked at again.
const AGAIN: Duration = Duration::from_secs(1);

/// What the pin of a variant carries besides the bytes.
#[derive(Serialize, Deserialize)]
struct Note {
    probe: String,
    how: String,
    finished_ms: i64,
}

impl Note {
    fn of(self, cid: &Cid, size: u64) -> Made {
        Made {
            cid: cid.to_string(),
            size,
            probe: self.probe,
            how: self.how,
            finished_ms: self.finished_ms,
        }
    }
}

/// Makes the job's variant. Whether the machine had work with it.
pub(crate) fn render(job: &Job<'_>) -> bool {
    let (app, asset) = (job.app, job.asset());
    let Some(key) = job.work.variant.as_deref() else {
        return false;
    };
    let began = Instant::now();
    app.announce(asset);
    match make(job, key) {
        Ok(()) => {
            tracing::info!(
                asset,
                variant = key,
                seconds = began.elapsed().as_secs(),
                "variant made"
            );
            variants::drop_stale(app);
            true
        }
        Err(trouble) => {
            let_go(app, asset, key);
            match trouble.why() {
                Some(why) => {
                    tracing::warn!(asset, variant = key, error = why, "cannot make a variant");
                    let said = job.last_words();
                    let said = (!said.is_empty()).then_some(said.as_str());
                    let written = app
                        .catalog
                        .fail_variant(asset, key, &why, said, job.holder());
                    log(job, written);
                    true
                }
                // Stopped in order: that says nothing about the variant.
                None => {
                    log(job, app.catalog.unstart_variant(asset, key, job.holder()));
                    false
                }
            }
        }
    }
}

/// Who gets on so slowly that a day is not enough keeps everything else waiting.
const WHOLE: Duration = Duration::from_secs(24 * 3600);

/// What it had pinned is shown to nobody.
fn let_go(app: &App, asset: &str, key: &str) {
    if let Err(error) = roots::drop_variant(&app.catalog, &app.store, asset, key) {
        // The sweep finds it.
        tracing::warn!(asset, error = %crate::problem::chain(&error), "cannot unpin");
    }
}

fn make(job: &Job<'_>, key: &str) -> Result<(), Trouble> {
    let (app, asset) = (job.app, job.asset());
    if let Some(kept) = kept(app, asset, key)? {
        return finish(job, key, &kept);
    }
    let task = task(app, asset, key)?;
    let Original { name, file, .. } = original(job)?;
    let limits = Limits {
        whole: Some(WHOLE),
        silence: app.config.silence_limit,
    };
    let order = order(task, name.clone());
    let mut died = false;
    loop {
        job.need_room(&name, 1)?;
        let room = app.disk.usable()?;
        let file = file
            .try_clone()
            .map_err(|e| child::failed(&name, "cannot open it again", &e))?;
        fault::point("render-begun");
        let mut there = None;
        let mut told = Instant::now();
        let outcome = child::run(job, file, &order, limits, &mut |event, folder| {
            match event {
                Some(Event::Progress(progress)) => {
                    fault::point("render-half");
                    app.set_progress(&job.work.name(), Some(shown(&progress)));
                    if told.elapsed() >= TELL {
                        told = Instant::now();
                        app.announce(asset);
                    }
                }
                Some(Event::Rendered { file, probe, how }) => {
                    fault::point("render-made");
                    there = Some(keep(job, key, folder, &file, &probe, &how)?);
                }
                // Nothing else belongs to a variant.
                Some(_) | None => {}
            }
            Ok(())
        });
        match (outcome, there) {
            (Ok(()), Some(there)) => {
                fault::point("render-pinned");
                return finish(job, key, &there);
            }
            (Ok(()), None) => {
                return Err(Trouble::Failed(format!("{name}: the worker made nothing")));
            }
            // Once more, in case it was not the file.
            (Err(Trouble::Died(why)), _) if !died => {
                died = true;
                tracing::warn!(asset, name, error = why, "a worker died, starting another");
            }
            (Err(Trouble::Full(why)), _) => {
                // What there was did not suffice, so it must be more before another try.
                job.wait_after(&name, &why)?;
                job.need_room(&name, room.saturating_add(1))?;
            }
            (Err(trouble), _) => return Err(trouble),
        }
    }
}

/// What an earlier run pinned and did not come to write down.
fn kept(app: &App, asset: &str, key: &str) -> Result<Option<Made>, Trouble> {
    let name = roots::variant(asset, key);
    let pins = app.store.pins(&name)?;
    let pin = pins.into_iter().find(|pin| pin.name == name);
    Ok(pin.and_then(|pin| {
        let note: Note = serde_json::from_str(pin.note.as_deref()?).ok()?;
        Some(note.of(&pin.cid, pin.size))
    }))
}

/// The order for the worker: a board that wants this, by the table as it is now.
fn task(app: &App, asset: &str, key: &str) -> Result<Task, Trouble> {
    let now = now_ms();
    let row = app.catalog.asset(asset, now)?.ok_or(Trouble::Cancelled)?;
    let facts = row.facts().ok_or(Trouble::Cancelled)?;
    let variant = row.variants.iter().find(|variant| variant.key == key);
    let variant = variant.ok_or(Trouble::Cancelled)?;
    if variant.state() == VariantState::Done {
        return Err(Trouble::Cancelled);
    }
    let recipe = variants::recipe(app);
    let enrolled = app.catalog.boards_enrolled()?;
    let boards = variants::rendered_for(app, &enrolled, &facts).into_iter();
    let mut boards = boards.filter(|board| variant.boards.contains(&board.id));
    let board = boards.find(|board| {
        // Only what is made counts here, not who may have it made.
        let policy = boards::Policy {
            render: true,
            ..app.policy
        };
        matches!(want(&facts, board, policy, &recipe), Want::Variant(spec) if spec.key == key)
    });
    let board = board.ok_or(Trouble::Cancelled)?;
    if facts.picture {
        return Ok(Task::Picture {
            width: board.target.width,
            height: board.target.height,
        });
    }
    Ok(Task::Render(Box::new(RenderTask {
        board,
        allow_software: app.policy.allow_software,
        settings: variants::settings(app),
    })))
}

fn keep(
    job: &Job<'_>,
    key: &str,
    folder: &Path,
    file: &str,
    probe: &serde_json::Value,
    how: &How,
) -> Result<Made, Trouble> {
    let path = made(folder, file)?;
    let note = Note {
        probe: probe.to_string(),
        how: serde_json::to_string(how).unwrap_or_default(),
        finished_ms: now_ms(),
    };
    let pin = roots::variant(job.asset(), key);
    let options = PutOptions {
        pin: Some(&pin),
        note: Some(&serde_json::to_string(&note).unwrap_or_default()),
        ..PutOptions::default()
    };
    let stored = job.app.store.put_file(&path, &options)?;
    Ok(note.of(&stored.cid, stored.size))
}

fn finish(job: &Job<'_>, key: &str, there: &Made) -> Result<(), Trouble> {
    wait_for_copy(job, there)?;
    loop {
        let catalog = &job.app.catalog;
        match catalog.finish_variant(job.asset(), key, there, job.holder()) {
            Ok(true) => {
                fault::point("render-written");
                return Ok(());
            }
            Ok(false) => return Err(Trouble::Cancelled),
            Err(error) if error.is_disk_full() => {
                job.wait_after(key, &crate::problem::chain(&error))?;
            }
            // Whether it was written is not known; writing it again changes nothing.
            Err(error) if error.is_away() => {
                job.wait(&crate::problem::chain(&error), AGAIN)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// What every server may show must outlive this one: where bytes are shared, the copy comes before
/// the row.
fn wait_for_copy(job: &Job<'_>, there: &Made) -> Result<(), Trouble> {
    let store = &job.app.store;
    if !store.reads_others() {
        return Ok(());
    }
    let cid = Cid::try_from(there.cid.as_str())
        .map_err(|error| Trouble::Failed(format!("its CID cannot be read: {error}")))?;
    let mut told = Instant::now();
    while !store.stat(&cid)?.is_some_and(|stat| stat.copied) {
        job.pause(Instant::now() + COPIED)?;
        if told.elapsed() >= AGAIN {
            told = Instant::now();
            job.wait("its copy in the store's backend", COPIED)?;
        }
    }
    Ok(())
}

fn shown(progress: &ladder::Progress) -> Progress {
    Progress {
        fraction: progress.fraction.unwrap_or(0.0),
        media_s: progress.media_s,
        total_s: None,
        speed: Some(progress.speed),
        eta_s: progress.eta_s,
        waiting: None,
    }
}
