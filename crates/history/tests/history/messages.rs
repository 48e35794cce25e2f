use std::time::{Duration, Instant};

use matou_history::{
    Answer, CONTENT_BYTES, Changes, History, HistoryError, ImportedConversation, JSON_VALUES,
    Listing, Message, NewConversation, NewMessage, Role, State,
};
use serde_json::{Value, json};

use crate::support::{me, other, say, titled};

fn ids(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.id.as_str()).collect()
}

fn leaf(history: &History, conversation: &str) -> Option<String> {
    history
        .conversation(&me(), conversation)
        .unwrap()
        .unwrap()
        .leaf
}

#[test]
fn a_path_goes_from_the_beginning_to_its_message() {
    let history = History::in_memory().unwrap();
    let id = titled(&history, "", 1).id;
    let a = say(&history, &id, None, Role::User, "a");
    let b = say(&history, &id, Some(&a), Role::Assistant, "b");
    let c = say(&history, &id, Some(&a), Role::Assistant, "c");
    let d = say(&history, &id, Some(&b), Role::User, "d");
    let path = history.path(&me(), &id, &d, u64::MAX).unwrap().unwrap();
    assert_eq!(ids(&path), [&a, &b, &d]);
    let path = history.path(&me(), &id, &c, u64::MAX).unwrap().unwrap();
    assert_eq!(ids(&path), [&a, &c]);
    assert_eq!(history.path(&me(), &id, "msg_0", u64::MAX).unwrap(), None);
    assert_eq!(leaf(&history, &id), Some(d));
    assert_eq!(history.conversation(&me(), &id).unwrap().unwrap().title, "");
}

#[test]
fn an_answer_grows_and_ends_and_is_found_then() {
    let history = History::in_memory().unwrap();
    let id = titled(&history, "", 1).id;
    let question = say(&history, &id, None, Role::User, "why?");
    let mut new = NewMessage::new(Some(question), Role::Assistant, "");
    new.state = State::Running;
    new.model = Some("tiny".to_owned());
    new.settings = Some(json!({"temperature": 0.5}));
    new.request = Some(json!({"messages": [1]}));
    let made = history.add_message(&me(), &id, &new, 5).unwrap();
    let listing = Listing {
        text: Some("because".to_owned()),
        ..Listing::default()
    };
    let found = |history: &History| history.list(&me(), &listing).unwrap().data.len();
    let mut answer = Answer {
        content: json!("because"),
        ..Answer::default()
    };
    assert!(
        history
            .save_answer(&me(), &id, &made.id, &answer, 6)
            .unwrap()
    );
    assert_eq!(found(&history), 0);
    answer.content = json!("because it is so");
    answer.reasoning = Some("hm".to_owned());
    answer.tool_calls = Some(vec![json!({"id": "call_1"})]);
    answer.state = State::Done;
    answer.finish_reason = Some("stop".to_owned());
    answer.usage = Some(json!({"prompt_tokens": 3}));
    answer.timings = Some(json!({"predicted_ms": 0.1}));
    answer.logprobs = Some(json!({"content": [{"token": "b", "logprob": -0.25}]}));
    assert!(
        history
            .save_answer(&me(), &id, &made.id, &answer, 7000)
            .unwrap()
    );
    assert_eq!(found(&history), 1);
    let detail = history.message(&me(), &id, &made.id).unwrap().unwrap();
    assert_eq!(detail.request, new.request);
    assert_eq!(detail.logprobs, answer.logprobs);
    let message = &detail.message;
    assert_eq!(
        serde_json::to_value(message).unwrap(),
        json!({"id": made.id, "parent": made.parent, "role": "assistant",
            "content": "because it is so", "reasoning": "hm", "tool_calls": [{"id": "call_1"}],
            "model": "tiny", "created_at": 5, "state": "done", "finish_reason": "stop",
            "usage": {"prompt_tokens": 3}, "timings": {"predicted_ms": 0.1},
            "settings": {"temperature": 0.5}, "has_logprobs": true})
    );
    assert_eq!(
        history
            .conversation(&me(), &id)
            .unwrap()
            .unwrap()
            .updated_at,
        7000
    );
    answer.logprobs = None;
    answer.state = State::Running;
    assert!(
        history
            .save_answer(&me(), &id, &made.id, &answer, 8000)
            .unwrap()
    );
    let again = history.message(&me(), &id, &made.id).unwrap().unwrap();
    assert_eq!(again.logprobs, detail.logprobs);
    assert_eq!(history.interrupt_running().unwrap(), 1);
    assert_eq!(history.interrupt_running().unwrap(), 0);
    let again = history.message(&me(), &id, &made.id).unwrap().unwrap();
    assert_eq!(again.message.state, State::Interrupted);
    assert_eq!(found(&history), 1);
    assert!(history.delete_message(&me(), &id, &made.id, 9000).unwrap());
    assert!(
        !history
            .save_answer(&me(), &id, &made.id, &answer, 9000)
            .unwrap()
    );
    assert_eq!(found(&history), 0);
}

