//! Images: what they say about themselves, how they come and go.

use std::{collections::HashMap, time::Duration};

use bollard::{
    body_full,
    models::{ContainerConfig, ImageConfig},
    query_parameters::{
        BuildImageOptionsBuilder, CreateImageOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptionsBuilder,
        TagImageOptionsBuilder,
    },
};
use futures::StreamExt;
use platform_core::{AppName, Error, Manifest, PlatformName, Progress, Result, ports::Built};

use crate::{
    client::{Client, found, status},
    config::PROXIES,
    undo::{Made, Undo},
    unit::{INSTANCE, ROLE, is_root},
    workshop::Workshop,
};

/// How long a registry may take to answer with an image.
const PULL: Duration = Duration::from_secs(10 * 60);
/// Layers of dependencies that are kept although no app may be using them.
const KEPT_LAYERS: usize = 50;

/// What an image says about itself.
pub(crate) struct Image {
    pub(crate) id: String,
    config: ImageConfig,
}

impl Image {
    /// An image that is here; none where it is not.
    pub(crate) async fn inspect(client: &Client, name: &str) -> Result<Option<Self>> {
        let answer = found(client.docker.inspect_image(name).await);
        let answer = answer.map_err(|failure| client.failed(&format!("look at image {name}"), failure))?;
        Ok(answer.map(|image| Self { id: image.id.unwrap_or_default(), config: image.config.unwrap_or_default() }))
    }

    fn label(&self, name: &str) -> Option<&str> {
        self.config.labels.as_ref()?.get(name).map(String::as_str)
    }

    /// Words of a label.
    pub(crate) fn words(&self, label: &str) -> Vec<String> {
        let text = self.label(label).unwrap_or_default();
        text.split([' ', ',']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    /// Whether source needs only to be copied into it (`tsuru.source=copy`).
    pub(crate) fn takes_copies(&self) -> bool {
        self.label("tsuru.source") == Some("copy")
    }

    /// The command that installs dependencies (`tsuru.dependencies.command`).
    pub(crate) fn dependencies_command(&self) -> Option<&str> {
        self.label("tsuru.dependencies.command")
    }

    /// ENTRYPOINT and CMD.
    pub(crate) fn command(&self) -> Vec<String> {
        let entrypoint = self.config.entrypoint.iter().flatten();
        entrypoint.chain(self.config.cmd.iter().flatten()).cloned().collect()
    }

    pub(crate) fn is_root(&self) -> bool {
        is_root(self.config.user.as_deref())
    }

    /// Who builds and runs: the image's user, and never root where code is put on a platform (contract section 19).
    pub(crate) fn app_user(&self) -> String {
        match &self.config.user {
            Some(user) if !is_root(Some(user)) => user.clone(),
            _ => "1000:1000".to_owned(),
        }
    }

    /// The configuration of an image made on this one: nothing of the container it was made in.
    pub(crate) fn successor(&self, client: &Client, role: &str, command: Vec<String>) -> ContainerConfig {
        let mut labels = self.config.labels.clone().unwrap_or_default();
        labels.insert(INSTANCE.to_owned(), client.config.instance.clone());
        labels.insert(ROLE.to_owned(), role.to_owned());
        ContainerConfig {
            user: Some(self.app_user()),
            env: self.config.env.clone(),
            entrypoint: Some(Vec::new()),
            cmd: Some(command),
            working_dir: self.config.working_dir.clone(),
            stop_signal: self.config.stop_signal.clone(),
            exposed_ports: self.config.exposed_ports.clone(),
            labels: Some(labels),
            ..ContainerConfig::default()
        }
    }
}

/// The image of an app's version.
pub(crate) fn app_image(client: &Client, app: &AppName, version: u32) -> String {
    client.config.image(format_args!("app-{app}"), version)
}

/// `name:tag` in two; `latest` without a tag.
pub(crate) fn name_and_tag(image: &str) -> (&str, &str) {
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, "latest"),
    }
}

/// The engine's `take_image`.
pub(crate) async fn take(
    client: &Client,
    app: &AppName,
    version: u32,
    image: &str,
    progress: &Progress,
) -> Result<Built> {
    let known = match Image::inspect(client, image).await? {
        Some(known) => known,
        None => {
            pull(client, image, progress).await?;
            Image::inspect(client, image).await?.ok_or_else(|| Error::Build(format!("image {image} is not there")))?
        }
    };
    progress.step(format!("taking image {image}"));
    let workshop = Workshop::closed(client, &known.id).await?;
    let (procfile, yaml) = workshop.manifest().await?;
    let manifest = Manifest::parse(procfile.as_deref(), yaml.as_deref(), &known.command())?;
    let name = app_image(client, app, version);
    let (repository, tag) = name_and_tag(&name);
    let options = TagImageOptionsBuilder::default().repo(repository).tag(tag).build();
    let tagged = client.docker.tag_image(&known.id, Some(options)).await;
    tagged.map_err(|failure| client.failed(&format!("name image {image} {name}"), failure))?;
    Ok(Built { image: name, processes: manifest.processes, hooks: manifest.hooks })
}

