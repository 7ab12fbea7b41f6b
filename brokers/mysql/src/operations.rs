//! Operations of this broker's own, which the platform's users reach through its proxy.

use std::sync::Arc;

use broker_backup::Manifest;
use broker_core::{
    Result, Routes, Tenant,
    axum::{
        Json,
        extract::{Path, State},
        http::{Method, StatusCode},
        routing::{get, post},
    },
};
use serde_json::{Value, json};

use crate::MysqlBroker;

pub(crate) fn routes(broker: &Arc<MysqlBroker>) -> Routes {
    Routes::new()
        .instance("/backups", get(list).post(back_up).with_state(Arc::clone(broker)))
        .summary(Method::GET, "The instance's backups")
        .summary(Method::POST, "Back the instance up")
        .instance("/backups/{id}/restore", post(restore).with_state(Arc::clone(broker)))
        .summary(Method::POST, "Put the backup in place of what is there, which is kept")
}

/// `GET /resources/{name}/backups`
async fn list(State(broker): State<Arc<MysqlBroker>>, tenant: Tenant) -> Result<Json<Value>> {
    let backups = broker.list_backups(&tenant.instance).await?;
    Ok(Json(backups.iter().map(shown).collect()))
}

/// `POST /resources/{name}/backups`
async fn back_up(State(broker): State<Arc<MysqlBroker>>, tenant: Tenant) -> Result<(StatusCode, Json<Value>)> {
    Ok((StatusCode::CREATED, Json(shown(&broker.back_up(&tenant.instance).await?))))
}

/// `POST /resources/{name}/backups/{id}/restore`
async fn restore(
    State(broker): State<Arc<MysqlBroker>>,
    tenant: Tenant,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    let kept = broker.restore_backup(&tenant.instance, &id).await?;
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
