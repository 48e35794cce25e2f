//! What goes wrong is named, and what went well before is kept.

use std::time::Duration;

use matou_bench::report::{FindingKind, Load};
use matou_bench::serve::client::{Client, Target, TargetError};
use matou_bench::serve::load::{Ending, Outcome, Plan, run};
use matou_bench::serve::prompts::{Prompts, Source};
use matou_bench::serve::{Session, findings};
use tokio::sync::watch;

use crate::server::{Behaviour, Scripted};

fn target(url: &str) -> Target {
    Target {
        url: url.to_owned(),
        api_key: None,
        model: String::new(),
        completions: false,
        max_tokens: 3,
        ignore_eos: true,
        extra: Default::default(),
        timeout: Duration::from_secs(20),
    }
}

/// Sends `requests`, so many at a time.
async fn asked(behaviour: Behaviour, requests: usize, concurrency: usize) -> Outcome {
    let server = Scripted::start(behaviour).await;
    let (client, found) = Client::find(target(&server.url)).await.unwrap();
    assert_eq!(
        (found.model.as_str(), found.software.as_deref()),
        ("scripted", Some("scripted/1"))
    );
    let prompts = Prompts::new(Source::built_in(), None, 1, true);
    let load = Load::Closed { concurrency };
    let plan = Plan {
        name: load.name(),
        load,
        requests,
        first_prompt: 0,
        cached: false,
        arrivals: Vec::new(),
        seed: 1,
        target: None,
        time_limit: Duration::from_secs(60),
    };
    let (_keep, stop) = watch::channel(false);
    run(&client, &prompts, plan, stop, &|_| {}).await
}

#[tokio::test]
async fn a_good_answer_is_counted_by_the_servers_usage() {
    let cell = asked(Behaviour::Well, 2, 1).await.cell;
    assert_eq!(
        (cell.completed, cell.prompt_tokens, cell.completion_tokens),
        (2, 80, 6)
    );
    assert_eq!(cell.cached_tokens, Some(0));
    assert_eq!(cell.itl_ms.count, 4, "three tokens have two gaps");
    assert_eq!(cell.multi_token_chunks, 0.0);
    let record = &cell.records[0];
    assert!(
        record.sent_s <= record.first_token_s.unwrap()
            && record.first_token_s.unwrap() <= record.end_s
    );
    assert_eq!(record.finish_reason.as_deref(), Some("length"));
}

#[tokio::test]
async fn chunks_with_several_tokens_are_told_apart() {
    let cell = asked(Behaviour::TwoInOne, 1, 1).await.cell;
    assert_eq!(cell.completion_tokens, 5);
    assert!(cell.multi_token_chunks > 0.0);
    assert!(cell.itl_ms.count >= 3, "{:?}", cell.records[0].gaps);
}

#[tokio::test]
async fn what_goes_wrong_has_a_name() {
    for (behaviour, kind) in [
        (Behaviour::NotStreamed, "not streamed"),
        (Behaviour::Broken, "broken chunk"),
        (Behaviour::ErrorEvent, "error in the stream"),
        (Behaviour::CutOff, "cut off"),
        (Behaviour::Status(429), "http 429"),
        (Behaviour::Status(500), "http 500"),
    ] {
        let outcome = asked(behaviour, 2, 1).await;
        assert_eq!(
            outcome.cell.errors.get(kind),
            Some(&2),
            "{kind}: {:?}",
            outcome.cell.errors
        );
        assert_eq!(
            (outcome.cell.completed, outcome.cell.tokens_per_s),
            (0, 0.0)
        );
        let found = findings::of(&outcome, 0);
        assert!(
            found
                .iter()
                .any(|(found, message)| *found == FindingKind::Errors && message.contains(kind)),
            "{found:?}"
        );
    }
    let outcome = asked(Behaviour::NoUsage, 2, 1).await;
    assert_eq!(
        (outcome.cell.completed, outcome.cell.completion_tokens),
        (2, 4),
        "counted by chunks"
    );
    let found = findings::of(&outcome, 0);
    assert!(found[0].1.contains("no usage"), "{found:?}");
}

#[tokio::test]
async fn a_server_that_dies_leaves_what_it_answered_before() {
    let outcome = asked(Behaviour::Dies(3), 90, 10).await;
    assert_eq!(outcome.ending, Ending::GivenUp);
    assert_eq!(outcome.cell.completed, 3);
    assert_eq!(outcome.cell.completion_tokens, 9);
    let found = findings::of(&outcome, 0);
    assert!(
        found
            .iter()
            .any(|(_, message)| message.contains("given up")),
        "{found:?}"
    );
    let named: Vec<&String> = outcome.cell.errors.keys().collect();
    assert!(
        named
            .iter()
            .any(|kind| *kind == "unreachable" || *kind == "connection lost"),
        "{named:?}"
    );
}

#[tokio::test]
async fn a_server_that_cannot_be_asked_is_refused_before_anything_is_measured() {
    let nobody = Client::find(target("http://127.0.0.1:9")).await;
    let error = nobody.err().unwrap();
    assert!(matches!(error, TargetError::Unreachable { .. }), "{error}");
    assert!(
        error
            .to_string()
            .starts_with("cannot reach http://127.0.0.1:9: "),
        "{error}"
    );

    let locked = Scripted::start(Behaviour::Status(401)).await;
    let error = Client::find(target(&locked.url))
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("refuses the key (status 401)"), "{error}");

    let busy = Scripted::start(Behaviour::Status(503)).await;
    let (client, _) = Client::find(target(&busy.url)).await.unwrap();
    let session = Session::begin(client, Source::built_in(), 1, true).await;
    let error = session.err().unwrap().to_string();
    assert!(error.contains("http 503: not now"), "{error}");
}
