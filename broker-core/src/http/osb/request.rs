//! What we accept from platforms of this dialect. Fields that we don't know are ignored, as the specification wants.

use axum::{
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderMap, StatusCode, request::Parts},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{super::extract, QUICK, REQUEST_IDENTITY, catalog, respond::Refusal};
use crate::{Actor, Catalog, InstanceName, Parameters, Plan, Whereabouts, lifecycle::Ask, wire};

const OURS: &str = "this broker speaks version 2.17";
const VERSION: &str = "x-broker-api-version";
const ORIGIN: &str = "x-broker-api-originating-identity";

/// The caller must speak version 2, of which any minor one will do.
pub(super) fn version(headers: &HeaderMap) -> Result<(), Refusal> {
    let named = headers.get(VERSION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if named.is_empty() {
        return Err(Refusal::bad_request(format!("the header X-Broker-API-Version is missing: {OURS}")));
    }
    let mut parts = named.split('.').map(str::parse::<u32>);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(Ok(2)), Some(Ok(_)), None) => Ok(()),
        _ => {
            let sentence = format!("{OURS}, and not the one that the header X-Broker-API-Version names");
            Err(Refusal::new(StatusCode::PRECONDITION_FAILED, sentence))
        }
    }
}

/// Who asks, and whether for an answer that the work goes on.
pub(super) struct Caller {
    pub(super) actor: Actor,
    pub(super) query: Query,
}

/// What may stand behind the question mark.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Query {
    #[serde(default)]
    accepts_incomplete: String,
    #[serde(default)]
    pub(super) service_id: String,
    #[serde(default)]
    pub(super) plan_id: String,
    #[serde(default)]
    pub(super) operation: String,
}

impl Caller {
    /// A repeat of what is there is a success in this dialect.
    pub(super) fn ask(self) -> Ask {
        let accepts_incomplete = self.query.accepts_incomplete == "true";
        let wait = accepts_incomplete.then_some(QUICK);
        Ask { actor: self.actor, wait, accepts_incomplete, repeats: true, ..Ask::default() }
    }

    /// Where identifiers of service and plan may be left out, those that are sent are this broker's (SPEC O-4).
    pub(super) fn check_hints(&self, catalog: &Catalog) -> Result<(), Refusal> {
        let Query { service_id, plan_id, .. } = &self.query;
        if !service_id.is_empty() {
            service(catalog, service_id)?;
        }
        if plan_id.is_empty() { Ok(()) } else { plan(catalog, &self::catalog::service_id(catalog), plan_id).map(drop) }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let query = serde_urlencoded::from_str(parts.uri.query().unwrap_or_default());
        let query = query.map_err(|_| Refusal::bad_request("the part of the URL behind \"?\" can't be read"))?;
        let text = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let event = text(REQUEST_IDENTITY).unwrap_or_default().chars().take(256).collect();
        let user = text(ORIGIN).map(originator).transpose()?.unwrap_or_default();
        Ok(Self { actor: Actor { user, event }, query })
    }
}

/// `platform value`, the value an object in base64: told as the platform and its user, if it names one.
fn originator(header: &str) -> Result<String, Refusal> {
    let malformed = || {
        let sentence = "the header X-Broker-API-Originating-Identity is malformed: a platform's name, a space and an object in base64 are wanted";
        Refusal::bad_request(sentence)
    };
    let (platform, coded) = header.split_once(' ').ok_or_else(malformed)?;
    let object = STANDARD.decode(coded.trim()).map_err(|_| malformed())?;
    let object: Value = serde_json::from_slice(&object).map_err(|_| malformed())?;
    if platform.is_empty() || !object.is_object() {
        return Err(malformed());
    }
    let named = ["user_id", "username", "uid"].iter().find_map(|name| object[name].as_str());
    let user: String = named.unwrap_or("unnamed").chars().take(256).collect();
    Ok(format!("{platform}:{user}"))
}

/// What a path names.
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let named = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        named.map(|named| Self(named.0)).map_err(|_| Refusal::bad_request("the path is not UTF-8 text"))
    }
}

/// A body of JSON.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let body = extract::whole_in_time(request.into_body(), extract::LARGEST).await;
        let body = body.map_err(|(status, sentence)| Refusal::new(status, sentence))?;
        Ok(Self(read(&body)?))
    }
}

