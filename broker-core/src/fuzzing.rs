//! Doors for fuzz targets: whatever comes in from outside, as bytes, with what must hold for all of it.
//!
//! The targets are in `fuzz/`; `tests/corpus.rs` gives the same functions what the targets found. A function that
//! returns has found nothing wrong. Not part of the public interface.

mod pages;
mod requests;

use axum::http::{HeaderName, HeaderValue, Request, Uri};
use serde_json::{Value, json};

use crate::{
    AppName, BindingId, EnvName, Instance, InstanceName, JobName, OpaqueId, Parameters, PlanName, PublicUrl, Secret,
    ServiceName,
    author::masked,
    client,
    dashboard::opens,
    http::fuzzing as http,
    line::one_line,
    schema::ParameterSchema,
    wire::{self, Fields},
};

pub use pages::pages;
pub use requests::requests;

/// What takes an input and panics when something is wrong with how it was taken.
pub type Target = fn(&[u8]);

/// All functions of this module by name, which is that of the target and its corpus too.
pub const TARGETS: [(&str, Target); 11] = [
    ("form", form),
    ("json", json),
    ("headers", headers),
    ("names", names),
    ("schema", schema),
    ("requests", requests),
    ("credentials", credentials),
    ("links", links),
    ("pages", pages),
    ("sentences", sentences),
    ("answers", answers),
];

/// A body in form encoding: it is read or refused, and what was read is written and read again as the same.
pub fn form(body: &[u8]) {
    let Ok(fields) = Fields::from_form(body) else { return };
    wire::read_all(&fields);
    let Ok(Some(bag)) = fields.bag() else { return };
    assert!(wire::is_within_limits(&Value::Object(bag.clone())), "parameters beyond the limits were let in");
    assert_eq!(wire::through_form(&bag), bag, "parameters did not survive form encoding");
}

/// A body in JSON: it is read or refused; what a create says in it survives both encodings.
pub fn json(body: &[u8]) {
    let Ok(fields) = Fields::from_json(body) else { return };
    wire::read_all(&fields);
    let Ok(Some(bag)) = fields.bag() else { return };
    let bag = Value::Object(bag);
    assert!(wire::is_within_limits(&bag), "parameters beyond the limits were let in");
    let kept = serde_json::to_vec(&json!({ "record": { "instance": { "parameters": bag } } })).expect("JSON");
    serde_json::from_slice::<Value>(&kept).expect("a record with these parameters can be read");
    let Value::Object(bag) = bag else { return };
    let typeless = texts_only(&bag);
    assert_eq!(wire::through_form(&bag), typeless, "form encoding and JSON give other parameters");
}

/// A bag as form encoding leaves it (contract 3.4), told here in other words than `wire` does it.
fn texts_only(bag: &Parameters) -> Parameters {
    let members: Parameters = bag.iter().map(|(key, value)| (key.clone(), texts(value))).collect();
    let is_as_if_empty = members.len() == 1 && members.get("").is_some_and(|only| only == "");
    if is_as_if_empty { Parameters::new() } else { members }
}

fn texts(value: &Value) -> Value {
    match value {
        Value::Object(members) if !members.is_empty() => {
            let members: Parameters = members.iter().map(|(key, value)| (key.clone(), texts(value))).collect();
            let listed: Option<Vec<Value>> =
                (0..members.len()).map(|at| members.get(&at.to_string()).cloned()).collect();
            listed.map_or(Value::Object(members), Value::Array)
        }
        Value::Array(items) if !items.is_empty() => items.iter().map(texts).collect(),
        Value::Array(_) | Value::Object(_) | Value::Null | Value::Bool(false) => "".into(),
        Value::Number(number) if number.as_f64() == Some(0.0) => "".into(),
        Value::Number(number) => wire::number_in_form(number).into(),
        Value::Bool(true) => "true".into(),
        Value::String(text) => text.as_str().into(),
    }
}

/// Headers, a line each: `name: value`.
pub fn headers(lines: &[u8]) {
    let mut request = Request::new(());
    for line in lines.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            request.headers_mut().append(name, value);
        }
    }
    http::read_headers(request);
}

/// The text of a file of credentials: it is a list or refused, and who is listed gets in by the line that says so.
pub fn credentials(text: &[u8]) {
    if let Ok(text) = std::str::from_utf8(text) {
        http::read_credentials(text);
    }
}

