//! The file, open.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use crate::bounds::Bounds;
use crate::error::{Attempt, Failure, HistoryError};
use crate::schema;

/// How long a lock of another program is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes that the log keeps once what was in it is in the file.
const LOG_BYTES: i64 = 16 << 20;

/// Statements that stay prepared: more than there are.
const STATEMENTS: usize = 128;

/// The history of a server: one SQLite file, or one in memory. Clones share it; several processes may
/// have the same file open. Of a file, some read while others write.
#[derive(Debug, Clone)]
pub struct History(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// What reads; none where that which writes does, in memory. It is closed first: the other one takes
    /// the log away when it is the last.
    reader: Option<Mutex<Connection>>,
    /// What writes.
    writer: Mutex<Connection>,
    path: PathBuf,
    bounds: Bounds,
}

impl History {
    /// Opens a file, which is made if it is not there, and its folders with it; nobody but their owner
    /// can read them. An older schema becomes that of today.
    ///
    /// # Errors
    ///
    /// When the file cannot be made, read or written, is something else, is damaged, is locked for more
    /// than five seconds, or was made by a newer version.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, HistoryError> {
        Self::open_with(path.as_ref(), Bounds::default(), PATIENCE)
    }

    /// A history that ends with the program.
    ///
    /// # Errors
    ///
    /// When there is no memory for it.
    pub fn in_memory() -> Result<Self, HistoryError> {
        Self::in_memory_with(Bounds::default())
    }

    pub(crate) fn in_memory_with(bounds: Bounds) -> Result<Self, HistoryError> {
        let path = PathBuf::from(":memory:");
        let mut connection =
            Connection::open_in_memory().map_err(|error| Failure::from(error).at(&path))?;
        prepare(&mut connection, &path, PATIENCE).map_err(|failure| failure.at(&path))?;
        Ok(Self::new(connection, None, path, bounds))
    }

    pub(crate) fn open_with(
        path: &Path,
        bounds: Bounds,
        patience: Duration,
    ) -> Result<Self, HistoryError> {
        make(path).map_err(|error| HistoryError::Open {
            path: path.to_owned(),
            message: error.to_string(),
        })?;
        let open = || -> Attempt<(Connection, Connection)> {
            // No SQLITE_OPEN_URI: a name with "?" is a name.
            let open =
                |flags| Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX);
            let mut writer = open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            prepare(&mut writer, path, patience)?;
            let reader = open(OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            configure(&reader, patience)?;
            Ok((writer, reader))
        };
        let (writer, reader) = open().map_err(|failure| failure.at(path))?;
        Ok(Self::new(writer, Some(reader), path.to_owned(), bounds))
    }

    fn new(writer: Connection, reader: Option<Connection>, path: PathBuf, bounds: Bounds) -> Self {
        Self(Arc::new(Inner {
            reader: reader.map(Mutex::new),
            writer: Mutex::new(writer),
            path,
            bounds,
        }))
    }

    pub(crate) fn bounds(&self) -> Bounds {
        self.0.bounds
    }

    /// Reads, from one state of the file: with all that was written before.
    pub(crate) fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> Attempt<T>,
    ) -> Result<T, HistoryError> {
        let reader = self.0.reader.as_ref().unwrap_or(&self.0.writer);
        self.transact(locked(reader), TransactionBehavior::Deferred, |it| work(it))
    }

    /// Writes all or nothing.
    pub(crate) fn write<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Attempt<T>,
    ) -> Result<T, HistoryError> {
        self.transact(self.lock(), TransactionBehavior::Immediate, work)
    }

    fn transact<T>(
        &self,
        mut connection: MutexGuard<'_, Connection>,
        behavior: TransactionBehavior,
        work: impl FnOnce(&Transaction<'_>) -> Attempt<T>,
    ) -> Result<T, HistoryError> {
        let transact = || -> Attempt<T> {
            let transaction = connection.transaction_with_behavior(behavior)?;
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        };
        transact().map_err(|failure| failure.at(&self.0.path))
    }

    /// Gives back the room of what was deleted, and empties the log, where its text still is. Readers in
    /// other processes may hold the log for some time: the next deletion, or the last one who closes the
    /// file, empties it then.
    pub(crate) fn scrub(&self) {
        let connection = self.lock();
        let scrub = || -> Attempt<i64> {
            let mut vacuum = connection.prepare_cached("PRAGMA incremental_vacuum")?;
            let mut pages = vacuum.query([])?;
            while pages.next()?.is_some() {}
            // What reads here is waited for, and waits: the log is emptied when nobody reads it. Nothing that
            // reads waits for what writes, so this cannot be for ever.
            let _reader = self.0.reader.as_ref().map(locked);
            let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
            Ok(connection.query_row(checkpoint, [], |row| row.get(0))?)
        };
        let problem = match scrub() {
            Ok(0) => return,
            Ok(_) => "another program reads the file".to_owned(),
            Err(failure) => failure.at(&self.0.path).to_string(),
        };
        tracing::warn!(problem, "what was deleted is still in the history's log");
    }

    /// The connection that writes.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Connection> {
        locked(&self.0.writer)
    }
}

