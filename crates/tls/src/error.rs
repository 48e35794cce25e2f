//! What can go wrong, told so that it can be put right.

use std::path::PathBuf;

use thiserror::Error;

/// Why there is no certificate to serve with.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file or a folder cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file or a folder cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("cannot use {}: {problem}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A key is not the one of its certificate.
    #[error(
        "the key in {} does not belong to the certificate in {}: give the two files that were made together",
        key.display(), certificate.display()
    )]
    Mismatch {
        /// File of the certificate.
        certificate: PathBuf,
        /// File of the key.
        key: PathBuf,
    },
    /// A certificate's time is over.
    #[error("the certificate in {} expired on {at}: {remedy}", path.display())]
    Expired {
        /// Its file.
        path: PathBuf,
        /// When, in UTC.
        at: String,
        /// What to do.
        remedy: String,
    },
    /// A certificate's time has not begun.
    #[error(
        "the certificate in {} is valid from {from} only: is the clock of this machine right? {remedy}",
        path.display()
    )]
    TooEarly {
        /// Its file.
        path: PathBuf,
        /// Since when, in UTC.
        from: String,
        /// What to do if the clock is right.
        remedy: String,
    },
    /// The authority of this machine is not to be used; nothing is replaced, because devices trust it.
    #[error(
        "cannot use the authority in {}: {problem} Put back ca.pem and ca-key.pem from a copy; or remove \
         both to have a new authority made, which every device has to trust again",
        folder.display()
    )]
    Authority {
        /// Its folder.
        folder: PathBuf,
        /// What is wrong: a sentence.
        problem: String,
    },
    /// A certificate needs a name.
    #[error("a certificate needs at least one name or address")]
    NoNames,
    /// More names than a certificate should have.
    #[error("{count} names are too many for a certificate: at most {most}")]
    TooManyNames {
        /// Names that were asked for.
        count: usize,
        /// Most that there can be.
        most: usize,
    },
    /// A name is none.
    #[error(transparent)]
    Name(#[from] crate::NameError),
    /// The authority does not sign for these names.
    #[error(
        "the authority in {} does not sign for {names}: it signs for private addresses, for localhost, for the \
         name that this machine had when it was made, and for names that end in {suffixes}. For another \
         name bring a certificate and a key of your own",
        folder.display()
    )]
    NotPermitted {
        /// Its folder.
        folder: PathBuf,
        /// The names, with commas.
        names: String,
        /// Endings that are permitted.
        suffixes: String,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// The library of TLS does not take it.
    #[error("cannot set up TLS: {0}")]
    Setup(#[from] rustls::Error),
}
