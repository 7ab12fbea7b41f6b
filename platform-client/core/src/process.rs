//! What an app says about itself: `Procfile` and `tsuru.yaml`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Error, ProcessName, Result};

/// A process type and how to start it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its name.
    pub name: ProcessName,
    /// The command line: one text from a Procfile runs in a shell, a list from an image runs as it is.
    pub command: Vec<String>,
    /// Its own readiness check, or the app's for the main process.
    pub healthcheck: Option<HealthCheck>,
}

/// When a unit counts as ready (SPEC A-10). Without one a unit is ready when its port answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthCheck {
    /// Path to ask by GET; an answer of 200 to 399 is good. Empty for none.
    pub path: String,
    /// `http` unless said otherwise.
    pub scheme: String,
    /// Headers of the request.
    pub headers: BTreeMap<String, String>,
    /// Command to run inside the unit instead: exit status 0 is good.
    pub command: Vec<String>,
    /// Failures in a row that are forgiven after the first success; 0 reads as 3.
    pub allowed_failures: u32,
    /// Seconds between probes once ready; 0 reads as 10.
    pub interval_seconds: u64,
    /// Seconds a probe may take; 0 reads as 60.
    pub timeout_seconds: u64,
    /// Seconds a new unit has to become ready; 0 reads as 120.
    pub deploy_timeout_seconds: u64,
    /// Whether units that fail for long are replaced.
    pub force_restart: bool,
}

/// Commands that run around a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hooks {
    /// In the build, after the dependencies; a failure fails the deploy.
    pub build: Vec<String>,
    /// In each unit before its process; a failure keeps the unit from starting.
    pub restart_before: Vec<String>,
    /// In each unit after its process has started.
    pub restart_after: Vec<String>,
}

/// What an app's source says about how to run it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Its processes, by name.
    pub processes: Vec<Process>,
    /// Its hooks.
    pub hooks: Hooks,
}

/// Names under which `tsuru.yaml` is looked for, the first one wins.
pub const MANIFEST_NAMES: [&str; 4] = ["tsuru.yml", "tsuru.yaml", "app.yml", "app.yaml"];

