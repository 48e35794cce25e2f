//! The personas of a server: cards in folders.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use matou_llm::models::{ModelState, Models};
use matou_persona::Persona;
use tracing::{info, warn};

use crate::cli::cards;

/// Most cards of a folder: all of them are in memory, and told in one list.
pub(super) const MAX_CARDS: usize = 2_000;

/// The personas of cards, and the file that each is of.
pub(super) struct Found {
    pub(super) personas: Vec<Arc<Persona>>,
    pub(super) files: HashMap<String, PathBuf>,
}

/// Reads the cards of these folders and files. What is wrong with one is told, and keeps none of the
/// others from being served. `names` are those that models and adapters have.
///
/// # Errors
///
/// When a folder cannot be read.
pub(super) fn read(paths: &[PathBuf], names: &[String]) -> Result<Found> {
    let mut personas: Vec<Arc<Persona>> = Vec::new();
    let mut taken: HashMap<String, PathBuf> = HashMap::new();
    for path in paths {
        let found = cards::found(path)?;
        ensure!(
            found.len() <= MAX_CARDS,
            "{} has more than {MAX_CARDS} cards",
            path.display()
        );
        for card in found {
            match fit(&card, names, &taken) {
                Ok(persona) => {
                    taken.insert(persona.id().to_owned(), card);
                    personas.push(Arc::new(persona));
                }
                Err(error) => warn!("{} is not served: {error:#}", card.display()),
            }
        }
    }
    Ok(Found {
        personas,
        files: taken,
    })
}

fn fit(card: &Path, names: &[String], taken: &HashMap<String, PathBuf>) -> Result<Persona> {
    let persona = cards::read(card)?;
    let id = persona.id();
    if let Some(other) = taken.get(id) {
        bail!(
            "a persona `{id}` is there already, of {}; give one of them another name \
             (`extensions.matou.id`, or `id` in TOML)",
            other.display()
        );
    }
    ensure!(
        !names.iter().any(|name| name == id),
        "a model or an adapter is called `{id}`; give the persona another name \
         (`extensions.matou.id`, or `id` in TOML)"
    );
    if let Some(base) = persona.model() {
        ensure!(
            names.iter().any(|name| name == base),
            "it speaks with the model `{base}`, which is not served here; there are {}",
            names.join(", ")
        );
    }
    Ok(persona)
}

/// Has models that are in memory read what their personas are always told.
pub(super) async fn warm(models: Models) {
    for persona in models.personas() {
        warm_one(&models, persona.id()).await;
    }
}

/// The same for one persona.
pub(super) async fn warm_one(models: &Models, id: &str) {
    let Ok(named) = models.named(Some(id)) else {
        return;
    };
    if !matches!(named.model.state, ModelState::Loaded { .. }) {
        return;
    }
    let warmed = async {
        let client = matou_engine::ClientId::ANYBODY;
        models.acquire(Some(id), client, None).await?.warm().await
    };
    match warmed.await {
        Ok(tokens) => info!(persona = id, tokens, "persona is warm"),
        Err(error) => warn!(persona = id, "cannot answer: {error}"),
    }
}
