//! The fields that hold an answer to a grammar.

use matou_grammar::GrammarSpec;
use matou_llm::request::OutputGrammar;
use serde_json::Value;

use crate::dialects::shared::fields::no_more_than;
use crate::dialects::shared::wire::{GrammarFields, ResponseFormat, StructuredOutputs};
use crate::error::ApiError;

/// Most answers to choose from: compiling more of them takes seconds.
const MAX_CHOICES: usize = 4096;

/// The grammar that a request asks for, if it does, with the name of the field that does.
pub(crate) fn output_grammar(fields: &GrammarFields) -> Result<Option<OutputGrammar>, ApiError> {
    let mut asked = Vec::new();
    if let Some(format) = &fields.response_format {
        asked.extend(response_format(format)?);
    }
    if let Some(outputs) = &fields.structured_outputs {
        structured_outputs(outputs, &mut asked)?;
    }
    if let Some(schema) = &fields.guided_json {
        asked.push(("guided_json", json_schema("guided_json", schema)?));
    }
    no_more_than(
        "guided_choice",
        fields.guided_choice.as_deref().unwrap_or_default(),
        MAX_CHOICES,
    )?;
    let choice = fields.guided_choice.clone().map(GrammarSpec::Choice);
    let regex = fields.guided_regex.clone().map(GrammarSpec::Regex);
    asked.extend(regex.map(|spec| ("guided_regex", spec)));
    asked.extend(choice.map(|spec| ("guided_choice", spec)));
    if let Some(source) = &fields.guided_grammar {
        asked.push(("guided_grammar", grammar(source)));
    }
    if let Some(source) = fields.grammar.as_ref().filter(|source| !source.is_empty()) {
        asked.push(("grammar", grammar(source)));
    }
    if let Some(schema) = &fields.json_schema {
        asked.push(("json_schema", json_schema("json_schema", schema)?));
    }
    if let [(first, _), (second, _), ..] = asked.as_slice() {
        let message = format!("`{first}` and `{second}` cannot both be given.");
        return Err(ApiError::invalid(*second, message));
    }
    Ok(asked.pop().map(|(param, spec)| OutputGrammar {
        param: param.to_owned(),
        spec,
    }))
}

type Asked = (&'static str, GrammarSpec);

fn response_format(format: &ResponseFormat) -> Result<Option<Asked>, ApiError> {
    const PARAM: &str = "response_format";
    match format.kind.as_deref() {
        None | Some("text") => Ok(None),
        Some("json_object") => Ok(Some((
            PARAM,
            match &format.schema {
                Some(schema) => GrammarSpec::JsonSchema(schema.clone()),
                None => GrammarSpec::JsonObject,
            },
        ))),
        Some("json_schema") => {
            let given = format.json_schema.as_ref();
            match given.and_then(|given| given.schema.clone()) {
                Some(schema) => Ok(Some((PARAM, GrammarSpec::JsonSchema(schema)))),
                None => {
                    let param = "response_format.json_schema.schema";
                    Err(ApiError::invalid(param, format!("`{param}` is missing.")))
                }
            }
        }
        Some(other) => {
            let message = format!(
                "`response_format.type` must be \"text\", \"json_object\" or \"json_schema\", \
                 got \"{other}\"."
            );
            Err(ApiError::invalid("response_format.type", message))
        }
    }
}

fn structured_outputs(outputs: &StructuredOutputs, asked: &mut Vec<Asked>) -> Result<(), ApiError> {
    const PARAM: &str = "structured_outputs";
    if outputs.structural_tag.is_some() {
        let param = "structured_outputs.structural_tag";
        let message = format!("`{param}` is not supported: a grammar holds for the whole answer.");
        return Err(ApiError::unsupported(param, message));
    }
    if let Some(schema) = &outputs.json {
        asked.push((PARAM, json_schema("structured_outputs.json", schema)?));
    }
    let choices = outputs.choice.as_deref().unwrap_or_default();
    no_more_than("structured_outputs.choice", choices, MAX_CHOICES)?;
    let others = [
        outputs.regex.clone().map(GrammarSpec::Regex),
        outputs.choice.clone().map(GrammarSpec::Choice),
        outputs.grammar.as_deref().map(grammar),
        (outputs.json_object == Some(true)).then_some(GrammarSpec::JsonObject),
    ];
    asked.extend(others.into_iter().flatten().map(|spec| (PARAM, spec)));
    Ok(())
}

/// vLLM takes a schema as JSON text too.
fn json_schema(param: &str, schema: &Value) -> Result<GrammarSpec, ApiError> {
    let Value::String(text) = schema else {
        return Ok(GrammarSpec::JsonSchema(schema.clone()));
    };
    let parsed = serde_json::from_str(text).map_err(|error| {
        let message = format!("`{param}` is a string that is not JSON: {error}.");
        ApiError::invalid(param, message)
    })?;
    Ok(GrammarSpec::JsonSchema(parsed))
}

/// GBNF's rules have a sign of their own; what has none of them is Lark.
fn grammar(source: &str) -> GrammarSpec {
    if source.contains("::=") {
        GrammarSpec::Gbnf(source.to_owned())
    } else {
        GrammarSpec::lark(source)
    }
}
