//! The tokens of servers that ask for one: `KINORA_TOKEN`, else what `kinora login` kept, in a file
//! that only its user reads (`kinora/credentials.json` below the XDG configuration folder).

use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The variable that names a token for whatever server is asked.
const VARIABLE: &str = "KINORA_TOKEN";

/// Tokens by the server's address.
type Kept = BTreeMap<String, String>;

/// The token for a server, when there is one.
pub fn token(server: &str) -> Option<String> {
    let given = std::env::var(VARIABLE)
        .ok()
        .filter(|token| !token.is_empty());
    given.or_else(|| read(&path().ok()?).ok()?.remove(server))
}

/// Keeps a token for a server and says where; `None` forgets the one there is.
pub fn keep(server: &str, token: Option<&str>) -> Result<PathBuf> {
    let path = path()?;
    let named = || path.display().to_string();
    let mut kept = read(&path).with_context(named)?;
    match token {
        Some(token) => kept.insert(server.to_owned(), token.to_owned()),
        None => kept.remove(server),
    };
    write(&path, &kept).with_context(named)?;
    Ok(path)
}

fn read(path: &Path) -> Result<Kept> {
    match std::fs::read(path) {
        Ok(text) => Ok(serde_json::from_slice(&text)?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Kept::new()),
        Err(error) => Err(error.into()),
    }
}

/// Written aside and renamed, so that nobody ever reads half of it or with other permissions.
fn write(path: &Path, kept: &Kept) -> Result<()> {
    let folder = path.parent().context("a file stands in a folder")?;
    std::fs::create_dir_all(folder)?;
    let aside = path.with_extension(format!("json.{}", std::process::id()));
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&aside)?;
    file.write_all(&serde_json::to_vec_pretty(kept)?)?;
    file.sync_all()?;
    std::fs::rename(&aside, path)?;
    Ok(())
}

fn path() -> Result<PathBuf> {
    let absolute = |name: &str| {
        let path = std::env::var_os(name).map(PathBuf::from)?;
        path.is_absolute().then_some(path)
    };
    let base = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")));
    let base = base.context("no home folder to keep the token in: give it in KINORA_TOKEN")?;
    Ok(base.join("kinora/credentials.json"))
}
