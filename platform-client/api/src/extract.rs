//! What comes in: forms, multipart forms, JSON and query strings, all read alike (contract 1.9).
//!
//! Keys match whatever their letter case, unknown ones are ignored, and an empty value is an absent
//! one. Nested values have dotted keys in forms, `Envs.0.Name=A`, with `\.` for a dot in a key.

use std::{str::FromStr, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Multipart, Request},
    http::{HeaderMap, Method, header},
};
use broker_core::Parameters;
use futures::StreamExt as _;
use percent_encoding::percent_decode_str;
use platform_core::{InvalidName, Secret};
use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::respond::Failure;

/// The largest body that is read into memory, in bytes. Only deploys are larger, and those go to disk.
const LARGEST: usize = 10 << 20;
/// How long the next piece of a body may take.
pub(crate) const STALL: Duration = Duration::from_secs(60);
/// How deep values may be nested: deeper ones are no honest input.
const DEEPEST: usize = 32;

/// What a request says, wherever it says it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Input(Map<String, Value>);

impl Input {
    /// A text; none when it is absent or empty.
    pub(crate) fn text(&self, key: &str) -> Option<String> {
        self.texts(key).into_iter().next()
    }

    /// A text of several possible keys: the first that is there.
    pub(crate) fn text_of(&self, keys: &[&str]) -> Option<String> {
        keys.iter().find_map(|key| self.text(key))
    }

    /// All texts of a key that may be repeated, or a list; empty ones left out.
    pub(crate) fn texts(&self, key: &str) -> Vec<String> {
        self.all(key).into_iter().filter(|text| !text.is_empty()).collect()
    }

    /// All texts of a key, empty ones too.
    pub(crate) fn all(&self, key: &str) -> Vec<String> {
        match self.value(key) {
            Some(Value::Array(values)) => values.iter().filter_map(plain).collect(),
            Some(value @ Value::Object(_)) => elements(value).into_iter().filter_map(plain).collect(),
            Some(value) => plain(value).into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// A credential.
    pub(crate) fn secret(&self, key: &str) -> Option<Secret> {
        self.text(key).map(Secret::from)
    }

    /// Yes or no; no when it is absent, empty, or anything but a yes.
    pub(crate) fn flag(&self, key: &str) -> bool {
        self.flag_if_given(key).unwrap_or(false)
    }

    /// Yes or no; none when it is absent or empty.
    pub(crate) fn flag_if_given(&self, key: &str) -> Option<bool> {
        let text = self.text(key)?;
        Some(["true", "1", "t", "yes", "on"].iter().any(|yes| text.eq_ignore_ascii_case(yes)))
    }

    /// A number; none when it is absent or empty.
    pub(crate) fn number<T: FromStr>(&self, key: &str) -> Result<Option<T>, Failure> {
        let refusal =
            |text: &str| Failure::bad(format!("Invalid value \"{text}\" for {key}: it must be a whole number."));
        self.text(key).map(|text| text.parse().map_err(|_| refusal(&text))).transpose()
    }

    /// A name; none when it is absent or empty.
    pub(crate) fn name<T: FromStr<Err = InvalidName>>(&self, key: &str) -> Result<Option<T>, Failure> {
        Ok(self.text(key).map(|text| text.parse()).transpose()?)
    }

    /// A name that has to be there: an empty text is refused with the name's own rule.
    pub(crate) fn required<T: FromStr<Err = InvalidName>>(&self, key: &str) -> Result<T, Failure> {
        Ok(self.text(key).unwrap_or_default().parse()?)
    }

    /// All names of a key.
    pub(crate) fn names<T: FromStr<Err = InvalidName>>(&self, key: &str) -> Result<Vec<T>, Failure> {
        Ok(self.texts(key).into_iter().map(|text| text.parse()).collect::<Result<_, _>>()?)
    }

    /// A bag of values; none when it is absent, `null` or an empty text. Form encoding has only strings in it.
    pub(crate) fn bag(&self, key: &str) -> Option<Parameters> {
        match self.value(key)? {
            Value::Object(bag) => {
                let mut bag = bag.clone();
                // `parameters.=` is an empty bag, not a parameter without a name.
                bag.retain(|name, value| !(name.is_empty() && value.as_str() == Some("")));
                Some(bag)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
        }
    }

    /// What is said under a key.
    pub(crate) fn nested(&self, key: &str) -> Self {
        match self.value(key) {
            Some(Value::Object(fields)) => Self(fields.clone()),
            _ => Self::default(),
        }
    }

    /// A list of things: a JSON array, or keys `0`, `1`, ... of a form, in the order of their numbers.
    pub(crate) fn items(&self, key: &str) -> Vec<Self> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let fields = |value: &Value| value.as_object().cloned().map(Self);
        elements(value).into_iter().filter_map(fields).collect()
    }

    fn value(&self, key: &str) -> Option<&Value> {
        // The exact spelling wins, so that of two keys that differ in case the documented one counts.
        self.0
            .get(key)
            .or_else(|| self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(key)).map(|(_, value)| value))
    }

    /// Adds a form's field: dots nest, repeats make a list.
    pub(crate) fn add(&mut self, key: &str, text: String) -> Result<(), Failure> {
        let path = segments(key);
        if path.len() > DEEPEST {
            return Err(Failure::bad(format!("a field of the form is nested deeper than {DEEPEST} levels")));
        }
        insert(&mut self.0, &path, text);
        Ok(())
    }

    /// Adds what a query string or an urlencoded body says.
    fn add_encoded(&mut self, encoded: &str) -> Result<(), Failure> {
        for pair in encoded.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            self.add(&decoded(key)?, decoded(value)?)?;
        }
        Ok(())
    }

