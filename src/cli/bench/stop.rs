//! Ctrl-C: the first ends the measurement and keeps what there is, the second ends the program.

use tokio::sync::watch;

/// Told when somebody has had enough.
#[derive(Debug, Clone)]
pub(super) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Listens from now on.
    pub(super) fn on_ctrl_c() -> Self {
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_err() {
                // Nobody can stop us then; whoever listens must not think that somebody did.
                std::future::pending::<()>().await;
            }
            eprintln!("stopping; what has been measured follows (Ctrl-C again ends it at once)");
            let _ = sender.send(true);
            let _ = tokio::signal::ctrl_c().await;
            std::process::exit(130);
        });
        Self(receiver)
    }

    /// Whether that is so.
    pub(super) fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    /// For those who wait for it.
    pub(super) fn receiver(&self) -> watch::Receiver<bool> {
        self.0.clone()
    }
}
