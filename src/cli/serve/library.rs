//! Personas that clients add, change and delete, where the server's owner lets them: cards in a folder of
//! the server's own. Those of `--personas` are never touched.

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use matou_llm::models::Models;
use matou_persona::{MAX_CARD_BYTES, Persona};
use matou_server::{PersonaEditError, PersonaManagement};
use tracing::error;

use super::personas::{self, MAX_CARDS, warm_one};
use crate::cli::cards;

/// The first bytes of a PNG file and of a ZIP archive.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
const ZIP: &[u8] = b"PK\x03\x04";

/// What a change gives.
type Edited<T> = Result<T, PersonaEditError>;

/// From where the personas were read, and which is of which file.
#[derive(Debug, Clone, Default)]
pub(super) struct Files(Arc<Mutex<Read>>);

#[derive(Debug, Default)]
struct Read {
    folders: Vec<PathBuf>,
    own: Option<PathBuf>,
    files: HashMap<String, PathBuf>,
}

impl Files {
    /// Reads the cards of these folders and files, and of the server's own folder, which need not be there
    /// yet. `names` are those of models and adapters.
    ///
    /// # Errors
    ///
    /// When a folder cannot be read.
    pub(super) fn read(
        &self,
        folders: Vec<PathBuf>,
        own: Option<PathBuf>,
        names: &[String],
    ) -> Result<Vec<Arc<Persona>>> {
        let there = own.iter().filter(|own| own.is_dir());
        let all: Vec<PathBuf> = folders.iter().chain(there).cloned().collect();
        let found = personas::read(&all, names)?;
        *self.lock() = Read {
            folders,
            own,
            files: found.files,
        };
        Ok(found.personas)
    }

    fn again(&self, names: &[String]) -> Result<Vec<Arc<Persona>>> {
        let read = self.lock();
        let (folders, own) = (read.folders.clone(), read.own.clone());
        drop(read);
        self.read(folders, own, names)
    }

    fn of(&self, name: &str) -> Option<PathBuf> {
        self.lock().files.get(name).cloned()
    }

    fn below(&self, folder: &Path) -> Vec<String> {
        let read = self.lock();
        let own = read
            .files
            .iter()
            .filter(|(_, path)| path.starts_with(folder));
        own.map(|(name, _)| name.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Read> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The folder, and what speaks for those in it.
#[derive(Clone)]
pub(super) struct Library {
    folder: PathBuf,
    files: Files,
    models: Models,
    /// One change at a time.
    turn: Arc<Mutex<()>>,
}

impl Library {
    pub(super) fn new(folder: PathBuf, files: Files, models: Models) -> Self {
        Self {
            folder,
            files,
            models,
            turn: Arc::default(),
        }
    }

    /// The file of a persona of this folder.
    fn own(&self, name: &str) -> Edited<PathBuf> {
        let path = self.files.of(name);
        let own = path.filter(|path| path.starts_with(&self.folder));
        own.ok_or_else(|| {
            PersonaEditError::Card(format!("There is no persona `{name}` that can be changed."))
        })
    }

    /// Serves what the folders have now.
    fn look_again(&self) -> Edited<()> {
        let models = self.models.list();
        let models = models.iter().flat_map(|model| &model.facts.names).cloned();
        let adapters = self.models.adapters().into_iter();
        let names: Vec<String> = models.chain(adapters.map(|it| it.name)).collect();
        let personas = self.files.again(&names).map_err(in_the_log)?;
        self.models.set_personas(personas);
        Ok(())
    }

    /// Keeps a card under its persona's name, and has it served. `before` is the file that it replaces.
    fn keep(&self, card: &[u8], id: &str, before: Option<&Path>) -> Edited<()> {
        let taken = self.files.of(id);
        if taken.is_some() && taken.as_deref() != before {
            return Err(PersonaEditError::Card(format!(
                "There is a persona `{id}` already; give this one another name."
            )));
        }
        let kept = self.write(card, id, before)?;
        self.look_again()?;
        if self.files.of(id).as_ref() == Some(&kept.path) {
            return Ok(());
        }
        kept.undo().map_err(in_the_log)?;
        self.look_again()?;
        Err(PersonaEditError::Card(format!(
            "`{id}` cannot be served: a model has this name, or it speaks with a model that is not served \
             here. The server's log says which."
        )))
    }

    /// Puts a card where it belongs, whole or not at all.
    fn write(&self, card: &[u8], id: &str, before: Option<&Path>) -> Edited<Written> {
        fs::create_dir_all(&self.folder).map_err(in_the_log)?;
        let count = cards::found(&self.folder).map_err(in_the_log)?.len();
        if before.is_none() && count >= MAX_CARDS {
            return Err(PersonaEditError::Card(format!(
                "There are {MAX_CARDS} personas already; delete some."
            )));
        }
        let path = match before.filter(|path| ending(path) == kind(card)) {
            Some(path) => path.to_owned(),
            None => free(&self.folder, id, kind(card)),
        };
        let old = before.map(|path| fs::read(path).map(|bytes| (path.to_owned(), bytes)));
        let old = old.transpose().map_err(in_the_log)?;
        put(&path, card).map_err(in_the_log)?;
        if let Some(before) = before.filter(|before| *before != path) {
            fs::remove_file(before).map_err(in_the_log)?;
        }
        Ok(Written { path, old })
    }

    /// Does `work` off the async workers, to its end, while nobody else changes anything.
    fn alone<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Edited<T> + Send + 'static,
    ) -> BoxFuture<'static, Edited<T>> {
        let library = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            let _turn = library.turn.lock().unwrap_or_else(PoisonError::into_inner);
            work(&library)
        });
        async move { done.await.unwrap_or_else(|error| Err(in_the_log(error))) }.boxed()
    }
}

