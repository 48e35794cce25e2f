//! When requests are sent, whatever the server does.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;

/// Seconds at which `count` requests of a Poisson process of `rate` a second are sent, upwards.
///
/// It is the process given its count: the arrivals are then uniform over `count / rate` seconds (W. Feller,
/// "An introduction to probability theory", vol. 2, I.5), so that two runs have the same mean rate, and differ
/// in their gaps alone.
pub fn poisson(count: usize, rate: f64, seed: u64) -> Vec<f64> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let span = count as f64 / rate;
    let mut times: Vec<f64> = (0..count).map(|_| random.random_range(0.0..span)).collect();
    times.sort_by(f64::total_cmp);
    times
}

/// A request as it once came.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arrival {
    /// Seconds after the first.
    pub at_s: f64,
    /// Tokens of its prompt, if the trace says.
    pub input_tokens: Option<usize>,
    /// Tokens of its answer, if the trace says.
    pub output_tokens: Option<usize>,
}

/// A line of a trace, by the names that Mooncake's traces have.
#[derive(Deserialize)]
struct Line {
    /// Milliseconds.
    timestamp: f64,
    #[serde(alias = "input_tokens", alias = "prompt_tokens")]
    input_length: Option<usize>,
    #[serde(alias = "output_tokens", alias = "completion_tokens")]
    output_length: Option<usize>,
}

/// Reads a trace: a JSON object a line, with `timestamp` in milliseconds and perhaps `input_length` and
/// `output_length` in tokens, as Mooncake publishes them.
///
/// # Errors
///
/// With the number of the line that is wrong, and why.
pub fn trace(text: &str) -> Result<Vec<Arrival>, String> {
    let mut arrivals = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let wrong = |reason: String| format!("line {}: {reason}", number + 1);
        let line: Line = serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
        if !line.timestamp.is_finite() {
            return Err(wrong("the timestamp is no number".to_owned()));
        }
        arrivals.push(Arrival {
            at_s: line.timestamp / 1000.0,
            input_tokens: line.input_length,
            output_tokens: line.output_length,
        });
    }
    arrivals.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
    let first = arrivals.first().map(|first| first.at_s);
    let Some(first) = first else {
        return Err("it has no requests".to_owned());
    };
    for arrival in &mut arrivals {
        arrival.at_s -= first;
    }
    Ok(arrivals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_have_the_rate_and_the_gaps_of_a_poisson_process() {
        let times = poisson(10_000, 50.0, 1);
        assert_eq!(times.len(), 10_000);
        assert!(times.is_sorted() && times[0] >= 0.0 && times[9_999] < 200.0);
        // Gaps are exponential: their standard deviation is their mean, and 1 in e is longer than it.
        let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.05);
        let long = gaps.iter().filter(|gap| **gap > mean).count() as f64 / gaps.len() as f64;
        assert!((long - (-1.0_f64).exp()).abs() < 0.02, "{long}");
        assert_eq!(times, poisson(10_000, 50.0, 1), "a seed is a schedule");
        assert_ne!(times, poisson(10_000, 50.0, 2));
    }

    #[test]
    fn traces_are_read_and_wrong_lines_are_named() {
        let text = "{\"timestamp\": 3000, \"input_length\": 10}\n\n{\"timestamp\": 1000, \"output_tokens\": 7}\n";
        let arrivals = trace(text).unwrap();
        assert_eq!(
            (arrivals[0].at_s, arrivals[0].output_tokens),
            (0.0, Some(7))
        );
        assert_eq!(
            (arrivals[1].at_s, arrivals[1].input_tokens),
            (2.0, Some(10))
        );
        assert!(
            trace("{\"timestamp\": 1}\n{}")
                .unwrap_err()
                .starts_with("line 2: ")
        );
        assert_eq!(trace("\n").unwrap_err(), "it has no requests");
    }
}