#[test]
fn all_below_a_deleted_message_goes_and_the_leaf_moves() {
    let history = History::in_memory().unwrap();
    let id = titled(&history, "", 1).id;
    let a = say(&history, &id, None, Role::User, "a");
    let b = say(&history, &id, Some(&a), Role::Assistant, "b");
    let deep = say(&history, &id, Some(&b), Role::User, "below b");
    let end = say(&history, &id, Some(&deep), Role::Assistant, "end");
    let c = say(&history, &id, Some(&a), Role::Assistant, "c");
    say(&history, &id, Some(&c), Role::User, "below c");
    assert!(history.delete_message(&me(), &id, &c, 1).unwrap());
    assert_eq!(
        leaf(&history, &id),
        Some(end.clone()),
        "the newest branch beside it"
    );
    let whole = history.whole(&me(), &id).unwrap().unwrap();
    assert_eq!(ids(&whole.messages), [&a, &b, &deep, &end]);
    assert!(history.delete_message(&me(), &id, &deep, 1).unwrap());
    assert_eq!(
        leaf(&history, &id),
        Some(b.clone()),
        "no branch is beside it"
    );
    let aside = say(&history, &id, None, Role::User, "another beginning");
    assert!(history.delete_message(&me(), &id, &a, 1).unwrap());
    assert_eq!(leaf(&history, &id), Some(aside.clone()), "it was not below");
    assert!(history.delete_message(&me(), &id, &aside, 1).unwrap());
    assert_eq!(leaf(&history, &id), None);
    let left = history.conversation(&me(), &id).unwrap().unwrap();
    assert_eq!(left.message_count, 0);
}

#[test]
fn messages_that_are_wrong_are_refused() {
    let history = History::in_memory().unwrap();
    let id = titled(&history, "", 1).id;
    let elsewhere = titled(&history, "", 1).id;
    let foreign = say(&history, &elsewhere, None, Role::User, "x");
    let add = |new: &NewMessage| history.add_message(&me(), &id, new, 1);
    let parent = NewMessage::new(Some(foreign), Role::User, "x");
    let error = add(&parent).unwrap_err().to_string();
    assert_eq!(error, "parent is no message of this conversation");
    for content in [json!(1), json!({}), json!([1]), json!(true)] {
        let error = add(&NewMessage::new(None, Role::User, content))
            .unwrap_err()
            .to_string();
        assert_eq!(error, "content must be a string or an array of parts");
    }
    let long = NewMessage::new(None, Role::User, "x".repeat(CONTENT_BYTES));
    let error = add(&long).unwrap_err().to_string();
    assert_eq!(error, "the content may have at most 4194304 bytes");
    let mut calls = NewMessage::new(None, Role::User, "x");
    calls.tool_calls = Some(vec![json!("x")]);
    assert!(add(&calls).is_err());
    assert_eq!(leaf(&history, &id), None);
    let null = add(&NewMessage::new(None, Role::Assistant, Value::Null)).unwrap();
    assert_eq!(null.content, "");
    let odd = "\0 \u{fdd0}\u{fdd1} 😀 \"quoted\" \\ \u{1b}";
    let parts = json!([{"type": "text", "text": odd}, {"type": "image_url", "image_url": {"url": "data:,"}}]);
    for content in [json!(odd), parts] {
        let message = add(&NewMessage::new(None, Role::User, content.clone())).unwrap();
        assert_eq!(message.content, content);
    }
}

#[test]
fn json_sets_what_is_the_clients_only() {
    let new: NewMessage = serde_json::from_value(json!({"role": "user", "content": "x",
        "id": "msg_1", "state": "running", "settings": {"a": 1}, "request": {}, "more": 1}))
    .unwrap();
    assert_eq!(new, NewMessage::new(None, Role::User, "x"));
    assert!(serde_json::from_value::<NewMessage>(json!({"role": "cat", "content": "x"})).is_err());
}

