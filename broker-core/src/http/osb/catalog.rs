//! The catalog as this dialect has it.

use axum::{
    Extension,
    body::Bytes,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use chrono::Utc;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::{Catalog, Plan};

/// What all identifiers are derived from: the same names have the same identifiers everywhere and for ever (SPEC O-2).
const NAMESPACE: Uuid = Uuid::from_u128(0x6f0c_7c1e_8a1b_4c3d_8e5f_6a7b_2b9d_4d11);

/// The service's identifier, from its name.
pub(super) fn service_id(catalog: &Catalog) -> String {
    Uuid::new_v5(&NAMESPACE, catalog.service.as_str().as_bytes()).to_string()
}

/// A plan's identifier, from the service's name and its own.
pub(in crate::http) fn plan_id(catalog: &Catalog, plan: &Plan) -> String {
    let service = Uuid::new_v5(&NAMESPACE, catalog.service.as_str().as_bytes());
    Uuid::new_v5(&service, plan.name.as_str().as_bytes()).to_string()
}

/// The catalog as it travels. It never changes while the server runs.
#[derive(Clone)]
pub(super) struct Offer {
    body: Bytes,
    tag: HeaderValue,
    /// When this server began to offer it.
    since: HeaderValue,
}

impl Offer {
    pub(super) fn of(catalog: &Catalog) -> Self {
        let body = offer(catalog).to_string();
        let plain = |text: String| HeaderValue::from_str(&text).expect("visible characters");
        let tag = plain(format!("\"{}\"", hex::encode(&Sha256::digest(&body)[..16])));
        let since = plain(Utc::now().format("%a, %d %b %Y %H:%M:%S GMT").to_string());
        Self { body: body.into(), tag, since }
    }

    /// Whether the caller names this version, or any. A time counts alone, and only as it was told: replicas began at
    /// different ones, perhaps with different catalogs.
    fn is_known_to(&self, headers: &HeaderMap) -> bool {
        if !headers.contains_key(header::IF_NONE_MATCH) {
            return headers.get(header::IF_MODIFIED_SINCE) == Some(&self.since);
        }
        let named = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let mut named = named.flat_map(|value| value.split(',')).map(str::trim);
        named.any(|one| one == "*" || one.trim_start_matches("W/") == self.tag)
    }
}

/// `GET /v2/catalog`; who has it already is told that it is the same (SPEC O-13).
pub(super) async fn show(Extension(offer): Extension<Offer>, headers: HeaderMap) -> Response {
    let is_known = offer.is_known_to(&headers);
    let Offer { body, tag, since } = offer;
    let version = [(header::ETAG, tag), (header::LAST_MODIFIED, since)];
    if is_known {
        return (StatusCode::NOT_MODIFIED, version).into_response();
    }
    (version, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn offer(catalog: &Catalog) -> Value {
    let plans: Vec<Value> = catalog.plans().iter().map(|plan| offered(catalog, plan)).collect();
    json!({ "services": [{
        "id": service_id(catalog),
        "name": catalog.service,
        "description": catalog.description,
        "tags": catalog.tags,
        "metadata": catalog.metadata,
        "bindable": catalog.plans().iter().any(|plan| !plan.unbindable),
        "instances_retrievable": true,
        "bindings_retrievable": true,
        "allow_context_updates": true,
        "plan_updateable": true,
        "plans": plans,
    }] })
}

fn offered(catalog: &Catalog, plan: &Plan) -> Value {
    let mut offered = json!({
        "id": plan_id(catalog, plan),
        "name": plan.name,
        "description": plan.description,
        "free": !plan.paid,
        "bindable": !plan.unbindable,
        "binding_rotatable": !plan.unbindable,
        "plan_updateable": !plan.fixed,
        "metadata": plan.metadata,
    });
    if let Some(duration) = plan.poll_for {
        offered["maximum_polling_duration"] = duration.as_secs().into();
    }
    if let Some(maintenance) = &plan.maintenance {
        offered["maintenance_info"] = json!(maintenance);
    }
    if let Some(schemas) = plan.schemas() {
        offered["schemas"] = schemas;
    }
    offered
}
