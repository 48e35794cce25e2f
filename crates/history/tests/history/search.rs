use matou_history::{
    Changes, History, ImportedConversation, Listing, NewConversation, Role, SCANNED_CHARS,
    SCANNED_MESSAGES, Snippet,
};
use serde_json::json;

use crate::support::{me, other, say, titled};

/// Titles of the conversations with this text, and snippets of it.
fn search(history: &History, text: &str) -> Vec<(String, Snippet)> {
    let listing = Listing {
        text: Some(text.to_owned()),
        ..Listing::default()
    };
    let listed = history.list(&me(), &listing).unwrap();
    let found = listed.data.into_iter();
    found.map(|it| (it.title, it.snippet.unwrap())).collect()
}

fn titles(history: &History, text: &str) -> Vec<String> {
    search(history, text)
        .into_iter()
        .map(|found| found.0)
        .collect()
}

/// What a snippet marks.
fn marked(snippet: &Snippet) -> Vec<String> {
    let units: Vec<u16> = snippet.text.encode_utf16().collect();
    let ranges = snippet.matches.iter();
    ranges
        .map(|&[begin, end]| String::from_utf16(&units[begin..end]).unwrap())
        .collect()
}

#[test]
fn words_are_found_anywhere_in_any_case_with_or_without_accents() {
    let history = History::in_memory().unwrap();
    let id = titled(&history, "Über Katzen", 1).id;
    let message = say(
        &history,
        &id,
        None,
        Role::User,
        "Wie heißt das CAFÉ am Schloßplatz?",
    );
    say(&history, &id, None, Role::System, "systematic");
    say(&history, &id, None, Role::Tool, "toolbox");
    for (text, expected) in [
        ("cafe", "CAFÉ"),
        ("CAFÉ", "CAFÉ"),
        ("oßpla", "oßpla"),
        ("am", "am"),
        ("é", "É"),
        ("🦊", ""),
        ("\"", ""),
        ("katzen", "Katzen"),
        ("uber", "Über"),
    ] {
        let found = search(&history, text);
        if expected.is_empty() || text == "é" {
            assert!(found.is_empty(), "{text}");
            continue;
        }
        assert_eq!(found.len(), 1, "{text}");
        assert_eq!(marked(&found[0].1), [expected], "{text}");
        let is_title = matches!(text, "katzen" | "uber");
        let place = (!is_title).then(|| message.clone());
        assert_eq!(found[0].1.message_id, place, "{text}");
    }
    for text in ["systematic", "toolbox"] {
        assert!(titles(&history, text).is_empty());
    }
    assert_eq!(
        history
            .list(
                &me(),
                &Listing {
                    text: Some(" ".into()),
                    ..Listing::default()
                }
            )
            .unwrap()
            .data[0]
            .snippet,
        None
    );
}

#[test]
fn all_words_occur_in_one_message_or_in_the_title() {
    let history = History::in_memory().unwrap();
    let one = titled(&history, "one", 1).id;
    say(&history, &one, None, Role::User, "red apples on a tree");
    say(&history, &one, None, Role::Assistant, "green pears at noon");
    let two = titled(&history, "green apples", 1).id;
    say(&history, &two, None, Role::User, "nothing");
    assert_eq!(titles(&history, "red apples"), ["one"]);
    assert_eq!(titles(&history, "apples red on"), ["one"]);
    assert_eq!(titles(&history, "green apples"), ["green apples"]);
    assert_eq!(titles(&history, "apples"), ["green apples", "one"]);
    assert_eq!(titles(&history, "on"), ["one"]);
    assert_eq!(titles(&history, "at zz"), Vec::<String>::new());
    let found = search(&history, "tree on red");
    assert_eq!(marked(&found[0].1), ["red", "on", "tree"]);
}