/// A body within the limits (SPEC T-9). What is wrong with it is told without its values: they may be secrets.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let refusal = |malformed: wire::Malformed| Refusal::bad_request(malformed.to_string());
    let body = wire::read_json(body).map_err(refusal)?;
    for object in [&body, &body["context"], &body["bind_resource"]] {
        for (name, value) in object.as_object().into_iter().flatten() {
            wire::within_limit(name, value.as_str().unwrap_or_default()).map_err(refusal)?;
        }
    }
    T::deserialize(body).map_err(|error| {
        let wanted = error.to_string();
        let wanted = wanted.rsplit_once(", expected ").map_or("another kind of value", |(_, wanted)| wanted);
        Refusal::bad_request(format!("the body can't be read: {wanted} is expected somewhere in it"))
    })
}

/// Of `provision` and `update`.
#[derive(Deserialize)]
pub(super) struct InstanceBody {
    #[serde(default)]
    pub(super) service_id: String,
    #[serde(default)]
    pub(super) plan_id: String,
    #[serde(default)]
    pub(super) organization_guid: String,
    #[serde(default)]
    pub(super) space_guid: String,
    #[serde(default)]
    pub(super) context: Option<Parameters>,
    #[serde(default)]
    pub(super) parameters: Option<Parameters>,
    #[serde(default)]
    pub(super) maintenance_info: Option<Value>,
}

impl InstanceBody {
    /// What its owner calls the instance, where the platform tells.
    pub(super) fn instance_name(&self) -> Option<&str> {
        self.context.as_ref()?.get("instance_name")?.as_str()
    }

    /// Organization and space that the context names, if it names both.
    pub(super) fn team_of_context(&self) -> Option<String> {
        let context = self.context.as_ref()?;
        let named = |field| context.get(field).and_then(Value::as_str).filter(|guid| !guid.is_empty());
        Some(format!("{}/{}", named("organization_guid")?, named("space_guid")?))
    }
}

/// Of `bind`.
#[derive(Deserialize)]
pub(super) struct BindingBody {
    #[serde(default)]
    pub(super) service_id: String,
    #[serde(default)]
    pub(super) plan_id: String,
    #[serde(default)]
    pub(super) parameters: Option<Parameters>,
    #[serde(default)]
    context: Option<Parameters>,
    #[serde(default)]
    pub(super) predecessor_binding_id: Option<String>,
    #[serde(default)]
    app_guid: Option<String>,
    #[serde(default)]
    bind_resource: Option<BindResource>,
}

/// What a binding is for. Platforms may say more.
#[derive(Default, Deserialize)]
struct BindResource {
    #[serde(default)]
    app_guid: Option<String>,
    #[serde(default)]
    route: Option<String>,
}

impl BindingBody {
    /// The app may be named in either of two places, of which the one beside the others is of the past.
    pub(super) fn whereabouts(&self) -> Whereabouts {
        let resource = self.bind_resource.as_ref();
        let named = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let app_guid = resource.and_then(|resource| named(&resource.app_guid)).or_else(|| named(&self.app_guid));
        let route = resource.and_then(|resource| named(&resource.route));
        let context = self.context.clone().unwrap_or_default();
        Whereabouts { app_guid, route, context, ..Whereabouts::default() }
    }
}

/// The instance that a path names; text that can't be a name names none that is there.
pub(super) fn instance(raw: &str) -> Result<InstanceName, Refusal> {
    InstanceName::made_by_platform(raw).map_err(|refusal| Refusal::bad_request(refusal.to_string()))
}

/// The plan that service and plan id name together.
pub(super) fn plan<'a>(catalog: &'a Catalog, service_id: &str, plan_id: &str) -> Result<&'a Plan, Refusal> {
    service(catalog, service_id)?;
    let known = catalog.plans().iter().find(|plan| catalog::plan_id(catalog, plan) == plan_id);
    known.ok_or_else(|| Refusal::bad_request(missing_or_unknown("plan_id", plan_id)))
}

pub(super) fn service(catalog: &Catalog, service_id: &str) -> Result<(), Refusal> {
    if catalog::service_id(catalog) == service_id {
        return Ok(());
    }
    Err(Refusal::bad_request(missing_or_unknown("service_id", service_id)))
}

fn missing_or_unknown(field: &str, value: &str) -> String {
    if value.is_empty() {
        return format!("{field} is missing");
    }
    format!("{field} is not one of this broker's, take it from its catalog")
}
