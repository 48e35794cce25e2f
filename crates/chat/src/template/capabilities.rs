//! What a template does with a conversation, found by trying small ones.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What a template prints and takes. What it prints no word of is lost on the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TemplateCapabilities {
    /// Prints a system message that begins the conversation.
    pub system: bool,
    /// Prints a system message in the middle of the conversation, where it stands.
    pub system_later: bool,
    /// Prints several system messages that begin the conversation.
    pub several_systems: bool,
    /// Knows the role `developer`, which counts as `system` where it does not.
    pub developer: bool,
    /// Prints the tools that a request brings.
    pub tools: bool,
    /// Prints the calls that an earlier answer made.
    pub tool_calls: bool,
    /// Takes several messages of the user's in a row, and several of the assistant's.
    pub repeated_roles: bool,
}

impl Default for TemplateCapabilities {
    /// For templates that cannot be tried: messages are given to them as they are.
    fn default() -> Self {
        Self {
            system: true,
            system_later: true,
            several_systems: true,
            developer: true,
            tools: false,
            tool_calls: false,
            repeated_roles: true,
        }
    }
}

impl TemplateCapabilities {
    /// Renders small conversations with `render`, which takes messages and tools, and looks for
    /// their words in the outcome. `source` is the text of the template.
    pub(super) fn probe(
        source: &str,
        render: impl Fn(&[Value], Option<&Value>) -> Option<String>,
    ) -> Self {
        let message = |role: &str, content: &str| json!({"role": role, "content": content});
        let prints = |messages: &[Value], words: &[&str]| {
            let prompt = render(messages, None);
            prompt.is_some_and(|prompt| are_in_order(&prompt, words))
        };
        let (system, user) = (message("system", "needle"), message("user", "straw"));
        let (answer, next) = (message("assistant", "hay"), message("user", "stack"));
        let tools = json!([tool("needle")]);
        let with_tools = render(std::slice::from_ref(&user), Some(&tools));
        let prints_tools = with_tools.is_some_and(|prompt| prompt.contains("needle"));
        if !prints(std::slice::from_ref(&user), &["straw"]) {
            return Self {
                tools: prints_tools,
                ..Self::default()
            };
        }
        let later = [user.clone(), answer.clone(), system.clone(), next.clone()];
        let systems = [system.clone(), message("system", "barn"), user.clone()];
        let users = [user.clone(), next.clone()];
        let answers = [
            user.clone(),
            answer,
            message("assistant", "barn"),
            next.clone(),
        ];
        Self {
            system: prints(&[system, user.clone()], &["needle", "straw"]),
            system_later: prints(&later, &["straw", "hay", "needle", "stack"]),
            several_systems: prints(&systems, &["needle", "barn", "straw"]),
            developer: source.contains("developer"),
            tools: prints_tools,
            tool_calls: prints(&with_call(user, next), &["needle"]),
            repeated_roles: prints(&users, &["straw", "stack"])
                && prints(&answers, &["straw", "hay", "barn", "stack"]),
        }
    }
}

/// Whether these words are in a text, one behind the other.
fn are_in_order(text: &str, words: &[&str]) -> bool {
    let mut rest = text;
    words.iter().all(|word| {
        let found = rest.split_once(word);
        rest = found.map_or("", |(_, behind)| behind);
        found.is_some()
    })
}

fn tool(name: &str) -> Value {
    let parameters = json!({"type": "object", "properties": {}});
    let function = json!({"name": name, "description": name, "parameters": parameters});
    json!({"type": "function", "function": function})
}

/// A call of the function `needle`, and its result.
fn with_call(user: Value, next: Value) -> [Value; 5] {
    // Templates of Mistral's want ids of nine characters.
    let id = "call00000";
    let function = json!({"name": "needle", "arguments": {}});
    let call = json!({"id": id, "type": "function", "function": function});
    [
        user,
        json!({"role": "assistant", "content": "", "tool_calls": [call]}),
        json!({"role": "tool", "content": "1", "tool_call_id": id, "name": "needle"}),
        json!({"role": "assistant", "content": "hay"}),
        next,
    ]
}
