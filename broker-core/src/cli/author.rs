//! What an author adds to the command line.

use std::{fmt, pin::Pin, process::ExitCode, rc::Rc, sync::Arc};

use clap::{ArgMatches, Command, FromArgMatches, Subcommand};

use super::{About, drift::Drift, findings::Findings, program};
use crate::{Authorizer, Broker, Catalog};

type Later<T> = Pin<Box<dyn Future<Output = T>>>;
type CatalogOf<C> = Box<dyn FnOnce(Rc<C>) -> Later<anyhow::Result<Catalog>>>;
type AuthorizerOf<C> = Box<dyn FnOnce(&C) -> anyhow::Result<Arc<dyn Authorizer>>>;
pub(super) type CheckOf<C> = Box<dyn FnOnce(Rc<C>, Findings) -> Later<Findings>>;
pub(super) type ReconcileOf<C> = Box<dyn FnOnce(Rc<C>, Drift) -> Later<anyhow::Result<Drift>>>;
type CommandsOf<X> = Box<dyn FnOnce(X) -> Later<anyhow::Result<()>>>;

/// The command line of a broker's binary, with what its author adds to it.
///
/// ```no_run
/// use broker_core::cli::{About, Cli, Findings, Records};
/// # use async_trait::async_trait;
/// # use broker_core::{Binding, Broker, Catalog, EnvVars, Instance, Notes, Plan, Result};
/// # struct Motd;
/// # #[async_trait]
/// # impl Broker for Motd {
/// #     fn catalog(&self) -> Catalog { Catalog::new("motd".parse().unwrap()) }
/// #     async fn provision(&self, _: &Instance) -> Result<Notes> { Ok(Notes::new()) }
/// #     async fn bind(&self, _: &Instance, _: &Binding) -> Result<EnvVars> { Ok(EnvVars::default()) }
/// # }
///
/// #[derive(clap::Args)]
/// struct Config {
///     /// The word of the day
///     #[arg(long, env = "MOTD_WORD", default_value = "be kind")]
///     word: String,
/// }
///
/// #[derive(clap::Subcommand)]
/// enum Commands {
///     /// Count the instances
///     Count {
///         #[command(flatten)]
///         records: Records,
///     },
/// }
///
/// const ABOUT: About = About::new("motd", env!("CARGO_PKG_VERSION"), "Hands out kind words.");
///
/// #[tokio::main]
/// async fn main() -> std::process::ExitCode {
///     Cli::<Config>::new(ABOUT)
///         .check(async |config: &Config, findings: &mut Findings| match config.word.as_str() {
///             "" => findings.problem("word", "--word is empty, say something kind"),
///             word => findings.found("word", word),
///         })
///         .doctor(async |config: &Config, findings: &mut Findings| {
///             if config.word.len() > 80 {
///                 findings.warning("word", "who shall read all that? choose a shorter one");
///             }
///         })
///         .commands(async |Commands::Count { records }| {
///             println!("{}", records.inspect(ABOUT).await?.instances(None, usize::MAX).await?.len());
///             Ok(())
///         })
///         .run(async |_: Config| Ok(Motd))
///         .await
/// }
/// ```
#[must_use = "a command line does nothing before `run`"]
pub struct Cli<C: clap::Args, X: Subcommand = NoCommands> {
    pub(super) about: About,
    pub(super) catalog: Option<CatalogOf<C>>,
    pub(super) authorizer: Option<AuthorizerOf<C>>,
    pub(super) check: Option<CheckOf<C>>,
    pub(super) doctor: Option<CheckOf<C>>,
    pub(super) reconcile: Option<ReconcileOf<C>>,
    pub(super) commands: CommandsOf<X>,
}

impl<C: clap::Args> Cli<C> {
    /// The framework's subcommands alone.
    pub fn new(about: About) -> Self {
        let commands: CommandsOf<NoCommands> = Box::new(|none| match none {});
        Self { about, catalog: None, authorizer: None, check: None, doctor: None, reconcile: None, commands }
    }

    /// Adds subcommands of the author's own. Their settings come from flags, the environment and the file, like all
    /// others; a [`Records`](super::Records) among them opens the broker's records.
    pub fn commands<X: Subcommand + 'static>(
        self,
        run: impl AsyncFnOnce(X) -> anyhow::Result<()> + 'static,
    ) -> Cli<C, X> {
        let commands: CommandsOf<X> = Box::new(move |command| Box::pin(async move { run(command).await }));
        let Self { about, catalog, authorizer, check, doctor, reconcile, .. } = self;
        Cli { about, catalog, authorizer, check, doctor, reconcile, commands }
    }
}

