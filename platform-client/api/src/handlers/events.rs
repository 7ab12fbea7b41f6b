//! Events (contract 14).

use std::sync::Arc;

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use platform_core::{Event, EventFilter, EventId, Platform, Target, TargetType};
use platform_wire as wire;
use serde_json::Value;

use super::roles::event_kinds;
use crate::{
    auth::Caller,
    extract::Input,
    path::Path,
    respond::{self, Answer, Failure},
};

/// `GET /events`, newest first.
pub(crate) async fn list(State(platform): State<Arc<Platform>>, Caller(user): Caller, input: Input) -> Answer {
    let Some(filter) = filter(&input)? else { return Ok(respond::list(Vec::<wire::Event>::new())) };
    let events = platform.events(&user, &filter).await?;
    Ok(respond::list(events.iter().map(shown).collect()))
}

/// Which events are asked for; none when there can't be any, such as those about another platform's kinds of things.
fn filter(input: &Input) -> Answer<Option<EventFilter>> {
    let target = input.nested("target");
    let target_type = match target.text("type") {
        None => None,
        Some(text) => match TargetType::from_wire(&text) {
            Some(known) => Some(known),
            None => return Ok(None),
        },
    };
    if input.text("ownertype").is_some_and(|owner| owner != "user") {
        return Ok(None);
    }
    Ok(Some(EventFilter {
        kinds: input.texts("kindname"),
        target_type,
        target: target.text("value"),
        owner: input.text("ownername"),
        running: input.flag_if_given("running"),
        errors_only: input.flag("erroronly"),
        since: time(input, "since")?,
        until: time(input, "until")?,
        skip: input.number("skip")?.unwrap_or(0),
        limit: input.number("limit")?.unwrap_or(0),
    }))
}

fn time(input: &Input, key: &str) -> Answer<Option<DateTime<Utc>>> {
    let Some(text) = input.text(key) else { return Ok(None) };
    let refusal =
        |_| Failure::bad(format!("Invalid value \"{text}\" for {key}: it must be a time such as 2026-01-02T03:04:05Z"));
    DateTime::parse_from_rfc3339(&text).map(|time| Some(time.to_utc())).map_err(refusal)
}

/// `GET /events/{id}`: the same with its log.
pub(crate) async fn info(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path(id): Path<EventId>,
) -> Answer<Json<wire::Event>> {
    let event = platform.event(&user, &id).await?;
    let custom_data = wire::EventCustomData { start: event.data.clone(), end: Value::Null, other: Value::Null };
    Ok(Json(wire::Event { log: event.log.clone(), custom_data, ..shown(&event) }))
}

/// `GET /events/kinds`
pub(crate) async fn kinds(_: Caller) -> Json<Vec<wire::EventKind>> {
    Json(event_kinds().map(kind).collect())
}

/// `POST /events/{id}/cancel`: no operation of this platform can be stopped half-way.
pub(crate) async fn cancel(
    State(platform): State<Arc<Platform>>,
    Caller(user): Caller,
    Path(id): Path<EventId>,
    input: Input,
) -> Answer {
    platform.event(&user, &id).await?;
    let refusal = if input.text("reason").is_some() { "event is not cancelable" } else { "reason is mandatory" };
    Err(Failure::bad(refusal))
}

fn shown(event: &Event) -> wire::Event {
    let mut targets = event.targets.iter().map(target);
    wire::Event {
        unique_id: event.id.to_string(),
        start_time: event.started_at.into(),
        end_time: event.ended_at.into(),
        target: targets.next().unwrap_or_default(),
        extra_targets: targets.map(|target| wire::EventExtraTarget { target, lock: true }).collect(),
        kind: kind(&event.kind),
        owner: wire::EventOwner { kind: "user".to_owned(), name: event.owner.clone() },
        error: event.error.clone(),
        cancelable: false,
        running: event.running(),
        ..wire::Event::default()
    }
}

fn kind(name: &str) -> wire::EventKind {
    wire::EventKind { kind: "permission".to_owned(), name: name.to_owned() }
}

fn target(target: &Target) -> wire::EventTarget {
    // What follows a `#` keeps operations apart that don't exclude each other, and is of no interest to users.
    let value = target.value.split('#').next().unwrap_or_default();
    wire::EventTarget { kind: target.kind.as_str().to_owned(), value: value.to_owned() }
}
