//! `matou serve`: a model behind the OpenAI-compatible API.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use matou_engine::EngineConfig;
use matou_llm::open::human_bytes;
use matou_llm::open::{self, LoadedModel};
use matou_server::{Access, AppState, Limits};
use tokio::net::TcpListener;

use super::descriptors;
use super::hint::better_model;
use super::options::{ModelArgs, positive};

/// Options of `matou serve`, in vLLM's vocabulary.
#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    model: ModelArgs,

    /// Address to listen on. Anything but a loopback address is reachable by others, and needs a
    /// key.
    #[arg(long, default_value = "127.0.0.1", help_heading = "Server")]
    host: IpAddr,

    /// Port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 8080, help_heading = "Server")]
    port: u16,

    /// Name of the model in the API; may be given several times, or with commas between, and answers
    /// carry the first [default: MODEL's].
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        value_parser = served_name,
        help_heading = "Server"
    )]
    served_model_name: Vec<String>,

    /// Answer requests that name another model too, such as the side model of a coding agent.
    #[arg(long, help_heading = "Server")]
    any_model_name: bool,

    /// Key that clients must show, as `Authorization: Bearer KEY` or `x-api-key: KEY`; may be given
    /// several times, or with commas between. Other users of this machine can see a command line:
    /// prefer the variable.
    #[arg(
        long,
        value_name = "KEY",
        value_delimiter = ',',
        hide_env_values = true,
        help_heading = "Server"
    )]
    api_key: Vec<String>,

    /// Serve whoever can connect, without a key, on an address that others can reach.
    #[arg(long, help_heading = "Server")]
    allow_unauthenticated: bool,

    /// Web origin whose pages may use the API from a browser, such as http://localhost:3000; `*` for
    /// all; may be given several times, or with commas between [default: none].
    #[arg(
        long,
        value_name = "ORIGIN",
        value_delimiter = ',',
        value_parser = origin,
        help_heading = "Server"
    )]
    allowed_origins: Vec<String>,

    /// Further name by which clients ask for this machine, such as that of a proxy; `*` for any; may be
    /// given several times, or with commas between. Without a key, a loopback server answers to
    /// addresses and local names only, so that no web page can reach it by a name of its own.
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        value_parser = host_name,
        help_heading = "Server"
    )]
    allowed_hosts: Vec<String>,

    /// Let clients with different keys share what is computed of prompts that begin alike. It is
    /// faster, and by the time a prompt takes one can find out what another has asked.
    #[arg(long, help_heading = "Server")]
    share_prefix_cache: bool,

    /// Largest request body, in bytes.
    #[arg(long, default_value_t = 16 << 20, value_parser = positive, value_name = "BYTES", help_heading = "Server")]
    max_body_size: usize,

    /// Most connections at a time; for one more, that which has been idle the longest is closed.
    #[arg(long, default_value_t = 512, value_parser = positive, value_name = "N", help_heading = "Server")]
    max_connections: usize,

    /// Seconds that the body of a request may take to come.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..), value_name = "SECONDS", help_heading = "Server")]
    body_timeout: u64,

    /// Seconds that a connection may be idle, or take to send the head of a request.
    #[arg(long, default_value_t = 75, value_parser = clap::value_parser!(u64).range(1..), value_name = "SECONDS", help_heading = "Server")]
    idle_timeout: u64,

    /// Seconds that running answers may take to finish after Ctrl-C or SIGTERM.
    #[arg(
        long,
        default_value_t = 30,
        value_name = "SECONDS",
        help_heading = "Server"
    )]
    shutdown_timeout: u64,

    /// Most sequences that run at the same time.
    #[arg(long, default_value_t = 64, value_parser = positive, value_name = "N", help_heading = "Engine")]
    max_num_seqs: usize,

    /// Most tokens in one step, over all sequences; long prompts are taken in chunks.
    #[arg(long, default_value_t = 512, value_parser = positive, value_name = "N", help_heading = "Engine")]
    max_num_batched_tokens: usize,

    /// Most requests that wait; what comes on top gets 429.
    #[arg(long, default_value_t = 256, value_parser = positive, value_name = "N", help_heading = "Engine")]
    max_queue_len: usize,

    /// Compute every prompt anew, even if its beginning is known.
    #[arg(long, help_heading = "Engine")]
    no_enable_prefix_caching: bool,
}

/// What the start-up message offers to paste.
const EXAMPLE_REQUEST: &str = r#"{"temperature": 0, "max_tokens": 64, "messages": [
      {"role": "system", "content": "You are a helpful assistant."},
      {"role": "user", "content": "What is the capital of France?"}]}"#;

/// How long the engine's thread may take to end once nobody waits for an answer: a step, at most.
const LAST_STEP: Duration = Duration::from_secs(1);

