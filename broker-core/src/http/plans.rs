//! `GET /resources/plans`

use std::sync::Arc;

use axum::{
    Extension,
    body::Bytes,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use serde::Serialize;

use super::{extract::InPool, instances::require_cluster, respond::Failure};
use crate::{Catalog, Plan, lifecycle::Engine};

/// All plans as they travel. They never change while the server runs.
#[derive(Clone)]
pub(super) struct PlanList(Bytes);

impl PlanList {
    pub(super) fn of(catalog: &Catalog) -> Self {
        let plans: Vec<Offered> = catalog.plans().iter().map(Offered::from).collect();
        let text = serde_json::to_vec(&plans).expect("names, sentences and JSON are written as JSON");
        Self(text.into())
    }
}

/// A plan as it travels; `schemas` is where Open Service Broker puts them (contract 4.2).
#[derive(Serialize)]
struct Offered {
    name: String,
    description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    schemas: Option<serde_json::Value>,
}

impl From<&Plan> for Offered {
    fn from(plan: &Plan) -> Self {
        Self { name: plan.name.to_string(), description: plan.description.clone(), schemas: plan.schemas() }
    }
}

/// `GET /resources/plans` (SPEC I-3)
pub(super) async fn list(
    State(engine): State<Arc<Engine>>,
    Extension(list): Extension<PlanList>,
    InPool(pool): InPool,
) -> Result<Response, Failure> {
    require_cluster(&engine, pool.as_ref())?;
    let PlanList(text) = list;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response())
}
