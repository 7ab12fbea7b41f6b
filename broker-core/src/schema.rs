//! Parameters against a plan's JSON Schema: types where form encoding has only texts, then the rules (SPEC chapter Q).

use std::fmt;

use jsonschema::Validator;
use serde_json::{Map, Value};

use crate::{BrokerError, Parameters, Result};

/// How many things that are wrong are named at once.
const NAMED_AT_ONCE: usize = 4;
/// How deep a schema's own references are followed.
const DEPTH: usize = 32;

/// A plan's schema, ready to be used.
pub(crate) struct ParameterSchema {
    schema: Value,
    validator: Validator,
}

impl ParameterSchema {
    /// Compiles a schema. References to other documents are refused: nothing is fetched.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence for its author.
    pub(crate) fn compile(schema: &Value) -> std::result::Result<Self, String> {
        let validator = jsonschema::validator_for(schema).map_err(|error| error.to_string())?;
        Ok(Self { schema: schema.clone(), validator })
    }

    /// The parameters as the schema wants them: what fits is left alone; of the rest, texts become what they are
    /// texts of, and empty texts nothing, zero or false (contract 3.4).
    ///
    /// # Errors
    /// A bad request that names the parameters that are wrong, and no value: it may be a secret.
    pub(crate) fn read(&self, given: Parameters) -> Result<Parameters> {
        let given = Value::Object(given);
        let typed = if self.validator.is_valid(&given) { given } else { self.typed(given, &self.schema, DEPTH) };
        let wrong: Vec<String> = self
            .validator
            .iter_errors(&typed)
            .take(NAMED_AT_ONCE)
            .map(|error| match error.instance_path().as_str().trim_start_matches('/').replace('/', ".") {
                path if path.is_empty() => error.masked().to_string(),
                path => format!("\"{path}\": {}", error.masked()),
            })
            .collect();
        match typed {
            Value::Object(typed) if wrong.is_empty() => Ok(typed),
            _ => Err(BrokerError::bad_request(format!("the parameters do not fit the plan: {}", wrong.join("; ")))),
        }
    }

    fn typed(&self, value: Value, schema: &Value, depth: usize) -> Value {
        let Some(depth) = depth.checked_sub(1) else { return value };
        if let Some(reference) = schema["$ref"].as_str() {
            let target = reference.strip_prefix('#').and_then(|pointer| self.schema.pointer(pointer));
            return target.map_or(value.clone(), |target| self.typed(value, target, depth));
        }
        let value = self.chosen(value, schema, depth);
        match shaped(value, &types(schema)) {
            Value::Object(members) => Value::Object(self.typed_members(members, schema, depth)),
            Value::Array(items) if schema.get("items").is_some() => {
                items.into_iter().map(|item| self.typed(item, &schema["items"], depth)).collect()
            }
            Value::String(text) => read_text(text, schema),
            other => other,
        }
    }

    /// By the parts of a schema that is made of several: all of them, or the first that fits.
    fn chosen(&self, value: Value, schema: &Value, depth: usize) -> Value {
        let all = schema["allOf"].as_array().into_iter().flatten();
        let value = all.fold(value, |value, part| self.typed(value, part, depth));
        let mut any = ["anyOf", "oneOf"].into_iter().filter_map(|name| schema[name].as_array()).flatten();
        let fitting = any.find_map(|part| {
            let typed = self.typed(value.clone(), part, depth);
            let fits = jsonschema::validator_for(part).is_ok_and(|part| part.is_valid(&typed));
            fits.then_some(typed)
        });
        fitting.unwrap_or(value)
    }

    fn typed_members(&self, members: Map<String, Value>, schema: &Value, depth: usize) -> Map<String, Value> {
        let member = |(name, value): (String, Value)| {
            let own = schema["properties"].get(&name).or_else(|| schema.get("additionalProperties"));
            let value = match own {
                Some(own) => self.typed(value, own, depth),
                None => value,
            };
            (name, value)
        };
        members.into_iter().map(member).collect()
    }
}

impl fmt::Debug for ParameterSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParameterSchema").finish_non_exhaustive()
    }
}

/// The types that a schema allows; none when it does not say.
fn types(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// A list that came as an object with the keys 0 to n-1, and an object that looked like one.
fn shaped(value: Value, types: &[&str]) -> Value {
    let (wants_list, wants_object) = (types.contains(&"array"), types.contains(&"object"));
    match value {
        Value::Object(mut members) if wants_list && !wants_object && is_list(&members) => {
            (0..members.len()).filter_map(|index| members.remove(&index.to_string())).collect()
        }
        Value::Array(items) if wants_object && !wants_list => {
            let members = items.into_iter().enumerate().map(|(index, item)| (index.to_string(), item));
            Value::Object(members.collect())
        }
        other => other,
    }
}

fn is_list(members: &Map<String, Value>) -> bool {
    (0..members.len()).all(|index| members.contains_key(&index.to_string()))
}

/// What a text is a text of, if the schema does not want the text itself.
fn read_text(text: String, schema: &Value) -> Value {
    let types = types(schema);
    if types.contains(&"string") {
        return Value::String(text);
    }
    if types.is_empty() {
        let listed = schema["enum"].as_array().into_iter().flatten();
        let named = listed.into_iter().chain(schema.get("const")).find(|known| known.to_string() == text);
        return named.cloned().unwrap_or(Value::String(text));
    }
    let read = types.iter().find_map(|wanted| match (*wanted, text.as_str()) {
        ("integer" | "number", "") => Some(0.into()),
        ("integer", number) => integer(number).map(Value::from),
        ("number", number) => number_of(number),
        ("boolean", "") => Some(false.into()),
        ("boolean", word) => word.parse::<bool>().ok().map(Value::from),
        ("null", "") => Some(Value::Null),
        ("array", "") => Some(Value::Array(Vec::new())),
        ("object", "") => Some(Value::Object(Map::new())),
        _ => None,
    });
    read.unwrap_or(Value::String(text))
}

/// A whole number, also in the form that the platform writes large ones: `1e+06`.
fn integer(text: &str) -> Option<i64> {
    /// From here on a floating-point number has no place for all whole ones.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    text.parse().ok().or_else(|| {
        let number: f64 = text.parse().ok()?;
        (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64)
    })
}