#[test]
fn ten_thousand_messages_are_read_and_deleted_in_good_time() {
    let history = History::in_memory().unwrap();
    let mut imported = ImportedConversation::default();
    for index in 0..10_000_u32 {
        imported.messages.push(
            serde_json::from_value(json!({"id": index.to_string(), "role": "user",
                "parent": index.checked_sub(1).map(|it| it.to_string()),
                "content": format!("message {index}")}))
            .unwrap(),
        );
    }
    let id = history.import(&me(), &imported, 1).unwrap().id;
    let begin = Instant::now();
    let whole = history.whole(&me(), &id).unwrap().unwrap();
    assert_eq!(whole.messages.len(), 10_000);
    assert!(
        begin.elapsed() < Duration::from_secs(1),
        "{:?}",
        begin.elapsed()
    );
    let last = whole.conversation.leaf.unwrap();
    assert_eq!(
        history.path(&me(), &id, &last, u64::MAX).unwrap().unwrap(),
        whole.messages
    );
    let begin = Instant::now();
    let first = &whole.messages[0].id;
    assert!(history.delete_message(&me(), &id, first, 1).unwrap());
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "{:?}",
        begin.elapsed()
    );
    assert!(
        history
            .whole(&me(), &id)
            .unwrap()
            .unwrap()
            .messages
            .is_empty()
    );
}

#[test]
fn a_message_gets_the_id_that_it_is_given() {
    let history = History::in_memory().unwrap();
    let id = titled(&history, "", 1).id;
    let given = "msg_0123456789abcdef0123456789abcdef";
    let mut new = NewMessage::new(None, Role::User, "x");
    new.id = Some(given.to_owned());
    let message = history.add_message(&me(), &id, &new, 1).unwrap();
    assert_eq!(message.id, given);
    assert_eq!(leaf(&history, &id).as_deref(), Some(given));
    let theirs = history.create(&other(), &NewConversation::default(), 1);
    let theirs = theirs.unwrap().id;
    for (owner, conversation) in [(me(), &id), (other(), &theirs)] {
        let error = history.add_message(&owner, conversation, &new, 1);
        assert_eq!(error.unwrap_err().to_string(), "id is taken");
    }
    for wrong in [
        "",
        "msg_",
        "msg_0123456789ABCDEF0123456789ABCDEF",
        "msg_0123456789abcdef0123456789abcdef0",
        "msg_0123456789abcdef0123456789abcdeg",
        "conv_123456789abcdef0123456789abcdef",
        "msg_0123456789abcdef0123456789abcdé",
    ] {
        new.id = Some(wrong.to_owned());
        let error = history.add_message(&me(), &id, &new, 1).unwrap_err();
        assert!(
            matches!(error, HistoryError::Invalid { field: "id", .. }),
            "{error}"
        );
        assert!(error.to_string().starts_with("id must be"), "{error}");
    }
    let whole = history.whole(&me(), &id).unwrap().unwrap();
    assert_eq!(ids(&whole.messages), [given]);
}

#[test]
fn a_branch_that_is_too_large_is_not_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("history.db");
    let history = History::open(&file).unwrap();
    let id = titled(&history, "", 1).id;
    let mut new = NewMessage::new(None, Role::User, "x".repeat(98));
    new.request = Some("x".repeat(1000).into());
    let first = history.add_message(&me(), &id, &new, 1).unwrap().id;
    let mut new = NewMessage::new(Some(first.clone()), Role::Assistant, "x".repeat(48));
    new.reasoning = Some("r".repeat(50));
    let second = history.add_message(&me(), &id, &new, 1).unwrap().id;
    say(&history, &id, Some(&first), Role::Assistant, "aside");
    let path = |most| history.path(&me(), &id, &second, most);
    assert_eq!(path(200).unwrap().unwrap().len(), 2);
    let expected = "the branch may have at most 199 bytes: begin a new conversation";
    assert_eq!(path(199).unwrap_err().to_string(), expected);
    let raw = rusqlite::Connection::open(&file).unwrap();
    raw.execute("UPDATE messages SET role = 'cat'", []).unwrap();
    assert!(matches!(path(200), Err(HistoryError::Corrupt { .. })));
    assert_eq!(
        path(199).unwrap_err().to_string(),
        expected,
        "not even read"
    );
}

