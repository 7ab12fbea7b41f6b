//! The catalog: O1 to O16.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    calls::{Got, Platform},
    offer::items,
};
use crate::conformance::{Case, Check, End, answer::Answer, context::skip};

pub(super) const CASES: &[Case] = chapter! { "Catalog", through Platform;
    "O1" Must listed "The catalog is answered 200 with a JSON object and its list of services",
    "O2" Must services "A service has an id, a name and a description, and says whether it is bindable",
    "O3" Must some_plan "A service has at least one plan",
    "O4" Must plans "A plan has an id, a name and a description",
    "O5" Must ids "No two services or plans have the same id",
    "O6" Must names "No two services, and no two plans of a service, have the same name",
    "O7" Should plain_names "Names have letters, digits, periods and hyphens only",
    "O8" Must service_types "What else a service says has the type that it should have",
    "O9" Must plan_types "What else a plan says has the type that it should have",
    "O10" Must schemas "A schema is an object that names its $schema, of at most 64 kB",
    "O11" Must references "A schema refers to nothing outside itself",
    "O12" Must maintenance "A maintenance version is a semantic one",
    "O13" Must stable "The catalog has the same ids when it is asked for again",
    "O14" Should json "The catalog is sent as application/json",
    "O15" Optional same "A catalog that the caller has is answered 304",
    "O16" Optional another "A catalog that the caller does not have is sent whole",
};

const PATH: &str = "/v2/catalog";

async fn catalog(p: Platform<'_>) -> Result<(Answer, Value), End> {
    let answer = p.get(PATH).await?;
    answer.must_be(200)?;
    let catalog = answer.object()?;
    answer.must(catalog["services"].is_array(), "a list of services")?;
    Ok((answer, catalog))
}

/// Insists that something holds of each service.
async fn each_service(p: Platform<'_>, expected: &str, holds: impl Fn(&Value) -> bool) -> Check {
    let (answer, catalog) = catalog(p).await?;
    answer.must(items(&catalog["services"]).all(holds), expected)
}

/// Insists that something holds of each plan.
async fn each_plan(p: Platform<'_>, expected: &str, holds: impl Fn(&Value) -> bool) -> Check {
    each_service(p, expected, |service| items(&service["plans"]).all(&holds)).await
}

/// Insists that something holds of each schema.
async fn each_schema(p: Platform<'_>, expected: &str, holds: impl Fn(&Value) -> bool) -> Check {
    each_plan(p, expected, |plan| {
        let places = [("service_instance", "create"), ("service_instance", "update"), ("service_binding", "create")];
        let schemas = places.map(|(of, action)| &plan["schemas"][of][action]["parameters"]);
        schemas.into_iter().filter(|schema| !schema.is_null()).all(&holds)
    })
    .await
}

fn is_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.is_empty())
}

fn has_texts(item: &Value) -> bool {
    ["id", "name", "description"].iter().all(|field| is_text(&item[field]))
}

async fn listed(p: Platform<'_>) -> Check {
    catalog(p).await.map(drop)
}

async fn services(p: Platform<'_>) -> Check {
    let expected = "services with id, name, description (texts) and bindable (true or false)";
    each_service(p, expected, |service| has_texts(service) && service["bindable"].is_boolean()).await
}

async fn some_plan(p: Platform<'_>) -> Check {
    each_service(p, "a plan in each service", |service| items(&service["plans"]).next().is_some()).await
}

async fn plans(p: Platform<'_>) -> Check {
    each_plan(p, "plans with id, name and description (texts)", has_texts).await
}

/// Whether all values differ.
fn differ<'a>(values: impl Iterator<Item = &'a Value>) -> bool {
    let mut seen = BTreeSet::new();
    values.filter_map(Value::as_str).all(|value| seen.insert(value))
}

async fn ids(p: Platform<'_>) -> Check {
    let (answer, catalog) = catalog(p).await?;
    let services = || items(&catalog["services"]);
    let plans = services().flat_map(|service| items(&service["plans"]));
    answer.must(differ(services().chain(plans).map(|item| &item["id"])), "ids that are unique")
}

async fn names(p: Platform<'_>) -> Check {
    let (answer, catalog) = catalog(p).await?;
    let services = || items(&catalog["services"]);
    let plans = |service: &Value| differ(items(&service["plans"]).map(|plan| &plan["name"]));
    let unique = differ(services().map(|service| &service["name"])) && services().all(plans);
    answer.must(unique, "names that are unique among their like")
}

async fn plain_names(p: Platform<'_>) -> Check {
    let plain = |item: &Value| {
        let name = item["name"].as_str().unwrap_or_default();
        name.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-'))
    };
    let expected = "names of letters, digits, periods and hyphens";
    each_service(p, expected, |service| plain(service) && items(&service["plans"]).all(plain)).await
}

