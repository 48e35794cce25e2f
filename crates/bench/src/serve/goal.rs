//! Latencies of a request, and what they have to be to count as good.

use crate::report::Record;

/// What an answer has to keep to count as good, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Goal {
    /// Most until the first token.
    pub ttft_ms: Option<f64>,
    /// Most for each token after it.
    pub tpot_ms: Option<f64>,
    /// Most until the end.
    pub e2e_ms: Option<f64>,
}

impl Goal {
    /// Reads `ttft:500,tpot:50`.
    ///
    /// # Errors
    ///
    /// With what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut goal = Self::default();
        for part in text.split(',') {
            let (name, value) = part.split_once(':').ok_or_else(|| {
                format!("{part:?} is not a name and milliseconds, as in ttft:500")
            })?;
            let value = value.trim().parse::<f64>().ok().filter(|ms| *ms > 0.0);
            let value = value.ok_or_else(|| format!("{part:?} has no number of milliseconds"))?;
            match name.trim() {
                "ttft" => goal.ttft_ms = Some(value),
                "tpot" => goal.tpot_ms = Some(value),
                "e2e" => goal.e2e_ms = Some(value),
                other => return Err(format!("{other:?} is none of ttft, tpot, e2e")),
            }
        }
        Ok(goal)
    }

    /// Whether an answer keeps it.
    pub(super) fn is_kept(&self, record: &Record) -> bool {
        let within = |limit: Option<f64>, value: Option<f64>| {
            limit.is_none_or(|limit| value.is_none_or(|value| value <= limit))
        };
        record.error.is_none()
            && within(self.ttft_ms, record.ttft_ms())
            && within(self.tpot_ms, record.tpot_ms())
            && within(self.e2e_ms, Some(record.e2e_ms()))
    }
}

impl Record {
    /// Milliseconds from when it was to be sent to its first token.
    pub fn ttft_ms(&self) -> Option<f64> {
        Some((self.first_token_s? - self.intended_s) * 1000.0)
    }

    /// Milliseconds a token after the first.
    pub fn tpot_ms(&self) -> Option<f64> {
        let seconds: f64 = self.gaps.iter().map(|(seconds, _)| seconds).sum();
        let tokens: f64 = self.gaps.iter().map(|(_, tokens)| tokens).sum();
        (tokens > 0.0).then(|| seconds / tokens * 1000.0)
    }

    /// Milliseconds from when it was to be sent to its end.
    pub fn e2e_ms(&self) -> f64 {
        (self.end_s - self.intended_s) * 1000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_read_and_wrong_ones_named() {
        let goal = Goal::parse("ttft:500, e2e:2000.5").unwrap();
        assert_eq!(
            (goal.ttft_ms, goal.tpot_ms, goal.e2e_ms),
            (Some(500.0), None, Some(2000.5))
        );
        for wrong in ["500", "ttft:x", "ttft:-1", "itl:5"] {
            assert!(Goal::parse(wrong).is_err(), "{wrong}");
        }
    }
}
