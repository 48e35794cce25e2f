//! SIGHUP: the configuration is read again, and what can change does, without losing a request.

use anyhow::Result;
use matou_llm::models::Models;
use matou_server::{Encryption, Live};
use tokio::sync::mpsc;
use tokio::task::block_in_place;
use tracing::{error, info, warn};

use super::args::{ServeArgs, args_of, settings};
use super::management::Wish;
use super::models::{Planned, Shared, plan};
use super::personas::warm;
use super::tls::Certificates;
use crate::cli::config::Invocation;

/// Takes changes over with each SIGHUP, and when somebody wishes it, as long as it is let run.
pub(super) async fn when_told(
    (args, invocation): (ServeArgs, Invocation),
    shared: Shared,
    (models, live, encryption): (Models, Live, Option<(Certificates, Encryption)>),
    mut wishes: mpsc::Receiver<Wish>,
) {
    let mut hangups = match Hangups::new() {
        Ok(hangups) => hangups,
        Err(error) => return warn!(%error, "SIGHUP is not listened to"),
    };
    loop {
        let wish = tokio::select! {
            () = hangups.next() => None,
            Some(wish) = wishes.recv() => Some(wish),
        };
        if let (None, Some((certificates, encryption))) = (&wish, &encryption) {
            block_in_place(|| certificates.renew(encryption));
        }
        match reload((&args, &invocation), &shared, &models, &live).await {
            Ok(()) => info!("the configuration was taken over"),
            Err(error) => error!("the configuration is left as it was: {error:#}"),
        }
        // Who has gone wants no answer.
        let _ = wish.map(|wish| wish.send(()));
    }
}

/// The signal that has programs read their configuration anew; there is none but on Unix.
struct Hangups {
    #[cfg(unix)]
    signals: tokio::signal::unix::Signal,
}

impl Hangups {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            signals: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        if self.signals.recv().await.is_some() {
            return;
        }
        std::future::pending().await
    }
}

async fn reload(
    (args, invocation): (&ServeArgs, &Invocation),
    shared: &Shared,
    models: &Models,
    live: &Live,
) -> Result<()> {
    let invocation = invocation.again()?;
    let new = args_of(&invocation)?;
    let settings = settings(&new)?;
    let Planned {
        configs,
        options,
        at_start,
        personas,
    } = plan(&new, &invocation, shared).await?;
    for flag in fixed(args, &new) {
        warn!("--{flag} has changed, which takes a restart");
    }
    live.set(settings);
    models.replace(configs, &options);
    models.set_personas(personas);
    tokio::spawn(warm(models.clone()));
    for name in at_start {
        let models = models.clone();
        tokio::spawn(async move {
            if let Err(error) = models.load(Some(&name)).await {
                warn!("{error}");
            }
        });
    }
    Ok(())
}

/// Flags that differ and cannot change while the server runs.
fn fixed(old: &ServeArgs, new: &ServeArgs) -> Vec<&'static str> {
    let changed = [
        ("host", old.host != new.host),
        ("port", old.port != new.port),
        ("threads", old.options.threads != new.options.threads),
        (
            "models",
            old.options.weights.models != new.options.weights.models,
        ),
        (
            "shutdown-timeout",
            old.shutdown_timeout != new.shutdown_timeout,
        ),
        (
            "allow-model-management",
            old.allow_model_management != new.allow_model_management,
        ),
        ("provenance-log", old.provenance_log != new.provenance_log),
        ("data-dir", old.data_dir != new.data_dir),
        ("no-history", old.no_history != new.no_history),
        (
            "allow-persona-editing",
            old.allow_persona_editing != new.allow_persona_editing,
        ),
        ("tls-cert", old.tls_cert != new.tls_cert),
        ("tls-key", old.tls_key != new.tls_key),
        (
            "tls-self-signed",
            old.tls_self_signed != new.tls_self_signed,
        ),
    ];
    let changed = changed.into_iter().filter(|(_, is)| *is);
    changed.map(|(flag, _)| flag).collect()
}
