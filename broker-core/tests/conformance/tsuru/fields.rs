//! Bodies, as fields.

use serde_json::Value;

use super::{Asked, Reply, World, no};

pub(super) type Fields = Vec<(String, String)>;

pub(super) fn read(world: &World, asked: &Asked) -> Result<Fields, Reply> {
    let wrong = |id: &str| world.wrong == id;
    let (kind, text) = (asked.text("content-type"), String::from_utf8_lossy(&asked.body));
    if asked.is_json() {
        let value: Value = match serde_json::from_str(&text) {
            Ok(value) => value,
            Err(_) if wrong("A112") => return Err((201, String::new())),
            Err(_) => return Err(no(if wrong("A109 json") { "" } else { "that is no JSON" })),
        };
        let mut fields = Fields::new();
        flatten("", &value, &mut fields);
        return Ok(fields
            .into_iter()
            .filter(|(key, _)| !(wrong("A42") && key.ends_with(".0")))
            .map(|(key, value)| (if key == "appName" { "app-name".to_owned() } else { key }, value))
            .collect());
    }
    if !kind.is_empty() && !kind.starts_with("application/x-www-form-urlencoded") {
        return Err(if wrong("A114") { (201, String::new()) } else { (415, "a form or JSON, please".to_owned()) });
    }
    if wrong("A113") && kind.contains("charset") {
        return Err((415, "no charsets".to_owned()));
    }
    if text.contains("%zz") {
        return Err(if wrong("A111") { (201, String::new()) } else { no("malformed") });
    }
    let decoded = url::form_urlencoded::parse(&asked.body).into_owned();
    Ok(decoded.map(|(key, value)| (key.replace("a\\.b", if wrong("A39") { "?" } else { "a.b" }), value)).collect())
}

fn flatten(prefix: &str, value: &Value, fields: &mut Fields) {
    let at = |key: &str| if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| flatten(&at(key), value, fields)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, value)| flatten(&at(&index.to_string()), value, fields));
        }
        Value::String(text) => fields.push((prefix.to_owned(), text.clone())),
        other => fields.push((prefix.to_owned(), other.to_string())),
    }
}

pub(super) fn field<'f>(fields: &'f Fields, key: &str) -> Option<&'f str> {
    fields.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}
