//! Operations of a broker that has backups, which the platform's users reach through its proxy.

use std::sync::Arc;

use broker_core::{
    BrokerError, Result, Routes, Tenant,
    axum::{
        Json,
        extract::{Path, State},
        http::{Method, StatusCode},
        routing::{get, post},
    },
};
use serde_json::{Value, json};

use super::{Archive, BackedUp};
use crate::Manifest;

/// The operations `backups` and `backups/{id}/restore` below an instance, for [`Broker::routes`] (SPEC Z-7). Where the
/// operator wants no backups, they say so.
///
/// [`Broker::routes`]: broker_core::Broker::routes
pub fn routes<B: BackedUp>(broker: &Arc<B>) -> Routes {
    Routes::new()
        .instance("/backups", get(list::<B>).post(back_up::<B>).with_state(Arc::clone(broker)))
        .summary(Method::GET, "The instance's backups")
        .summary(Method::POST, "Back the instance up")
        .instance("/backups/{id}/restore", post(restore::<B>).with_state(Arc::clone(broker)))
        .summary(Method::POST, "Put the backup in place of what is there, which is kept")
}

/// `GET /resources/{name}/backups`
async fn list<B: BackedUp>(State(broker): State<Arc<B>>, tenant: Tenant) -> Result<Json<Value>> {
    let backups = archive_of(&*broker)?.list(&tenant.instance).await?;
    Ok(Json(backups.iter().map(shown).collect()))
}

/// `POST /resources/{name}/backups`
async fn back_up<B: BackedUp>(State(broker): State<Arc<B>>, tenant: Tenant) -> Result<(StatusCode, Json<Value>)> {
    let made = archive_of(&*broker)?.back_up(&*broker, &tenant.instance).await?;
    Ok((StatusCode::CREATED, Json(shown(&made))))
}

/// `POST /resources/{name}/backups/{id}/restore`
async fn restore<B: BackedUp>(
    State(broker): State<Arc<B>>,
    tenant: Tenant,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    let kept = archive_of(&*broker)?.restore(&*broker, &tenant, &id).await?;
    Ok(Json(json!({ "restored": id, "before": kept.as_ref().map(shown) })))
}

fn archive_of<B: BackedUp>(broker: &B) -> Result<&Archive> {
    broker.archive().ok_or_else(|| BrokerError::bad_request("this service keeps no backups"))
}

fn shown(backup: &Manifest) -> Value {
    json!({
        "id": backup.id,
        "begun": backup.begun,
        "size": backup.size,
        "stored": backup.stored,
        "plan": backup.about.plan,
        "server": backup.about.server,
    })
}
