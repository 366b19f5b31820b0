//! Looking at an original: what is in it, and a picture of it.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use catalog::roots;
use store::{Cid, Object, PutOptions, Store};

use super::child::{self, Limits, failed};
use super::{Job, Trouble};
use crate::time::now_ms;
use crate::variants;
use crate::worker::protocol::{Event, Order, Task};

/// Width of thumbnails in pixels: twice what the page shows, for sharp screens.
const THUMBNAIL_WIDTH: u32 = 640;

/// How long to wait for a backend that is away before it is asked again.
const AGAIN: Duration = Duration::from_secs(5);

/// Fills in what is in the file, or why nothing is.
pub(crate) fn probe(job: &Job<'_>) {
    let mut found = None;
    let outcome = ask(job, Task::Probe, &mut |event, _| {
        if let Event::Probed { probe, not_a_video } = event {
            // Before its facts are there, so that nobody begins with it.
            if probe["picture"] == true {
                job.app.catalog.unwant_stream(job.asset())?;
            }
            found = Some((probe.to_string(), not_a_video));
        }
        Ok(())
    });
    store::fault::point("probe-found");
    let catalog = &job.app.catalog;
    let written = match (outcome, found) {
        (Err(Trouble::Cancelled), _) => Ok(()),
        (Ok(()), Some((probe, None))) => catalog
            .set_probe(job.asset(), &probe)
            .and_then(|()| variants::wish(job.app, job.asset())),
        (Ok(()), Some((probe, Some(why)))) => catalog.fail_asset(job.asset(), &why, Some(&probe)),
        (Ok(()), None) => {
            let name = catalog.asset(job.asset(), 0).ok().flatten();
            let name = name.map(|asset| asset.name).unwrap_or_default();
            let why = format!("{name}: the worker found nothing");
            catalog.fail_asset(job.asset(), &why, None)
        }
        (Err(trouble), _) => {
            let why = trouble.why().unwrap_or_default();
            tracing::warn!(asset = job.asset(), error = why, "cannot look at an asset");
            catalog.fail_asset(job.asset(), &why, None)
        }
    };
    log(job, written);
}

/// Makes the thumbnail. An asset without one is still good.
pub(crate) fn thumbnail(job: &Job<'_>) {
    let mut stored = None;
    let task = Task::Thumbnail {
        width: THUMBNAIL_WIDTH,
    };
    let outcome = ask(job, task, &mut |event, folder| {
        if let Event::Picture { file } = event {
            let pin = roots::thumbnail(job.asset());
            let options = PutOptions {
                mime: Some("image/jpeg"),
                pin: Some(&pin),
                ..PutOptions::default()
            };
            stored = Some(job.app.store.put_file(made(folder, &file)?, &options)?.cid);
        }
        Ok(())
    });
    store::fault::point("thumbnail-stored");
    let catalog = &job.app.catalog;
    let written = match (outcome, stored) {
        (Err(Trouble::Cancelled), _) => Ok(()),
        (Ok(()), Some(cid)) => catalog.set_thumbnail(job.asset(), &cid.to_string()),
        (Ok(()), None) => catalog.fail_thumbnail(job.asset(), "the worker made none"),
        (Err(trouble), _) => {
            let why = trouble.why().unwrap_or_default();
            tracing::warn!(asset = job.asset(), error = why, "cannot make a thumbnail");
            catalog.fail_thumbnail(job.asset(), &why)
        }
    };
    log(job, written);
}

fn ask(
    job: &Job<'_>,
    task: Task,
    heard: &mut dyn FnMut(Event, &Path) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    let Original { name, file, .. } = original(job)?;
    let limits = Limits {
        whole: Some(job.app.config.look_limit),
        silence: Duration::MAX,
    };
    let order = order(task, name);
    let mut died = false;
    loop {
        job.need_room(&order.name, 1)?;
        let file = file
            .try_clone()
            .map_err(|error| failed(&order.name, "cannot open it again", &error))?;
        let outcome = child::run(job, file, &order, limits, &mut |event, folder| {
            event.map_or(Ok(()), |event| heard(event, folder))
        });
        match outcome {
            Err(Trouble::Full(why)) => job.wait_after(&order.name, &why)?,
            // Once more, in case it was not the file.
            Err(Trouble::Died(why)) if !died => {
                died = true;
                tracing::warn!(
                    asset = job.asset(),
                    error = why,
                    "a worker died, starting another"
                );
            }
            outcome => return outcome,
        }
    }
}

/// An order for a child of this process whose standard input is the original.
pub(super) fn order(task: Task, name: String) -> Order {
    Order {
        task,
        input: Order::STANDARD_INPUT.into(),
        name,
        parent: std::process::id(),
        group: None,
        bare: false,
    }
}

/// An asset's original.
pub(super) struct Original {
    /// The asset's name.
    pub(super) name: String,
    pub(super) cid: String,
    pub(super) file: File,
}

/// Opens the original of the job's asset.
pub(super) fn original(job: &Job<'_>) -> Result<Original, Trouble> {
    // A row that is gone was deleted after the claim.
    let asset = job
        .app
        .catalog
        .asset(job.asset(), now_ms())?
        .ok_or(Trouble::Cancelled)?;
    let cid = Cid::try_from(asset.cid.as_str())
        .map_err(|error| failed(&asset.name, "its CID cannot be read", &error))?;
    let object = loop {
        match reach(&job.app.store, &cid) {
            Err(error) if error.is_away() => job.wait(&crate::problem::chain(&error), AGAIN)?,
            outcome => break outcome?,
        }
    };
    match object {
        Some(object) if object.offset == 0 => Ok(Original {
            name: asset.name,
            cid: asset.cid,
            file: object.file,
        }),
        _ => Err(Trouble::Failed(format!(
            "{}: its original is not in the store ({cid})",
            asset.name
        ))),
    }
}

/// The content of that name, also when only another server has it.
fn reach(store: &Store, cid: &Cid) -> Result<Option<Object>, store::Error> {
    let object = store.get(cid)?;
    if object.is_none() && store.take_over(cid)? {
        return store.get(cid);
    }
    Ok(object)
}

/// The path of a file that a worker says it made. A worker names files in its folder, nothing
/// else, whatever took it over.
pub(super) fn made(folder: &Path, file: &str) -> Result<std::path::PathBuf, Trouble> {
    let plain = !file.starts_with('.')
        && file
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    let path = folder.join(file);
    let regular = std::fs::symlink_metadata(&path).is_ok_and(|file| file.is_file());
    if plain && !file.is_empty() && regular {
        Ok(path)
    } else {
        Err(Trouble::Failed(format!(
            "the worker says it made {file:?}, which is no file of its folder"
        )))
    }
}

/// A row that cannot be written keeps its work wanted; the lease's end brings it back.
pub(super) fn log(job: &Job<'_>, written: Result<(), catalog::Error>) {
    if let Err(error) = written {
        let error = crate::problem::chain(&error);
        tracing::error!(asset = job.asset(), error, "cannot write how a job ended");
    }
}
