//! `reconcile`: what differs between the records and the servers, and its repair (SPEC ).

use std::rc::Rc;
#[cfg(feature = "postgres")]
use std::time::{Duration, Instant};

use anyhow::Context as _;

#[cfg(feature = "postgres")]
use super::timing::Lease;
use super::{
    About, Cli,
    drift::{Counts, Drift, Orphans, Print},
    optional::Named,
    records::{Place, Records},
};
#[cfg(feature = "postgres")]
use crate::Secret;
use crate::{Inspection, OpaqueId, State};

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Reconcile<C: clap::Args> {
    /// Repair what differs: give instances and bindings back what they lost, and the rights that their plans say
    #[arg(long)]
    repair: bool,
    /// Remove orphans, too: all of them, or those whose identifiers follow after `=`. Their data is lost. Another broker
    /// on the same servers, with records of its own, may own them: look at the list first
    #[arg(long, value_name = "ID", num_args = 0.., require_equals = true, value_delimiter = ',', requires = "repair")]
    remove_orphans: Option<Vec<OpaqueId>>,
    /// An object a line, with `kind`, `what`, `id`, `text`, `outcome` and `why`
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    records: Records,
    #[cfg(feature = "postgres")]
    #[command(flatten)]
    lease: Lease,
    #[command(flatten, next_help_heading = "The service")]
    config: C,
}

impl<C: clap::Args> Named for Reconcile<C> {
    const NAME: &str = NAME;
    const ABOUT: &str = "Say what differs between the records and the servers, and repair it with --repair";
    const LONG_ABOUT: Option<&str> = Some(
        "Say what differs between the records and the servers, and repair it with --repair.\n\n\
        A line for each thing: `missing` is what the records have and no server has; `differs` what has other rights or \
        settings than its plan says; `orphan` what a server has and the records don't know; `unseen` what could not be \
        looked at.\n\n\
        Without --repair nothing is changed, and the broker may run. With it the broker must not run; of a broker with \
        several replicas, none. While it serves it gives back by itself what instances lost, every few seconds. \
        Interrupted anywhere, the same command does the rest.\n\n\
        The exit status is 0 when nothing differs any more, 3 when something does, 1 when something could not be looked \
        at or repaired.",
    );
}

const NAME: &str = "reconcile";

/// Whether a flag of this subcommand is said each time anew, and is no setting: nobody finds all orphans removed since a
/// file says so.
pub(super) fn is_order(subcommand: &clap::Command, flag: &str) -> bool {
    subcommand.get_name() == NAME && matches!(flag, "repair" | "remove-orphans")
}

impl<C: clap::Args> Reconcile<C> {
    pub(super) async fn run<X: clap::Subcommand>(self, cli: Cli<C, X>) -> anyhow::Result<()> {
        let compare = cli.reconcile.context("this broker compares nothing")?;
        let print = if self.json { Print::Json } else { Print::Text };
        if !self.repair {
            let look = self.records.inspect(cli.about).await?;
            let before = Drift::of_look(look.remembered().await?);
            let mut drift = compare(Rc::new(self.config), before).await?;
            drift.confirm(&look.remembered().await?);
            drift.print(print)?;
            return ended(drift.counts(), false);
        }
        #[cfg(feature = "postgres")]
        let alone = Alone::on(&self.records, cli.about, self.lease.length()).await?;
        #[cfg(not(feature = "postgres"))]
        let alone = Alone::on(&self.records, cli.about).await?;
        let remembered = self.records.inspect(cli.about).await?.remembered().await?;
        let orphans = match self.remove_orphans {
            None => Orphans::None,
            Some(ids) if ids.is_empty() => Orphans::All,
            Some(ids) => Orphans::These(ids.into_iter().collect()),
        };
        anyhow::ensure!(
            orphans == Orphans::None || !remembered.known.is_empty(),
            "the records have no instance, and all that is on the servers would be removed: if these are the right \
             records, remove it by hand"
        );
        let drift = Drift::of_repair(remembered, orphans, alone, print);
        let drift = compare(Rc::new(self.config), drift).await?;
        let never_found = drift.never_found();
        anyhow::ensure!(
            never_found.is_empty(),
            "no orphan of that name was found, it is gone or the records know it: {}",
            never_found.join(", ")
        );
        ended(drift.counts(), true)
    }
}

fn ended(Counts { repaired, found, orphans, failed }: Counts, is_repair: bool) -> anyhow::Result<()> {
    let things = |number: usize| if number == 1 { "one thing".to_owned() } else { format!("{number} things") };
    if failed > 0 {
        anyhow::bail!("{} could not be looked at or repaired, see above", things(failed));
    }
    let done = if repaired > 0 { format!("{} repaired, ", things(repaired)) } else { String::new() };
    if (found, orphans) == (0, 0) {
        eprintln!("{done}nothing differs");
        return Ok(());
    }
    let to_repair = (found > 0).then(|| format!("{} to repair: stop the broker and say `--repair`", things(found)));
    let to_remove = (orphans > 0).then(|| {
        let what = if orphans == 1 { "one orphan".to_owned() } else { format!("{orphans} orphans") };
        let left = if is_repair { "left" } else { "found" };
        format!("{what} {left}: see that no other broker owns what `--repair --remove-orphans` would remove")
    });
    let sentences: Vec<String> = to_repair.into_iter().chain(to_remove).collect();
    Err(Differs(format!("{done}{}", sentences.join("; "))).into())
}

/// Something differs still: no failure, and no success either.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Differs(String);

impl Differs {
    pub(super) const STATUS: u8 = 3;
}

/// That no broker runs on the records while something is repaired: what a server has and the records don't know could
/// else be what a broker is making at the moment.
pub(super) enum Alone {
    /// The records' folder is ours as long as this lives.
    Folder { _lock: State },
    /// No replica said lately that it lives, nor since this began.
    #[cfg(feature = "postgres")]
    Database { url: Secret, lease: Duration, began: Instant },
    /// In tests.
    Surely,
}

impl Alone {
    async fn on(records: &Records, about: About, #[cfg(feature = "postgres")] lease: Duration) -> anyhow::Result<Self> {
        // What is not there is not to be made.
        let _: Inspection = records.inspect(about).await?;
        match records.place(about)? {
            Place::Folder(folder) => {
                let lock = State::open(&folder).await;
                let lock =
                    lock.context("nothing is repaired while a broker runs, which gives back itself what is lost")?;
                Ok(Self::Folder { _lock: lock })
            }
            #[cfg(feature = "postgres")]
            Place::Database(url, _) => {
                let alone = Self::Database { url, lease, began: Instant::now() };
                alone.still().await?;
                Ok(alone)
            }
        }
    }

    #[cfg_attr(not(feature = "postgres"), expect(clippy::unused_async, reason = "a folder is locked once for all"))]
    pub(super) async fn still(&self) -> anyhow::Result<()> {
        match self {
            Self::Folder { .. } | Self::Surely => Ok(()),
            #[cfg(feature = "postgres")]
            Self::Database { url, lease, began } => {
                let lives = State::database_is_in_use(url, *lease + began.elapsed()).await?;
                anyhow::ensure!(
                    !lives,
                    "a replica said a moment ago that it lives, and nothing is repaired meanwhile: stop all replicas"
                );
                Ok(())
            }
        }
    }
}

impl std::fmt::Debug for Alone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Alone").finish_non_exhaustive()
    }
}
