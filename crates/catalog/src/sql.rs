//! SQL as the rest of the catalog writes it: one text for every database.
//!
//! Parameters are numbered (`?1`), integers are BIGINT and flags are 0 or 1 in them; what a
//! statement computes as true or false is read as `bool`. A parameter knows its type also when it
//! is null, because some databases ask for types before they ask for values.

pub(crate) mod postgres;
pub(crate) mod sqlite;

/// What the database says when it cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// SQLite's words.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// PostgreSQL's, or its driver's, whose text tells its causes too.
    #[error("{0}")]
    Postgres(sqlx::Error),
    /// A row holds what no program like this one writes.
    #[error("{0}")]
    Strange(String),
}

impl From<sqlx::Error> for SqlError {
    fn from(error: sqlx::Error) -> Self {
        Self::Postgres(error)
    }
}

impl SqlError {
    /// Whether the disk was full.
    pub(crate) fn is_disk_full(&self) -> bool {
        /// PostgreSQL's code for it.
        const DISK_FULL: &str = "53100";
        match self {
            Self::Sqlite(error) => error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull),
            Self::Postgres(sqlx::Error::Database(error)) => {
                error.code().as_deref() == Some(DISK_FULL)
            }
            Self::Postgres(_) | Self::Strange(_) => false,
        }
    }

    /// Whether the database could not be asked, which says nothing about what it was asked.
    pub(crate) fn is_away(&self) -> bool {
        let Self::Postgres(error) = self else {
            return false;
        };
        match error {
            sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
            // It ended the session: it shuts down, starts, or waited too long for us.
            sqlx::Error::Database(error) => error.code().is_some_and(|code| {
                code.starts_with("57P") || code.starts_with("08") || code == "25P03"
            }),
            _ => false,
        }
    }
}

/// What a statement gives.
pub(crate) type Sql<T> = Result<T, SqlError>;

/// A value for a statement.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Param<'a> {
    Integer(Option<i64>),
    Real(Option<f64>),
    Text(Option<&'a str>),
}

/// What can stand for a parameter.
pub(crate) trait Bind {
    /// The null of its type.
    const NULL: Param<'static>;

    fn bind(&self) -> Param<'_>;
}

impl Bind for i64 {
    const NULL: Param<'static> = Param::Integer(None);

    fn bind(&self) -> Param<'_> {
        Param::Integer(Some(*self))
    }
}

impl Bind for i32 {
    const NULL: Param<'static> = Param::Integer(None);

    fn bind(&self) -> Param<'_> {
        Param::Integer(Some(i64::from(*self)))
    }
}

impl Bind for u32 {
    const NULL: Param<'static> = Param::Integer(None);

    fn bind(&self) -> Param<'_> {
        Param::Integer(Some(i64::from(*self)))
    }
}

impl Bind for f64 {
    const NULL: Param<'static> = Param::Real(None);

    fn bind(&self) -> Param<'_> {
        Param::Real(Some(*self))
    }
}

impl Bind for str {
    const NULL: Param<'static> = Param::Text(None);

    fn bind(&self) -> Param<'_> {
        Param::Text(Some(self))
    }
}

impl Bind for String {
    const NULL: Param<'static> = Param::Text(None);

    fn bind(&self) -> Param<'_> {
        Param::Text(Some(self))
    }
}

impl Bind for std::sync::Arc<str> {
    const NULL: Param<'static> = Param::Text(None);

    fn bind(&self) -> Param<'_> {
        Param::Text(Some(self))
    }
}

impl<T: Bind + ?Sized> Bind for &T {
    const NULL: Param<'static> = T::NULL;

    fn bind(&self) -> Param<'_> {
        (**self).bind()
    }
}

impl<T: Bind> Bind for Option<T> {
    const NULL: Param<'static> = T::NULL;

    fn bind(&self) -> Param<'_> {
        self.as_ref().map_or(T::NULL, T::bind)
    }
}

/// Values for `?1`, `?2` and so on.
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        &[$($crate::sql::Bind::bind(&$value)),*]
    };
}
pub(crate) use params;

/// What can be read from a column.
pub(crate) trait Column: Sized {
    fn read(row: &Row<'_>, at: usize) -> Sql<Self>;
}

macro_rules! column {
    ($($kind:ty),*) => {$(
        impl Column for $kind {
            fn read(row: &Row<'_>, at: usize) -> Sql<Self> {
                match row {
                    Row::Sqlite(row) => Ok(row.get(at)?),
                    Row::Postgres(row) => Ok(sqlx::Row::try_get(*row, at)?),
                }
            }
        }
        impl Column for Option<$kind> {
            fn read(row: &Row<'_>, at: usize) -> Sql<Self> {
                match row {
                    Row::Sqlite(row) => Ok(row.get(at)?),
                    Row::Postgres(row) => Ok(sqlx::Row::try_get(*row, at)?),
                }
            }
        }
    )*};
}
column!(i64, f64, bool, String);

macro_rules! small_integer {
    ($($kind:ty),*) => {$(
        impl Column for $kind {
            fn read(row: &Row<'_>, at: usize) -> Sql<Self> {
                let value = row.get::<i64>(at)?;
                <$kind>::try_from(value)
                    .map_err(|_| SqlError::Strange(format!("{value} in column {at}")))
            }
        }
    )*};
}
small_integer!(i32, u32);

/// A row of an answer.
pub(crate) enum Row<'a> {
    Sqlite(&'a rusqlite::Row<'a>),
    Postgres(&'a sqlx::postgres::PgRow),
}

impl Row<'_> {
    /// The value of a column, counted from 0.
    pub(crate) fn get<T: Column>(&self, at: usize) -> Sql<T> {
        T::read(self, at)
    }
}

