//! However an answer is cut into pieces, it is read as the same.

use proptest::prelude::*;

use super::*;

/// Texts made of what the notations are made of.
fn answers() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "<tool_call>",
        "</tool_call>",
        "<tool_",
        "<|python_tag|>",
        "[TOOL_CALLS]",
        "[ARGS]",
        "[CALL_ID]",
        "<function=",
        "now>",
        "</function>",
        "{\"name\": \"now\", \"arguments\": {\"a\": \"é\\\"\"}}",
        "{\"name\": \"now\", \"parameters\": ",
        "{\"arguments\": {}, \"name\": \"now\"}",
        "{}",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "; ",
        "\n",
        " ",
        "now",
        "now()",
        "now(a='x', b=[1])",
        "\"",
        "é",
        "text",
        "12",
        "(",
    ]);
    prop::collection::vec(pieces, 0..10).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn pieces_change_nothing(
        answer in answers(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| {
            let mut at = cut.index(answer.len() + 1);
            while !answer.is_char_boundary(at) {
                at -= 1;
            }
            at
        }).collect();
        cuts.extend([0, answer.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&str> = cuts.windows(2).map(|pair| &answer[pair[0]..pair[1]]).collect();
        for format in ALL {
            let whole = parse(format, [answer.as_str()]);
            prop_assert_eq!(&parse(format, pieces.iter().copied()), &whole);
            if whole.calls.is_empty() {
                prop_assert_eq!(&whole.text, &answer, "{:?} lost text", format);
            }
        }
    }
}
