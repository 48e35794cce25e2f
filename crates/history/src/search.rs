//! Full-text search: what is in the index, what is asked of it, and the piece that is shown.

use rusqlite::Connection;
use serde_json::Value;

use crate::bounds::{QUERY_CHARS, QUERY_TERMS, SEARCHED_BYTES};
use crate::error::{Attempt, HistoryError};
use crate::model::{Role, Snippet};
use crate::rows;

/// The index. It keeps its own copy of the text, which it needs to forget it. 'secure-delete' takes what is
/// deleted out of it at once, instead of marking it.
pub(crate) const TABLES: &str = "
CREATE VIRTUAL TABLE message_text USING fts5(text, tokenize = \"trigram remove_diacritics 1\");
INSERT INTO message_text(message_text, rank) VALUES('secure-delete', 1);
CREATE VIRTUAL TABLE title_text USING fts5(text, tokenize = \"trigram remove_diacritics 1\");
INSERT INTO title_text(title_text, rank) VALUES('secure-delete', 1);
CREATE TRIGGER message_text_deleted AFTER DELETE ON messages BEGIN
    DELETE FROM message_text WHERE rowid = OLD.number;
END;
CREATE TRIGGER title_text_deleted AFTER DELETE ON conversations BEGIN
    DELETE FROM title_text WHERE rowid = OLD.number;
END;
";

/// What takes [`TABLES`] away.
const NO_TABLES: &str = "
DROP TRIGGER message_text_deleted;
DROP TRIGGER title_text_deleted;
DROP TABLE message_text;
DROP TABLE title_text;
";

/// Most messages that are taken out of the index one by one: some 50 ms each.
const FORGOTTEN_SINGLY: i64 = 20;

/// What stands before and after a match in a marked text: no characters, so no text loses anything by
/// not having them in the index.
pub(crate) const MARKS: [char; 2] = ['\u{fdd0}', '\u{fdd1}'];

/// Characters of a snippet.
const SNIPPET_CHARS: usize = 120;
/// Of them, those before the first match.
const SNIPPET_BEFORE: usize = 40;

/// Puts a message into the index, where it is not yet.
pub(crate) fn index_message(
    connection: &Connection,
    number: i64,
    role: Role,
    content: &Value,
) -> Attempt<()> {
    if !matches!(role, Role::User | Role::Assistant) {
        return Ok(());
    }
    let text = searched(content);
    if !text.is_empty() {
        let sql = "INSERT INTO message_text(rowid, text) VALUES(?1, ?2)";
        connection.prepare_cached(sql)?.execute((number, text))?;
    }
    Ok(())
}

/// Takes a message out of the index.
pub(crate) fn forget_message(connection: &Connection, number: i64) -> Attempt<()> {
    let sql = "DELETE FROM message_text WHERE rowid = ?1";
    connection.prepare_cached(sql)?.execute([number])?;
    Ok(())
}

/// Puts a title into the index, where it is not yet.
pub(crate) fn index_title(connection: &Connection, number: i64, title: &str) -> Attempt<()> {
    let title = unmarked(title);
    if !title.is_empty() {
        let sql = "INSERT INTO title_text(rowid, text) VALUES(?1, ?2)";
        connection.prepare_cached(sql)?.execute((number, title))?;
    }
    Ok(())
}

/// Takes a title out of the index.
pub(crate) fn forget_title(connection: &Connection, number: i64) -> Attempt<()> {
    let sql = "DELETE FROM title_text WHERE rowid = ?1";
    connection.prepare_cached(sql)?.execute([number])?;
    Ok(())
}

/// Puts all that there is into an index that is empty.
pub(crate) fn index_all(connection: &Connection) -> Attempt<()> {
    let mut statement = connection.prepare("SELECT number, title FROM conversations")?;
    let mut titles = statement.query([])?;
    while let Some(row) = titles.next()? {
        index_title(
            connection,
            row.get(0)?,
            row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?,
        )?;
    }
    let sql = "SELECT number, role, content FROM messages WHERE state <> 'running'";
    let mut statement = connection.prepare(sql)?;
    let mut messages = statement.query([])?;
    while let Some(row) = messages.next()? {
        let role: String = row.get(1)?;
        if let Some(role) = Role::from_name(&role) {
            index_message(connection, row.get(0)?, role, &rows::json(row, 2)?)?;
        }
    }
    Ok(())
}

/// Deletes so many messages with `work`, and what the index has of them, in the way that is fastest.
pub(crate) fn forgetting<T>(
    connection: &Connection,
    messages: i64,
    work: impl FnOnce() -> Attempt<T>,
) -> Attempt<T> {
    if messages <= FORGOTTEN_SINGLY {
        return work();
    }
    let sql = "SELECT ifnull(sum(message_count), 0) FROM conversations";
    let all: i64 = connection.query_row(sql, [], |row| row.get(0))?;
    if all - messages <= messages {
        // Less remains than goes: that is put into a new index.
        connection.execute_batch(NO_TABLES)?;
        let result = work()?;
        connection.execute_batch(TABLES)?;
        index_all(connection)?;
        return Ok(result);
    }
    // What goes is only marked, and then all is written anew without it.
    let set = |secure: bool| {
        let sql = "INSERT INTO message_text(message_text, rank) VALUES('secure-delete', ?1)";
        connection.execute(sql, [secure])
    };
    set(false)?;
    let result = work()?;
    connection.execute_batch("INSERT INTO message_text(message_text) VALUES('optimize')")?;
    set(true)?;
    Ok(result)
}

/// The text of a content, of which the beginning counts.
fn searched(content: &Value) -> String {
    let text = match content {
        Value::String(text) => unmarked(text),
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|part| part.get("text")?.as_str());
            unmarked(&texts.collect::<Vec<_>>().join("\n"))
        }
        _ => String::new(),
    };
    let end = text.floor_char_boundary(SEARCHED_BYTES);
    text[..end].to_owned()
}

