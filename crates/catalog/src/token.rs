//! Who may ask the server for what: tokens, the browsers that signed in with one, and devices that
//! wait for one (RFC 8628).
//!
//! Only hashes are kept, made by whoever knows the secrets. A token that is removed takes its
//! sessions with it.

use crate::sql::{Row, Sql, SqlError, Transaction, params};

use crate::{Catalog, Result};

/// How long a use of a token stays unwritten: nobody asks when to the second, and each is a commit.
const USE_MS: i64 = 60_000;

/// What a token's holder may do. Each may what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A screen: reads what it is to play.
    Player,
    /// A person who looks after assets, streams and playlists.
    Editor,
    /// A person who also says who may do what.
    Admin,
}

impl Role {
    /// All of them, the least first.
    pub const ALL: [Self; 3] = [Self::Player, Self::Editor, Self::Admin];

    /// Its name, everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Player => "player",
            Self::Editor => "editor",
            Self::Admin => "admin",
        }
    }

    /// The role of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its identifier, which is no secret.
    pub id: String,
    /// Whose it is, in a person's words.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// The kind of board that holds it, when that is a screen.
    pub board: Option<String>,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: i64,
    /// When it was last used, within a minute.
    pub used_ms: Option<i64>,
}

/// A device that asks for a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// What a person types, without the dash.
    pub code: String,
    /// What the device calls itself.
    pub name: String,
    /// What it asks for.
    pub role: Role,
    /// Its kind of board, when it is a screen.
    pub board: Option<String>,
    /// The address it asked from.
    pub address: String,
    /// When it asked, in milliseconds since 1970.
    pub created_ms: i64,
    /// Until when it may be answered.
    pub expires_ms: i64,
}

/// What a device hears when it asks whether it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Polled {
    /// No device waits under this secret, or not any more.
    Unknown,
    /// Its time is over.
    Expired,
    /// It asked again too soon, and is to wait longer from now on.
    TooSoon,
    /// Nobody answered yet.
    Pending,
    /// A person said no.
    Denied,
    /// A person said yes: this is its token, and it waits no longer.
    Granted(Token),
}

const TOKEN: &str = "t.id, t.name, t.role, t.board, t.created, t.used";

fn role(row: &Row<'_>, column: usize) -> Sql<Role> {
    let name: String = row.get(column)?;
    Role::named(&name).ok_or_else(|| SqlError::Strange(format!("no role {name:?}")))
}

fn token(row: &Row<'_>) -> Sql<Token> {
    Ok(Token {
        id: row.get(0)?,
        name: row.get(1)?,
        role: role(row, 2)?,
        board: row.get(3)?,
        created_ms: row.get(4)?,
        used_ms: row.get(5)?,
    })
}

fn device(row: &Row<'_>) -> Sql<Device> {
    Ok(Device {
        code: row.get(0)?,
        name: row.get(1)?,
        role: role(row, 2)?,
        board: row.get(3)?,
        address: row.get(4)?,
        created_ms: row.get(5)?,
        expires_ms: row.get(6)?,
    })
}

fn insert(transaction: &Transaction<'_>, token: &Token, hash: &str) -> Sql<()> {
    transaction.execute(
        "INSERT INTO tokens (id, hash, name, role, board, created) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            token.id,
            hash,
            token.name,
            token.role.as_str(),
            token.board,
            token.created_ms
        ],
    )?;
    Ok(())
}

