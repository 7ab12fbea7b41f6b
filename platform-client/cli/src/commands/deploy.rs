//! Deploys (contract section 8).

use std::{
    fs,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use platform_wire::{Deploy as PastDeploy, EVENT_ID_HEADER};
use reqwest::{Body, multipart};
use serde_json::{Value, json};

use super::{AppArgument, AppFlag, AssumeYes};
use crate::{
    archive::{self, Selection},
    client::{Answer, Api, Call, Refused},
    render::{Screen, Table, minutes, short_date},
    session::Tsuru,
    stream,
};

/// `app deploy`, and what is below it
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "One folder is packed as a whole: its content is the root of the app. Several files and folders keep \
                  their names. What .tsuruignore names (in the way of .gitignore) is left out, and so is .git.\n\n\
                  Examples:\n  \
                  tsuru app deploy -a blog .\n  \
                  tsuru app deploy -a blog Procfile app.py templates\n  \
                  tsuru app deploy -a blog -i registry.example.com/blog:v3\n  \
                  tsuru app deploy -a blog --dockerfile ."
)]
pub(crate) struct Deploy {
    #[command(subcommand)]
    command: Option<DeployCommand>,
    #[command(flatten)]
    new: NewDeploy,
}

/// What is below `app deploy`
#[derive(Debug, Subcommand)]
pub(crate) enum DeployCommand {
    /// List past deploys
    List(List),
    /// Go back to a version
    Rollback(Rollback),
}

impl Deploy {
    pub(crate) async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        match &self.command {
            None => self.new.run(tsuru).await,
            Some(DeployCommand::List(command)) => command.run(tsuru).await,
            Some(DeployCommand::Rollback(command)) => command.run(tsuru).await,
        }
    }
}

/// `app deploy`
#[derive(Args, Debug)]
pub(crate) struct NewDeploy {
    #[command(flatten)]
    app: AppFlag,
    /// Deploy this image
    #[arg(short, long)]
    image: Option<String>,
    /// Build with this Dockerfile, or with the one in this folder
    #[arg(long, value_name = "FILE|FOLDER")]
    dockerfile: Option<PathBuf>,
    /// What is new
    #[arg(short, long)]
    message: Option<String>,
    /// Leave out the folders that lead to the files
    #[arg(short, long)]
    files_only: bool,
    /// Let the version that runs now go on beside the new one
    #[arg(long)]
    new_version: bool,
    /// Replace all versions that run
    #[arg(long)]
    override_old_versions: bool,
    /// Files and folders
    #[arg(value_name = "FILE|FOLDER")]
    files: Vec<PathBuf>,
}

/// What is deployed.
enum Source {
    Image(String),
    Files { files: Selection, dockerfile: Option<String> },
}

impl Source {
    fn announcement(&self) -> &'static str {
        match self {
            Self::Image(_) => "Deploying container image...",
            Self::Files { dockerfile: None, .. } => "Deploying using app's platform...",
            Self::Files { dockerfile: Some(_), .. } => "Deploying with Dockerfile...",
        }
    }
}