/// A public URL and, on the next line, a key: links that begin with the URL lead to a dashboard and show no password,
/// and no key but its own opens it.
pub fn links(lines: &[u8]) {
    let Ok(text) = std::str::from_utf8(lines) else { return };
    let (url, key) = text.split_once('\n').unwrap_or((text, ""));
    thread_local!(static CACHE: Instance = Instance::new("cache".parse().expect("a name"), "small".parse().expect("a name")));
    CACHE.with(|cache| {
        assert!(!opens(key, Some(cache)) && !opens(key, None), "{key:?} opens a dashboard");
        let Ok(url) = url.parse::<PublicUrl>() else { return };
        let shown = url.to_string();
        assert_eq!(shown.parse(), Ok(url.clone()), "a public URL is told as another one");
        let link: Uri = url.link(cache).parse().expect("a link is a URL");
        let authority = link.authority().expect("a link names a host");
        assert!(!authority.as_str().contains('@'), "{link} shows a password");
        assert!(link.path().ends_with("/dashboard/cache"), "{link} leads elsewhere");
        let key = link.query().and_then(|query| query.strip_prefix("key=")).expect("a link has a key");
        assert!(opens(key, Some(cache)), "{link} opens nothing");
    });
}

/// Secrets, a line each, then an empty line and what an author says: nobody reads a secret, and everybody one line.
pub fn sentences(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (secrets, text) = text.split_once("\n\n").unwrap_or(("", text));
    let is_secret = |line: &&str| line.len() >= 8 && line.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let secrets: Vec<Secret> = secrets.lines().filter(is_secret).take(8).map(Secret::from).collect();
    let secrets: Vec<&Secret> = secrets.iter().collect();
    let told = one_line(&masked(text, &secrets));
    assert!(!told.contains(char::is_control) && told.chars().count() <= 1001, "{told:?} is no line");
    assert!(!secrets.iter().any(|secret| told.contains(secret.expose())), "{told:?} has a secret");
    assert_eq!(masked(&told, &secrets), told, "something was left to mask");
}

/// What a broker answers, as the platform reads it: it is read or refused, in a line that nobody's terminal minds.
pub fn answers(body: &[u8]) {
    for error in client::misreadings(body) {
        let told = error.to_string();
        assert!(told.len() < 1024 && !told.contains(char::is_control), "{told:?} is no sentence");
    }
}

/// Any text as each kind of name: what is taken keeps its spelling and the rule of what it stands in.
pub fn names(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let in_paths = [
        text.parse::<InstanceName>().map(String::from),
        InstanceName::made_by_platform(text).map(String::from),
        text.parse::<AppName>().map(String::from),
        text.parse::<JobName>().map(String::from),
        text.parse::<BindingId>().map(String::from),
        text.parse::<ServiceName>().map(String::from),
        text.parse::<OpaqueId>().map(String::from),
        text.parse::<EnvName>().map(String::from),
    ];
    for name in in_paths.into_iter().flatten() {
        assert_eq!(name, text);
        let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte));
        assert!(is_plain && !name.starts_with('.') && !name.is_empty(), "{name:?} is no part of a path");
    }
    if let Ok(plan) = text.parse::<PlanName>() {
        assert!(!plan.as_str().chars().any(char::is_control), "{plan:?} breaks a line of a log");
    }
}

/// Parameters, in form encoding, read by a schema that has everything a schema can be made of: what is taken fits, and
/// reading it again changes nothing.
pub fn schema(body: &[u8]) {
    let Ok(Ok(Some(given))) = Fields::from_form(body).map(|fields| fields.bag()) else { return };
    thread_local!(static SCHEMA: ParameterSchema = compiled());
    SCHEMA.with(|schema| match schema.read(given) {
        Ok(read) => assert_eq!(schema.read(read.clone()).expect("what fits, fits"), read),
        Err(refusal) => assert!(refusal.to_string().len() < 4096, "a refusal is as long as what it refuses"),
    });
}

fn compiled() -> ParameterSchema {
    let schema = json!({
        "type": "object",
        "properties": {
            "memory": { "type": "integer", "minimum": 1 },
            "ratio": { "type": ["number", "null"] },
            "persistent": { "type": "boolean" },
            "name": { "type": "string", "pattern": "^(a+)+$", "maxLength": 64 },
            "hosts": { "type": "array", "items": { "type": "string" }, "uniqueItems": true, "maxItems": 8 },
            "limits": { "type": "object", "additionalProperties": { "type": "integer" } },
            "level": { "enum": [1, 2, null] },
            "size": { "anyOf": [{ "type": "integer" }, { "enum": ["auto"] }] },
            "tree": { "$ref": "#/$defs/tree" },
            "all": { "allOf": [{ "type": "object" }, { "properties": { "on": { "type": "boolean" } } }] },
        },
        "additionalProperties": false,
        "$defs": { "tree": { "anyOf": [
            { "type": "object", "properties": { "l": { "$ref": "#/$defs/tree" }, "r": { "$ref": "#/$defs/tree" } }, "additionalProperties": false },
            { "type": "array", "items": { "$ref": "#/$defs/tree" } },
            { "type": "integer" },
        ] } },
    });
    ParameterSchema::compile(&schema).expect("a schema")
}
