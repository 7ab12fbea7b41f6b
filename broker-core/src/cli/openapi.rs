//! `openapi`: the document of the HTTP interface.

use std::{
    io::{self, Write as _},
    rc::Rc,
    sync::Arc,
};

use anyhow::Context as _;

use super::{About, Cli, serve::is_the_service};
use crate::{Broker, Catalog, Routes, ServeError, http::openapi};

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
        let (catalog, own) = offer(cli, self.config, start).await?;
        let text = format!("{:#}\n", openapi::document(&catalog, &own));
        io::stdout().write_all(text.as_bytes()).context("cannot print the document")
    }
}

/// What the service offers: its catalog, where that can be had alone, or else that and the own operations of a broker
/// that is started for it.
pub(super) async fn offer<B: Broker, C: clap::Args, X: clap::Subcommand>(
    cli: Cli<C, X>,
    config: C,
    start: impl AsyncFnOnce(C) -> anyhow::Result<B>,
) -> anyhow::Result<(Catalog, Routes)> {
    match cli.catalog {
        Some(catalog) => Ok((catalog(Rc::new(config)).await?, Routes::new())),
        None => offer_of_started(cli.about, start(config).await?),
    }
}

/// The catalog and the own operations of a broker that was started for that.
pub(super) fn offer_of_started(about: About, broker: impl Broker) -> anyhow::Result<(Catalog, Routes)> {
    is_the_service(about, &broker)?;
    let (catalog, own) = (broker.catalog(), Arc::new(broker).routes());
    match own.refusal() {
        Some(refusal) => Err(ServeError::Routes(refusal).into()),
        None => Ok((catalog, own)),
    }
}
