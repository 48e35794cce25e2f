//! The model hub: what a repository holds, and its files into the cache.
//!
//! A file is fetched in this order, so that no other program ever sees a wrong or half-written one:
//!
//! ```text
//! HEAD → etag, size, commit → lock the etag → bytes into blobs/<etag>.matou-incomplete (resumed)
//!      → SHA-256 → rename to blobs/<etag> → link from snapshots/<commit>/<path> → refs/<revision>
//! ```

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use hf_hub::api::RepoInfo;
use hf_hub::api::tokio::{Api, ApiBuilder, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};
use reqwest::header::RANGE;
use reqwest::redirect::Policy;
use reqwest::{RequestBuilder, Response, StatusCode, Url};

use crate::cache::{RepoCache, is_commit};
use crate::error::{SourceError, root_cause};
use crate::git_object;
use crate::model_ref::{HubRef, is_relative_path};
use crate::options::HubOptions;
use crate::progress::Progress;
use crate::verify::{HashingFile, Sha256, Verified};

/// Attempts in a row that bring no byte before a download is given up.
const ATTEMPTS: u32 = 3;

/// Where models come from if nothing else is said.
const ENDPOINT: &str = "https://huggingface.co";

/// Longest silence of a connection before it counts as broken.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to the model hub. hf-hub knows the hub's addresses and answers; its requests are
/// carried by clients of ours, because its own has no limits of time.
pub(crate) struct Hub<'a> {
    api: Api,
    endpoint: &'a str,
    client: reqwest::Client,
    /// Stays on the hub itself, because the headers that describe a file are on the answer that
    /// redirects to its storage, and not on the storage's.
    metadata_client: reqwest::Client,
    options: &'a HubOptions,
}

/// What the hub says of a file.
struct FileMetadata {
    /// Names the content: SHA-256 of a large file, git's object id of a small one.
    etag: String,
    commit: String,
    size: u64,
}

impl<'a> Hub<'a> {
    pub(crate) fn new(options: &'a HubOptions) -> Result<Self, SourceError> {
        if options.offline {
            return Err(SourceError::Offline);
        }
        let endpoint = options.endpoint.as_deref().unwrap_or(ENDPOINT);
        let api = ApiBuilder::from_cache(Cache::new(options.hub_cache.clone()))
            .with_endpoint(endpoint.trim_end_matches('/').to_owned())
            .with_token(None)
            .build()
            .map_err(|error| SourceError::Protocol(root_cause(&error)))?;
        let stay = Policy::custom(|attempt| {
            let from = attempt.previous().last().map(Url::origin);
            let stays = from == Some(attempt.url().origin()) && attempt.previous().len() < 10;
            if stays {
                attempt.follow()
            } else {
                attempt.stop()
            }
        });
        Ok(Self {
            api,
            endpoint,
            client: http_client(options, Policy::default())?,
            metadata_client: http_client(options, stay)?,
            options,
        })
    }

    /// Paths of the files that a repository holds.
    pub(crate) async fn list(&self, hub: &HubRef) -> Result<Vec<String>, SourceError> {
        let request = self.repo(hub, hub.revision()).info_request().build();
        let request = request.map_err(|_| self.no_address())?;
        let request = RequestBuilder::from_parts(self.client.clone(), request);
        let answer = self.send(request, hub, None).await?.bytes().await;
        let answer = answer.map_err(|error| self.unreachable(&error))?;
        let info: RepoInfo = serde_json::from_slice(&answer)
            .map_err(|error| SourceError::Protocol(error.to_string()))?;
        let siblings = info.siblings.into_iter();
        Ok(siblings
            .map(|sibling| sibling.rfilename)
            .filter(|path| is_relative_path(path))
            .collect())
    }

