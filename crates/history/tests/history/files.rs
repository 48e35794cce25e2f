use std::path::Path;

use matou_history::{
    Changes, History, HistoryError, KeptResponse, Limits, Listing, NewMessage, Owner, Role, State,
};
use rusqlite::Connection;

use crate::support::{me, say, titled};

fn file_in(folder: &tempfile::TempDir) -> std::path::PathBuf {
    folder.path().join("history.db")
}

#[cfg(unix)]
#[test]
fn folders_and_files_are_their_owners_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a/b?mode=memory/history.db");
    let history = History::open(&file).unwrap();
    titled(&history, "x", 1);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder.path().join("a")), 0o700);
    assert_eq!(mode(file.parent().unwrap()), 0o700);
    let files = std::fs::read_dir(file.parent().unwrap()).unwrap();
    let files: Vec<_> = files.map(|it| it.unwrap().path()).collect();
    assert_eq!(files.len(), 3, "the file, its log and its index");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn a_file_is_there_again_and_is_shared_by_programs() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder);
    let history = History::open(&file).unwrap();
    let other = History::open(&file).unwrap();
    let id = titled(&history, "kept", 1).id;
    say(&other, &id, None, Role::User, "from the other");
    assert_eq!(
        history.whole(&me(), &id).unwrap().unwrap().messages.len(),
        1
    );
    let threads: Vec<_> = [history, other]
        .into_iter()
        .map(|history| {
            let id = id.clone();
            std::thread::spawn(move || {
                for _ in 0..20 {
                    say(&history, &id, None, Role::User, "at once");
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    let history = History::open(&file).unwrap();
    let whole = history.whole(&me(), &id).unwrap().unwrap();
    assert_eq!(
        (whole.messages.len(), whole.conversation.title.as_str()),
        (41, "kept")
    );
}

#[test]
fn programs_that_begin_at_once_make_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder);
    let threads: Vec<_> = (0..6)
        .map(|_| {
            let file = file.clone();
            std::thread::spawn(move || titled(&History::open(file).unwrap(), "x", 1))
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| drop(thread.join().unwrap()));
    let listed = History::open(&file)
        .unwrap()
        .list(&me(), &Listing::default())
        .unwrap();
    assert_eq!(listed.data.len(), 6);
}

#[test]
fn other_files_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder);
    for bytes in [
        b"Dear reader".to_vec(),
        (0..=255).cycle().take(9000).collect(),
    ] {
        std::fs::write(&file, &bytes).unwrap();
        let error = History::open(&file).unwrap_err();
        assert!(matches!(error, HistoryError::Foreign { .. }), "{error:?}");
        let error = error.to_string();
        assert!(
            error.contains("history.db") && error.contains("move this one away"),
            "{error}"
        );
        assert_eq!(std::fs::read(&file).unwrap(), bytes);
    }
    std::fs::remove_file(&file).unwrap();
    Connection::open(&file)
        .unwrap()
        .execute_batch("CREATE TABLE theirs(x)")
        .unwrap();
    let error = History::open(&file).unwrap_err().to_string();
    assert!(error.contains("another program's database"), "{error}");
    assert!(
        History::open(folder.path())
            .unwrap_err()
            .to_string()
            .contains("it is no file")
    );
    if Path::new("/dev/full").exists() {
        assert!(History::open("/dev/full").is_err());
    }
    std::fs::write(&file, "").unwrap();
    History::open(&file).unwrap();
}

#[test]
fn a_damaged_file_is_an_error_and_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder);
    let history = History::open(&file).unwrap();
    let id = titled(&history, "x", 1).id;
    for _ in 0..50 {
        say(&history, &id, None, Role::User, &"words ".repeat(1000));
    }
    drop(history);
    let whole = std::fs::read(&file).unwrap();
    let mut errors = 0;
    for begin in (4096..whole.len()).step_by(whole.len() / 20) {
        let mut bytes = whole.clone();
        let end = bytes.len().min(begin + 5000);
        bytes[begin..end].fill(0xa5);
        std::fs::write(&file, bytes).unwrap();
        let read = History::open(&file).and_then(|history| history.whole(&me(), &id));
        errors += usize::from(read.is_err_and(|error| !error.to_string().is_empty()));
    }
    assert!(errors > 0);
    std::fs::write(&file, &whole).unwrap();
    let raw = Connection::open(&file).unwrap();
    raw.execute("UPDATE messages SET role = 'cat' WHERE number = 1", [])
        .unwrap();
    let error = History::open(&file).unwrap().whole(&me(), &id).unwrap_err();
    assert!(matches!(error, HistoryError::Corrupt { .. }), "{error:?}");
}

