use std::path::PathBuf;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};

use super::*;

/// Made with openssl once: no crate of ours makes keys of RSA.
const RSA: &str = include_str!("../tests/data/rsa.pem");
const RSA_KEY: &str = include_str!("../tests/data/rsa-key.pem");

/// Within the time of all certificates here: 2027-01-15.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn serve(
        &self,
        certificate: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let (certificate, key) = (
            self.file("cert.pem", certificate),
            self.file("key.pem", key),
        );
        from_files_at(&certificate, &key, now())
    }

    fn error(&self, certificate: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> String {
        self.serve(certificate, key).unwrap_err().to_string()
    }
}

/// A certificate and its key, valid in these years.
fn pair(from: i32, until: i32) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["box.example.org".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    let certificate = params.self_signed(&key).unwrap();
    (
        pem::encode("CERTIFICATE", certificate.der()),
        pem::encode("PRIVATE KEY", &key.serialize_der()),
    )
}

#[test]
fn every_kind_of_key_serves() {
    let folder = Folder::new();
    let (certificate, key) = pair(2026, 2030);
    let config = folder.serve(&certificate, &key).unwrap();
    assert_eq!(config.alpn_protocols, [b"http/1.1"]);
    assert!(RSA_KEY.starts_with("-----BEGIN RSA PRIVATE KEY"));
    folder.serve(RSA, RSA_KEY).unwrap();
    // A key of SEC 1 is what PKCS#8 has in its third field (RFC 5208): a sequence of some 110 bytes.
    let pkcs8 = pem::read(&folder.file("key.pem", &key), "")
        .unwrap()
        .keys
        .remove(0);
    let bytes = pkcs8.secret_der();
    let at = bytes
        .windows(2)
        .position(|pair| pair == [0x04, 0x6d])
        .unwrap()
        + 2;
    let sec1 = pem::encode("EC PRIVATE KEY", &bytes[at..]);
    folder
        .serve(
            &certificate,
            "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
                .to_owned()
                + &sec1,
        )
        .unwrap();
    folder.serve(certificate.clone() + RSA, &key).unwrap();
    let both = folder.file("both.pem", certificate + &key);
    from_files_at(&both, &both, now()).unwrap();
    let windows = RSA.replace('\n', "\r\n");
    folder
        .serve(format!("Bag Attributes\r\n{windows}"), RSA_KEY)
        .unwrap();
}

#[test]
fn what_is_wrong_is_told_with_its_file_and_what_to_do() {
    let folder = Folder::new();
    let (certificate, key) = pair(2026, 2030);
    let (_, other) = pair(2026, 2030);
    let locked = pem::encode("ENCRYPTED PRIVATE KEY", b"secret");
    let locked_of_old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    let told = |certificate: &str, key: &str, file: &str, problem: &str| {
        let error = folder.error(certificate, key);
        assert!(error.contains(problem), "{error}\nshould say {problem}");
        let at = error
            .find(file)
            .unwrap_or_else(|| panic!("{error}\nshould name {file}"));
        assert!(at < 200 && error.len() < 500, "{error}");
    };
    told("", &key, "cert.pem", "it is empty");
    told(&certificate, " \n", "key.pem", "it is empty");
    told(
        &key,
        &certificate,
        "cert.pem",
        "were the two files swapped?",
    );
    told(
        &locked,
        &certificate,
        "cert.pem",
        "were the two files swapped?",
    );
    told(
        &certificate,
        &certificate,
        "key.pem",
        "were the two files swapped?",
    );
    told("hello", &key, "cert.pem", "no certificate is in it");
    told(&certificate, "hello", "key.pem", "no key is in it");
    told(&certificate, &locked, "key.pem", "behind a passphrase");
    told(
        &certificate,
        locked_of_old,
        "key.pem",
        "behind a passphrase",
    );
    told(
        &certificate,
        &(key.clone() + &other),
        "key.pem",
        "several keys",
    );
    told(
        &certificate,
        &other,
        "key.pem",
        "does not belong to the certificate in",
    );
    told(
        &(RSA.to_owned() + &certificate),
        &key,
        "cert.pem",
        "must come first",
    );
    told(&certificate[..200], &key, "cert.pem", "was it cut off?");
    told(
        &certificate.replace('M', "!"),
        &key,
        "cert.pem",
        "no base64",
    );
    told(
        &pem::encode("CERTIFICATE", b"a cat"),
        &key,
        "cert.pem",
        "no X.509 certificate",
    );
    told(
        &certificate,
        &pem::encode("PRIVATE KEY", b"a cat"),
        "key.pem",
        "a kind that is not supported, or broken",
    );
    told(
        &certificate,
        &format!("-----BEGIN {}\n", "x".repeat(100_000)),
        "key.pem",
        "five hyphens",
    );
    told(
        &certificate.repeat(65),
        &key,
        "cert.pem",
        "more than 64 sections",
    );
    told(
        &"a".repeat(2 << 20),
        &key,
        "cert.pem",
        "larger than 1024 KiB",
    );
    let der = folder.error([0x30, 0x82, 1, 2], &key);
    assert!(der.contains("openssl x509 -inform der"), "{der}");
}

#[test]
fn a_file_that_is_not_there_is_told() {
    let folder = Folder::new();
    let here = folder.file("here.pem", RSA);
    let gone = folder.0.path().join("gone.pem");
    for (certificate, key) in [(&gone, &here), (&here, &gone)] {
        let error = from_files(certificate, key).unwrap_err().to_string();
        assert!(
            error.contains("cannot read") && error.contains("gone.pem"),
            "{error}"
        );
    }
    let error = from_files(folder.0.path(), &here).unwrap_err();
    assert!(matches!(error, TlsError::Read { .. }), "{error}");
}

#[test]
fn a_certificate_out_of_its_time_is_refused() {
    let folder = Folder::new();
    let (certificate, key) = pair(2020, 2026);
    let error = folder.error(&certificate, &key);
    assert!(
        error.contains("expired on 2026-01-01") && error.contains("renew it"),
        "{error}"
    );
    let (certificate, key) = pair(2028, 2030);
    let error = folder.error(&certificate, &key);
    assert!(
        error.contains("valid from 2028-01-01") && error.contains("clock"),
        "{error}"
    );
}

proptest::proptest! {
    #[test]
    fn no_certificate_makes_it_panic(bytes: Vec<u8>, at in 0_usize..400, with: u8) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["box".to_owned()]).unwrap();
        let mut certificate = params.self_signed(&key).unwrap().der().to_vec();
        if let Some(byte) = certificate.get_mut(at) {
            *byte = with;
        }
        let key = pem::encode("PRIVATE KEY", &key.serialize_der());
        let folder = Folder::new();
        let _ = folder.serve(pem::encode("CERTIFICATE", &certificate), &key);
        let _ = folder.serve(pem::encode("CERTIFICATE", &bytes), &key);
        let _ = folder.serve(RSA, pem::encode("PRIVATE KEY", &bytes));
    }
}