impl NewDeploy {
    async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let app = self.app.name()?;
        let source = self.source(app)?;
        let api = tsuru.api()?;
        // An app that is not there is told before anything is sent.
        api.tell(Call::get("1.0", &["apps", app])).await?;
        tsuru.screen.say(source.announcement())?;
        let answer = match source {
            Source::Image(image) => api.send(self.image_call(app, &image)).await?,
            Source::Files { files, dockerfile } => self.upload(&api, tsuru.screen, app, files, dockerfile).await?,
        };
        watch(tsuru, &api, answer).await
    }

    /// What is deployed, checked as far as that goes without the platform.
    fn source(&self, app: &str) -> Result<Source> {
        match (&self.image, &self.dockerfile) {
            (Some(_), Some(_)) => bail!("You can't deploy container image and container file at same time."),
            (Some(_), None) if !self.files.is_empty() => {
                bail!("You can't deploy files and docker image at the same time.")
            }
            (None, None) if self.files.is_empty() => {
                bail!("You should provide at least one file, Docker image name or Dockerfile to deploy.")
            }
            (Some(image), None) => Ok(Source::Image(image.clone())),
            (None, Some(dockerfile)) => self.dockerfile_source(app, dockerfile),
            (None, None) => {
                let files = self.selection(self.files.clone(), vec![".tsuruignore"])?;
                Ok(Source::Files { files, dockerfile: None })
            }
        }
    }

    fn dockerfile_source(&self, app: &str, given: &Path) -> Result<Source> {
        let path = find_dockerfile(app, given)?;
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let context = if self.files.is_empty() { vec![folder_of(&path)] } else { self.files.clone() };
        let files = self.selection(context, vec![".tsuruignore", ".dockerignore"])?;
        Ok(Source::Files { files, dockerfile: Some(text) })
    }

    fn selection(&self, paths: Vec<PathBuf>, ignore_files: Vec<&'static str>) -> Result<Selection> {
        let selection = Selection { paths, files_only: self.files_only, ignore_files };
        selection.check()?;
        Ok(selection)
    }

    /// Fields of every form of deploy; absent when not set.
    fn options(&self) -> impl Iterator<Item = (&'static str, String)> {
        let flag = |name, set: bool| set.then(|| (name, "true".to_owned()));
        let message = self.message.clone().map(|message| ("message", message));
        [message, flag("new-version", self.new_version), flag("override-versions", self.override_old_versions)]
            .into_iter()
            .flatten()
    }

    fn image_call(&self, app: &str, image: &str) -> Call {
        let call = Call::post("1.0", &["apps", app, "deploy"]).field("origin", "image").field("image", image);
        self.options().fold(call, |call, (name, value)| call.field(name, value))
    }

    /// Packs and sends, both at once.
    async fn upload(
        &self,
        api: &Api,
        screen: Screen,
        app: &str,
        files: Selection,
        dockerfile: Option<String>,
    ) -> Result<Answer> {
        let archive = files.pack();
        let uploaded = move |bytes: u64| {
            // A screen that went away is noticed by whoever prints next.
            let _ = screen.say(format!("Uploading files ({})... ok", megabytes(bytes)));
        };
        let body = Body::wrap_stream(archive::body(archive.pieces, archive.sent.clone(), uploaded));
        let mut form = multipart::Form::new().text("origin", "app-deploy");
        for (name, value) in self.options() {
            form = form.text(name, value);
        }
        if let Some(text) = dockerfile {
            form = form.text("dockerfile", text);
        }
        let part = multipart::Part::stream(body).file_name("archive.tar.gz").mime_str("application/gzip")?;
        let call = Call::post("1.0", &["apps", app, "deploy"]).upload(form.part("file", part), archive.sent);
        match api.send(call).await {
            Err(error) if !error.is::<Refused>() && archive.packing.is_finished() => {
                // When packing failed, the upload failed because of that.
                archive.packing.await??;
                Err(error)
            }
            answer => answer,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "two decimals are shown")]
fn megabytes(bytes: u64) -> String {
    format!("{:.2}MB", bytes as f64 / 1024.0 / 1024.0)
}

