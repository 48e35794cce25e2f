//! Recorded streams: what a client reads, byte by byte, in `tests/api/streams`. Random names of
//! calls and durations are blanked first. `UPDATE_STREAMS=1 cargo test` records anew.

use std::path::Path;

use crate::support::Reply;

/// Compares the text of `reply` with the recording `name`.
#[track_caller]
pub(crate) fn assert_recorded(name: &str, reply: &Reply) {
    assert_eq!(reply.status, 200, "{}", reply.text);
    let text = blank_durations(&blank_calls(&reply.text));
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

/// `call_` and 24 digits to `call_ID`.
fn blank_calls(text: &str) -> String {
    let mut parts = text.split("call_");
    let mut blanked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_id = part.len() >= 24 && part.bytes().take(24).all(|byte| byte.is_ascii_hexdigit());
        blanked.push_str("call_");
        blanked.push_str(if is_id { "ID" } else { "" });
        blanked.push_str(if is_id { &part[24..] } else { part });
    }
    blanked
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