/// Statements that happen together.
pub(crate) enum Transaction<'a> {
    Sqlite(rusqlite::Transaction<'a>),
    Postgres(postgres::Running<'a>),
}

impl Transaction<'_> {
    /// Runs a statement and gives back how many rows it changed.
    pub(crate) fn execute(&self, sql: &str, params: &[Param<'_>]) -> Sql<usize> {
        match self {
            Self::Sqlite(transaction) => sqlite::execute(transaction, sql, params),
            Self::Postgres(running) => running.execute(sql, params),
        }
    }

    /// Whether it is SQLite's.
    pub(crate) fn is_sqlite(&self) -> bool {
        matches!(self, Self::Sqlite(_))
    }

    /// What a SELECT ends with that takes one row of `table` for itself and passes over those that
    /// others take. SQLite's writers are alone anyway.
    pub(crate) fn claiming(&self, table: &str) -> String {
        match self {
            Self::Sqlite(_) => String::new(),
            Self::Postgres(_) => format!(" FOR UPDATE OF {table} SKIP LOCKED"),
        }
    }

    /// What a SELECT ends with that waits until nobody else changes the row.
    pub(crate) fn locking(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "",
            Self::Postgres(_) => " FOR UPDATE",
        }
    }

    /// How many texts of the schema the database has seen.
    pub(crate) fn version(&self) -> Sql<i64> {
        match self {
            Self::Sqlite(transaction) => sqlite::version(transaction),
            Self::Postgres(running) => running.version(),
        }
    }

    /// Runs a text of the schema, after which the database has this version.
    pub(crate) fn migrate(&self, text: &str, version: i64) -> Sql<()> {
        match self {
            Self::Sqlite(transaction) => sqlite::migrate(transaction, text, version),
            Self::Postgres(running) => running.migrate(text, version),
        }
    }

    /// All rows of the answer, collected.
    pub(crate) fn rows<T, C: FromIterator<T>>(
        &self,
        sql: &str,
        params: &[Param<'_>],
        mut read: impl FnMut(&Row<'_>) -> Sql<T>,
    ) -> Sql<C> {
        match self {
            Self::Sqlite(transaction) => sqlite::rows(transaction, sql, params, &mut read),
            Self::Postgres(running) => running.rows(sql, params, &mut read),
        }
    }

    /// The first row of the answer, if there is one.
    pub(crate) fn row<T>(
        &self,
        sql: &str,
        params: &[Param<'_>],
        read: impl FnMut(&Row<'_>) -> Sql<T>,
    ) -> Sql<Option<T>> {
        let rows: Vec<T> = self.rows(sql, params, read)?;
        Ok(rows.into_iter().next())
    }

    /// The row of an answer that always has one.
    pub(crate) fn one<T>(
        &self,
        sql: &str,
        params: &[Param<'_>],
        read: impl FnMut(&Row<'_>) -> Sql<T>,
    ) -> Sql<T> {
        self.row(sql, params, read)?
            .ok_or_else(|| SqlError::Strange("an answer without a row".to_owned()))
    }

    /// Whether the answer has a row.
    pub(crate) fn exists(&self, sql: &str, params: &[Param<'_>]) -> Sql<bool> {
        Ok(self.row(sql, params, |_| Ok(()))?.is_some())
    }
}

/// An open database.
pub(crate) enum Database {
    Sqlite(sqlite::Sqlite),
    Postgres(postgres::Postgres),
}

impl Database {
    /// Runs `read` on one snapshot.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Transaction<'_>) -> Sql<T>) -> Sql<T> {
        match self {
            Self::Sqlite(database) => database.read(read),
            Self::Postgres(database) => database.read(read),
        }
    }

    /// Runs `write` alone among all who write, and keeps what it did when it succeeds.
    pub(crate) fn write<T>(&self, write: impl FnOnce(&Transaction<'_>) -> Sql<T>) -> Sql<T> {
        match self {
            Self::Sqlite(database) => database.write(write),
            Self::Postgres(database) => database.write(write),
        }
    }

    /// Runs `work` beside all others who claim and renew work, and those who write. What must not
    /// be two's is locked row by row ([`Transaction::claiming`]).
    pub(crate) fn work<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Sql<T>) -> Sql<T> {
        match self {
            Self::Sqlite(database) => database.write(work),
            Self::Postgres(database) => database.work(work),
        }
    }
}
