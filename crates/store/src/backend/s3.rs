//! An S3 bucket, by the crate `object_store`: `s3://bucket/prefix?endpoint=URL&region=NAME`, with
//! the credentials of the usual `AWS_…` variables or of the URL (`s3://key:secret@bucket/…`).
//!
//! An object is `<prefix>/obj/<last two characters>/<CID>`, as in the folder; a node object's one
//! block stays a row and is not sent. `<prefix>/kinora-store` names the store that the prefix
//! belongs to: two stores that share one would collect each other's objects. The mark is created
//! conditionally, twice, which also tells whether the server heeds conditions at all; many do not,
//! so nothing else relies on them.
//!
//! With `others=PREFIX`, what other stores keep in prefixes directly below that one can be read too;
//! each still writes and removes in its own alone, so that nobody removes what another one holds.
//!
//! `object_store` is asynchronous. Its runtime lives in one thread of this file's own, and whoever
//! calls waits for the answer.

use std::{
    pin::Pin,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use bytes::Bytes;
use cid::Cid;
use object_store::{
    Attribute, Attributes, ClientOptions, ObjectStore, ObjectStoreExt, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder},
    path::Path,
};
use tokio::sync::mpsc as tasks;

use super::{Backend, Failure, Leaf, Upload, Url};

/// Bytes per request of a large object; S3 takes parts from 5 MiB on and at most 10 000 of them.
const PART: u64 = 8 << 20;
const MOST_PARTS: u64 = 9_000;

/// How long one request may take, and one with its repetitions.
const WITHIN: Duration = Duration::from_secs(60);
const WITH_RETRIES: Duration = Duration::from_secs(15);

/// A bucket's part below a prefix.
pub struct S3 {
    client: Arc<AmazonS3>,
    runtime: Runtime,
    prefix: Path,
    /// Where the prefixes of other stores are.
    others: Option<Path>,
    /// What a bucket's name alone does not say.
    place: String,
}

impl S3 {
    pub(crate) fn new(url: &mut Url<'_>) -> Result<Self, String> {
        if url.host.is_empty() {
            return Err("it names no bucket".into());
        }
        let (endpoint, region) = (url.option("endpoint"), url.option("region"));
        let mut client = ClientOptions::new()
            .with_connect_timeout(Duration::from_secs(5))
            .with_timeout(WITHIN);
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(url.host);
        let mut place = String::new();
        if let Some(endpoint) = endpoint {
            client = client.with_allow_http(endpoint.starts_with("http://"));
            place = format!(" at {endpoint}");
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(user) = &url.user {
            let (key, secret) = user.split_once(':').ok_or("a key without its secret")?;
            builder = builder
                .with_access_key_id(key)
                .with_secret_access_key(secret);
        }
        if let Some(region) = region {
            builder = builder.with_region(region);
        }
        let others = url.option("others").map(|path| Path::from(path.as_str()));
        let retries = RetryConfig {
            max_retries: 3,
            retry_timeout: WITH_RETRIES,
            ..RetryConfig::default()
        };
        let client = builder
            .with_client_options(client)
            .with_retry(retries)
            .build()
            .map_err(|error| chain(&error))?;
        Ok(Self {
            client: Arc::new(client),
            runtime: Runtime::start().map_err(|error| format!("no thread for it: {error}"))?,
            prefix: Path::from(url.path.as_str()),
            others,
            place,
        })
    }

    /// What tells this bucket from others of its name.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    fn path(&self, cid: &Cid) -> Path {
        path_below(&self.prefix, cid)
    }

    fn below(&self, parts: &[&str]) -> Path {
        below(&self.prefix, parts)
    }

    /// Runs one operation to its end; `None` if what it is about is not there.
    fn run<T, F>(&self, work: impl FnOnce(Arc<AmazonS3>) -> F) -> Result<Option<T>, Failure>
    where
        T: Send + 'static,
        F: Future<Output = object_store::Result<T>> + Send + 'static,
    {
        match self.runtime.run(work(Arc::clone(&self.client)))? {
            Ok(value) => Ok(Some(value)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failure(&error)),
        }
    }

