//! A container as the engine is told of it.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, ContainerUpdateBody, HealthConfig, HostConfig, HostConfigLogConfig, Ipam, IpamConfig,
    NetworkCreateRequest, PortBinding, PortMap, ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};

use crate::{Container, Limits, Place, ServerId};

/// Which broker a container or network belongs to.
pub(crate) const BROKER: &str = "broker.hosting.broker";
/// Which of its servers.
pub(crate) const SERVER: &str = "broker.hosting.server";

const SECOND: i64 = 1_000_000_000;

/// What belongs to one server.
pub(crate) struct Vessel<'a> {
    /// The broker's name, unique on this machine.
    pub(crate) group: &'a str,
    pub(crate) id: &'a ServerId,
    pub(crate) place: &'a Place,
    /// `uid:gid`
    pub(crate) user: String,
}

impl Vessel<'_> {
    /// The name of its container and network: made twice, it meets itself.
    pub(crate) fn name(&self) -> String {
        format!("{}.{}", self.group, self.id)
    }

    fn labels(&self) -> HashMap<String, String> {
        let labels = [(BROKER, self.group.to_owned()), (SERVER, self.id.to_string())];
        labels.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Its network: reached by its published port alone, without a way out.
    pub(crate) fn network(&self, subnet: Option<String>) -> NetworkCreateRequest {
        let config = subnet.map(|subnet| vec![IpamConfig { subnet: Some(subnet), ..IpamConfig::default() }]);
        let no_way_out = ("com.docker.network.bridge.enable_ip_masquerade".to_owned(), "false".to_owned());
        NetworkCreateRequest {
            name: self.name(),
            driver: Some("bridge".to_owned()),
            ipam: Some(Ipam { config, ..Ipam::default() }),
            options: Some([no_way_out].into()),
            labels: Some(self.labels()),
            ..NetworkCreateRequest::default()
        }
    }

    /// The server's container.
    pub(crate) fn server(
        &self,
        image: String,
        kind: &Container,
        args: Vec<String>,
        limits: &Limits,
    ) -> ContainerCreateBody {
        let port = format!("{}/tcp", self.place.port);
        let body = self.step(image, kind.executable.clone(), args);
        let bindings = self.place.published.iter().map(|address| PortBinding {
            host_ip: Some(address.to_string()),
            host_port: Some(self.place.port.to_string()),
        });
        let ports: PortMap = [(port.clone(), Some(bindings.collect()))].into();
        let host = HostConfig {
            port_bindings: Some(ports),
            network_mode: Some(self.name()),
            memory: Some(bytes(limits.memory)),
            memory_swap: Some(bytes(limits.memory)),
            nano_cpus: Some(nanos(limits)),
            pids_limit: Some(processes(limits)),
            ulimits: limits.open_files.map(|files| vec![open_files(files)]),
            ..body.host_config.unwrap_or_default()
        };
        ContainerCreateBody {
            exposed_ports: Some(vec![port]),
            healthcheck: Some(health(kind, self.place.port)),
            host_config: Some(host),
            ..body
        }
    }

    /// A container for one step of the preparation: no network, the same folder, user and restrictions.
    pub(crate) fn step(&self, image: String, program: String, args: Vec<String>) -> ContainerCreateBody {
        let folder = self.place.path().display();
        let log = [("max-size".to_owned(), "5m".to_owned()), ("max-file".to_owned(), "2".to_owned())];
        let tmpfs =
            ["/tmp", "/run"].map(|path| (path.to_owned(), "rw,noexec,nosuid,nodev,size=64m,mode=1777".to_owned()));
        ContainerCreateBody {
            image: Some(image),
            entrypoint: Some(vec![program]),
            cmd: Some(args),
            user: Some(self.user.clone()),
            working_dir: Some(self.place.path().display().to_string()),
            labels: Some(self.labels()),
            host_config: Some(HostConfig {
                binds: Some(vec![format!("{folder}:{folder}:rw")]),
                network_mode: Some("none".to_owned()),
                restart_policy: Some(RestartPolicy {
                    name: Some(RestartPolicyNameEnum::NO),
                    maximum_retry_count: None,
                }),
                readonly_rootfs: Some(true),
                tmpfs: Some(tmpfs.into()),
                cap_drop: Some(vec!["ALL".to_owned()]),
                security_opt: Some(vec!["no-new-privileges".to_owned()]),
                init: Some(true),
                pids_limit: Some(256),
                log_config: Some(HostConfigLogConfig { typ: Some("json-file".to_owned()), config: Some(log.into()) }),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        }
    }
}

/// What is changed while a container runs.
pub(crate) fn change_of_limits(limits: &Limits) -> ContainerUpdateBody {
    ContainerUpdateBody {
        memory: Some(bytes(limits.memory)),
        memory_swap: Some(bytes(limits.memory)),
        nano_cpus: Some(nanos(limits)),
        pids_limit: Some(processes(limits)),
        ..ContainerUpdateBody::default()
    }
}

/// Makes the engine keep the container running, over its own restarts and the machine's.
pub(crate) fn keep_running() -> ContainerUpdateBody {
    let policy = RestartPolicy { name: Some(RestartPolicyNameEnum::UNLESS_STOPPED), maximum_retry_count: None };
    ContainerUpdateBody { restart_policy: Some(policy), ..ContainerUpdateBody::default() }
}

/// 0 is no limit, for the engine.
fn bytes(limit: Option<u64>) -> i64 {
    limit.map_or(0, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
}

fn nanos(limits: &Limits) -> i64 {
    limits.cpu_milli.map_or(0, |milli| i64::from(milli) * 1_000_000)
}

fn processes(limits: &Limits) -> i64 {
    limits.processes.map_or(-1, i64::from)
}

fn open_files(files: u64) -> ResourcesUlimits {
    let files = i64::try_from(files).unwrap_or(i64::MAX);
    ResourcesUlimits { name: Some("nofile".to_owned()), soft: Some(files), hard: Some(files) }
}

fn health(kind: &Container, port: u16) -> HealthConfig {
    let test = match &kind.health {
        Some(command) => [&["CMD".to_owned()], command.as_slice()].concat(),
        None => ["CMD", "bash", "-c", &format!("exec 3<>/dev/tcp/127.0.0.1/{port}")].map(str::to_owned).to_vec(),
    };
    HealthConfig {
        test: Some(test),
        interval: Some(10 * SECOND),
        timeout: Some(5 * SECOND),
        retries: Some(3),
        start_period: Some(30 * SECOND),
        ..HealthConfig::default()
    }
}
