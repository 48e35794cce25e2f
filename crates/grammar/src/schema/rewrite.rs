//! One walk over the schema: each keyword is copied, replaced or refused.

use std::collections::{HashMap, VecDeque};

use serde_json::{Map, Value, json};

use super::keywords::{
    NameRule, check_property_count, exclusive_bound, format, refuse_unsupported,
};
use super::path::{element, escape, member};
use super::references::{References, Resource};
use super::rules::{self, Result, Step, admits, invalid, unsupported};
use crate::GrammarError;

/// Above this, the recursion of the compiler outgrows its stack.
const MAX_SUBSCHEMAS: usize = 20_000;
/// `serde_json` reads no text that nests deeper.
const MAX_DEPTH: usize = 128;
/// Each pair of patterns is tested for overlap.
const MAX_PATTERNS: usize = 32;

/// The whole schema, with every definition that it uses in `$defs` of the root.
pub(super) fn rewrite(schema: &Value) -> Result<Value> {
    let references = References::scan(schema);
    let mut rewriter = Rewriter {
        references: &references,
        subschemas: 0,
        names: HashMap::new(),
        pending: VecDeque::new(),
        steps: Vec::new(),
    };
    let place = Place {
        path: "$".to_owned(),
        depth: 0,
        resource: references.root(),
    };
    let mut root = rewriter.schema(schema, &place)?;
    let mut definitions = Map::new();
    while let Some(Definition {
        name,
        schema,
        place,
    }) = rewriter.pending.pop_front()
    {
        definitions.insert(name, rewriter.schema(schema, &place)?);
    }
    if let Value::Object(map) = &mut root
        && !definitions.is_empty()
    {
        map.insert("$defs".to_owned(), Value::Object(definitions));
    }
    Ok(root)
}

/// Where a subschema is.
struct Place<'a> {
    path: String,
    depth: usize,
    resource: Resource<'a>,
}

/// A part of the schema that a reference leads to, still to be rewritten.
struct Definition<'a> {
    /// Its name in `$defs`: the path it had in the client's schema.
    name: String,
    schema: &'a Value,
    place: Place<'a>,
}

struct Rewriter<'a, 'r> {
    references: &'r References<'a>,
    subschemas: usize,
    /// The definitions that have been met, by their address in the client's schema.
    names: HashMap<*const Value, String>,
    pending: VecDeque<Definition<'a>>,
    /// The values of `multipleOf` so far.
    steps: Vec<Step>,
}

/// A schema in the making.
struct Output {
    map: Map<String, Value>,
    /// Schemas that say what a keyword said which the compiler doesn't know.
    conditions: Vec<Value>,
}

