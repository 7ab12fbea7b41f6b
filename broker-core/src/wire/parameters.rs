//! A bag of parameters as form fields (contract 3.4).

use std::collections::{BTreeMap, btree_map::Entry};

use serde_json::Value;

use super::{Malformed, form::Pairs, limits};
use crate::Parameters;

/// What a bag's fields are called: this, a dot, and the path to a leaf.
const FIELD: &str = "parameters";

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
        leaves => {
            let (mut root, mut places) = (Node::default(), limits::ELEMENTS);
            for (path, value) in leaves {
                root.insert(segments(path)?, value, &mut places)?;
            }
            let bag = root.members();
            // One field with an empty path and no text is how an empty bag is written.
            let is_empty = bag.len() == 1 && bag.get("").is_some_and(|only| only == "");
            Ok(Some(if is_empty { Parameters::new() } else { bag }))
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
            '.' if segments.len() == limits::DEPTH => return Err(limits::too_deep()),
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
    segments.iter().try_for_each(|segment| limits::parameter_name(segment))?;
    Ok(segments)
}

/// A tree that grows field by field, before it is known which branches are lists.
#[derive(Default)]
struct Node {
    text: Option<String>,
    children: BTreeMap<String, Node>,
}

impl Node {
    /// Makes no more nodes than there are places left: a path of a few bytes may need sixty of them.
    fn insert(&mut self, path: Vec<String>, value: &str, places: &mut usize) -> Result<(), Malformed> {
        let leaf = path.into_iter().try_fold(self, |node, segment| match node.children.entry(segment) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => {
                *places = places.checked_sub(1).ok_or_else(limits::too_many)?;
                Ok(place.insert(Self::default()))
            }
        })?;
        leaf.text = Some(value.to_owned());
        Ok(())
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
        for empty in ["parameters=", "parameters.=&parameters.=&parameters", "parameters.=x&parameters"] {
            assert_eq!(decode(&form::decode(empty.as_bytes()).unwrap()).unwrap(), Some(Parameters::new()), "{empty}");
        }
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

    #[test] // SPEC T-9
    fn a_form_that_asks_for_more_than_it_sends_is_refused() {
        let refusal = |text: String| decode(&form::decode(text.as_bytes()).unwrap()).unwrap_err().to_string();
        let deep = |first: usize| format!("parameters.{first}{}=x", ".a".repeat(62));
        let many: Vec<String> = (0..200).map(deep).collect();

        assert!(refusal(many.join("&")).contains("more than 10000"));
        assert!(refusal(format!("parameters{}=x", ".a".repeat(65))).contains("more than 64 levels"));
        assert!(refusal(format!("parameters.{}=x", "k".repeat(257))).contains("longer than 256 bytes"));
    }

    #[test] // SPEC T-9
    fn an_index_is_a_name_and_makes_no_place_for_others() {
        let pairs = form::decode(b"parameters.a.999999999=x&parameters.a.18446744073709551616=y").unwrap();
        let read = decode(&pairs).unwrap().unwrap();
        assert_eq!(Value::Object(read), json!({"a":{"999999999":"x","18446744073709551616":"y"}}));
    }

    /// Any parameters, and what is left of them after form encoding, built side by side (contract 3.4).
    fn any_value() -> impl Strategy<Value = (Value, Value)> {
        let leaf = prop_oneof![
            ".{0,6}".prop_map(|text| (json!(text), json!(text))),
            (1..1_000_000_u32).prop_map(|number| (json!(number), json!(number.to_string()))),
            Just((json!(0), json!(""))),
            Just((json!(true), json!("true"))),
            Just((json!(false), json!(""))),
            Just((Value::Null, json!(""))),
            Just((json!({}), json!(""))),
            Just((json!([]), json!(""))),
        ];
        leaf.prop_recursive(6, 64, 5, |inner| {
            let members = prop::collection::btree_map("[a-z.\\\\&= é]{1,5}", inner.clone(), 1..5);
            let members = members.prop_map(|members| {
                let (given, left): (Parameters, Parameters) =
                    members.into_iter().map(|(key, (given, left))| ((key.clone(), given), (key, left))).unzip();
                (Value::Object(given), Value::Object(left))
            });
            let items = prop::collection::vec(inner, 1..5).prop_map(|items| {
                let (given, left): (Vec<Value>, Vec<Value>) = items.into_iter().unzip();
                (Value::Array(given), Value::Array(left))
            });
            prop_oneof![members, items]
        })
    }

    proptest! {
        #[test] // contract 3.4
        fn what_the_platform_writes_for_any_parameters_is_read_as_their_texts(
            bag in prop::collection::btree_map("[a-z.\\\\&= é]{1,6}", any_value(), 1..5),
        ) {
            let (given, left): (Parameters, Parameters) =
                bag.into_iter().map(|(key, (given, left))| ((key.clone(), given), (key, left))).unzip();
            let pairs = form::decode(form::encode(encode(&given)).as_bytes()).unwrap();
            prop_assert_eq!(decode(&pairs).unwrap(), Some(left));
        }

        #[test]
        fn flat_bags_of_texts_travel_unchanged(bag in prop::collection::btree_map(".{1,6}", ".{1,6}", 1..5)) {
            let bag: Parameters = bag.into_iter().map(|(key, text)| (key, Value::String(text))).collect();
            let pairs = form::decode(form::encode(encode(&bag)).as_bytes()).unwrap();
            prop_assert_eq!(decode(&pairs).unwrap(), Some(bag));
        }
    }
}
