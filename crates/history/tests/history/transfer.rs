use std::collections::HashMap;

use matou_history::{
    History, HistoryError, ImportedConversation, Role, WholeConversation, markdown,
};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{me, other, say, titled};

/// After all times of the tests.
const NOW: u64 = 1 << 40;

fn exported(history: &History, owner: &matou_history::Owner) -> Vec<WholeConversation> {
    let mut all = Vec::new();
    history
        .export::<HistoryError>(owner, |whole| {
            all.push(whole);
            Ok(())
        })
        .unwrap();
    all
}

fn imported(value: Value) -> ImportedConversation {
    serde_json::from_value(value).unwrap()
}

#[test]
fn an_export_is_imported_for_someone_else() {
    let history = History::in_memory().unwrap();
    for title in ["one", "two"] {
        let id = titled(&history, title, 5).id;
        let question = say(&history, &id, None, Role::User, "why?");
        say(&history, &id, Some(&question), Role::Assistant, "so");
    }
    let mine = exported(&history, &me());
    assert_eq!(mine.len(), 2);
    for whole in &mine {
        let text = serde_json::to_string(whole).unwrap();
        let made = history
            .import(&other(), &serde_json::from_str(&text).unwrap(), NOW)
            .unwrap();
        assert_ne!(made.id, whole.conversation.id);
    }
    let theirs = exported(&history, &other());
    for (mine, theirs) in mine.into_iter().zip(theirs) {
        assert_eq!(without_ids(mine), without_ids(theirs));
    }
    let stop = history.export(&me(), |_| Err(HistoryError::NotFound { what: "reader" }));
    assert_eq!(
        stop.unwrap_err().to_string(),
        "there is no reader with this id"
    );
}

#[test]
fn messages_are_put_in_order_and_unfinished_ones_are_interrupted() {
    let history = History::in_memory().unwrap();
    let made = history
        .import(
            &me(),
            &imported(json!({"title": "t", "nonsense": 1, "messages": [
                {"id": "c", "parent": "b", "role": "user", "content": "third"},
                {"id": "b", "parent": "a", "role": "assistant", "content": "second",
                    "state": "running", "more": 2},
                {"id": "a", "role": "user", "content": "first", "created_at": 3}]})),
            50,
        )
        .unwrap();
    assert_eq!((made.created_at, made.message_count), (50, 3));
    let whole = history.whole(&me(), &made.id).unwrap().unwrap();
    let fields: Vec<Value> = whole
        .messages
        .iter()
        .map(|it| json!([it.content, it.state, it.created_at]))
        .collect();
    let expected = [
        json!(["first", "done", 3]),
        json!(["second", "interrupted", 50]),
        json!(["third", "done", 50]),
    ];
    assert_eq!(fields, expected);
    assert_eq!(made.leaf, Some(whole.messages[2].id.clone()));
    let late = imported(json!({"created_at": 60, "updated_at": 70}));
    let made = history.import(&me(), &late, 50).unwrap();
    assert_eq!((made.created_at, made.updated_at), (50, 50));
}