/// A card that was put into the folder.
struct Written {
    path: PathBuf,
    /// What was there in its place.
    old: Option<(PathBuf, Vec<u8>)>,
}

impl Written {
    fn undo(self) -> std::io::Result<()> {
        let Some((path, bytes)) = self.old else {
            return fs::remove_file(&self.path);
        };
        put(&path, &bytes)?;
        match path == self.path {
            true => Ok(()),
            false => fs::remove_file(&self.path),
        }
    }
}

impl PersonaManagement for Library {
    fn names(&self) -> Vec<String> {
        self.files.below(&self.folder)
    }

    fn add(&self, card: Vec<u8>, file_name: String) -> BoxFuture<'static, Edited<String>> {
        if card.len() > MAX_CARD_BYTES {
            let error = PersonaEditError::Card(format!(
                "The card has {} bytes, and at most {MAX_CARD_BYTES} are read: give it a smaller picture.",
                card.len()
            ));
            return futures_util::future::ready(Err(error)).boxed();
        }
        let added = self.alone(move |library| {
            let id = read(&card, &file_name)?.id().to_owned();
            library.keep(&card, &id, None)?;
            Ok(id)
        });
        warmed(self.models.clone(), added)
    }

    fn card(&self, name: String) -> BoxFuture<'static, Edited<String>> {
        self.alone(move |library| {
            let path = library.own(&name)?;
            Ok(cards::read(&path).map_err(in_the_log)?.to_json())
        })
    }

    fn replace(&self, name: String, card: Vec<u8>) -> BoxFuture<'static, Edited<String>> {
        let replaced = self.alone(move |library| {
            let path = library.own(&name)?;
            let (id, card) = with_picture(&card, &path)?;
            library.keep(&card, &id, Some(&path))?;
            Ok(id)
        });
        warmed(self.models.clone(), replaced)
    }

    fn remove(&self, name: String) -> BoxFuture<'static, Edited<()>> {
        self.alone(move |library| {
            let path = library.own(&name)?;
            fs::remove_file(path).map_err(in_the_log)?;
            library.look_again()
        })
    }
}

/// The same, and then its persona's model reads what it is always told.
fn warmed(
    models: Models,
    edited: BoxFuture<'static, Edited<String>>,
) -> BoxFuture<'static, Edited<String>> {
    async move {
        let id = edited.await?;
        let name = id.clone();
        tokio::spawn(async move { warm_one(&models, &name).await });
        Ok(id)
    }
    .boxed()
}

/// What is the server's own trouble, with its paths.
fn in_the_log(error: impl std::fmt::Display) -> PersonaEditError {
    error!("personas cannot be changed: {error:#}");
    PersonaEditError::Server(
        "The card cannot be kept or read; the server's log says why.".to_owned(),
    )
}

fn read(card: &[u8], file_name: &str) -> Edited<Persona> {
    let read = Persona::read(card, file_name);
    read.map_err(|error| {
        PersonaEditError::Card(format!("This is no card that can be used: {error}."))
    })
}

/// A card in JSON, with the picture of the file that it replaces, and its persona's name.
fn with_picture(card: &[u8], before: &Path) -> Edited<(String, Vec<u8>)> {
    let new = read(card, "card.json")?;
    let id = new.id().to_owned();
    let old = cards::read(before).map_err(in_the_log)?;
    let picture = old.picture();
    if new.picture().is_some() || picture.is_none() {
        return Ok((id, card.to_vec()));
    }
    let picture = picture.filter(|picture| picture.media_type == "image/png");
    let picture = picture.ok_or_else(|| {
        PersonaEditError::Card(
            "The card's picture is no PNG and would be lost: export the card as PNG, and import that."
                .to_owned(),
        )
    })?;
    let card = new.to_png(Some(&picture.bytes)).map_err(in_the_log)?;
    Ok((id, card))
}

/// How files of this kind end.
fn kind(card: &[u8]) -> &'static str {
    match card {
        card if card.starts_with(PNG) => "png",
        card if card.starts_with(ZIP) => "charx",
        card if card.trim_ascii_start().starts_with(b"{") => "json",
        _ => "toml",
    }
}

fn ending(path: &Path) -> &str {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.unwrap_or_default()
}

/// A file of the folder that is not there yet.
fn free(folder: &Path, id: &str, ending: &str) -> PathBuf {
    let letter = |letter: char| match letter.is_ascii_alphanumeric() || "-_".contains(letter) {
        true => letter,
        false => '-',
    };
    let stem: String = id.chars().take(60).map(letter).collect();
    let numbered = (2..).map(|number| format!("{stem}-{number}.{ending}"));
    let mut names = std::iter::once(format!("{stem}.{ending}")).chain(numbered);
    let path = names.find_map(|name| Some(folder.join(name)).filter(|path| !path.exists()));
    path.unwrap_or_else(|| folder.join(format!("{stem}.{ending}")))
}

/// Writes a file so that it is there whole or not at all.
fn put(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = path.with_extension("part");
    let written = fs::File::create(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    });
    if written.is_err() {
        // What there is of it is of no use.
        let _ = fs::remove_file(&beside);
    }
    written
}
