//! SQLite: two connections to a file, so that a reader never waits for a writer's fsync (WAL allows
//! both).

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql, TransactionBehavior, params_from_iter};

use super::{Param, Row, Sql, Transaction};

/// An open file.
pub(crate) struct Sqlite {
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
}

impl Sqlite {
    /// Opens `path`, made when it is not there.
    pub(crate) fn open(path: &Path) -> Sql<Self> {
        Ok(Self {
            writer: Mutex::new(connection(path)?),
            reader: Mutex::new(connection(path)?),
        })
    }

    pub(super) fn read<T>(&self, read: impl FnOnce(&Transaction<'_>) -> Sql<T>) -> Sql<T> {
        let mut connection = lock(&self.reader);
        read(&Transaction::Sqlite(connection.transaction()?))
    }

    pub(super) fn write<T>(&self, write: impl FnOnce(&Transaction<'_>) -> Sql<T>) -> Sql<T> {
        let mut connection = lock(&self.writer);
        let begun = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let transaction = Transaction::Sqlite(begun);
        let value = write(&transaction)?;
        if let Transaction::Sqlite(done) = transaction {
            done.commit()?;
        }
        Ok(value)
    }
}

/// FULL makes a commit survive a power cut, not only a crash.
fn connection(path: &Path) -> Sql<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Rows are few and small; two megabytes of page cache would be most of an idle server.
    connection.pragma_update(None, "cache_size", -256)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// A poisoned lock only says that another thread panicked between statements; its transaction
/// was rolled back when it was dropped, so the connection is good.
fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ToSql for Param<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value = match *self {
            Self::Integer(value) => value.map(ValueRef::Integer),
            Self::Real(value) => value.map(ValueRef::Real),
            Self::Text(value) => value.map(|text| ValueRef::Text(text.as_bytes())),
        };
        Ok(ToSqlOutput::Borrowed(value.unwrap_or(ValueRef::Null)))
    }
}

pub(super) fn execute(
    transaction: &rusqlite::Transaction<'_>,
    sql: &str,
    params: &[Param<'_>],
) -> Sql<usize> {
    let mut statement = transaction.prepare_cached(sql)?;
    Ok(statement.execute(params_from_iter(params))?)
}

pub(super) fn rows<T, C: FromIterator<T>>(
    transaction: &rusqlite::Transaction<'_>,
    sql: &str,
    params: &[Param<'_>],
    read: &mut dyn FnMut(&Row<'_>) -> Sql<T>,
) -> Sql<C> {
    let mut statement = transaction.prepare_cached(sql)?;
    let mut rows = statement.query(params_from_iter(params))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(&Row::Sqlite(row))?);
    }
    Ok(found.into_iter().collect())
}

pub(super) fn version(transaction: &rusqlite::Transaction<'_>) -> Sql<i64> {
    Ok(transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?)
}

pub(super) fn migrate(
    transaction: &rusqlite::Transaction<'_>,
    text: &str,
    version: i64,
) -> Sql<()> {
    transaction.execute_batch(text)?;
    Ok(transaction.pragma_update(None, "user_version", version)?)
}
