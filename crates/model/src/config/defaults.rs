//! What a config leaves out: fields that have the value which the reference implementation assumes, by
//! the type of the model. `defaults.json` is what transformers assumes (see `defaults.py`).

use std::sync::LazyLock;

use serde_json::{Map, Value};

/// Fields and their values, by `model_type`.
static DEFAULTS: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("defaults.json")).expect("the file is checked by a test")
});

/// Adds the fields that `config` does not have. One that is null is there.
pub(super) fn fill(config: &mut Value) {
    let kind = config["model_type"].as_str().unwrap_or_default();
    let defaults = DEFAULTS.get(kind).and_then(Value::as_object);
    let (Some(defaults), Value::Object(config)) = (defaults, config) else {
        return;
    };
    for (name, value) in defaults {
        config.entry(name).or_insert_with(|| value.clone());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_left_out_is_what_transformers_assumes() {
        let mut config = json!({"model_type": "mistral", "hidden_size": 8, "sliding_window": null});
        fill(&mut config);
        assert_eq!(config["hidden_size"], 8);
        assert_eq!(config["sliding_window"], Value::Null);
        assert_eq!(config["num_key_value_heads"], 8);
        assert_eq!(config["max_position_embeddings"], 131_072);
    }

    #[test]
    fn a_type_that_is_not_known_gets_nothing() {
        let mut config = json!({"model_type": "else"});
        fill(&mut config);
        assert_eq!(config, json!({"model_type": "else"}));
    }
}
