//! Pushing code with git. Own addition to the contract: the platform speaks git over HTTP at `/git/APP.git`, and this
//! client is git's credential helper for it, so that a push asks for nothing.

use std::{
    env,
    io::{self, BufRead},
    path::{Path, PathBuf},
    process::{Command as Process, Output},
};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use url::Url;

use super::AppFlag;
use crate::{
    client::{Call, is_loopback},
    session::Tsuru,
    target::Target,
};

/// `git …`
#[derive(Debug, Subcommand)]
pub(crate) enum GitCommand {
    /// Let the repository you stand in push to an app
    Setup(Setup),
    /// Answer git's questions for credentials
    #[command(hide = true)]
    Credential {
        /// What git asks
        operation: Operation,
    },
}

impl GitCommand {
    pub(crate) async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        match self {
            Self::Setup(command) => command.run(tsuru).await,
            Self::Credential { operation: Operation::Get } => credential(tsuru),
            // What this helper hands out is kept and forgotten by `login` and `logout`.
            Self::Credential { operation: Operation::Store | Operation::Erase } => Ok(()),
        }
    }
}

/// What git asks of a credential helper.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Operation {
    /// A user name and a password
    Get,
    /// To keep them
    Store,
    /// To forget them
    Erase,
}

/// `git setup -a APP`
#[derive(Args, Debug)]
pub(crate) struct Setup {
    #[command(flatten)]
    app: AppFlag,
    /// What to call the remote
    #[arg(long, default_value = "tsuru")]
    remote: String,
    /// The repository
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

impl Setup {
    async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let app = self.app.name()?;
        let target = tsuru.target()?;
        let repository = Repository(&self.dir);
        repository.check()?;
        tsuru.api()?.tell(Call::get("1.0", &["apps", app])).await?;
        let url = format!("{}/git/{app}.git", target.url);
        repository.set_remote(&self.remote, &url)?;
        repository.set_helper(&target)?;
        tsuru.screen.say(format!("Remote \"{}\" is {url}", self.remote))?;
        tsuru.screen.say(format!("Deploy with: git push {} main", self.remote))
    }
}

/// A git repository on this disk.
struct Repository<'a>(&'a Path);

impl Repository<'_> {
    fn git(&self, arguments: &[&str]) -> Result<Output> {
        let output = Process::new("git").arg("-C").arg(self.0).args(arguments).output();
        output.context("cannot run git: is it installed?")
    }

    fn must(&self, arguments: &[&str]) -> Result<()> {
        let output = self.git(arguments)?;
        if !output.status.success() {
            bail!("git {} failed: {}", arguments[0], String::from_utf8_lossy(&output.stderr).trim_end());
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        if self.git(&["rev-parse", "--git-dir"])?.status.success() {
            return Ok(());
        }
        bail!("{} is not in a git repository: begin one with git init", self.0.display());
    }

    /// Adds the remote, or points the one that is there to the URL.
    fn set_remote(&self, name: &str, url: &str) -> Result<()> {
        let verb = if self.git(&["remote", "get-url", "--", name])?.status.success() { "set-url" } else { "add" };
        self.must(&["remote", verb, "--", name, url])
    }

    /// Makes this program the only credential helper for the target, in this repository.
    fn set_helper(&self, target: &Target) -> Result<()> {
        let program = env::current_exe().context("cannot tell where this program is")?;
        let program = program.to_str().context("the path of this program is not text")?;
        let helper = format!("!{} --target {} git credential", quoted(program), quoted(&target.url));
        let key = format!("credential.{}.helper", target.url);
        // An empty helper in front switches off those that the user has for everything.
        self.must(&["config", "--local", "--replace-all", &key, ""])?;
        self.must(&["config", "--local", "--add", &key, &helper])?;
        if Url::parse(&target.url).is_ok_and(|url| is_loopback(&url)) {
            self.must(&["config", "--local", "--replace-all", &format!("http.{}.proxy", target.url), ""])?;
        }
        Ok(())
    }
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Answers git: any user name will do, the password is the token. For other hosts it has nothing to say.
fn credential(tsuru: &Tsuru) -> Result<()> {
    let target = tsuru.target()?;
    let asked = Asked::read(io::stdin().lock())?;
    if !asked.is_for(&target) {
        return Ok(());
    }
    match tsuru.token(&target)? {
        Some(token) => tsuru.screen.write(&format!("username=tsuru\npassword={}\n", token.expose())),
        None => bail!("you are not logged in to {}: run tsuru login", target.url),
    }
}

/// Where git wants to go.
#[derive(Debug, Default)]
struct Asked {
    protocol: String,
    host: String,
}

impl Asked {
    /// Reads `key=value` lines up to an empty one, as git writes them.
    fn read(lines: impl BufRead) -> Result<Self> {
        let mut asked = Self::default();
        for line in lines.lines() {
            let line = line?;
            match line.split_once('=') {
                Some(("protocol", value)) => asked.protocol = value.to_owned(),
                Some(("host", value)) => asked.host = value.to_owned(),
                Some(_) => {}
                None => break,
            }
        }
        Ok(asked)
    }

    /// Whether that is the target: a token goes nowhere else.
    fn is_for(&self, target: &Target) -> bool {
        let origin = |text: &str| Url::parse(text).ok().map(|url| url.origin()).filter(url::Origin::is_tuple);
        let asked = origin(&format!("{}://{}", self.protocol, self.host));
        asked.is_some() && asked == origin(&target.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // SPEC C-5
    fn a_token_goes_to_its_target_only() {
        let target = Target { label: None, url: "http://127.0.0.1:8080".to_owned() };
        let is_for = |question: &str| Asked::read(question.as_bytes()).unwrap().is_for(&target);

        assert!(is_for("protocol=http\nhost=127.0.0.1:8080\n\n"));
        assert!(!is_for("protocol=http\nhost=127.0.0.1:9090\n\n"));
        assert!(!is_for("protocol=https\nhost=127.0.0.1:8080\n\n"));
        assert!(!is_for("\n"));
    }
}
