//! The store's one secret, and the signing keys that come of it.
//!
//! `keys/seed` holds 32 random bytes, readable by its owner alone. Each name's key is a hash of the
//! seed and the name, so there is one file to keep safe, none to make when a name is published, and
//! a name has the same IPNS name for as long as the seed is kept.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use ed25519_dalek::SigningKey;
use rustix::rand::{GetRandomFlags, getrandom};
use sha2::{Digest, Sha256};

use crate::{Error, disk};

pub(crate) struct Keys {
    seed: [u8; 32],
}

impl Keys {
    /// Reads the seed, or makes it; whether it was made. The caller keeps other openers away.
    pub fn open(root: &Path) -> Result<(Self, bool), Error> {
        let folder = root.join("keys");
        let path = folder.join("seed");
        match fs::read(&path) {
            Ok(bytes) => {
                let seed = bytes.try_into().map_err(|_| Error::Seed { path })?;
                Ok((Self { seed }, false))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let seed = make(&folder, &path)?;
                Ok((Self { seed }, true))
            }
            Err(error) => Err(Error::io("reading", path, error)),
        }
    }

    /// The key that signs for a name.
    pub fn of_name(&self, name: &str) -> SigningKey {
        self.derive("name", name)
    }

    /// The key by which other peers know this store.
    pub fn of_peer(&self) -> SigningKey {
        self.derive("peer", "")
    }

    /// Whoever learns one key learns nothing of the others, since that would take turning SHA-256
    /// round.
    fn derive(&self, purpose: &str, name: &str) -> SigningKey {
        let mut hash = Sha256::new();
        hash.update(b"kinora store key 1\0");
        hash.update(self.seed);
        hash.update(purpose);
        hash.update([0]);
        hash.update(name);
        SigningKey::from_bytes(&hash.finalize().into())
    }
}

/// Makes the seed durable before anything is signed with it.
fn make(folder: &Path, path: &Path) -> Result<[u8; 32], Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|e| Error::io("creating", folder, e))?;
    let fail = |e| Error::io("writing", path, e);
    let mut seed = [0; 32];
    let filled = getrandom(&mut seed, GetRandomFlags::empty()).map_err(|e| fail(e.into()))?;
    assert_eq!(filled, seed.len(), "the kernel gives up to 256 bytes whole");
    // Written aside, so that a seed that is there is whole.
    let aside = folder.join("seed.new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&aside)
        .map_err(fail)?;
    file.write_all(&seed)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&aside, path))
        .and_then(|()| File::open(folder)?.sync_all())
        .map_err(fail)?;
    disk::sync_dir(folder.parent().unwrap_or(folder))?;
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_seed_is_made_once_and_for_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let (made, new) = Keys::open(dir.path()).unwrap();
        assert!(new);
        let (read, new) = Keys::open(dir.path()).unwrap();
        assert!(!new && read.seed == made.seed && made.seed != [0; 32]);
        let mode = |name| {
            fs::metadata(dir.path().join(name))
                .unwrap()
                .permissions()
                .mode()
        };
        assert_eq!(
            (mode("keys") & 0o777, mode("keys/seed") & 0o777),
            (0o700, 0o600)
        );
        assert_ne!(made.of_name("a").to_bytes(), made.of_name("b").to_bytes());
        assert_ne!(made.of_name("").to_bytes(), made.of_peer().to_bytes());

        fs::write(dir.path().join("keys/seed"), b"short").unwrap();
        assert!(matches!(Keys::open(dir.path()), Err(Error::Seed { .. })));
    }
}
