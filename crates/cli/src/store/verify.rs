//! `kinora store verify`: whether every stored byte is still what its name says.

use super::Place;
use crate::{Outcome, shown, stdout, talk, units};
use ::store::{Fault, Finding, VerifyProgress};
use anyhow::{Result, bail};

/// Check every stored byte against its CID
#[derive(clap::Args)]
#[command(after_help = "\
No file is changed. What is missing or damaged is mended by adding the same file again; a backend's
copy is made again by the next sync if the file is here. Ends with 1 when something is.")]
pub struct Args {
    /// Check the backend's copies instead; unless it is --quick, all of them are fetched
    #[arg(long)]
    backend: bool,
    /// Only look whether the files are there and have their sizes
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    place: Place,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<Outcome> {
    let store = args.place.existing()?;
    let bar = talk::bar(
        0,
        "{bar:30} {decimal_bytes}/{decimal_total_bytes}, {eta} left",
    );
    let on_progress = |progress: VerifyProgress| {
        bar.set_length(progress.total_bytes);
        bar.set_position(progress.bytes);
    };
    let verified = if args.backend {
        store.verify_backend(!args.quick, on_progress)?
    } else {
        store.verify(!args.quick, on_progress)?
    };
    bar.finish_and_clear();
    if args.json {
        let findings: Vec<_> = verified
            .findings
            .iter()
            .map(|finding| {
                serde_json::json!({
                    "cid": finding.cid.map(|cid| cid.to_string()),
                    "place": place(&finding.place),
                    "fault": fault(&finding.fault),
                })
            })
            .collect();
        stdout::json(&serde_json::json!({
            "objects": verified.objects,
            "bytes": verified.bytes,
            "elsewhere": verified.elsewhere,
            "whole": verified.is_whole(),
            "findings": findings,
        }))?;
    } else {
        let lines: String = verified.findings.iter().map(line).collect();
        let mut count = format!(
            "{} files, {}",
            verified.objects,
            units::bytes(verified.bytes)
        );
        if verified.elsewhere > 0 {
            count += &format!("; {} of them are elsewhere", verified.elsewhere);
        }
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
        .map_or_else(|| place(&finding.place), |cid| cid.to_string());
    format!("{name}: {}\n", fault(&finding.fault))
}

fn place(place: &::store::Place) -> String {
    match place {
        ::store::Place::File(path) => shown::path(path),
        ::store::Place::Backend(url) => shown::text(url),
    }
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
