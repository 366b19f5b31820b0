//! Whether catalog, store and disk agree, while no server runs; and putting right what can be.
//!
//! Every promise that the server makes of its data folder is one check here. What is found is data:
//! the promise that is broken, of what, and what there is instead. An original whose bytes are gone
//! is the one thing that nothing here can bring back; everything else follows from originals and
//! is made again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use catalog::{Catalog, roots};
use serde::Serialize;
use store::{Cid, Fault, Store};

use crate::Error;
use crate::app::open_catalog;
use crate::lock::DataLock;

/// What is to be checked, and how.
#[derive(Debug, Clone)]
pub struct Fsck {
    /// The data folder.
    pub data: PathBuf,
    /// Where the store keeps its bytes, as [`crate::Config::store`].
    pub store: Option<String>,
    /// Where the catalog is, as [`crate::Config::database`]; what other servers have is theirs to
    /// check.
    pub database: Option<String>,
    /// Whether what can be put right is.
    pub repair: bool,
    /// Whether every stored byte is held against its CID, or only sizes.
    pub deep: bool,
}

/// What was looked at, and what is not as it should be.
#[derive(Debug, Default, Serialize)]
pub struct Checked {
    /// Originals.
    pub originals: u64,
    /// Variants that are there by their rows.
    pub variants: u64,
    /// Objects in the store.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// In the order of finding.
    pub findings: Vec<Broken>,
}

/// One promise that does not hold.
#[derive(Debug, Serialize)]
pub struct Broken {
    /// Which promise.
    pub what: Promise,
    /// Of what: an asset, a pin, a file.
    pub of: String,
    /// What there is instead.
    pub detail: String,
    /// Whether it was put right.
    pub repaired: bool,
    /// Whether it can be, without loss.
    pub repairable: bool,
}

/// What the server promises of its data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Promise {
    /// The catalog's file is whole, and its rows belong together.
    CatalogWhole,
    /// Every object of the store is there, and is what its name says.
    ObjectWhole,
    /// Every original is in the store.
    OriginalThere,
    /// Every original is pinned.
    OriginalPinned,
    /// Every variant that a row says is there is in the store.
    VariantThere,
    /// Every variant that is there is pinned.
    VariantPinned,
    /// Every thumbnail that a row names is in the store, pinned.
    ThumbnailThere,
    /// Every stream that can be watched by its row has its playlist.
    StreamThere,
    /// What is pinned belongs to a row.
    PinWanted,
    /// What boards wish has a row.
    WishFounded,
    /// Leases belong to the living.
    LeaseHeld,
    /// Uploads that are complete have their bytes.
    UploadThere,
    /// Files belong to something.
    FileKnown,
}

impl Checked {
    /// Whether everything is as it should be now.
    pub fn is_whole(&self) -> bool {
        self.findings.iter().all(|broken| broken.repaired)
    }
}

impl Fsck {
    /// Checks everything.
    ///
    /// # Errors
    /// [`Error::Locked`] while a server runs; others when catalog or store cannot be opened or read,
    /// or a repair fails.
    pub fn run(&self) -> Result<Checked, Error> {
        let _lock = DataLock::take(&self.data)?;
        let store = Store::open_url(self.data.join("store"), self.store.as_deref())?;
        let catalog = open_catalog(&self.data, self.database.as_deref(), &store)?;
        let mut look = Look {
            asked: self,
            catalog: &catalog,
            store: &store,
            faults: HashMap::new(),
            checked: Checked::default(),
        };
        look.catalog_whole()?;
        look.objects()?;
        look.originals()?;
        look.variants()?;
        look.thumbnails()?;
        look.streams()?;
        look.pins()?;
        look.wishes()?;
        look.leases()?;
        look.uploads()?;
        look.work()?;
        Ok(look.checked)
    }
}

struct Look<'a> {
    asked: &'a Fsck,
    catalog: &'a Catalog,
    store: &'a Store,
    /// What is wrong with objects.
    faults: HashMap<String, String>,
    checked: Checked,
}