impl<'a> Rewriter<'a, '_> {
    fn schema(&mut self, schema: &'a Value, place: &Place<'a>) -> Result<Value> {
        self.subschemas += 1;
        if self.subschemas > MAX_SUBSCHEMAS {
            return Err(GrammarError::TooLarge(format!(
                "the schema has more than {MAX_SUBSCHEMAS} subschemas"
            )));
        }
        if place.depth > MAX_DEPTH {
            return Err(GrammarError::TooLarge(format!(
                "the schema nests more than {MAX_DEPTH} levels deep"
            )));
        }
        match schema {
            Value::Bool(_) => Ok(schema.clone()),
            Value::Object(map) => {
                let place = Place {
                    path: place.path.clone(),
                    depth: place.depth,
                    resource: self.references.resource_of(schema, place.resource),
                };
                self.object(map, &place)
            }
            _ => invalid(
                place.path.clone(),
                "a schema is an object, `true` or `false`",
            ),
        }
    }

    fn object(&mut self, map: &'a Map<String, Value>, place: &Place<'a>) -> Result<Value> {
        refuse_unsupported(map, &place.path)?;
        let mut output = Output {
            map: Map::new(),
            conditions: Vec::new(),
        };
        for (keyword, value) in map {
            self.keyword(keyword, value, map, place, &mut output)?;
        }
        check_property_count(&output.map, &place.path)?;
        if !output.conditions.is_empty() {
            let all_of = output.map.entry("allOf").or_insert_with(|| json!([]));
            if let Value::Array(list) = all_of {
                list.append(&mut output.conditions);
            }
        }
        Ok(Value::Object(output.map))
    }

    /// Copies or replaces one keyword of the schema `map`. Keywords that JSON Schema does not know
    /// and annotations are left out; those that it knows and [`refuse_unsupported`] let pass have
    /// no effect where they are.
    fn keyword(
        &mut self,
        keyword: &'a str,
        value: &'a Value,
        map: &'a Map<String, Value>,
        place: &Place<'a>,
        output: &mut Output,
    ) -> Result<()> {
        let path = place.path.as_str();
        let rewritten = match keyword {
            "type" => {
                rules::type_names(value, path)?;
                value.clone()
            }
            "const" => {
                rules::literal(value, &member(path, keyword), keyword)?;
                value.clone()
            }
            "enum" => {
                if !value.is_array() {
                    return invalid(member(path, keyword), "it must be a list of values");
                }
                rules::literal(value, &member(path, keyword), keyword)?;
                value.clone()
            }
            "required" => json!(rules::strings(value, &member(path, keyword))?),
            "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties"
            | "maxProperties" => json!(rules::count(value, path, keyword)?),
            "minimum" | "maximum" => {
                rules::bound(value, path, keyword)?;
                value.clone()
            }
            "multipleOf" => {
                self.add_step(Step::read(value, path)?, path)?;
                value.clone()
            }
            "exclusiveMinimum" | "exclusiveMaximum" => {
                match exclusive_bound(keyword, value, map, path)? {
                    Some(bound) => bound,
                    None => return Ok(()),
                }
            }
            "pattern" => match value {
                Value::String(pattern) => json!(rules::regex(pattern, path, keyword)?),
                _ => return invalid(member(path, keyword), "it must be a string"),
            },
            "format" => {
                output.conditions.extend(format(value, map, path)?);
                return Ok(());
            }
            "$ref" => json!(self.reference(value, place)?),
            "allOf" | "anyOf" | "oneOf" | "prefixItems" => self.list(keyword, value, place)?,
            "items" => return self.items(value, map, place, output),
            "properties" => Value::Object(self.members(keyword, value, place)?),
            "patternProperties" => self.pattern_properties(value, place)?,
            "additionalProperties" => self.member(keyword, value, place)?,
            "unevaluatedProperties" if !map.contains_key("additionalProperties") => {
                let schema = self.member(keyword, value, place)?;
                output.map.insert("additionalProperties".to_owned(), schema);
                return Ok(());
            }
            "unevaluatedItems" if !map.contains_key("items") => {
                let schema = self.member(keyword, value, place)?;
                output.map.insert("items".to_owned(), schema);
                return Ok(());
            }
            "dependentRequired" | "dependentSchemas" | "dependencies" => {
                return self.dependencies(keyword, value, map, place, output);
            }
            "propertyNames" => return self.property_names(value, map, place, output),
            "not" if *value == json!({}) || *value == json!(true) => {
                output.conditions.push(json!(false));
                return Ok(());
            }
            _ => return Ok(()),
        };
        output.map.insert(keyword.to_owned(), rewritten);
        Ok(())
    }

    fn add_step(&mut self, step: Step, path: &str) -> Result<()> {
        if self.steps.contains(&step) {
            return Ok(());
        }
        if !self.steps.iter().all(|other| step.goes_with(*other)) {
            let reason = "too many digits together with another `multipleOf` in the schema";
            return unsupported(path, "multipleOf", reason);
        }
        self.steps.push(step);
        Ok(())
    }

    fn member(&mut self, keyword: &str, value: &'a Value, place: &Place<'a>) -> Result<Value> {
        let place = Place {
            path: member(&place.path, keyword),
            depth: place.depth + 1,
            resource: place.resource,
        };
        self.schema(value, &place)
    }

    fn members(
        &mut self,
        keyword: &str,
        value: &'a Value,
        place: &Place<'a>,
    ) -> Result<Map<String, Value>> {
        let path = member(&place.path, keyword);
        let Value::Object(schemas) = value else {
            return invalid(path, "it must be an object of schemas");
        };
        let mut rewritten = Map::new();
        for (name, schema) in schemas {
            let place = Place {
                path: member(&path, name),
                depth: place.depth + 1,
                resource: place.resource,
            };
            rewritten.insert(name.clone(), self.schema(schema, &place)?);
        }
        Ok(rewritten)
    }

    fn list(&mut self, keyword: &str, value: &'a Value, place: &Place<'a>) -> Result<Value> {
        let path = member(&place.path, keyword);
        let Value::Array(schemas) = value else {
            return invalid(path, "it must be a list of schemas");
        };
        let mut rewritten = Vec::with_capacity(schemas.len());
        for (index, schema) in schemas.iter().enumerate() {
            let place = Place {
                path: element(&path, index),
                depth: place.depth + 1,
                resource: place.resource,
            };
            rewritten.push(self.schema(schema, &place)?);
        }
        Ok(Value::Array(rewritten))
    }

    /// Up to draft 2019-09, a list under `items` is what `prefixItems` is now, and
    /// `additionalItems` what `items` is.
    fn items(
        &mut self,
        value: &'a Value,
        map: &'a Map<String, Value>,
        place: &Place<'a>,
        output: &mut Output,
    ) -> Result<()> {
        if !value.is_array() {
            let schema = self.member("items", value, place)?;
            output.map.insert("items".to_owned(), schema);
            return Ok(());
        }
        let prefix = self.list("items", value, place)?;
        output.map.insert("prefixItems".to_owned(), prefix);
        for keyword in ["additionalItems", "unevaluatedItems"] {
            if let Some(rest) = map.get(keyword) {
                let rest = self.member(keyword, rest, place)?;
                output.map.insert("items".to_owned(), rest);
                break;
            }
        }
        Ok(())
    }

    fn pattern_properties(&mut self, value: &'a Value, place: &Place<'a>) -> Result<Value> {
        let keyword = "patternProperties";
        let mut schemas = Map::new();
        for (pattern, schema) in self.members(keyword, value, place)? {
            schemas.insert(rules::regex(&pattern, &place.path, keyword)?, schema);
        }
        if schemas.len() > MAX_PATTERNS {
            let reason = format!("more than {MAX_PATTERNS} patterns");
            return unsupported(&place.path, keyword, &reason);
        }
        Ok(Value::Object(schemas))
    }

    /// Puts what the reference leads to into `$defs` of the root and returns a reference there.
    fn reference(&mut self, value: &Value, place: &Place<'a>) -> Result<String> {
        let Value::String(reference) = value else {
            return invalid(member(&place.path, "$ref"), "it must be a string");
        };
        let Some((schema, path, resource)) = self.references.resolve(reference, place.resource)
        else {
            return unsupported(
                &place.path,
                "$ref",
                &format!("`{reference}` is not inside the schema, and nothing is fetched"),
            );
        };
        let name = match self.names.get(&std::ptr::from_ref(schema)) {
            Some(name) => name.clone(),
            None => {
                self.names.insert(schema, path.clone());
                self.pending.push_back(Definition {
                    name: path.clone(),
                    schema,
                    place: Place {
                        path: path.clone(),
                        depth: 0,
                        resource,
                    },
                });
                path
            }
        };
        Ok(format!("#/$defs/{}", escape(&name)))
    }

    /// "If this property is there, then …" as a choice: it is not there, or ….
    fn dependencies(
        &mut self,
        keyword: &str,
        value: &'a Value,
        map: &'a Map<String, Value>,
        place: &Place<'a>,
        output: &mut Output,
    ) -> Result<()> {
        let path = member(&place.path, keyword);
        let Value::Object(dependencies) = value else {
            return invalid(path, "it must be an object");
        };
        if !admits(map.get("type"), "object") {
            return Ok(());
        }
        for (name, dependency) in dependencies {
            let path = member(&path, name);
            let consequence = if dependency.is_array() {
                json!({"required": rules::strings(dependency, &path)?})
            } else {
                let place = Place {
                    path,
                    depth: place.depth + 1,
                    resource: place.resource,
                };
                self.schema(dependency, &place)?
            };
            let absent = json!({"properties": {name: false}});
            output
                .conditions
                .push(json!({"anyOf": [absent, consequence]}));
        }
        Ok(())
    }

    /// Names that must match a pattern or come from a list are `patternProperties` or
    /// `properties`, and no others are allowed.
    fn property_names(
        &mut self,
        value: &'a Value,
        map: &'a Map<String, Value>,
        place: &Place<'a>,
        output: &mut Output,
    ) -> Result<()> {
        let keyword = "propertyNames";
        let Some(names) = NameRule::read(value, &place.path)? else {
            return Ok(());
        };
        if !admits(map.get("type"), "object") {
            return Ok(());
        }
        if ["properties", "patternProperties"]
            .iter()
            .any(|other| map.contains_key(*other))
        {
            let reason = "together with `properties` or `patternProperties`";
            return unsupported(&place.path, keyword, reason);
        }
        let schema = match map.get("additionalProperties") {
            Some(schema) => self.member("additionalProperties", schema, place)?,
            None => json!(true),
        };
        output.conditions.push(match names {
            NameRule::Pattern(pattern) => {
                json!({"patternProperties": {pattern: schema}, "additionalProperties": false})
            }
            NameRule::OneOf(names) => {
                let properties: Map<String, Value> = names
                    .into_iter()
                    .map(|name| (name.to_owned(), schema.clone()))
                    .collect();
                json!({"properties": properties, "additionalProperties": false})
            }
        });
        Ok(())
    }
}
