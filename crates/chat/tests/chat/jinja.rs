//! Templates of a line against what Jinja2 makes of them, in the settings of transformers.

use matou_chat::{ChatTemplate, TemplateRequest, TemplateTokens};
use serde_json::{Map, Value};

/// A template and its outcome.
struct Probe {
    template: String,
    /// What Jinja2 writes, unless it raises an error.
    expected: Option<String>,
    /// Why matou does something else.
    differs: Option<String>,
}

/// The probes, and the variables that their templates see.
fn battery() -> (Map<String, Value>, Vec<Probe>) {
    let path = matou_testkit::fixtures_dir().join("jinja/probes.json");
    let mut file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let probes = file["probes"].as_array().unwrap().iter().map(|probe| {
        let text = |key: &str| probe[key].as_str().map(str::to_owned);
        assert_ne!(probe["expect"].is_null(), probe["raises"].is_null());
        Probe {
            template: text("template").unwrap(),
            expected: text("expect"),
            differs: text("differs"),
        }
    });
    let probes = probes.collect();
    let Value::Object(variables) = file["variables"].take() else {
        panic!("variables are an object");
    };
    (variables, probes)
}

/// What matou writes, or its error.
fn outcome(template: &str, variables: &Map<String, Value>) -> Result<String, String> {
    let tokens = TemplateTokens {
        bos_token: "<s>".to_owned(),
        ..TemplateTokens::default()
    };
    let template = ChatTemplate::new(template, tokens).map_err(|error| error.to_string())?;
    let rendered = template.render(&TemplateRequest {
        messages: variables["messages"].as_array().unwrap(),
        tools: None,
        add_generation_prompt: false,
        continue_final_message: false,
        kwargs: variables,
    });
    rendered
        .map(|prompt| prompt.text())
        .map_err(|error| error.to_string())
}

#[test]
fn templates_of_a_line_do_what_they_do_in_jinja2() {
    let (variables, probes) = battery();
    let mut wrong = Vec::new();
    for probe in &probes {
        let outcome = outcome(&probe.template, &variables);
        let agrees = outcome.as_ref().ok() == probe.expected.as_ref();
        if agrees == probe.differs.is_some() {
            let (template, expected) = (&probe.template, &probe.expected);
            wrong.push(format!(
                "{template:?}\n   is {outcome:?}\n   not {expected:?}"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        probes.len(),
        wrong.join("\n")
    );
}

#[test]
fn there_are_hundreds_of_probes_and_few_known_differences() {
    let (_, probes) = battery();
    assert!(probes.len() >= 300, "{}", probes.len());
    let differences = probes.iter().filter(|probe| probe.differs.is_some());
    assert!(differences.count() * 50 < probes.len());
}