/// Whether a field is absent, or right.
fn absent_or(item: &Value, field: &str, right: impl Fn(&Value) -> bool) -> bool {
    item.get(field).is_none_or(right)
}

fn are_texts(list: &Value) -> bool {
    list.as_array().is_some_and(|list| list.iter().all(Value::is_string))
}

async fn service_types(p: Platform<'_>) -> Check {
    const SWITCHES: [&str; 4] =
        ["instances_retrievable", "bindings_retrievable", "allow_context_updates", "plan_updateable"];
    const PERMISSIONS: [&str; 3] = ["syslog_drain", "route_forwarding", "volume_mount"];
    let permitted = |list: &Value| are_texts(list) && items(list).all(|one| PERMISSIONS.iter().any(|name| one == name));
    let expected = "tags and requires as lists of texts, metadata as an object, switches as true or false";
    each_service(p, expected, |service| {
        SWITCHES.iter().all(|switch| absent_or(service, switch, Value::is_boolean))
            && absent_or(service, "tags", are_texts)
            && absent_or(service, "requires", permitted)
            && absent_or(service, "metadata", Value::is_object)
    })
    .await
}

async fn plan_types(p: Platform<'_>) -> Check {
    const SWITCHES: [&str; 4] = ["free", "bindable", "binding_rotatable", "plan_updateable"];
    let expected =
        "metadata and schemas as objects, maximum_polling_duration as a whole number, switches as true or false";
    each_plan(p, expected, |plan| {
        SWITCHES.iter().all(|switch| absent_or(plan, switch, Value::is_boolean))
            && absent_or(plan, "metadata", Value::is_object)
            && absent_or(plan, "schemas", Value::is_object)
            && absent_or(plan, "maximum_polling_duration", Value::is_u64)
    })
    .await
}

async fn schemas(p: Platform<'_>) -> Check {
    let expected = "schemas that name $schema, of at most 65536 bytes";
    each_schema(p, expected, |schema| is_text(&schema["$schema"]) && schema.to_string().len() <= 65_536).await
}

async fn references(p: Platform<'_>) -> Check {
    each_schema(p, "references that begin with \"#\"", refers_to_itself).await
}

fn refers_to_itself(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => members.iter().all(|(name, value)| match value.as_str() {
            Some(target) if name == "$ref" => target.starts_with('#'),
            _ => refers_to_itself(value),
        }),
        Value::Array(list) => list.iter().all(refers_to_itself),
        _ => true,
    }
}

async fn maintenance(p: Platform<'_>) -> Check {
    let right = |info: &Value| info["version"].as_str().is_some_and(is_semantic);
    each_plan(p, "versions like 1.2.3", |plan| absent_or(plan, "maintenance_info", right)).await
}

/// Whether a version is like `1.2.3-rc.1+build`.
fn is_semantic(version: &str) -> bool {
    let (numbers, more) = version.split_at(version.find(['-', '+']).unwrap_or(version.len()));
    let number = |text: &str| text.parse::<u64>().is_ok_and(|read| read.to_string() == text);
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '+' | '.');
    numbers.split('.').count() == 3 && numbers.split('.').all(number) && more.chars().all(plain) && more.len() != 1
}

async fn stable(p: Platform<'_>) -> Check {
    let (_, first) = catalog(p).await?;
    let (answer, again) = catalog(p).await?;
    let ids = |catalog: &Value| -> Vec<Value> {
        let services = items(&catalog["services"]);
        services
            .flat_map(|service| std::iter::once(service).chain(items(&service["plans"])))
            .map(|item| item["id"].clone())
            .collect()
    };
    answer.must(ids(&first) == ids(&again), "the ids of the first answer")
}

async fn json(p: Platform<'_>) -> Check {
    let (answer, _) = catalog(p).await?;
    let kind = answer.header("content-type").unwrap_or_default().to_lowercase();
    answer.must(kind.starts_with("application/json"), "the content type application/json")
}

async fn if_none_match(p: Platform<'_>, tag: &str) -> Got {
    p.send(p.request("GET", PATH).header("if-none-match", tag)).await
}

async fn tag(p: Platform<'_>) -> Result<String, End> {
    let (answer, _) = catalog(p).await?;
    answer.header("etag").map(str::to_owned).ok_or_else(|| skip("the catalog has no ETag"))
}

async fn same(p: Platform<'_>) -> Check {
    let tag = tag(p).await?;
    let answer = if_none_match(p, &tag).await?;
    answer.must(answer.status == 304 && answer.body.is_empty(), "304 without a body")
}

async fn another(p: Platform<'_>) -> Check {
    tag(p).await?;
    let answer = if_none_match(p, "\"conf-another\"").await?;
    answer.must_be(200)?;
    answer.object().map(drop)
}
