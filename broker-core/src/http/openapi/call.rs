//! A call as the document describes it.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

/// What can be asked at a path with a method.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) path: Cow<'static, str>,
    pub(super) method: &'static str,
    pub(super) operation: Value,
}

impl Call {
    pub(super) fn new(
        tag: &'static str,
        method: &'static str,
        path: &'static str,
        name: &'static str,
        summary: &'static str,
    ) -> Self {
        let mut call = Self::unnamed(tag, method, path, summary);
        call.operation["operationId"] = json!(name);
        call
    }

    /// The parts of the path in braces become its parameters.
    pub(super) fn unnamed(
        tag: &'static str,
        method: &'static str,
        path: impl Into<Cow<'static, str>>,
        summary: &str,
    ) -> Self {
        let path = path.into();
        let parts = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let parameters: Vec<Value> = parts
            .map(|part| json!({ "name": part, "in": "path", "required": true, "schema": { "type": "string" } }))
            .collect();
        let operation = json!({ "summary": summary, "tags": [tag], "parameters": parameters, "responses": {} });
        let call = Self { path, method, operation };
        call.text(401, "The user name or the password is wrong or missing")
    }

    /// Asks for no credentials.
    pub(super) fn open(mut self) -> Self {
        self.operation["security"] = json!([]);
        if let Some(responses) = self.operation["responses"].as_object_mut() {
            responses.remove("401");
        }
        self
    }

    /// Something that may be in the `query` or a `header`.
    pub(super) fn parameter(mut self, place: &str, name: &str, is_required: bool, about: &str) -> Self {
        if let Some(parameters) = self.operation["parameters"].as_array_mut() {
            parameters.push(json!({
                "name": name, "in": place, "required": is_required, "description": about, "schema": { "type": "string" },
            }));
        }
        self
    }

    /// A body in these types, of a named schema.
    pub(super) fn body(mut self, kinds: &[&str], schema: &str) -> Self {
        let content: Map<String, Value> =
            kinds.iter().map(|kind| ((*kind).to_owned(), json!({ "schema": named(schema) }))).collect();
        self.operation["requestBody"] = json!({ "content": content });
        self
    }

    /// A body of any type.
    pub(super) fn any_body(mut self) -> Self {
        self.operation["requestBody"] = json!({ "content": { "*/*": {} } });
        self
    }

    /// All other answers.
    pub(super) fn otherwise(mut self, about: &str) -> Self {
        self.operation["responses"]["default"] = json!({ "description": about });
        self
    }

    pub(super) fn text(self, status: u16, about: &str) -> Self {
        self.answer(status, about, "text/plain", json!({ "type": "string" }))
    }

    pub(super) fn json(self, status: u16, about: &str, schema: Value) -> Self {
        self.answer(status, about, "application/json", schema)
    }

    pub(super) fn empty(mut self, status: u16, about: &str) -> Self {
        self.operation["responses"][status.to_string()] = json!({ "description": about });
        self
    }

    pub(super) fn answer(mut self, status: u16, about: &str, kind: &str, schema: Value) -> Self {
        let content = json!({ kind: { "schema": schema } });
        self.operation["responses"][status.to_string()] = json!({ "description": about, "content": content });
        self
    }
}

/// A schema of the document.
pub(super) fn named(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}
