//! PostgreSQL: three connections, opened again when they break, so that neither readers nor those
//! who claim and renew work wait for a writer.
//!
//! Those who write take one advisory lock, so that among all servers they come one after the other
//! as they do in SQLite. Work is claimed and renewed without it, by locks on single rows. A server
//! that stops in the middle of a transaction is thrown out after [`IDLE`], and its transaction with
//! it. The driver is asynchronous; its runtime lives in one thread of this file's own, and whoever
//! calls waits for the answer.

use std::cell::RefCell;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgRow};
use sqlx::{Arguments, ConnectOptions, Executor};
use tokio::sync::mpsc as tasks;

use super::{Param, Row, Sql, SqlError, Transaction};

/// How long the database may take to accept a connection, and to answer.
const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(60);

/// How long a transaction may stand still before the database ends it, in the database's words.
const IDLE: &str = "10s";

/// Statements that a connection keeps prepared; there are about a hundred.
const PREPARED: usize = 256;

/// What all who write lock: any number that is nobody else's.
const WRITING: i64 = 0x6b69_6e6f_7261;

const READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
const WORK: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// An open database.
pub(crate) struct Postgres {
    runtime: Runtime,
    options: PgConnectOptions,
    writer: Mutex<Link>,
    reader: Mutex<Link>,
    worker: Mutex<Link>,
}

/// A connection, unless it broke.
#[derive(Default)]
struct Link {
    connection: Option<PgConnection>,
}

/// Reads a URL, and says where it leads without its password.
pub(crate) fn parse(url: &str) -> Result<(PgConnectOptions, String), String> {
    let known = ["postgres://", "postgresql://"];
    if !known.iter().any(|scheme| url.starts_with(scheme)) {
        return Err("it does not begin with postgres://".to_owned());
    }
    let options = PgConnectOptions::from_str(url).map_err(|error| match error {
        sqlx::Error::Configuration(why) => why.to_string(),
        _ => "it cannot be read".to_owned(),
    })?;
    let host = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    };
    let name = options.get_database().unwrap_or(options.get_username());
    let place = format!("{name} at {host}");
    let options = options
        .application_name("kinora")
        .statement_cache_capacity(PREPARED)
        .disable_statement_logging();
    Ok((options, place))
}

impl Postgres {
    /// Connects once, so that what is wrong is known at once.
    pub(crate) fn open(options: PgConnectOptions) -> Sql<Self> {
        let opened = Self {
            runtime: Runtime::start()?,
            options,
            writer: Mutex::default(),
            reader: Mutex::default(),
            worker: Mutex::default(),
        };
        let writer = opened.connect()?;
        lock(&opened.writer).connection = Some(writer);
        Ok(opened)
    }

    fn connect(&self) -> Sql<PgConnection> {
        let options = self.options.clone();
        let connecting = async move {
            let mut connection = options.connect().await?;
            let settings = format!(
                "SET idle_in_transaction_session_timeout = '{IDLE}'; SET TIME ZONE 'UTC'; \
                 SET client_min_messages = warning"
            );
            connection.execute(sqlx::raw_sql(&settings)).await?;
            Ok(connection)
        };
        self.runtime.run(CONNECT, connecting)?
    }

    pub(super) fn read<T>(&self, read: impl FnOnce(&Transaction<'_>) -> Sql<T>) -> Sql<T> {
        self.transaction(&self.reader, READ, read)
    }

    pub(super) fn write<T>(&self, write: impl FnOnce(&Transaction<'_>) -> Sql<T>) -> Sql<T> {
        let begin = format!("{WORK}; SELECT pg_advisory_xact_lock({WRITING})");
        self.transaction(&self.writer, &begin, write)
    }

    pub(super) fn work<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Sql<T>) -> Sql<T> {
        self.transaction(&self.worker, WORK, work)
    }

    fn transaction<T>(
        &self,
        link: &Mutex<Link>,
        begin: &str,
        body: impl FnOnce(&Transaction<'_>) -> Sql<T>,
    ) -> Sql<T> {
        let mut link = lock(link);
        // Taken out, and given back at the end in order only: one that a panic left within a
        // transaction is gone.
        let mut connection = link.connection.take();
        if connection.is_some() {
            let running = Running::new(self, connection.take());
            match running.batch(begin) {
                Ok(()) => connection = running.connection.into_inner(),
                // It broke while nobody used it, as when the database was started anew.
                Err(error) if error.is_away() => {}
                Err(error) => return Err(error),
            }
        }
        let running = match connection {
            Some(begun) => Running::new(self, Some(begun)),
            None => {
                let running = Running::new(self, Some(self.connect()?));
                running.batch(begin)?;
                running
            }
        };
        let transaction = Transaction::Postgres(running);
        let outcome = body(&transaction);
        let Transaction::Postgres(running) = transaction else {
            return outcome;
        };
        let ended = running.batch(if outcome.is_ok() {
            "COMMIT"
        } else {
            "ROLLBACK"
        });
        if ended.is_ok() {
            link.connection = running.connection.into_inner();
        }
        let value = outcome?;
        ended.map(|()| value)
    }
}

fn lock(link: &Mutex<Link>) -> std::sync::MutexGuard<'_, Link> {
    link.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection in use.
pub(crate) struct Running<'a> {
    database: &'a Postgres,
    connection: RefCell<Option<PgConnection>>,
}

impl<'a> Running<'a> {
    fn new(database: &'a Postgres, connection: Option<PgConnection>) -> Self {
        Self {
            database,
            connection: RefCell::new(connection),
        }
    }

