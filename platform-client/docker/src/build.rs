//! From source to image, by the image contract (contract section 19).

use std::{fs::File, io::Read, path::Path};

use platform_core::{
    Error, Hooks, Manifest, Process, ProcessName, Progress, Result,
    ports::{Build, Built},
};

use crate::{
    archive::{self, Source},
    client::Client,
    dependencies::{self, Making},
    image::{Image, app_image},
    workshop::{Step, Workshop},
};

/// Where a platform's deploy script looks for the source.
const ARCHIVE: &str = "home/application/archive.tar.gz";

/// The engine's `build`. Whatever ends it early, nothing of it stays but layers of dependencies.
pub(crate) async fn build(client: &Client, making: &Making, build: &Build<'_>, progress: &Progress) -> Result<Built> {
    let within = client.config.build_timeout;
    let done = tokio::time::timeout(within, Building { client, making, build, progress }.run()).await;
    done.unwrap_or_else(|_late| {
        Err(Error::Build(format!("the build took longer than {} s and was given up", within.as_secs())))
    })
}

struct Building<'a> {
    client: &'a Client,
    making: &'a Making,
    build: &'a Build<'a>,
    progress: &'a Progress,
}

impl Building<'_> {
    async fn run(&self) -> Result<Built> {
        let platform = Image::inspect(self.client, self.build.platform_image).await?.ok_or_else(|| {
            Error::Build(format!(
                "the platform's image {} is not on the server: update the platform, then deploy again",
                self.build.platform_image
            ))
        })?;
        let source = self.source(&platform).await?;
        let hooks = hooks(&source)?;
        let manifest = if platform.takes_copies() {
            self.by_copy(&platform, source, &hooks).await?
        } else {
            self.by_script(&platform, &hooks).await?
        };
        let image = app_image(self.client, self.build.app, self.build.version);
        Ok(Built { image, processes: manifest.processes, hooks: manifest.hooks })
    }

    async fn source(&self, platform: &Image) -> Result<Source> {
        let archive = self.build.archive.to_path_buf();
        let (wanted, limit) = (platform.words("tsuru.dependencies.files"), self.client.config.source_limit);
        let prepared = tokio::task::spawn_blocking(move || archive::prepare(&archive, &wanted, limit)).await;
        prepared.map_err(|reason| Error::Build(format!("the source could not be unpacked: {reason}")))?
    }

    /// The short way, for platforms whose deploy does nothing but install dependencies and copy.
    async fn by_copy(&self, platform: &Image, source: Source, hooks: &Hooks) -> Result<Manifest> {
        let base = dependencies::layer(self.client, self.making, platform, self.build, &source, self.progress).await?;
        let size = if source.bytes < 1_000_000 {
            format!("{} kB", source.bytes.div_ceil(1000))
        } else {
            format!("{} MB", source.bytes.div_ceil(1_000_000))
        };
        let files = if source.files == 1 { "1 file".to_owned() } else { format!("{} files", source.files) };
        self.progress.step(format!("adding source ({files}, {size})"));
        let mut workshop = Workshop::closed(self.client, &base).await?;
        let (mut procfile, mut yaml) = (source.procfile(), source.yaml());
        workshop.put(source.tar).await?;
        if !hooks.build.is_empty() {
            workshop.open().await?;
            self.run_hooks(&workshop, platform, hooks).await?;
            (procfile, yaml) = workshop.manifest().await?;
        }
        self.finish(&workshop, platform, procfile, yaml).await
    }

    /// The long way, which every platform that keeps the contract can go.
    async fn by_script(&self, platform: &Image, hooks: &Hooks) -> Result<Manifest> {
        let mut workshop = Workshop::closed(self.client, &platform.id).await?;
        workshop
            .put(
                wrapped(self.build.archive).map_err(|reason| {
                    Error::Build(format!("the source archive cannot be read on the server: {reason}"))
                })?,
            )
            .await?;
        workshop.open().await?;
        let user = platform.app_user();
        let deploy = format!("/var/lib/tsuru/deploy archive file:///{ARCHIVE}");
        self.progress.step("running the platform's deploy script");
        let step = Step::shell(&user, &deploy, self.build.env.clone());
        workshop.run("the platform's deploy script", step, self.progress).await?;
        self.run_hooks(&workshop, platform, hooks).await?;
        let tidy = Step::shell("0:0", &format!("rm -f /{ARCHIVE}"), Default::default());
        workshop.run("removing the archive", tidy, self.progress).await?;
        let (procfile, yaml) = workshop.manifest().await?;
        self.finish(&workshop, platform, procfile, yaml).await
    }

    async fn run_hooks(&self, workshop: &Workshop<'_>, platform: &Image, hooks: &Hooks) -> Result<()> {
        let user = platform.app_user();
        for hook in &hooks.build {
            self.progress.step(format!("running build hook: {hook}"));
            let step = Step::shell(&user, hook, self.build.env.clone());
            workshop.run(&format!("build hook `{hook}`"), step, self.progress).await?;
        }
        Ok(())
    }

    async fn finish(
        &self,
        workshop: &Workshop<'_>,
        platform: &Image,
        procfile: Option<String>,
        yaml: Option<String>,
    ) -> Result<Manifest> {
        let manifest = Manifest::parse(procfile.as_deref(), yaml.as_deref(), &platform.command())?;
        let image = app_image(self.client, self.build.app, self.build.version);
        let config = platform.successor(self.client, "app", default_command(&manifest));
        workshop.commit(&image, config).await?;
        self.progress.step(format!("image {image} is ready"));
        Ok(manifest)
    }
}

/// What the image runs where nobody says what to run.
fn default_command(manifest: &Manifest) -> Vec<String> {
    let web = manifest.processes.iter().find(|process| process.name == ProcessName::web());
    web.or_else(|| manifest.processes.first())
        .map_or_else(Vec::new, |process: &Process| process.start_command(&manifest.hooks))
}

/// Hooks are known before the processes are: a hook may write the Procfile.
fn hooks(source: &Source) -> Result<Hooks> {
    let any_command = ["true".to_owned()];
    Ok(Manifest::parse(source.procfile().as_deref(), source.yaml().as_deref(), &any_command)?.hooks)
}

/// The archive as it was sent, in a tar that puts it where the deploy script looks.
fn wrapped(archive: &Path) -> std::io::Result<File> {
    let content = File::open(archive)?;
    let mut tar = tar::Builder::new(tempfile::tempfile()?);
    let mut header = tar::Header::new_gnu();
    header.set_size(content.metadata()?.len());
    header.set_mode(0o644);
    header.set_uid(archive::OWNER);
    header.set_gid(archive::OWNER);
    tar.append_data(&mut header, ARCHIVE, content.take(u64::MAX))?;
    let mut file = tar.into_inner()?;
    std::io::Seek::rewind(&mut file)?;
    Ok(file)
}
