//! What a token is by its text and by its place in the chat template, whatever its file declares:
//! converters often type control tokens as ordinary ones.

use super::end_tokens::is_end_of_turn;

/// Whether a token with this text is structure and no text: it ends a turn, or the chat template
/// writes it between texts.
pub(super) fn is_structure(text: &str, template: &str) -> bool {
    is_end_of_turn(text) || is_marker(text) && template.contains(text)
}

/// Whether a text looks like a marker that belongs to the template alone. What models write for
/// their readers to find, such as calls and thoughts, is none.
fn is_marker(text: &str) -> bool {
    const READ: &[&str] = &["tool", "think", "thought", "python", "function", "call"];
    let between = |open: &str, close: &str| {
        let inside = text.strip_prefix(open)?.strip_suffix(close)?;
        (!inside.is_empty()).then_some(inside)
    };
    let name = between("<|", "|>")
        .or_else(|| between("<｜", "｜>"))
        .or_else(|| Some(text).filter(|text| *text == "<start_of_turn>"));
    name.map(str::to_lowercase)
        .is_some_and(|name| !READ.iter().any(|word| name.contains(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_a_turn_is_structure_and_so_is_what_the_template_writes() {
        assert!(is_structure("<|im_end|>", ""));
        assert!(!is_structure("<|im_start|>", ""));
        let template = "<|im_start|>{{ role }}<think><|tool_call|><|START_THINKING|><｜User｜><|>";
        assert!(is_structure("<|im_start|>", template));
        assert!(is_structure("<｜User｜>", template));
        for text in [
            "<think>",
            "<|tool_call|>",
            "<|START_THINKING|>",
            "role",
            "<|>",
            "<|other|>",
        ] {
            assert!(!is_structure(text, template), "{text}");
        }
    }
}
