//! Which platform to talk to. Local: nothing is asked of any platform (contract section 4.1).

use anyhow::{Context, Result, bail};
use clap::Subcommand;

use crate::{
    session::Tsuru,
    target::{check_label, with_scheme},
};

/// `target …`
#[derive(Debug, Subcommand)]
pub(crate) enum TargetCommand {
    /// Remember a platform
    Add {
        /// What to call it
        label: String,
        /// Where it is
        url: String,
        /// Also make it the current one
        #[arg(short, long)]
        set_current: bool,
    },
    /// List the platforms; a star marks the current one
    List,
    /// Make a platform the current one
    Set {
        /// Its label
        label: String,
    },
    /// Forget a platform
    Remove {
        /// Its label
        label: String,
    },
    /// Say that a platform is somewhere else now
    Update {
        /// Its label
        label: String,
        /// Where it is
        url: String,
        /// Also make it the current one
        #[arg(short, long)]
        set_current: bool,
    },
}

impl TargetCommand {
    pub(crate) fn run(&self, tsuru: &Tsuru) -> Result<()> {
        match self {
            Self::Add { label, url, set_current } => add(tsuru, label, url, *set_current),
            Self::List => list(tsuru),
            Self::Set { label } => set(tsuru, label),
            Self::Remove { label } => remove(tsuru, label),
            Self::Update { label, url, set_current } => update(tsuru, label, url, *set_current),
        }
    }
}

fn add(tsuru: &Tsuru, label: &str, url: &str, set_current: bool) -> Result<()> {
    check_label(label)?;
    check_url(url)?;
    let mut targets = tsuru.files.targets()?;
    if targets.iter().any(|(known, _)| known == label) {
        bail!("Target label provided already exists");
    }
    targets.push((label.to_owned(), url.to_owned()));
    tsuru.files.set_targets(&targets)?;
    let also = make_current(tsuru, url, set_current)?;
    tsuru.screen.say(format!("New target {label} -> {url} added to target list{also}"))
}

fn update(tsuru: &Tsuru, label: &str, url: &str, set_current: bool) -> Result<()> {
    check_url(url)?;
    let mut targets = tsuru.files.targets()?;
    let target = targets.iter_mut().find(|(known, _)| known == label).context("Target not found")?;
    let was_current = is_current(tsuru, &target.1)?;
    target.1 = url.to_owned();
    tsuru.files.set_targets(&targets)?;
    let also = make_current(tsuru, url, set_current)?;
    if was_current && !set_current {
        tsuru.files.set_current(url)?;
    }
    tsuru.screen.say(format!("Target {label} -> {url} updated on target list{also}"))
}

fn make_current(tsuru: &Tsuru, url: &str, wanted: bool) -> Result<&'static str> {
    if !wanted {
        return Ok("");
    }
    tsuru.files.set_current(url)?;
    Ok(" and defined as the current target")
}

fn list(tsuru: &Tsuru) -> Result<()> {
    let current = tsuru.target().ok().map(|target| target.url);
    for (label, url) in tsuru.files.targets()? {
        let mark = if current.as_ref() == Some(&with_scheme(&url)) { '*' } else { ' ' };
        tsuru.screen.say(format!("{mark} {label} ({url})"))?;
    }
    Ok(())
}

fn set(tsuru: &Tsuru, label: &str) -> Result<()> {
    let targets = tsuru.files.targets()?;
    let (_, url) = targets.iter().find(|(known, _)| known == label).context("Target not found")?;
    tsuru.files.set_current(url)?;
    tsuru.screen.say(format!("New target is {label} -> {url}"))
}

fn remove(tsuru: &Tsuru, label: &str) -> Result<()> {
    let targets = tsuru.files.targets()?;
    let (gone, left): (Vec<_>, Vec<_>) = targets.into_iter().partition(|(known, _)| known == label);
    let (_, url) = gone.first().context("Target not found")?;
    tsuru.files.forget_token(&tsuru.files.target(Some(label))?)?;
    tsuru.files.set_targets(&left)?;
    if is_current(tsuru, url)? {
        tsuru.files.forget_current()?;
    }
    Ok(())
}

fn is_current(tsuru: &Tsuru, url: &str) -> Result<bool> {
    Ok(tsuru.files.current()?.is_some_and(|current| with_scheme(&current) == with_scheme(url)))
}

fn check_url(url: &str) -> Result<()> {
    let parsed = url::Url::parse(&with_scheme(url)).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    match parsed {
        Some(parsed) if parsed.has_host() => Ok(()),
        _ => bail!("{url:?} is not the URL of a platform: write it as http://tsuru.example.com"),
    }
}