impl Look<'_> {
    /// Notes what was found, and puts it right if that is asked for and possible.
    fn found(
        &mut self,
        what: Promise,
        of: &str,
        detail: impl Into<String>,
        repair: Option<&mut dyn FnMut() -> Result<(), Error>>,
    ) -> Result<(), Error> {
        let repairable = repair.is_some();
        let mut repaired = false;
        if let (Some(repair), true) = (repair, self.asked.repair) {
            repair()?;
            repaired = true;
        }
        self.checked.findings.push(Broken {
            what,
            of: of.to_owned(),
            detail: detail.into(),
            repaired,
            repairable,
        });
        Ok(())
    }

    fn catalog_whole(&mut self) -> Result<(), Error> {
        for line in self.catalog.damage()? {
            self.found(Promise::CatalogWhole, "catalog.db", line, None)?;
        }
        Ok(())
    }

    fn objects(&mut self) -> Result<(), Error> {
        let verified = self.store.verify(self.asked.deep, |_| {})?;
        self.checked.objects = verified.objects;
        self.checked.bytes = verified.bytes;
        for finding in verified.findings {
            let path = match finding.place {
                store::Place::File(path) => path,
                store::Place::Backend(_) => continue,
            };
            if finding.fault == Fault::Orphan {
                self.stray(&path)?;
                continue;
            }
            let detail = match finding.fault {
                Fault::Missing => "its file is missing".to_owned(),
                Fault::Size { found, expected } => {
                    format!("its file has {found} bytes instead of {expected}")
                }
                Fault::Unreadable { reason } => format!("its file cannot be read: {reason}"),
                Fault::Damaged { offset } => format!("damaged from byte {offset} on"),
                _ => "its recorded blocks are wrong".to_owned(),
            };
            let of = finding.cid.map(|cid| cid.to_string()).unwrap_or_default();
            self.found(Promise::ObjectWhole, &of, detail.as_str(), None)?;
            self.faults.insert(of, detail);
        }
        Ok(())
    }

    /// A file that nothing knows is removed.
    fn stray(&mut self, path: &Path) -> Result<(), Error> {
        let of = path.display().to_string();
        self.found(
            Promise::FileKnown,
            &of,
            "belongs to nothing",
            Some(&mut || {
                let removed = if path.is_dir() {
                    std::fs::remove_dir_all(path)
                } else {
                    std::fs::remove_file(path)
                };
                removed.map_err(|source| Error::Io {
                    operation: "remove",
                    path: path.to_owned(),
                    source,
                })
            }),
        )
    }

    /// The object of that name, or what is wrong with it.
    fn object(&self, cid: &str) -> Result<Result<Cid, String>, Error> {
        let Ok(parsed) = Cid::try_from(cid) else {
            return Ok(Err(format!("{cid} is no CID")));
        };
        if let Some(fault) = self.faults.get(cid) {
            return Ok(Err(format!("{cid}: {fault}")));
        }
        Ok(match self.store.stat(&parsed)? {
            Some(_) => Ok(parsed),
            None => Err(format!("{cid} is not in the store")),
        })
    }

    fn pinned(&self, pin: &str) -> Result<Option<String>, Error> {
        let pins = self.store.pins(pin)?.into_iter();
        Ok(pins
            .filter(|found| found.name == pin)
            .map(|found| found.cid.to_string())
            .next())
    }

    /// Sees to it that `pin` holds this object.
    fn held(&mut self, what: Promise, pin: &str, cid: &Cid) -> Result<(), Error> {
        let holds = self.pinned(pin)?;
        if holds.as_deref() == Some(cid.to_string().as_str()) {
            return Ok(());
        }
        let detail = match holds {
            None => "not pinned".to_owned(),
            Some(other) => format!("the pin holds {other} instead of {cid}"),
        };
        let store = self.store;
        self.found(what, pin, detail, Some(&mut || Ok(store.pin(pin, cid)?)))
    }

    fn originals(&mut self) -> Result<(), Error> {
        for (asset, cid) in self.catalog.originals()? {
            self.checked.originals += 1;
            match self.object(&cid)? {
                Ok(cid) => self.held(Promise::OriginalPinned, &roots::original(&asset), &cid)?,
                // Adding the same file again brings it back.
                Err(why) => self.found(Promise::OriginalThere, &asset, why, None)?,
            }
        }
        Ok(())
    }

    fn variants(&mut self) -> Result<(), Error> {
        let catalog = self.catalog;
        for (asset, key, cid) in catalog.made_variants()? {
            self.checked.variants += 1;
            let pin = roots::variant(&asset, &key);
            match self.object(&cid)? {
                Ok(cid) => self.held(Promise::VariantPinned, &pin, &cid)?,
                Err(why) => {
                    let store = self.store;
                    let mut lose = || {
                        catalog.lose_variant(&asset, &key)?;
                        store.unpin(&pin)?;
                        Ok(())
                    };
                    self.found(Promise::VariantThere, &pin, why, Some(&mut lose))?;
                }
            }
        }
        Ok(())
    }

    fn thumbnails(&mut self) -> Result<(), Error> {
        let catalog = self.catalog;
        for (asset, cid) in catalog.thumbnails()? {
            let pin = roots::thumbnail(&asset);
            match self.object(&cid)? {
                Ok(cid) => self.held(Promise::ThumbnailThere, &pin, &cid)?,
                Err(why) => {
                    let mut lose = || Ok(catalog.lose_thumbnail(&asset)?);
                    self.found(Promise::ThumbnailThere, &asset, why, Some(&mut lose))?;
                }
            }
        }
        Ok(())
    }

    fn streams(&mut self) -> Result<(), Error> {
        let catalog = self.catalog;
        for asset in catalog.published_streams()? {
            let name = roots::playlist(&asset, "master.m3u8");
            if self.store.resolve(&name)?.is_none() {
                let mut lose = || Ok(catalog.lose_stream(&asset)?);
                let why = "its playlist is not there";
                self.found(Promise::StreamThere, &asset, why, Some(&mut lose))?;
            }
        }
        Ok(())
    }

    fn pins(&mut self) -> Result<(), Error> {
        let store = self.store;
        for asset in roots::orphans(self.catalog, store)? {
            let mut drop = || Ok(roots::drop_asset(store, &asset)?);
            let why = "there are pins and names of it, and no row";
            self.found(Promise::PinWanted, &asset, why, Some(&mut drop))?;
        }
        let known = self.catalog.known_assets()?;
        for pin in roots::orphaned_variants(self.catalog, store)? {
            // Those of assets without a row are gone already, or found above.
            if !roots::variant_of(&pin).is_some_and(|(asset, _)| known.contains(asset)) {
                continue;
            }
            let mut drop = || Ok(store.unpin(&pin).map(|_| ())?);
            let why = "no variant wants it";
            self.found(Promise::PinWanted, &pin, why, Some(&mut drop))?;
        }
        Ok(())
    }

    fn wishes(&mut self) -> Result<(), Error> {
        let catalog = self.catalog;
        for (asset, board) in catalog.empty_wishes()? {
            let of = format!("{asset} for {board}");
            let mut drop = || Ok(catalog.drop_wish(&asset, &board)?);
            let why = "the variant it is for has no row";
            self.found(Promise::WishFounded, &of, why, Some(&mut drop))?;
        }
        Ok(())
    }

    fn leases(&mut self) -> Result<(), Error> {
        let catalog = self.catalog;
        let leases = catalog.leases()?;
        for lease in leases {
            let mut end = || Ok(catalog.end_leases().map(|_| ())?);
            let why = "its holder is dead: no server runs";
            self.found(Promise::LeaseHeld, &lease, why, Some(&mut end))?;
        }
        Ok(())
    }

    fn uploads(&mut self) -> Result<(), Error> {
        let (catalog, folder) = (self.catalog, self.asked.data.join("uploads"));
        let mut files = names(&folder)?;
        for upload in catalog.uploads()? {
            let there = files.iter().position(|name| *name == upload.id);
            if let (Some(at), true) = (there, upload.asset.is_none()) {
                files.remove(at);
            }
            let taken = self.pinned(&roots::original(&upload.id))?.is_some();
            if there.is_none() && upload.asset.is_none() && !taken {
                let mut drop = || Ok(catalog.remove_upload(&upload.id).map(|_| ())?);
                let why = format!("{}: its bytes are not there", upload.name);
                self.found(Promise::UploadThere, &upload.id, why, Some(&mut drop))?;
            }
        }
        for name in files {
            self.stray(&folder.join(name))?;
        }
        Ok(())
    }

    fn work(&mut self) -> Result<(), Error> {
        let folder = self.asked.data.join("work");
        for name in names(&folder)? {
            self.stray(&folder.join(name))?;
        }
        Ok(())
    }
}

/// Names in a folder; a folder that is not there has none.
fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let read = |source| Error::Io {
        operation: "read",
        path: folder.to_owned(),
        source,
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(read(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(read)?.file_name();
        names.push(name.to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
