use std::io::{Read as _, Write as _};
use std::net::IpAddr;
use std::time::UNIX_EPOCH;

use rustls::{ClientConfig, ClientConnection, ServerConnection};

use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// 2026-11-27
fn start() -> SystemTime {
    UNIX_EPOCH + DAY * 20_784
}

fn names(list: &[&str]) -> Vec<Name> {
    list.iter().map(|name| name.parse().unwrap()).collect()
}

struct House {
    folder: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("tls").join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn open(&self) -> Result<LocalAuthority, TlsError> {
        LocalAuthority::open_or_create(&self.path(""), start())
    }

    fn error(&self) -> String {
        self.open().unwrap_err().to_string()
    }
}

/// A clock of a client's.
#[derive(Debug)]
struct Clock(SystemTime);

impl rustls::time_provider::TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap();
        Some(UnixTime::since_unix_epoch(since))
    }
}

/// A handshake in memory, and one word each way; what the client says if it does not take the server.
fn handshake(
    server: &Arc<ServerConfig>,
    trusted: Option<&str>,
    name: &str,
    now: SystemTime,
) -> Result<(), rustls::Error> {
    let mut roots = RootCertStore::empty();
    let text = trusted.unwrap_or_default();
    for certificate in pem_certificates(text) {
        roots.add(certificate).unwrap();
    }
    // A client without any trust cannot be built: another authority's is a stranger's.
    if roots.is_empty() {
        let stranger = House::new();
        let authority = stranger.open().unwrap();
        roots.add(authority.certificate.clone()).unwrap();
    }
    let mut config = ClientConfig::builder_with_details(config::provider(), Arc::new(Clock(now)))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = name.parse::<Name>().unwrap().to_server_name().unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut server = ServerConnection::new(server.clone()).unwrap();
    client.writer().write_all(b"miaow").unwrap();
    for _ in 0..8 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets().unwrap();
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets()?;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    let mut word = [0; 5];
    server.reader().read_exact(&mut word).unwrap();
    assert_eq!(&word, b"miaow");
    assert_eq!(client.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(client.peer_certificates().unwrap().len(), 1);
    Ok(())
}

fn pem_certificates(text: &str) -> Vec<CertificateDer<'static>> {
    use rustls::pki_types::pem::PemObject as _;
    CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .unwrap()
}

#[test]
fn a_client_that_trusts_the_authority_takes_the_server_for_its_names_alone() {
    let house = House::new();
    let authority = house.open().unwrap();
    let wanted = [
        "localhost",
        "127.0.0.1",
        "::1",
        "192.168.1.20",
        "fd12::7",
        "box.local",
        "cat.lan",
    ];
    let server = authority.server_config(&names(&wanted), start()).unwrap();
    let trusted = Some(authority.certificate());
    for name in wanted {
        handshake(&server, trusted, name, start()).unwrap();
        let error = handshake(&server, None, name, start()).unwrap_err();
        assert!(
            error.to_string().contains("UnknownIssuer")
                || error.to_string().contains("BadSignature"),
            "{error}"
        );
    }
    for name in ["192.168.1.21", "dog.local", "example.org", "sub.box.local"] {
        let error = handshake(&server, trusted, name, start()).unwrap_err();
        assert!(error.to_string().contains("not valid for name"), "{error}");
    }
    handshake(&server, trusted, "localhost", start() + DAY * 396).unwrap();
    for wrong in [start() + DAY * 398, start() - DAY * 2] {
        handshake(&server, trusted, "localhost", wrong).unwrap_err();
    }
}

#[test]
fn a_second_start_finds_the_authority_and_the_certificate_again() {
    let house = House::new();
    let first = house.open().unwrap();
    first
        .server_config(&names(&["localhost", "10.0.0.1"]), start())
        .unwrap();
    let (ca, server) = (house.read("ca.pem"), house.read("server.pem"));
    let second = LocalAuthority::open_or_create(&house.path(""), start() + DAY * 100).unwrap();
    assert_eq!(second.certificate(), ca);
    assert_eq!(second.fingerprint(), first.fingerprint());
    let config = second
        .server_config(
            &names(&["10.0.0.1", "LOCALHOST", "localhost"]),
            start() + DAY * 100,
        )
        .unwrap();
    assert_eq!(
        house.read("server.pem"),
        server,
        "fewer names, and enough days"
    );
    handshake(&config, Some(&ca), "10.0.0.1", start() + DAY * 100).unwrap();
}

