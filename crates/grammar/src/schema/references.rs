//! `$ref`: finding what it refers to inside the schema.

use std::collections::HashMap;

use serde_json::Value;

use super::path;

/// A schema resource: the root, or a part with an `$id` of its own.
#[derive(Clone, Copy)]
pub(super) struct Resource<'a> {
    pub(super) value: &'a Value,
    /// Index of its path in [`References::paths`].
    index: usize,
}

/// Everything in a schema document that a `$ref` can name.
pub(super) struct References<'a> {
    root: Resource<'a>,
    paths: Vec<String>,
    /// By `$id` as it is written, without an empty fragment.
    resources: HashMap<&'a str, Resource<'a>>,
    /// By resource and name: `$anchor`, or `$id: "#name"` of the older drafts.
    anchors: HashMap<(usize, &'a str), (&'a Value, String)>,
}

impl<'a> References<'a> {
    pub(super) fn scan(root: &'a Value) -> Self {
        let resource = Resource {
            value: root,
            index: 0,
        };
        let mut references = Self {
            root: resource,
            paths: vec!["$".to_owned()],
            resources: HashMap::new(),
            anchors: HashMap::new(),
        };
        references.visit(root, "$".to_owned(), resource);
        references
    }

    pub(super) fn root(&self) -> Resource<'a> {
        self.root
    }

    /// The resource that a subschema is in, given that of its parent.
    pub(super) fn resource_of(&self, schema: &'a Value, parent: Resource<'a>) -> Resource<'a> {
        match identifier(schema).and_then(|id| self.resources.get(id)) {
            Some(resource) if std::ptr::eq(resource.value, schema) => *resource,
            _ => parent,
        }
    }

    /// What `reference`, written inside of `base`, refers to: the schema, its path and resource.
    pub(super) fn resolve(
        &self,
        reference: &str,
        base: Resource<'a>,
    ) -> Option<(&'a Value, String, Resource<'a>)> {
        let (uri, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let resource = if uri.is_empty() {
            base
        } else {
            *self.resources.get(uri)?
        };
        if !fragment.is_empty() && !fragment.starts_with('/') {
            let (value, path) = self.anchors.get(&(resource.index, fragment))?;
            return Some((value, path.clone(), resource));
        }
        let (value, path) = path::resolve(resource.value, &self.paths[resource.index], fragment)?;
        Some((value, path, self.resource_of(value, resource)))
    }

    fn visit(&mut self, value: &'a Value, path: String, parent: Resource<'a>) {
        match value {
            Value::Object(map) => {
                let mut resource = parent;
                if let Some(id) = identifier(value) {
                    if let Some(anchor) = id.strip_prefix('#') {
                        self.anchors
                            .insert((parent.index, anchor), (value, path.clone()));
                    } else {
                        if !std::ptr::eq(value, parent.value) {
                            resource = Resource {
                                value,
                                index: self.paths.len(),
                            };
                            self.paths.push(path.clone());
                        }
                        self.resources.insert(id, resource);
                    }
                }
                if let Some(Value::String(anchor)) = map.get("$anchor") {
                    self.anchors
                        .insert((resource.index, anchor), (value, path.clone()));
                }
                for (name, child) in map {
                    self.visit(child, path::member(&path, name), resource);
                }
            }
            Value::Array(items) => {
                for (index, child) in items.iter().enumerate() {
                    self.visit(child, path::element(&path, index), parent);
                }
            }
            _ => {}
        }
    }
}

/// The `$id` (draft 4: `id`) of a schema, without an empty fragment.
fn identifier(schema: &Value) -> Option<&str> {
    let id = schema.get("$id").or_else(|| schema.get("id"))?.as_str()?;
    Some(id.strip_suffix('#').unwrap_or(id)).filter(|id| !id.is_empty())
}
