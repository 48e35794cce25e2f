use serde::Deserialize;

use super::*;

#[derive(Debug, Deserialize)]
struct Outer {
    #[serde(rename = "inner")]
    _inner: Vec<Inner>,
}

#[derive(Debug, Deserialize)]
struct Inner {
    #[serde(rename = "count")]
    _count: Option<i64>,
}

impl Fields for Outer {
    fn names() -> Vec<Names> {
        Vec::new()
    }

    fn known() -> Lookup {
        |_, _| None
    }

    fn read(source: &Source<'_>) -> Result<Self, ApiError> {
        source.read()
    }
}

fn error(body: &'static str) -> ApiError {
    JsonBody::of(body)
        .read::<Outer>()
        .expect_err("the body is wrong")
}

#[test]
fn a_wrong_type_names_the_path_of_its_field() {
    let error = error(r#"{"inner": [{"count": 1}, {"count": "two"}]}"#);
    assert_eq!(error.param(), Some("inner[1].count"));
    assert_eq!(
        error.to_string(),
        "Invalid value for `inner[1].count`: invalid type: string \"two\", expected i64."
    );
}

#[test]
fn a_list_is_not_an_object() {
    let error = error(r#"{"inner": [{"count": 1}, [2]]}"#);
    assert_eq!(error.param(), Some("inner[1]"));
    assert_eq!(
        error.to_string(),
        "Invalid value for `inner[1]`: invalid type: sequence, expected an object."
    );
}

#[test]
fn broken_json_says_where_it_breaks() {
    let error = error("{\"inner\": [,]}");
    assert_eq!(error.param(), None);
    assert!(error.to_string().contains("line 1 column 12"), "{error}");
}

#[test]
fn what_follows_the_json_is_an_error() {
    assert!(
        error(r#"{"inner": []} x"#)
            .to_string()
            .contains("trailing characters")
    );
}

#[test]
fn deep_nesting_is_an_error_and_not_a_stack_overflow() {
    let deep = format!("{{\"unknown\": {}", "[".repeat(100_000));
    assert!(JsonBody::of(deep).read::<Outer>().is_err());
    let deep = format!("{{\"inner\": {}", "[".repeat(100_000));
    assert!(JsonBody::of(deep).read::<Outer>().is_err());
}
