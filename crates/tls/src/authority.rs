//! An authority that this machine keeps: devices trust its certificate once, and then every certificate
//! that it signs for this server.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, TimeDelta, Utc};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SanType,
};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use sha2::Digest as _;

use crate::der::Facts;
use crate::error::TlsError;
use crate::local::{host_dns_names, host_name};
use crate::name::Name;
use crate::store::Store;
use crate::{config, pem, trust};

const CERTIFICATE: &str = "ca.pem";
const KEY: &str = "ca-key.pem";
/// Certificate and key in one file: a process that reads while another writes has two that belong together.
const SERVER: &str = "server.pem";

/// Validity of the authority: who trusts it once does not want to again.
const YEARS: TimeDelta = TimeDelta::days(3652);
/// Validity of a server's certificate. Browsers refuse more than 398 days of public authorities, and
/// Apple's systems more than 825 of all.
const SERVER_DAYS: TimeDelta = TimeDelta::days(397);
/// A server's certificate is made anew when less is left.
const RENEWAL: TimeDelta = TimeDelta::days(30);
/// Clocks of a house differ.
const SKEW: TimeDelta = TimeDelta::days(1);

/// Most names of a certificate, which every handshake carries.
const MAX_NAMES: usize = 100;

/// X.520: longest common name.
const MAX_COMMON_NAME: usize = 64;

/// Endings of names that are no one's on the internet (RFC 6762, RFC 8375, RFC 6761 and what routers
/// use).
const SUFFIXES: [&str; 6] = ["localhost", "local", "lan", "home", "internal", "home.arpa"];

