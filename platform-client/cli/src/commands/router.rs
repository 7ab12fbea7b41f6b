//! What leads requests to apps (contract sections 6.4 and 11.2).

use anyhow::Result;
use clap::{Args, Subcommand};
use platform_wire::{AppRouter, Router};
use serde_json::Value;

use super::{AppFlag, app::router_addresses};
use crate::{client::Call, render::Table, session::Tsuru};

/// `router …`
#[derive(Debug, Subcommand)]
pub(crate) enum RouterCommand {
    /// List routers
    List(List),
}

impl RouterCommand {
    pub(crate) async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        match self {
            Self::List(command) => command.run(tsuru).await,
        }
    }
}

/// `router list`
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Routers whose name holds this
    #[arg(short, long)]
    name: Option<String>,
    /// Only names
    #[arg(short = 'q')]
    simplified: bool,
    /// JSON for programs
    #[arg(long)]
    json: bool,
}

impl List {
    async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let mut routers: Vec<Router> = tsuru.api()?.list(Call::get("1.3", &["routers"])).await?;
        routers.retain(|router| self.name.as_ref().is_none_or(|name| router.name.contains(name)));
        routers.sort_by_key(|router| router.name.to_lowercase());
        if self.json {
            return tsuru.screen.json(&routers);
        }
        if self.simplified {
            return routers.iter().try_for_each(|router| tsuru.screen.say(&router.name));
        }
        let mut table = Table::new(["Name", "Type", "Info"]);
        for router in routers {
            let kind = if router.dynamic { format!("{} (dynamic)", router.kind) } else { router.kind };
            let info: Vec<_> = router.info.iter().map(|(key, value)| format!("{key}: {value}")).collect();
            table.row([router.name, kind, info.join("\n")]);
        }
        tsuru.screen.table(&table)
    }
}

/// `app router …`
#[derive(Debug, Subcommand)]
pub(crate) enum AppRouterCommand {
    /// List the routers that lead to an app
    List {
        #[command(flatten)]
        app: AppFlag,
        /// JSON for programs
        #[arg(long)]
        json: bool,
    },
}

impl AppRouterCommand {
    pub(crate) async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let Self::List { app, json } = self;
        let call = Call::get("1.5", &["apps", app.name()?, "routers"]);
        let api = tsuru.api()?;
        if *json {
            return tsuru.screen.json(&api.list::<Value>(call).await?);
        }
        let routers: Vec<AppRouter> = api.list(call).await?;
        if routers.is_empty() {
            return tsuru.screen.say("No routers available for app.");
        }
        tsuru.screen.table(&app_table(&routers))
    }
}

fn app_table(routers: &[AppRouter]) -> Table {
    let options = routers.iter().any(|router| !router.opts.is_empty());
    let mut columns = vec!["Name", "Addresses", "Status"];
    if options {
        columns.insert(1, "Opts");
    }
    let mut table = Table::with_columns(columns.into_iter().map(str::to_owned).collect());
    for router in routers {
        let detail =
            if router.status_detail.is_empty() { String::new() } else { format!(": {}", router.status_detail) };
        let status = format!("{}{detail}", router.status);
        let mut row = vec![router.name.clone(), router_addresses(router).join("\n"), status];
        if options {
            let opts: Vec<_> = router.opts.iter().map(|(key, value)| format!("{key}: {value}")).collect();
            row.insert(1, opts.join("\n"));
        }
        table.row(row);
    }
    table
}
