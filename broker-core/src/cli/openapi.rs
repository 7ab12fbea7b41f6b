//! `openapi`: the document of the HTTP interface.

use std::{
    io::{self, Write as _},
    rc::Rc,
};

use anyhow::Context as _;

use super::{About, Cli, serve::is_the_service};
use crate::{Broker, Catalog, http::openapi};

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct OpenApi<C: clap::Args> {
    #[command(flatten, next_help_heading = "The service")]
    config: C,
}

impl<C: clap::Args> OpenApi<C> {
    pub(super) async fn run<B: Broker, X: clap::Subcommand>(
        self,
        cli: Cli<C, X>,
        start: impl AsyncFnOnce(C) -> anyhow::Result<B>,
    ) -> anyhow::Result<()> {
        let catalog = match cli.catalog {
            Some(catalog) => catalog(Rc::new(self.config)).await?,
            None => catalog_of_started(cli.about, start(self.config).await?)?,
        };
        let text = format!("{:#}\n", openapi::document(&catalog));
        io::stdout().write_all(text.as_bytes()).context("cannot print the document")
    }
}

/// Of a broker that was started for that.
pub(super) fn catalog_of_started(about: About, broker: impl Broker) -> anyhow::Result<Catalog> {
    is_the_service(about, &broker)?;
    Ok(broker.catalog())
}
