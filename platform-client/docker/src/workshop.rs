//! The container that an image is made in.

use std::{collections::BTreeMap, fs::File, io::Read};

use bollard::{
    body_full, body_try_stream,
    container::LogOutput,
    exec::{CreateExecOptions, StartExecOptions, StartExecResults},
    models::{ContainerConfig, ContainerCreateBody, HostConfig},
    query_parameters::{
        CommitContainerOptionsBuilder, CreateContainerOptionsBuilder, DownloadFromContainerOptionsBuilder,
        UploadToContainerOptionsBuilder,
    },
};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use platform_core::{Error, MANIFEST_NAMES, Progress, Result, UnitEnv};
use tokio::io::AsyncWriteExt;
use tokio_util::io::ReaderStream;

use crate::{
    client::{Client, found},
    image::name_and_tag,
    text::Text,
    undo::{Made, Undo},
    unit::{INSTANCE, ROLE},
};

/// Where an app says how it is run, the first one wins (contract section 18.2).
const MANIFEST_PLACES: [&str; 3] = ["/home/application/current", "/app/user", ""];
/// Where build steps find certificates. Shared memory is no part of what is committed.
const TRUST: &str = "/dev/shm/tsuru-ca.pem";
/// Variables by which programs are told where certificates are.
const TRUST_VARIABLES: [&str; 6] =
    ["SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO"];

/// A container to build in; gone when it is dropped.
pub(crate) struct Workshop<'a> {
    client: &'a Client,
    name: String,
    is_open: bool,
    /// What each step finds in its environment, and the image does not.
    tools: UnitEnv,
    _gone_in_the_end: Undo,
}