#[test]
fn a_newer_schema_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder);
    drop(History::open(&file).unwrap());
    Connection::open(&file)
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    let error = History::open(&file).unwrap_err();
    assert!(
        matches!(error, HistoryError::NewerSchema { found: 99, .. }),
        "{error:?}"
    );
    assert!(
        error.to_string().contains("was made by a newer matou"),
        "{error}"
    );
}

/// The first schema, as it was: a fixture.
const SCHEMA_1: &str = include_str!("schema_1.sql");

#[test]
fn the_first_schema_becomes_todays() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder);
    let raw = Connection::open(&file).unwrap();
    raw.execute_batch(SCHEMA_1).unwrap();
    drop(raw);
    let history = History::open(&file).unwrap();
    let version: i64 = Connection::open(&file)
        .unwrap()
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap();
    assert_eq!(version, 4);
    let bytes: i64 = Connection::open(&file)
        .unwrap()
        .query_row("SELECT text_bytes FROM conversations", [], |row| row.get(0))
        .unwrap();
    assert_eq!(bytes, 21 + 34 + 6, "old messages count");
    let me = Owner::new("old");
    let found = |text: &str| {
        let listing = Listing {
            text: Some(text.to_owned()),
            ..Listing::default()
        };
        history.list(&me, &listing).unwrap().data.len()
    };
    assert_eq!(["früher", "anderswo", "halb"].map(found), [1, 1, 0]);
    let id = "conv_00000000000000000000000000000001";
    let whole = history.whole(&me, id).unwrap().unwrap();
    assert_eq!(whole.messages.len(), 3);
    assert_eq!(whole.messages[2].state, State::Running);
    assert_eq!(
        whole.conversation.leaf.as_deref(),
        Some(whole.messages[1].id.as_str())
    );
    let detail = history
        .message(&me, id, &whole.messages[1].id)
        .unwrap()
        .unwrap();
    assert!(detail.logprobs.is_some());
    let new = NewMessage::new(None, Role::User, "new");
    history.add_message(&me, id, &new, 1).unwrap();
    history.add_sign_in(&[1; 32], &[2; 32], 1).unwrap();
    assert_eq!(history.delete_all(&me).unwrap(), 1);
}

#[test]
fn no_byte_of_what_is_deleted_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder);
    let history = History::open(&file).unwrap();
    let stay = titled(&history, "stays", 1).id;
    say(&history, &stay, None, Role::User, "remaining text");
    // The third is one entry of the index, which would keep it whole.
    let secrets = [
        "Zanzibar-title",
        "Quetzalcoatl",
        "ǂʘǁ",
        "Wolpertinger",
        "Yggdrasil",
        "Vkontakte",
    ];
    let is_there = |secret: &str| {
        let files = std::fs::read_dir(folder.path()).unwrap();
        files
            .map(|it| std::fs::read(it.unwrap().path()).unwrap())
            .any(|bytes| {
                let lower = secret.to_lowercase();
                let mut windows = bytes.windows(secret.len());
                windows.any(|it| it == secret.as_bytes() || it == lower.as_bytes())
            })
    };
    let fill = || {
        let id = titled(&history, secrets[0], 1).id;
        let long = format!("{} {}", "padding ".repeat(3000), secrets[1]);
        let first = say(&history, &id, None, Role::User, &long);
        let mut new = NewMessage::new(Some(first.clone()), Role::Assistant, secrets[2]);
        new.reasoning = Some(secrets[3].to_owned());
        new.request = Some(serde_json::json!({ "messages": secrets[4] }));
        let second = history.add_message(&me(), &id, &new, 1).unwrap();
        let draft = Changes {
            draft: Some(secrets[5].to_owned()),
            ..Changes::default()
        };
        history.update(&me(), &id, &draft, 1).unwrap();
        assert!(secrets.iter().all(|secret| is_there(secret)));
        (id, second.id)
    };
    let (id, second) = fill();
    assert!(history.delete_message(&me(), &id, &second, 1).unwrap());
    let left = secrets.map(is_there);
    assert_eq!(left, [true, true, false, false, false, true]);
    assert!(history.delete(&me(), &id).unwrap());
    assert_eq!(secrets.map(is_there), [false; 6]);
    fill();
    assert!(is_there("remaining text"));
    assert_eq!(history.delete_all(&me()).unwrap(), 2);
    assert_eq!(secrets.map(is_there), [false; 6]);
    assert!(!is_there("remaining text"));
    let kept = KeptResponse {
        response: secrets[0],
        input: "[]",
        messages: "[]",
    };
    let limits = Limits {
        max_responses: 9,
        max_bytes: 9000,
    };
    history.keep_response(&me(), "r", &kept, limits, 1).unwrap();
    assert!(is_there(secrets[0]));
    assert!(history.delete_response(&me(), "r").unwrap());
    assert!(!is_there(secrets[0]));
}