async fn pull(client: &Client, image: &str, progress: &Progress) -> Result<()> {
    progress.step(format!("pulling image {image}"));
    let refused = |reason: &dyn std::fmt::Display| {
        Error::Build(format!("image {image} is not on the server and could not be pulled: {reason}"))
    };
    // A digest is not a tag.
    let (name, tag) = if image.contains('@') { (image, "") } else { name_and_tag(image) };
    let options = CreateImageOptionsBuilder::default().from_image(name).tag(tag).build();
    let mut pulling = Box::pin(client.patient.create_image(Some(options), None, None));
    let all = async {
        while let Some(step) = pulling.next().await {
            match step {
                // Bars that grow are for terminals: only what is said once is passed on.
                Ok(step) if step.progress_detail.is_none() => {
                    step.status.into_iter().for_each(|text| progress.line(text));
                }
                Ok(_) => {}
                Err(bollard::errors::Error::DockerResponseServerError { message, .. }) => {
                    return Err(refused(&message));
                }
                Err(bollard::errors::Error::DockerStreamError { error }) => return Err(refused(&error)),
                Err(failure) => return Err(client.failed(&format!("pull image {image}"), failure)),
            }
        }
        Ok(())
    };
    tokio::time::timeout(PULL, all).await.unwrap_or_else(|_| Err(refused(&"the registry did not answer in time")))
}

/// The engine's `remove_image`.
pub(crate) async fn remove(client: &Client, image: &str) -> Result<()> {
    let removed = client.docker.remove_image(image, Some(RemoveImageOptionsBuilder::default().build()), None).await;
    found(removed).map(|_gone| ()).map_err(|failure| client.failed(&format!("remove image {image}"), failure))
}

/// Forgets the oldest layers of dependencies; those that images stand on stay.
pub(crate) async fn forget_old_layers(client: &Client) {
    let labels = vec![format!("{INSTANCE}={}", client.config.instance), format!("{ROLE}=dependencies")];
    let filters: HashMap<String, Vec<String>> = [("label".to_owned(), labels)].into();
    let listed = client.docker.list_images(Some(ListImagesOptionsBuilder::default().filters(&filters).build())).await;
    let mut layers = match listed {
        Ok(layers) => layers,
        Err(failure) => {
            tracing::warn!(error = %failure, "could not list the layers of dependencies");
            return;
        }
    };
    layers.sort_by_key(|layer| std::cmp::Reverse(layer.created));
    for layer in layers.into_iter().skip(KEPT_LAYERS) {
        let options = RemoveImageOptionsBuilder::default().build();
        match client.docker.remove_image(&layer.id, Some(options), None).await {
            Err(failure) if !matches!(status(&failure), Some(404 | 409)) => {
                tracing::warn!(image = %layer.id, error = %failure, "could not remove an old layer of dependencies");
            }
            Ok(_) | Err(_) => {}
        }
    }
}

/// The engine's `build_platform`.
pub(crate) async fn build_platform(
    client: &Client,
    name: &PlatformName,
    version: u32,
    dockerfile: &str,
    progress: &Progress,
) -> Result<String> {
    let image = client.config.image(name, version);
    let context =
        context(dockerfile).map_err(|reason| Error::Build(format!("the Dockerfile cannot be packed: {reason}")))?;
    let labels: HashMap<String, String> =
        [(INSTANCE.to_owned(), client.config.instance.clone()), (ROLE.to_owned(), "platform".to_owned())].into();
    let arguments: HashMap<String, String> = build_arguments(client, dockerfile);
    let mut options = BuildImageOptionsBuilder::default()
        .dockerfile("Dockerfile")
        .t(&image)
        .rm(true)
        .forcerm(true)
        .labels(&labels)
        .buildargs(&arguments);
    if let Some(network) = &client.config.build.network {
        options = options.networkmode(network);
    }
    let undo = Undo::new(&client.docker, Made::Image(image.clone()));
    let building = follow_build(client, options.build(), context, progress);
    let within = client.config.build_timeout;
    match tokio::time::timeout(within, building).await {
        Ok(Ok(())) => {}
        Ok(Err(reason)) => return Err(reason),
        Err(_late) => {
            return Err(Error::Build(format!("the platform took longer than {} s to build", within.as_secs())));
        }
    }
    undo.keep();
    Ok(image)
}

async fn follow_build(
    client: &Client,
    options: bollard::query_parameters::BuildImageOptions,
    context: Vec<u8>,
    progress: &Progress,
) -> Result<()> {
    let mut building = Box::pin(client.patient.build_image(options, None, Some(body_full(context.into()))));
    while let Some(step) = building.next().await {
        match step {
            Ok(step) => {
                if let Some(text) = step.stream {
                    progress.raw(text);
                }
                if let Some(error) = step.error_detail.and_then(|detail| detail.message) {
                    return Err(Error::Build(format!("the platform could not be built: {error}")));
                }
            }
            Err(bollard::errors::Error::DockerStreamError { error }) => {
                return Err(Error::Build(format!("the platform could not be built: {error}")));
            }
            Err(bollard::errors::Error::DockerResponseServerError { message, .. }) => {
                return Err(Error::Build(format!("the platform could not be built: {message}")));
            }
            Err(failure) => return Err(client.failed("build the platform", failure)),
        }
    }
    Ok(())
}

/// Proxies, which Docker keeps out of images, and what the Dockerfile asks for by `ARG`.
fn build_arguments(client: &Client, dockerfile: &str) -> HashMap<String, String> {
    let asked: Vec<&str> = dockerfile
        .lines()
        .filter_map(|line| line.trim().strip_prefix("ARG "))
        .map(|rest| rest.split('=').next().unwrap_or_default().trim())
        .collect();
    let env = client.config.build.env.iter();
    env.filter(|(name, _)| PROXIES.contains(&name.to_ascii_uppercase().as_str()) || asked.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.expose().to_owned()))
        .collect()
}

fn context(dockerfile: &str) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(dockerfile.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "Dockerfile", dockerfile.as_bytes())?;
    tar.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registrys_port_is_no_tag() {
        assert_eq!(name_and_tag("localhost:5000/blog"), ("localhost:5000/blog", "latest"));
        assert_eq!(name_and_tag("localhost:5000/blog:v2"), ("localhost:5000/blog", "v2"));
    }
}