    /// The store that the prefix belongs to.
    fn owner(&self) -> Result<Option<String>, Failure> {
        let mark = self.below(&["kinora-store"]);
        let read = self.run(|client| async move { client.get(&mark).await?.bytes().await })?;
        Ok(read.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()))
    }

    /// Creates the mark; `false` if there is one and the server heeds that.
    fn mark(&self, owner: &str) -> Result<bool, Failure> {
        let mark = self.below(&["kinora-store"]);
        let content = PutPayload::from(format!("{owner}\n"));
        let options = PutOptions::from(PutMode::Create);
        let put = |client: Arc<AmazonS3>| async move {
            match client.put_opts(&mark, content, options).await {
                Ok(_) => Ok(true),
                Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
                Err(error) => Err(error),
            }
        };
        Ok(self.run(put)?.unwrap_or(false))
    }

    fn put_at_once(&self, object: &Upload, path: Path, options: PutOptions) -> Result<(), Failure> {
        let leaves = object.leaves.iter().map(|leaf| object.leaf(leaf));
        let payload = PutPayload::from_iter(leaves.collect::<Result<Vec<_>, _>>()?);
        self.done(self.run(|client| async move { client.put_opts(&path, payload, options).await })?)
            .map(|_| ())
    }

    fn put_in_parts(
        &self,
        object: &Upload,
        path: Path,
        attributes: Attributes,
    ) -> Result<(), Failure> {
        let options = PutMultipartOptions {
            attributes,
            ..PutMultipartOptions::default()
        };
        let begun =
            self.run(|client| async move { client.put_multipart_opts(&path, options).await })?;
        let mut upload = self.done(begun)?;
        // Parts end where leaves do; all but the last are of one size.
        let per_part = (object.size.div_ceil(MOST_PARTS).max(PART)).div_ceil(1 << 20) as usize;
        let sent = object.leaves.chunks(per_part).try_for_each(|leaves| {
            let leaves = leaves.iter().map(|leaf| object.leaf(leaf));
            let payload = PutPayload::from_iter(leaves.collect::<Result<Vec<_>, _>>()?);
            let part = upload.put_part(payload);
            self.done(self.run(|_| part)?)
        });
        let (ending, sent) = match sent {
            Ok(()) => (
                self.run(|_| async move { upload.complete().await.map(|_| ()) }),
                Ok(()),
            ),
            // What cannot be taken back now is the bucket's to expire.
            Err(failure) => (
                self.run(|_| async move { upload.abort().await }),
                Err(failure),
            ),
        };
        sent.and_then(|()| self.done(ending?))
    }

    /// A write that "is not found" lacks its bucket.
    fn done<T>(&self, outcome: Option<T>) -> Result<T, Failure> {
        outcome.ok_or_else(|| Failure::Refused("there is no such bucket".into()))
    }
}

impl Backend for S3 {
    fn connect(&self, owner: &str) -> Result<String, Failure> {
        if self.owner()?.is_none() {
            self.mark(owner)?;
        }
        match self.owner()? {
            Some(found) if found == owner => {}
            Some(_) => {
                let text = "this prefix of the bucket belongs to another store; choose another one";
                return Err(Failure::Refused(text.into()));
            }
            None => return Err(Failure::Refused("what is put there is not there".into())),
        }
        let heeded = !self.mark(owner)?;
        let what = if heeded {
            "conditional puts"
        } else {
            "no conditional puts"
        };
        Ok(format!("S3, {what}"))
    }

    fn put(&self, object: &Upload) -> Result<(), Failure> {
        if object.file.is_none() {
            return Ok(());
        }
        let path = self.path(&object.cid);
        let mut attributes = Attributes::new();
        if let Some(mime) = &object.mime {
            attributes.insert(Attribute::ContentType, mime.clone().into());
        }
        if object.size > PART {
            return self.put_in_parts(object, path, attributes);
        }
        self.put_at_once(
            object,
            path,
            PutOptions {
                attributes,
                ..PutOptions::default()
            },
        )
    }

