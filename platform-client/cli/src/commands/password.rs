//! Changing one's own password (contract section 4.4).

use anyhow::{Result, bail};
use clap::Args;

use crate::{client::Call, session::Tsuru};

/// `change-password`
#[derive(Args, Debug)]
pub(crate) struct ChangePassword {}

impl ChangePassword {
    pub(crate) async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let api = tsuru.api()?;
        let old = tsuru.screen.ask_secretly("Current password: ")?;
        let new = tsuru.screen.ask_secretly("\nNew password: ")?;
        let confirm = tsuru.screen.ask_secretly("\nConfirm: ")?;
        tsuru.screen.say("")?;
        if new != confirm {
            bail!("New password and password confirmation didn't match.");
        }
        let call = Call::put("1.0", &["users", "password"])
            .field("old", old.expose())
            .field("new", new.expose())
            .field("confirm", confirm.expose());
        api.tell(call).await?;
        tsuru.screen.say("Password successfully updated!")
    }
}
