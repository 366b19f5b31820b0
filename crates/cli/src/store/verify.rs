//! `kinora store verify`: whether every stored byte is still what its name says.

use crate::data_folder::DataFolder;
use crate::{Outcome, shown, stdout, talk, units};
use ::store::{Fault, Finding};
use anyhow::{Result, bail};

/// Check every stored byte against its CID
#[derive(clap::Args)]
#[command(after_help = "\
Nothing is changed. What is missing or damaged is mended by adding the same file again. Ends with
1 when something is.")]
pub struct Args {
    /// Only look whether the files are there and have their sizes
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    data: DataFolder,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<Outcome> {
    let store = super::existing(&args.data)?;
    let bar = talk::bar(
        0,
        "{bar:30} {decimal_bytes}/{decimal_total_bytes}, {eta} left",
    );
    let verified = store.verify(!args.quick, |progress| {
        bar.set_length(progress.total_bytes);
        bar.set_position(progress.bytes);
    })?;
    bar.finish_and_clear();
    if args.json {
        let findings: Vec<_> = verified
            .findings
            .iter()
            .map(|finding| {
                serde_json::json!({
                    "cid": finding.cid.map(|cid| cid.to_string()),
                    "path": finding.path.to_string_lossy(),
                    "fault": fault(&finding.fault),
                })
            })
            .collect();
        stdout::json(&serde_json::json!({
            "objects": verified.objects,
            "bytes": verified.bytes,
            "whole": verified.is_whole(),
            "findings": findings,
        }))?;
    } else {
        let lines: String = verified.findings.iter().map(line).collect();
        let count = format!(
            "{} files, {}",
            verified.objects,
            units::bytes(verified.bytes)
        );
        stdout::text(&format!("{lines}{count}\n"))?;
    }
    if !verified.is_whole() {
        bail!(
            "{}: not everything is as it should be",
            shown::path(store.root())
        );
    }
    Ok(Outcome::Done)
}

fn line(finding: &Finding) -> String {
    let name = finding
        .cid
        .map_or_else(|| shown::path(&finding.path), |cid| cid.to_string());
    format!("{name}: {}\n", fault(&finding.fault))
}

fn fault(fault: &Fault) -> String {
    match fault {
        Fault::Missing => "its file is missing".into(),
        Fault::Size { found, expected } => {
            format!("its file has {found} bytes instead of {expected}")
        }
        Fault::Unreadable { reason } => format!("its file cannot be read: {}", shown::text(reason)),
        Fault::Damaged { offset } => format!("damaged from byte {offset} on"),
        Fault::Blocks => "whole, but its recorded blocks are wrong".into(),
        Fault::Orphan => "belongs to nothing in the store, which does no harm".into(),
    }
}
