use matou_history::{
    Changes, DRAFT_BYTES, FOLDER_CHARS, History, HistoryError, Listing, NewConversation, Role,
    SETTINGS_BYTES, TITLE_CHARS,
};
use serde_json::{Value, json};

use crate::support::{me, other, say, titled};

fn titles(history: &History, listing: &Listing) -> Vec<String> {
    let listed = history.list(&me(), listing).unwrap();
    listed.data.into_iter().map(|it| it.title).collect()
}

#[test]
fn a_conversation_has_the_fields_of_the_page() {
    let history = History::in_memory().unwrap();
    let new: NewConversation =
        serde_json::from_value(json!({"title": "Cats", "folder": " pets ", "draft": "and"}))
            .unwrap();
    let made = history.create(&me(), &new, 7).unwrap();
    let mut fields = serde_json::to_value(&made).unwrap();
    let id = fields["id"].take();
    let id = id.as_str().unwrap();
    assert!(id.starts_with("conv_") && id.len() == 37, "{id}");
    assert_eq!(
        fields,
        json!({"object": "history.conversation", "id": null, "title": "Cats", "created_at": 7,
            "updated_at": 7, "pinned": false, "folder": "pets", "settings": {}, "draft": "and",
            "leaf": null, "message_count": 0})
    );
    say(&history, id, None, Role::User, "hello");
    let whole = history.whole(&me(), id).unwrap().unwrap();
    let fields = serde_json::to_value(&whole).unwrap();
    assert_eq!(fields["object"], "history.conversation");
    assert_eq!(fields["message_count"], 1);
    assert_eq!(fields["leaf"], fields["messages"][0]["id"]);
    assert_eq!(fields["messages"][0]["has_logprobs"], false);
    assert_eq!(fields["messages"][0]["parent"], Value::Null);
}

