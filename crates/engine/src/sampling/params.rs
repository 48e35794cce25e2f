//! What a request may ask of sampling, and which values make sense.

use super::structured::OutputConstraint;
use crate::error::InvalidParam;

/// How far a penalty can move a logit: beyond all that models say, and not so far that a temperature
/// makes it infinite, which would exclude the token.
pub(super) const FARTHEST: f32 = 1e30;

/// How tokens are chosen and when to stop. The default samples from the model's distribution as it
/// is, until a stop token or the end of the context.
///
/// Every field that is at its default costs nothing. [`crate::sampling`] documents the order in
/// which the stages run.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingParams {
    /// Divides the logits; 0 means greedy.
    pub temperature: f32,
    /// Half-width of the dynamic temperature's range; 0 keeps the temperature fixed.
    pub dynatemp_range: f32,
    /// Exponent of the normalised entropy in the dynamic temperature.
    pub dynatemp_exponent: f32,
    /// Keep the `k` most likely tokens.
    pub top_k: Option<usize>,
    /// Keep the most likely tokens that together reach this probability.
    pub top_p: f32,
    /// Drop tokens less likely than this fraction of the most likely one's probability.
    pub min_p: f32,
    /// Keep the most typical tokens that together reach this probability.
    pub typical_p: f32,
    /// Keep tokens whose logit is within `n` standard deviations of the best.
    pub top_n_sigma: Option<f32>,
    /// Probability with which XTC excludes the top choices of a position.
    pub xtc_probability: f32,
    /// Probability from which on a token counts as a top choice for XTC.
    pub xtc_threshold: f32,
    /// Strength of the DRY penalty; 0 turns it off.
    pub dry_multiplier: f32,
    /// Growth of the DRY penalty with each further repeated token.
    pub dry_base: f32,
    /// Longest repetition that DRY leaves alone.
    pub dry_allowed_length: usize,
    /// How many of the last tokens DRY looks at; `None` means all.
    pub dry_penalty_last_n: Option<usize>,
    /// Tokens across which DRY does not look for repetitions.
    pub dry_sequence_breaker_ids: Vec<u32>,
    /// Mirostat 2.0, if wanted.
    pub mirostat: Option<MirostatParams>,
    /// Divides positive and multiplies negative logits of tokens in the prompt or the answer.
    pub repetition_penalty: f32,
    /// How many of the newest tokens the three penalties look at; all if missing.
    pub penalty_last_n: Option<usize>,
    /// Subtracted from the logits of tokens that occur in the answer.
    pub presence_penalty: f32,
    /// Subtracted once for each occurrence in the answer.
    pub frequency_penalty: f32,
    /// Added to the logits of single tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// Stop tokens are impossible before this many tokens.
    pub min_tokens: usize,
    /// Most tokens of an answer; `None` means until the end of the context.
    pub max_tokens: Option<usize>,
    /// Treat the model's end tokens like any other.
    pub ignore_eos: bool,
    /// The model's own end tokens.
    pub eos_token_ids: Vec<u32>,
    /// Further tokens that end the answer.
    pub stop_token_ids: Vec<u32>,
    /// The grammar that the answer follows, if it has to. Where the grammar is complete the answer
    /// ends, whatever `min_tokens` and `ignore_eos` say.
    pub constraint: Option<OutputConstraint>,
    /// If given, no other token can be chosen.
    pub allowed_token_ids: Option<Vec<u32>>,
    /// Tokens that cannot be chosen.
    pub banned_token_ids: Vec<u32>,
    /// Sequences of tokens that an answer cannot have in it: where all but its last token have just
    /// been chosen, that cannot be.
    pub banned_sequences: Vec<Vec<u32>>,
    /// Makes the choices reproducible; drawn at random if not given.
    pub seed: Option<u64>,
    /// `Some(k)`: report each token's log-probability and the `k` best alternatives.
    pub logprobs: Option<usize>,
    /// The same for the tokens of the prompt.
    pub prompt_logprobs: Option<usize>,
    /// Report the embedding of the prompt: the mean of its tokens' final hidden states.
    pub prompt_embedding: bool,
}

