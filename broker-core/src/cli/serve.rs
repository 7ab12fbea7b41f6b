//! `serve`: the broker, until it is told to stop.

use anyhow::Context as _;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tracing::info;

use super::{
    About, Cli,
    logging::Logging,
    login::{Guests, Login},
    network::{Address, Network},
    records::Records,
    timing::Timing,
};
use crate::{Broker, BrokerServer, Reload, ServeError};

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Serve<C: clap::Args> {
    #[command(flatten)]
    pub(super) settings: Settings,
    #[command(flatten, next_help_heading = "The service")]
    pub(super) config: C,
}

/// All that is the framework's.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Settings {
    #[command(flatten)]
    pub(super) address: Address,
    #[command(flatten)]
    pub(super) network: Network,
    #[command(flatten)]
    pub(super) records: Records,
    #[command(flatten)]
    pub(super) login: Login,
    #[command(flatten)]
    pub(super) guests: Guests,
    #[command(flatten)]
    pub(super) timing: Timing,
    #[command(flatten)]
    logging: Logging,
}

impl<C: clap::Args> Serve<C> {
    /// The cheap refusals come first: a taken port is known before the author starts any server.
    pub(super) async fn run<B: Broker, X: clap::Subcommand>(
        self,
        cli: Cli<C, X>,
        start: impl AsyncFnOnce(C) -> anyhow::Result<B>,
    ) -> anyhow::Result<()> {
        let about = cli.about;
        let Settings { address, network, records, login, guests, timing, logging } = self.settings;
        logging.begin();
        if let Some(tls) = network.tls()? {
            tls.check()?;
        }
        let authorizer = cli.authorizer.map(|authorizer| authorizer(&self.config)).transpose()?;
        let password = login.password(&records.folder(about))?;
        let state = records.open(about).await?;
        let address = address.listen;
        let listener = TcpListener::bind(address).await.map_err(|cause| ServeError::Listen { address, cause })?;
        let broker = start(self.config).await?;
        is_the_service(about, &broker)?;
        let stop = stop_signal()?;
        let server = BrokerServer::new(broker, state).accept(login.username(about), &password);
        let server = match authorizer {
            Some(authorizer) => server.authorize(authorizer),
            None => server,
        };
        let server = timing.set(network.set(guests.let_in(server))?);
        reload_on_hangup(server.reload())?;
        server.on(listener)?.serve_until(stop).await?;
        Ok(())
    }
}

/// A binary that says it is for one service and serves another would be registered under the wrong name.
pub(super) fn is_the_service(about: About, broker: &dyn Broker) -> anyhow::Result<()> {
    let service = broker.catalog().service;
    anyhow::ensure!(service.as_str() == about.service, "the binary is for {}, its broker for {service}", about.service);
    Ok(())
}

/// Completes when the process is asked to stop.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Has files read again when the process gets SIGHUP, for as long as it runs.
fn reload_on_hangup(reload: Reload) -> anyhow::Result<()> {
    let mut hangup = signal(SignalKind::hangup()).context("cannot listen for signals")?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            info!("told to read credentials and certificates again");
            reload.now();
        }
    });
    Ok(())
}
