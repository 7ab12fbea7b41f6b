//! Domain names of the user's own (contract section 11.1).

use anyhow::Result;
use clap::{Args, Subcommand};

use super::AppFlag;
use crate::{client::Call, session::Tsuru};

/// `cname …`
#[derive(Debug, Subcommand)]
pub(crate) enum CnameCommand {
    /// Let domain names lead to an app
    Add(Cnames),
    /// Let domain names lead to an app no more
    Remove(Cnames),
}

/// `cname add NAME…`, `cname remove NAME…`
#[derive(Args, Debug)]
pub(crate) struct Cnames {
    /// Domain names; *. in front stands for any one label
    #[arg(required = true, value_name = "NAME")]
    cnames: Vec<String>,
    #[command(flatten)]
    app: AppFlag,
}

impl CnameCommand {
    pub(crate) async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        match self {
            Self::Add(Cnames { cnames, app }) => {
                let call = Call::post("1.0", &["apps", app.name()?, "cname"]).field_each("cname", cnames);
                tsuru.api()?.tell(call).await?;
                tsuru.screen.say("cname successfully defined.")
            }
            Self::Remove(Cnames { cnames, app }) => {
                let call = Call::delete("1.0", &["apps", app.name()?, "cname"]).query_each("cname", cnames);
                tsuru.api()?.tell(call).await?;
                tsuru.screen.say("cname successfully undefined.")
            }
        }
    }
}
