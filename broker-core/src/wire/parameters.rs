//! A bag of parameters as form fields (contract 3.4).

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Malformed, form::Pairs};
use crate::Parameters;

/// What a bag's fields are called: this, a dot, and the path to a leaf.
const FIELD: &str = "parameters";
/// The deepest path that is read.
const DEPTH: usize = 64;

/// One field for each leaf; an empty bag is one field with an empty path.
pub(super) fn encode(bag: &Parameters) -> Pairs {
    if bag.is_empty() {
        return vec![(format!("{FIELD}."), String::new())];
    }
    let mut pairs = Pairs::new();
    for (key, value) in bag {
        add(format!("{FIELD}.{}", escape(key)), value, &mut pairs);
    }
    pairs
}

fn add(path: String, value: &Value, pairs: &mut Pairs) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            members.iter().for_each(|(key, value)| add(format!("{path}.{}", escape(key)), value, pairs));
        }
        Value::Array(items) if !items.is_empty() => {
            items.iter().enumerate().for_each(|(index, item)| add(format!("{path}.{index}"), item, pairs));
        }
        leaf => pairs.push((path, text(leaf))),
    }
}

/// `false`, zero, `null` and what is empty have no text.
fn text(leaf: &Value) -> String {
    match leaf {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "true".to_owned(),
        Value::Number(number) if number.as_f64() != Some(0.0) => super::number::in_form(number),
        Value::Number(_) | Value::Bool(false) | Value::Null | Value::Array(_) | Value::Object(_) => String::new(),
    }
}

fn escape(key: &str) -> String {
    key.replace('\\', "\\\\").replace('.', "\\.")
}

/// The bag in a form's fields, all its leaves texts; none if no field is about it.
pub(super) fn decode(pairs: &Pairs) -> Result<Option<Parameters>, Malformed> {
    let leaves: Vec<(&str, &str)> =
        pairs.iter().filter_map(|(name, value)| Some((path(name)?, value.as_str()))).collect();
    match leaves.as_slice() {
        [] => Ok(None),
        [("", "")] => Ok(Some(Parameters::new())),
        leaves => {
            let mut root = Node::default();
            for (path, value) in leaves {
                root.insert(segments(path)?, value);
            }
            Ok(Some(root.members()))
        }
    }
}

/// What follows `parameters.`; a field called `parameters` alone has an empty path.
fn path(name: &str) -> Option<&str> {
    let rest = name.strip_prefix(FIELD)?;
    if rest.is_empty() { Some("") } else { rest.strip_prefix('.') }
}

/// Splits at dots that are not escaped and undoes the escapes.
fn segments(path: &str) -> Result<Vec<String>, Malformed> {
    let mut segments = vec![String::new()];
    let mut characters = path.chars();
    while let Some(character) = characters.next() {
        let literal = match character {
            '.' => {
                segments.push(String::new());
                continue;
            }
            '\\' => characters.next().unwrap_or('\\'),
            other => other,
        };
        if let Some(segment) = segments.last_mut() {
            segment.push(literal);
        }
    }
    if segments.len() > DEPTH {
        return Err(Malformed::new(format!("a parameter is nested more than {DEPTH} levels deep")));
    }
    Ok(segments)
}

/// A tree that grows field by field, before it is known which branches are lists.
#[derive(Default)]
struct Node {
    text: Option<String>,
    children: BTreeMap<String, Node>,
}

impl Node {
    fn insert(&mut self, path: Vec<String>, value: &str) {
        let leaf = path.into_iter().fold(self, |node, segment| node.children.entry(segment).or_default());
        leaf.text = Some(value.to_owned());
    }

    fn members(self) -> Parameters {
        self.children.into_iter().map(|(key, node)| (key, node.value())).collect()
    }