impl<'a> Workshop<'a> {
    /// One in which nothing runs: files can be put there and taken out.
    pub(crate) async fn closed(client: &'a Client, image: &str) -> Result<Self> {
        let name = format!("{}.build.{}", client.config.instance, uuid::Uuid::new_v4().simple());
        let undo = Undo::new(&client.docker, Made::Container(name.clone()));
        let labels = [(INSTANCE, client.config.instance.as_str()), (ROLE, "build")];
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            user: Some("0:0".to_owned()),
            entrypoint: Some(vec!["/bin/sh".to_owned(), "-c".to_owned()]),
            cmd: Some(vec!["exec sleep 1000000".to_owned()]),
            labels: Some(labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
            host_config: Some(HostConfig {
                init: Some(true),
                network_mode: client.config.build.network.clone(),
                pids_limit: Some(i64::from(client.config.process_limit)),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        let created = client.docker.create_container(Some(options), body).await;
        created.map_err(|failure| client.failed("make a container to build in", failure))?;
        Ok(Self { client, name, is_open: false, tools: UnitEnv::new(), _gone_in_the_end: undo })
    }

    /// Starts it, so that steps can run in it. They see the operator's settings and trust the
    /// operator's certificates (SPEC U-5).
    pub(crate) async fn open(&mut self) -> Result<()> {
        let started = self.client.docker.start_container(&self.name, None).await;
        started.map_err(|failure| self.client.failed("start a container to build in", failure))?;
        self.is_open = true;
        self.tools.clone_from(&self.client.config.build.env);
        self.trust().await
    }

    async fn trust(&mut self) -> Result<()> {
        let Some(bundle) = &self.client.config.build.ca_bundle else { return Ok(()) };
        let certificates = tokio::fs::read(bundle).await.map_err(|reason| {
            Error::Build(format!("the certificates for builds, {}, cannot be read: {reason}", bundle.display()))
        })?;
        // What the image trusts already comes first; `head` needs no end of its input.
        let script = format!(
            "umask 022; {{ cat /etc/ssl/certs/ca-certificates.crt 2>/dev/null; head -c {}; }} >{TRUST}",
            certificates.len()
        );
        let step =
            Step { user: "0:0", command: vec!["/bin/sh".to_owned(), "-c".to_owned(), script], env: UnitEnv::new() };
        let status = self.exec(step, Some(&certificates), &Progress::silent()).await?;
        if status != 0 {
            return Err(Error::Build(format!(
                "the certificates could not be put into the build: exit status {status}"
            )));
        }
        let trust = TRUST_VARIABLES.map(|name| (name.to_owned(), TRUST.into()));
        self.tools.extend(trust);
        Ok(())
    }

    /// Unpacks a tar at the root.
    pub(crate) async fn put(&self, tar: File) -> Result<()> {
        let content = ReaderStream::with_capacity(tokio::fs::File::from_std(tar), 1 << 18);
        let options = UploadToContainerOptionsBuilder::default().path("/").build();
        let put = self.client.patient.upload_to_container(&self.name, Some(options), body_try_stream(content)).await;
        put.map_err(|failure| self.client.failed("take the source", failure))
    }

    /// Puts small files there, as the app's user.
    pub(crate) async fn put_files(&self, files: &BTreeMap<String, Vec<u8>>) -> Result<()> {
        let packed = pack(files).map_err(|reason| Error::Build(format!("files cannot be packed: {reason}")))?;
        let options = UploadToContainerOptionsBuilder::default().path("/").build();
        let put = self.client.patient.upload_to_container(&self.name, Some(options), body_full(packed.into())).await;
        put.map_err(|failure| self.client.failed("take files for the build", failure))
    }

    /// Runs a step; a status other than 0 is the build's failure, told as `what`.
    pub(crate) async fn run(&self, what: &str, step: Step<'_>, progress: &Progress) -> Result<()> {
        let mut env = self.tools.clone();
        env.extend(step.env);
        let status = self.exec(Step { env, ..step }, None, progress).await?;
        if status == 0 { Ok(()) } else { Err(Error::Build(format!("{what} failed with exit status {status}"))) }
    }

    async fn exec(&self, step: Step<'_>, input: Option<&[u8]>, progress: &Progress) -> Result<i64> {
        exec(self.client, &self.name, step, input, progress).await
    }

    /// A small file's text; none where it is not there or is no file.
    async fn read(&self, path: &str) -> Result<Option<String>> {
        let options = DownloadFromContainerOptionsBuilder::default().path(path).build();
        let mut download = Box::pin(self.client.docker.download_from_container(&self.name, Some(options)));
        let mut tar = Vec::new();
        while let Some(piece) = download.next().await {
            match found(piece) {
                Ok(Some(piece)) => tar.extend_from_slice(&piece),
                Ok(None) => return Ok(None),
                Err(failure) => return Err(self.client.failed(&format!("read {path}"), failure)),
            }
            if tar.len() > 2 << 20 {
                return Err(Error::Build(format!("{path} is larger than 1 MB, which can't be meant")));
            }
        }
        first_file(&tar).map_err(|reason| Error::Build(format!("{path} cannot be read: {reason}")))
    }

    /// What Procfile and `tsuru.yaml` say, as they are here now.
    pub(crate) async fn manifest(&self) -> Result<(Option<String>, Option<String>)> {
        let mut procfile = None;
        let mut yaml = None;
        for place in MANIFEST_PLACES {
            if procfile.is_none() {
                procfile = self.read(&format!("{place}/Procfile")).await?;
            }
            for name in MANIFEST_NAMES {
                if yaml.is_none() {
                    yaml = self.read(&format!("{place}/{name}")).await?;
                }
            }
        }
        Ok((procfile, yaml))
    }

    /// Makes an image of what is here.
    pub(crate) async fn commit(&self, image: &str, config: ContainerConfig) -> Result<()> {
        let (name, tag) = name_and_tag(image);
        let options = CommitContainerOptionsBuilder::default()
            .container(&self.name)
            .repo(name)
            .tag(tag)
            .pause(self.is_open)
            .build();
        let undo = Undo::new(&self.client.docker, Made::Image(image.to_owned()));
        let committed = self.client.patient.commit_container(options, config).await;
        committed.map_err(|failure| self.client.failed(&format!("make image {image}"), failure))?;
        undo.keep();
        Ok(())
    }
}

/// What runs in a container.
pub(crate) struct Step<'a> {
    /// Who runs it; empty for the container's own user.
    pub(crate) user: &'a str,
    pub(crate) command: Vec<String>,
    /// Travels to Docker in the request's body, and is kept nowhere.
    pub(crate) env: UnitEnv,
}

impl<'a> Step<'a> {
    /// A command line in the app's directory.
    pub(crate) fn shell(user: &'a str, line: &str, env: UnitEnv) -> Self {
        let dir = platform_core::APP_DIR;
        let script = format!("[ -d {dir} ] && cd {dir}; {line}");
        Self { user, command: vec!["/bin/sh".to_owned(), "-lc".to_owned(), script], env }
    }
}

/// Runs a step in a running container; its output goes to `progress` as it appears.
pub(crate) async fn exec(
    client: &Client,
    container: &str,
    step: Step<'_>,
    input: Option<&[u8]>,
    progress: &Progress,
) -> Result<i64> {
    let failed = |failure| client.failed("run a command", failure);
    let env = step.env.iter().map(|(name, value)| format!("{name}={}", value.expose())).collect();
    let options = CreateExecOptions {
        attach_stdin: Some(input.is_some()),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        env: Some(env),
        cmd: Some(step.command),
        user: Some(step.user.to_owned()).filter(|user| !user.is_empty()),
        ..CreateExecOptions::default()
    };
    let exec = client.docker.create_exec(container, options).await.map_err(failed)?;
    let attached = client.docker.start_exec(&exec.id, None::<StartExecOptions>).await.map_err(failed)?;
    let StartExecResults::Attached { output, input: mut stdin } = attached else {
        return Err(Error::Engine("Docker ran a command without its output".to_owned()));
    };
    if let Some(input) = input {
        let written = async {
            stdin.write_all(input).await?;
            stdin.flush().await
        };
        written.await.map_err(|reason| Error::Engine(format!("Docker did not take a command's input: {reason}")))?;
    }
    tell(output, progress).await.map_err(failed)?;
    let ended = client.docker.inspect_exec(&exec.id).await.map_err(failed)?;
    Ok(ended.exit_code.unwrap_or(-1))
}

/// Passes output on as it appears.
pub(crate) async fn tell(
    mut output: impl Stream<Item = Result<LogOutput, bollard::errors::Error>> + Unpin,
    progress: &Progress,
) -> Result<(), bollard::errors::Error> {
    let mut text = Text::default();
    while let Some(piece) = output.next().await {
        let piece: Bytes = piece?.into_bytes();
        let whole = text.push(&piece);
        if !whole.is_empty() {
            progress.raw(whole);
        }
    }
    Ok(())
}

fn pack(files: &BTreeMap<String, Vec<u8>>) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(crate::archive::OWNER);
        header.set_gid(crate::archive::OWNER);
        tar.append_data(&mut header, path, content.as_slice())?;
    }
    tar.into_inner()
}

fn first_file(tar: &[u8]) -> std::io::Result<Option<String>> {
    for entry in tar::Archive::new(tar).entries()? {
        let mut entry = entry?;
        if entry.header().entry_type().is_file() {
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            return Ok(Some(String::from_utf8_lossy(&content).into_owned()));
        }
    }
    Ok(None)
}