#[test]
fn what_looks_like_a_query_is_text() {
    let history = History::in_memory().unwrap();
    let id = titled(&history, "code", 1).id;
    say(
        &history,
        &id,
        None,
        Role::User,
        "a OR b NOT c* say \"hello world\" 100%_ {text} x:y -minus",
    );
    for text in [
        "NOT", "c*", "\"hello", "world\"", "100%_", "{text}", "x:y", "-minus", "%_", "text}",
    ] {
        assert_eq!(titles(&history, text), ["code"], "{text}");
    }
    for text in [
        "hello OR nothing",
        "hel*o",
        "text:hello",
        "\"a b\"",
        "__",
        "%%",
        "NEAR(hello world)",
        "\u{0}\u{fdd0}zzz",
    ] {
        assert!(titles(&history, text).is_empty(), "{text}");
    }
    for text in [
        "x".repeat(1001),
        "word ".repeat(17).replace("word", "w") + "a b c d e f g h i j k l m n o p q",
    ] {
        let listing = Listing {
            text: Some(text),
            ..Listing::default()
        };
        let error = history.list(&me(), &listing).unwrap_err().to_string();
        assert!(
            error.contains("the text to search for may have at most"),
            "{error}"
        );
    }
}

#[test]
fn a_snippet_is_a_line_round_the_first_match_in_utf16_units() {
    let history = History::in_memory().unwrap();
    let id = titled(&history, "", 1).id;
    let text = format!(
        "{}😀😀 the\nneedle 😀 and needle {}",
        "hay ".repeat(100),
        "straw ".repeat(100)
    );
    let message = say(&history, &id, None, Role::Assistant, &text);
    let found = search(&history, "NEEDLE");
    let snippet = &found[0].1;
    assert_eq!(snippet.message_id, Some(message));
    assert_eq!(marked(snippet), ["needle", "needle"]);
    assert!(
        snippet.text.contains("😀😀 the needle 😀"),
        "{}",
        snippet.text
    );
    assert!(snippet.text.starts_with('…') && snippet.text.ends_with('…'));
    assert_eq!(snippet.text.chars().count(), 122);
    say(&history, &id, None, Role::User, &"needle".repeat(1000));
    let found = search(&history, &"needle".repeat(100));
    assert_eq!(marked(&found[0].1), ["needle".repeat(20)]);
    let parts = json!([{"type": "text", "text": "in a haystack"}, {"type": "image_url"}, {"type": "text", "text": "pins"}]);
    let new = matou_history::NewMessage::new(None, Role::User, parts);
    history.add_message(&me(), &id, &new, 1).unwrap();
    assert_eq!(
        search(&history, "haystack pins")[0].1.text,
        "in a haystack pins"
    );
}

#[test]
fn searches_have_pages_and_folders_and_follow_changes() {
    let history = History::in_memory().unwrap();
    for index in 0..5 {
        let id = titled(&history, &format!("talk {index}"), index).id;
        say(&history, &id, None, Role::User, "shared words");
    }
    let mut listing = Listing {
        limit: 2,
        text: Some("shared".into()),
        ..Listing::default()
    };
    let mut found = Vec::new();
    loop {
        let listed = history.list(&me(), &listing).unwrap();
        listing.after = listed.data.last().map(|last| last.id.clone());
        found.extend(listed.data);
        if !listed.has_more {
            break;
        }
    }
    let order: Vec<&str> = found.iter().map(|it| it.title.as_str()).collect();
    assert_eq!(order, ["talk 4", "talk 3", "talk 2", "talk 1", "talk 0"]);
    let changes = Changes {
        title: Some("renamed".into()),
        folder: Some(Some("here".into())),
        ..Changes::default()
    };
    history.update(&me(), &found[2].id, &changes, 1).unwrap();
    assert_eq!(titles(&history, "renamed"), ["renamed"]);
    assert!(titles(&history, "talk 2").is_empty());
    let listing = Listing {
        folder: Some("here".into()),
        text: Some("shared".into()),
        ..Listing::default()
    };
    assert_eq!(history.list(&me(), &listing).unwrap().data.len(), 1);
    history.delete(&me(), &found[2].id).unwrap();
    assert!(titles(&history, "renamed").is_empty());
    assert_eq!(titles(&history, "shared").len(), 4);
}

