//! The fields that say how tokens are chosen.

use matou_engine::{MirostatParams, SamplingParams};

use crate::dialects::shared::fields::{
    MAX_TOKEN_IDS, count, in_range, no_more_than, real, token_ids,
};
use crate::dialects::shared::wire::SamplingFields;
use crate::error::ApiError;

/// The sampling parameters of a request, over the model's own `defaults`.
pub(super) fn sampling_params(
    fields: &SamplingFields,
    defaults: &SamplingParams,
) -> Result<SamplingParams, ApiError> {
    let stop_token_ids = fields.stop_token_ids.as_deref();
    no_more_than(
        "stop_token_ids",
        stop_token_ids.unwrap_or_default(),
        MAX_TOKEN_IDS,
    )?;
    let number = |value: Option<f64>, default: f32| value.map_or(default, |value| value as f32);
    let temperature = real("temperature", fields.temperature, 0.0, 2.0)?;
    // The engine wants some mass; "none of it" can only mean the most likely token.
    let top_p = real("top_p", fields.top_p, 0.0, 1.0)?.map(|p| p.max(f64::from(f32::MIN_POSITIVE)));
    Ok(SamplingParams {
        temperature: number(temperature, defaults.temperature),
        dynatemp_range: number(fields.dynatemp_range, defaults.dynatemp_range),
        dynatemp_exponent: number(fields.dynatemp_exponent, defaults.dynatemp_exponent),
        top_k: top_k(fields.top_k, defaults.top_k)?,
        top_p: number(top_p, defaults.top_p),
        min_p: number(fields.min_p, defaults.min_p),
        typical_p: number(fields.typical_p, defaults.typical_p),
        // llama.cpp's -1 turns it off.
        top_n_sigma: fields
            .top_n_sigma
            .map_or(defaults.top_n_sigma, |n| (n > 0.0).then_some(n as f32)),
        xtc_probability: number(fields.xtc_probability, defaults.xtc_probability),
        xtc_threshold: number(fields.xtc_threshold, defaults.xtc_threshold),
        dry_multiplier: number(fields.dry_multiplier, defaults.dry_multiplier),
        dry_base: number(fields.dry_base, defaults.dry_base),
        dry_allowed_length: count("dry_allowed_length", fields.dry_allowed_length)?
            .unwrap_or(defaults.dry_allowed_length),
        dry_penalty_last_n: last_n(
            "dry_penalty_last_n",
            fields.dry_penalty_last_n,
            defaults.dry_penalty_last_n,
        )?,
        mirostat: mirostat(fields, defaults)?,
        repetition_penalty: number(fields.repetition_penalty, defaults.repetition_penalty),
        penalty_last_n: last_n(
            "repeat_last_n",
            fields.repeat_last_n,
            defaults.penalty_last_n,
        )?,
        presence_penalty: number(
            real("presence_penalty", fields.presence_penalty, -2.0, 2.0)?,
            defaults.presence_penalty,
        ),
        frequency_penalty: number(
            real("frequency_penalty", fields.frequency_penalty, -2.0, 2.0)?,
            defaults.frequency_penalty,
        ),
        logit_bias: logit_bias(fields)?,
        min_tokens: count("min_tokens", fields.min_tokens)?.unwrap_or(defaults.min_tokens),
        ignore_eos: fields.ignore_eos.unwrap_or(defaults.ignore_eos),
        stop_token_ids: token_ids("stop_token_ids", fields.stop_token_ids.as_deref())?
            .unwrap_or_else(|| defaults.stop_token_ids.clone()),
        allowed_token_ids: token_ids("allowed_token_ids", fields.allowed_token_ids.as_deref())?
            .or_else(|| defaults.allowed_token_ids.clone()),
        // Seeds may be negative; which number stands for one does not matter, only that it is one.
        seed: fields
            .seed
            .map_or(defaults.seed, |seed| Some(seed.cast_unsigned())),
        ..defaults.clone()
    })
}

/// `top_k`: vLLM's -1 and llama.cpp's 0 both mean "all".
fn top_k(value: Option<i64>, default: Option<usize>) -> Result<Option<usize>, ApiError> {
    match in_range("top_k", value, -1, i64::MAX)? {
        None => Ok(default),
        Some(k) => Ok((k > 0).then_some(k as usize)),
    }
}

/// How far back to look: -1 for all.
fn last_n(
    param: &str,
    value: Option<i64>,
    default: Option<usize>,
) -> Result<Option<usize>, ApiError> {
    match in_range(param, value, -1, i64::MAX)? {
        None => Ok(default),
        Some(n) => Ok((n >= 0).then_some(n as usize)),
    }
}

/// llama.cpp's numbering: 0 is off, 2 is the version that superseded 1.
fn mirostat(
    fields: &SamplingFields,
    defaults: &SamplingParams,
) -> Result<Option<MirostatParams>, ApiError> {
    let standard = defaults
        .mirostat
        .unwrap_or(MirostatParams { tau: 5.0, eta: 0.1 });
    let given = MirostatParams {
        tau: fields.mirostat_tau.map_or(standard.tau, |tau| tau as f32),
        eta: fields.mirostat_eta.map_or(standard.eta, |eta| eta as f32),
    };
    match fields.mirostat {
        None => Ok(defaults.mirostat.map(|_| given)),
        Some(0) => Ok(None),
        Some(2) => Ok(Some(given)),
        Some(other) => {
            let message = format!("`mirostat` must be 0 (off) or 2 (version 2), got {other}.");
            Err(ApiError::invalid("mirostat", message))
        }
    }
}

fn logit_bias(fields: &SamplingFields) -> Result<Vec<(u32, f32)>, ApiError> {
    let bias = |(token, bias): (&String, &f64)| {
        let Ok(token_id) = token.parse() else {
            let message = format!("The keys of `logit_bias` must be token ids, got \"{token}\".");
            return Err(ApiError::invalid(format!("logit_bias.{token}"), message));
        };
        let bias = real("logit_bias", Some(*bias), -100.0, 100.0)?;
        Ok((token_id, bias.unwrap_or_default() as f32))
    };
    fields.logit_bias.iter().flatten().map(bias).collect()
}
