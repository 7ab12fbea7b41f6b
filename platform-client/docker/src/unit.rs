//! A unit as a container: what Docker is told, and what it tells.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary,
    ContainerSummaryStateEnum, EndpointSettings, HostConfig, HostConfigLogConfig, RestartPolicy, RestartPolicyNameEnum,
};
use chrono::{DateTime, Utc};
use platform_core::{PORT, Unit, UnitId, UnitSpec, UnitState};

use crate::DockerConfig;

/// Which platform a container or image belongs to.
pub(crate) const INSTANCE: &str = "tsuru.instance";
/// What it is for: `unit`, `run`, `build`, `app`, `dependencies`.
pub(crate) const ROLE: &str = "tsuru.role";
/// The app.
pub(crate) const APP: &str = "tsuru.app";
const PROCESS: &str = "tsuru.process";
const VERSION: &str = "tsuru.version";
const GENERATION: &str = "tsuru.generation";
const UNIT: &str = "tsuru.unit";

/// The container's name. Deterministic, so that starting twice meets itself.
pub(crate) fn container_name(config: &DockerConfig, unit: &UnitId) -> String {
    format!("{}.{unit}", config.instance)
}

fn labels(config: &DockerConfig, spec: &UnitSpec, role: &str) -> HashMap<String, String> {
    [
        (INSTANCE, config.instance.clone()),
        (ROLE, role.to_owned()),
        (APP, spec.app.to_string()),
        (PROCESS, spec.process.to_string()),
        (VERSION, spec.version.to_string()),
        (GENERATION, spec.generation.to_string()),
        (UNIT, spec.id.to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// Everything a container is told. `is_root` says whether its image runs as root.
pub(crate) fn container(config: &DockerConfig, spec: &UnitSpec, role: &str, is_root: bool) -> ContainerCreateBody {
    let env = spec.env.iter().map(|(name, value)| format!("{name}={}", value.expose())).collect();
    ContainerCreateBody {
        // A host's name has at most 63 characters; beyond that the container's identifier has to do.
        hostname: (spec.id.0.len() <= 63).then(|| spec.id.0.clone()),
        image: Some(spec.image.clone()),
        entrypoint: Some(Vec::new()),
        cmd: Some(spec.command.clone()),
        env: Some(env),
        labels: Some(labels(config, spec, role)),
        host_config: Some(host_config(config, spec, is_root)),
        ..ContainerCreateBody::default()
    }
}

/// What a program that starts as root needs to become somebody else.
const TO_BECOME_SOMEBODY: [&str; 6] = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "NET_BIND_SERVICE", "SETGID", "SETUID"];

fn host_config(config: &DockerConfig, spec: &UnitSpec, is_root: bool) -> HostConfig {
    let memory = (spec.memory > 0).then(|| i64::try_from(spec.memory).unwrap_or(i64::MAX));
    // Two files: the newest half of what is kept is never the one that is thrown away.
    let log_file = (config.log_limit / 2).max(1 << 16);
    let log: HashMap<String, String> =
        [("max-size".to_owned(), log_file.to_string()), ("max-file".to_owned(), "2".to_owned())].into();
    HostConfig {
        memory,
        // As much as the memory itself: a unit does not swap.
        memory_swap: memory,
        nano_cpus: (spec.cpu_milli > 0).then(|| i64::from(spec.cpu_milli) * 1_000_000),
        pids_limit: Some(i64::from(config.process_limit)),
        init: Some(true),
        log_config: Some(HostConfigLogConfig { typ: Some("json-file".to_owned()), config: Some(log) }),
        network_mode: config.network.clone(),
        // Starting again is the platform's: two that do it get in each other's way.
        restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: is_root.then(|| TO_BECOME_SOMEBODY.map(str::to_owned).to_vec()),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        ..HostConfig::default()
    }
}

/// Whether a user of an image's configuration is root.
pub(crate) fn is_root(user: Option<&str>) -> bool {
    let name = user.unwrap_or_default().split(':').next().unwrap_or_default();
    matches!(name, "" | "0" | "root")
}

/// Whether a container is what `spec` asks for.
pub(crate) fn is_of(container: &ContainerInspectResponse, config: &DockerConfig, spec: &UnitSpec) -> bool {
    let Some(known) = container.config.as_ref() else { return false };
    let Some(has) = known.labels.as_ref() else { return false };
    known.image.as_deref() == Some(&spec.image)
        && labels(config, spec, "unit").iter().all(|(name, value)| has.get(name) == Some(value))
}

/// A unit of Docker's list; none for a container that is no unit.
pub(crate) fn from_summary(config: &DockerConfig, summary: &ContainerSummary) -> Option<Unit> {
    let state = match summary.state? {
        ContainerSummaryStateEnum::CREATED | ContainerSummaryStateEnum::EMPTY => UnitState::Created,
        ContainerSummaryStateEnum::RUNNING
        | ContainerSummaryStateEnum::PAUSED
        | ContainerSummaryStateEnum::RESTARTING
        | ContainerSummaryStateEnum::STOPPING => UnitState::Started,
        ContainerSummaryStateEnum::EXITED => ended(exit_status(summary.status.as_deref())),
        ContainerSummaryStateEnum::REMOVING | ContainerSummaryStateEnum::DEAD => UnitState::Stopped,
    };
    let networks = summary.network_settings.as_ref().and_then(|settings| settings.networks.as_ref());
    let created = DateTime::from_timestamp(summary.created?, 0)?;
    unit(config, summary.labels.as_ref()?, state, networks, created)
}

/// A unit that was inspected.
pub(crate) fn from_inspection(config: &DockerConfig, container: &ContainerInspectResponse) -> Option<Unit> {
    let state = container.state.as_ref()?;
    let state = match state.status? {
        ContainerStateStatusEnum::CREATED | ContainerStateStatusEnum::EMPTY => UnitState::Created,
        ContainerStateStatusEnum::RUNNING
        | ContainerStateStatusEnum::PAUSED
        | ContainerStateStatusEnum::RESTARTING
        | ContainerStateStatusEnum::STOPPING => UnitState::Started,
        ContainerStateStatusEnum::EXITED => ended(state.exit_code),
        ContainerStateStatusEnum::REMOVING | ContainerStateStatusEnum::DEAD => UnitState::Stopped,
    };
    let networks = container.network_settings.as_ref().and_then(|settings| settings.networks.as_ref());
    // Docker's list tells whole seconds: so does this, that both agree.
    let created = DateTime::parse_from_rfc3339(container.created.as_ref()?).ok()?.timestamp();
    let labels = container.config.as_ref()?.labels.as_ref()?;
    unit(config, labels, state, networks, DateTime::from_timestamp(created, 0)?)
}

fn unit(
    config: &DockerConfig,
    labels: &HashMap<String, String>,
    state: UnitState,
    networks: Option<&HashMap<String, EndpointSettings>>,
    created_at: DateTime<Utc>,
) -> Option<Unit> {
    let address = if state == UnitState::Started { networks.and_then(|known| address(config, known)) } else { None };
    Some(Unit {
        id: UnitId(labels.get(UNIT)?.clone()),
        app: labels.get(APP)?.parse().ok()?,
        process: labels.get(PROCESS)?.parse().ok()?,
        version: labels.get(VERSION)?.parse().ok()?,
        generation: labels.get(GENERATION)?.parse().ok()?,
        state,
        address,
        created_at,
        restarts: 0,
    })
}

/// The container's own address: requests go to it directly, no port is published.
fn address(config: &DockerConfig, networks: &HashMap<String, EndpointSettings>) -> Option<SocketAddr> {
    let own = config.network.as_ref().and_then(|name| networks.get(name)).or_else(|| networks.values().next())?;
    let ip: IpAddr = own.ip_address.as_ref()?.parse().ok()?;
    Some(SocketAddr::new(ip, PORT))
}

fn ended(status: Option<i64>) -> UnitState {
    if status == Some(0) { UnitState::Stopped } else { UnitState::Error }
}

/// `Exited (7) 2 minutes ago`
fn exit_status(text: Option<&str>) -> Option<i64> {
    text?.split_once('(')?.1.split_once(')')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_status_is_read_from_dockers_list() {
        assert_eq!(exit_status(Some("Exited (137) 2 minutes ago")), Some(137));
        assert_eq!(exit_status(Some("Up 2 minutes")), None);
    }

    #[test]
    fn root_has_several_spellings() {
        assert!([None, Some(""), Some("root"), Some("0:0")].into_iter().all(is_root));
        assert!(![Some("1000:1000"), Some("ubuntu")].into_iter().any(is_root));
    }
}
