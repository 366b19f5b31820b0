//! Where `kinora ladder` keeps a stream (a folder, the store, or both), who is told of it, and what an
//! interrupted run of the same command left there.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use ::publish::{StoreShelf, StoredUnits, Target, Webhook};
use anyhow::{Context, Result, bail};
use catalog::roots;
use ladder::publish as stream;
use ladder::{
    DirSink, Folder, Options, Part, Plan, Publisher, Rendition, Report, Segment, Sink, UnitCache,
};
use store::Store;

use crate::data_folder::DataFolder;
use crate::{shown, talk};

/// How long the end of a run waits for a webhook that has not heard everything yet.
const FAREWELL: Duration = Duration::from_secs(5);

/// Where the stream goes.
#[derive(clap::Args)]
pub struct PlaceArgs {
    /// The folder to write: DIR/master.m3u8, DIR/RUNG/playlist.m3u8 and the segments
    #[arg(short, long, value_name = "DIR", required_unless_present = "store")]
    output: Option<PathBuf>,
    /// Publish the stream in the content-addressed store, where a server with the same data folder
    /// serves it as /streams/NAME/master.m3u8 [default URL: the store in the data folder]
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "")]
    store: Option<String>,
    /// What the stream is called in the store [default: the input's name without its ending]
    #[arg(long, requires = "store")]
    name: Option<String>,
    #[command(flatten)]
    data: DataFolder,
    /// Standard input gives the same pictures as to a run that was interrupted: go on with its
    /// segments. With a file as the input that happens by itself
    #[arg(long)]
    resume: bool,
    /// Tell this address of each segment and playlist, as JSON by POST
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// A file with the secret that signs what the webhook is told (X-Kinora-Signature)
    #[arg(long, value_name = "FILE", requires = "webhook")]
    webhook_secret: Option<PathBuf>,
}

/// A webhook's target: its address, and the secret in a file.
pub fn webhook(url: Option<&str>, secret: Option<&Path>) -> Result<Option<Target>> {
    let Some(url) = url else { return Ok(None) };
    let secret = secret.map(|file| {
        let text = std::fs::read_to_string(file).with_context(|| shown::path(file))?;
        Ok::<_, anyhow::Error>(text.trim_end().to_owned())
    });
    Ok(Some(Target {
        url: url.to_owned(),
        secret: secret.transpose()?,
    }))
}

/// The places of one stream, as one sink.
pub struct Place {
    folder: Option<(PathBuf, DirSink)>,
    stored: Option<Publisher<StoreShelf>>,
    units: Option<Arc<StoredUnits>>,
    webhook: Option<Arc<Webhook>>,
    resume: bool,
}

impl PlaceArgs {
    /// Opens the places. `input` is what the input is called.
    pub fn open(&self, input: &Path) -> Result<Place> {
        let target = webhook(self.webhook.as_deref(), self.webhook_secret.as_deref())?;
        let webhook = target.map(Webhook::start).transpose().context("webhook")?;
        let mut place = Place {
            folder: None,
            stored: None,
            units: None,
            webhook: webhook.map(Arc::new),
            resume: self.resume,
        };
        if let Some(url) = &self.store {
            let (store, name) = (self.open_store(url)?, self.stream_name(input)?);
            let foreign = |pin: &str| Ok::<_, store::Error>(store.pins(pin)?.is_empty());
            if foreign(&roots::named(&name))? && !foreign(&roots::recipe(&name))? {
                bail!("{name}: the server has a stream of this name: choose another with --name");
            }
            let units = Arc::new(StoredUnits::new(&store, StoredUnits::LIMIT));
            let shelf = StoreShelf::new(&store, &name).with_units(Arc::clone(&units));
            let publisher = Publisher::over(shelf.named());
            place.stored = Some(place.followed(publisher, &name));
            place.units = Some(units);
        }
        if let Some(folder) = &self.output {
            let mut sink = DirSink::new(folder);
            if place.stored.is_none() {
                sink = place.followed(sink, &folder.to_string_lossy());
            }
            place.folder = Some((folder.clone(), sink));
        }
        Ok(place)
    }

    fn open_store(&self, url: &str) -> Result<Store> {
        let folder = self.data.path()?.join("store");
        let from_environment = std::env::var("KINORA_STORE").ok();
        let url = Some(url).filter(|url| !url.is_empty());
        let url = url.or(from_environment.as_deref());
        Store::open_url(&folder, url).with_context(|| shown::path(&folder))
    }

    fn stream_name(&self, input: &Path) -> Result<String> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => {
                let stem = input.file_stem().unwrap_or_default();
                stem.to_string_lossy().into_owned()
            }
        };
        if !::publish::is_name(&name) {
            bail!(
                "{name:?}: a stream's name has letters, digits, - _ and . only: give one with --name"
            );
        }
        Ok(name)
    }
}

impl Place {
    /// Tells the webhook what a publisher does.
    fn followed<S: stream::Shelf>(&self, publisher: Publisher<S>, name: &str) -> Publisher<S> {
        let Some(webhook) = self.webhook.clone() else {
            return publisher;
        };
        let name = name.to_owned();
        publisher.on_update(move |update| webhook.tell(&name, update))
    }

