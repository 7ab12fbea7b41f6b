//! Teams (contract section 5.1).

use anyhow::Result;
use clap::{Args, Subcommand};
use platform_wire::{NewTeam, Team, TeamInfo};

use super::AssumeYes;
use crate::{client::Call, render::Table, session::Tsuru};

/// `team …`
#[derive(Debug, Subcommand)]
pub(crate) enum TeamCommand {
    /// Create a team
    Create(Create),
    /// List your teams
    List {
        /// Only names
        #[arg(short = 'q')]
        simplified: bool,
    },
    /// Show a team: its members, pools and apps
    Info {
        /// Its name
        name: String,
    },
    /// Remove a team
    Remove {
        /// Its name
        name: String,
        #[command(flatten)]
        yes: AssumeYes,
    },
}

impl TeamCommand {
    pub(crate) async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        match self {
            Self::Create(command) => command.run(tsuru).await,
            Self::List { simplified } => list(tsuru, *simplified).await,
            Self::Info { name } => info(tsuru, name).await,
            Self::Remove { name, yes } => remove(tsuru, name, *yes).await,
        }
    }
}

/// `team create NAME`
#[derive(Args, Debug)]
pub(crate) struct Create {
    /// Its name
    name: String,
    /// A label (may be repeated)
    #[arg(short, long = "tag")]
    tags: Vec<String>,
}

impl Create {
    async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let team = NewTeam { name: self.name.clone(), tags: self.tags.clone() };
        tsuru.api()?.tell(Call::post("1.0", &["teams"]).json(&team)).await?;
        tsuru.screen.say(format!("Team \"{}\" successfully created!", self.name))
    }
}

async fn list(tsuru: &Tsuru, simplified: bool) -> Result<()> {
    let mut teams: Vec<Team> = tsuru.api()?.list(Call::get("1.0", &["teams"])).await?;
    teams.sort_by_key(|team| team.name.to_lowercase());
    if simplified {
        return teams.iter().try_for_each(|team| tsuru.screen.say(&team.name));
    }
    let mut table = Table::new(["Team", "Permissions", "Tags"]).ruled();
    for team in teams {
        table.row([team.name, team.permissions.join("\n"), team.tags.join("\n")]);
    }
    tsuru.screen.table(&table)
}

async fn info(tsuru: &Tsuru, name: &str) -> Result<()> {
    let team: TeamInfo = tsuru.api()?.read(Call::get("1.4", &["teams", name])).await?;
    let mut shown = format!("Team: {}\nTags: [{}]\n", team.name, team.tags.join(" "));
    let mut group = |title: &str, column: &str, names: Vec<&String>| {
        if !names.is_empty() {
            let mut table = Table::new([column]);
            names.iter().for_each(|name| table.row([name.as_str()]));
            shown.push_str(&format!("\n{title}: {}\n{}\n", names.len(), table.render(tsuru.screen)));
        }
    };
    group("Users", "User", team.users.iter().map(|user| &user.email).collect());
    group("Pools", "Pool", team.pools.iter().map(|pool| &pool.name).collect());
    group("Applications", "Application", team.apps.iter().map(|app| &app.name).collect());
    tsuru.screen.write(&shown)
}

async fn remove(tsuru: &Tsuru, name: &str, yes: AssumeYes) -> Result<()> {
    let api = tsuru.api()?;
    if !tsuru.screen.confirm(yes.assume_yes, format!("Are you sure you want to remove team \"{name}\"?"))? {
        return Ok(());
    }
    api.tell(Call::delete("1.0", &["teams", name])).await?;
    tsuru.screen.say(format!("Team \"{name}\" successfully removed!"))
}
