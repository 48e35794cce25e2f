//! Whether a server computes what it should: speed alone can be had by computing something else.

use sha2::{Digest, Sha256};

use super::client::{Client, TargetError};
use super::prompts::Prompt;
use crate::report::Quality;

/// What is asked with temperature 0.
const QUESTIONS: [&str; 8] = [
    "What is the capital of France?",
    "Count from one to ten in words.",
    "Translate to German: The cat sits on the wall.",
    "Write a Python function that reverses a string.",
    "Name three rivers in Africa.",
    "What is 17 times 23? Answer with the number.",
    "Finish the sentence: The quick brown fox",
    "Explain in one sentence what a compiler does.",
];
/// Tokens of each answer.
const TOKENS: usize = 32;
/// Log-probabilities that are asked for at each position of a prompt.
const TOP: usize = 20;

/// Text on which two models' log-probabilities are compared.
const PASSAGE: &str = "The harbour master kept two clocks in his office, one that showed the time of the town \
and one that showed the time of the sea. Nobody had ever asked him how they differed. On the morning of the \
storm both of them stopped, a few minutes after six, and when the first of the fishing boats came in without \
its crew he took the smaller clock from the wall, opened its back with a knife, and found inside it a folded \
letter with his own name on it.";

/// Hashes what a server answers to the fixed questions with temperature 0.
///
/// # Errors
///
/// When it does not answer one of them.
pub async fn greedy(client: &Client) -> Result<Quality, TargetError> {
    let mut hash = Sha256::new();
    let mut tokens = 0;
    let mut texts = Vec::new();
    for question in QUESTIONS {
        let answered = client.greedy(&Prompt::of_text(question), TOKENS).await;
        let (text, count) = answered.map_err(|error| TargetError::Refused {
            url: client.target().url.clone(),
            kind: error.kind,
            message: error.message,
        })?;
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
        tokens += count;
        texts.push(text);
    }
    Ok(Quality {
        subject: format!("{} at {}", client.target().model, client.target().url),
        greedy_sha256: hex(&hash.finalize()),
        tokens,
        texts,
        kl_from_reference: None,
        reference: None,
    })
}

/// Mean divergence of a server's next-token distributions from those of a reference on a fixed passage, in nats a
/// token; `None` where one of them tells no log-probabilities of prompts, or reads other tokens.
pub async fn divergence(server: &Client, reference: &Client) -> Option<f64> {
    let passage = Prompt::of_text(PASSAGE);
    let ours = server.prompt_logprobs(&passage, TOP).await?;
    let theirs = reference.prompt_logprobs(&passage, TOP).await?;
    (ours.len() == theirs.len() && !ours.is_empty()).then_some(())?;
    let all = theirs.iter().zip(&ours).map(|(p, q)| divergence_of(p, q));
    Some(all.sum::<f64>() / ours.len() as f64)
}

/// Kullback-Leibler divergence of `q` from `p`, over the tokens that both list; what is left of each goes
/// into one token more, so that the sums are one. It is at most the true one (the "data processing"
/// inequality: T. Cover, J. Thomas, "Elements of information theory", 2.8).
fn divergence_of(p: &[(String, f64)], q: &[(String, f64)]) -> f64 {
    let mut sum = 0.0;
    let (mut left_p, mut left_q) = (1.0, 1.0);
    for (id, log_p) in p {
        if let Some((_, log_q)) = q.iter().find(|(other, _)| other == id) {
            sum += log_p.exp() * (log_p - log_q);
            left_p -= log_p.exp();
            left_q -= log_q.exp();
        }
    }
    let (left_p, left_q) = (f64::max(left_p, 1e-12), f64::max(left_q, 1e-12));
    (sum + left_p * (left_p / left_q).ln()).max(0.0)
}

/// Bytes as people write hashes.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divergence_is_that_of_the_formula() {
        let of = |ps: &[f64]| -> Vec<(String, f64)> {
            let ps = ps.iter().enumerate();
            ps.map(|(id, p)| (id.to_string(), p.ln())).collect()
        };
        assert!(divergence_of(&of(&[0.5, 0.5]), &of(&[0.5, 0.5])) < 1e-9);
        let exact = 0.5 * (0.5_f64 / 0.25).ln() + 0.5 * (0.5_f64 / 0.75).ln();
        assert!((divergence_of(&of(&[0.5, 0.5]), &of(&[0.25, 0.75])) - exact).abs() < 1e-9);
        // With a rest that neither lists.
        let listed = divergence_of(&of(&[0.5, 0.3]), &of(&[0.25, 0.5]));
        let exact = 0.5 * 2.0_f64.ln() + 0.3 * 0.6_f64.ln() + 0.2 * (0.2_f64 / 0.25).ln();
        assert!((listed - exact).abs() < 1e-9, "{listed} {exact}");
        assert_eq!(hex(&[0, 255]), "00ff");
    }
}