/// Runs the command until the process is told to stop.
pub(super) async fn run(args: ServeArgs) -> Result<()> {
    let access = access(&args)?;
    let address = (args.host, args.port);
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!(
            "cannot listen on {}:{}; try another --port",
            args.host, args.port
        )
    })?;
    let options = args.model.options.to_open()?;
    let hint = better_model("matou serve", args.model.model.as_deref(), &options);
    let loaded = open::open(args.model.model.as_deref(), &options).await?;
    let described = loaded.describe();
    let limits = EngineConfig {
        max_num_seqs: args.max_num_seqs,
        // A step must have room for a token of every running sequence.
        max_num_batched_tokens: args.max_num_batched_tokens.max(args.max_num_seqs),
        max_queue_len: args.max_queue_len,
        enable_prefix_caching: !args.no_enable_prefix_caching,
        ..EngineConfig::default()
    };
    let config = loaded.engine_config(&options, limits)?;
    let memory = memory_line(&loaded, &config);
    let has_keys = !access.keys.is_empty();
    let server_limits = limits_of(&args);
    let (mut llm, thread) = loaded.start(config, args.served_model_name)?;
    let engine = llm.engine().clone();
    if args.any_model_name {
        llm = llm.with_any_name();
    }
    let mut state = AppState::new(llm);
    (state.access, state.limits) = (access, server_limits);
    state.share_prefix_cache = args.share_prefix_cache;

    let url = format!("http://{}", listener.local_addr()?);
    println!("matou {} · {described}", env!("CARGO_PKG_VERSION"));
    println!("{memory}");
    println!("listening on {url} (Ctrl-C to stop)\n");
    println!("  curl {url}/v1/chat/completions -H 'content-type: application/json' \\");
    if has_keys {
        println!("    -H \"authorization: Bearer $MATOU_API_KEY\" \\");
    }
    println!("    -d '{EXAMPLE_REQUEST}'\n");
    hint.iter().for_each(|hint| eprintln!("{hint}"));
    let timeout = Duration::from_secs(args.shutdown_timeout);
    matou_server::serve(listener, state, stop_signal()?, timeout).await?;
    engine.shutdown();
    let join = tokio::task::spawn_blocking(move || thread.join());
    // What still computes for requests that were cut is not waited for.
    if let Ok(ended) = tokio::time::timeout(LAST_STEP, join).await {
        ensure!(ended?.is_ok(), "the engine thread panicked");
    }
    Ok(())
}

/// The bounds that the command line sets, and that the system does.
fn limits_of(args: &ServeArgs) -> Limits {
    let max_body_bytes = args.max_body_size;
    Limits {
        max_body_bytes,
        max_bodies_bytes: Limits::default().max_bodies_bytes.max(2 * max_body_bytes),
        header_timeout: Duration::from_secs(args.idle_timeout),
        body_timeout: Duration::from_secs(args.body_timeout),
        max_connections: descriptors::allowing(args.max_connections),
        ..Limits::default()
    }
}

/// Who may use the server.
///
/// # Errors
///
/// When others could use it without a key and nobody said that they may.
fn access(args: &ServeArgs) -> Result<Access> {
    ensure!(
        args.api_key.iter().all(|key| !key.trim().is_empty()),
        "a key of --api-key (or MATOU_API_KEY) is empty"
    );
    ensure!(
        args.host.is_loopback() || !args.api_key.is_empty() || args.allow_unauthenticated,
        "{} can be reached by others, and no key is set: give one with --api-key (or \
         MATOU_API_KEY), listen on 127.0.0.1, or say --allow-unauthenticated",
        args.host
    );
    Ok(Access {
        keys: args.api_key.iter().collect(),
        allowed_origins: args.allowed_origins.clone(),
        allowed_hosts: args.allowed_hosts.clone(),
        ..Access::default()
    })
}

/// A name for the model, of which several may be written with commas and spaces between.
fn served_name(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("a name is empty".to_owned()),
        name => Ok(name.to_owned()),
    }
}

/// A web origin as browsers send it, or `*`.
fn origin(text: &str) -> Result<String, String> {
    let host = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    let is_origin = host.is_some_and(|host| {
        !host.is_empty() && !host.contains('/') && host.bytes().all(|byte| byte.is_ascii_graphic())
    });
    match is_origin || text == "*" {
        true => Ok(text.to_owned()),
        false => Err("an origin is a scheme, a host and perhaps a port, as in \
                      http://localhost:3000 (no path, no slash at the end), or `*`"
            .to_owned()),
    }
}

/// A name of a machine, without a port, or `*`.
fn host_name(text: &str) -> Result<String, String> {
    let name = text.trim();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    match name == "*" || !name.is_empty() && name.bytes().all(is_name) {
        true => Ok(name.to_owned()),
        false => Err("a name has no port and no scheme, as in llm.example.org (or `*`)".to_owned()),
    }
}

fn memory_line(loaded: &LoadedModel, config: &EngineConfig) -> String {
    let block_bytes = loaded.model.kv_block_bytes(config.kv_cache_dtype) as u64;
    format!(
        "memory: {} of weights, {} of KV cache (room for {} tokens; one context takes up to {})",
        human_bytes(loaded.model.info().weight_bytes),
        human_bytes(block_bytes * config.num_kv_blocks as u64),
        config.num_kv_blocks * matou_model::BLOCK_SIZE,
        config.max_model_len,
    )
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