/// Networks of a machine and of a house: RFC 1122, 1918, 6598, 4291 and 4193.
const NETWORKS: [CidrSubnet; 7] = [
    CidrSubnet::V4([127, 0, 0, 0], [255, 0, 0, 0]),
    CidrSubnet::V4([10, 0, 0, 0], [255, 0, 0, 0]),
    CidrSubnet::V4([172, 16, 0, 0], [255, 240, 0, 0]),
    CidrSubnet::V4([192, 168, 0, 0], [255, 255, 0, 0]),
    CidrSubnet::V4([100, 64, 0, 0], [255, 192, 0, 0]),
    CidrSubnet::V6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], [255; 16]),
    CidrSubnet::V6(
        [0xfc, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        [0xfe, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ),
];

/// The certificate authority of this machine, in a folder of its own.
///
/// It can sign for private addresses, for `localhost`, for names of a house (`.local`, `.lan`, …) and for
/// the name that this machine had when it was made, and for nothing else: its certificate says so in name
/// constraints, which clients enforce. A phone that trusts it is not at the mercy of whoever reads this
/// machine's disk.
pub struct LocalAuthority {
    store: Store,
    certificate: CertificateDer<'static>,
    pem: String,
    facts: Facts,
    name: String,
    roots: RootCertStore,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for LocalAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalAuthority")
            .field("folder", &self.store.folder())
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl LocalAuthority {
    /// Opens the authority in a folder; makes both, once, if neither is there: `ca.pem` and `ca-key.pem`,
    /// ECDSA with P-256, valid for ten years.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read or written; when one of the two files is missing or broken, or when
    /// they do not belong together (they are never replaced, because devices trust them); and when the
    /// authority has expired.
    pub fn open_or_create(folder: &Path, now: SystemTime) -> Result<Self, TlsError> {
        let now = DateTime::<Utc>::from(now);
        let store = Store::open(folder)?;
        let guard = store.lock()?;
        let exists = |name| {
            let path = store.path(name);
            let source = match path.try_exists() {
                Ok(exists) => return Ok(exists),
                Err(source) => source,
            };
            Err(TlsError::Read { path, source })
        };
        match (exists(CERTIFICATE)?, exists(KEY)?) {
            (true, true) => {}
            (false, false) => create(&store, now)?,
            (true, false) => return Err(broken(&store, "ca-key.pem is missing beside ca.pem.")),
            (false, true) => return Err(broken(&store, "ca.pem is missing beside ca-key.pem.")),
        }
        store.close(KEY)?;
        drop(guard);
        Self::open(store, now)
    }

    fn open(store: Store, now: DateTime<Utc>) -> Result<Self, TlsError> {
        let path = store.path(CERTIFICATE);
        let told = |error: TlsError| match error {
            TlsError::File { path, problem } => {
                let name = path.file_name().unwrap_or_default().display();
                broken(&store, &format!("{name} is broken: {problem}."))
            }
            error => error,
        };
        let mut certificates = pem::read(&path, "one certificate")
            .map_err(told)?
            .certificates;
        let mut keys = pem::read(&store.path(KEY), "one key").map_err(told)?.keys;
        let (Some(certificate), true) = (certificates.pop(), certificates.is_empty()) else {
            return Err(broken(&store, "ca.pem does not hold one certificate."));
        };
        let (Some(key), true) = (keys.pop(), keys.is_empty()) else {
            return Err(broken(&store, "ca-key.pem does not hold one key."));
        };
        let no_certificate = || broken(&store, "ca.pem holds no certificate of an authority.");
        let facts = Facts::read(&certificate).ok_or_else(no_certificate)?;
        let name = facts.common_name.clone().ok_or_else(no_certificate)?;
        let parsed = ParsedCertificate::try_from(&certificate).map_err(|_| no_certificate())?;
        let public = parsed.subject_public_key_info();
        let mut roots = RootCertStore::empty();
        roots
            .add(certificate.clone())
            .map_err(|_| no_certificate())?;
        let key = KeyPair::try_from(&key)
            .map_err(|_| broken(&store, "ca-key.pem holds no key that can sign."))?;
        if key.subject_public_key_info() != public.as_ref() {
            return Err(broken(&store, "ca-key.pem is not the key of ca.pem."));
        }
        if now > facts.not_after {
            return Err(TlsError::Expired {
                path,
                at: facts.not_after.to_string(),
                remedy: "remove ca.pem and ca-key.pem to have a new authority made, and trust that on every \
                         device"
                    .to_owned(),
            });
        }
        if now < facts.not_before {
            return Err(TlsError::TooEarly {
                path,
                from: facts.not_before.to_string(),
                remedy: "If it is, remove ca.pem and ca-key.pem to have a new authority made, and trust that \
                         on every device."
                    .to_owned(),
            });
        }
        let authority = Self {
            pem: pem::encode("CERTIFICATE", &certificate),
            issuer: Issuer::new(authority_params(&name, &facts)?, key),
            store,
            certificate,
            facts,
            name,
            roots,
        };
        // Another subject than that of `create`, or a use that forbids to sign.
        if !authority.permits(&Name::Dns("localhost".to_owned())) {
            return Err(broken(
                &authority.store,
                "ca.pem is the certificate of another authority, which cannot be used here.",
            ));
        }
        Ok(authority)
    }

    /// A server's settings with a certificate for these names and addresses. The last one that was made,
    /// `server.pem`, is taken again if it has all of them and 30 days left; otherwise another is made,
    /// valid for 397 days. A server that runs for a year calls this again, say once a day.
    ///
    /// The server shows its own certificate alone: who trusts the authority has the other.
    ///
    /// # Errors
    ///
    /// When there is no name, or one that is none or that the authority does not sign for (see
    /// [`permits`](Self::permits)), and when the folder cannot be written.
    pub fn server_config(
        &self,
        names: &[Name],
        now: SystemTime,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let now = DateTime::<Utc>::from(now);
        let mut wanted = names
            .iter()
            .map(Name::checked)
            .collect::<Result<Vec<Name>, _>>()?;
        wanted.sort();
        wanted.dedup();
        if wanted.is_empty() {
            return Err(TlsError::NoNames);
        }
        if wanted.len() > MAX_NAMES {
            return Err(TlsError::TooManyNames {
                count: wanted.len(),
                most: MAX_NAMES,
            });
        }
        let _guard = self.store.lock()?;
        if let Some(kept) = self.kept(&wanted, now) {
            return Ok(config::server(kept)?);
        }
        let from = (now - SKEW).max(self.facts.not_before);
        let until = (now + SERVER_DAYS).min(self.facts.not_after);
        let (certificate, key) = self.sign(&wanted, from, until)?;
        if !self.is_signed(&certificate, now) {
            let refused = wanted.iter().filter(|name| !self.permits(name));
            let refused: Vec<String> = refused.map(ToString::to_string).collect();
            return Err(TlsError::NotPermitted {
                folder: self.store.folder().to_owned(),
                names: refused.join(", "),
                suffixes: SUFFIXES.join(", "),
            });
        }
        let text = pem::encode("CERTIFICATE", &certificate)
            + &pem::encode("PRIVATE KEY", &key.serialize_der());
        self.store.write(&[(SERVER, &text)])?;
        if self.facts.not_after - now < RENEWAL {
            tracing::warn!(
                file = %self.path().display(),
                expires = %self.facts.not_after,
                "the authority of this machine ends soon: remove ca.pem and ca-key.pem to have a new one made"
            );
        }
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        Ok(config::server(config::certified(vec![certificate], key)?)?)
    }

    /// Whether the authority can sign for a name. A host name that came later than the authority may be
    /// one that it cannot sign for.
    pub fn permits(&self, name: &Name) -> bool {
        let (from, until) = (self.facts.not_before, self.facts.not_after);
        // The judges are those who will judge in earnest: the rules of a client.
        name.checked().is_ok_and(|name| {
            self.sign(&[name], from, until)
                .is_ok_and(|(certificate, _)| self.is_signed(&certificate, from))
        })
    }

    /// Its certificate in PEM: what devices come to trust.
    pub fn certificate(&self) -> &str {
        &self.pem
    }

    /// SHA-256 of its certificate, as `AA:BB:…`: what devices show of it.
    pub fn fingerprint(&self) -> String {
        let mut text = String::with_capacity(32 * 3);
        for byte in sha2::Sha256::digest(&self.certificate) {
            let colon = if text.is_empty() { "" } else { ":" };
            // A string takes everything.
            let _ = write!(text, "{colon}{byte:02X}");
        }
        text
    }

    /// Its name, as devices list it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// File of its certificate.
    pub fn path(&self) -> PathBuf {
        self.store.path(CERTIFICATE)
    }

    /// What to do on devices so that they trust it: text for a terminal.
    pub fn trust_instructions(&self) -> String {
        trust::instructions(&self.name, &self.path(), &self.fingerprint())
    }

    /// The server's certificate of before, if it is still good.
    fn kept(&self, names: &[Name], now: DateTime<Utc>) -> Option<CertifiedKey> {
        let path = self.store.path(SERVER);
        if !path.exists() {
            return None;
        }
        // Nobody trusts it by itself: whatever is wrong with it, another one does as well.
        let contents = pem::read(&path, "a certificate and its key")
            .inspect_err(|error| tracing::warn!(%error, "another certificate is made"))
            .ok()?;
        let [certificate] = contents.certificates.as_slice() else {
            return None;
        };
        let [key] = contents.keys.as_slice() else {
            return None;
        };
        let parsed = ParsedCertificate::try_from(certificate).ok()?;
        let has = |name: &Name| {
            name.to_server_name()
                .is_ok_and(|name| verify_server_name(&parsed, &name).is_ok())
        };
        let is_good = names.iter().all(has)
            && self.is_signed(certificate, now)
            && self.is_signed(certificate, now + RENEWAL);
        is_good
            .then(|| config::certified(vec![certificate.clone()], key.clone_key()).ok())
            .flatten()
    }

    /// Whether a client that trusts the authority takes a certificate.
    fn is_signed(&self, certificate: &CertificateDer<'_>, at: DateTime<Utc>) -> bool {
        let Ok(at) = u64::try_from(at.timestamp()) else {
            return false;
        };
        let at = UnixTime::since_unix_epoch(Duration::from_secs(at));
        let algorithms = config::provider().signature_verification_algorithms.all;
        ParsedCertificate::try_from(certificate).is_ok_and(|certificate| {
            verify_server_cert_signed_by_trust_anchor(
                &certificate,
                &self.roots,
                &[],
                at,
                algorithms,
            )
            .is_ok()
        })
    }

    /// A certificate, and a key that is new.
    fn sign(
        &self,
        names: &[Name],
        from: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<(CertificateDer<'static>, KeyPair), TlsError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = params("matou server", from, until);
        params.subject_alt_names = names
            .iter()
            .map(|name| match name {
                Name::Dns(text) => Ok(SanType::DnsName(text.as_str().try_into()?)),
                Name::Ip(address) => Ok(SanType::IpAddress(*address)),
            })
            .collect::<Result<_, rcgen::Error>>()?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok((certificate.der().clone(), key))
    }
}

/// Makes an authority's two files.
fn create(store: &Store, now: DateTime<Utc>) -> Result<(), TlsError> {
    let facts = Facts {
        not_before: now - SKEW,
        not_after: now + YEARS,
        common_name: None,
    };
    let name: String = format!("matou authority of {}", host_name())
        .chars()
        .take(MAX_COMMON_NAME)
        .collect();
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = authority_params(&name, &facts)?.self_signed(&key)?;
    // The certificate last: while it is not there, nobody trusts the key.
    store.write(&[
        (KEY, &pem::encode("PRIVATE KEY", &key.serialize_der())),
        (CERTIFICATE, &pem::encode("CERTIFICATE", certificate.der())),
    ])
}

fn authority_params(name: &str, facts: &Facts) -> Result<CertificateParams, TlsError> {
    let mut params = params(name, facts.not_before, facts.not_after);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let suffixes = SUFFIXES.iter().map(|&suffix| suffix.to_owned());
    let names = suffixes
        .chain(host_dns_names())
        .map(GeneralSubtree::DnsName);
    let networks = NETWORKS.into_iter().map(GeneralSubtree::IpAddress);
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: names.chain(networks).collect(),
        excluded_subtrees: Vec::new(),
    });
    Ok(params)
}

fn params(name: &str, from: DateTime<Utc>, until: DateTime<Utc>) -> CertificateParams {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let time = |at: DateTime<Utc>| {
        epoch + Duration::from_secs(u64::try_from(at.timestamp()).unwrap_or_default())
    };
    let mut params = CertificateParams::default();
    params.not_before = time(from);
    params.not_after = time(until);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn broken(store: &Store, problem: &str) -> TlsError {
    TlsError::Authority {
        folder: store.folder().to_owned(),
        problem: problem.to_owned(),
    }
}

#[cfg(test)]
#[path = "authority_tests.rs"]
mod tests;
