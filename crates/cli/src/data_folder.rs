//! Where Kinora keeps its data: `--data`, else `KINORA_DATA`, else `kinora` below the XDG data
//! folder (XDG Base Directory Specification 0.8).

use anyhow::{Context, Result};
use std::env;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct DataFolder {
    /// The data folder [default: ~/.local/share/kinora]
    #[arg(long, value_name = "DIR", env = "KINORA_DATA", hide_env_values = true)]
    data: Option<PathBuf>,
}

impl DataFolder {
    pub fn path(&self) -> Result<PathBuf> {
        if let Some(given) = &self.data {
            return Ok(given.clone());
        }
        // A relative XDG_DATA_HOME is to be ignored, says the specification.
        let xdg = env::var_os("XDG_DATA_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute());
        let base = match xdg {
            Some(base) => base,
            None => env::var_os("HOME")
                .map(PathBuf::from)
                .filter(|home| home.is_absolute())
                .context("no home folder: say where the data lies with --data DIR or KINORA_DATA")?
                .join(".local/share"),
        };
        Ok(base.join("kinora"))
    }
}
