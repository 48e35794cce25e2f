//! Programs that end, or fail to write, in the middle of their work. Each is this test program, run again
//! for one test that does nothing otherwise.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use matou_history::{Answer, History, HistoryError, NewMessage, Role, State};
use serde_json::json;

use crate::support::{me, titled};

const FILE: &str = "MATOU_HISTORY_CRASH_FILE";
const REPORTED: usize = 60;

fn check(file: &std::path::Path) {
    let connection = rusqlite::Connection::open(file).unwrap();
    let verdict: String = connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(verdict, "ok");
    for table in ["message_text", "title_text"] {
        let sql = format!("INSERT INTO {table}({table}, rank) VALUES('integrity-check', 1)");
        connection.execute(&sql, []).unwrap();
    }
}

/// Answers questions for ever, and tells of each answer when it is kept.
#[test]
fn write_until_killed() {
    let Ok(file) = std::env::var(FILE) else {
        return;
    };
    let history = History::open(file).unwrap();
    let conversation = titled(&history, "crash", 1).id;
    println!("conversation {conversation}");
    let mut parent = None;
    for round in 0.. {
        let mut new = NewMessage::new(parent, Role::Assistant, "");
        new.state = State::Running;
        let message = history
            .add_message(&me(), &conversation, &new, round)
            .unwrap();
        let mut answer = Answer {
            content: json!(format!("half of answer {round}")),
            ..Answer::default()
        };
        assert!(
            history
                .save_answer(&me(), &conversation, &message.id, &answer, round)
                .unwrap()
        );
        answer.content = json!(format!("answer {round} {}", "words ".repeat(500)));
        answer.state = State::Done;
        assert!(
            history
                .save_answer(&me(), &conversation, &message.id, &answer, round)
                .unwrap()
        );
        println!("kept {}", message.id);
        parent = Some(message.id);
    }
}

#[test]
fn what_was_reported_survives_a_kill_in_the_middle() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("history.db");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "crash::write_until_killed",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(FILE, &file)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut conversation = String::new();
    let mut finished = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some((_, id)) = line.split_once("conversation ") {
            conversation = id.to_owned();
        } else if let Some((_, id)) = line.split_once("kept ") {
            finished.push(id.to_owned());
        }
        if finished.len() == REPORTED {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(finished.len() >= REPORTED, "{}", finished.len());
    check(&file);
    let history = History::open(&file).unwrap();
    history.interrupt_running().unwrap();
    let whole = history.whole(&me(), &conversation).unwrap().unwrap();
    for (round, id) in finished.iter().enumerate() {
        let message = &whole.messages[round];
        assert_eq!((&message.id, message.state), (id, State::Done));
        let text = message.content.as_str().unwrap();
        assert!(text.starts_with(&format!("answer {round} words")), "{text}");
    }
    assert!(whole.messages.len() <= finished.len() + 1);
}

/// Fills a file that the system does not let grow.
#[test]
fn write_until_refused() {
    let Ok(file) = std::env::var(FILE) else {
        return;
    };
    let history = History::open(file).unwrap();
    let conversation = titled(&history, "full", 1).id;
    println!("conversation {conversation}");
    let refused = (0..1000).find_map(|_| {
        let new = NewMessage::new(None, Role::User, "words ".repeat(5000));
        let added = history.add_message(&me(), &conversation, &new, 1);
        added.map(|message| println!("kept {}", message.id)).err()
    });
    println!("refusal: {}", refused.unwrap());
    let count = history
        .conversation(&me(), &conversation)
        .unwrap()
        .unwrap()
        .message_count;
    println!("counted {count}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_may_not_grow_keeps_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("history.db");
    // Without its signal, a write over the limit is an error, as on a full disk.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 4000; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "crash::write_until_refused",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(FILE, &file)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let told = |what: &str| -> Vec<&str> {
        text.lines()
            .filter_map(|line| Some(line.split_once(what)?.1))
            .collect()
    };
    let finished = told("kept ");
    assert!(!finished.is_empty(), "{text}");
    let refused = told("refusal: ");
    assert!(
        refused[0].contains("history.db\" cannot be read or written"),
        "{text}"
    );
    assert_eq!(told("counted "), [finished.len().to_string()]);
    check(&file);
    let history = History::open(&file).unwrap();
    let whole = history
        .whole(&me(), told("conversation ")[0])
        .unwrap()
        .unwrap();
    let ids: Vec<&str> = whole.messages.iter().map(|it| it.id.as_str()).collect();
    assert_eq!(ids, finished);
    let again = NewMessage::new(None, Role::User, "room again");
    let again = history.add_message(&me(), &whole.conversation.id, &again, 1);
    assert!(!matches!(again, Err(HistoryError::Full { .. })));
    again.unwrap();
}