#[test]
fn many_messages_go_out_of_the_index_with_few_or_many_left() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("history.db");
    let history = History::open(&file).unwrap();
    let filled = |messages: usize, word: &str| {
        let id = titled(&history, word, 1).id;
        let first = say(&history, &id, None, Role::User, "first");
        for index in 0..messages {
            let text = format!("{word} {index}");
            say(&history, &id, Some(&first), Role::User, &text);
        }
        (id, first)
    };
    let is_there = |word: &str| {
        let files = std::fs::read_dir(folder.path()).unwrap();
        files
            .map(|it| std::fs::read(it.unwrap().path()).unwrap())
            .any(|bytes| bytes.windows(word.len()).any(|it| it == word.as_bytes()))
    };
    let other = History::open(&file).unwrap();
    let (small, _) = filled(30, "Wolpertinger");
    let (_, _) = filled(90, "Quetzalcoatl");
    assert!(is_there("Wolpertinger"));
    history.delete(&me(), &small).unwrap();
    assert!(!is_there("Wolpertinger") && is_there("Quetzalcoatl"));
    assert_eq!(titles(&history, "QUETZALCOATL 77"), ["Quetzalcoatl"]);
    let (large, first) = filled(300, "Yggdrasil");
    assert!(history.delete_message(&me(), &large, &first, 1).unwrap());
    let title = titles(&history, "yggdrasil");
    assert_eq!(title, ["Yggdrasil"], "its title is left");
    assert!(titles(&history, "yggdrasil 33").is_empty());
    history.delete(&me(), &large).unwrap();
    assert!(!is_there("Yggdrasil"));
    assert_eq!(titles(&history, "QUETZALCOATL 77"), ["Quetzalcoatl"]);
    assert_eq!(titles(&other, "QUETZALCOATL 77"), ["Quetzalcoatl"]);
    history.delete_all(&me()).unwrap();
    assert!(titles(&other, "QUETZALCOATL").is_empty());
    assert!(!is_there("Quetzalcoatl"));
    filled(1, "Wolpertinger");
    assert_eq!(titles(&history, "wolpertinger"), ["Wolpertinger"]);
    assert_eq!(titles(&other, "wolpertinger"), ["Wolpertinger"]);
    say(
        &other,
        &titled(&other, "x", 1).id,
        None,
        Role::User,
        "Basilisk",
    );
    assert_eq!(titles(&history, "basilisk"), ["x"]);
}

#[test]
fn short_words_are_looked_for_in_the_newest_messages() {
    let history = History::in_memory().unwrap();
    let old = titled(&history, "old", 1).id;
    say(&history, &old, None, Role::User, "zq common");
    let fill = |count: u64| {
        let mut new = ImportedConversation::default();
        for index in 0..count {
            let message = json!({"id": index.to_string(), "role": "user", "content": "common"});
            new.messages.push(serde_json::from_value(message).unwrap());
        }
        new
    };
    let news = fill(SCANNED_MESSAGES - 1);
    history.import(&me(), &news, 1).unwrap();
    // The messages of others, and those without what else is searched for, do not count.
    history.import(&other(), &news, 1).unwrap();
    for text in ["zq", "zq common"] {
        assert_eq!(titles(&history, text), ["old"], "{text}");
    }
    let last = titled(&history, "", 1).id;
    say(&history, &last, None, Role::User, "else");
    assert!(titles(&history, "zq").is_empty());
    assert_eq!(titles(&history, "zq common"), ["old"]);
    say(&history, &last, None, Role::User, "common");
    assert!(titles(&history, "zq common").is_empty());
    assert_eq!(titles(&history, "common").len(), 3);
    let theirs = NewConversation {
        title: "zq theirs".to_owned(),
        ..NewConversation::default()
    };
    history.create(&other(), &theirs, 1).unwrap();
    let listing = Listing {
        text: Some("zq".to_owned()),
        ..Listing::default()
    };
    assert_eq!(history.list(&other(), &listing).unwrap().data.len(), 1);
}

#[test]
fn short_words_are_looked_for_in_the_beginning_of_messages() {
    let history = History::in_memory().unwrap();
    let id = titled(&history, "long", 1).id;
    let padding = "é".repeat(SCANNED_CHARS - 12);
    let text = format!("{padding} and also zq yw outside");
    say(&history, &id, None, Role::User, &text);
    for (text, count) in [("zq", 1), ("yw", 0), ("zq and", 1), ("and yw", 0)] {
        assert_eq!(titles(&history, text).len(), count, "{text}");
    }
    assert_eq!(titles(&history, "outside").len(), 1);
    let found = search(&history, "zq");
    assert_eq!(marked(&found[0].1), ["zq"]);
}
