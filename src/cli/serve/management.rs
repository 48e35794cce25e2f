//! Models fetched and deleted by clients, where `--allow-model-management` says so.

use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use matou_hub::{Catalogue, HubOptions, ModelRef, ProgressMode, on_disk};
use matou_server::{ModelManagement, PullProgress};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

/// Asks the server to look at what there is, and is told when it has.
pub(super) type Wish = oneshot::Sender<()>;

/// The models of this machine.
pub(super) struct OnDisk {
    catalogue: Arc<Catalogue>,
    /// One is fetched at a time.
    turn: Arc<Semaphore>,
    /// Has the server look at what there is.
    wishes: mpsc::Sender<Wish>,
}

impl OnDisk {
    pub(super) fn new(catalogue: Catalogue, wishes: mpsc::Sender<Wish>) -> Self {
        Self {
            catalogue: Arc::new(catalogue),
            turn: Arc::new(Semaphore::new(1)),
            wishes,
        }
    }
}

/// Has the server look at what there is now, and waits until it has.
async fn look_again(wishes: &mpsc::Sender<Wish>) {
    let (wish, done) = oneshot::channel();
    if wishes.send(wish).await.is_ok() {
        // An error would mean that the server is stopping.
        let _ = done.await;
    }
}

impl ModelManagement for OnDisk {
    fn pull(
        &self,
        model: String,
        progress: watch::Sender<PullProgress>,
    ) -> BoxFuture<'static, Result<(), String>> {
        let (catalogue, turn) = (Arc::clone(&self.catalogue), Arc::clone(&self.turn));
        let wishes = self.wishes.clone();
        async move {
            let reference = reference(&catalogue, &model)?;
            let Ok(_turn) = turn.acquire().await else {
                return Err("The server is shutting down.".to_owned());
            };
            let told = Arc::new(move |completed, total| {
                progress.send_replace(PullProgress { completed, total });
            });
            let options = HubOptions::from_env().map_err(|error| error.to_string())?;
            let options = HubOptions {
                refresh: true,
                progress: ProgressMode::Told(told),
                ..options
            };
            let fetched = matou_hub::resolve(&reference, &catalogue, &options).await;
            fetched.map_err(|error| error.to_string())?;
            look_again(&wishes).await;
            Ok(())
        }
        .boxed()
    }

    fn delete(&self, model: String) -> BoxFuture<'static, Result<(), String>> {
        let (catalogue, wishes) = (Arc::clone(&self.catalogue), self.wishes.clone());
        async move {
            let reference = reference(&catalogue, &model)?;
            let ModelRef::Catalogue(name) = &reference else {
                return Err(format!(
                    "`{model}` is no name of the catalogue; only those are deleted."
                ));
            };
            let entry = catalogue.get(name).map_err(|error| error.to_string())?;
            let options = HubOptions::from_env().map_err(|error| error.to_string())?;
            let Some(weights) = on_disk(entry, &options) else {
                return Err(format!("The model `{model}` is not on this machine."));
            };
            let deleted = tokio::task::spawn_blocking(move || delete(&weights)).await;
            let deleted = deleted.map_err(|error| error.to_string())?;
            deleted.map_err(|error| format!("The model `{model}` cannot be deleted: {error}."))?;
            look_again(&wishes).await;
            Ok(())
        }
        .boxed()
    }
}

/// What a client means. A path of this machine is none of its affair.
fn reference(catalogue: &Catalogue, model: &str) -> Result<ModelRef, String> {
    match catalogue
        .reference(Some(model))
        .map_err(|error| error.to_string())?
    {
        ModelRef::Path(_) => Err(format!("`{model}` is a path and no name of a model.")),
        ModelRef::Catalogue(name) => {
            catalogue.get(&name).map_err(|error| error.to_string())?;
            Ok(ModelRef::Catalogue(name))
        }
        reference @ ModelRef::Hub(_) => Ok(reference),
    }
}

/// Removes a model's files from the cache, the bytes behind links included.
fn delete(weights: &Path) -> std::io::Result<()> {
    for file in matou_hub::files_of(weights) {
        matou_hub::remove(&file)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_client_names_models_and_no_paths() {
        let catalogue = Catalogue::builtin();
        for path in ["/etc/passwd", "./model.gguf", "src", "~/m.gguf"] {
            assert!(
                reference(&catalogue, path).unwrap_err().contains("path"),
                "{path}"
            );
        }
        assert!(reference(&catalogue, "smollm2").is_ok());
        assert!(reference(&catalogue, "hf:a/b:Q4_0").is_ok());
        assert!(reference(&catalogue, "no-such-model").is_err());
    }

    #[test]
    fn all_files_of_a_model_are_deleted_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| -> PathBuf { folder.path().join(name) };
        for name in [
            "m-00001-of-00002.gguf",
            "m-00002-of-00002.gguf",
            "other.gguf",
        ] {
            std::fs::write(path(name), "x").unwrap();
        }
        delete(&path("m-00001-of-00002.gguf")).unwrap();
        assert!(!path("m-00001-of-00002.gguf").exists());
        assert!(!path("m-00002-of-00002.gguf").exists());
        assert!(path("other.gguf").exists());
    }
}
