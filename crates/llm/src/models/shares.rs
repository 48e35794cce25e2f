//! How the memory of one budget is shared out between models, before any of them is loaded.
//!
//! A pure calculation over their headers. As many models as fit at once, whichever they are, are
//! planned for; what their weights leave is for their keys and values, in equal parts. So what a model
//! takes, and how long its contexts are, does not depend on which others happen to be in memory.

use matou_model::BLOCK_SIZE;

use crate::open::{CONTEXTS_BY_DEFAULT, SHORTEST_CONTEXT, human_bytes};

/// What a model needs, from its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Needs {
    /// Weights, and memory to work in.
    pub(super) fixed: u64,
    /// Bytes of a block of [`BLOCK_SIZE`] tokens of keys and values.
    pub(super) block: u64,
    /// Longest context: the model's own, or what was asked for.
    pub(super) context: usize,
    /// Whether the context was asked for: it is kept or refused.
    pub(super) is_context_fixed: bool,
    /// Memory for keys and values that was asked for.
    pub(super) kv_cache: Option<u64>,
}

/// What a model gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    /// Keys and values, in bytes.
    pub(super) kv_cache: u64,
    /// Longest context, in tokens.
    pub(super) max_model_len: usize,
    /// All that it takes, in bytes.
    pub(super) total: u64,
}

/// A model that does not fit into the budget even alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "it takes {} for its weights and to work in and {} for the keys and values of {tokens} tokens, {} \
     together, but the budget is {}: {advice}",
    human_bytes(*fixed), human_bytes(*kv_cache), human_bytes(fixed + kv_cache), human_bytes(*budget)
)]
pub struct TooLarge {
    fixed: u64,
    kv_cache: u64,
    tokens: usize,
    budget: u64,
    advice: String,
}

impl Needs {
    fn bytes_of(&self, tokens: usize) -> u64 {
        (tokens.div_ceil(BLOCK_SIZE) as u64).saturating_mul(self.block)
    }

    /// Tokens that so many bytes have room for.
    fn tokens_in(&self, bytes: u64) -> usize {
        let blocks = bytes / self.block.max(1);
        usize::try_from(blocks.saturating_mul(BLOCK_SIZE as u64)).unwrap_or(usize::MAX)
    }

    /// Keys and values that it cannot do with less of, and the tokens that they are.
    fn least(&self) -> (u64, usize) {
        let tokens = match self.is_context_fixed {
            true => self.context,
            false => self.context.min(SHORTEST_CONTEXT),
        };
        match self.kv_cache {
            Some(bytes) => (bytes, self.context.min(self.tokens_in(bytes))),
            None => (self.bytes_of(tokens), tokens),
        }
    }

    fn most(&self) -> u64 {
        self.kv_cache.unwrap_or_else(|| {
            (CONTEXTS_BY_DEFAULT as u64).saturating_mul(self.bytes_of(self.context))
        })
    }

    fn check(&self, budget: u64) -> Result<(), TooLarge> {
        let (kv_cache, tokens) = self.least();
        if self.fixed.saturating_add(kv_cache) <= budget {
            return Ok(());
        }
        let room = self.tokens_in(budget.saturating_sub(self.fixed));
        let advice = match room {
            0 => "raise --memory, or take a smaller or more strongly quantised model".to_owned(),
            _ => format!("raise --memory, or lower --max-model-len to {room}"),
        };
        Err(TooLarge {
            fixed: self.fixed,
            kv_cache,
            tokens,
            budget,
            advice,
        })
    }

    /// What it cannot do with less than.
    pub(super) fn least_share(&self) -> Share {
        self.share(0)
    }

    fn share(&self, kv_cache: u64) -> Share {
        let (least, _) = self.least();
        let kv_cache = kv_cache.max(least).min(self.most().max(least));
        // Whole blocks, one at least.
        let blocks = (kv_cache / self.block.max(1)).max(1);
        let kv_cache = blocks.saturating_mul(self.block);
        Share {
            kv_cache,
            max_model_len: self.context.min(self.tokens_in(kv_cache)),
            total: self.fixed.saturating_add(kv_cache),
        }
    }
}