/// A connection. A panic in the middle of a transaction has rolled it back.
fn locked(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the file and its folders if they are not there. SQLite gives its log the file's permissions.
fn make(path: &Path) -> std::io::Result<()> {
    if path.metadata().is_ok_and(|file| !file.is_file()) {
        return Err(std::io::Error::other("it is no file"));
    }
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Makes a connection ours: nothing of the file is run.
fn configure(connection: &Connection, patience: Duration) -> Attempt<()> {
    connection.busy_timeout(patience)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(())
}

/// Makes a connection one that writes: nothing that was written is lost, and nothing that was deleted is
/// left.
fn prepare(connection: &mut Connection, path: &Path, patience: Duration) -> Attempt<()> {
    configure(connection, patience)?;
    if connection.is_readonly("main")? {
        let path = path.to_owned();
        return Err(HistoryError::ReadOnly { path }.into());
    }
    schema::recognise(connection, path)?;
    // Counts for a file without tables only.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    log_ahead(connection, patience)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "secure_delete", "ON", |_| Ok(()))?;
    schema::migrate(connection, path)
}

/// Changes to a write-ahead log. SQLite does not wait for other programs here.
fn log_ahead(connection: &Connection, patience: Duration) -> Attempt<()> {
    let begin = Instant::now();
    loop {
        let change = connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()));
        match change {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && begin.elapsed() < patience =>
            {
                std::thread::sleep(Duration::from_millis(20));
            }
            change => return Ok(change?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Answer, Changes, ImportedConversation, NewConversation, NewMessage};
    use crate::model::{Owner, Role};

    fn me() -> Owner {
        Owner::new("me")
    }

    fn small() -> Bounds {
        Bounds {
            conversations: 2,
            messages: 3,
            conversation_bytes: 50_000,
            owner_bytes: 20_000,
            sign_ins: 3,
        }
    }

    fn made(history: &History) -> String {
        let new = NewConversation::default();
        history.create(&me(), &new, 1).unwrap().id
    }

    fn counted(history: &History) -> (i64, i64) {
        let sql = "SELECT ifnull(sum(conversations), 0), ifnull(sum(bytes), 0) FROM owners";
        let count = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        history.lock().query_row(sql, [], count).unwrap()
    }

    #[test]
    fn an_owner_has_so_much_and_no_more() {
        let history = History::in_memory_with(small()).unwrap();
        let id = made(&history);
        made(&history);
        let error = history.create(&me(), &NewConversation::default(), 1);
        let error = error.unwrap_err().to_string();
        assert_eq!(
            error,
            "the history may have at most 2 conversations: delete old ones"
        );
        history
            .create(&Owner::new("other"), &NewConversation::default(), 1)
            .unwrap();
        let mut last = None;
        for _ in 0..3 {
            let new = NewMessage::new(last, Role::User, "x");
            last = Some(history.add_message(&me(), &id, &new, 1).unwrap().id);
        }
        let new = NewMessage::new(None, Role::User, "x");
        let error = history
            .add_message(&me(), &id, &new, 1)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "a conversation may have at most 3 messages: begin a new one"
        );
        let before = counted(&history);
        let answer = Answer {
            content: "x".repeat(30_000).into(),
            ..Answer::default()
        };
        let error = history
            .save_answer(&me(), &id, &last.unwrap(), &answer, 1)
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("the history may have at most 20000 bytes"),
            "{error}"
        );
        let draft = Changes {
            draft: Some("x".repeat(30_000)),
            ..Changes::default()
        };
        assert!(history.update(&me(), &id, &draft, 1).is_err());
        assert!(
            history
                .import(&me(), &ImportedConversation::default(), 1)
                .is_err()
        );
        assert_eq!(counted(&history), before);
    }

    #[test]
    fn what_is_taken_is_counted_and_given_back() {
        let history = History::in_memory().unwrap();
        let id = made(&history);
        let empty = counted(&history).1;
        let mut new = NewMessage::new(None, Role::Assistant, "12345");
        new.model = Some("tiny".to_owned());
        new.request = Some("1234".into());
        let message = history.add_message(&me(), &id, &new, 1).unwrap().id;
        // Quotation marks of JSON, and 256 for the row.
        assert_eq!(counted(&history).1 - empty, 256 + 7 + 4 + 6);
        let answer = Answer {
            content: "1234567890".into(),
            logprobs: Some("123".into()),
            ..Answer::default()
        };
        for _ in 0..2 {
            assert!(
                history
                    .save_answer(&me(), &id, &message, &answer, 1)
                    .unwrap()
            );
            assert_eq!(counted(&history).1 - empty, 256 + 12 + 4 + 6 + 5);
        }
        history.delete_message(&me(), &id, &message, 1).unwrap();
        assert_eq!(counted(&history), (1, empty));
        for (draft, grown) in [("123", 3), ("1", 1), ("", 0)] {
            let changes = Changes {
                draft: Some(draft.to_owned()),
                ..Changes::default()
            };
            history.update(&me(), &id, &changes, 1).unwrap();
            assert_eq!(counted(&history).1, empty + grown);
        }
        history.add_message(&me(), &id, &new, 1).unwrap();
        history.delete(&me(), &id).unwrap();
        assert_eq!(counted(&history), (0, 0));
    }

    #[test]
    fn the_oldest_sign_ins_go() {
        let history = History::in_memory_with(small()).unwrap();
        for index in 0..5 {
            history.add_sign_in(&[index; 32], &[0; 32], 1).unwrap();
        }
        let left: Vec<u8> = history
            .sign_ins()
            .unwrap()
            .iter()
            .map(|it| it.token_hash[0])
            .collect();
        assert_eq!(left, [2, 3, 4]);
    }

    #[test]
    fn a_full_disk_is_told_and_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("history.db");
        let history = History::open(&file).unwrap();
        let id = made(&history);
        let pages: i64 = history
            .lock()
            .query_row("PRAGMA page_count", [], |row| row.get(0))
            .unwrap();
        let limit = |pages: i64| {
            let set = format!("PRAGMA max_page_count = {pages}");
            history.lock().query_row(&set, [], |_| Ok(())).unwrap();
        };
        limit(pages + 20);
        let new = NewMessage::new(None, Role::User, "words ".repeat(2000));
        let mut kept = 0;
        let error = loop {
            match history.add_message(&me(), &id, &new, 1) {
                Ok(_) => kept += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, HistoryError::Full { .. }), "{error:?}");
        assert!(error.to_string().contains("the disk is full"), "{error}");
        assert!(kept > 0);
        let messages = || history.whole(&me(), &id).unwrap().unwrap().messages.len();
        assert_eq!(messages(), kept);
        limit(pages + 2000);
        history.add_message(&me(), &id, &new, 1).unwrap();
        assert_eq!(messages(), kept + 1);
        history.delete(&me(), &id).unwrap();
    }

    #[test]
    fn a_locked_file_is_told_after_some_time() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("history.db");
        let open = || History::open_with(&file, Bounds::default(), Duration::from_millis(50));
        let history = open().unwrap();
        let id = made(&history);
        let locking = Connection::open(&file).unwrap();
        locking.execute_batch("BEGIN IMMEDIATE").unwrap();
        let new = NewMessage::new(None, Role::User, "x");
        let error = history.add_message(&me(), &id, &new, 1).unwrap_err();
        assert!(matches!(error, HistoryError::Locked { .. }), "{error:?}");
        assert!(error.to_string().contains("history.db"), "{error}");
        assert!(matches!(open(), Err(HistoryError::Locked { .. })));
        assert!(history.whole(&me(), &id).unwrap().is_some());
        locking.execute_batch("COMMIT").unwrap();
        history.add_message(&me(), &id, &new, 1).unwrap();
    }

    #[test]
    fn a_file_that_may_not_be_written_is_told() {
        let history = History::in_memory().unwrap();
        history
            .lock()
            .pragma_update(None, "query_only", true)
            .unwrap();
        let error = history
            .create(&me(), &NewConversation::default(), 1)
            .unwrap_err();
        assert!(matches!(error, HistoryError::ReadOnly { .. }), "{error:?}");
    }

    #[test]
    fn a_panic_in_the_middle_takes_nothing_with_it() {
        let history = History::in_memory().unwrap();
        let id = made(&history);
        let panicking = history.clone();
        let panic = std::thread::spawn(move || {
            let _ = panicking.write(|transaction| -> Attempt<()> {
                transaction.execute("DELETE FROM conversations", [])?;
                panic!("in the middle");
            });
        });
        assert!(panic.join().is_err());
        assert!(history.conversation(&me(), &id).unwrap().is_some());
        made(&history);
    }
}
