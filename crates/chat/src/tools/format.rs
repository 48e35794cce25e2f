//! The notations, and which one a model uses.

/// How a model writes its tool calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolFormat {
    /// `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, one block a call: Hermes, Qwen.
    Hermes,
    /// `<tool_call>[{"name": …, "arguments": {…}}, …]</tool_call>`, one block for all: SmolLM.
    SmolLm,
    /// `{"name": …, "parameters": {…}}` as the whole answer, perhaps after `<|python_tag|>`;
    /// several are separated by `;`: Llama 3.1 to 3.3.
    Llama3Json,
    /// `[name(key="value"), …]` as the whole answer: Llama 3.2 and later.
    Llama3Pythonic,
    /// `[TOOL_CALLS][{"name": …, "arguments": {…}}, …]`: Mistral's tokenizers up to version 7.
    Mistral,
    /// `[TOOL_CALLS]name[ARGS]{…}`, one marker a call, with `[CALL_ID]…` in some versions:
    /// Mistral's tokenizers from version 11.
    MistralArgs,
    /// `<function=name>{…}</function>`: Functionary, Llama's custom tools.
    Functionary,
    /// `all` and text, or `name` and `{…}`, each on lines of its own and with `>>>` between them; the
    /// prompt ends with the first `>>>`: Functionary v3.2.
    FunctionaryV32,
    /// `<|tool_call|>[{"name": …, "arguments": {…}}, …]`: Granite 3, and Phi 4 mini, which closes it.
    Granite,
    /// `{"name": …, "arguments": {…}}` or a list of these as the whole answer, for models that were
    /// trained on no notation and are held to this one by a grammar.
    GenericJson,
}

impl ToolFormat {
    /// The notation that a chat template shows its model. `architecture` is the model's (such as
    /// `llama` or `Llama4ForCausalLM`), and decides where the template leaves it open.
    ///
    /// `None` if the template knows no tools or writes them in a notation that is none of these.
    pub fn detect(template_source: &str, architecture: &str) -> Option<Self> {
        let has = |text: &str| template_source.contains(text);
        if has("[TOOL_CALLS]") {
            return Some(if has("[ARGS]") {
                Self::MistralArgs
            } else {
                Self::Mistral
            });
        }
        if has("<parameter=") {
            return None;
        }
        if has(">>>all") {
            return Some(Self::FunctionaryV32);
        }
        if has("<|tool_call|>") {
            return Some(Self::Granite);
        }
        if has("<tool_call>") {
            // SmolLM's system prompt asks for one list.
            return Some(if has("<tool_call>[") {
                Self::SmolLm
            } else {
                Self::Hermes
            });
        }
        if has("<function=") {
            return Some(Self::Functionary);
        }
        if has("[func_name1(") || has("<|python_start|>") {
            return Some(Self::Llama3Pythonic);
        }
        if has("<|python_tag|>") || has(r#"{"name": function name, "parameters""#) {
            return Some(Self::Llama3Json);
        }
        let llama4 = architecture.to_ascii_lowercase().starts_with("llama4");
        (llama4 && has("tools")).then_some(Self::Llama3Pythonic)
    }

    /// What may begin calls anywhere in the text.
    pub fn openers(self) -> &'static [&'static str] {
        match self {
            Self::Hermes | Self::SmolLm => &["<tool_call>"],
            Self::Llama3Json => &["<|python_tag|>"],
            Self::Mistral | Self::MistralArgs => &["[TOOL_CALLS]"],
            Self::Functionary => &["<function="],
            Self::FunctionaryV32 => &[">>>"],
            Self::Granite => &["<|tool_call|>"],
            Self::Llama3Pythonic | Self::GenericJson => &[],
        }
    }

    /// What may begin calls where the answer does.
    pub(super) fn bare_openers(self) -> &'static [char] {
        match self {
            Self::Llama3Json => &['{'],
            Self::Llama3Pythonic => &['['],
            Self::GenericJson => &['{', '['],
            Self::Hermes
            | Self::SmolLm
            | Self::Mistral
            | Self::MistralArgs
            | Self::Functionary
            | Self::FunctionaryV32
            | Self::Granite => &[],
        }
    }

    /// What follows the calls, if the model doesn't leave it out.
    pub(super) fn closer(self) -> &'static str {
        match self {
            Self::Hermes | Self::SmolLm => "</tool_call>",
            Self::Functionary => "</function>",
            Self::Granite => "<|/tool_call|>",
            _ => "",
        }
    }
}
