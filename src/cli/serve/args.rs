//! The options of `matou serve`, and what of them can change while it runs.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, FromArgMatches};
use matou_llm::models::KeepAlive;
use matou_server::{Access, Limits, Settings};

use super::adapters::AdapterArg;
use crate::cli::config::Invocation;
use crate::cli::descriptors;
use crate::cli::options::{ModelOptions, byte_size, positive};

/// Options of `matou serve`, in vLLM's vocabulary.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// The models: catalogue names, paths, or `hf:owner/repo[/file][:QUANT][@revision]`; requests that
    /// name none get the first. One alone is loaded at start, several when they are first asked for.
    #[arg(value_name = "MODEL", env = "MATOU_MODEL", value_delimiter = ',')]
    pub(super) model: Vec<String>,

    /// How they run.
    #[command(flatten)]
    pub(super) options: ModelOptions,

    /// Serve every model of the catalogue that is on this machine, too.
    #[arg(long, help_heading = "Models")]
    pub(super) all_models: bool,

    /// Load all models at start, as far as memory allows.
    #[arg(long, help_heading = "Models")]
    pub(super) preload: bool,

    /// Name of a model that is loaded at start and never leaves memory; may be given several times, or
    /// with commas between.
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        help_heading = "Models"
    )]
    pub(super) pin: Vec<String>,

    /// Memory that all models together may take, their KV caches included, such as 12GiB [default: what is
    /// free at start on the device that they run on, and the least of these if they run on several, less a
    /// margin].
    #[arg(long, value_name = "SIZE", value_parser = byte_size, help_heading = "Models")]
    pub(super) memory: Option<u64>,

    /// How long a model stays in memory that nobody uses, such as 10m; -1 until its memory is needed.
    #[arg(
        long,
        value_name = "TIME",
        default_value_t = KeepAlive::Forever,
        allow_hyphen_values = true,
        help_heading = "Models"
    )]
    pub(super) keep_alive: KeepAlive,

    /// Let clients fetch models to this machine and delete them from it, as Ollama's API has it.
    #[arg(long, help_heading = "Models")]
    pub(super) allow_model_management: bool,

    /// Adapter (LoRA) to serve under a name of its own: a folder as PEFT saves it or a GGUF file, and the
    /// model that it is for [default: the one that its files name, or the first]; may be given several
    /// times, or with commas between.
    #[arg(
        long,
        value_name = "NAME=PATH[@BASE]",
        value_delimiter = ',',
        help_heading = "Personas and adapters"
    )]
    pub(super) lora: Vec<AdapterArg>,

    /// Folder of character cards (PNG, JSON, CHARX, TOML), or a card, each to be served as a model; may be
    /// given several times, or with commas between.
    #[arg(
        long,
        value_name = "DIR",
        value_delimiter = ',',
        help_heading = "Personas and adapters"
    )]
    pub(super) personas: Vec<PathBuf>,

    /// Have every answer say, so that machines can read it, that a model made it; those of personas do in
    /// any case.
    #[arg(long, help_heading = "Personas and adapters")]
    pub(super) label: bool,

    /// Let clients add, change and delete personas, which all of them then have; without keys they may in
    /// any case. Personas of `--personas` stay as they are.
    #[arg(long, help_heading = "Personas and adapters")]
    pub(super) allow_persona_editing: bool,

    /// Keep salted hashes of all answers (no text) in this file, for `matou verify` to look texts up in.
    #[arg(long, value_name = "FILE", help_heading = "Personas and adapters")]
    pub(super) provenance_log: Option<PathBuf>,

    /// Address to listen on. Anything but a loopback address is reachable by others, and needs a
    /// key.
    #[arg(long, default_value = "127.0.0.1", help_heading = "Server")]
    pub(super) host: IpAddr,

    /// Port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 8080, help_heading = "Server")]
    pub(super) port: u16,

    /// Name of the model in the API; may be given several times, or with commas between, and answers
    /// carry the first [default: MODEL's].
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        value_parser = served_name,
        help_heading = "Server"
    )]
    pub(super) served_model_name: Vec<String>,

    /// Answer requests that name another model too, such as the side model of a coding agent.
    #[arg(long, help_heading = "Server")]
    pub(super) any_model_name: bool,

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
    pub(super) api_key: Vec<String>,

    /// Serve whoever can connect, without a key, on an address that others can reach.
    #[arg(long, help_heading = "Server")]
    pub(super) allow_unauthenticated: bool,

    /// Web origin whose pages may use the API from a browser, such as http://localhost:3000; `*` for
    /// all; may be given several times, or with commas between [default: none].
    #[arg(
        long,
        value_name = "ORIGIN",
        value_delimiter = ',',
        value_parser = origin,
        help_heading = "Server"
    )]
    pub(super) allowed_origins: Vec<String>,

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
    pub(super) allowed_hosts: Vec<String>,

    /// Folder for conversations, responses, sign-ins, personas made in the page, and the authority of
    /// `--tls-self-signed` [default: ~/.local/share/matou].
    #[arg(long, value_name = "DIR", help_heading = "Server")]
    pub(super) data_dir: Option<PathBuf>,

    /// Keep no conversations: the page keeps them in its browser, and responses and sign-ins go with the
    /// server.
    #[arg(long, help_heading = "Server")]
    pub(super) no_history: bool,

    /// Certificate to encrypt connections with, in PEM, with those between it and its authority.
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_key",
        conflicts_with = "tls_self_signed",
        help_heading = "Server"
    )]
    pub(super) tls_cert: Option<PathBuf>,

    /// Its key, in PEM.
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_cert",
        help_heading = "Server"
    )]
    pub(super) tls_key: Option<PathBuf>,

    /// Encrypt connections with a certificate from an authority of this machine's own, which is made once
    /// and which other devices are told to trust.
    #[arg(long, help_heading = "Server")]
    pub(super) tls_self_signed: bool,

    /// Let clients with different keys share what is computed of prompts that begin alike. It is
    /// faster, and by the time a prompt takes one can find out what another has asked.
    #[arg(long, help_heading = "Server")]
    pub(super) share_prefix_cache: bool,

    /// Largest request body, in bytes.
    #[arg(long, default_value_t = 16 << 20, value_parser = positive, value_name = "BYTES", help_heading = "Server")]
    pub(super) max_body_size: usize,

    /// Most connections at a time; for one more, that which has been idle the longest is closed.
    #[arg(long, default_value_t = 512, value_parser = positive, value_name = "N", help_heading = "Server")]
    pub(super) max_connections: usize,

    /// Seconds that the body of a request may take to come.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..), value_name = "SECONDS", help_heading = "Server")]
    pub(super) body_timeout: u64,

    /// Seconds that a connection may be idle, or take to send the head of a request.
    #[arg(long, default_value_t = 75, value_parser = clap::value_parser!(u64).range(1..), value_name = "SECONDS", help_heading = "Server")]
    pub(super) idle_timeout: u64,

    /// Seconds that running answers may take to finish after Ctrl-C or SIGTERM.
    #[arg(
        long,
        default_value_t = 30,
        value_name = "SECONDS",
        help_heading = "Server"
    )]
    pub(super) shutdown_timeout: u64,

    /// Most sequences that run at the same time.
    #[arg(long, default_value_t = 64, value_parser = positive, value_name = "N", help_heading = "Engine")]
    pub(super) max_num_seqs: usize,

    /// Most tokens in one step, over all sequences; long prompts are taken in chunks.
    #[arg(long, default_value_t = 512, value_parser = positive, value_name = "N", help_heading = "Engine")]
    pub(super) max_num_batched_tokens: usize,

    /// Most requests that wait; what comes on top gets 429.
    #[arg(long, default_value_t = 256, value_parser = positive, value_name = "N", help_heading = "Engine")]
    pub(super) max_queue_len: usize,

    /// Compute every prompt anew, even if its beginning is known.
    #[arg(long, help_heading = "Engine")]
    pub(super) no_enable_prefix_caching: bool,
}

/// What can change while the server runs.
pub(super) fn settings(args: &ServeArgs) -> Result<Settings> {
    Ok(Settings {
        access: access(args)?,
        limits: limits_of(args),
        share_prefix_cache: args.share_prefix_cache,
        label: args.label,
    })
}

/// The options of `matou serve` in what was asked for.
pub(super) fn args_of(invocation: &Invocation) -> Result<ServeArgs> {
    Ok(ServeArgs::from_arg_matches(invocation.own_matches())?)
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