#[test]
fn another_certificate_is_made_for_new_names_near_its_end_and_when_it_is_broken() {
    let house = House::new();
    let authority = house.open().unwrap();
    let serve = |list: &[&str], day: u32| {
        let before = std::fs::read_to_string(house.path("server.pem")).unwrap_or_default();
        let now = start() + DAY * day;
        let config = authority.server_config(&names(list), now).unwrap();
        for name in list {
            handshake(&config, Some(authority.certificate()), name, now).unwrap();
        }
        before != house.read("server.pem")
    };
    assert!(serve(&["localhost"], 0), "the first");
    assert!(!serve(&["localhost"], 366), "31 days left");
    assert!(serve(&["localhost"], 368), "29 days left");
    assert!(serve(&["localhost", "192.168.1.2"], 368), "a new name");
    assert!(!serve(&["192.168.1.2"], 368));
    assert!(serve(&["localhost"], 100), "a clock that was put back");
    let other = House::new();
    other
        .open()
        .unwrap()
        .server_config(&names(&["localhost"]), start())
        .unwrap();
    let good = house.read("server.pem");
    let key = good.find("-----BEGIN PRIVATE").unwrap();
    let foreign = other.read("server.pem");
    let foreign_key = &foreign[foreign.find("-----BEGIN PRIVATE").unwrap()..];
    let mixed = good[..key].to_owned() + foreign_key;
    for text in [
        "",
        "no PEM",
        &good[..key],
        &good[key..],
        &good[..100],
        &mixed,
        &foreign,
        &(good.clone() + &good),
    ] {
        std::fs::write(house.path("server.pem"), text).unwrap();
        assert!(serve(&["localhost"], 100), "{text}");
    }
}

#[test]
fn the_last_certificate_ends_with_the_authority() {
    let house = House::new();
    let authority = house.open().unwrap();
    let late = start() + DAY * 3650;
    let config = authority
        .server_config(&names(&["localhost"]), late)
        .unwrap();
    handshake(&config, Some(authority.certificate()), "localhost", late).unwrap();
    let [certificate] = &pem_certificates(&house.read("server.pem"))[..] else {
        panic!()
    };
    assert_eq!(
        Facts::read(certificate).unwrap().not_after,
        authority.facts.not_after
    );
    let error = LocalAuthority::open_or_create(&house.path(""), start() + DAY * 3653).unwrap_err();
    assert!(
        error.to_string().contains("expired on 2036-11-26"),
        "{error}"
    );
    assert!(
        error.to_string().contains("remove ca.pem and ca-key.pem"),
        "{error}"
    );
    let error = LocalAuthority::open_or_create(&house.path(""), start() - DAY * 2).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("is the clock of this machine right"),
        "{error}"
    );
}

#[test]
fn the_authority_signs_for_a_house_and_not_for_the_world() {
    let house = House::new();
    let authority = house.open().unwrap();
    let permits = |name: &str| authority.permits(&name.parse().unwrap());
    for name in crate::local_names() {
        assert!(authority.permits(&name), "{name}");
    }
    for name in [
        "a.localhost",
        "cat.local",
        "a.b.home.arpa",
        "cat.internal",
        "10.255.0.1",
        "172.31.0.1",
        "192.168.0.1",
        "100.127.0.1",
        "127.9.9.9",
        "::1",
        "fdff::1",
    ] {
        assert!(permits(name), "{name}");
    }
    for name in [
        "example.org",
        "mylocal",
        "another-box",
        "local.example.org",
        "8.8.8.8",
        "172.32.0.1",
        "100.128.0.1",
        "192.169.0.1",
        "::2",
        "2001:db8::1",
        "fe80::1",
    ] {
        assert!(!permits(name), "{name}");
    }
    let error = authority
        .server_config(&names(&["localhost", "example.org", "8.8.8.8"]), start())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("does not sign for example.org, 8.8.8.8:"),
        "{error}"
    );
    assert!(
        error.contains("a certificate and a key of your own"),
        "{error}"
    );
    assert!(!house.path("server.pem").exists());
}

#[test]
fn its_rules_bind_a_thief_of_the_key_too() {
    let house = House::new();
    let authority = house.open().unwrap();
    let (from, until) = (authority.facts.not_before, authority.facts.not_after);
    let (stolen, key) = authority
        .sign(&names(&["example.org"]), from, until)
        .unwrap();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let server = config::server(config::certified(vec![stolen], key).unwrap()).unwrap();
    handshake(
        &server,
        Some(authority.certificate()),
        "example.org",
        start(),
    )
    .unwrap_err();
}

#[test]
fn bad_names_are_told() {
    let house = House::new();
    let authority = house.open().unwrap();
    let error = |names: &[Name]| {
        authority
            .server_config(names, start())
            .unwrap_err()
            .to_string()
    };
    assert!(error(&[]).contains("at least one name"));
    assert!(error(&[Name::Dns("https://box".to_owned())]).contains("\"https://box\" is neither"));
    let many: Vec<Name> = (0..=MAX_NAMES as u8)
        .map(|at| Name::Ip(IpAddr::from([10, 0, 0, at])))
        .collect();
    assert!(error(&many).contains("101 names are too many"));
    let mapped = Name::Ip("::ffff:10.0.0.1".parse().unwrap());
    let config = authority.server_config(&[mapped], start()).unwrap();
    handshake(&config, Some(authority.certificate()), "10.0.0.1", start()).unwrap();
}