/// A text without what would be taken for a mark, or for a text's end.
fn unmarked(text: &str) -> String {
    text.replace([MARKS[0], MARKS[1], '\0'], " ")
}

/// What is searched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query {
    /// The words that the index knows, in its language, each in quotation marks.
    pub(crate) indexed: Option<String>,
    /// Those that are too short for it.
    pub(crate) short: Vec<String>,
}

impl Query {
    /// The words of a text; none if it has none.
    pub(crate) fn new(text: &str) -> Result<Option<Self>, HistoryError> {
        if text.chars().count() > QUERY_CHARS {
            let what = "the text to search for";
            return Err(HistoryError::too_long(what, QUERY_CHARS, "characters"));
        }
        let between = |it: char| it.is_whitespace() || it.is_control() || MARKS.contains(&it);
        let mut terms: Vec<&str> = text
            .split(between)
            .filter(|term| !term.is_empty())
            .collect();
        terms.sort_unstable();
        terms.dedup();
        if terms.len() > QUERY_TERMS {
            let what = "the text to search for";
            return Err(HistoryError::too_long(what, QUERY_TERMS, "words"));
        }
        let (indexed, short): (Vec<&str>, Vec<&str>) =
            terms.iter().partition(|term| letters(term) >= 3);
        let quoted = indexed
            .iter()
            .map(|term| format!("\"{}\"", term.replace('"', "\"\"")));
        Ok((!terms.is_empty()).then(|| Self {
            indexed: (!indexed.is_empty()).then(|| quoted.collect::<Vec<_>>().join(" AND ")),
            short: short.into_iter().map(str::to_owned).collect(),
        }))
    }
}

/// Characters of a word that the index counts: accents of their own are none.
fn letters(term: &str) -> usize {
    let is_accent = |it: &char| matches!(it, '\u{300}'..='\u{36f}');
    term.chars().filter(|it| !is_accent(it)).count()
}

/// A pattern for `LIKE ... ESCAPE '\'` that finds a word anywhere.
pub(crate) fn pattern(term: &str) -> String {
    let mut pattern = String::from("%");
    for letter in term.chars() {
        if matches!(letter, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    pattern
}

/// The piece of a marked text round its first match. The short words are not marked yet.
pub(crate) fn snippet(marked: &str, short: &[String], message_id: Option<String>) -> Snippet {
    let (text, mut matches) = unmark(marked);
    for term in short {
        matches.extend(occurrences(&text, term));
    }
    matches.sort_unstable();
    let first = matches.first().map_or(0, |first| first.0);
    let before = text[..first].char_indices().rev().take(SNIPPET_BEFORE);
    let begin = before.last().map_or(first, |(begin, _)| begin);
    let mut after = text[begin..].char_indices();
    let end = after
        .nth(SNIPPET_CHARS)
        .map_or(text.len(), |(at, _)| begin + at);
    let mut shown = String::with_capacity(end - begin + 6);
    if begin > 0 {
        shown.push('…');
    }
    let mut units = shown.encode_utf16().count();
    // Where each character of the text begins, in units of what is shown.
    let mut places = Vec::with_capacity(SNIPPET_CHARS + 1);
    for (at, letter) in text[begin..end].char_indices() {
        places.push((begin + at, units));
        let is_space = letter.is_whitespace() || letter.is_control();
        let letter = if is_space { ' ' } else { letter };
        units += letter.len_utf16();
        shown.push(letter);
    }
    places.push((end, units));
    if end < text.len() {
        shown.push('…');
    }
    let place = |byte: usize| {
        let index = places.partition_point(|&(at, _)| at < byte);
        places.get(index).map_or(units, |&(_, units)| units)
    };
    let mut ranges: Vec<[usize; 2]> = Vec::new();
    for (from, to) in matches {
        let [from, to] = [from, to].map(|byte| place(byte.clamp(begin, end)));
        match ranges.last_mut() {
            Some(last) if from <= last[1] => last[1] = last[1].max(to),
            _ if from < to => ranges.push([from, to]),
            _ => {}
        }
    }
    Snippet {
        text: shown,
        matches: ranges,
        message_id,
    }
}

/// A marked text without its marks, and the bytes that they were round.
fn unmark(marked: &str) -> (String, Vec<(usize, usize)>) {
    let mut text = String::with_capacity(marked.len());
    let mut matches = Vec::new();
    let mut begin = None;
    for piece in marked.split_inclusive(MARKS) {
        let mark = piece.chars().next_back();
        text.push_str(piece.trim_end_matches(MARKS));
        if mark == Some(MARKS[0]) {
            begin = Some(text.len());
        } else if mark == Some(MARKS[1])
            && let Some(begin) = begin.take()
        {
            matches.push((begin, text.len()));
        }
    }
    (text, matches)
}

/// Where a short word stands in a text, in whatever ASCII case, as `LIKE` finds it.
fn occurrences(text: &str, term: &str) -> Vec<(usize, usize)> {
    let [text, term] = [text.as_bytes(), term.as_bytes()];
    // UTF-8: what equals a word's bytes begins and ends where characters do.
    text.windows(term.len().max(1))
        .enumerate()
        .filter(|(_, window)| window.eq_ignore_ascii_case(term))
        .map(|(at, _)| (at, at + term.len()))
        .collect()
}