    /// Gives the connection to `work`, and keeps it if it comes back in order.
    fn ask<T, F>(&self, work: impl FnOnce(PgConnection) -> F) -> Sql<T>
    where
        T: Send + 'static,
        F: Future<Output = (PgConnection, sqlx::Result<T>)> + Send + 'static,
    {
        let taken = self.connection.borrow_mut().take();
        let connection = taken.ok_or_else(|| away("its connection broke"))?;
        let (connection, answer) = self.database.runtime.run(ANSWER, work(connection))?;
        let answer = answer.map_err(SqlError::from);
        if !answer.as_ref().is_err_and(SqlError::is_away) {
            *self.connection.borrow_mut() = Some(connection);
        }
        answer
    }

    /// Statements without parameters.
    fn batch(&self, sql: &str) -> Sql<()> {
        let sql = sql.to_owned();
        self.ask(|mut connection| async move {
            let done = connection.execute(sqlx::raw_sql(&sql)).await;
            (connection, done.map(drop))
        })
    }

    pub(super) fn execute(&self, sql: &str, params: &[Param<'_>]) -> Sql<usize> {
        let (sql, arguments) = statement(sql, params)?;
        self.ask(|mut connection| async move {
            let done = sqlx::query_with(&sql, arguments).execute(&mut connection);
            let changed = done.await.map(|done| done.rows_affected() as usize);
            (connection, changed)
        })
    }

    pub(super) fn rows<T, C: FromIterator<T>>(
        &self,
        sql: &str,
        params: &[Param<'_>],
        read: &mut dyn FnMut(&Row<'_>) -> Sql<T>,
    ) -> Sql<C> {
        let (sql, arguments) = statement(sql, params)?;
        let rows: Vec<PgRow> = self.ask(|mut connection| async move {
            let found = sqlx::query_with(&sql, arguments).fetch_all(&mut connection);
            let found = found.await;
            (connection, found)
        })?;
        rows.iter().map(|row| read(&Row::Postgres(row))).collect()
    }

    pub(super) fn version(&self) -> Sql<i64> {
        self.batch(
            "CREATE TABLE IF NOT EXISTS schema_version (
                 one BIGINT PRIMARY KEY,
                 version BIGINT NOT NULL,
                 catalog TEXT NOT NULL DEFAULT gen_random_uuid()
             );
             INSERT INTO schema_version (one, version) VALUES (1, 0) ON CONFLICT DO NOTHING",
        )?;
        let sql = "SELECT version FROM schema_version";
        let found: Vec<i64> = self.rows(sql, &[], &mut |row| row.get(0))?;
        Ok(found.first().copied().unwrap_or(0))
    }

    /// Texts compare byte by byte, as SQLite's do, whatever language the database speaks.
    pub(super) fn migrate(&self, text: &str, version: i64) -> Sql<()> {
        self.batch(&text.replace(" TEXT", " TEXT COLLATE \"C\""))?;
        self.batch(&format!("UPDATE schema_version SET version = {version}"))
    }
}

/// Here parameters are `$1`, and their types are told beside them.
fn statement(sql: &str, params: &[Param<'_>]) -> Sql<(String, PgArguments)> {
    let mut arguments = PgArguments::default();
    for param in params {
        let added = match *param {
            Param::Integer(value) => arguments.add(value),
            Param::Real(value) => arguments.add(value),
            Param::Text(value) => arguments.add(value),
        };
        added.map_err(sqlx::Error::Encode)?;
    }
    Ok((sql.replace('?', "$"), arguments))
}

fn away(why: &str) -> SqlError {
    SqlError::Postgres(sqlx::Error::Io(std::io::Error::other(why.to_owned())))
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The one thread in which asynchronous code runs. It ends when this is dropped.
struct Runtime {
    tasks: tasks::UnboundedSender<Task>,
}

impl Runtime {
    fn start() -> Sql<Self> {
        let (sender, mut receiver) = tasks::unbounded_channel::<Task>();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(sqlx::Error::Io)?;
        std::thread::Builder::new()
            .name("kinora-sql".to_owned())
            .spawn(move || {
                runtime.block_on(async move {
                    while let Some(task) = receiver.recv().await {
                        tokio::spawn(task);
                    }
                });
            })
            .map_err(sqlx::Error::Io)?;
        Ok(Self { tasks: sender })
    }

    /// Waits for `work`, for so long at most.
    fn run<T: Send + 'static>(
        &self,
        longest: Duration,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Sql<T> {
        let (answer, wait) = mpsc::sync_channel(1);
        let task = Box::pin(async move {
            // Nobody waits any more only when the caller panicked.
            let _ = answer.send(tokio::time::timeout(longest, work).await);
        });
        let ended = || away("its thread has ended");
        self.tasks.send(task).map_err(|_| ended())?;
        let answer = wait.recv().map_err(|_| ended())?;
        answer.map_err(|_| away("it does not answer"))
    }
}
