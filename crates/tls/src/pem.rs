//! PEM, to write; and files of it, to read.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::{Error, PemObject as _, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::TlsError;

/// Largest file that is read: a chain of certificates is some kilobytes.
const MAX_FILE: u64 = 1 << 20;

/// Most sections of a file that are read.
const MAX_SECTIONS: usize = 64;

/// What a file of PEM holds.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// Certificates, in the order of the file.
    pub(crate) certificates: Vec<CertificateDer<'static>>,
    /// Keys that can be used.
    pub(crate) keys: Vec<PrivateKeyDer<'static>>,
    /// Whether there is a key behind a passphrase.
    pub(crate) has_locked_key: bool,
}

/// Writes a section.
pub(crate) fn encode(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII: every index is a boundary.
        let (line, later) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = later;
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}

/// Reads a file, which is to hold `wanted`.
pub(crate) fn read(path: &Path, wanted: &str) -> Result<Contents, TlsError> {
    let unreadable = |source| TlsError::Read {
        path: path.to_owned(),
        source,
    };
    let wrong = |problem: String| TlsError::File {
        path: path.to_owned(),
        problem,
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(wrong(format!(
            "it is larger than {} KiB, and so no file of {wanted}",
            MAX_FILE / 1024
        )));
    }
    if bytes.trim_ascii().is_empty() {
        return Err(wrong(format!(
            "it is empty, and should hold {wanted} in PEM"
        )));
    }
    if bytes.starts_with(&[0x30, 0x82]) {
        return Err(wrong(
            "it is DER, or PKCS#12, and should be PEM: convert it with `openssl x509 -inform der`, `openssl \
             pkey -inform der` or `openssl pkcs12 -nodes`"
                .to_owned(),
        ));
    }
    contents(&bytes).map_err(|problem| wrong(format!("{problem}: it should hold {wanted} in PEM")))
}

/// Sorts the sections of a file.
fn contents(bytes: &[u8]) -> Result<Contents, String> {
    let mut found = Contents {
        // In a label of today's, which the reader passes over, or in a header of old, which is no base64.
        has_locked_key: bytes
            .windows(b"ENCRYPTED".len())
            .any(|window| window == b"ENCRYPTED"),
        ..Contents::default()
    };
    let sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes);
    for (at, section) in sections.enumerate() {
        if at == MAX_SECTIONS {
            return Err(format!("it has more than {MAX_SECTIONS} sections"));
        }
        let (kind, der) = match section {
            Ok(section) => section,
            Err(Error::Base64Decode(_)) if found.has_locked_key => break,
            Err(error) => return Err(broken(&error)),
        };
        match kind {
            SectionKind::Certificate => found.certificates.push(der.into()),
            // Of all the other kinds, only keys are of use.
            _ => found.keys.extend(PrivateKeyDer::from_pem(kind, der)),
        }
    }
    Ok(found)
}

/// What is wrong, without the lines of the file that the library's own words quote: they can be long, or
/// of a key.
fn broken(error: &Error) -> String {
    let problem = match error {
        Error::MissingSectionEnd { .. } => "the line -----END …----- is missing: was it cut off?",
        Error::IllegalSectionStart { .. } => {
            "a line -----BEGIN …----- does not end in five hyphens"
        }
        Error::Base64Decode(_) => "what stands between BEGIN and END is no base64",
        _ => "it cannot be read",
    };
    format!("its PEM is broken ({problem})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for length in [0, 1, 47, 48, 49, 300] {
            let der: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let pem = encode("CERTIFICATE", &der);
            assert!(pem.lines().all(|line| line.len() <= 64));
            let read = contents(pem.as_bytes()).unwrap();
            assert_eq!(read.certificates[0].as_ref(), der);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let mut file = b"-----BEGIN CERTIFICATE-----\n".to_vec();
            file.extend(&bytes);
            let _ = contents(&file);
            let _ = contents(&bytes);
        }
    }
}