#[test]
fn a_broken_authority_is_an_error_and_stays_as_it_is() {
    let house = House::new();
    house.open().unwrap();
    let (ca, key) = (house.read("ca.pem"), house.read("ca-key.pem"));
    let other = House::new();
    other.open().unwrap();
    let broken = |name: &str, text: &str, problem: &str| {
        std::fs::write(house.path("ca.pem"), &ca).unwrap();
        std::fs::write(house.path("ca-key.pem"), &key).unwrap();
        std::fs::write(house.path(name), text).unwrap();
        let error = house.error();
        assert!(error.contains(problem), "{error}\nshould say {problem}");
        assert!(error.contains("Put back ca.pem and ca-key.pem"), "{error}");
        assert_eq!(house.read(name), text, "it was replaced");
    };
    broken("ca.pem", "", "ca.pem is broken: it is empty");
    broken("ca.pem", "no PEM", "ca.pem does not hold one certificate");
    broken("ca.pem", &ca[..200], "was it cut off?");
    broken("ca.pem", &ca.replace('M', "!"), "no base64");
    broken(
        "ca.pem",
        &(ca.clone() + &ca),
        "does not hold one certificate",
    );
    broken(
        "ca.pem",
        &pem::encode("CERTIFICATE", b"a cat"),
        "no certificate of an authority",
    );
    broken(
        "ca.pem",
        &other.read("ca.pem"),
        "ca-key.pem is not the key of ca.pem",
    );
    broken("ca-key.pem", "", "ca-key.pem is broken: it is empty");
    broken("ca-key.pem", &ca, "ca-key.pem does not hold one key");
    broken(
        "ca-key.pem",
        &pem::encode("PRIVATE KEY", b"a cat"),
        "no key that can sign",
    );
    broken(
        "ca-key.pem",
        &other.read("ca-key.pem"),
        "ca-key.pem is not the key of ca.pem",
    );
    let mut foreign = params("another", start().into(), (start() + DAY).into());
    foreign
        .distinguished_name
        .push(DnType::OrganizationName, "a company");
    let pair = KeyPair::from_pkcs8_der_and_sign_algo(
        &pem::read(&other.path("ca-key.pem"), "").unwrap().keys[0]
            .secret_der()
            .into(),
        &PKCS_ECDSA_P256_SHA256,
    )
    .unwrap();
    std::fs::write(
        other.path("ca.pem"),
        pem::encode("CERTIFICATE", foreign.self_signed(&pair).unwrap().der()),
    )
    .unwrap();
    assert!(
        other.error().contains("another authority"),
        "{}",
        other.error()
    );
    for (name, text, problem) in [
        ("ca.pem", &ca, "ca.pem is missing"),
        ("ca-key.pem", &key, "ca-key.pem is missing"),
    ] {
        std::fs::write(house.path("ca.pem"), &ca).unwrap();
        std::fs::write(house.path("ca-key.pem"), &key).unwrap();
        std::fs::remove_file(house.path(name)).unwrap();
        assert!(house.error().contains(problem), "{}", house.error());
        assert!(!house.path(name).exists());
        std::fs::write(house.path(name), text).unwrap();
    }
    house.open().unwrap();
}

#[test]
fn a_folder_that_cannot_be_made_is_told() {
    let house = House::new();
    std::fs::write(house.folder.path().join("tls"), "a file").unwrap();
    assert!(
        house.error().starts_with("cannot write "),
        "{}",
        house.error()
    );
}

#[test]
fn what_the_authority_tells_of_itself_is_right() {
    let house = House::new();
    let authority = house.open().unwrap();
    assert!(authority.name().starts_with("matou authority of "));
    assert_eq!(authority.path(), house.path("ca.pem"));
    let print = authority.fingerprint();
    assert_eq!(print.len(), 32 * 3 - 1);
    assert!(
        print
            .split(':')
            .all(|byte| u8::from_str_radix(byte, 16).is_ok())
    );
    let text = authority.trust_instructions();
    assert!(text.contains(&print) && text.contains(authority.name()));
    assert!(!format!("{authority:?}").contains("KEY"));
    assert_eq!(
        authority.facts.not_after - authority.facts.not_before,
        YEARS + SKEW
    );
}

#[cfg(unix)]
#[test]
fn nobody_else_reads_the_folder() {
    use std::os::unix::fs::PermissionsExt as _;
    let house = House::new();
    let authority = house.open().unwrap();
    authority
        .server_config(&names(&["localhost"]), start())
        .unwrap();
    let mode = |name: &str| house.path(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(""), 0o700);
    for name in ["ca.pem", "ca-key.pem", "server.pem", ".lock"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(house.path("ca-key.pem"), open).unwrap();
    house.open().unwrap();
    assert_eq!(mode("ca-key.pem"), 0o600);
    let left = std::fs::read_dir(house.path("")).unwrap().count();
    assert_eq!(left, 4, "no file of before its name");
}

#[test]
fn many_at_once_make_one_authority_and_good_certificates() {
    let house = House::new();
    let made: Vec<(String, Arc<ServerConfig>, String)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|at| {
                let house = &house;
                scope.spawn(move || {
                    let authority = house.open().unwrap();
                    let name = format!("10.0.0.{at}");
                    let config = authority.server_config(&names(&[&name]), start()).unwrap();
                    (authority.fingerprint(), config, name)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let ca = house.read("ca.pem");
    for (print, config, name) in &made {
        assert_eq!(*print, made[0].0);
        handshake(config, Some(&ca), name, start()).unwrap();
    }
}
