//! A catalog in Markdown: the plans, what the framework does for each, and their parameters.

use std::{fmt::Write as _, time::Duration};

use serde_json::Value;

use crate::{Catalog, Plan, line::one_line};

/// Everything that a user who chooses a plan wants to know.
pub(super) fn page(catalog: &Catalog) -> String {
    let mut page = format!("# {}\n\n{}\n", catalog.service, text(&catalog.description));
    for (place, plan) in catalog.plans().iter().enumerate() {
        let of_default = if place == 0 { " (default)" } else { "" };
        let _ = write!(page, "\n## {}{of_default}\n\n{}\n", text(plan.name.as_str()), text(&plan.description));
        let terms = terms(plan);
        if !terms.is_empty() {
            page.push('\n');
        }
        terms.iter().for_each(|term| _ = writeln!(page, "- {}", text(term)));
        page.push_str(&parameters("Parameter", plan.schema.as_ref()));
        page.push_str(&parameters("Parameter of a bind", plan.bind_schema.as_ref()));
    }
    page
}

/// What the framework does for a plan, a sentence each.
fn terms(plan: &Plan) -> Vec<String> {
    let rules = &plan.rules;
    let on_maintenance = plan.maintenance.as_ref();
    let terms = [
        plan.paid.then(|| format!("It costs money{}.", costs(plan))),
        plan.fixed.then(|| "Its instances stay on it.".to_owned()),
        plan.unbindable.then(|| "Its instances are not there to be bound.".to_owned()),
        rules.at_most.map(|most| format!("Instances at most: {most}.")),
        rules.at_most_per_team.map(|most| format!("Instances of each team at most: {most}.")),
        rules.expiry.map(|expiry| format!("Credentials of bindings end after {}.", span(expiry.lifetime))),
        rules.rotation_grace.map(|grace| format!("Replaced credentials work for another {}.", span(grace))),
        on_maintenance.map(|on| format!("New instances are on version {}: {}", on.version, on.description)),
    ];
    terms.into_iter().flatten().collect()
}

/// As `metadata.costs` has them.
fn costs(plan: &Plan) -> String {
    let costs = plan.metadata.get("costs").and_then(Value::as_array).into_iter().flatten();
    let told = costs.filter_map(|cost| {
        let (currency, amount) = cost["amount"].as_object()?.iter().next()?;
        Some(format!("{amount} {currency} {}", cost["unit"].as_str()?))
    });
    let told: Vec<String> = told.collect();
    if told.is_empty() { String::new() } else { format!(": {}", told.join(", ")) }
}

/// In the largest unit that it is whole in.
fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")];
    let (length, unit) = units
        .into_iter()
        .find(|(length, _)| seconds >= *length && seconds.is_multiple_of(*length))
        .unwrap_or((1, "second"));
    let count = seconds / length;
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// A table of what a schema has at its top; nothing where it has nothing there.
fn parameters(heading: &str, schema: Option<&Value>) -> String {
    let Some(schema) = schema else { return String::new() };
    let Some(properties) = schema["properties"].as_object().filter(|all| !all.is_empty()) else { return String::new() };
    let is_required = |name: &str| schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
    let mut table = format!("\n| {heading} | Takes | |\n|---|---|---|\n");
    for (name, property) in properties {
        let needed = if is_required(name) { " (needed)" } else { "" };
        let told = text(property["description"].as_str().unwrap_or_default());
        let _ = writeln!(table, "| {}{needed} | {} | {told} |", code(name), takes(property));
    }
    table
}

/// What fits a parameter: its type and every keyword that narrows it, in the schema's own words.
fn takes(property: &Value) -> String {
    const SHOWN_ELSEWHERE: [&str; 5] = ["type", "description", "title", "$comment", "examples"];
    let Some(keywords) = property.as_object() else { return String::new() };
    let types = match &property["type"] {
        Value::String(only) => only.clone(),
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ => String::new(),
    };
    let narrower = keywords.iter().filter(|(keyword, _)| !SHOWN_ELSEWHERE.contains(&keyword.as_str()));
    let narrower = narrower.map(|(keyword, value)| format!("{keyword} {}", code(&value.to_string())));
    Some(types).filter(|types| !types.is_empty()).into_iter().chain(narrower).collect::<Vec<_>>().join(", ")
}

/// Words of an author's, which are neither markup nor a further column.
fn text(words: &str) -> String {
    let mut told = String::new();
    for character in one_line(words).chars() {
        if matches!(character, '|' | '<' | '`' | '*' | '_' | '[' | '\\' | '#') {
            told.push('\\');
        }
        told.push(character);
    }
    told
}

/// As code. A fence is longer than what it holds; within a table, a `|` is escaped all the same.
fn code(words: &str) -> String {
    let words = one_line(words).replace('|', "\\|");
    let longest = words.split(|character| character != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let blank = if longest > 0 { " " } else { "" };
    format!("{fence}{blank}{words}{blank}{fence}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test] // SPEC T-8
    fn a_page_has_every_plan_its_terms_and_its_parameters() {
        let schema = json!({
            "type": "object",
            "required": ["memory"],
            "properties": {
                "memory": { "type": "integer", "minimum": 16, "description": "In MiB | at most\nhalf" },
                "eviction": { "type": ["string", "null"], "enum": ["none", "lru", null] },
            },
        });
        let catalog = Catalog::new("redis".parse().unwrap())
            .description("Redis for <everybody>")
            .plan(Plan::new("small_1", "256 MB"))
            .plan(
                Plan::new("large", "4 GB")
                    .schema(schema)
                    .bind_schema(json!({ "properties": { "tick": { "const": "`" } } }))
                    .cost(4.5, "eur", "MONTHLY")
                    .fixed()
                    .at_most(20)
                    .at_most_per_team(1)
                    .bindings_expire_after(30 * DAY, DAY)
                    .rotation_grace(Duration::from_secs(5400))
                    .maintenance("7.2.1", "connections are closed once"),
            );

        assert_eq!(
            page(&catalog),
            r#"# redis

Redis for \<everybody>

## small\_1 (default)

256 MB

## large

4 GB

- It costs money: 4.5 eur MONTHLY.
- Its instances stay on it.
- Instances at most: 20.
- Instances of each team at most: 1.
- Credentials of bindings end after 30 days.
- Replaced credentials work for another 90 minutes.
- New instances are on version 7.2.1: connections are closed once

| Parameter | Takes | |
|---|---|---|
| `eviction` | string or null, enum `["none","lru",null]` |  |
| `memory` (needed) | integer, minimum `16` | In MiB \| at most half |

| Parameter of a bind | Takes | |
|---|---|---|
| `tick` | const `` "`" `` |  |
"#
        );
    }
}
