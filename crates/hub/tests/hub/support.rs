//! A model hub on this machine: the few addresses that downloads use, with the real hub's habit of
//! redirecting large files to a storage server of another origin.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, Response, StatusCode};
use axum::routing::any;
use futures_util::stream;
use matou_hub::{HubOptions, ProgressMode};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the hub holds and how it behaves; tests change it while it runs.
pub(crate) struct Behaviour {
    /// The one repository: file path → bytes.
    pub files: HashMap<String, Vec<u8>>,
    pub commit: String,
    /// Bytes served in place of a file's own, by path.
    pub forged: HashMap<String, Vec<u8>>,
    /// ETag sent in place of the true one.
    pub etag: Option<String>,
    /// Token that opens the repository.
    pub token: Option<String>,
    /// The next downloads break off after so many bytes each.
    pub cuts: Vec<usize>,
    pub ignore_range: bool,
    /// Every request: method, path, and the Range of downloads.
    pub requests: Vec<String>,
}

#[derive(Clone)]
pub(crate) struct FakeHub {
    pub behaviour: Arc<Mutex<Behaviour>>,
    pub endpoint: String,
    storage: String,
}

impl FakeHub {
    /// Starts a hub that holds `files` in the repository `me/mine`. It ends with the test's runtime.
    pub(crate) async fn start(files: &[(&str, &[u8])]) -> Self {
        let behaviour = Behaviour {
            files: files
                .iter()
                .map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec()))
                .collect(),
            commit: COMMIT.to_owned(),
            forged: HashMap::new(),
            etag: None,
            token: None,
            cuts: Vec::new(),
            ignore_range: false,
            requests: Vec::new(),
        };
        let front = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let back = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let hub = Self {
            behaviour: Arc::new(Mutex::new(behaviour)),
            endpoint: format!("http://{}", front.local_addr().unwrap()),
            storage: format!("http://{}", back.local_addr().unwrap()),
        };
        let routes = Router::new()
            .route("/api/models/me/mine/revision/{revision}", any(info))
            .route("/me/mine/resolve/{revision}/{*file}", any(file))
            .fallback(|| async { (StatusCode::NOT_FOUND, [("x-error-code", "RepoNotFound")]) })
            .with_state(hub.clone());
        let storage = Router::new()
            .route("/{*file}", any(stored))
            .with_state(hub.clone());
        tokio::spawn(async move { axum::serve(front, routes).await });
        tokio::spawn(async move { axum::serve(back, storage).await });
        hub
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.behaviour.lock().unwrap());
    }

    /// The requests since the last call.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.behaviour.lock().unwrap().requests)
    }

    /// The downloads among the requests since the last call: file and Range.
    pub(crate) fn downloads(&self) -> Vec<String> {
        let requests = self.requests().into_iter();
        requests
            .filter_map(|line| Some(line.strip_prefix("GET storage/")?.to_owned()))
            .collect()
    }
}