/// The Dockerfile itself, or the first of the names it may have in a folder (contract section 8.1).
fn find_dockerfile(app: &str, given: &Path) -> Result<PathBuf> {
    if !given.is_dir() {
        return Ok(given.to_owned());
    }
    let names = [format!(".{app}"), ".tsuru".to_owned(), String::new()];
    let candidates = names.iter().flat_map(|end| [format!("Dockerfile{end}"), format!("Containerfile{end}")]);
    candidates
        .map(|name| given.join(name))
        .find(|path| path.is_file())
        .with_context(|| format!("there is no Dockerfile in {}", given.display()))
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Shows the deploy; on Ctrl-C, offers to cancel it.
async fn watch(tsuru: &Tsuru, api: &Api, answer: Answer) -> Result<()> {
    let event = answer.header(EVENT_ID_HEADER);
    let deploying = stream::deploy(tsuru.screen, answer);
    tokio::pin!(deploying);
    loop {
        tokio::select! {
            outcome = &mut deploying => return outcome,
            pressed = tokio::signal::ctrl_c() => {
                pressed?;
                cancel(tsuru.screen, api, event.as_deref()).await?;
            }
        }
    }
}

async fn cancel(screen: Screen, api: &Api, event: Option<&str>) -> Result<()> {
    let Some(event) = event else { bail!("event ID not available yet") };
    if !io::stdin().is_terminal() {
        bail!("interrupted; the deploy goes on. To cancel it: tsuru event cancel {event} interrupted");
    }
    let question = move || screen.ask("\nAre you sure you want to cancel this deploy? (Y/n) ");
    let answer = tokio::select! {
        answer = tokio::task::spawn_blocking(question) => answer??,
        _ = tokio::signal::ctrl_c() => bail!("interrupted; the deploy goes on"),
    };
    if !matches!(answer.trim(), "" | "y" | "Y") {
        return Ok(());
    }
    let reason = json!({"reason": "Canceled on client."});
    api.tell(Call::post("1.1", &["events", event, "cancel"]).json(&reason)).await
}

/// `app deploy list [APP]`
#[derive(Args, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    app: AppArgument,
    /// JSON for programs
    #[arg(long)]
    json: bool,
}

impl List {
    async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let app = self.app.name()?;
        let call = Call::get("1.0", &["deploys"]).query("app", app).query("limit", 10);
        let api = tsuru.api()?;
        if self.json {
            return tsuru.screen.json(&api.list::<Value>(call).await?);
        }
        let mut deploys: Vec<PastDeploy> = api.list(call).await?;
        if deploys.is_empty() {
            return tsuru.screen.say(format!("App {app} has no deploy."));
        }
        deploys.sort_by_key(|deploy| std::cmp::Reverse(deploy.timestamp));
        let mut table = Table::new(["Image (Rollback)", "Origin", "User", "Date (Duration)", "Error"]).ruled();
        for deploy in deploys {
            table.row(row(deploy));
        }
        tsuru.screen.table(&table)
    }
}

fn row(deploy: PastDeploy) -> [String; 5] {
    let rollback = if deploy.can_rollback { " (*)" } else { "" };
    let origin = match deploy.commit.get(..7) {
        Some(commit) if deploy.origin == "git" => format!("git ({commit})"),
        _ => deploy.origin,
    };
    let began = deploy.timestamp.0.map(short_date).unwrap_or_default();
    let date = format!("{began} ({})", minutes(deploy.duration / 1_000_000_000));
    [format!("{}{rollback}", deploy.image), origin, deploy.user, date, deploy.error]
}

/// `app deploy rollback IMAGE`
#[derive(Args, Debug)]
pub(crate) struct Rollback {
    /// The version, as `app deploy list` shows it: v3, or 3
    image: String,
    #[command(flatten)]
    app: AppFlag,
    #[command(flatten)]
    yes: AssumeYes,
    /// Let the version that runs now go on beside it
    #[arg(long)]
    new_version: bool,
    /// Replace all versions that run
    #[arg(long)]
    override_old_versions: bool,
}

impl Rollback {
    async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let app = self.app.name()?;
        let api = tsuru.api()?;
        let question = format!("Are you sure you want to rollback app \"{app}\" to image \"{}\"?", self.image);
        if !tsuru.screen.confirm(self.yes.assume_yes, question)? {
            return Ok(());
        }
        let mut call = Call::post("1.0", &["apps", app, "deploy", "rollback"])
            .field("origin", "rollback")
            .field("image", &self.image);
        if self.new_version {
            call = call.field("new-version", true);
        }
        if self.override_old_versions {
            call = call.field("override-versions", true);
        }
        stream::progress(tsuru.screen, api.send(call).await?).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // contract section 8.1
    fn a_folder_has_its_dockerfile_by_the_first_name_it_has() {
        let folder = tempfile::tempdir().unwrap();
        assert!(find_dockerfile("blog", folder.path()).is_err());
        for name in ["Containerfile", "Dockerfile", "Dockerfile.tsuru", "Containerfile.blog"] {
            fs::write(folder.path().join(name), "FROM x").unwrap();
            assert_eq!(find_dockerfile("blog", folder.path()).unwrap(), folder.path().join(name));
        }
    }
}