impl<C: clap::Args + 'static, X: Subcommand> Cli<C, X> {
    /// What the service offers, for `check`, `catalog` and `openapi`, where starting the broker would start servers. The
    /// author's [own operations](crate::Broker::routes) are those of a started broker: `openapi` leaves them out then.
    pub fn catalog(mut self, catalog: impl for<'a> AsyncFnOnce(&'a C) -> anyhow::Result<Catalog> + 'static) -> Self {
        self.catalog = Some(Box::new(move |config| Box::pin(async move { catalog(&config).await })));
        self
    }

    /// Who may call, as the author says, before the lists of the operator's (SPEC T-14). What is wrong with its settings
    /// keeps `serve` from starting, and is found by `check`.
    ///
    /// ```
    /// use broker_core::{Access, Attempt, Authorizer, Credential, Result, Secret, cli::{About, Cli}};
    ///
    /// #[derive(clap::Args)]
    /// struct Config {
    ///     /// Token of the machines
    ///     #[arg(long, env = "MOTD_MACHINES", hide_env_values = true)]
    ///     machines: Option<Secret>,
    /// }
    ///
    /// struct Machines(Option<Secret>);
    ///
    /// #[async_trait::async_trait]
    /// impl Authorizer for Machines {
    ///     async fn authorize(&self, attempt: &Attempt) -> Result<Access> {
    ///         Ok(match (attempt.credential(), &self.0) {
    ///             (Some(Credential::Bearer(token)), Some(known)) if token == known => {
    ///                 Access::Granted("machines".to_owned())
    ///             }
    ///             _ => Access::NotMine,
    ///         })
    ///     }
    /// }
    ///
    /// const ABOUT: About = About::new("motd", "1.0.0", "Hands out kind words.");
    ///
    /// let cli = Cli::<Config>::new(ABOUT).authorize(|config: &Config| Ok(Machines(config.machines.clone())));
    /// ```
    pub fn authorize<A: Authorizer>(mut self, authorizer: impl FnOnce(&C) -> anyhow::Result<A> + 'static) -> Self {
        self.authorizer = Some(Box::new(|config| authorizer(config).map(|made| Arc::new(made) as Arc<dyn Authorizer>)));
        self
    }

    /// What `check` looks at beside the framework's own settings: servers, programs, folders. It changes nothing.
    pub fn check(mut self, check: impl for<'a, 'b> AsyncFnOnce(&'a C, &'b mut Findings) + 'static) -> Self {
        self.check = Some(boxed(check));
        self
    }

    /// Gives the binary the subcommand `doctor`, which begins with what `check` looks at. This is what it looks at
    /// beside that: whether servers let the broker do its work, and what is set up in a way that its operator will
    /// regret. It changes nothing, and no call of it takes long.
    pub fn doctor(mut self, doctor: impl for<'a, 'b> AsyncFnOnce(&'a C, &'b mut Findings) + 'static) -> Self {
        self.doctor = Some(boxed(doctor));
        self
    }

    /// Gives the binary the subcommand `reconcile`, which says what differs between the records and the servers, and
    /// repairs it when it is told to (SPEC X-8). This is what compares them; [`Drift`] has what should be there, takes
    /// what differs, and decides whether it is repaired. Without `--repair` a broker may run beside it: then nothing is
    /// to be taken into use that only one process may have.
    ///
    /// What it returns as an error is what keeps it from looking at anything; a server that is down is
    /// [said](Drift::unseen), and the others are looked at.
    pub fn reconcile(
        mut self,
        compare: impl for<'a, 'b> AsyncFnOnce(&'a C, &'b mut Drift) -> anyhow::Result<()> + 'static,
    ) -> Self {
        self.reconcile = Some(Box::new(move |config, mut drift| {
            Box::pin(async move {
                compare(&config, &mut drift).await?;
                Ok(drift)
            })
        }));
        self
    }
}

fn boxed<C: 'static>(check: impl for<'a, 'b> AsyncFnOnce(&'a C, &'b mut Findings) + 'static) -> CheckOf<C> {
    Box::new(move |config, mut findings| {
        Box::pin(async move {
            check(&config, &mut findings).await;
            findings
        })
    })
}

impl<C: clap::Args, X: Subcommand> Cli<C, X> {
    /// Reads the command line and does what it says, as [`run`](super::run).
    pub async fn run<B: Broker>(self, start: impl AsyncFnOnce(C) -> anyhow::Result<B>) -> ExitCode {
        program::run(self, start).await
    }
}

impl<C: clap::Args, X: Subcommand> fmt::Debug for Cli<C, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cli").field("about", &self.about).finish_non_exhaustive()
    }
}

/// No subcommands beside the framework's.
#[derive(Clone, Copy, Debug)]
pub enum NoCommands {}

impl FromArgMatches for NoCommands {
    fn from_arg_matches(_: &ArgMatches) -> Result<Self, clap::Error> {
        Err(clap::Error::new(clap::error::ErrorKind::InvalidSubcommand))
    }

    fn update_from_arg_matches(&mut self, _: &ArgMatches) -> Result<(), clap::Error> {
        match *self {}
    }
}

impl Subcommand for NoCommands {
    fn augment_subcommands(command: Command) -> Command {
        command
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        command
    }

    fn has_subcommand(_: &str) -> bool {
        false
    }
}
