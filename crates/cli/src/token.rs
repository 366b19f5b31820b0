//! `kinora token …`: who may do what on the server whose data folder this is. Whoever may write there
//! needs no leave of the server; from elsewhere the page does the same.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use catalog::{Catalog, Role, Token};
use clap::{Subcommand, ValueEnum};
use serde_json::json;
use server::auth::secret;

use crate::data_folder::DataFolder;
use crate::database::Database;
use crate::table::Table;
use crate::{Outcome, shown, stdout};

/// Say who may do what, on the server's own machine
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Create(Create),
    Ls(Ls),
    Rm(Rm),
}

/// Make a token and print its secret, which is not kept
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  kinora token create --role admin --name anna
  kinora token create --role player --name hall --board pi4-64")]
struct Create {
    /// What it allows
    #[arg(long, value_enum)]
    role: RoleName,
    /// Whose it is, as it is listed
    #[arg(long, default_value = "command line")]
    name: String,
    /// The kind of board that will hold it; a player's is enrolled
    #[arg(long, value_name = "BOARD")]
    board: Option<String>,
    #[command(flatten)]
    data: DataFolder,
    #[command(flatten)]
    database: Database,
    /// Print the token and its secret as JSON
    #[arg(long)]
    json: bool,
}

/// List the tokens, and when each was last used
#[derive(clap::Args)]
struct Ls {
    #[command(flatten)]
    data: DataFolder,
    #[command(flatten)]
    database: Database,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

/// Revoke a token, and sign out whoever signed in with it
#[derive(clap::Args)]
struct Rm {
    /// The token, as `kinora token ls` names it
    id: String,
    #[command(flatten)]
    data: DataFolder,
    #[command(flatten)]
    database: Database,
    /// Print one JSON object: the id of what is gone
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum RoleName {
    /// A screen: reads what it is to play
    Player,
    /// Looks after assets, streams and playlists
    Editor,
    /// Says who may do what
    Admin,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Player => Self::Player,
            RoleName::Editor => Self::Editor,
            RoleName::Admin => Self::Admin,
        }
    }
}

pub fn run(args: Args) -> Result<Outcome> {
    match args.command {
        Command::Create(args) => create(&args),
        Command::Ls(args) => ls(&args),
        Command::Rm(args) => rm(&args),
    }
}

fn create(args: &Create) -> Result<Outcome> {
    let folder = args.data.path()?;
    // A first admin may be made before the server's first start.
    std::fs::create_dir_all(&folder).with_context(|| shown::path(&folder))?;
    let catalog = match &args.database.url {
        Some(url) => Catalog::connect(url)?,
        None if folder.join("database").exists() => {
            bail!(
                "{}: its catalog is in a database: name that with --database",
                shown::path(&folder)
            )
        }
        None => Catalog::open(&folder.join("catalog.db"))?,
    };
    let board = match &args.board {
        Some(name) => Some(board(name)?),
        None => None,
    };
    let secret = secret::new_token().context("random numbers")?;
    let token = Token {
        id: secret::new_id().context("random numbers")?,
        name: args.name.clone(),
        role: args.role.into(),
        board,
        created_ms: now_ms(),
        used_ms: None,
    };
    catalog.add_token(&token, &secret::hash(&secret))?;
    enrol(&catalog, &token)?;
    if args.json {
        let mut object = object(&token);
        object["secret"] = secret.into();
        stdout::json(&object)?;
    } else {
        stdout::text(&format!("{secret}\n"))?;
    }
    Ok(Outcome::Done)
}

/// A player's kind of board gets variants from now on, by the policy it had or the server's own. A
/// running server sees it by itself.
fn enrol(catalog: &Catalog, token: &Token) -> Result<()> {
    let Some(board) = token
        .board
        .as_deref()
        .filter(|_| token.role == Role::Player)
    else {
        return Ok(());
    };
    let enrolled = catalog.boards_enrolled()?;
    if enrolled.iter().all(|known| known.id != board) {
        catalog.enrol_board(board, None, now_ms())?;
    }
    Ok(())
}

fn ls(args: &Ls) -> Result<Outcome> {
    let tokens = existing(&args.data, &args.database)?.tokens()?;
    if args.json {
        let all: Vec<_> = tokens.iter().map(object).collect();
        stdout::json(&all)?;
        return Ok(Outcome::Done);
    }
    let mut table = Table::new(["ID", "ROLE", "NAME", "BOARD", "MADE", "USED"]);
    for token in tokens {
        let time = |ms: Option<i64>| ms.map_or_else(|| "never".into(), server::rfc3339);
        table.row([
            token.id,
            token.role.as_str().to_owned(),
            shown::text(&token.name),
            token.board.unwrap_or_else(|| "-".into()),
            time(Some(token.created_ms)),
            time(token.used_ms),
        ]);
    }
    stdout::text(&table.to_string())?;
    Ok(Outcome::Done)
}

fn rm(args: &Rm) -> Result<Outcome> {
    if !existing(&args.data, &args.database)?.remove_token(&args.id)? {
        bail!("no token {:?} here: `kinora token ls` lists them", args.id);
    }
    if args.json {
        stdout::json(&json!({ "id": args.id }))?;
    }
    Ok(Outcome::Done)
}

/// A mistyped folder is an error, not a new catalog.
fn existing(data: &DataFolder, database: &Database) -> Result<Catalog> {
    if let Some(url) = &database.url {
        return Ok(Catalog::connect(url)?);
    }
    let path = data.path()?.join("catalog.db");
    if !path.is_file() {
        bail!("no data of a server here: {}", shown::path(&path));
    }
    Ok(Catalog::open(&path)?)
}

fn board(name: &str) -> Result<String> {
    let table = ::boards::Table::builtin();
    let board = table.get(name);
    let board = board.with_context(|| format!("no board {name:?}: `kinora boards` lists them"))?;
    Ok(board.id.clone())
}

fn object(token: &Token) -> serde_json::Value {
    json!({
        "id": token.id,
        "name": token.name,
        "role": token.role.as_str(),
        "board": token.board,
        "created": server::rfc3339(token.created_ms),
        "used": token.used_ms.map(server::rfc3339),
    })
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}
