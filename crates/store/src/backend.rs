//! Where copies of the bytes may be kept besides the local folder: one trait, chosen by one URL.
//!
//! | URL | bytes |
//! |---|---|
//! | a path or `file:///path` | in the folder alone |
//! | `s3://bucket/prefix?endpoint=URL&region=NAME` | also in an S3 bucket ([`s3`]) |
//! | `kubo+http://host:5001` | also on a Kubo node, pinned ([`kubo`]) |
//!
//! `cache=SIZE` limits what stays in the folder once the backend has it. A backend is given whole
//! objects and asked for single leaves, and nothing that it says or sends is believed before it
//! was checked against a CID. Names, pins and the lists of blocks are never kept there. Who copies
//! when is `mirror.rs`.

mod http;
pub mod kubo;
#[cfg(feature = "s3")]
pub mod s3;

use std::{collections::BTreeMap, fmt, fs::File, os::unix::fs::FileExt, path::PathBuf};

use bytes::Bytes;
use cid::Cid;
use percent_encoding::percent_decode_str;

use crate::{Error, unixfs};

/// Something that keeps copies of objects. Calls block and end within a bounded time.
pub trait Backend: Send + Sync {
    /// Asks whether it is there and may be used by the store `owner` (a text that tells stores
    /// apart), and says what it is. Called before anything is put, and again after each failure.
    fn connect(&self, owner: &str) -> Result<String, Failure>;

    /// Keeps a copy; again is no error. When this returns the copy is as durable as the backend
    /// makes it.
    fn put(&self, object: &Upload) -> Result<(), Failure>;

    /// Whether it has a copy, as far as it can tell without reading it.
    fn has(&self, object: &Cid, size: u64) -> Result<bool, Failure>;

    /// The bytes of one leaf, unchecked; `None` if it does not have them.
    fn read(&self, leaf: &Leaf) -> Result<Option<Bytes>, Failure>;

    /// Whether it can read what other stores keep beside this one.
    fn reads_others(&self) -> bool {
        false
    }

    /// The content of an object that another store keeps, unchecked, piece by piece; `false` if none
    /// has it.
    fn read_other(
        &self,
        _object: &Cid,
        _take: &mut dyn FnMut(Bytes) -> Result<(), Failure>,
    ) -> Result<bool, Failure> {
        Ok(false)
    }

    /// Lets go of a copy; none is no error.
    fn remove(&self, object: &Cid) -> Result<(), Failure>;
}

/// A slice of an object that has a CID of its own, at most [`unixfs::MAX_BLOCK`] long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// The object.
    pub object: Cid,
    /// The leaf's own CID.
    pub cid: Cid,
    /// Where it starts in the object, in bytes.
    pub offset: u64,
    /// Its bytes.
    pub length: u64,
}

/// An object on its way to a backend.
#[derive(Debug)]
pub struct Upload {
    /// The object.
    pub cid: Cid,
    /// Bytes of content.
    pub size: u64,
    /// Media type, if one is recorded.
    pub mime: Option<String>,
    /// A pin or a name that holds it, for people who look at the backend.
    pub held_by: Option<String>,
    /// Its inner blocks, the root first. A node object is nothing but this one block.
    pub nodes: Vec<(Cid, Bytes)>,
    /// Its leaves, in order.
    pub leaves: Vec<Leaf>,
    /// The file they are in; none for a node object.
    pub file: Option<File>,
}

impl Upload {
    /// The bytes of a leaf, checked: what is damaged here is not copied.
    pub fn leaf(&self, leaf: &Leaf) -> Result<Bytes, Failure> {
        let file = self.file.as_ref().ok_or(Failure::Local("it has no file"))?;
        let mut bytes = vec![0; leaf.length as usize];
        file.read_exact_at(&mut bytes, leaf.offset)
            .map_err(|_| Failure::Local("its file cannot be read"))?;
        if !unixfs::names(&leaf.cid, &bytes) {
            return Err(Failure::Local("its file is damaged"));
        }
        Ok(bytes.into())
    }
}

/// Why a backend did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It does not answer, or not in time, or says that it cannot now.
    #[error("it cannot be reached: {0}")]
    Away(String),
    /// It answered, and the answer is a refusal or makes no sense.
    #[error("{0}")]
    Refused(String),
    /// The copy to be sent is not good here.
    #[error("{0}")]
    Local(&'static str),
}

/// The backend that a URL names; `None` if it names a folder.
pub fn open(url: &str) -> Result<Option<Box<dyn Backend>>, Error> {
    let location = Location::parse(url)?;
    Ok(location.backend.map(|chosen| chosen.backend))
}

/// The folder that a URL names; `None` if it names a backend.
pub fn folder(url: &str) -> Result<Option<PathBuf>, Error> {
    Location::parse(url).map(|location| location.folder)
}

/// Where a store lies, as its URL says.
pub(crate) struct Location {
    /// Instead of the folder it would be in otherwise.
    pub folder: Option<PathBuf>,
    pub backend: Option<Chosen>,
}

/// A backend and how it is used.
pub(crate) struct Chosen {
    /// Tells backends apart and is shown: the URL without options and secrets.
    pub name: String,
    pub backend: Box<dyn Backend>,
    /// Bytes of objects to keep in the folder that the backend has too; `None` for all.
    pub cache: Option<u64>,
}