    /// Adds what a query string says; a key of the body wins.
    fn add_query(&mut self, query: &str) -> Result<(), Failure> {
        let mut from_query = Self::default();
        from_query.add_encoded(query)?;
        for (key, value) in from_query.0 {
            if self.value(&key).is_none() {
                self.0.insert(key, value);
            }
        }
        Ok(())
    }

    async fn add_body<S: Send + Sync>(&mut self, request: Request, state: &S) -> Result<(), Failure> {
        match media_type(request.headers()).as_str() {
            "multipart/form-data" => self.add_multipart(multipart(request, state).await?).await,
            "application/json" => self.add_json(&whole(request.into_body()).await?),
            _ => {
                let body = whole(request.into_body()).await?;
                let form = std::str::from_utf8(&body).map_err(|_| Failure::bad("the form is not UTF-8 text"))?;
                self.add_encoded(form.trim_end_matches(['\r', '\n']))
            }
        }
    }

    async fn add_multipart(&mut self, mut form: Multipart) -> Result<(), Failure> {
        let mut left = LARGEST;
        while let Some(mut field) = next_part(form.next_field()).await? {
            let key = field.name().unwrap_or_default().to_owned();
            let mut bytes = Vec::new();
            while let Some(chunk) = next_part(field.chunk()).await? {
                left = left.checked_sub(chunk.len()).ok_or(Failure::TooLarge(LARGEST as u64))?;
                bytes.extend_from_slice(&chunk);
            }
            let text = String::from_utf8(bytes);
            self.add(&key, text.map_err(|_| Failure::bad(format!("the form's field \"{key}\" is not UTF-8 text")))?)?;
        }
        Ok(())
    }

    fn add_json(&mut self, body: &[u8]) -> Result<(), Failure> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => self.0.extend(fields),
            Ok(Value::Null) => {}
            Ok(_) => return Err(Failure::bad("unable to parse the request's JSON: it must be an object")),
            Err(reason) => return Err(Failure::bad(format!("unable to parse the request's JSON: {reason}"))),
        }
        Ok(())
    }
}

impl<S: Send + Sync> FromRequest<S> for Input {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let mut input = Self::default();
        if matches!(*request.method(), Method::POST | Method::PUT) {
            input.add_body(request, state).await?;
        }
        input.add_query(&query)?;
        Ok(input)
    }
}

/// The media type of a body, without its parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let header = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    header.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The body as a multipart form, which is read piece by piece.
pub(crate) async fn multipart<S: Send + Sync>(request: Request, state: &S) -> Result<Multipart, Failure> {
    Multipart::from_request(request, state).await.map_err(|refusal| Failure::bad(refusal.body_text()))
}

/// The next piece of a multipart form, unless it takes too long.
pub(crate) async fn next_part<T>(
    piece: impl Future<Output = Result<Option<T>, axum::extract::multipart::MultipartError>>,
) -> Result<Option<T>, Failure> {
    let piece = timeout(STALL, piece).await.map_err(|_| Failure::TooSlow)?;
    piece.map_err(|reason| Failure::bad(format!("unable to parse the request's form: {}", reason.body_text())))
}

