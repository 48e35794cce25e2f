//! `matou serve`: models behind the OpenAI-compatible API.

mod adapters;
mod args;
mod management;
mod models;
mod personas;
mod reload;

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
use super::hint::better_model;
pub(super) use adapters::AdapterArg;
pub(super) use args::ServeArgs;
use args::settings;
use models::Planned;

/// What the start-up message offers to paste.
const EXAMPLE_REQUEST: &str = r#"{"temperature": 0, "max_tokens": 64, "messages": [
      {"role": "system", "content": "You are a helpful assistant."},
      {"role": "user", "content": "What is the capital of France?"}]}"#;

/// How long the engines' threads may take to end once nobody waits for an answer: a step, at most.
const LAST_STEP: Duration = Duration::from_secs(1);

/// Runs the command until the process is told to stop.
pub(super) async fn run(args: ServeArgs, invocation: Invocation) -> Result<()> {
    let settings = settings(&args)?;
    let address = (args.host, args.port);
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!(
            "cannot listen on {}:{}; try another --port",
            args.host, args.port
        )
    })?;
    let is_default =
        args.model.is_empty() && invocation.config.models.is_empty() && !args.all_models;
    let hint = is_default
        .then(|| better_model("matou serve", None, &args.options.weights.to_open()))
        .flatten();
    let shared = models::Shared::new(&args);
    let Planned {
        configs,
        options,
        at_start,
        personas,
    } = models::plan(&args, &invocation, &shared).await?;
    let described = models::describe(&configs, &options, &personas);
    let is_alone = configs.len() == 1;
    let models = Models::new(configs, &options);
    models.set_personas(personas);
    for name in &at_start {
        match models.load(Some(name)).await {
            Ok(()) => {}
            Err(error) if is_alone => return Err(anyhow!("{error}")),
            Err(error) => warn!("{error}"),
        }
    }
    let has_keys = !settings.access.keys.is_empty();
    let (wish, wishes) = mpsc::channel(1);
    let management = models::management(&args, &shared, wish)?;
    let state = AppState::of(models.clone(), args.max_queue_len)
        .with_settings(settings)
        .with_management(management)
        .with_provenance(provenance(&args)?);

    let url = format!("http://{}", listener.local_addr()?);
    println!("matou {}{described}", env!("CARGO_PKG_VERSION"));
    println!("listening on {url} (Ctrl-C to stop)\n");
    println!("  curl {url}/v1/chat/completions -H 'content-type: application/json' \\");
    if has_keys {
        println!("    -H \"authorization: Bearer $MATOU_API_KEY\" \\");
    }
    println!("    -d '{EXAMPLE_REQUEST}'\n");
    hint.iter().for_each(|hint| eprintln!("{hint}"));
    let timeout = Duration::from_secs(args.shutdown_timeout);
    let live = (models.clone(), state.live());
    let again = reload::when_told((args, invocation), shared, live, wishes);
    let again = tokio::spawn(again);
    tokio::spawn(personas::warm(models.clone()));
    let served = matou_server::serve(listener, state, stop_signal()?, timeout).await;
    again.abort();
    served?;
    let ended = models.shut_down(LAST_STEP).await;
    ended.map_err(|error| anyhow!(error))
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