impl Catalog {
    /// Keeps a new token under its secret's hash.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn add_token(&self, token: &Token, hash: &str) -> Result<()> {
        self.write("add a token", |transaction| {
            insert(transaction, token, hash)
        })
    }

    /// Keeps a first admin's token. False, and nothing is kept, when an admin has one already.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn add_first_admin(&self, token: &Token, hash: &str) -> Result<bool> {
        self.write("add the first token", |transaction| {
            let there: bool = transaction.one(
                "SELECT EXISTS (SELECT 1 FROM tokens WHERE role = 'admin')",
                &[],
                |row| row.get(0),
            )?;
            if !there {
                insert(transaction, token, hash)?;
            }
            Ok(!there)
        })
    }

    /// All tokens, oldest first.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn tokens(&self) -> Result<Vec<Token>> {
        self.read("list the tokens", |transaction| {
            transaction.rows(
                &format!("SELECT {TOKEN} FROM tokens t ORDER BY t.created, t.id"),
                &[],
                token,
            )
        })
    }

    /// Revokes a token: it and whoever signed in with it are strangers from now on. False when there
    /// is none of this id.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn remove_token(&self, id: &str) -> Result<bool> {
        self.write("remove a token", |transaction| {
            Ok(transaction.execute("DELETE FROM tokens WHERE id = ?1", params![id])? > 0)
        })
    }

    /// The token whose secret has this hash.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn token(&self, hash: &str) -> Result<Option<Token>> {
        self.read("read a token", |transaction| {
            transaction.row(
                &format!("SELECT {TOKEN} FROM tokens t WHERE t.hash = ?1"),
                params![hash],
                token,
            )
        })
    }

    /// The token that a session was begun with, while the session lasts.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn session(&self, hash: &str, now_ms: i64) -> Result<Option<Token>> {
        self.read("read a session", |transaction| {
            transaction.row(
                &format!(
                    "SELECT {TOKEN} FROM sessions s JOIN tokens t ON t.id = s.token
                     WHERE s.hash = ?1 AND s.expires > ?2"
                ),
                params![hash, now_ms],
                token,
            )
        })
    }

    /// Notes that a token was used, unless that was noted a moment ago.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn use_token(&self, token: &Token, now_ms: i64) -> Result<()> {
        if token.used_ms.is_some_and(|used| now_ms - used < USE_MS) {
            return Ok(());
        }
        self.write("note a token's use", |transaction| {
            transaction.execute(
                "UPDATE tokens SET used = ?2 WHERE id = ?1",
                params![token.id, now_ms],
            )?;
            Ok(())
        })
    }

    /// Begins a session, and forgets those that are over.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn add_session(&self, hash: &str, token: &str, now_ms: i64, expires_ms: i64) -> Result<()> {
        self.write("begin a session", |transaction| {
            transaction.execute("DELETE FROM sessions WHERE expires <= ?1", params![now_ms])?;
            transaction.execute(
                "INSERT INTO sessions (hash, token, created, expires) VALUES (?1, ?2, ?3, ?4)",
                params![hash, token, now_ms, expires_ms],
            )?;
            Ok(())
        })
    }

    /// Ends a session.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn remove_session(&self, hash: &str) -> Result<()> {
        self.write("end a session", |transaction| {
            transaction.execute("DELETE FROM sessions WHERE hash = ?1", params![hash])?;
            Ok(())
        })
    }

    /// Keeps a device that asks for a token under its secret's hash, and forgets those whose time is
    /// long over. False when `most` wait already, or the code is another's.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn add_device(
        &self,
        device: &Device,
        hash: &str,
        pause_ms: i64,
        most: usize,
    ) -> Result<bool> {
        self.write("keep a device", |transaction| {
            // For as long again as it may wait, a device hears that its time is over.
            transaction.execute("DELETE FROM devices WHERE 2 * expires - created < ?1", params![device.created_ms])?;
            let waiting: i64 = transaction.one("SELECT COUNT(*) FROM devices WHERE expires > ?1", params![device.created_ms], |row| row.get(0))?;
            if waiting >= most as i64 {
                return Ok(false);
            }
            let added = transaction.execute("INSERT INTO devices (hash, code, name, role, board, address, created, expires, pause)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (code) DO NOTHING", params![
                    hash,
                    device.code,
                    device.name,
                    device.role.as_str(),
                    device.board,
                    device.address,
                    device.created_ms,
                    device.expires_ms,
                    pause_ms
                ])?;
            Ok(added > 0)
        })
    }

    /// The device that shows this code and waits for an answer.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn device(&self, code: &str, now_ms: i64) -> Result<Option<Device>> {
        self.read("read a device", |transaction| {
            transaction.row(
                "SELECT code, name, role, board, address, created, expires FROM devices
                     WHERE code = ?1 AND expires > ?2 AND granted IS NULL",
                params![code, now_ms],
                device,
            )
        })
    }

    /// Answers the device that shows this code. False when none waits.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn answer_device(&self, code: &str, yes: bool, now_ms: i64) -> Result<bool> {
        self.write("answer a device", |transaction| {
            let answered = transaction.execute(
                "UPDATE devices SET granted = ?2
                 WHERE code = ?1 AND expires > ?3 AND granted IS NULL",
                params![code, i64::from(yes), now_ms],
            )?;
            Ok(answered > 0)
        })
    }

    /// A device asks whether it was answered. Asking sooner than it was told makes its pause longer
    /// by `longer_ms` for good (RFC 8628, section 3.5). A granted one gets its token, kept under
    /// `token_hash`, once.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn poll_device(
        &self,
        hash: &str,
        token_id: &str,
        token_hash: &str,
        longer_ms: i64,
        now_ms: i64,
    ) -> Result<Polled> {
        self.write("ask for a device", |transaction| {
            let found = transaction.row(
                "SELECT code, name, role, board, address, created, expires,
                            granted, polled, pause FROM devices WHERE hash = ?1",
                params![hash],
                |row| {
                    let granted: Option<i64> = row.get(7)?;
                    let polled: Option<i64> = row.get(8)?;
                    let pause: i64 = row.get(9)?;
                    Ok((device(row)?, granted, polled, pause))
                },
            )?;
            let Some((device, granted, polled, pause)) = found else {
                return Ok(Polled::Unknown);
            };
            if device.expires_ms <= now_ms {
                return Ok(Polled::Expired);
            }
            let soon = polled.is_some_and(|polled| now_ms - polled < pause);
            transaction.execute(
                "UPDATE devices SET polled = ?2, pause = ?3 WHERE hash = ?1",
                params![hash, now_ms, if soon { pause + longer_ms } else { pause }],
            )?;
            match granted {
                _ if soon => Ok(Polled::TooSoon),
                None => Ok(Polled::Pending),
                Some(0) => {
                    transaction.execute("DELETE FROM devices WHERE hash = ?1", params![hash])?;
                    Ok(Polled::Denied)
                }
                Some(_) => {
                    transaction.execute("DELETE FROM devices WHERE hash = ?1", params![hash])?;
                    let token = Token {
                        id: token_id.to_owned(),
                        name: device.name,
                        role: device.role,
                        board: device.board,
                        created_ms: now_ms,
                        used_ms: None,
                    };
                    insert(transaction, &token, token_hash)?;
                    Ok(Polled::Granted(token))
                }
            }
        })
    }
}
