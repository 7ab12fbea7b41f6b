//! Operations of a broker that has backups, which the platform's users reach through its proxy.

use std::sync::Arc;

use broker_core::{
    Neighbours, Result, Routes, Tenant,
    axum::{
        Json,
        extract::{Path, Query, State},
        http::{Method, StatusCode},
        routing::{get, post},
    },
};
use serde_json::{Value, json};

use super::BackedUp;
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
        .summary(
            Method::POST,
            "Put the backup in place of what is there, which is kept; ?from= names another instance, which it is of",
        )
}

/// `GET /resources/{name}/backups`
async fn list<B: BackedUp>(State(broker): State<Arc<B>>, tenant: Tenant) -> Result<Json<Value>> {
    let backups = broker.list_backups(&tenant.instance).await?;
    Ok(Json(backups.iter().map(shown).collect()))
}

/// `POST /resources/{name}/backups`
async fn back_up<B: BackedUp>(State(broker): State<Arc<B>>, tenant: Tenant) -> Result<(StatusCode, Json<Value>)> {
    let made = broker.back_up(&tenant.instance).await?;
    Ok((StatusCode::CREATED, Json(shown(&made))))
}

/// Whose backup a restore is about.
#[derive(serde::Deserialize)]
struct Origin {
    /// The name of another instance; none for the one of the path.
    from: Option<String>,
}

/// `POST /resources/{name}/backups/{id}/restore`, with `?from={other}` a backup of another instance (SPEC Z-8, Z-10)
async fn restore<B: BackedUp>(
    State(broker): State<Arc<B>>,
    tenant: Tenant,
    neighbours: Neighbours,
    Path(id): Path<String>,
    Query(Origin { from }): Query<Origin>,
) -> Result<Json<Value>> {
    let archive = broker.kept()?;
    let kept = match from.filter(|name| *name != tenant.instance.name.as_str()) {
        None => archive.restore(&*broker, &tenant, &id).await?,
        Some(name) => {
            let neighbour = neighbours.find(&name).await?;
            archive.restore_from(&*broker, &tenant, &name, neighbour.as_ref(), &id).await?
        }
    };
    Ok(Json(json!({ "restored": id, "before": kept.as_ref().map(shown) })))
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
