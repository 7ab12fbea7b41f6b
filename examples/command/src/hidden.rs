//! What an executable writes to its standard error, without the secrets it was given.

use serde_json::{Map, Value};

/// Shorter texts are not hidden: they are in too many words.
const SHORTEST: usize = 8;

/// Texts that are not for the log.
#[derive(Debug, Default)]
pub(crate) struct Hidden(Vec<String>);

impl Hidden {
    /// Hides every text in parameters or notes, however deep: it may be a secret.
    pub(crate) fn and_in(mut self, bag: &Map<String, Value>) -> Self {
        bag.values().for_each(|value| self.add(value));
        self
    }

    /// Hides a secret.
    pub(crate) fn and(mut self, secret: &str) -> Self {
        self.0.push(secret.to_owned());
        self
    }

    fn add(&mut self, value: &Value) {
        match value {
            Value::String(text) if text.len() >= SHORTEST => self.0.push(text.clone()),
            Value::Array(items) => items.iter().for_each(|item| self.add(item)),
            Value::Object(members) => members.values().for_each(|value| self.add(value)),
            _ => {}
        }
    }

    /// A text that can be logged. Secrets of several lines are hidden as a whole.
    pub(crate) fn hide(&self, text: &str) -> String {
        // The longest first: one may be part of another.
        let mut hidden: Vec<&str> = self.0.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
        hidden.sort_by_key(|text| std::cmp::Reverse(text.len()));
        hidden.into_iter().fold(text.to_owned(), |shown, secret| shown.replace(secret, "[secret]"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_texts_of_parameters_are_hidden() {
        let bag = serde_json::json!({ "token": { "list": ["hunter2-hunter2"] }, "size": "10" });
        let hidden = Hidden::default().and("s3cret").and("s3cret-longer").and_in(bag.as_object().unwrap());

        let shown = hidden.hide("login s3cret-longer s3cret hunter2-hunter2 10");

        assert_eq!(shown, "login [secret] [secret] [secret] 10");
    }
}
