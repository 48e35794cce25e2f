//! The values of `format`, as regexes.
//!
//! Each regex matches only what the format allows, but not always all of it: a model that writes a
//! date needs no leap second, a host name no Punycode. A format which isn't here can't be enforced.

/// What a `format` means for a grammar.
pub(super) enum Format {
    /// Strings must match the regex as a whole.
    Pattern(String),
    /// Numbers must lie in these bounds, inclusive.
    Range(f64, f64),
    /// It says something about the use of the value, and nothing about its form.
    Anything,
}

/// Looks up a format of JSON Schema or OpenAPI.
pub(super) fn lookup(name: &str) -> Option<Format> {
    let pattern = match name {
        "date" => DATE.to_owned(),
        "time" => TIME.to_owned(),
        "date-time" => format!("(?:{DATE})T{TIME}"),
        "duration" => DURATION.to_owned(),
        "email" | "idn-email" => format!("{LOCAL_PART}@{HOSTNAME}"),
        "hostname" | "idn-hostname" => HOSTNAME.to_owned(),
        "ipv4" => IPV4.to_owned(),
        "ipv6" => ipv6(),
        "uuid" => "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}".to_owned(),
        "uri" | "url" | "iri" => uri(),
        "uri-reference" | "iri-reference" => format!("(?:{}|{PATH}{QUERY})", uri()),
        // A template without expressions is a template.
        "uri-template" => format!("(?:{}|{PATH}{QUERY})", uri()),
        "json-pointer" => POINTER.to_owned(),
        "json-pointer-uri-fragment" => "#(?:/[A-Za-z0-9_.-]*)*".to_owned(),
        "relative-json-pointer" => format!("(?:0|[1-9][0-9]{{0,3}})(?:#|{POINTER})"),
        "byte" => "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?".to_owned(),
        _ => return numeric(name),
    };
    Some(Format::Pattern(pattern))
}

/// OpenAPI's formats of numbers and those without a form.
fn numeric(name: &str) -> Option<Format> {
    Some(match name {
        "int8" => Format::Range(-128.0, 127.0),
        "int16" => Format::Range(-32_768.0, 32_767.0),
        "int32" => Format::Range(-2_147_483_648.0, 2_147_483_647.0),
        // As far as the compiler's arithmetic goes.
        "int64" | "int" => Format::Range(-9.2e18, 9.2e18),
        "uint8" => Format::Range(0.0, 255.0),
        "uint16" => Format::Range(0.0, 65_535.0),
        "uint32" => Format::Range(0.0, 4_294_967_295.0),
        "uint64" | "uint" => Format::Range(0.0, 9.2e18),
        "float" | "double" | "decimal" | "password" | "binary" => Format::Anything,
        _ => return None,
    })
}

/// Years, months and days that exist, leap days included.
const DATE: &str = concat!(
    "[0-9]{4}-(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|",
    "[0-9]{4}-(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|",
    "[0-9]{4}-02-(?:0[1-9]|1[0-9]|2[0-8])|",
    "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[2468][048]|[13579][26]|0[48])00)-02-29",
);
const TIME: &str = concat!(
    r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?",
    "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])",
);
/// ISO 8601 as RFC 3339 restricts it: units in order, none left out between two.
const DURATION: &str = concat!(
    "P(?:[0-9]{1,9}W|(?:[0-9]{1,9}Y(?:[0-9]{1,9}M(?:[0-9]{1,9}D)?)?|[0-9]{1,9}M(?:[0-9]{1,9}D)?|[0-9]{1,9}D)",
    "(?:T(?:[0-9]{1,9}H(?:[0-9]{1,9}M(?:[0-9]{1,9}S)?)?|[0-9]{1,9}M(?:[0-9]{1,9}S)?|[0-9]{1,9}S))?",
    "|T(?:[0-9]{1,9}H(?:[0-9]{1,9}M(?:[0-9]{1,9}S)?)?|[0-9]{1,9}M(?:[0-9]{1,9}S)?|[0-9]{1,9}S))",
);
/// RFC 5321's dot-string, within its 64 characters.
const LOCAL_PART: &str =
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,20}(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,13}){0,3}";
/// Labels of at most 63 characters without two hyphens in a row, at most 253 in all.
const HOSTNAME: &str = concat!(
    "[A-Za-z0-9](?:-?[A-Za-z0-9]){0,30}",
    r"(?:\.[A-Za-z](?:-?[A-Za-z0-9]){0,30}){0,3}",
);
const IPV4: &str = concat!(
    r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\.){3}",
    "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])",
);
const POINTER: &str = "(?:/(?:[^/~]|~[01])*)*";
/// RFC 3986: absolute or empty path, without the colon that would make a first segment a scheme.
const PATH: &str = "(?:/(?:[A-Za-z0-9._~!$&'()*+,;=@-]+/?)*)?";
const QUERY: &str = concat!(
    r"(?:\?(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?",
    "(?:#(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?",
);

/// RFC 3986 with a host name or an IPv4 address as its authority, or a path without one.
fn uri() -> String {
    let rootless = "[A-Za-z0-9._~!$&'()*+,;=:@-]+";
    format!(
        "[A-Za-z][A-Za-z0-9+.-]{{1,20}}:(?://{HOSTNAME}(?::[0-9]{{1,4}})?{PATH}|{rootless}){QUERY}"
    )
}

/// RFC 4291: eight groups, or fewer around one `::`.
fn ipv6() -> String {
    let group = "[0-9A-Fa-f]{1,4}";
    let mut forms = vec![format!("{group}(?::{group}){{7}}"), "::".to_owned()];
    for left in 1..=7 {
        let right = 7 - left;
        let tail = match right {
            0 => String::new(),
            _ => format!("(?:{group}(?::{group}){{0,{}}})?", right - 1),
        };
        forms.push(format!("{group}(?::{group}){{{}}}::{tail}", left - 1));
    }
    forms.push(format!("::{group}(?::{group}){{0,6}}"));
    format!("(?:{})", forms.join("|"))
}