impl fmt::Debug for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chosen")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The parts of a backend's URL.
pub(crate) struct Url<'a> {
    pub scheme: &'a str,
    /// `user:secret`, decoded.
    pub user: Option<String>,
    pub host: &'a str,
    /// Decoded, without slashes at its ends.
    pub path: String,
    options: BTreeMap<String, String>,
}

impl<'a> Url<'a> {
    /// Splits `scheme://[user@]host[/path][?key=value&…]`.
    fn parse(text: &'a str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").ok_or("it has no scheme")?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(decode(user)?), host),
            None => (None, authority),
        };
        let mut options = BTreeMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if options.insert(decode(key)?, decode(value)?).is_some() {
                return Err(format!("{key} is said twice"));
            }
        }
        let path = decode(path.trim_matches('/'))?;
        Ok(Self {
            scheme,
            user,
            host,
            path,
            options,
        })
    }

    /// Takes an option; what is left at the end is refused.
    pub fn option(&mut self, key: &str) -> Option<String> {
        self.options.remove(key)
    }

    /// How the place is called where people read it.
    fn name(&self) -> String {
        let slash = if self.path.is_empty() { "" } else { "/" };
        format!("{}://{}{slash}{}", self.scheme, self.host, self.path)
    }
}

impl Location {
    /// Reads the URL of a store.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Self::read(text).map_err(|what| Error::Location {
            // A secret may stand before the host.
            url: match (text.split_once("://"), text.rsplit_once('@')) {
                (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
                _ => text.into(),
            },
            what,
        })
    }

    fn read(text: &str) -> Result<Self, String> {
        let folder = |path: PathBuf| Self {
            folder: Some(path),
            backend: None,
        };
        if let Some(path) = text.strip_prefix("file://") {
            let path = PathBuf::from(decode(path)?);
            return if path.is_absolute() {
                Ok(folder(path))
            } else {
                Err("a file URL has three slashes and a whole path, as file:///srv/store".into())
            };
        }
        if text.is_empty() {
            return Err("it is empty".into());
        }
        if !text.contains("://") {
            return Ok(folder(text.into()));
        }
        let mut url = Url::parse(text)?;
        let cache = url.option("cache").map(|text| size(&text)).transpose()?;
        let (name, backend): (String, Box<dyn Backend>) = match url.scheme {
            "kubo+http" => (url.name(), Box::new(kubo::Kubo::new(&mut url)?)),
            #[cfg(feature = "s3")]
            "s3" => {
                let s3 = s3::S3::new(&mut url)?;
                (url.name() + s3.place(), Box::new(s3))
            }
            other => return Err(format!("{other} is not a kind of store that is known")),
        };
        if let Some((key, _)) = url.options.pop_first() {
            return Err(format!("it has no option {key:?}"));
        }
        let chosen = Chosen {
            name,
            backend,
            cache,
        };
        Ok(Self {
            folder: None,
            backend: Some(chosen),
        })
    }
}

fn decode(text: &str) -> Result<String, String> {
    match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err("it is not UTF-8".into()),
    }
}

/// A number of bytes: digits, or with kB, MB, GB, TB or their binary sisters.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "" | "B" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => 0,
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .filter(|_| unit > 0)
        .ok_or_else(|| format!("{text:?} is not a size, as 20GB is"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_say_where_a_store_lies() {
        let check = |text: &str, folder: Option<&str>, name: Option<&str>, cache: Option<u64>| {
            let location = Location::parse(text).unwrap();
            assert_eq!(
                location.folder.as_deref(),
                folder.map(std::path::Path::new),
                "{text}"
            );
            let chosen = location.backend;
            assert_eq!(chosen.as_ref().map(|c| c.name.as_str()), name, "{text}");
            assert_eq!(chosen.and_then(|c| c.cache), cache, "{text}");
        };
        check("store", Some("store"), None, None);
        check("/srv/a store", Some("/srv/a store"), None, None);
        check("file:///srv/a%20store", Some("/srv/a store"), None, None);
        let kubo = "kubo+http://127.0.0.1:5001";
        check(kubo, None, Some(kubo), None);
        check(
            "kubo+http://me:s%40y@node/rpc/?cache=20GB",
            None,
            Some("kubo+http://node/rpc"),
            Some(20_000_000_000),
        );
    }

    #[test]
    fn what_is_no_url_of_a_store_is_refused_without_its_secret() {
        let check = |text: &str, why: &str| {
            let error = Location::parse(text)
                .err()
                .map(|e| e.to_string())
                .unwrap_or_default();
            assert!(
                error.contains(why) && !error.contains("hush"),
                "{text}: {error}"
            );
        };
        check("", "empty");
        check("file://srv/store", "three slashes");
        check("ftp://host", "ftp");
        check("kubo+http://", "host");
        check("kubo+http://me:hush@node:5001/?chache=1GB", "chache");
        check("kubo+http://me:hush@node:5001/?cache=many", "many");
        check("kubo+http://node?cache=1GB&cache=2GB", "twice");
        check("kubo+http://node?cache=%ff", "UTF-8");
    }
}
