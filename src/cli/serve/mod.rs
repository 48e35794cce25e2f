//! `matou serve`: models behind the OpenAI-compatible API.

mod adapters;
mod announce;
mod args;
mod data;
mod library;
mod management;
mod models;
mod personas;
mod places;
mod reload;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use matou_llm::models::Models;
use matou_provenance::ProvenanceLog;
use matou_server::AppState;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tracing::warn;

use super::config::Invocation;
pub(super) use adapters::AdapterArg;
use announce::{announce, hint};
pub(super) use args::ServeArgs;
use args::settings;
use data::DataFolder;
use models::Planned;
use tls::Secured;

/// How long the engines' threads may take to end once nobody waits for an answer: a step, at most.
const LAST_STEP: Duration = Duration::from_secs(1);

/// Runs the command until the process is told to stop.
pub(super) async fn run(args: ServeArgs, invocation: Invocation) -> Result<()> {
    let settings = settings(&args)?;
    let listener = listen(&args).await?;
    let folder = DataFolder::of(&args);
    // What would end the start is found before a model is fetched and loaded.
    let history = folder.history(&args)?;
    let secured = Secured::of(&args, &folder, listener.local_addr()?)?;
    let hint = hint(&args, &invocation);
    let shared = models::Shared::new(&args, &folder);
    let planned = models::plan(&args, &invocation, &shared).await?;
    let described = models::describe(&planned.configs, &planned.options, &planned.personas);
    let models = loaded(planned).await?;

    let (wish, wishes) = mpsc::channel(1);
    let state = AppState::of(models.clone(), args.max_queue_len)
        .with_settings(settings)
        .with_persona_management(models::persona_management(&args, &shared, &models))
        .with_management(models::management(&args, &shared, wish)?)
        .with_reach(secured.reach.clone())
        .with_encryption(secured.encryption.clone())
        .with_provenance(provenance(&args)?);
    let state = history.into_iter().fold(state, AppState::with_history);
    announce(&state, &secured, &described);
    hint.iter().for_each(|hint| eprintln!("{hint}"));

    let timeout = Duration::from_secs(args.shutdown_timeout);
    let encrypted = secured.renewed();
    let fresh = encrypted
        .clone()
        .map(|(certificates, encryption)| tokio::spawn(certificates.keep_fresh(encryption)));
    let live = (models.clone(), state.live(), encrypted);
    let again = tokio::spawn(reload::when_told((args, invocation), shared, live, wishes));
    tokio::spawn(personas::warm(models.clone()));
    let served = matou_server::serve(listener, state, stop_signal()?, timeout).await;
    again.abort();
    fresh.iter().for_each(|fresh| fresh.abort());
    served?;
    let ended = models.shut_down(LAST_STEP).await;
    ended.map_err(|error| anyhow!(error))
}

async fn listen(args: &ServeArgs) -> Result<TcpListener> {
    let listener = TcpListener::bind((args.host, args.port)).await;
    listener.with_context(|| {
        format!(
            "cannot listen on {}:{}; try another --port",
            args.host, args.port
        )
    })
}

/// The models, those in memory that are loaded at start.
///
/// # Errors
///
/// When the only one cannot be loaded.
async fn loaded(planned: Planned) -> Result<Models> {
    let is_alone = planned.configs.len() == 1;
    let models = Models::new(planned.configs, &planned.options);
    models.set_personas(planned.personas);
    for name in &planned.at_start {
        match models.load(Some(name)).await {
            Ok(()) => {}
            Err(error) if is_alone => return Err(anyhow!("{error}")),
            Err(error) => warn!("{error}"),
        }
    }
    Ok(models)
}

/// Where hashes of answers are kept, if they are to be.
fn provenance(args: &ServeArgs) -> Result<Option<Arc<ProvenanceLog>>> {
    let Some(path) = &args.provenance_log else {
        return Ok(None);
    };
    let log = ProvenanceLog::open(path);
    let log = log.with_context(|| format!("--provenance-log {}", path.display()))?;
    Ok(Some(Arc::new(log)))
}

/// Resolves when the process is asked to stop: Ctrl-C, or SIGTERM.
fn stop_signal() -> Result<impl Future<Output = ()> + Send + 'static> {
    #[cfg(unix)]
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    Ok(async move {
        #[cfg(unix)]
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        #[cfg(not(unix))]
        // Without a handler there is nothing to wait for: Ctrl-C then kills as usual.
        let _ = tokio::signal::ctrl_c().await;
    })
}
