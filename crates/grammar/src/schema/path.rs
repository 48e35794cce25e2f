//! Paths into a schema, as errors show them and as `$ref` writes them.

use serde_json::Value;

/// Appends a member's name: `$.a`, or `$['a b']` where the name is no identifier.
pub(super) fn member(path: &str, name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '$');
    if !name.is_empty() && name.chars().all(plain) {
        format!("{path}.{name}")
    } else {
        format!("{path}['{}']", name.replace('\'', "\\'"))
    }
}

/// Appends an index: `$.allOf[0]`.
pub(super) fn element(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}

/// The value that a JSON pointer (RFC 6901, percent-encoded as in a URI fragment) leads to, with
/// its path.
pub(super) fn resolve<'a>(
    root: &'a Value,
    root_path: &str,
    pointer: &str,
) -> Option<(&'a Value, String)> {
    let mut found = (root, root_path.to_owned());
    for segment in pointer.split('/').skip(1) {
        let name = percent_decode(segment)
            .replace("~1", "/")
            .replace("~0", "~");
        found = match found.0 {
            Value::Object(map) => (map.get(&name)?, member(&found.1, &name)),
            Value::Array(items) => {
                let index = name.parse().ok()?;
                (items.get(index)?, element(&found.1, index))
            }
            _ => return None,
        };
    }
    Some(found)
}

/// Escapes a name for a JSON pointer inside a URI fragment.
pub(super) fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'~' => escaped.push_str("~0"),
            b'/' => escaped.push_str("~1"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'$' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// Undoes `%41`; what isn't well-formed stays as it is.
fn percent_decode(text: &str) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let Some((&byte, rest)) = bytes.split_first() {
        let hex = rest.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(value) if byte == b'%' => {
                decoded.push(value);
                bytes = &rest[2..];
            }
            _ => {
                decoded.push(byte);
                bytes = rest;
            }
        }
    }
    String::from_utf8(decoded).unwrap_or_else(|_| text.to_owned())
}
