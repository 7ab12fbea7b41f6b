//! `catalog`: what the service offers, as a page for people.

use std::io::{self, Write as _};

use anyhow::Context as _;

use super::{Cli, catalog_page::page, openapi::offer};
use crate::Broker;

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct ShowCatalog<C: clap::Args> {
    #[command(flatten, next_help_heading = "The service")]
    config: C,
}

impl<C: clap::Args> ShowCatalog<C> {
    pub(super) async fn run<B: Broker, X: clap::Subcommand>(
        self,
        cli: Cli<C, X>,
        start: impl AsyncFnOnce(C) -> anyhow::Result<B>,
    ) -> anyhow::Result<()> {
        let (catalog, _) = offer(cli, self.config, start).await?;
        io::stdout().write_all(page(&catalog).as_bytes()).context("cannot print the catalog")
    }
}