/// Shares `budget` out. Keys and values get `part` of what weights leave, if nobody says how much they
/// get.
pub(super) fn share_out(budget: u64, part: f64, models: &[Needs]) -> Vec<Result<Share, TooLarge>> {
    let fits: Vec<Result<(), TooLarge>> = models.iter().map(|needs| needs.check(budget)).collect();
    let fitting = models.iter().zip(&fits);
    let mut fitting: Vec<&Needs> = fitting
        .filter_map(|(needs, fits)| fits.is_ok().then_some(needs))
        .collect();
    // So many of the largest fit at once; then so many of any do.
    let at_once = (1..=fitting.len())
        .take_while(|&n| largest(&fitting, n, 0) <= budget)
        .last()
        .unwrap_or(0);
    fitting.sort_by_key(|needs| u64::MAX - needs.fixed);
    let fixed = fitting[..at_once].iter().map(|needs| needs.fixed);
    let fixed: u64 = fixed.sum();
    let limit = fixed + ((budget.saturating_sub(fixed)) as f64 * part) as u64;
    // The most that each may take without any of them, together, taking more than there is.
    let (mut level, mut beyond) = (0, budget + 1);
    while beyond - level > 1 {
        let middle = level + (beyond - level) / 2;
        match largest(&fitting, at_once, middle) <= limit {
            true => level = middle,
            false => beyond = middle,
        }
    }
    models
        .iter()
        .zip(fits)
        .map(|(needs, fits)| fits.map(|()| needs.share(level)))
        .collect()
}

/// What the `n` models take that take the most, with so much for keys and values where they want it.
fn largest(models: &[&Needs], n: usize, level: u64) -> u64 {
    let totals = models.iter().map(|needs| needs.share(level).total);
    let mut totals: Vec<u64> = totals.collect();
    totals.sort_unstable_by(|a, b| b.cmp(a));
    totals[..n]
        .iter()
        .fold(0, |sum, total| sum.saturating_add(*total))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;

    fn model(fixed: u64, context: usize) -> Needs {
        Needs {
            fixed: fixed * MB,
            block: MB,
            context,
            is_context_fixed: false,
            kv_cache: None,
        }
    }

    fn shared(budget: u64, models: &[Needs]) -> Vec<(u64, usize)> {
        let shares = share_out(budget * MB, 1.0, models);
        shares
            .into_iter()
            .map(|share| share.unwrap())
            .map(|share| (share.kv_cache / MB, share.max_model_len))
            .collect()
    }

    #[test]
    fn who_needs_less_leaves_it_to_the_others_where_all_fit() {
        // 8 contexts of 160 tokens are 80 blocks of a megabyte.
        assert_eq!(shared(10_000, &[model(100, 160)]), [(80, 160)]);
        let models = [model(100, 160), model(100, 16_000)];
        assert_eq!(shared(1_000, &models), [(80, 160), (720, 11_520)]);
        let models = [model(100, 16_000), model(200, 16_000)];
        assert_eq!(shared(1_000, &models), [(350, 5_600), (350, 5_600)]);
    }

    #[test]
    fn as_many_as_fit_at_once_do_so_whichever_they_are() {
        let models = [model(400, 16_000), model(300, 16_000), model(50, 16_000)];
        let budget = 780;
        let shares = share_out(budget * MB, 1.0, &models);
        let shares: Vec<Share> = shares.into_iter().map(|share| share.unwrap()).collect();
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            assert!(shares[a].total + shares[b].total <= budget * MB, "{a} {b}");
        }
        assert_eq!(shares[0].kv_cache, shares[2].kv_cache);
    }

    #[test]
    fn what_does_not_fit_alone_is_named_and_takes_nothing_from_the_others() {
        let models = [model(2_000, 160), model(100, 160)];
        let shares = share_out(1_000 * MB, 1.0, &models);
        let error = shares[0].as_ref().unwrap_err().to_string();
        assert!(error.contains("2.0 GiB"), "{error}");
        assert!(error.contains("1000.0 MiB"), "{error}");
        assert!(error.contains("raise --memory"), "{error}");
        assert_eq!(shares[1].as_ref().unwrap().kv_cache, 80 * MB);
    }

    #[test]
    fn what_was_asked_for_is_kept_or_refused() {
        let asked = Needs {
            is_context_fixed: true,
            ..model(100, 3_200)
        };
        let beside = [asked, model(50, 16_000)];
        assert_eq!(shared(400, &beside), [(200, 3_200), (50, 800)]);
        let error = share_out(200 * MB, 1.0, &[asked])[0].clone().unwrap_err();
        let error = error.to_string();
        assert!(error.contains("lower --max-model-len to 1600"), "{error}");
        let stated = Needs {
            kv_cache: Some(30 * MB),
            ..model(100, 16_000)
        };
        assert_eq!(shared(400, &[stated]), [(30, 480)]);
    }
}