    /// Brings a file into the cache, if it is not there, and returns its path. `expected` is the
    /// digest that the catalogue promises; without it the hub's own word is taken.
    pub(crate) async fn fetch(
        &self,
        hub: &HubRef,
        file: &str,
        expected: Option<Sha256>,
    ) -> Result<PathBuf, SourceError> {
        let remote = self.metadata(hub, file).await?;
        let expected = match (remote.etag.parse().ok(), expected) {
            (Some(promised), Some(expected)) => {
                agree(file, promised, expected, "the catalogue")?;
                Some((promised, "the hub"))
            }
            (Some(promised), None) => Some((promised, "the hub")),
            (None, expected) => expected.map(|expected| (expected, "the catalogue")),
        };
        let cache = RepoCache::new(&self.options.hub_cache, &hub.repo);
        let verified = Verified::new(&self.options.cache_dir);
        let blob = cache.blob(&remote.etag);
        let _lock = cache
            .lock(&remote.etag)
            .await
            .map_err(SourceError::io(&blob))?;
        let is_expected = |(digest, _)| verified.digest(&blob).is_ok_and(|actual| actual == digest);
        if !blob.exists() || !expected.is_none_or(is_expected) {
            let partial = cache.incomplete(&remote.etag);
            let digest = self.transfer(hub, file, &remote, &partial).await?;
            if let Some((expected, authority)) = expected
                && let Err(error) = agree(file, digest, expected, authority)
            {
                std::fs::remove_file(&partial).map_err(SourceError::io(&partial))?;
                return Err(error);
            }
            if let Some(expected) = git_object::promised(&remote.etag) {
                let actual = git_object::id_of(&partial).map_err(SourceError::io(&partial))?;
                if !actual.eq_ignore_ascii_case(expected) {
                    std::fs::remove_file(&partial).map_err(SourceError::io(&partial))?;
                    return Err(SourceError::ObjectMismatch {
                        file: file.to_owned(),
                        actual,
                        expected: expected.to_owned(),
                    });
                }
            }
            std::fs::rename(&partial, &blob).map_err(SourceError::io(&blob))?;
            verified.remember(&blob, digest);
        }
        let published = cache.publish(hub.revision(), &remote.commit, file, &remote.etag);
        published.map_err(SourceError::io(&blob))
    }

