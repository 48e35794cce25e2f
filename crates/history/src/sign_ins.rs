//! Browsers that are signed in: hashes of their tokens, so that the file lets nobody in.

use crate::bounds::SIGN_INS_OF_KEY;
use crate::error::HistoryError;
use crate::rows::{stored, time};
use crate::store::History;

/// A browser that is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignIn {
    /// The hash of its token.
    pub token_hash: [u8; 32],
    /// A digest of the key that it signed in with, by which it ends with that key.
    pub key_digest: [u8; 32],
    /// When, in unix seconds.
    pub created_at: u64,
}

impl History {
    /// Keeps a sign-in, in place of one with its token. With more than
    /// [`SIGN_INS_OF_KEY`](crate::SIGN_INS_OF_KEY) of its key, the oldest of that go; with more than
    /// [`SIGN_INS`](crate::SIGN_INS) in all, the oldest of the key that has the most.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn add_sign_in(
        &self,
        token_hash: &[u8; 32],
        key_digest: &[u8; 32],
        now: u64,
    ) -> Result<(), HistoryError> {
        let limit = stored(self.bounds().sign_ins);
        self.write(|transaction| {
            transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO sign_ins(token_hash, key_digest, created_at) \
                     VALUES(?1, ?2, ?3)",
                )?
                .execute((token_hash, key_digest, stored(now)))?;
            transaction
                .prepare_cached(
                    "DELETE FROM sign_ins WHERE number IN (SELECT number FROM sign_ins \
                     WHERE key_digest = ?1 ORDER BY number DESC LIMIT -1 OFFSET ?2)",
                )?
                .execute((key_digest, stored(SIGN_INS_OF_KEY)))?;
            let mut count = transaction.prepare_cached("SELECT count(*) FROM sign_ins")?;
            // Once, but after an update that lowers the bound. Of keys with as many, the one that signed in
            // first loses: never this sign-in itself.
            while count.query_row([], |row| row.get::<_, i64>(0))? > limit {
                transaction
                    .prepare_cached(
                        "DELETE FROM sign_ins WHERE number = (SELECT min(number) FROM sign_ins \
                         GROUP BY key_digest ORDER BY count(*) DESC, min(number) LIMIT 1)",
                    )?
                    .execute([])?;
            }
            Ok(())
        })
    }

    /// All sign-ins, oldest first.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn sign_ins(&self) -> Result<Vec<SignIn>, HistoryError> {
        self.read(|connection| {
            let sql = "SELECT token_hash, key_digest, created_at FROM sign_ins ORDER BY number";
            let mut statement = connection.prepare_cached(sql)?;
            let sign_ins = statement.query_map([], |row| {
                Ok(SignIn {
                    token_hash: row.get(0)?,
                    key_digest: row.get(1)?,
                    created_at: time(row, 2)?,
                })
            })?;
            Ok(sign_ins.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Removes a sign-in; false if there was none.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn remove_sign_in(&self, token_hash: &[u8; 32]) -> Result<bool, HistoryError> {
        self.write(|transaction| {
            let sql = "DELETE FROM sign_ins WHERE token_hash = ?1";
            Ok(transaction.prepare_cached(sql)?.execute([token_hash])? > 0)
        })
    }

    /// Removes the sign-ins from before a time, in unix seconds, and says how many.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn remove_sign_ins_before(&self, time: u64) -> Result<usize, HistoryError> {
        self.write(|transaction| {
            let sql = "DELETE FROM sign_ins WHERE created_at < ?1";
            Ok(transaction.prepare_cached(sql)?.execute([stored(time)])?)
        })
    }
}
