//! Recorded streams: what a client reads, byte by byte, in `tests/api/streams`. Random ids and
//! durations are blanked first. `UPDATE_STREAMS=1 cargo test` records anew.

use std::path::Path;

use crate::support::Reply;

/// Compares the text of `reply` with the recording `name`.
#[track_caller]
pub(crate) fn assert_recorded(name: &str, reply: &Reply) {
    assert_eq!(reply.status, 200, "{}", reply.text);
    let text = blank_durations(&blank_ids(&reply.text));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/streams");
    let path = folder.join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_STREAMS").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let recorded = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; the stream is\n{text}", path.display()));
    assert_eq!(text, recorded, "{name}");
}

/// What follows `call_`, `resp_` and the like to `ID`.
fn blank_ids(text: &str) -> String {
    let mut text = text.to_owned();
    for (prefix, length) in [
        ("call_", 24),
        ("resp_", 32),
        ("msg_", 32),
        ("rs_", 32),
        ("fc_", 32),
    ] {
        let mut blanked = String::new();
        let mut rest = text.as_str();
        // One after the other: an id may end as another's prefix begins.
        while let Some(place) = rest.find(prefix) {
            let (before, after) = rest.split_at(place + prefix.len());
            let digits = after.bytes().take_while(u8::is_ascii_hexdigit).count();
            let is_id = digits >= length;
            blanked.push_str(before);
            blanked.push_str(if is_id { "ID" } else { "" });
            rest = &after[if is_id { length } else { 0 }..];
        }
        blanked.push_str(rest);
        text = blanked;
    }
    text
}

/// Numbers after `_duration":` to 0.
fn blank_durations(text: &str) -> String {
    let mut parts = text.split("_duration\":");
    let mut blanked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        blanked.push_str("_duration\":0");
        blanked.push_str(rest);
    }
    blanked
}
