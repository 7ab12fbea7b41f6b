//! A body as named fields, whichever way it is encoded.

use serde_json::Value;

use super::{
    Malformed,
    form::{self, Pairs},
    limits, parameters,
};
use crate::Parameters;

/// A field's two names. One that JSON does not have has an empty name there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field(pub(super) &'static str, pub(super) &'static str);

/// A body that was read.
#[derive(Clone)]
pub(crate) enum Fields {
    Form(Pairs),
    Json(Parameters),
}

impl Fields {
    pub(crate) fn from_form(body: &[u8]) -> Result<Self, Malformed> {
        form::decode(body).map(Self::Form)
    }

    pub(crate) fn from_json(body: &[u8]) -> Result<Self, Malformed> {
        match limits::read_json(body)? {
            Value::Object(members) => Ok(Self::Json(members)),
            Value::Null => Ok(Self::Json(Parameters::new())),
            _ => Err(Malformed::new("the body is JSON, but not an object")),
        }
    }

    /// A text; empty when it is absent or `null`. Of several, the first.
    pub(super) fn text(&self, field: Field) -> Result<String, Malformed> {
        Ok(self.list(field)?.into_iter().next().unwrap_or_default())
    }

    /// A list of texts; empty when it is absent or `null`.
    pub(super) fn list(&self, field: Field) -> Result<Vec<String>, Malformed> {
        let (name, texts) = match self {
            Self::Form(pairs) => {
                let texts = pairs.iter().filter(|(name, _)| name == field.0).map(|(_, value)| value.as_str());
                (field.0, texts.collect())
            }
            Self::Json(members) => match members.get(field.1) {
                None | Some(Value::Null) => return Ok(Vec::new()),
                Some(Value::Array(items)) => {
                    (field.1, items.iter().map(|item| json_text(field, item)).collect::<Result<Vec<_>, _>>()?)
                }
                Some(one) => (field.1, vec![json_text(field, one)?]),
            },
        };
        limits::listed(name, texts.len())?;
        texts.iter().try_for_each(|text| limits::text(name, text))?;
        Ok(texts.into_iter().map(str::to_owned).collect())
    }

    /// The parameters, if any are named.
    pub(crate) fn bag(&self) -> Result<Option<Parameters>, Malformed> {
        match self {
            Self::Form(pairs) => parameters::decode(pairs),
            Self::Json(members) => match members.get("parameters") {
                None | Some(Value::Null) => Ok(None),
                Some(Value::Object(bag)) => Ok(Some(bag.clone())),
                Some(_) => Err(Malformed::new("\"parameters\" is not an object")),
            },
        }
    }
}

fn json_text(field: Field, value: &Value) -> Result<&str, Malformed> {
    match value {
        Value::String(text) => Ok(text),
        Value::Null => Ok(""),
        _ => Err(Malformed::new(format!("\"{}\" is not a text", field.1))),
    }
}

/// When a field is sent although it is empty.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    form: bool,
    json: bool,
}

impl Sent {
    pub(super) const ALWAYS: Self = Self { form: true, json: true };
    pub(super) const IF_ANY: Self = Self { form: false, json: false };
    pub(super) const ALWAYS_IN_FORM: Self = Self { form: true, json: false };
    pub(super) const ALWAYS_IN_JSON: Self = Self { form: false, json: true };
}

/// A body that is being written.
pub(super) enum Writer {
    Form(Pairs),
    Json(Vec<String>),
}

impl Writer {
    pub(super) fn text(&mut self, Field(form, json): Field, value: &str, sent: Sent) {
        match self {
            Self::Form(pairs) => {
                if sent.form || !value.is_empty() {
                    pairs.push((form.to_owned(), value.to_owned()));
                }
            }
            Self::Json(members) => {
                if !json.is_empty() && (sent.json || !value.is_empty()) {
                    members.push(format!("\"{json}\":{}", canonical(&Value::from(value))));
                }
            }
        }
    }

    /// An empty list has no form.
    pub(super) fn list(&mut self, Field(form, json): Field, values: &[String], sent: Sent) {
        match self {
            Self::Form(pairs) => pairs.extend(values.iter().map(|value| (form.to_owned(), value.clone()))),
            Self::Json(members) => {
                if sent.json || !values.is_empty() {
                    members.push(format!("\"{json}\":{}", canonical(&Value::from(values.to_vec()))));
                }
            }
        }
    }

    /// An empty bag is sent in form encoding only.
    pub(super) fn bag(&mut self, bag: Option<&Parameters>) {
        let Some(bag) = bag else { return };
        match self {
            Self::Form(pairs) => pairs.extend(parameters::encode(bag)),
            Self::Json(members) => {
                if !bag.is_empty() {
                    members.push(format!("\"parameters\":{}", canonical(&Value::Object(bag.clone()))));
                }
            }
        }
    }

    pub(super) fn finish(self) -> String {
        match self {
            Self::Form(pairs) => form::encode(pairs),
            Self::Json(members) => format!("{{{}}}\n", members.join(",")),
        }
    }
}

/// JSON as the reference encoder writes it (contract 3.3): sorted keys, a few more escapes.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(key, _)| key.as_bytes());
            let members: Vec<String> =
                members.into_iter().map(|(key, value)| format!("{}:{}", quoted(key), canonical(value))).collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        Value::Number(number) => super::number::in_json(number),
        Value::String(text) => quoted(text),
        Value::Null | Value::Bool(_) => value.to_string(),
    }
}

fn quoted(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    [('&', "\\u0026"), ('<', "\\u003c"), ('>', "\\u003e"), ('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")]
        .into_iter()
        .fold(quoted, |text, (character, escape)| text.replace(character, escape))
}
