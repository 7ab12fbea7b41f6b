//! Parameters against a plan's JSON Schema: types where form encoding has only texts, then the rules (SPEC chapter Q).

use std::{cell::Cell, collections::HashMap, fmt};

use jsonschema::{PatternOptions, Validator};
use serde_json::{Map, Value};

use crate::{BrokerError, Parameters, Result, line::cut};

/// The most that a schema may have in bytes: what Open Service Broker allows.
const LARGEST: usize = 64 * 1024;
/// How many things that are wrong are named at once.
const NAMED_AT_ONCE: usize = 4;
/// How deep a schema's own references are followed.
const DEPTH: usize = 32;
/// How many steps reading may take: alternatives within alternatives make many of a few parameters.
const STEPS: usize = 100_000;
/// How often a pattern with look-around may turn back on one text.
const BACKTRACKS: usize = 20_000;
/// The longest sentence about one parameter, in characters: what is wrong may have many names in it.
const TOLD: usize = 200;

/// A plan's schema, ready to be used.
pub(crate) struct ParameterSchema {
    schema: Value,
    validator: Validator,
    /// The alternatives of `anyOf` and `oneOf`, by where they are in `schema`, which is never changed.
    alternatives: HashMap<usize, Validator>,
}

impl ParameterSchema {
    /// Compiles a schema. References to other documents are refused: nothing is fetched.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence for its author.
    pub(crate) fn compile(schema: &Value) -> std::result::Result<Self, String> {
        if schema.to_string().len() > LARGEST {
            return Err(format!("it has more than {} kB, which platforms do not read", LARGEST / 1024));
        }
        let validator = validator(schema).map_err(|error| error.to_string())?;
        let schema = schema.clone();
        let mut alternatives = HashMap::new();
        compile_alternatives(&schema, &schema, &mut alternatives);
        Ok(Self { schema, validator, alternatives })
    }

    /// The parameters as the schema wants them: what fits is left alone; of the rest, texts become what they are
    /// texts of, and empty texts nothing, zero or false (contract 3.4).
    ///
    /// # Errors
    /// A bad request that names the parameters that are wrong, and no value: it may be a secret.
    pub(crate) fn read(&self, given: Parameters) -> Result<Parameters> {
        let given = Value::Object(given);
        let steps = Cell::new(STEPS);
        let typed = match self.validator.is_valid(&given) {
            true => given,
            false => self.typed(given, &self.schema, Reach { depth: DEPTH, steps: &steps }),
        };
        if steps.get() == 0 {
            return Err(BrokerError::bad_request("the parameters are too many to be read by the plan's schema"));
        }
        let wrong: Vec<String> = self
            .validator
            .iter_errors(&typed)
            .take(NAMED_AT_ONCE)
            .map(|error| match error.instance_path().as_str().trim_start_matches('/').replace('/', ".") {
                path if path.is_empty() => cut(&error.masked().to_string(), TOLD),
                path => format!("\"{}\": {}", cut(&path, TOLD), cut(&error.masked().to_string(), TOLD)),
            })
            .collect();
        match typed {
            Value::Object(typed) if wrong.is_empty() => Ok(typed),
            _ => Err(BrokerError::bad_request(format!("the parameters do not fit the plan: {}", wrong.join("; ")))),
        }
    }

    fn typed(&self, value: Value, schema: &Value, reach: Reach<'_>) -> Value {
        let Some(reach) = reach.further() else { return value };
        if let Some(reference) = schema["$ref"].as_str() {
            return match reference.strip_prefix('#').and_then(|pointer| self.schema.pointer(pointer)) {
                Some(target) => self.typed(value, target, reach),
                None => value,
            };
        }
        let value = self.chosen(value, schema, reach);
        match shaped(value, &types(schema)) {
            Value::Object(members) => Value::Object(self.typed_members(members, schema, reach)),
            Value::Array(items) if schema.get("items").is_some() => {
                items.into_iter().map(|item| self.typed(item, &schema["items"], reach)).collect()
            }
            Value::String(text) => read_text(text, schema),
            other => other,
        }
    }

    /// By the parts of a schema that is made of several: all of them, or the first that fits.
    fn chosen(&self, value: Value, schema: &Value, reach: Reach<'_>) -> Value {
        let all = schema["allOf"].as_array().into_iter().flatten();
        let value = all.fold(value, |value, part| self.typed(value, part, reach));
        let mut any = ["anyOf", "oneOf"].into_iter().filter_map(|name| schema[name].as_array()).flatten();
        let fitting = any.find_map(|part| {
            let typed = self.typed(value.clone(), part, reach);
            let fits =
                self.alternatives.get(&std::ptr::from_ref(part).addr()).is_some_and(|part| part.is_valid(&typed));
            fits.then_some(typed)
        });
        fitting.unwrap_or(value)
    }