/// Options that keep everything in a folder of the test's own.
pub(crate) fn options(endpoint: &str) -> (HubOptions, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let options = HubOptions {
        endpoint: Some(endpoint.to_owned()),
        token: None,
        hub_cache: folder.path().join("hub"),
        cache_dir: folder.path().join("matou"),
        offline: false,
        refresh: false,
        progress: ProgressMode::Silent,
        connect_timeout: Duration::from_secs(5),
        retry_delay: Duration::from_millis(1),
        pip_env: vec![("PIP_NO_INDEX".to_owned(), "1".to_owned())],
    };
    (options, folder)
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// As on the real hub, weights are in large-file storage and the rest in git.
fn is_large(file: &str) -> bool {
    file.ends_with(".gguf") || file.ends_with(".safetensors")
}

async fn info(State(hub): State<FakeHub>, Path(revision): Path<String>) -> Response<Body> {
    let mut behaviour = hub.behaviour.lock().unwrap();
    behaviour.requests.push(format!("GET info {revision}"));
    if revision != "main" && revision != behaviour.commit {
        return status(StatusCode::NOT_FOUND, "RevisionNotFound");
    }
    let siblings: Vec<String> = behaviour
        .files
        .keys()
        .map(|file| format!(r#"{{"rfilename": "{file}"}}"#))
        .collect();
    let (commit, siblings) = (&behaviour.commit, siblings.join(","));
    let json = format!(r#"{{"id": "me/mine", "sha": "{commit}", "siblings": [{siblings}]}}"#);
    Response::new(Body::from(json))
}

async fn file(
    State(hub): State<FakeHub>,
    Path((revision, file)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Response<Body> {
    let mut behaviour = hub.behaviour.lock().unwrap();
    behaviour.requests.push(format!("{method} {file}"));
    let given = headers
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    if let Some(token) = &behaviour.token {
        match given {
            None => return status(StatusCode::UNAUTHORIZED, "GatedRepo"),
            Some(given) if given != format!("Bearer {token}") => {
                return status(StatusCode::FORBIDDEN, "GatedRepo");
            }
            Some(_) => {}
        }
    }
    if revision != "main" && revision != behaviour.commit {
        return status(StatusCode::NOT_FOUND, "RevisionNotFound");
    }
    let Some(bytes) = behaviour.files.get(&file) else {
        return status(StatusCode::NOT_FOUND, "EntryNotFound");
    };
    let etag = behaviour
        .etag
        .clone()
        .unwrap_or_else(|| match is_large(&file) {
            true => sha256(bytes),
            false => format!("git{}", bytes.len()),
        });
    let response = Response::builder().header("x-repo-commit", &behaviour.commit);
    match is_large(&file) {
        true => response
            .status(StatusCode::FOUND)
            .header("x-linked-etag", format!("\"{etag}\""))
            .header("x-linked-size", bytes.len())
            .header("location", format!("{}/{file}", hub.storage))
            .body(Body::empty())
            .unwrap(),
        false => response
            .header("etag", format!("\"{etag}\""))
            .body(Body::from(bytes.clone()))
            .unwrap(),
    }
}

/// The storage server: ranges, and connections that break.
async fn stored(
    State(hub): State<FakeHub>,
    Path(file): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Response<Body> {
    assert!(
        headers.get("authorization").is_none(),
        "the token must stay on the hub"
    );
    let mut behaviour = hub.behaviour.lock().unwrap();
    let bytes = behaviour
        .forged
        .get(&file)
        .unwrap_or(&behaviour.files[&file])
        .clone();
    let range = headers
        .get("range")
        .map(|value| value.to_str().unwrap().to_owned());
    let response = Response::builder();
    if method == Method::HEAD {
        return response
            .header("content-length", bytes.len())
            .body(Body::empty())
            .unwrap();
    }
    let start = range.as_deref().and_then(|range| {
        range
            .strip_prefix("bytes=")?
            .split('-')
            .next()?
            .parse()
            .ok()
    });
    let start = start.filter(|_| !behaviour.ignore_range);
    behaviour
        .requests
        .push(format!("GET storage/{file} {}", range.unwrap_or_default()));
    let rest = bytes[start.unwrap_or(0)..].to_vec();
    let response = response
        .status(if start.is_some() {
            StatusCode::PARTIAL_CONTENT
        } else {
            StatusCode::OK
        })
        .header("content-length", rest.len());
    if behaviour.cuts.is_empty() {
        return response.body(Body::from(rest)).unwrap();
    }
    let cut = behaviour.cuts.remove(0);
    let broken: Vec<Result<Bytes, std::io::Error>> = vec![
        Ok(Bytes::copy_from_slice(&rest[..cut])),
        Err(std::io::ErrorKind::ConnectionReset.into()),
    ];
    // Giving way once has the server write the bytes before it learns of the reset.
    let paced = futures_util::StreamExt::then(stream::iter(broken), |item| async {
        if item.is_err() {
            tokio::task::yield_now().await;
        }
        item
    });
    response.body(Body::from_stream(paced)).unwrap()
}

fn status(status: StatusCode, code: &str) -> Response<Body> {
    Response::builder()
        .status(status)
        .header("x-error-code", code)
        .body(Body::empty())
        .unwrap()
}
