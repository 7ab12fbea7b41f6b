//! `manifest`: what registers the broker at a platform.

use std::io::{self, Write as _};

use anyhow::Context as _;

use super::{About, login::Login, network::Address, records::Records};
use crate::Secret;

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Manifest {
    /// Where the platform reaches this broker [default: http:// and the listen address]
    #[arg(long, env = "BROKER_ENDPOINT", value_name = "URL")]
    endpoint: Option<String>,
    /// The team that provides the service
    #[arg(long, env = "BROKER_TEAM", default_value = "admin")]
    team: String,
    #[command(flatten)]
    address: Address,
    #[command(flatten)]
    records: Records,
    #[command(flatten)]
    login: Login,
}

impl Manifest {
    pub(super) fn run(self, about: About) -> anyhow::Result<()> {
        let password = self.login.password(&self.records.folder(about))?;
        io::stdout().write_all(self.text(about, &password).as_bytes()).context("cannot print the manifest")
    }

    /// YAML (contract 7.1); a JSON string is a YAML string, whatever is in it.
    fn text(&self, about: About, password: &Secret) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let endpoint = self.endpoint.clone().unwrap_or_else(|| format!("http://{}", self.address.listen));
        format!(
            "id: {}\nusername: {}\npassword: {}\nteam: {}\nendpoint:\n  production: {}\n",
            about.service,
            quoted(self.login.username(about)),
            quoted(password.expose()),
            quoted(&self.team),
            quoted(&endpoint),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Program {
        #[command(flatten)]
        manifest: Manifest,
    }

    #[test]
    fn the_manifest_is_what_the_platform_wants() {
        let about = About::new("motd", "1.0.0", "Hands out kind words.");
        let arguments = ["manifest", "--listen", "127.0.0.1:9", "--team", "data"];
        let manifest = <Program as clap::Parser>::try_parse_from(arguments).unwrap().manifest;

        let text = manifest.text(about, &Secret::from("a\"b: c"));

        let wanted = "id: motd\nusername: \"motd\"\npassword: \"a\\\"b: c\"\nteam: \"data\"\n\
                      endpoint:\n  production: \"http://127.0.0.1:9\"\n";
        assert_eq!(text, wanted);
    }
}
