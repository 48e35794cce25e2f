//! A certificate that somebody else has made.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use chrono::{DateTime, TimeDelta, Utc};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{InconsistentKeys, ServerConfig};

use crate::config::{certified, server};
use crate::der::Facts;
use crate::error::TlsError;
use crate::{pem, store};

/// From when on a certificate that ends is told of.
const SOON: TimeDelta = TimeDelta::days(14);

const CHAIN: &str = "a certificate, and those that lead to its authority,";
const KEY: &str = "a private key";

/// Takes a chain of certificates, the server's own first, and its key, both PEM (the key PKCS#8, PKCS#1
/// or SEC 1); both may stand in one file. A certificate that ends within two weeks is a warning.
///
/// # Errors
///
/// When a file cannot be read or holds something else, when the two do not belong together, and when the
/// certificate has expired or is not valid yet: browsers would turn away, and say less.
pub fn from_files(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    from_files_at(certificate, key, SystemTime::now())
}

fn from_files_at(
    certificate: &Path,
    key: &Path,
    now: SystemTime,
) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = read_chain(certificate)?;
    let secret = read_key(key)?;
    let unreadable = |path: &Path, problem: String| TlsError::File {
        path: path.to_owned(),
        problem,
    };
    let facts = chain.first().and_then(|first| Facts::read(first));
    let facts = facts.ok_or_else(|| {
        unreadable(
            certificate,
            "its first section is no X.509 certificate".to_owned(),
        )
    })?;
    let others = chain.get(1..).unwrap_or_default().to_vec();
    let certified = certified(chain, secret.clone_key()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            let is_of_other = others
                .into_iter()
                .any(|other| crate::config::certified(vec![other], secret.clone_key()).is_ok());
            if is_of_other {
                unreadable(
                    certificate,
                    "the server's own certificate must come first, before those of its authorities"
                        .to_owned(),
                )
            } else {
                TlsError::Mismatch {
                    certificate: certificate.to_owned(),
                    key: key.to_owned(),
                }
            }
        }
        rustls::Error::InvalidCertificate(error) => {
            unreadable(certificate, format!("its certificate is broken ({error})"))
        }
        error => unreadable(
            key,
            format!(
                "its key is of a kind that is not supported, or broken ({error}): RSA from 2048 bits on, \
                 ECDSA (P-256, P-384) and Ed25519 are supported"
            ),
        ),
    })?;
    check_time(certificate, &facts, now.into())?;
    if store::is_open_to_others(key) {
        tracing::warn!(file = %key.display(), "others can read this key: chmod 600 it");
    }
    Ok(server(certified)?)
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let contents = pem::read(path, CHAIN)?;
    if !contents.certificates.is_empty() {
        return Ok(contents.certificates);
    }
    let problem = if contents.keys.is_empty() && !contents.has_locked_key {
        format!(
            "no certificate is in it: it should hold {CHAIN} in PEM (-----BEGIN CERTIFICATE-----)"
        )
    } else {
        "it holds a key and no certificate: were the two files swapped?".to_owned()
    };
    Err(TlsError::File {
        path: path.to_owned(),
        problem,
    })
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let mut contents = pem::read(path, KEY)?;
    let problem = match contents.keys.len() {
        1 => return Ok(contents.keys.remove(0)),
        0 if contents.has_locked_key => {
            "its key is behind a passphrase: unlock it with `openssl pkey -in LOCKED -out OPEN`, and keep \
             that file for yourself (chmod 600)"
        }
        0 if !contents.certificates.is_empty() => {
            "it holds a certificate and no key: were the two files swapped?"
        }
        0 => "no key is in it: it should hold one in PEM (-----BEGIN PRIVATE KEY-----)",
        _ => "several keys are in it: leave the one of the certificate",
    };
    Err(TlsError::File {
        path: path.to_owned(),
        problem: problem.to_owned(),
    })
}

fn check_time(path: &Path, facts: &Facts, now: DateTime<Utc>) -> Result<(), TlsError> {
    if now > facts.not_after {
        return Err(TlsError::Expired {
            path: path.to_owned(),
            at: facts.not_after.to_string(),
            remedy: "browsers would refuse it; renew it, then start again".to_owned(),
        });
    }
    if now < facts.not_before {
        return Err(TlsError::TooEarly {
            path: path.to_owned(),
            from: facts.not_before.to_string(),
            remedy: "If it is, wait until then.".to_owned(),
        });
    }
    if facts.not_after - now < SOON {
        tracing::warn!(
            file = %path.display(),
            expires = %facts.not_after,
            "the certificate ends soon: renew it, then start again"
        );
    }
    Ok(())
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