#[test]
fn what_is_no_tree_is_refused_whole() {
    let history = History::in_memory().unwrap();
    let message = |id: &str, parent: Value| json!({"id": id, "parent": parent, "role": "user"});
    let wrong = [
        (
            json!([message("a", json!("b")), message("b", json!("a"))]),
            "in a circle",
        ),
        (json!([message("a", json!("a"))]), "in a circle"),
        (json!([message("a", json!("z"))]), "no parent \"z\""),
        (
            json!([message("a", json!(null)), message("a", json!(null))]),
            "the id \"a\" twice",
        ),
        (
            json!([{"id": "a", "role": "user", "content": 5}]),
            "content must be",
        ),
    ];
    for (messages, expected) in wrong {
        let given = imported(json!({ "messages": messages }));
        let error = history.import(&me(), &given, 1).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let leaf = imported(json!({"leaf": "z", "messages": [message("a", json!(null))]}));
    let error = history.import(&me(), &leaf, 1).unwrap_err().to_string();
    assert_eq!(error, "leaf is none of the messages");
    let mut many = ImportedConversation::default();
    let one = imported(json!({"messages": [message("a", json!(null))]}))
        .messages
        .remove(0);
    many.messages = vec![one; 20_001];
    let error = history.import(&me(), &many, 1).unwrap_err().to_string();
    assert_eq!(error, "a conversation may have at most 20000 messages");
    assert!(exported(&history, &me()).is_empty());
}

#[test]
fn a_branch_is_markdown() {
    let history = History::in_memory().unwrap();
    let given = imported(json!({"title": "On\ncats", "leaf": "d", "messages": [
        {"id": "a", "role": "user", "content": [{"type": "text", "text": "Which?"},
            {"type": "image_url", "image_url": {"url": "data:,"}}]},
        {"id": "x", "parent": "a", "role": "assistant", "content": "another branch"},
        {"id": "b", "parent": "a", "role": "assistant", "model": "tiny", "content": "",
            "reasoning": "Hm.\n\nA tool.", "tool_calls": [{"id": "```"}]},
        {"id": "c", "parent": "b", "role": "tool", "content": "tabby"},
        {"id": "d", "parent": "c", "role": "assistant", "content": "A *tabby*.\n",
            "error": "cut\noff"}]}));
    let made = history.import(&me(), &given, 1).unwrap();
    let whole = history.whole(&me(), &made.id).unwrap().unwrap();
    let text = markdown(&whole.conversation, &whole.messages, None);
    let expected = "# On cats\n\n**User**\n\nWhich?\n\n*[image_url]*\n\n**Assistant (tiny)**\n\n\
        > **Thoughts**\n>\n> Hm.\n>\n> A tool.\n\n````json\n[\n  {\n    \"id\": \"```\"\n  }\n]\n````\n\n\
        **Tool**\n\ntabby\n\n**Assistant**\n\nA *tabby*.\n\n*Error: cut off*\n";
    assert_eq!(text, expected);
    let first = whole.messages[0].id.as_str();
    let text = markdown(&whole.conversation, &whole.messages, Some(first));
    assert_eq!(text, "# On cats\n\n**User**\n\nWhich?\n\n*[image_url]*\n");
    let text = markdown(&whole.conversation, &whole.messages, Some("gone"));
    assert_eq!(text, "# On cats\n");
}

/// A conversation with its ids replaced by its messages' places.
fn without_ids(whole: WholeConversation) -> Value {
    let mut places = HashMap::new();
    for (place, message) in whole.messages.iter().enumerate() {
        places.insert(message.id.clone(), place);
    }
    let mut value = serde_json::to_value(whole).unwrap();
    value["id"] = Value::Null;
    let place = |id: &Value| id.as_str().map(|id| places[id]);
    value["leaf"] = json!(place(&value["leaf"]));
    for message in value["messages"].as_array_mut().unwrap() {
        message["id"] = Value::Null;
        message["parent"] = json!(place(&message["parent"]));
    }
    value
}

/// A message: its parent among those before it, and its fields.
fn message() -> impl Strategy<Value = (usize, Value)> {
    let fields = (
        0..4_usize,
        ".{0,20}",
        proptest::option::of(".{0,8}"),
        any::<bool>(),
        0..4_usize,
        any::<u32>(),
        proptest::option::of(any::<f64>().prop_filter("JSON", |it| it.is_finite())),
    );
    (any::<usize>(), fields).prop_map(|(parent, fields)| {
        let (role, text, reasoning, is_parts, state, time, ms) = fields;
        let content = if is_parts {
            json!([{"type": "text", "text": text}])
        } else {
            json!(text)
        };
        let role = ["user", "assistant", "system", "tool"][role];
        let state = ["done", "stopped", "interrupted", "failed"][state];
        let mut message = json!({"role": role, "content": content, "state": state,
            "created_at": u64::from(time) + 1});
        if let Some(reasoning) = reasoning {
            message["reasoning"] = json!(reasoning);
            message["tool_calls"] = json!([{"id": reasoning}]);
        }
        if let Some(ms) = ms {
            message["timings"] = json!({ "predicted_ms": ms });
        }
        (parent, message)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn trees_survive_export_and_import(
        title in ".{0,20}",
        times in any::<(u32, bool)>(),
        messages in vec(message(), 0..40),
        leaf in any::<usize>(),
    ) {
        let mut list = Vec::new();
        for (index, (parent, mut message)) in messages.into_iter().enumerate() {
            // Every place before it, or none.
            let parent = parent % (index + 1);
            message["id"] = json!(index.to_string());
            message["parent"] = json!((parent < index).then(|| parent.to_string()));
            list.push(message);
        }
        let created = u64::from(times.0) + 1;
        let mut given = json!({"title": title, "created_at": created, "updated_at": created + 5,
            "pinned": times.1, "settings": {"a": [1.5]}, "draft": title});
        if !list.is_empty() {
            given["leaf"] = json!((leaf % list.len()).to_string());
        }
        given["messages"] = json!(list);
        let history = History::in_memory().unwrap();
        let made = history.import(&me(), &imported(given.clone()), NOW).unwrap();
        prop_assert_eq!(made.message_count, list.len() as u64);
        let first = exported(&history, &me()).remove(0);
        for (given, kept) in list.iter().zip(&first.messages) {
            prop_assert_eq!(&given["content"], &kept.content);
        }
        let again: ImportedConversation =
            serde_json::from_value(serde_json::to_value(&first).unwrap()).unwrap();
        prop_assert_eq!(&again, &ImportedConversation::from(first.clone()));
        history.import(&other(), &again, NOW).unwrap();
        let second = exported(&history, &other()).remove(0);
        prop_assert_eq!(without_ids(first), without_ids(second));
    }
}

#[test]
fn all_conversations_of_a_file_are_kept_or_none() {
    let history = History::in_memory().unwrap();
    let talk = |title: &str, content: Value| {
        imported(json!({"title": title, "messages": [
            {"id": "a", "role": "user", "content": content}]}))
    };
    let mut all = ["one", "two", "three"].map(|title| talk(title, json!("x")));
    let made = history.import_all(&me(), &all, NOW).unwrap();
    let titles: Vec<&str> = made.iter().map(|it| it.title.as_str()).collect();
    assert_eq!(titles, ["one", "two", "three"]);
    assert_eq!(exported(&history, &me()).len(), 3);
    assert!(history.import_all(&me(), &[], NOW).unwrap().is_empty());
    let error = |all: &[ImportedConversation]| {
        let error = history.import_all(&other(), all, NOW).unwrap_err();
        assert!(exported(&history, &other()).is_empty());
        error.to_string()
    };
    all[2] = talk("wrong", json!(5));
    let expected = "conversation 3: content must be a string or an array of parts";
    assert_eq!(error(&all), expected);
    all[1].leaf = Some("z".to_owned());
    let expected = "conversation 2: leaf is none of the messages";
    assert_eq!(error(&all), expected);
    all[0].messages[0].parent = Some("z".to_owned());
    let expected = "conversation 1: messages have no parent \"z\" for \"a\"";
    assert_eq!(error(&all), expected);
    let long = talk(&"x".repeat(301), json!("x"));
    let expected = "the title may have at most 300 characters";
    assert_eq!(error(&[long]), expected);
}
