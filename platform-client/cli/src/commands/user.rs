//! Users (contract section 4.4).

use anyhow::{Result, bail};
use clap::Subcommand;
use platform_wire::{Role, User};

use super::AssumeYes;
use crate::{
    client::{Api, Call},
    render::Table,
    session::Tsuru,
};

/// `user …`
#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Show who you are and what you may do
    Info,
    /// List users
    List {
        /// Only this one
        #[arg(short, long)]
        user: Option<String>,
        /// Only those with this role
        #[arg(short, long)]
        role: Option<String>,
        /// Only those with the role for this
        #[arg(short, long)]
        context: Option<String>,
    },
    /// Create a user
    Create {
        /// E-mail address
        email: String,
    },
    /// Remove a user
    Remove {
        /// E-mail address; you, when it is not given
        email: Option<String>,
        #[command(flatten)]
        yes: AssumeYes,
    },
}

impl UserCommand {
    pub(crate) async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        match self {
            Self::Info => info(tsuru).await,
            Self::List { user, role, context } => {
                list(tsuru, [("userEmail", user), ("role", role), ("context", context)]).await
            }
            Self::Create { email } => create(tsuru, email).await,
            Self::Remove { email, yes } => remove(tsuru, email.as_deref(), *yes).await,
        }
    }
}

/// Who the caller is.
pub(super) async fn myself(api: &Api) -> Result<User> {
    api.read(Call::get("1.0", &["users", "info"])).await
}

async fn info(tsuru: &Tsuru) -> Result<()> {
    let user = myself(&tsuru.api()?).await?;
    tsuru.screen.say(format!("Email: {}", user.email))?;
    listed(tsuru, "Roles", user.roles.iter().map(|role| named(role, "")))?;
    listed(tsuru, "Permissions", user.permissions.iter().map(|permission| named(permission, "*")))?;
    if user.groups.is_empty() { Ok(()) } else { listed(tsuru, "Groups", user.groups.into_iter()) }
}

fn listed(tsuru: &Tsuru, title: &str, lines: impl Iterator<Item = String>) -> Result<()> {
    let mut lines: Vec<_> = lines.collect();
    lines.sort();
    tsuru.screen.say(format!("{title}:"))?;
    lines.iter().try_for_each(|line| tsuru.screen.say(format!("\t{line}")))
}

/// `name(type value)`, with `unnamed` for an empty name.
fn named(role: &Role, unnamed: &str) -> String {
    let name = if role.name.is_empty() { unnamed } else { &role.name };
    let context = format!("{} {}", role.context_type, role.context_value);
    let group = if role.group.is_empty() { String::new() } else { format!(" (group {})", role.group) };
    format!("{name}({}){group}", context.trim())
}

async fn list(tsuru: &Tsuru, filters: [(&str, &Option<String>); 3]) -> Result<()> {
    let call = filters.iter().fold(Call::get("1.0", &["users"]), |call, (name, value)| {
        call.query(name, value.as_deref().unwrap_or_default())
    });
    let users: Vec<User> = tsuru.api()?.list(call).await?;
    let mut table = Table::new(["User", "Roles"]).ruled();
    for user in users {
        let mut roles: Vec<_> = user.roles.iter().map(|role| named(role, "")).collect();
        roles.sort();
        table.row([user.email, roles.join("\n")]);
    }
    table.sort();
    tsuru.screen.table(&table)
}

async fn create(tsuru: &Tsuru, email: &str) -> Result<()> {
    let api = tsuru.api()?;
    let password = tsuru.screen.ask_secretly("Password: ")?;
    let again = tsuru.screen.ask_secretly("\nConfirm: ")?;
    tsuru.screen.say("")?;
    if password != again {
        bail!("Passwords didn't match.");
    }
    let call = Call::post("1.0", &["users"]).field("email", email).field("password", password.expose());
    api.tell(call).await?;
    tsuru.screen.say(format!("User \"{email}\" successfully created!"))
}

async fn remove(tsuru: &Tsuru, email: Option<&str>, yes: AssumeYes) -> Result<()> {
    let api = tsuru.api()?;
    let email = match email {
        Some(email) => email.to_owned(),
        None => myself(&api).await?.email,
    };
    let question = format!("Are you sure you want to remove the user \"{email}\" from tsuru?");
    if !tsuru.screen.confirm(yes.assume_yes, question)? {
        return Ok(());
    }
    api.tell(Call::delete("1.0", &["users"]).query("user", &email)).await?;
    tsuru.screen.say(format!("User \"{email}\" successfully removed."))
}
