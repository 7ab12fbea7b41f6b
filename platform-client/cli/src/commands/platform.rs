//! What code is built on (contract section 6.2).

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use platform_wire::{Platform, PlatformInfo};
use reqwest::multipart::{Form, Part};
use serde_json::Value;

use super::AssumeYes;
use crate::{
    client::Call,
    render::{Facts, Table},
    session::Tsuru,
    stream,
};

/// `platform …`
#[derive(Debug, Subcommand)]
pub(crate) enum PlatformCommand {
    /// List platforms
    List {
        /// Only names
        #[arg(short = 'q')]
        simplified: bool,
        /// JSON for programs
        #[arg(long)]
        json: bool,
    },
    /// Add a platform
    Add(Add),
    /// Build a platform again, or let apps choose it or not
    Update(Update),
    /// Show a platform and its images
    Info {
        /// Its name
        name: String,
        /// JSON for programs
        #[arg(long)]
        json: bool,
    },
    /// Remove a platform
    Remove {
        /// Its name
        name: String,
        #[command(flatten)]
        yes: AssumeYes,
    },
}

impl PlatformCommand {
    pub(crate) async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        match self {
            Self::List { simplified, json } => list(tsuru, *simplified, *json).await,
            Self::Add(command) => command.run(tsuru).await,
            Self::Update(command) => command.run(tsuru).await,
            Self::Info { name, json } => info(tsuru, name, *json).await,
            Self::Remove { name, yes } => remove(tsuru, name, *yes).await,
        }
    }
}

async fn list(tsuru: &Tsuru, simplified: bool, json: bool) -> Result<()> {
    let mut platforms: Vec<Platform> = tsuru.api()?.list(Call::get("1.0", &["platforms"])).await?;
    platforms.sort_by_key(|platform| platform.name.to_lowercase());
    if json {
        return tsuru.screen.json(&platforms);
    }
    if simplified {
        return platforms.iter().try_for_each(|platform| tsuru.screen.say(&platform.name));
    }
    if platforms.is_empty() {
        return tsuru.screen.say("No platforms available.");
    }
    let mut table = Table::new(["Name", "Status"]);
    for platform in &platforms {
        table.row([platform.name.as_str(), status(platform)]);
    }
    tsuru.screen.table(&table)
}

fn status(platform: &Platform) -> &'static str {
    if platform.disabled { "disabled" } else { "enabled" }
}

/// Where a platform's Dockerfile comes from.
#[derive(Args, Debug)]
#[group(multiple = false)]
pub(crate) struct Source {
    /// Use this image as it is
    #[arg(short, long)]
    image: Option<String>,
    /// Build with this Dockerfile, or with the one in this folder
    #[arg(short, long, value_name = "FILE|FOLDER")]
    dockerfile: Option<PathBuf>,
}

impl Source {
    /// The Dockerfile; none when nothing was given.
    fn text(&self) -> Result<Option<String>> {
        if let Some(image) = &self.image {
            return Ok(Some(format!("FROM {image}")));
        }
        let Some(path) = &self.dockerfile else { return Ok(None) };
        let path = if path.is_dir() { path.join("Dockerfile") } else { path.clone() };
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Some(text))
    }
}

fn with_dockerfile(form: Form, text: String) -> Form {
    form.part("dockerfile_content", Part::text(text).file_name("Dockerfile"))
}

/// `platform add NAME`
#[derive(Args, Debug)]
pub(crate) struct Add {
    /// Its name
    name: String,
    #[command(flatten)]
    source: Source,
}

impl Add {
    async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let text = self.source.text()?.unwrap_or_else(|| format!("FROM tsuru/{}", self.name));
        let form = with_dockerfile(Form::new().text("name", self.name.clone()), text);
        let call = Call::post("1.0", &["platforms"]).multipart(form);
        stream::progress(tsuru.screen, tsuru.api()?.send(call).await?).await
    }
}

/// `platform update NAME`
#[derive(Args, Debug)]
pub(crate) struct Update {
    /// Its name
    name: String,
    #[command(flatten)]
    source: Source,
    /// New apps cannot choose it any more
    #[arg(long, conflicts_with = "enable")]
    disable: bool,
    /// New apps can choose it again
    #[arg(long)]
    enable: bool,
}

impl Update {
    async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let disabled = match (self.disable, self.enable) {
            (true, _) => "true",
            (_, true) => "false",
            _ => "",
        };
        let mut form = Form::new().text("disabled", disabled);
        if let Some(text) = self.source.text()? {
            form = with_dockerfile(form, text);
        }
        let call = Call::put("1.0", &["platforms", &self.name]).multipart(form);
        stream::progress(tsuru.screen, tsuru.api()?.send(call).await?).await
    }
}

async fn info(tsuru: &Tsuru, name: &str, json: bool) -> Result<()> {
    let call = Call::get("1.6", &["platforms", name]);
    let api = tsuru.api()?;
    if json {
        return tsuru.screen.json(&api.read::<Value>(call).await?);
    }
    let info: PlatformInfo = api.read(call).await?;
    let mut facts = Facts::default();
    facts.add("Name", &info.platform.name);
    facts.add("Status", status(&info.platform));
    facts.add("Images", info.images.join("\n"));
    tsuru.screen.write(&facts.to_string())
}

async fn remove(tsuru: &Tsuru, name: &str, yes: AssumeYes) -> Result<()> {
    let api = tsuru.api()?;
    if !tsuru.screen.confirm(yes.assume_yes, format!("Are you sure you want to remove \"{name}\" platform?"))? {
        return Ok(());
    }
    if let Err(error) = api.tell(Call::delete("1.0", &["platforms", name])).await {
        tsuru.screen.say("Failed to remove platform!")?;
        return Err(error);
    }
    tsuru.screen.say("Platform successfully removed!")
}
