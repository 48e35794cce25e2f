//! Calls of tools that are told in another form than a function's: their arguments have to be whole
//! before that form can be made of them.

use matou_llm::message::MessagePart;
use serde_json::{Value, json};

/// A part of a message in which some calls are whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// Any other part, as it came.
    Message(MessagePart),
    /// A call of one of those tools.
    Call(WholeCall),
}

/// A call with all of its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WholeCall {
    /// Which call of the message.
    pub(crate) index: usize,
    /// Names the call.
    pub(crate) id: String,
    /// The function that the model called.
    pub(crate) name: String,
    /// JSON text, unless the answer was cut off.
    pub(crate) arguments: String,
}

impl WholeCall {
    /// The arguments as an object. Those that were cut off are wrapped as Anthropic's documentation says.
    pub(crate) fn arguments_object(&self) -> Value {
        match serde_json::from_str(&self.arguments) {
            Ok(object @ Value::Object(_)) => object,
            _ => json!({"INVALID_JSON": self.arguments}),
        }
    }
}

/// Gathers calls of the tools that it is told about; everything else passes through.
#[derive(Debug, Default)]
pub(crate) struct WholeCalls {
    open: Option<WholeCall>,
}

impl WholeCalls {
    /// Takes the next part of a message and returns what it settles. `is_whole` says of which
    /// functions calls are gathered.
    pub(crate) fn push(&mut self, part: MessagePart, is_whole: impl Fn(&str) -> bool) -> Vec<Part> {
        let (before, now) = match (part, &mut self.open) {
            (MessagePart::Arguments { index, fragment }, Some(call)) if call.index == index => {
                call.arguments.push_str(&fragment);
                (None, None)
            }
            (MessagePart::CallStart { index, id, name }, open) if is_whole(&name) => {
                let arguments = String::new();
                let call = WholeCall {
                    index,
                    id,
                    name,
                    arguments,
                };
                (open.replace(call), None)
            }
            // Nothing is said by this, and so nothing ended: it goes with log-probabilities.
            (MessagePart::Text(text), Some(_)) if text.is_empty() => (None, None),
            (part, open) => (open.take(), Some(part)),
        };
        let before = before.map(Part::Call);
        before.into_iter().chain(now.map(Part::Message)).collect()
    }

    /// The call that the message ends in.
    pub(crate) fn finish(&mut self) -> Option<WholeCall> {
        self.open.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(index: usize, name: &str) -> MessagePart {
        let id = format!("call_{index}");
        let name = name.to_owned();
        MessagePart::CallStart { index, id, name }
    }

    fn arguments(index: usize, fragment: &str) -> MessagePart {
        let fragment = fragment.to_owned();
        MessagePart::Arguments { index, fragment }
    }

    #[test]
    fn calls_of_the_tools_are_whole_and_the_rest_passes_in_its_order() {
        let text = || MessagePart::Text("a".to_owned());
        let whole = |index, arguments: &str| {
            Part::Call(WholeCall {
                index,
                id: format!("call_{index}"),
                name: "patch".to_owned(),
                arguments: arguments.to_owned(),
            })
        };
        let mut calls = WholeCalls::default();
        let parts = [
            start(0, "look"),
            arguments(0, "{}"),
            start(1, "patch"),
            arguments(1, "{\"x\""),
            MessagePart::Text(String::new()),
            arguments(1, ": 1}"),
            start(2, "patch"),
            arguments(2, "{}"),
            text(),
            start(3, "patch"),
        ];
        let told: Vec<Part> = parts
            .into_iter()
            .flat_map(|part| calls.push(part, |name| name == "patch"))
            .collect();
        assert_eq!(
            told,
            [
                Part::Message(start(0, "look")),
                Part::Message(arguments(0, "{}")),
                whole(1, "{\"x\": 1}"),
                whole(2, "{}"),
                Part::Message(text()),
            ]
        );
        assert_eq!(calls.finish().map(Part::Call), Some(whole(3, "")));
        assert_eq!(calls.finish(), None);
    }
}
