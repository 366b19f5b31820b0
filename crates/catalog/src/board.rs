//! Board kinds that variants are kept ready for.
//!
//! What a board decodes and what is rendered for it is the board table's; here stands only that
//! somebody has such boards, and what is to be done about files that they cannot play.

use crate::sql::{Row, Sql, params};

use crate::{Catalog, Result};

/// A board kind that somebody has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolledBoard {
    /// Its id in the board table.
    pub id: String,
    /// What is done about files that it cannot play; `None`: what the server does by default.
    pub policy: Option<BoardPolicy>,
    /// When it was enrolled, in milliseconds since 1970.
    pub since_ms: i64,
}

/// What is done about files that a board cannot play.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoardPolicy {
    /// They are rejected, with the command that makes a variant elsewhere.
    Gate,
    /// A variant is rendered.
    Render,
}

impl BoardPolicy {
    /// Its word in the API and in the catalog.
    pub fn word(self) -> &'static str {
        match self {
            Self::Gate => "gate",
            Self::Render => "render",
        }
    }

    /// The policy of that word.
    pub fn of(word: &str) -> Option<Self> {
        [Self::Gate, Self::Render]
            .into_iter()
            .find(|policy| policy.word() == word)
    }
}

fn from_row(row: &Row<'_>) -> Sql<EnrolledBoard> {
    Ok(EnrolledBoard {
        id: row.get(0)?,
        policy: row
            .get::<Option<String>>(1)?
            .as_deref()
            .and_then(BoardPolicy::of),
        since_ms: row.get(2)?,
    })
}

impl Catalog {
    /// Enrols a board kind, or changes its policy; when it came first stays. Whether anything
    /// changed.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn enrol_board(&self, id: &str, policy: Option<BoardPolicy>, now_ms: i64) -> Result<bool> {
        self.write("enrol a board", |transaction| {
            let word = policy.map(BoardPolicy::word);
            let old: Option<Option<String>> = transaction.row(
                "SELECT policy FROM boards WHERE id = ?1",
                params![id],
                |row| row.get(0),
            )?;
            if old.is_some_and(|old| old.as_deref() == word) {
                return Ok(false);
            }
            transaction.execute(
                "INSERT INTO boards (id, policy, since) VALUES (?1, ?2, ?3)
                 ON CONFLICT (id) DO UPDATE SET policy = excluded.policy",
                params![id, word, now_ms],
            )?;
            Ok(true)
        })
    }

    /// Ends a board kind's enrolment. False when it had none.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn remove_board(&self, id: &str) -> Result<bool> {
        self.write("remove a board", |transaction| {
            let changed = transaction.execute("DELETE FROM boards WHERE id = ?1", params![id])?;
            Ok(changed > 0)
        })
    }

    /// The enrolled board kinds, oldest first.
    ///
    /// # Errors
    /// [`crate::Error::Sql`].
    pub fn boards_enrolled(&self) -> Result<Vec<EnrolledBoard>> {
        self.read("list the boards", |transaction| {
            transaction.rows(
                "SELECT id, policy, since FROM boards ORDER BY since, id",
                &[],
                from_row,
            )
        })
    }
}