    fn typed_members(&self, members: Map<String, Value>, schema: &Value, reach: Reach<'_>) -> Map<String, Value> {
        let member = |(name, value): (String, Value)| {
            let own = schema["properties"].get(&name).or_else(|| schema.get("additionalProperties"));
            let value = match own {
                Some(own) => self.typed(value, own, reach),
                None => value,
            };
            (name, value)
        };
        members.into_iter().map(member).collect()
    }
}

/// How much further a reading goes: down, and in all.
#[derive(Clone, Copy)]
struct Reach<'a> {
    depth: usize,
    steps: &'a Cell<usize>,
}

impl Reach<'_> {
    fn further(self) -> Option<Self> {
        let depth = self.depth.checked_sub(1)?;
        self.steps.set(self.steps.get().saturating_sub(1));
        (self.steps.get() > 0).then_some(Self { depth, ..self })
    }
}

/// Patterns are the author's, the texts they are tried on are not: those that can turn back do so a limited number of
/// times, and a text that needs more does not fit.
fn validator(schema: &Value) -> std::result::Result<Validator, jsonschema::ValidationError<'static>> {
    let patterns = PatternOptions::fancy_regex().backtrack_limit(BACKTRACKS);
    jsonschema::options().with_pattern_options(patterns).build(schema)
}

/// Compiles each alternative on its own, with the definitions that it may refer to.
fn compile_alternatives(part: &Value, root: &Value, compiled: &mut HashMap<usize, Validator>) {
    for alternative in ["anyOf", "oneOf"].into_iter().filter_map(|name| part[name].as_array()).flatten() {
        let mut whole = alternative.clone();
        if let Value::Object(members) = &mut whole {
            for name in ["$schema", "$defs", "definitions"] {
                if let Some(known) = root.get(name) {
                    members.entry(name).or_insert_with(|| known.clone());
                }
            }
        }
        if let Ok(validator) = validator(&whole) {
            compiled.insert(std::ptr::from_ref(alternative).addr(), validator);
        }
    }
    match part {
        Value::Object(members) => members.values().for_each(|part| compile_alternatives(part, root, compiled)),
        Value::Array(parts) => parts.iter().for_each(|part| compile_alternatives(part, root, compiled)),
        _ => {}
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

    #[test] // SPEC Q-3
    fn a_schema_of_more_than_64_kb_cannot_be_used() {
        let of = |bytes: usize| ParameterSchema::compile(&json!({ "description": "x".repeat(bytes) }));

        assert!(of(LARGEST - 100).is_ok());
        assert_eq!(of(LARGEST).err().unwrap(), "it has more than 64 kB, which platforms do not read");
    }

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

    #[test] // SPEC Q-1
    fn an_alternative_may_refer_to_definitions() {
        let schema = ParameterSchema::compile(&json!({
            "properties": { "port": { "anyOf": [{ "$ref": "#/$defs/port" }, { "enum": ["any"] }] } },
            "$defs": { "port": { "type": "integer" } },
        }));
        let read = schema.unwrap().read(bag(json!({ "port": "80" }))).unwrap();
        assert_eq!(Value::Object(read), json!({ "port": 80 }));
    }

    #[test] // SPEC Q-4
    fn a_pattern_that_turns_back_for_ever_ends_soon() {
        let schema = json!({ "properties": { "name": { "type": "string", "pattern": "^(?=a)(a|aa)+$" } } });
        let schema = ParameterSchema::compile(&schema).unwrap();

        assert!(schema.read(bag(json!({ "name": "aaaa" }))).is_ok());
        assert!(schema.read(bag(json!({ "name": format!("{}!", "a".repeat(100_000)) }))).is_err());
    }

    #[test] // SPEC Q-4
    fn alternatives_within_alternatives_are_not_all_tried() {
        let both = json!({ "type": "object", "properties": { "a": { "$ref": "#/$defs/tree" }, "b": { "$ref": "#/$defs/tree" } } });
        let tree = json!({ "anyOf": [both, both, both, { "type": "integer" }] });
        let schema = json!({ "properties": { "tree": { "$ref": "#/$defs/tree" } }, "$defs": { "tree": tree } });
        let schema = ParameterSchema::compile(&schema).unwrap();
        let deep = (0..12).fold(json!("x"), |inner, _| json!({ "a": inner, "b": inner }));

        let refusal = schema.read(bag(json!({ "tree": deep }))).unwrap_err().to_string();

        assert!(refusal.contains("too many to be read"), "{refusal}");
    }

    #[test] // SPEC Q-2, E-4
    fn a_refusal_is_short_and_one_line_whatever_was_sent() {
        let many: Parameters = (0..5000).map(|at| (format!("un\nknown-{at}"), json!("x"))).collect();
        let refusal = schema().read(many).unwrap_err().to_string();
        assert!(refusal.len() < 1000 && !refusal.contains('\n'), "{refusal}");
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
