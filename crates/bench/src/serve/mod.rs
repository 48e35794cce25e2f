//! What clients see of a server: any that speaks OpenAI's API.
//!
//! ```text
//! Target ──find──▶ Client ──probe──▶ Session ──run(Plan)──▶ ServeCell, as often as wanted
//! prompts (what is asked) · arrivals (when) · client, answer (one request) · load (many) · findings (doubts)
//! ```
//!
//! Times are taken from the moment a request was *to be* sent. A client that waits for a slow server before it
//! sends its next request would otherwise hide the queue that it makes (G. Tene, "How not to measure
//! latency", 2013: "coordinated omission").

mod answer;
pub mod arrivals;
pub mod client;
mod failure;
pub mod findings;
pub mod goal;
pub mod intrusion;
pub mod load;
pub mod prompts;
pub mod quality;

use tokio::sync::watch;

use self::client::{Client, TargetError};
use self::load::{Outcome, Plan};
use self::prompts::{Calibration, Prompts, Source};
use crate::report::{Knee, ServeCell};

/// Words of the two prompts that a server's tokens are counted with.
const PROBE_WORDS: [usize; 2] = [50, 250];
/// How much more throughput twice the clients have to bring, to be worth it.
const WORTH: f64 = 1.1;

/// A server that has answered, and the prompts that it is going to be sent.
#[derive(Debug, Clone)]
pub struct Session {
    /// The server.
    pub client: Client,
    /// What it is asked.
    pub prompts: Prompts,
    /// Tokens that it had cached of a prompt it had never seen: those of its chat template.
    pub template_tokens: u64,
}

impl Session {
    /// Asks a server two things, to see whether it can be measured, and how it counts tokens.
    ///
    /// # Errors
    ///
    /// When it does not answer, with the reason.
    pub async fn begin(
        client: Client,
        source: Source,
        seed: u64,
        unique: bool,
    ) -> Result<Self, TargetError> {
        let made = Prompts::new(source.clone(), None, seed, unique);
        let [short, long] = PROBE_WORDS;
        let numbers = [u64::MAX - 1, u64::MAX - 2];
        let first = client.probe(&made.words(numbers[0], short), 2).await?;
        let second = client.probe(&made.words(numbers[1], long), 2).await?;
        let calibration = (second.prompt_tokens > first.prompt_tokens).then(|| {
            Calibration::from_probes((short, first.prompt_tokens), (long, second.prompt_tokens))
        });
        Ok(Self {
            client,
            prompts: Prompts::new(source, calibration, seed, unique),
            template_tokens: second.cached_tokens.unwrap_or(0),
        })
    }

    /// Measures one cell.
    pub async fn run(
        &self,
        plan: Plan,
        stop: watch::Receiver<bool>,
        tick: &(dyn Fn(usize) + Sync),
    ) -> Outcome {
        load::run(&self.client, &self.prompts, plan, stop, tick).await
    }
}

/// The number of clients after which more of them bring hardly any more tokens: the last whose throughput is
/// higher by at least a tenth for each doubling. Cells are by concurrency, upwards.
pub fn knee(cells: &[(usize, &ServeCell)]) -> Option<Knee> {
    let (mut concurrency, mut best) = cells.first().map(|(n, cell)| (*n, cell.tokens_per_s))?;
    for (next, cell) in &cells[1..] {
        // What twice the clients have to bring, others have to in proportion.
        let doublings = (*next as f64 / concurrency as f64).log2().max(0.0);
        // One level that was disturbed does not hide those behind it.
        if cell.tokens_per_s >= best * WORTH.powf(doublings) {
            (concurrency, best) = (*next, cell.tokens_per_s);
        }
    }
    Some(Knee {
        concurrency,
        tokens_per_s: best,
        rule: format!(
            "the last concurrency that brought at least {:.0} % more tokens a second for each doubling",
            100.0 * (WORTH - 1.0)
        ),
    })
}