fn number_of(text: &str) -> Option<Value> {
    let whole = text.parse::<i64>().ok().map(Value::from);
    whole.or_else(|| serde_json::Number::from_f64(text.parse().ok()?).map(Value::Number))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn bag(value: Value) -> Parameters {
        value.as_object().cloned().unwrap()
    }

    fn schema() -> ParameterSchema {
        ParameterSchema::compile(&json!({
            "type": "object",
            "properties": {
                "memory": { "type": "integer", "minimum": 1, "maximum": 1_000_000_000_000_u64 },
                "ratio": { "type": "number" },
                "persistent": { "type": "boolean" },
                "name": { "type": "string" },
                "hosts": { "type": "array", "items": { "type": "string" } },
                "ports": { "type": "array", "items": { "$ref": "#/$defs/port" } },
                "limits": { "type": "object", "additionalProperties": { "type": "integer" } },
                "level": { "enum": [1, 2, 3] },
                "size": { "anyOf": [{ "type": "integer" }, { "enum": ["auto"] }] },
            },
            "additionalProperties": false,
            "$defs": { "port": { "type": "integer", "maximum": 65535 } },
        }))
        .unwrap()
    }

    #[test] // SPEC Q-1, A36 to A40
    fn texts_become_what_the_schema_wants() {
        for (text, typed) in [
            (json!({ "memory": "256" }), json!({ "memory": 256 })),
            (json!({ "memory": "1e+06" }), json!({ "memory": 1_000_000 })),
            (json!({ "memory": "2.147483648e+09" }), json!({ "memory": 2_147_483_648_u64 })),
            (json!({ "ratio": "1.5" }), json!({ "ratio": 1.5 })),
            (json!({ "ratio": "1e-05" }), json!({ "ratio": 0.00001 })),
            (json!({ "persistent": "true" }), json!({ "persistent": true })),
            (json!({ "persistent": "" }), json!({ "persistent": false })),
            (json!({ "name": "17" }), json!({ "name": "17" })),
            (json!({ "hosts": "" }), json!({ "hosts": [] })),
            (json!({ "hosts": { "0": "a", "1": "b" } }), json!({ "hosts": ["a", "b"] })),
            (json!({ "ports": ["80", "443"] }), json!({ "ports": [80, 443] })),
            (json!({ "limits": { "a": "1" } }), json!({ "limits": { "a": 1 } })),
            (json!({ "limits": ["5"] }), json!({ "limits": { "0": 5 } })),
            (json!({ "level": "2" }), json!({ "level": 2 })),
            (json!({ "size": "12" }), json!({ "size": 12 })),
            (json!({ "size": "auto" }), json!({ "size": "auto" })),
            (json!({ "memory": 256, "persistent": false }), json!({ "memory": 256, "persistent": false })),
        ] {
            assert_eq!(Value::Object(schema().read(bag(text.clone())).unwrap()), typed, "{text}");
        }
    }

    #[test] // SPEC Q-2
    fn what_does_not_fit_is_named_without_its_value() {
        let refusal = |given: Value| schema().read(bag(given)).unwrap_err().to_string();

        let several = refusal(json!({ "memory": "s3cret", "ports": ["70000"] }));
        assert!(several.contains("\"memory\"") && several.contains("\"ports.0\""), "{several}");
        assert!(!several.contains("s3cret") && !several.contains("70000"), "{several}");
        assert!(refusal(json!({ "memory": "0" })).contains("minimum of 1"));
        let unknown = refusal(json!({ "memroy": "1" }));
        assert!(unknown.contains("memroy"), "{unknown}");
    }

    #[test]
    fn a_schema_that_cannot_be_used_is_refused() {
        assert!(ParameterSchema::compile(&json!({ "type": "number-ish" })).is_err());
        assert!(ParameterSchema::compile(&json!({ "$ref": "https://schemas.example/redis.json" })).is_err());
    }

    proptest! {
        #[test] // SPEC Q-1
        fn numbers_and_lists_survive_form_encoding(
            memory in 1_i64..1_000_000_000,
            hosts in prop::collection::vec("[a-z]{1,8}", 1..5),
            persistent in any::<bool>(),
        ) {
            let given = bag(json!({ "memory": memory, "hosts": hosts, "persistent": persistent }));
            let form = crate::wire::through_form(&given);
            prop_assert_eq!(schema().read(form).unwrap(), given);
        }

        #[test]
        fn no_bag_makes_it_panic(name in "[a-z]{0,8}", text in ".{0,12}") {
            let known = ["memory", "ratio", "hosts", "limits", "level", "size"];
            for name in known.into_iter().chain([name.as_str()]) {
                let _ = schema().read(bag(json!({ name: text })));
                let _ = schema().read(bag(json!({ name: { "0": text, "x": [text] } })));
            }
        }
    }
}
