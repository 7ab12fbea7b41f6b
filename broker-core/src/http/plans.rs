//! `GET /resources/plans`

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;

use super::{extract::InPool, instances::require_cluster, respond::Failure};
use crate::{Plan, lifecycle::Engine};

/// A plan as it travels; `schemas` is where Open Service Broker puts them (contract 4.2).
#[derive(Serialize)]
pub(super) struct Offered {
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
    InPool(pool): InPool,
) -> Result<Json<Vec<Offered>>, Failure> {
    require_cluster(&engine, pool.as_ref())?;
    Ok(Json(engine.catalog().plans().iter().map(Offered::from).collect()))
}