    /// Says what makes the stream, so that what a run of the same left can be gone on from, and
    /// settles what that depends on. `input` is the file; `None` for what comes once.
    pub fn made_by(&mut self, input: Option<&Path>, options: &mut Options) -> Result<()> {
        options.cached = self.units.clone().map(|units| units as Arc<dyn UnitCache>);
        if input.is_none() && !self.resume {
            return Ok(());
        }
        let identity = input.map(identity).transpose()?.unwrap_or_default();
        let asked = options.encoder.clone();
        let encoder = match asked.or_else(|| self.earlier_encoder()) {
            Some(encoder) => encoder,
            None => media::choose_h264_encoder()?,
        };
        let build = media::encoder_build(&encoder)?;
        options.encoder = Some(encoder.clone());
        // All options but those that no byte depends on.
        let decides = Options {
            workers: None,
            cached: None,
            ..options.clone()
        };
        let made_by = format!("{encoder}\n{build}\n{identity}\n{decides:?}");
        if let Some((_, folder)) = &mut self.folder {
            folder.made_by(&made_by);
        }
        if let Some(stored) = &mut self.stored {
            stored.made_by(&made_by);
        }
        Ok(())
    }

    /// The encoder of the stream that is there: going on with another would make other segments,
    /// and finding out which one works takes a trial.
    fn earlier_encoder(&self) -> Option<String> {
        let recipe = match (&self.folder, &self.stored) {
            (Some((root, _)), _) => Folder::recipe(root)?,
            (None, Some(stored)) => stored.shelf().recipe().ok()??,
            (None, None) => return None,
        };
        let made_by = stream::made_by(&recipe)?;
        let mut lines = made_by.lines();
        let (encoder, build) = (lines.next()?, lines.next()?);
        let same = media::encoder_build(encoder).is_ok_and(|now| now == build);
        same.then(|| encoder.to_owned())
    }

    /// The renditions with the segments that are there.
    pub fn renditions(&self) -> &[Rendition] {
        match (&self.folder, &self.stored) {
            (Some((_, folder)), _) => folder.renditions(),
            (None, Some(stored)) => stored.renditions(),
            (None, None) => &[],
        }
    }

    /// Where the master playlist is.
    pub fn master(&self) -> PathBuf {
        match (&self.folder, &self.stored) {
            (Some((root, _)), _) => root.join("master.m3u8"),
            (None, Some(stored)) => {
                let stream = stored.shelf().stream();
                format!("/streams/{stream}/master.m3u8").into()
            }
            (None, None) => PathBuf::new(),
        }
    }

    /// CIDs of a rendition's segments; `None` where the stream is not in the store.
    pub fn cids(&self, rendition: &str) -> Option<Vec<String>> {
        let renditions = self.stored.as_ref()?.renditions();
        let rendition = renditions.iter().find(|r| r.name == rendition)?;
        let cid = |uri: &str| {
            let uri = uri.strip_prefix("/ipfs/").unwrap_or(uri);
            uri.split('?').next().unwrap_or_default().to_owned()
        };
        Some(rendition.segments.iter().map(|s| cid(&s.uri)).collect())
    }

    /// Lets the webhook hear the end.
    pub fn farewell(&self) {
        if let Some(webhook) = &self.webhook {
            if !webhook.flush(FAREWELL) {
                talk::say("the webhook has not heard everything");
            }
        }
    }

    /// Everything that is to be done at each place.
    fn each(&mut self, mut act: impl FnMut(&mut dyn Sink) -> io::Result<()>) -> io::Result<()> {
        if let Some((_, folder)) = &mut self.folder {
            act(folder)?;
        }
        if let Some(stored) = &mut self.stored {
            act(stored)?;
        }
        Ok(())
    }
}

/// What tells this content of a file from another without reading it.
fn identity(file: &Path) -> Result<String> {
    let about = file.metadata().with_context(|| shown::path(file))?;
    let path = file.canonicalize().with_context(|| shown::path(file))?;
    let modified = about.modified().ok();
    let modified = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let modified = modified.unwrap_or_default().as_nanos();
    Ok(format!("{} {} {modified}", path.display(), about.len()))
}

impl Sink for Place {
    fn plan(&mut self, plan: &Plan) -> io::Result<()> {
        self.each(|sink| sink.plan(plan))
    }

    /// What all places have. Whoever has more passes over what comes again.
    fn done(&mut self) -> HashMap<(String, u32), u64> {
        let mut places = Vec::new();
        // Asking does not fail.
        let _ = self.each(|sink| {
            places.push(sink.done());
            Ok(())
        });
        let mut done = places.pop().unwrap_or_default();
        done.retain(|segment, _| places.iter().all(|place| place.contains_key(segment)));
        done
    }

    fn init(&mut self, rung: &str, bytes: &[u8]) -> io::Result<()> {
        self.each(|sink| sink.init(rung, bytes))
    }

    fn part(&mut self, part: Part) -> io::Result<()> {
        self.each(|sink| sink.part(part.clone()))
    }

    fn segment(&mut self, segment: Segment) -> io::Result<()> {
        match (&mut self.folder, &mut self.stored) {
            (Some((_, folder)), Some(stored)) => {
                folder.segment(segment.clone())?;
                stored.segment(segment)
            }
            (Some((_, folder)), None) => folder.segment(segment),
            (None, Some(stored)) => stored.segment(segment),
            (None, None) => Ok(()),
        }
    }

    fn end(&mut self, report: &Report) -> io::Result<()> {
        self.each(|sink| sink.end(report))
    }
}
