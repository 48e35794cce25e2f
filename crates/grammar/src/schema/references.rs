//! `$ref`: finding what it refers to inside the schema.

use std::collections::HashMap;

use serde_json::Value;

use super::path;

/// A schema resource: the root, or a part with an `$id` of its own.
#[derive(Clone, Copy)]
pub(super) struct Resource<'a> {
    value: &'a Value,
    /// Index into [`References::origins`].
    index: usize,
}

/// Where a resource is in the document, and what its relative references are relative to.
struct Origin {
    path: String,
    uri: String,
}

/// Everything in a schema document that a `$ref` can name.
pub(super) struct References<'a> {
    origins: Vec<Origin>,
    root: Resource<'a>,
    by_uri: HashMap<String, Resource<'a>>,
    by_address: HashMap<*const Value, Resource<'a>>,
    /// By resource and name: `$anchor`, or `$id: "#name"` of the older drafts.
    anchors: HashMap<(usize, &'a str), (&'a Value, String)>,
    /// Up to draft 7, a schema with `$ref` had nothing else: its `$id` doesn't count.
    lone_references: bool,
}

impl<'a> References<'a> {
    pub(super) fn scan(root: &'a Value) -> Self {
        let mut references = Self {
            origins: Vec::new(),
            root: Resource {
                value: root,
                index: 0,
            },
            by_uri: HashMap::new(),
            by_address: HashMap::new(),
            anchors: HashMap::new(),
            lone_references: has_lone_references(root),
        };
        let uri = references.identifier(root).unwrap_or_default().to_owned();
        references.add_resource(root, "$".to_owned(), uri);
        references.visit(root, "$".to_owned(), references.root);
        references
    }

    pub(super) fn root(&self) -> Resource<'a> {
        self.root
    }

    /// The resource that a subschema is in, given that of its parent.
    pub(super) fn resource_of(&self, schema: &Value, parent: Resource<'a>) -> Resource<'a> {
        let own = self.by_address.get(&std::ptr::from_ref(schema));
        own.copied().unwrap_or(parent)
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
            *self.by_uri.get(&join(&self.origins[base.index].uri, uri))?
        };
        if !fragment.is_empty() && !fragment.starts_with('/') {
            let (value, path) = self.anchors.get(&(resource.index, fragment))?;
            return Some((value, path.clone(), resource));
        }
        let origin = &self.origins[resource.index];
        let (value, path) = path::resolve(resource.value, &origin.path, fragment)?;
        Some((value, path, self.resource_of(value, resource)))
    }

    /// The `$id` (draft 4: `id`) of a schema, without an empty fragment.
    fn identifier<'v>(&self, schema: &'v Value) -> Option<&'v str> {
        if self.lone_references && schema.get("$ref").is_some() {
            return None;
        }
        let id = schema.get("$id").or_else(|| schema.get("id"))?.as_str()?;
        Some(id.strip_suffix('#').unwrap_or(id)).filter(|id| !id.is_empty())
    }

    fn add_resource(&mut self, value: &'a Value, path: String, uri: String) -> Resource<'a> {
        let resource = Resource {
            value,
            index: self.origins.len(),
        };
        self.by_uri.insert(uri.clone(), resource);
        self.by_address.insert(value, resource);
        self.origins.push(Origin { path, uri });
        resource
    }

    fn visit(&mut self, value: &'a Value, path: String, parent: Resource<'a>) {
        match value {
            Value::Object(map) => {
                let mut resource = self.resource_of(value, parent);
                match self.identifier(value) {
                    Some(id) if id.starts_with('#') => {
                        self.anchors
                            .insert((resource.index, &id[1..]), (value, path.clone()));
                    }
                    Some(id) if !std::ptr::eq(value, self.root.value) => {
                        let uri = join(&self.origins[parent.index].uri, id);
                        resource = self.add_resource(value, path.clone(), uri);
                    }
                    _ => {}
                }
                if let Some(Value::String(anchor)) = map.get("$anchor") {
                    self.anchors
                        .insert((resource.index, anchor), (value, path.clone()));
                }
                for (name, child) in map {
                    // What is in there is data, even if it looks like a schema.
                    if name != "enum" && name != "const" {
                        self.visit(child, path::member(&path, name), resource);
                    }
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

fn has_lone_references(root: &Value) -> bool {
    let draft = root.get("$schema").and_then(Value::as_str).unwrap_or("");
    ["draft-04", "draft-06", "draft-07"]
        .iter()
        .any(|old| draft.contains(old))
}

/// Resolves a URI reference without fragment: what RFC 3986 says, short of `..`.
fn join(base: &str, reference: &str) -> String {
    let scheme_end = reference.find(':').unwrap_or(0);
    if scheme_end > 0 && !reference[..scheme_end].contains('/') {
        return reference.to_owned();
    }
    let authority = base.find("://").map_or(0, |colon| colon + 3);
    let path_start = base[authority..]
        .find('/')
        .map_or(base.len(), |slash| authority + slash);
    if reference.starts_with('/') {
        return format!("{}{reference}", &base[..path_start]);
    }
    let folder = base[path_start..]
        .rfind('/')
        .map_or(path_start, |slash| path_start + slash + 1);
    let relative = reference.strip_prefix("./").unwrap_or(reference);
    format!("{}{relative}", &base[..folder])
}