    /// Collects a file's bytes in `partial`, going on where an earlier attempt stopped.
    async fn transfer(
        &self,
        hub: &HubRef,
        file: &str,
        remote: &FileMetadata,
        partial: &Path,
    ) -> Result<Sha256, SourceError> {
        let folder = partial.parent().unwrap_or(partial);
        std::fs::create_dir_all(folder).map_err(SourceError::io(folder))?;
        let mut target =
            HashingFile::resume(partial, remote.size).map_err(SourceError::io(partial))?;
        let mut progress = Progress::bytes(&self.options.progress, file, remote.size);
        progress.set(target.len());
        let (mut failures, mut pause) = (0, self.options.retry_delay);
        while target.len() < remote.size {
            let before = target.len();
            let cause = match self
                .transfer_once(hub, file, remote, &mut target, &mut progress)
                .await
            {
                Ok(()) => "the connection was closed early".to_owned(),
                Err(SourceError::Unreachable { cause, .. }) => cause,
                Err(error) => return Err(error),
            };
            if target.len() == remote.size {
                break;
            }
            if target.len() > before {
                (failures, pause) = (0, self.options.retry_delay);
            }
            failures += 1;
            if failures == ATTEMPTS {
                let (received, size) = (target.len(), remote.size);
                return Err(SourceError::Interrupted {
                    file: file.to_owned(),
                    received,
                    size,
                    cause,
                });
            }
            tracing::warn!(
                file,
                received = target.len(),
                cause,
                "the download broke off; going on"
            );
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        target.finish().map_err(SourceError::io(partial))
    }

    /// One connection's worth of a file. [`SourceError::Unreachable`] is worth another attempt.
    async fn transfer_once(
        &self,
        hub: &HubRef,
        file: &str,
        remote: &FileMetadata,
        target: &mut HashingFile,
        progress: &mut Progress,
    ) -> Result<(), SourceError> {
        let url = self.file_url(hub, &remote.commit, file)?;
        let range = format!("bytes={}-{}", target.len(), remote.size.saturating_sub(1));
        let request = self.client.get(url).header(RANGE, range);
        let opened = self.send(request, hub, Some(file)).await?;
        let is_part = opened.status() == StatusCode::PARTIAL_CONTENT;
        let mut stream = opened.bytes_stream();
        let local = |error| SourceError::Io {
            path: PathBuf::from(file),
            source: error,
        };
        if target.len() > 0 && !is_part {
            // The server ignored the range and sends everything.
            target.restart().map_err(local)?;
        }
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| self.unreachable(&error))?;
            if target.len() + chunk.len() as u64 > remote.size {
                target.restart().map_err(local)?;
                let problem = format!("{file} is longer than the {} bytes announced", remote.size);
                return Err(SourceError::Protocol(problem));
            }
            // Blocking is fine: nothing else runs while a model is being fetched.
            target.write_all(&chunk).map_err(local)?;
            progress.set(target.len());
        }
        Ok(())
    }

    async fn metadata(&self, hub: &HubRef, file: &str) -> Result<FileMetadata, SourceError> {
        let url = self.file_url(hub, hub.revision(), file)?;
        let request = self.metadata_client.head(url);
        let response = self.send(request, hub, Some(file)).await?;
        let missing = |name: &str| SourceError::Protocol(format!("no {name} for {file}"));
        let etag = header(&response, "x-linked-etag").or_else(|| header(&response, "etag"));
        let etag = etag.ok_or_else(|| missing("ETag"))?;
        let etag = etag.trim_start_matches("W/").trim_matches('"').to_owned();
        let commit = header(&response, "x-repo-commit").ok_or_else(|| missing("X-Repo-Commit"))?;
        let size =
            header(&response, "x-linked-size").or_else(|| header(&response, "content-length"));
        let size = size
            .and_then(|size| size.parse().ok())
            .ok_or_else(|| missing("size"))?;
        // Both become names of files.
        if etag.is_empty()
            || !etag
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        {
            return Err(SourceError::Protocol(format!(
                "`{etag}` is no ETag of a file"
            )));
        }
        if !is_commit(&commit) {
            return Err(SourceError::Protocol(format!("`{commit}` is no commit")));
        }
        Ok(FileMetadata { etag, commit, size })
    }

    fn repo(&self, hub: &HubRef, revision: &str) -> ApiRepo {
        let (repo, revision) = (hub.repo.clone(), revision.to_owned());
        self.api
            .repo(Repo::with_revision(repo, RepoType::Model, revision))
    }

    /// hf-hub's address of a revision, and below it the file's path, whose characters it would not
    /// escape.
    fn file_url(&self, hub: &HubRef, revision: &str, file: &str) -> Result<Url, SourceError> {
        let root = self.repo(hub, revision).url("");
        let mut url = Url::parse(&root).map_err(|_| self.no_address())?;
        url.path_segments_mut()
            .map_err(|()| self.no_address())?
            .pop_if_empty()
            .extend(file.split('/'));
        Ok(url)
    }

    /// Sends a request about `file`, or about the whole repository; the answer is no refusal.
    async fn send(
        &self,
        mut request: RequestBuilder,
        hub: &HubRef,
        file: Option<&str>,
    ) -> Result<Response, SourceError> {
        if let Some(token) = &self.options.token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await;
        let response = response.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() || status.is_redirection() {
            return Ok(response);
        }
        let message = header(&response, "x-error-message");
        let code = header(&response, "x-error-code");
        Err(self.refusal(status, code.as_deref(), message, hub, file))
    }

    fn no_address(&self) -> SourceError {
        SourceError::Protocol(format!("`{}` is no address of a hub", self.endpoint))
    }

    fn unreachable(&self, error: &reqwest::Error) -> SourceError {
        let seconds = |limit: Duration| limit.as_secs_f32();
        let cause = if !error.is_timeout() {
            root_cause(error)
        } else if error.is_connect() {
            format!(
                "no connection within {} s",
                seconds(self.options.connect_timeout)
            )
        } else {
            format!("no answer within {} s", seconds(READ_TIMEOUT))
        };
        SourceError::Unreachable {
            endpoint: self.endpoint.to_owned(),
            cause,
        }
    }

    fn refusal(
        &self,
        status: StatusCode,
        code: Option<&str>,
        message: Option<String>,
        hub: &HubRef,
        file: Option<&str>,
    ) -> SourceError {
        let repo = &hub.repo;
        match (status, code, file) {
            (StatusCode::NOT_FOUND, Some("RevisionNotFound"), _) => {
                SourceError::NotFound(format!("{repo} has no revision `{}`", hub.revision()))
            }
            (StatusCode::NOT_FOUND, None | Some("EntryNotFound"), Some(file)) => {
                SourceError::NotFound(format!(
                    "{repo} has no file `{file}` at revision `{}`",
                    hub.revision()
                ))
            }
            (StatusCode::NOT_FOUND, _, _) => {
                SourceError::NotFound(format!("there is no repository {repo}"))
            }
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _, _) => SourceError::Refused {
                status: status.as_u16(),
                message,
                token_sent: self.options.token.is_some(),
            },
            _ => SourceError::Http {
                status: status.as_u16(),
                message,
            },
        }
    }
}

/// Refuses a digest that is not the promised one.
pub(crate) fn agree(
    file: &str,
    actual: Sha256,
    expected: Sha256,
    authority: &'static str,
) -> Result<(), SourceError> {
    if actual == expected {
        return Ok(());
    }
    Err(SourceError::Sha256Mismatch {
        file: file.to_owned(),
        actual,
        expected,
        authority,
    })
}

fn http_client(options: &HubOptions, redirects: Policy) -> Result<reqwest::Client, SourceError> {
    reqwest::Client::builder()
        .user_agent(concat!("matou/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(options.connect_timeout)
        .read_timeout(READ_TIMEOUT)
        .redirect(redirects)
        .build()
        .map_err(|error| SourceError::Protocol(root_cause(&error)))
}

fn header(response: &Response, name: &str) -> Option<String> {
    Some(response.headers().get(name)?.to_str().ok()?.to_owned())
}