#[test]
fn json_has_so_many_values_and_no_more() {
    let history = History::in_memory().unwrap();
    let id = titled(&history, "", 1).id;
    let empty = |count: usize| vec![json!({}); count];
    // An object with an array has two of its own.
    let object = |values: usize| json!({ "x": vec![Value::Null; values - 2] });
    let message = say(&history, &id, None, Role::Assistant, "");
    for (over, is_kept) in [(0, true), (1, false)] {
        let values = JSON_VALUES + over;
        let check = |what: &str, result: Result<(), HistoryError>| match result {
            Ok(()) => assert!(is_kept, "{what}"),
            Err(error) => {
                let expected = format!("{what} may have at most 10000 JSON values");
                assert_eq!((error.to_string(), is_kept), (expected, false));
            }
        };
        let add = |new: NewMessage| history.add_message(&me(), &id, &new, 1).map(drop);
        let content = Value::Array(empty(values - 1));
        check(
            "the content",
            add(NewMessage::new(None, Role::User, content)),
        );
        let mut new = NewMessage::new(None, Role::User, "x");
        new.tool_calls = Some(empty(values - 1));
        check("the tool calls", add(new));
        let mut new = NewMessage::new(None, Role::User, "x");
        new.settings = Some(object(values));
        check("the settings", add(new));
        let save = |answer: Answer| {
            history
                .save_answer(&me(), &id, &message, &answer, 1)
                .map(drop)
        };
        let usage = Answer {
            usage: Some(object(values)),
            ..Answer::default()
        };
        check("the usage", save(usage));
        let timings = Answer {
            timings: Some(object(values)),
            ..Answer::default()
        };
        check("the timings", save(timings));
        let settings = Some(object(values));
        let changes = Changes {
            settings: settings.clone(),
            ..Changes::default()
        };
        let update = history.update(&me(), &id, &changes, 1).map(drop);
        check("the settings", update);
        let new = NewConversation {
            settings,
            ..NewConversation::default()
        };
        check("the settings", history.create(&me(), &new, 1).map(drop));
    }
    let mut answer = Answer {
        logprobs: Some(object(5 * JSON_VALUES)),
        request: Some(object(5 * JSON_VALUES)),
        ..Answer::default()
    };
    let saved = history.save_answer(&me(), &id, &message, &answer, 1);
    assert!(saved.unwrap(), "the server's own may be larger");
    answer.request = Some(Value::Array(vec![Value::Null; 4_000_000]));
    let error = history.save_answer(&me(), &id, &message, &answer, 1);
    assert_eq!(
        error.unwrap_err().to_string(),
        "the request may have at most 4000000 JSON values"
    );
}

#[test]
fn what_is_being_written_is_known_before_it_is_deleted() {
    let history = History::in_memory().unwrap();
    let id = titled(&history, "", 1).id;
    let elsewhere = titled(&history, "", 1).id;
    let begin = |conversation: &str, parent: Option<&str>| {
        let mut new = NewMessage::new(parent.map(str::to_owned), Role::Assistant, "");
        new.state = State::Running;
        history
            .add_message(&me(), conversation, &new, 1)
            .unwrap()
            .id
    };
    let a = say(&history, &id, None, Role::User, "a");
    let b = say(&history, &id, Some(&a), Role::User, "b");
    let below_b = begin(&id, Some(&b));
    let deeper = begin(&id, Some(&below_b));
    let below_a = begin(&id, Some(&a));
    let aside = begin(&id, None);
    begin(&elsewhere, None);
    let below = |message: Option<&str>| history.message_ids_below(&me(), &id, message).unwrap();
    assert_eq!(
        below(None),
        [&below_b, &deeper, &below_a, &aside].map(String::as_str)
    );
    assert_eq!(
        below(Some(&a)),
        [&below_b, &deeper, &below_a].map(String::as_str)
    );
    assert_eq!(below(Some(&b)), [&below_b, &deeper].map(String::as_str));
    assert_eq!(below(Some(&deeper)), [deeper.as_str()]);
    assert!(below(Some("msg_0")).is_empty());
    for (owner, conversation) in [(other(), id.as_str()), (me(), "conv_0")] {
        for message in [None, Some(a.as_str())] {
            let ids = history.message_ids_below(&owner, conversation, message);
            assert!(ids.unwrap().is_empty());
        }
    }
    let done = Answer {
        state: State::Done,
        ..Answer::default()
    };
    history.save_answer(&me(), &id, &deeper, &done, 1).unwrap();
    assert_eq!(below(Some(&b)), [below_b.as_str()]);
}