    fn has(&self, object: &Cid, size: u64) -> Result<bool, Failure> {
        let path = self.path(object);
        let found = self.run(|client| async move { client.head(&path).await })?;
        Ok(found.is_some_and(|meta| meta.size == size))
    }

    fn read(&self, leaf: &Leaf) -> Result<Option<Bytes>, Failure> {
        let path = self.path(&leaf.object);
        let range = leaf.offset..leaf.offset + leaf.length;
        if range.is_empty() {
            // No range says "no bytes"; whether the object is there is a question of its own.
            return Ok(self.has(&leaf.object, 0)?.then(Bytes::new));
        }
        self.run(|client| async move { client.get_range(&path, range).await })
    }

    fn reads_others(&self) -> bool {
        self.others.is_some()
    }

    fn read_other(
        &self,
        object: &Cid,
        take: &mut dyn FnMut(Bytes) -> Result<(), Failure>,
    ) -> Result<bool, Failure> {
        let Some(others) = self.others.clone() else {
            return Ok(false);
        };
        let listed =
            self.run(|client| async move { client.list_with_delimiter(Some(&others)).await })?;
        let prefixes = listed.map(|listed| listed.common_prefixes);
        for prefix in prefixes.unwrap_or_default() {
            if prefix == self.prefix {
                continue;
            }
            let path = path_below(&prefix, object);
            let asked = path.clone();
            let found = self.run(|client| async move { client.head(&asked).await })?;
            let Some(found) = found else { continue };
            let mut offset = 0;
            while offset < found.size {
                let range = offset..(offset + PART).min(found.size);
                offset = range.end;
                let path = path.clone();
                let piece =
                    self.run(|client| async move { client.get_range(&path, range).await })?;
                let gone = || Failure::Away("another store removed it just now".into());
                take(piece.ok_or_else(gone)?)?;
            }
            return Ok(true);
        }
        Ok(false)
    }

    fn remove(&self, object: &Cid) -> Result<(), Failure> {
        let path = self.path(object);
        let removed = {
            let path = path.clone();
            self.run(|client| async move { client.delete(&path).await })
        };
        match removed {
            Ok(_) => Ok(()),
            // Garage refuses to remove what is not there.
            Err(failure) => match self.run(|client| async move { client.head(&path).await })? {
                None => Ok(()),
                Some(_) => Err(failure),
            },
        }
    }
}

fn path_below(prefix: &Path, cid: &Cid) -> Path {
    let name = cid.to_string();
    let shard = &name[name.len() - 2..];
    below(prefix, &["obj", shard, &name])
}

fn below(prefix: &Path, parts: &[&str]) -> Path {
    let parts = parts.iter().map(|part| (*part).into());
    prefix.parts().chain(parts).collect()
}

fn failure(error: &object_store::Error) -> Failure {
    use object_store::Error as E;
    match error {
        E::Generic { .. } | E::JoinError { .. } => Failure::Away(chain(error)),
        _ => Failure::Refused(chain(error)),
    }
}

/// An error and what caused it, each text once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text += ": ";
            text += &more;
        }
        cause = error.source();
    }
    text.replace(|c: char| c.is_control(), " ")
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The one thread in which asynchronous code runs. It ends when this is dropped.
struct Runtime {
    tasks: tasks::UnboundedSender<Task>,
}

impl Runtime {
    fn start() -> std::io::Result<Self> {
        let (sender, mut receiver) = tasks::unbounded_channel::<Task>();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        thread::Builder::new()
            .name("kinora-s3".into())
            .spawn(move || {
                runtime.block_on(async move {
                    while let Some(task) = receiver.recv().await {
                        tokio::spawn(task);
                    }
                });
            })?;
        Ok(Self { tasks: sender })
    }

    fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Failure> {
        let (answer, wait) = mpsc::sync_channel(1);
        let task = Box::pin(async move {
            // Nobody waits any more only when the caller panicked.
            let _ = answer.send(work.await);
        });
        let ended = || Failure::Away("its thread has ended".into());
        self.tasks.send(task).map_err(|_| ended())?;
        wait.recv().map_err(|_| ended())
    }
}