#[derive(Default, Deserialize)]
#[serde(default)]
struct TsuruYaml {
    hooks: YamlHooks,
    healthcheck: Option<HealthCheck>,
    processes: Vec<YamlProcess>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct YamlHooks {
    build: Vec<String>,
    restart: YamlRestart,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct YamlRestart {
    before: Vec<String>,
    after: Vec<String>,
}

#[derive(Deserialize)]
struct YamlProcess {
    name: ProcessName,
    #[serde(default)]
    command: String,
    healthcheck: Option<HealthCheck>,
}

impl Manifest {
    /// Reads both files. `image_command` (ENTRYPOINT and CMD) becomes `web` where neither names a
    /// process (SPEC A-8). A process of `tsuru.yaml` wins over the Procfile's of the same name.
    ///
    /// # Errors
    /// When `tsuru.yaml` cannot be read as YAML, or no process is named anywhere.
    pub fn parse(procfile: Option<&str>, yaml: Option<&str>, image_command: &[String]) -> Result<Self> {
        let yaml: TsuruYaml = match yaml.map(str::trim) {
            None | Some("") => TsuruYaml::default(),
            Some(text) => serde_norway::from_str(text)
                .map_err(|reason| Error::invalid(format!("tsuru.yaml cannot be read: {reason}")))?,
        };
        let mut processes: BTreeMap<ProcessName, Process> = BTreeMap::new();
        for (name, command) in procfile.unwrap_or_default().lines().filter_map(procfile_line) {
            processes.insert(name.clone(), Process { name, command: vec![command], healthcheck: None });
        }
        let per_process = !yaml.processes.is_empty();
        for listed in yaml.processes {
            let known = processes.remove(&listed.name).map(|process| process.command);
            let command = if listed.command.is_empty() { known } else { Some(vec![listed.command]) };
            let command = command.ok_or_else(|| {
                Error::invalid(format!(
                    "process \"{}\" of tsuru.yaml has no command, neither there nor in the Procfile",
                    listed.name
                ))
            })?;
            processes
                .insert(listed.name.clone(), Process { name: listed.name, command, healthcheck: listed.healthcheck });
        }
        if processes.is_empty() && !image_command.is_empty() {
            let name = ProcessName::web();
            processes.insert(name.clone(), Process { name, command: image_command.to_vec(), healthcheck: None });
        }
        if processes.is_empty() {
            return Err(Error::invalid(if procfile.is_some() {
                "the Procfile names no process: write a line such as `web: python app.py`"
            } else {
                "neither Procfile nor entrypoint and cmd set: add a Procfile with a line such as `web: python app.py`"
            }));
        }
        let mut processes: Vec<Process> = processes.into_values().collect();
        if !per_process && let Some(main) = main_process(&processes).map(|main| main.name.clone()) {
            processes
                .iter_mut()
                .filter(|process| process.name == main)
                .for_each(|main| main.healthcheck.clone_from(&yaml.healthcheck));
        }
        let hooks = Hooks {
            build: yaml.hooks.build,
            restart_before: yaml.hooks.restart.before,
            restart_after: yaml.hooks.restart.after,
        };
        Ok(Self { processes, hooks })
    }
}

/// `web`, or else the first by name.
pub(crate) fn main_process(processes: &[Process]) -> Option<&Process> {
    processes
        .iter()
        .find(|process| process.name.as_str() == "web")
        .or_else(|| processes.iter().min_by(|a, b| a.name.cmp(&b.name)))
}

fn procfile_line(line: &str) -> Option<(ProcessName, String)> {
    let (name, command) = line.split_once(':')?;
    let command = command.trim();
    if command.is_empty() { None } else { Some((name.trim().parse().ok()?, command.to_owned())) }
}

impl Process {
    /// What a unit's main process is: the command in the app's directory, hooks before it, and
    /// `exec`, so that it receives signals itself (contract section 18.2).
    #[must_use]
    pub fn start_command(&self, hooks: &Hooks) -> Vec<String> {
        let mut script = String::from("[ -d /home/application/current ] && cd /home/application/current; ");
        for hook in &hooks.restart_before {
            script.push_str(hook);
            script.push_str(" && ");
        }
        let mut command = vec!["/bin/sh".to_owned(), "-lc".to_owned()];
        match self.command.as_slice() {
            [line] => {
                script.push_str("exec ");
                script.push_str(line);
                command.push(script);
            }
            arguments => {
                script.push_str("exec \"$@\"");
                command.extend([script, "sh".to_owned()]);
                command.extend_from_slice(arguments);
            }
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(manifest: &Manifest) -> Vec<&str> {
        manifest.processes.iter().map(|process| process.name.as_str()).collect()
    }

    #[test] // SPEC A-8
    fn a_procfile_names_the_processes() {
        let manifest =
            Manifest::parse(Some("web: python app.py\n# note\nworker: sleep 9\nbad name: x\n"), None, &[]).unwrap();
        assert_eq!(names(&manifest), ["web", "worker"]);
        assert_eq!(manifest.processes[0].command, ["python app.py"]);
    }

    #[test] // SPEC A-8
    fn without_any_command_a_deploy_cannot_go_on() {
        let missing = Manifest::parse(None, None, &[]).unwrap_err().to_string();
        let unusable = Manifest::parse(Some("nothing here"), None, &[]).unwrap_err().to_string();
        assert!(missing.starts_with("neither Procfile nor entrypoint and cmd set"), "{missing}");
        assert!(unusable.starts_with("the Procfile names no process"), "{unusable}");
    }

    #[test] // SPEC A-8
    fn an_images_own_command_becomes_web() {
        let manifest = Manifest::parse(None, None, &["nginx".into(), "-g".into()]).unwrap();
        assert_eq!(names(&manifest), ["web"]);
        assert_eq!(manifest.processes[0].start_command(&manifest.hooks)[3..], ["sh", "nginx", "-g"]);
    }

    #[test] // SPEC A-10
    fn the_apps_check_is_the_main_processs() {
        let yaml = "healthcheck:\n  path: /up\nhooks:\n  build:\n    - make\n";
        let manifest = Manifest::parse(Some("worker: w\nweb: x"), Some(yaml), &[]).unwrap();
        let check =
            |name: &str| manifest.processes.iter().find(|p| p.name.as_str() == name).unwrap().healthcheck.clone();
        assert_eq!(check("web").unwrap().path, "/up");
        assert_eq!(check("worker"), None);
        assert_eq!(manifest.hooks.build, ["make"]);
    }

    #[test]
    fn a_process_runs_in_the_apps_directory_and_takes_signals_itself() {
        let manifest =
            Manifest::parse(Some("web: ./run"), Some("hooks:\n  restart:\n    before: [./prepare]\n"), &[]).unwrap();
        let command = manifest.processes[0].start_command(&manifest.hooks);
        assert_eq!(
            command,
            [
                "/bin/sh",
                "-lc",
                "[ -d /home/application/current ] && cd /home/application/current; ./prepare && exec ./run"
            ]
        );
    }
}