/// Targets of mirostat 2.0 (Basu et al., 2021).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MirostatParams {
    /// Target surprise, in bits.
    pub tau: f32,
    /// Learning rate of the surprise limit.
    pub eta: f32,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            dynatemp_range: 0.0,
            dynatemp_exponent: 1.0,
            top_k: None,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            top_n_sigma: None,
            xtc_probability: 0.0,
            xtc_threshold: 0.1,
            dry_multiplier: 0.0,
            dry_base: 1.75,
            dry_allowed_length: 2,
            dry_penalty_last_n: None,
            dry_sequence_breaker_ids: Vec::new(),
            mirostat: None,
            repetition_penalty: 1.0,
            penalty_last_n: None,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            min_tokens: 0,
            max_tokens: None,
            ignore_eos: false,
            eos_token_ids: Vec::new(),
            stop_token_ids: Vec::new(),
            constraint: None,
            allowed_token_ids: None,
            banned_token_ids: Vec::new(),
            banned_sequences: Vec::new(),
            seed: None,
            logprobs: None,
            prompt_logprobs: None,
            prompt_embedding: false,
        }
    }
}

/// Fails unless `value` is a number within `low..=high`.
fn within(param: &'static str, value: f32, low: f32, high: f32) -> Result<(), InvalidParam> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    let range = if high == f32::MAX {
        format!("at least {low}")
    } else {
        format!("between {low} and {high}")
    };
    Err(InvalidParam::new(
        param,
        format!("must be {range}, not {value}"),
    ))
}

/// Fails unless `value` is a finite number above `low`, up to `high`.
fn above(param: &'static str, value: f32, low: f32, high: f32) -> Result<(), InvalidParam> {
    if value > low && value <= high {
        return Ok(());
    }
    let limit = if high == f32::MAX {
        String::new()
    } else {
        format!(" and at most {high}")
    };
    Err(InvalidParam::new(
        param,
        format!("must be greater than {low}{limit}, not {value}"),
    ))
}

impl SamplingParams {
    /// Greedy decoding: always the most likely token.
    pub fn greedy() -> Self {
        Self {
            temperature: 0.0,
            ..Self::default()
        }
    }

    /// Checks every field against its range, and token ids against the vocabulary.
    ///
    /// # Errors
    ///
    /// Names the first parameter that cannot be used, and why.
    pub fn validate(&self, vocab_size: usize) -> Result<(), InvalidParam> {
        self.validate_distribution()?;
        self.validate_penalties()?;
        self.validate_token_ids(vocab_size)?;
        if let Some(max_tokens) = self.max_tokens
            && self.min_tokens > max_tokens
        {
            let message = format!(
                "must not exceed max_tokens ({} > {max_tokens})",
                self.min_tokens
            );
            return Err(InvalidParam::new("min_tokens", message));
        }
        Ok(())
    }

    fn validate_distribution(&self) -> Result<(), InvalidParam> {
        within("temperature", self.temperature, 0.0, 100.0)?;
        within("dynatemp_range", self.dynatemp_range, 0.0, 100.0)?;
        above("dynatemp_exponent", self.dynatemp_exponent, 0.0, f32::MAX)?;
        if self.top_k == Some(0) {
            return Err(InvalidParam::new(
                "top_k",
                "must be at least 1, or left out to keep every token",
            ));
        }
        above("top_p", self.top_p, 0.0, 1.0)?;
        within("min_p", self.min_p, 0.0, 1.0)?;
        above("typical_p", self.typical_p, 0.0, 1.0)?;
        if let Some(n) = self.top_n_sigma {
            above("top_n_sigma", n, 0.0, f32::MAX)?;
        }
        within("xtc_probability", self.xtc_probability, 0.0, 1.0)?;
        within("xtc_threshold", self.xtc_threshold, 0.0, 1.0)?;
        if let Some(mirostat) = self.mirostat {
            above("mirostat_tau", mirostat.tau, 0.0, f32::MAX)?;
            above("mirostat_eta", mirostat.eta, 0.0, 1.0)?;
        }
        Ok(())
    }

    fn validate_penalties(&self) -> Result<(), InvalidParam> {
        above("repetition_penalty", self.repetition_penalty, 0.0, f32::MAX)?;
        within("presence_penalty", self.presence_penalty, -2.0, 2.0)?;
        within("frequency_penalty", self.frequency_penalty, -2.0, 2.0)?;
        within("dry_multiplier", self.dry_multiplier, 0.0, f32::MAX)?;
        within("dry_base", self.dry_base, 1.0, f32::MAX)?;
        if let Some((token, bias)) = self
            .logit_bias
            .iter()
            .find(|(_, bias)| !(-100.0..=100.0).contains(bias))
        {
            let message =
                format!("the bias of token {token} must be between -100 and 100, not {bias}");
            return Err(InvalidParam::new("logit_bias", message));
        }
        Ok(())
    }

