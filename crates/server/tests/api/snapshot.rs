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
        let mut parts = text.split(prefix);
        let mut blanked = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let digits = part.bytes().take_while(u8::is_ascii_hexdigit).count();
            blanked.push_str(prefix);
            blanked.push_str(if digits >= length { "ID" } else { "" });
            blanked.push_str(&part[if digits >= length { length } else { 0 }..]);
        }
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
