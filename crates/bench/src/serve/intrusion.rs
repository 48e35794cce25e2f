//! What running streams feel of somebody else's long prompt.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::Session;
use super::client::{Ask, TargetError};
use crate::report::{Intrusion, Record, RequestError};
use crate::stats::Distribution;

/// Part of the streams' answers that is heard before the prompt is sent.
const BEFORE: Duration = Duration::from_secs(2);

/// Lets `streams` answers of `max_tokens` run, and sends a prompt of `tokens` beside them.
///
/// # Errors
///
/// When one of them is not answered.
pub async fn measure(
    session: &Session,
    streams: usize,
    max_tokens: usize,
    tokens: usize,
) -> Result<Intrusion, TargetError> {
    let origin = Instant::now();
    let records = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = JoinSet::new();
    for number in 0..streams {
        let prompt = session.prompts.words((1 << 40) + number as u64, 40);
        let (client, records) = (session.client.clone(), Arc::clone(&records));
        tasks.spawn(async move {
            let record = client.ask(&prompt, Some(max_tokens), origin, 0.0).await;
            records
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(record);
        });
    }
    sleep(BEFORE).await;
    let prompt = session.prompts.get(1 << 41, Some(tokens));
    let sent_s = origin.elapsed().as_secs_f64();
    let long = session.client.ask(&prompt, Some(1), origin, sent_s).await;
    while tasks.join_next().await.is_some() {}
    let mut records = std::mem::take(&mut *records.lock().unwrap_or_else(PoisonError::into_inner));
    records.push(long);
    let refused = |error: &RequestError| TargetError::Refused {
        url: session.client.target().url.clone(),
        kind: error.kind.clone(),
        message: error.message.clone(),
    };
    if let Some(error) = records.iter().find_map(|record| record.error.as_ref()) {
        return Err(refused(error));
    }
    let long = records.pop().unwrap_or_default();
    Ok(of_records(&records, &long, streams))
}

/// The figures, of the streams' records and the long prompt's.
fn of_records(streams: &[Record], long: &Record, count: usize) -> Intrusion {
    let first_token_s = long.first_token_s.unwrap_or(long.end_s);
    let mut arrived: Vec<(f64, f64)> = Vec::new();
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for record in streams {
        let mut at = record.first_token_s.unwrap_or(record.end_s);
        arrived.push((at, 1.0));
        for &(gap_s, tokens) in &record.gaps {
            let begin = at;
            at += gap_s;
            arrived.push((at, tokens));
            // A gap belongs to the prompt if any of it fell into the time in which it was read.
            let is_beside = at > long.intended_s && begin < first_token_s;
            let each = gap_s / tokens.max(1.0) * 1000.0;
            if is_beside { &mut beside } else { &mut alone }.push(each);
        }
    }
    arrived.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut sum = 0.0;
    for entry in &mut arrived {
        sum += entry.1;
        entry.1 = sum;
    }
    Intrusion {
        streams: count,
        prompt_tokens: long.prompt_tokens,
        sent_s: long.intended_s,
        first_token_s,
        tokens: arrived,
        itl_alone_ms: Distribution::of(alone),
        itl_beside_ms: Distribution::of(beside),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_beside_the_prompt_are_told_from_the_others() {
        let stream = Record {
            first_token_s: Some(1.0),
            gaps: vec![(0.1, 1.0), (0.1, 1.0), (0.6, 1.0), (0.1, 1.0)],
            ..Record::default()
        };
        let long = Record {
            intended_s: 1.25,
            first_token_s: Some(1.75),
            prompt_tokens: 1000,
            ..Record::default()
        };
        let intrusion = of_records(&[stream.clone(), stream], &long, 2);
        assert_eq!(
            (intrusion.itl_beside_ms.count, intrusion.itl_alone_ms.count),
            (2, 6)
        );
        assert!((intrusion.itl_beside_ms.p50 - 600.0).abs() < 1e-6);
        assert_eq!(intrusion.tokens.last().unwrap().1, 10.0);
        assert!(
            intrusion
                .tokens
                .is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1)
        );
    }
}
