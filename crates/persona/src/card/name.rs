//! Names: of characters, of users and of models.

use super::fields::Fields;
use crate::error::PersonaError;
use crate::limits::MAX_NAME_CHARS;

/// A name, without blanks around it. `None` where there is none.
pub(crate) fn read(fields: &Fields<'_>, key: &str) -> Result<Option<String>, PersonaError> {
    let Some(name) = fields.filled(key)? else {
        return Ok(None);
    };
    if let Some(character) = name.chars().find(|&character| is_deceptive(character)) {
        let problem = format!(
            "has the control character U+{:04X}, with which it could pass for another name or for another line of a prompt: remove it",
            u32::from(character)
        );
        return Err(fields.invalid(key, problem));
    }
    let count = name.chars().count();
    if count > MAX_NAME_CHARS {
        let problem =
            format!("has {count} characters, and a name has at most {MAX_NAME_CHARS}: shorten it");
        return Err(fields.invalid(key, problem));
    }
    Ok(Some(name))
}

/// A name that a client stated, as it can stand in a prompt. `None` where it says nothing.
pub(crate) fn of_client(name: &str) -> Option<String> {
    let name: String = name
        .chars()
        .filter(|&character| !is_deceptive(character))
        .take(MAX_NAME_CHARS)
        .collect();
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// Controls, and those that turn the direction of the text around them.
fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A model name made of a name: letters and digits of all scripts in lower case, `-` between them.
/// `None` where nothing is left.
pub(crate) fn slug(name: &str) -> Option<String> {
    let mut slug = String::new();
    for character in name.chars() {
        if character.is_alphanumeric() || is_mark(character) && !slug.is_empty() {
            slug.extend(character.to_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.truncate(slug.trim_end_matches('-').len());
    (!slug.is_empty()).then_some(slug)
}

/// Marks that belong to the letter before them: accents, and the joints of Indic scripts.
fn is_mark(character: char) -> bool {
    matches!(u32::from(character), 0x300..=0x36f)
        || matches!(u32::from(character), 0x900..=0xdff if u32::from(character) & 0x7f == 0x4d)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_keeps_letters_of_all_scripts_and_no_blanks() {
        for (name, expected) in [
            ("Captain Ada", "captain-ada"),
            ("  Dr. O'Neil (2nd) ", "dr-o-neil-2nd"),
            ("ÉLODIE", "élodie"),
            ("e\u{301}lodie", "e\u{301}lodie"),
            ("猫又 さん", "猫又-さん"),
            ("Ольга", "ольга"),
            ("भक्त", "भक्त"),
        ] {
            assert_eq!(slug(name).as_deref(), Some(expected));
        }
        assert_eq!(slug("★ — !"), None);
    }

    #[test]
    fn a_clients_name_stays_on_its_line() {
        assert_eq!(of_client(" Eve\n\u{202e}x ").as_deref(), Some("Evex"));
        assert_eq!(of_client("\n \t"), None);
        assert_eq!(of_client(&"é".repeat(500)).unwrap().chars().count(), 200);
    }
}