    fn validate_token_ids(&self, vocab_size: usize) -> Result<(), InvalidParam> {
        let known = |param, tokens: &[u32]| match tokens
            .iter()
            .find(|&&token| token as usize >= vocab_size)
        {
            Some(token) => {
                let message = format!("token {token} is outside of the vocabulary of {vocab_size}");
                Err(InvalidParam::new(param, message))
            }
            None => Ok(()),
        };
        for (token, _) in &self.logit_bias {
            known("logit_bias", &[*token])?;
        }
        known("stop_token_ids", &self.stop_token_ids)?;
        known("banned_token_ids", &self.banned_token_ids)?;
        if let Some(allowed) = &self.allowed_token_ids {
            if allowed.is_empty() {
                return Err(InvalidParam::new(
                    "allowed_token_ids",
                    "must name at least one token",
                ));
            }
            known("allowed_token_ids", allowed)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(change: impl FnOnce(&mut SamplingParams)) -> &'static str {
        let mut params = SamplingParams::default();
        change(&mut params);
        params.validate(100).unwrap_err().param
    }

    #[test]
    fn defaults_are_valid() {
        SamplingParams::default().validate(100).unwrap();
        SamplingParams::greedy().validate(100).unwrap();
    }

    #[test]
    fn each_rejection_names_its_parameter() {
        assert_eq!(rejected(|p| p.temperature = -0.1), "temperature");
        assert_eq!(rejected(|p| p.temperature = f32::NAN), "temperature");
        assert_eq!(rejected(|p| p.dynatemp_range = -1.0), "dynatemp_range");
        assert_eq!(rejected(|p| p.dynatemp_exponent = 0.0), "dynatemp_exponent");
        assert_eq!(rejected(|p| p.top_k = Some(0)), "top_k");
        assert_eq!(rejected(|p| p.top_p = 0.0), "top_p");
        assert_eq!(rejected(|p| p.top_p = 1.1), "top_p");
        assert_eq!(rejected(|p| p.min_p = 2.0), "min_p");
        assert_eq!(rejected(|p| p.typical_p = 0.0), "typical_p");
        assert_eq!(
            rejected(|p| p.top_n_sigma = Some(f32::INFINITY)),
            "top_n_sigma"
        );
        assert_eq!(rejected(|p| p.xtc_probability = 1.5), "xtc_probability");
        assert_eq!(rejected(|p| p.xtc_threshold = -1.0), "xtc_threshold");
        assert_eq!(
            rejected(|p| p.mirostat = Some(MirostatParams { tau: 0.0, eta: 0.1 })),
            "mirostat_tau"
        );
        assert_eq!(
            rejected(|p| p.mirostat = Some(MirostatParams { tau: 5.0, eta: 2.0 })),
            "mirostat_eta"
        );
        assert_eq!(
            rejected(|p| p.repetition_penalty = 0.0),
            "repetition_penalty"
        );
        assert_eq!(rejected(|p| p.presence_penalty = 3.0), "presence_penalty");
        assert_eq!(
            rejected(|p| p.frequency_penalty = -3.0),
            "frequency_penalty"
        );
        assert_eq!(rejected(|p| p.dry_multiplier = -1.0), "dry_multiplier");
        assert_eq!(rejected(|p| p.dry_base = 0.5), "dry_base");
        assert_eq!(rejected(|p| p.logit_bias = vec![(1, 101.0)]), "logit_bias");
        assert_eq!(rejected(|p| p.logit_bias = vec![(100, 1.0)]), "logit_bias");
        assert_eq!(rejected(|p| p.stop_token_ids = vec![100]), "stop_token_ids");
        assert_eq!(
            rejected(|p| p.banned_token_ids = vec![100]),
            "banned_token_ids"
        );
        assert_eq!(
            rejected(|p| p.allowed_token_ids = Some(vec![])),
            "allowed_token_ids"
        );
        assert_eq!(
            rejected(|p| p.allowed_token_ids = Some(vec![100])),
            "allowed_token_ids"
        );
        assert_eq!(
            rejected(|p| {
                p.min_tokens = 3;
                p.max_tokens = Some(2);
            }),
            "min_tokens"
        );
    }
}