async fn whole(body: Body) -> Result<Vec<u8>, Failure> {
    let mut pieces = body.into_data_stream();
    let mut whole = Vec::new();
    while let Some(piece) = timeout(STALL, pieces.next()).await.map_err(|_| Failure::TooSlow)? {
        let piece: Bytes = piece.map_err(|_| Failure::bad("the request's body ended too early"))?;
        if whole.len() + piece.len() > LARGEST {
            return Err(Failure::TooLarge(LARGEST as u64));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole)
}

fn decoded(encoded: &str) -> Result<String, Failure> {
    let spaced = encoded.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    decoded.map(Into::into).map_err(|_| Failure::bad("the form is not UTF-8 text"))
}

/// A scalar as text.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// What a list holds: a JSON array's elements, or values of keys that are numbers, by number.
fn elements(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(elements) => elements.iter().collect(),
        Value::Object(fields) => {
            let index = |key: &String| key.parse::<u32>().ok();
            let mut numbered: Vec<_> = fields.iter().filter_map(|(key, value)| Some((index(key)?, value))).collect();
            numbered.sort_by_key(|(index, _)| *index);
            numbered.into_iter().map(|(_, value)| value).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

/// A dotted key's segments, with `\.` and `\\` undone from left to right.
fn segments(key: &str) -> Vec<String> {
    let mut path = vec![String::new()];
    let mut letters = key.chars().peekable();
    while let Some(letter) = letters.next() {
        let escaped = letter == '\\' && matches!(letters.peek(), Some('.' | '\\'));
        match letter {
            '\\' if escaped => path.last_mut().expect("never empty").extend(letters.next()),
            '.' => path.push(String::new()),
            other => path.last_mut().expect("never empty").push(other),
        }
    }
    path
}

/// Puts a text where its path leads.
fn insert(fields: &mut Map<String, Value>, path: &[String], text: String) {
    let Some((first, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        match fields.get_mut(first) {
            None => _ = fields.insert(first.clone(), text.into()),
            Some(Value::Array(several)) => several.push(text.into()),
            // `parameters=` next to `parameters.size=10` says nothing.
            Some(Value::Object(_)) => {}
            Some(one) => *one = Value::Array(vec![one.take(), text.into()]),
        }
        return;
    }
    let below = fields.entry(first.clone()).or_insert_with(|| Map::new().into());
    if !below.is_object() {
        *below = Map::new().into();
    }
    if let Value::Object(below) = below {
        insert(below, rest, text);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn form(encoded: &str) -> Input {
        let mut input = Input::default();
        input.add_encoded(encoded).unwrap();
        input
    }

    fn json(value: Value) -> Input {
        let mut input = Input::default();
        input.add_json(value.to_string().as_bytes()).unwrap();
        input
    }

    #[test] // SPEC W-4
    fn keys_match_in_any_case_and_empty_values_are_absent() {
        let input = form("TEAMOWNER=core&pool=&NoRestart=&Private=true&once=1&n=12");

        assert_eq!(input.text("teamOwner").as_deref(), Some("core"));
        assert_eq!(input.text("pool"), None);
        assert!(!input.flag("noRestart") && input.flag("private") && input.flag("once"));
        assert_eq!(input.flag_if_given("norestart"), None);
        assert_eq!(input.number::<u32>("n").unwrap(), Some(12));
        assert_eq!(input.number::<u32>("m").unwrap(), None);
        assert!(form("n=-1").number::<u32>("n").is_err());
    }

    #[test] // SPEC W-4
    fn repeats_lists_and_json_arrays_are_the_same() {
        for input in [form("tag=a&tag=b&tag="), form("tag.1=b&tag.0=a"), json(json!({"Tag": ["a", "b", ""]}))] {
            assert_eq!(input.texts("tag"), ["a", "b"], "{input:?}");
        }
        assert_eq!(form("tag=a").texts("tag"), ["a"]);
    }

    #[test] // SPEC W-4
    fn nested_items_come_in_the_order_of_their_numbers() {
        let by_form = form("Envs.10.Name=C&Envs.2.Name=B&Envs.0.Name=A&Envs.0.Value=x%3Dy%26z%0A%C3%A9+");
        let names = |input: &Input| input.items("envs").iter().map(|env| env.text("name").unwrap()).collect::<Vec<_>>();

        assert_eq!(names(&by_form), ["A", "B", "C"]);
        assert_eq!(by_form.items("envs")[0].text("value").as_deref(), Some("x=y&z\né "));
        assert_eq!(names(&json(json!({"envs": [{"name": "A"}, {"name": "B"}]}))), ["A", "B"]);
    }

    #[test] // contract service-api 3.4
    fn parameter_bags_keep_their_keys_and_undo_escapes() {
        let bag = |encoded: &str| form(encoded).bag("parameters").map(Value::Object);

        assert_eq!(bag("parameters.p2.Complex=x"), Some(json!({"p2": {"Complex": "x"}})));
        assert_eq!(bag(r"parameters.a%5C.b=c&parameters.a%5C%5Cb=d"), Some(json!({"a.b": "c", r"a\b": "d"})));
        assert_eq!(bag("parameters.="), Some(json!({})));
        assert_eq!(bag("parameters="), None);
        assert_eq!(bag("parameters=&parameters.size=10&parameters="), Some(json!({"size": "10"})));
        assert_eq!(json(json!({"parameters": {"n": 1}})).bag("parameters").map(Value::Object), Some(json!({"n": 1})));
    }

    #[test]
    fn what_is_no_text_and_what_is_too_deep_is_refused() {
        assert!(Input::default().add_encoded("a=%FF").is_err());
        assert!(Input::default().add_encoded(&format!("{}=1", ".".repeat(100_000))).is_err());
        assert!(Input::default().add_json(b"[1]").is_err());
        assert!(Input::default().add_json(b"{").is_err());
        assert!(Input::default().add_json(b" \n").is_ok());
    }
}
