//! Sessions: login, logout, version (contract sections 4.2 and 4.3).

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use broker_core::Secret;
use clap::Args;
use platform_wire::{AuthScheme, Token};
use reqwest::StatusCode;

use crate::{
    client::{Api, Call},
    session::Tsuru,
};

/// `login [EMAIL]`
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Login {
    /// Your e-mail address; asked for when it is not given
    email: Option<String>,
    /// How to log in, when the platform offers several ways
    #[arg(short, long)]
    scheme: Option<String>,
}

impl Login {
    pub(crate) async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        tsuru.needs_no_token_variable()?;
        let target = tsuru.target()?;
        // Who logs in has no token yet, or one that has ended.
        let api = Api::new(target.clone(), None, 0)?;
        self.choose_scheme(&api.list(Call::get("1.18", &["auth", "schemes"])).await?)?;
        let email = match &self.email {
            Some(email) => email.clone(),
            None => tsuru.screen.ask("Email: ")?,
        };
        let password = tsuru.screen.ask_secretly("Password: ")?;
        tsuru.screen.say("")?;
        let token = authenticate(&api, &email, &password).await?;
        tsuru.files.set_token(&target, &token)?;
        tsuru.screen.say("Successfully logged in!")
    }

    /// Only passwords can be asked for here.
    fn choose_scheme(&self, schemes: &[AuthScheme]) -> Result<()> {
        let wanted = |scheme: &&AuthScheme| match &self.scheme {
            Some(name) => scheme.name == *name,
            None => scheme.default,
        };
        match schemes.iter().find(wanted) {
            Some(scheme) if scheme.name == "native" => Ok(()),
            Some(scheme) => bail!(
                "this client logs in with a password only, not by {}: set TSURU_TOKEN to a token instead",
                scheme.name
            ),
            None => {
                let names: Vec<_> = schemes.iter().map(|scheme| scheme.name.as_str()).collect();
                let wanted = self.scheme.as_deref().unwrap_or_default();
                bail!("scheme {wanted:?} is not found, valid schemes are: {}", names.join(", "))
            }
        }
    }
}

async fn authenticate(api: &Api, email: &str, password: &Secret) -> Result<Secret> {
    let call = Call::post("1.0", &["users", email, "tokens"]).field("password", password.expose());
    let answer = api.ask(call).await?;
    let status = answer.status();
    if status != StatusCode::OK {
        bail!("failed to authenticate user: {status}, {}", answer.text().await?.trim_end());
    }
    let token: Token = answer.json().await?;
    Ok(Secret::from(token.token))
}

/// `logout`
#[derive(Args, Debug)]
pub(crate) struct Logout {}

impl Logout {
    pub(crate) async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        tsuru.needs_no_token_variable()?;
        let target = tsuru.target()?;
        // The session ends here even if the platform cannot be told, or has ended it already.
        let told = tsuru.api()?.tell(Call::delete("1.0", &["users", "tokens"])).await;
        tsuru.files.forget_token(&target)?;
        if let Err(error) = told
            && !error.is::<crate::client::InvalidSession>()
        {
            eprintln!("Warning: the token was forgotten here, but the server was not told: {error:#}");
        }
        tsuru.screen.say("Successfully logged out!")
    }
}

/// `version`
#[derive(Args, Debug)]
pub(crate) struct Version {}

impl Version {
    pub(crate) async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        tsuru.screen.say(concat!("Client version: ", env!("CARGO_PKG_VERSION"), "."))?;
        match server_version(tsuru).await {
            Ok(version) => tsuru.screen.say(format!("Server version: {version}.")),
            Err(error) => tsuru.screen.say(format!("Unable to retrieve server version: {error:#}")),
        }
    }
}

async fn server_version(tsuru: &Tsuru) -> Result<String> {
    let mut info: BTreeMap<String, String> = tsuru.api()?.read(Call::get("1.0", &["info"])).await?;
    info.remove("version").context("the server does not say which version it has")
}