    /// A branch's own text loses against its members; keys that are exactly 0 to n-1 are a list.
    fn value(mut self) -> Value {
        if self.children.is_empty() {
            return Value::String(self.text.unwrap_or_default());
        }
        let is_list = (0..self.children.len()).all(|index| self.children.contains_key(&index.to_string()));
        if !is_list {
            return Value::Object(self.members());
        }
        let indices = 0..self.children.len();
        indices.filter_map(|index| self.children.remove(&index.to_string())).map(Node::value).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::{super::form, *};

    fn bag(value: Value) -> Parameters {
        match value {
            Value::Object(members) => members,
            other => panic!("not an object: {other}"),
        }
    }

    /// Contract 3.4: input, form text, and what is left of it at the other end.
    fn rows() -> Vec<(Value, &'static str, Value)> {
        vec![
            (json!({"key":"value"}), "parameters.key=value", json!({"key":"value"})),
            (json!({"p2":{"complex1":"x"}}), "parameters.p2.complex1=x", json!({"p2":{"complex1":"x"}})),
            (json!({"list":["a","b"]}), "parameters.list.0=a&parameters.list.1=b", json!({"list":["a","b"]})),
            (
                json!({"list":[{"x":1},{"x":2}]}),
                "parameters.list.0.x=1&parameters.list.1.x=2",
                json!({"list":[{"x":"1"},{"x":"2"}]}),
            ),
            (
                json!({"mat":[[1,2],[3]]}),
                "parameters.mat.0.0=1&parameters.mat.0.1=2&parameters.mat.1.0=3",
                json!({"mat":[["1","2"],["3"]]}),
            ),
            (
                json!({"n":1,"f":1.5,"t":true}),
                "parameters.f=1.5&parameters.n=1&parameters.t=true",
                json!({"n":"1","f":"1.5","t":"true"}),
            ),
            (
                json!({"z":0,"fa":false,"nul":null,"e":"","em":{},"el":[]}),
                "parameters.e=&parameters.el=&parameters.em=&parameters.fa=&parameters.nul=&parameters.z=",
                json!({"z":"","fa":"","nul":"","e":"","em":"","el":""}),
            ),
            (
                json!({"a":999_999,"b":1_000_000,"c":1_234_567,"d":0.00001}),
                "parameters.a=999999&parameters.b=1e%2B06&parameters.c=1.234567e%2B06&parameters.d=1e-05",
                json!({"a":"999999","b":"1e+06","c":"1.234567e+06","d":"1e-05"}),
            ),
            (json!({"port":2_147_483_648_u64}), "parameters.port=2.147483648e%2B09", json!({"port":"2.147483648e+09"})),
            (json!({"a.b":"c","a\\b":"d"}), "parameters.a%5C.b=c&parameters.a%5C%5Cb=d", json!({"a.b":"c","a\\b":"d"})),
            (json!({"k":"a b&c=d/é"}), "parameters.k=a+b%26c%3Dd%2F%C3%A9", json!({"k":"a b&c=d/é"})),
            (json!({}), "parameters.=", json!({})),
            (json!({"":"x"}), "parameters.=x", json!({"":"x"})),
        ]
    }

    #[test] // B8
    fn every_row_of_the_contract_is_written_so() {
        for (input, text, _) in rows() {
            assert_eq!(form::encode(encode(&bag(input))), text);
        }
    }

    #[test] // A36, A39, A40
    fn every_row_of_the_contract_is_read_so() {
        for (_, text, read) in rows() {
            let pairs = form::decode(text.as_bytes()).unwrap();
            assert_eq!(decode(&pairs).unwrap().map(Value::Object), Some(read), "{text}");
        }
    }

    #[test]
    fn a_bag_that_is_not_there_is_not_an_empty_one() {
        assert_eq!(decode(&form::decode(b"name=x&parametersx=1").unwrap()).unwrap(), None);
        assert_eq!(decode(&form::decode(b"parameters=").unwrap()).unwrap(), Some(Parameters::new()));
    }

    #[test]
    fn a_list_with_a_gap_stays_an_object() {
        let pairs = form::decode(b"parameters.l.0=a&parameters.l.2=b&parameters.m.01=c").unwrap();
        let read = decode(&pairs).unwrap().unwrap();
        assert_eq!(Value::Object(read), json!({"l":{"0":"a","2":"b"},"m":{"01":"c"}}));
    }

    #[test]
    fn a_path_of_a_million_dots_is_refused() {
        let name = format!("parameters.{}", ".".repeat(1_000_000));
        assert!(decode(&vec![(name, "x".to_owned())]).is_err());
    }

    proptest! {
        #[test]
        fn flat_bags_of_texts_travel_unchanged(bag in prop::collection::btree_map(".{1,6}", ".{1,6}", 1..5)) {
            let bag: Parameters = bag.into_iter().map(|(key, text)| (key, Value::String(text))).collect();
            let pairs = form::decode(form::encode(encode(&bag)).as_bytes()).unwrap();
            prop_assert_eq!(decode(&pairs).unwrap(), Some(bag));
        }
    }
}
