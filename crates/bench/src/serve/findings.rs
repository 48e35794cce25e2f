//! What a reader has to know of a cell before believing it.

use crate::machine::{Conditions, NOISE};
use crate::report::{FindingKind, Load, ServeCell};

use super::load::{Ending, Outcome};

/// Tokens of a prompt that may be cached beyond what was seen of a fresh one: servers cache by blocks.
const SLACK_TOKENS: f64 = 32.0;
/// Part of the prompts' tokens that may be cached beyond that.
const SLACK: f64 = 0.02;
/// Milliseconds by which the measuring program may be late.
const LATE_MS: f64 = 10.0;
/// Part of the time to the first token by which it may be.
const LATE: f64 = 0.05;

/// What is wrong with a cell's figures. `template_tokens` are those that the server had cached of a prompt it
/// had never seen: what its chat template puts in front of every one.
pub fn of(outcome: &Outcome, template_tokens: u64) -> Vec<(FindingKind, String)> {
    let cell = &outcome.cell;
    let mut found = Vec::new();
    let mut add = |kind, message: String| found.push((kind, message));
    if outcome.repeated > 0 && !cell.cached {
        let all = cell.records.len();
        let message = format!(
            "{} of {all} prompts were sent more than once: prefix caches answer these, so times to the first \
             token are too short; leave out --allow-repeats, or give more conversations",
            outcome.repeated
        );
        add(FindingKind::Polluted, message);
    }
    caches(cell, template_tokens, &mut add);
    client(cell, &mut add);
    if cell.completed > 0 && cell.prompt_tokens == 0 {
        let message = "the server tells no usage: tokens are counted by chunks, and what was cached is not known";
        add(FindingKind::Unproven, message.to_owned());
    }
    let failed: usize = cell.errors.values().sum();
    if failed > 0 {
        let kinds: Vec<_> = cell
            .errors
            .iter()
            .map(|(kind, n)| format!("{n} × {kind}"))
            .collect();
        let first = cell.records.iter().find_map(|record| record.error.as_ref());
        let words = first.map_or("", |error| error.message.as_str());
        let message = format!(
            "{failed} requests have no answer ({}), as in: {words}",
            kinds.join(", ")
        );
        add(FindingKind::Errors, message);
    }
    let so_far = format!("after {} of {} requests", cell.records.len(), cell.requests);
    match outcome.ending {
        Ending::Complete => {}
        Ending::TimeUp => add(
            FindingKind::Interrupted,
            format!("the time was up {so_far}"),
        ),
        Ending::Stopped => add(FindingKind::Interrupted, format!("stopped {so_far}")),
        Ending::GivenUp => {
            let message = format!("given up {so_far}: nothing was answered any more");
            add(FindingKind::Errors, message);
        }
    }
    found
}

fn caches(cell: &ServeCell, template_tokens: u64, add: &mut impl FnMut(FindingKind, String)) {
    let good = cell.records.iter().filter(|record| record.error.is_none());
    let mut beyond = 0.0;
    for record in good {
        let Some(cached) = record.cached_tokens else {
            continue;
        };
        let expected = template_tokens as f64 + cell.shared_prefix * record.prompt_tokens as f64;
        beyond += (cached as f64 - expected - SLACK_TOKENS).max(0.0);
    }
    match (cell.cached, cell.cached_tokens) {
        (false, _) if beyond > SLACK * cell.prompt_tokens as f64 => {
            let share = 100.0 * beyond / cell.prompt_tokens as f64;
            let message = format!(
                "the server had {share:.0} % of the prompts' tokens cached that no prompt of this run shares: \
                 somebody has sent them before, so times to the first token are too short; take another --seed"
            );
            add(FindingKind::Polluted, message);
        }
        (true, Some(cached)) if cell.completed > 0 && cached * 2 < cell.prompt_tokens => {
            let message = format!(
                "prompts were sent again to be cached, but the server had {cached} of {} tokens only",
                cell.prompt_tokens
            );
            add(FindingKind::Unproven, message);
        }
        (_, None) if cell.completed > 0 && cell.prompt_tokens > 0 => {
            let message = "the server does not tell how many tokens it had cached, so that none were rests on \
                           prompts that differ from the first character on";
            add(FindingKind::Unproven, message.to_owned());
        }
        _ => {}
    }
}

fn client(cell: &ServeCell, add: &mut impl FnMut(FindingKind, String)) {
    let bound = LATE_MS.max(LATE * cell.ttft_ms.p50);
    let lag = cell.client.lag_p99_ms;
    if lag > bound {
        let message = format!(
            "the clock of the measuring program itself came up to {lag:.0} ms late (99th percentile): it was the \
             limit, or shares its cores with the server; run it on another machine, or ask for less"
        );
        add(FindingKind::ClientLimit, message);
    }
    if let Some(steal) = cell.client.steal_share.filter(|steal| *steal > NOISE) {
        let message = format!(
            "other machines on the host took {:.0} % of this one's cores meanwhile",
            100.0 * steal
        );
        add(FindingKind::Noise, message);
    }
    let late = cell.send_delay_ms.p99;
    if !matches!(cell.load, Load::Closed { .. }) && late > bound {
        let message = format!(
            "requests were sent up to {late:.0} ms after their time (99th percentile); this wait is counted in"
        );
        add(FindingKind::ClientLimit, message);
    }
}

/// What is wrong with the machine, as it was while nothing was measured.
pub fn of_machine(conditions: &Conditions) -> Option<String> {
    let mut who = Vec::new();
    for (share, name) in [
        (conditions.others_share, "other programs"),
        (conditions.steal_share, "other machines on the same host"),
    ] {
        if let Some(share) = share.filter(|share| *share > NOISE) {
            who.push(format!("{name} took {:.0} % of its cores", 100.0 * share));
        }
    }
    (!who.is_empty()).then(|| format!("the machine was not quiet before: {}", who.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_with_other_work_is_named() {
        let quiet = Conditions {
            others_share: Some(0.02),
            steal_share: Some(0.0),
            ..Conditions::default()
        };
        assert_eq!(of_machine(&quiet), None);
        assert_eq!(of_machine(&Conditions::default()), None, "not known");
        let busy = Conditions {
            others_share: Some(0.5),
            steal_share: Some(0.2),
            ..quiet
        };
        let message = of_machine(&busy).unwrap();
        assert!(message.contains("other programs took 50 %"), "{message}");
        assert!(message.contains("same host took 20 %"), "{message}");
    }
}