#[test]
fn pinned_ones_are_listed_first_and_then_the_newest_page_by_page() {
    let history = History::in_memory().unwrap();
    let made = ["a", "b", "c", "d", "e"].map(|title| titled(&history, title, 10));
    titled(&history, "f", 5);
    let pin: Changes = serde_json::from_str(r#"{"pinned": true}"#).unwrap();
    history.update(&me(), &made[1].id, &pin, 99).unwrap();
    let all = ["b", "e", "d", "c", "a", "f"];
    assert_eq!(titles(&history, &Listing::default()), all);
    let mut listing = Listing {
        limit: 1,
        ..Listing::default()
    };
    let mut found = Vec::new();
    loop {
        let mut listed = history.list(&me(), &listing).unwrap();
        assert_eq!(listed.data.len(), 1);
        let conversation = listed.data.remove(0);
        found.push(conversation.title);
        listing.after = Some(conversation.id);
        if !listed.has_more {
            break;
        }
    }
    assert_eq!(found, all);
    listing.limit = 4;
    listing.after = Some(made[4].id.clone());
    assert_eq!(titles(&history, &listing), ["d", "c", "a", "f"]);
    assert!(!history.list(&me(), &listing).unwrap().has_more);
    assert!(history.delete(&me(), &made[4].id).unwrap());
    let error = history.list(&me(), &listing).unwrap_err();
    assert!(matches!(error, HistoryError::NotFound { .. }), "{error}");
    for limit in [0, 201] {
        listing.limit = limit;
        let error = history.list(&me(), &listing).unwrap_err().to_string();
        assert_eq!(error, "limit must be 1 to 200");
    }
}

#[test]
fn folders_are_named_and_chosen() {
    let history = History::in_memory().unwrap();
    let made = ["a", "b", "c"].map(|title| titled(&history, title, 10));
    for (conversation, folder) in made.iter().zip(["work", "home", "work"]) {
        let changes: Changes = serde_json::from_value(json!({ "folder": folder })).unwrap();
        history
            .update(&me(), &conversation.id, &changes, 20)
            .unwrap();
    }
    let listing = Listing {
        folder: Some("work".to_owned()),
        ..Listing::default()
    };
    assert_eq!(titles(&history, &listing), ["c", "a"]);
    assert_eq!(
        history.list(&me(), &listing).unwrap().folders,
        ["home", "work"]
    );
    let none: Changes = serde_json::from_str(r#"{"folder": null}"#).unwrap();
    let changed = history.update(&me(), &made[1].id, &none, 20).unwrap();
    assert_eq!(changed.folder, None);
    assert_eq!(history.list(&me(), &listing).unwrap().folders, ["work"]);
    assert!(
        history
            .list(&other(), &Listing::default())
            .unwrap()
            .folders
            .is_empty()
    );
}

#[test]
fn only_messages_and_titles_make_it_newer() {
    let history = History::in_memory().unwrap();
    let id = titled(&history, "a", 10).id;
    let first = say(&history, &id, None, Role::User, "one");
    let second = say(&history, &id, Some(&first), Role::Assistant, "two");
    let quiet = Changes {
        pinned: Some(true),
        folder: Some(Some("f".to_owned())),
        settings: Some(json!({"theme": 1})),
        draft: Some("so".to_owned()),
        leaf: Some(first.clone()),
        title: Some("a".to_owned()),
    };
    let changed = history.update(&me(), &id, &quiet, 2000).unwrap();
    assert_eq!(changed.updated_at, 1000);
    assert_eq!(changed.leaf.as_deref(), Some(first.as_str()));
    assert_eq!(
        (changed.draft.as_str(), &changed.settings),
        ("so", &json!({"theme": 1}))
    );
    let title = Changes {
        title: Some("b".to_owned()),
        ..Changes::default()
    };
    let changed = history.update(&me(), &id, &title, 2000).unwrap();
    assert_eq!((changed.updated_at, changed.title.as_str()), (2000, "b"));
    assert_eq!(
        (changed.pinned, changed.folder.as_deref()),
        (true, Some("f"))
    );
    assert!(history.delete_message(&me(), &id, &second, 3000).unwrap());
    let changed = history.conversation(&me(), &id).unwrap().unwrap();
    assert_eq!((changed.updated_at, changed.message_count), (3000, 1));
}

#[test]
fn what_is_too_long_or_wrong_is_refused_and_changes_nothing() {
    let history = History::in_memory().unwrap();
    let id = titled(&history, &"é".repeat(TITLE_CHARS), 10).id;
    let elsewhere = titled(&history, "b", 10).id;
    let foreign = say(&history, &elsewhere, None, Role::User, "x");
    let mut deep = json!({});
    for _ in 0..200 {
        deep = json!({ "deeper": deep });
    }
    let wrong = [
        (
            json!({"title": "é".repeat(TITLE_CHARS + 1)}),
            "the title may have at most 300 characters",
        ),
        (
            json!({"folder": "x".repeat(FOLDER_CHARS + 1)}),
            "the folder may have at most 100",
        ),
        (
            json!({"draft": "x".repeat(DRAFT_BYTES + 1)}),
            "the draft may have at most 262144 bytes",
        ),
        (
            json!({"settings": {"x": "x".repeat(SETTINGS_BYTES)}}),
            "the settings may have at most",
        ),
        (json!({"settings": [1]}), "settings must be an object"),
        (json!({"settings": deep}), "settings is nested more than"),
        (
            json!({"leaf": foreign}),
            "leaf is no message of this conversation",
        ),
    ];
    let before = history.conversation(&me(), &id).unwrap();
    for (changes, message) in wrong {
        let mut changes: Changes = serde_json::from_value(changes).unwrap();
        changes.pinned = Some(true);
        let error = history
            .update(&me(), &id, &changes, 20)
            .unwrap_err()
            .to_string();
        assert!(error.contains(message), "{error}");
    }
    assert_eq!(history.conversation(&me(), &id).unwrap(), before);
}

#[test]
fn an_owner_sees_nothing_of_another() {
    let history = History::in_memory().unwrap();
    let id = titled(&history, "secret plans", 10).id;
    let message = say(&history, &id, None, Role::User, "secret words");
    let them = other();
    for text in [None, Some("secret"), Some("se")] {
        let listing = Listing {
            text: text.map(str::to_owned),
            ..Listing::default()
        };
        assert!(history.list(&them, &listing).unwrap().data.is_empty());
        assert_eq!(history.list(&me(), &listing).unwrap().data.len(), 1);
    }
    let after = Listing {
        after: Some(id.clone()),
        ..Listing::default()
    };
    assert!(history.list(&them, &after).is_err());
    assert_eq!(history.conversation(&them, &id).unwrap(), None);
    assert_eq!(history.whole(&them, &id).unwrap(), None);
    assert_eq!(history.path(&them, &id, &message, u64::MAX).unwrap(), None);
    assert_eq!(history.message(&them, &id, &message).unwrap(), None);
    assert!(!history.delete_message(&them, &id, &message, 1).unwrap());
    assert!(!history.delete(&them, &id).unwrap());
    assert_eq!(history.delete_all(&them).unwrap(), 0);
    let answer = matou_history::Answer::default();
    assert!(
        !history
            .save_answer(&them, &id, &message, &answer, 1)
            .unwrap()
    );
    let new = matou_history::NewMessage::new(None, Role::User, "x");
    for error in [
        history
            .update(&them, &id, &Changes::default(), 1)
            .unwrap_err(),
        history.add_message(&them, &id, &new, 1).unwrap_err(),
    ] {
        assert_eq!(error.to_string(), "there is no conversation with this id");
    }
    history
        .export::<HistoryError>(&them, |_| panic!("nothing is theirs"))
        .unwrap();
    assert_eq!(
        history.whole(&me(), &id).unwrap().unwrap().messages.len(),
        1
    );
    assert_eq!(history.delete_all(&me()).unwrap(), 1);
    assert_eq!(history.conversation(&me(), &id).unwrap(), None);
}
