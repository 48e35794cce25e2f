//! How long a model stays that nobody uses, as people and programs write it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How long a model stays that nobody uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepAlive {
    /// Until its memory is needed.
    Forever,
    /// For so long at most.
    For(Duration),
}

impl KeepAlive {
    /// So many seconds; for ever, if they are negative.
    pub fn from_seconds(seconds: f64) -> Self {
        match seconds < 0.0 {
            true => Self::Forever,
            // What is too long for a duration is for ever too.
            false => Duration::try_from_secs_f64(seconds).map_or(Self::Forever, Self::For),
        }
    }
}

/// A duration that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is no time such as 10m, 1h30m, 300 (seconds), 0 or -1 (until the memory is needed)"
)]
pub struct InvalidKeepAlive(String);

/// As Go writes durations, which Ollama's clients do: `300ms`, `1h30m`, `-1`. A number alone is seconds.
impl FromStr for KeepAlive {
    type Err = InvalidKeepAlive;

    fn from_str(text: &str) -> Result<Self, InvalidKeepAlive> {
        let text = text.trim();
        let invalid = || InvalidKeepAlive(text.chars().take(100).collect());
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let mut rest = unsigned;
        let mut seconds = 0.0;
        while !rest.is_empty() {
            let (number, behind) =
                rest.split_at(rest.find(|c| !is_number(c)).unwrap_or(rest.len()));
            let (unit, behind) = behind.split_at(behind.find(is_number).unwrap_or(behind.len()));
            let scale = match unit {
                "" if number == unsigned => 1.0,
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                _ => return Err(invalid()),
            };
            seconds += scale * number.parse::<f64>().map_err(|_| invalid())?;
            rest = behind;
        }
        if unsigned.is_empty() {
            return Err(invalid());
        }
        Ok(match text.starts_with('-') {
            true => Self::Forever,
            false => Self::from_seconds(seconds),
        })
    }
}

impl fmt::Display for KeepAlive {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forever => formatter.write_str("-1"),
            Self::For(time) => write!(formatter, "{}s", time.as_secs_f64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_ollama_reads_them() {
        let seconds = |seconds| KeepAlive::For(Duration::from_secs_f64(seconds));
        for (text, expected) in [
            ("0", seconds(0.0)),
            ("0s", seconds(0.0)),
            ("300", seconds(300.0)),
            ("5m", seconds(300.0)),
            ("1h30m", seconds(5400.0)),
            ("1.5h", seconds(5400.0)),
            ("250ms", seconds(0.25)),
            ("-1", KeepAlive::Forever),
            ("-1m", KeepAlive::Forever),
            ("99999999999999999999999h", KeepAlive::Forever),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
            let again = expected.to_string();
            assert_eq!(again.parse(), Ok(expected), "{again}");
        }
        for text in ["", "-", "m", "5x", "five", "1h30", "1..5s", "5m-", "∞"] {
            assert!(text.parse::<KeepAlive>().is_err(), "{text}");
        }
    }
}
