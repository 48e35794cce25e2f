//! The methods of Python's strings that ask what a text is made of.

use super::values::is_printable;

/// The test called `isdigit` or the like.
pub(super) fn named(name: &str) -> Option<fn(&str) -> bool> {
    Some(match name {
        "isalpha" => |text| all(text, char::is_alphabetic),
        "isalnum" => |text| all(text, char::is_alphanumeric),
        "isdigit" => |text| all(text, is_digit),
        "isdecimal" => |text| all(text, is_decimal),
        "isnumeric" => |text| all(text, char::is_numeric),
        "isspace" => |text| all(text, is_space),
        "isascii" => str::is_ascii,
        "isprintable" => |text| text.chars().all(is_printable),
        "islower" => |text| cased(text, char::is_lowercase),
        "isupper" => |text| cased(text, char::is_uppercase),
        "istitle" => is_title,
        "isidentifier" => |text| {
            let begins = text.starts_with(|c: char| c.is_alphabetic() || c == '_');
            begins && text.chars().all(|c| c.is_alphanumeric() || c == '_')
        },
        _ => return None,
    })
}

/// White space in Python: Unicode's, and the four separators of ASCII.
pub(super) fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

fn all(text: &str, belongs: fn(char) -> bool) -> bool {
    !text.is_empty() && text.chars().all(belongs)
}

/// There is a letter with a case, and all are of this one.
fn cased(text: &str, wanted: fn(char) -> bool) -> bool {
    let is_cased = |c: &char| c.is_lowercase() || c.is_uppercase();
    text.chars().any(|c| is_cased(&c)) && text.chars().filter(is_cased).all(wanted)
}

/// A digit of a place-value system: such digits come in tens, of which the first stands for 0.
fn is_decimal(character: char) -> bool {
    const ZEROS: &[u32] = &[
        0x30, 0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66,
        0xde6, 0xe50, 0xed0, 0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0xff10,
    ];
    let code = u32::from(character);
    ZEROS.iter().any(|&zero| (zero..zero + 10).contains(&code))
}

/// Decimals, and digits that stand high, low or in circles.
fn is_digit(character: char) -> bool {
    let special = matches!(character,
        '²' | '³' | '¹' | '⁰' | '⁴'..='⁹' | '₀'..='₉' | '①'..='⑨' | '⑴'..='⑼' | '⒈'..='⒐');
    is_decimal(character) || special
}

/// Large letters behind what is no letter, small ones behind letters, and at least one of them.
fn is_title(text: &str) -> bool {
    let mut inside = false;
    let mut any = false;
    for character in text.chars() {
        let (upper, lower) = (character.is_uppercase(), character.is_lowercase());
        if upper && inside || lower && !inside {
            return false;
        }
        inside = upper || lower;
        any |= inside;
    }
    any
}
