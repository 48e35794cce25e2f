//! Escapes in texts that Python knows and minijinja does not, or the other way round.

use super::tokens::{Edit, Kind, Token};

/// What has to be written in the place of a text, if it has such escapes.
pub(super) fn edit(token: &Token<'_>) -> Option<Edit> {
    if token.kind != Kind::Text || !token.text.contains('\\') {
        return None;
    }
    let mut text = String::with_capacity(token.text.len());
    let mut rest = token.text;
    while let Some(start) = rest.find('\\') {
        text.push_str(&rest[..start]);
        let escape = &rest[start..];
        let length = 1 + escape[1..].chars().next()?.len_utf8();
        rest = &escape[length..];
        match &escape[..length] {
            "\\a" => text.push_str("\\x07"),
            "\\v" => text.push_str("\\x0b"),
            "\\/" => text.push_str("\\\\/"),
            // The line goes on.
            "\\\n" => {}
            "\\U" => {
                let code = u32::from_str_radix(rest.get(..8)?, 16).ok()?;
                text.push(char::from_u32(code).filter(|c| !c.is_ascii())?);
                rest = &rest[8..];
            }
            other => text.push_str(other),
        }
    }
    text.push_str(rest);
    (text != token.text).then_some(Edit {
        start: token.start,
        end: token.end(),
        text,
    })
}
