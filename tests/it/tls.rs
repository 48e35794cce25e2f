//! Encrypted connections, with the authority of this machine.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use matou_tls::{LocalAuthority, Name};
use serde_json::{Value, json};

use crate::harness::{PATIENCE, Server, finish, keeping, matou, tiny_model};

/// A client that trusts the authority in a data folder.
fn trusting(data: &Path) -> reqwest::Client {
    let pem = std::fs::read(data.join("tls/ca.pem")).unwrap();
    let authority = reqwest::Certificate::from_pem(&pem).unwrap();
    let client = reqwest::Client::builder().add_root_certificate(authority);
    client.build().unwrap()
}

#[tokio::test]
async fn a_self_signed_server_is_reached_by_who_trusts_its_authority() {
    let data = tempfile::tempdir().unwrap();
    let start = || {
        let mut command = keeping(data.path(), &tiny_model(), &["--tls-self-signed"]);
        command.env("MATOU_API_KEY", "a key that is long enough");
        Server::spawn(command)
    };
    let server = start();
    assert!(
        server.url.starts_with("https://127.0.0.1:"),
        "{}",
        server.url
    );
    let trusts = trusting(data.path());
    let url = |path: &str| format!("{}{path}", server.url);
    let health = trusts.get(url("/health")).send().await.unwrap();
    assert_eq!(health.status(), 200);
    assert!(
        reqwest::Client::new()
            .get(url("/health"))
            .send()
            .await
            .is_err()
    );

    // A browser is told to send its cookie over encrypted connections only.
    let key = json!({"key": "a key that is long enough"});
    let signed = trusts
        .post(url("/session"))
        .json(&key)
        .send()
        .await
        .unwrap();
    assert_eq!(signed.status(), 200);
    let cookie = signed.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("; Secure"), "{cookie}");
    let told: Value = signed.json().await.unwrap();
    assert_eq!(told["is_secure"], true);

    // The same as the file that was trusted.
    let authority = trusts
        .get(url("/ca.pem"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let kept = std::fs::read_to_string(data.path().join("tls/ca.pem")).unwrap();
    assert_eq!(authority, kept);

    // Who speaks plain HTTP is told what to speak.
    let plain = server.url.replace("https://", "http://");
    let plain = reqwest::get(format!("{plain}/health")).await.unwrap();
    assert_eq!(plain.status(), 400);
    assert!(plain.text().await.unwrap().contains("https://"));

    // The next start has the same authority.
    drop(server);
    let again = start();
    let health = trusts
        .get(format!("{}/health", again.url))
        .send()
        .await
        .unwrap();
    assert_eq!(health.status(), 200);
}

/// A certificate and its key in one file, from an authority of its own, for who trusts that.
fn certificate(folder: &Path) -> reqwest::Client {
    let authority = LocalAuthority::open_or_create(&folder.join("tls"), SystemTime::now()).unwrap();
    let here = [Name::Ip([127, 0, 0, 1].into())];
    authority.server_config(&here, SystemTime::now()).unwrap();
    trusting(folder)
}

#[tokio::test]
async fn a_certificate_that_is_replaced_is_shown_after_a_hangup() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (trusts_old, trusts_new) = (certificate(old.path()), certificate(new.path()));
    let file = old.path().join("tls/server.pem");
    let model = tiny_model();
    let path = file.to_str().unwrap();
    let flags = ["--tls-cert", path, "--tls-key", path];
    let server = Server::launch(&model, &flags);
    let health = format!("{}/health", server.url);
    assert_eq!(trusts_old.get(&health).send().await.unwrap().status(), 200);
    assert!(trusts_new.get(&health).send().await.is_err());
    std::fs::copy(new.path().join("tls/server.pem"), &file).unwrap();
    server.signal("HUP");
    let start = Instant::now();
    while trusts_new.get(&health).send().await.is_err() {
        assert!(
            start.elapsed() < PATIENCE,
            "the old certificate is still shown"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn certificates_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("cert.pem"), "no certificate").unwrap();
    let model = tiny_model();
    let model = model.to_str().unwrap();
    let serve = |extra: &[&str]| {
        let mut command = matou(&["serve", model, "--port", "0"]);
        command.args(extra);
        let (success, _, errors) = finish(command);
        assert!(!success, "{extra:?}");
        errors
    };
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    let errors = serve(&["--tls-cert", &cert, "--tls-key", &key]);
    assert!(errors.contains("cert.pem"), "{errors}");
    let errors = serve(&["--tls-cert", &cert]);
    assert!(errors.contains("--tls-key"), "{errors}");
    let errors = serve(&["--tls-cert", &cert, "--tls-key", &key, "--tls-self-signed"]);
    assert!(errors.contains("--tls-self-signed"), "{errors}");
}
