//! What differs between the records and the servers, a line each, and what became of it (SPEC X-8 to X-10).

use std::{
    collections::HashSet,
    error::Error as StdError,
    fmt::{self, Display},
    io::Write as _,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use serde::Serialize;
use tokio::time::timeout;

use super::{
    reconcile::Alone,
    show::{json_line, output, plain},
};
use crate::{
    BoxError, BrokerError, OpaqueId, Result, Secret, Tenant,
    author::{discreet_here, discreetly, secrets_of},
    inspect::Remembered,
};

/// How long one repair may take: as long as a call of the author's, unless told otherwise.
const REPAIR_WITHIN: Duration = Duration::from_secs(280);

/// What the records say should be there, and what was found to differ from it.
///
/// An author compares [`tenants`](Self::tenants) with what the servers have and says what differs, each with how it is
/// repaired. Whether that is done is decided here: without `--repair` nothing that changes a server is ever called, and
/// an orphan is removed only when the operator wants that, too.
///
/// ```
/// # use std::collections::HashSet;
/// # use broker_core::{Broker, OpaqueId, Result, cli::Drift};
/// # struct Server;
/// # impl Server {
/// #     async fn databases(&self) -> Result<HashSet<OpaqueId>> { Ok(HashSet::new()) }
/// #     async fn drop(&self, _: &OpaqueId) -> Result<()> { Ok(()) }
/// # }
/// async fn compare(server: &Server, broker: &impl Broker, drift: &mut Drift) {
///     let there = match server.databases().await {
///         Ok(there) => there,
///         Err(why) => return drift.unseen("server", why),
///     };
///     for tenant in drift.tenants().iter().filter(|tenant| !there.contains(&tenant.instance.id)) {
///         let repair = async || broker.reconcile(tenant).await;
///         drift.missing(&tenant.instance.id, "server", "its database is not there", repair).await;
///     }
///     for id in there {
///         if !drift.knows(&id) {
///             drift.orphan(&id, "server", "a database", async || server.drop(&id).await).await;
///         }
///     }
///     drift.seen("server", "all its databases were looked at");
/// }
/// ```
#[derive(Debug)]
pub struct Drift {
    tenants: Arc<[Tenant]>,
    known: HashSet<OpaqueId>,
    way: Way,
    lines: Vec<Line>,
    /// Lines are printed as they come: whatever ends the command, what was done is told.
    printed: Option<Print>,
}

/// What is done with what differs.
#[derive(Debug)]
enum Way {
    Look,
    Repair { orphans: Orphans, alone: Alone },
}

/// Which orphans are removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Orphans {
    None,
    These(HashSet<OpaqueId>),
    All,
}

/// How lines are printed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Print {
    Text,
    Json,
}

#[derive(Debug, Serialize)]
struct Line {
    kind: Kind,
    what: String,
    /// Of the instance or binding.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<OpaqueId>,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    /// Why it could not be repaired.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Ok,
    Missing,
    Differs,
    Orphan,
    Unseen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Found,
    Repaired,
    Removed,
    Left,
    Failed,
}

/// How it went, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) repaired: usize,
    /// What differs still and could have been repaired.
    pub(super) found: usize,
    /// Orphans that differ still.
    pub(super) orphans: usize,
    /// What could not be looked at or repaired.
    pub(super) failed: usize,
}

/// For an author's tests; the subcommand makes its own.
impl Drift {
    /// To find out what differs from these instances, changing nothing.
    #[must_use]
    pub fn look(tenants: Vec<Tenant>) -> Self {
        Self::new(Remembered::of(tenants), Way::Look, None)
    }

    /// To repair what differs, too.
    #[must_use]
    pub fn repair(tenants: Vec<Tenant>) -> Self {
        Self::new(Remembered::of(tenants), Way::Repair { orphans: Orphans::None, alone: Alone::Surely }, None)
    }

    /// Removes orphans, too, where it repairs.
    #[must_use]
    pub fn removing_orphans(mut self) -> Self {
        if let Way::Repair { orphans, .. } = &mut self.way {
            *orphans = Orphans::All;
        }
        self
    }

    /// Something is being done to these instances or bindings.
    #[must_use]
    pub fn knowing(mut self, ids: impl IntoIterator<Item = OpaqueId>) -> Self {
        self.known.extend(ids);
        self
    }
}

impl Drift {
    fn new(Remembered { tenants, known }: Remembered, way: Way, printed: Option<Print>) -> Self {
        Self { tenants: tenants.into(), known, way, lines: Vec::new(), printed }
    }

    pub(super) fn of_look(remembered: Remembered) -> Self {
        Self::new(remembered, Way::Look, None)
    }

    pub(super) fn of_repair(remembered: Remembered, orphans: Orphans, alone: Alone, print: Print) -> Self {
        Self::new(remembered, Way::Repair { orphans, alone }, Some(print))
    }

    /// The instances that should work, with the bindings that should. Instances and bindings that something is being
    /// done to are left out: what is missing of them need not be missing.
    #[must_use]
    pub fn tenants(&self) -> Arc<[Tenant]> {
        Arc::clone(&self.tenants)
    }

    /// Whether the records have an instance or binding that may have something on a server, whatever its state. What
    /// they don't know is an orphan.
    #[must_use]
    pub fn knows(&self, id: &OpaqueId) -> bool {
        self.known.contains(id)
    }

    /// Whether something will be repaired: then no broker runs beside this one.
    #[must_use]
    pub fn repairs(&self) -> bool {
        matches!(self.way, Way::Repair { .. })
    }

    /// Says that something was looked at, in a few words: `drift.seen("shared server a", "12 instances")`.
    pub fn seen(&mut self, what: impl Display, text: impl Display) {
        self.add(Kind::Ok, what, None, text, None);
    }

    /// Says that something can't be looked at, and why. The rest goes on.
    pub fn unseen(&mut self, what: impl Display, why: impl Into<BoxError>) {
        let why = told(discreet_here(BrokerError::Unavailable(why.into())));
        self.add(Kind::Unseen, what, None, why, None);
    }

    /// Something of an instance or binding is not where the records have it. `repair` makes it again.
    pub async fn missing(
        &mut self,
        of: &OpaqueId,
        what: impl Display,
        text: impl Display,
        repair: impl AsyncFnOnce() -> Result<()>,
    ) {
        let outcome = self.repaired(of, repair).await;
        self.add(Kind::Missing, what, Some(of), text, Some(outcome));
    }

    /// Something of an instance or binding is there and not as its plan and the records have it. `repair` makes it so.
    pub async fn differs(
        &mut self,
        of: &OpaqueId,
        what: impl Display,
        text: impl Display,
        repair: impl AsyncFnOnce() -> Result<()>,
    ) {
        let outcome = self.repaired(of, repair).await;
        self.add(Kind::Differs, what, Some(of), text, Some(outcome));
    }

    /// A server has something that is named like an instance or binding of this broker's and that the records don't
    /// know. Another broker with other records may own it, so `removal` is called only when the operator wants that.
    /// What the records do know is no orphan, and nothing is said of it.
    pub async fn orphan(
        &mut self,
        id: &OpaqueId,
        what: impl Display,
        text: impl Display,
        removal: impl AsyncFnOnce() -> Result<()>,
    ) {
        if self.knows(id) {
            return;
        }
        let outcome = match &self.way {
            Way::Look => (Outcome::Found, None),
            Way::Repair { orphans, .. } if !orphans.has(id) => (Outcome::Left, None),
            Way::Repair { alone, .. } => tried(alone, Vec::new(), Outcome::Removed, removal).await,
        };
        self.add(Kind::Orphan, what, Some(id), text, Some(outcome));
    }

    async fn repaired(&self, of: &OpaqueId, repair: impl AsyncFnOnce() -> Result<()>) -> (Outcome, Option<String>) {
        let Way::Repair { alone, .. } = &self.way else { return (Outcome::Found, None) };
        let is_of =
            |tenant: &&Tenant| tenant.instance.id == *of || tenant.bindings.iter().any(|binding| binding.id == *of);
        let secrets = self.tenants.iter().filter(is_of).flat_map(secrets_of).cloned().collect();
        tried(alone, secrets, Outcome::Repaired, repair).await
    }

    fn add(
        &mut self,
        kind: Kind,
        what: impl Display,
        id: Option<&OpaqueId>,
        text: impl Display,
        outcome: Option<(Outcome, Option<String>)>,
    ) {
        let (outcome, why) = outcome.map_or((None, None), |(outcome, why)| (Some(outcome), why));
        let (what, text) = (plain(&what.to_string()), plain(&text.to_string()));
        let line = Line { kind, what, id: id.cloned(), text, outcome, why };
        if let Some(print) = self.printed {
            // Who does not read what is done lets it be done all the same.
            let _ = print.line(&mut output(), &line);
        }
        self.lines.push(line);
    }
}

/// Runs a repair, unless a broker has begun to run.
async fn tried(
    alone: &Alone,
    secrets: Vec<Secret>,
    done: Outcome,
    repair: impl AsyncFnOnce() -> Result<()>,
) -> (Outcome, Option<String>) {
    if let Err(why) = alone.still().await {
        return (Outcome::Failed, Some(format!("{why:#}")));
    }
    let repair = discreetly(secrets, async { repair().await.map_err(discreet_here) });
    match timeout(REPAIR_WITHIN, repair).await {
        Ok(Ok(())) => (done, None),
        Ok(Err(error)) => (Outcome::Failed, Some(told(error))),
        Err(_) => (Outcome::Failed, Some(format!("it takes longer than {} s", REPAIR_WITHIN.as_secs()))),
    }
}

/// A failure for the operator: its causes, where its own text is for others.
fn told(error: BrokerError) -> String {
    // What users read when a service fails has its own causes.
    let for_others = [BrokerError::unavailable(""), BrokerError::failed("")].map(|error| error.to_string());
    let (mut texts, mut next) = (Vec::new(), StdError::source(&error));
    while let Some(cause) = next {
        let (text, deeper) = (cause.to_string(), cause.source());
        if !for_others.contains(&text) && texts.last() != Some(&text) {
            texts.push(text);
        }
        next = deeper;
    }
    let text = if texts.is_empty() { error.to_string() } else { texts.join(": ") };
    plain(&text)
}

impl Orphans {
    fn has(&self, id: &OpaqueId) -> bool {
        match self {
            Self::None => false,
            Self::These(ids) => ids.contains(id),
            Self::All => true,
        }
    }
}

/// What becomes of the lines.
impl Drift {
    /// What the records say after the look goes, too: what was made meanwhile is no orphan, and of what is being removed
    /// nothing is missing.
    pub(super) fn confirm(&mut self, later: &Remembered) {
        let is_tenant: HashSet<&OpaqueId> = later
            .tenants
            .iter()
            .flat_map(|tenant| tenant.bindings.iter().map(|binding| &binding.id).chain([&tenant.instance.id]))
            .collect();
        self.lines.retain(|Line { kind, id, .. }| match (kind, id) {
            (Kind::Orphan, Some(id)) => !later.known.contains(id),
            (Kind::Missing | Kind::Differs, Some(id)) => is_tenant.contains(id),
            _ => true,
        });
    }

    pub(super) fn print(&self, print: Print) -> anyhow::Result<()> {
        let mut out = output();
        self.lines.iter().try_for_each(|line| print.line(&mut out, line))?;
        out.flush().context("cannot print")
    }

    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for line in &self.lines {
            match (line.kind, line.outcome) {
                (Kind::Unseen, _) | (_, Some(Outcome::Failed)) => counts.failed += 1,
                (_, Some(Outcome::Repaired | Outcome::Removed)) => counts.repaired += 1,
                (Kind::Orphan, _) => counts.orphans += 1,
                (Kind::Missing | Kind::Differs, _) => counts.found += 1,
                (Kind::Ok, _) => {}
            }
        }
        counts
    }

    /// Of the orphans that were to be removed, those that there are not.
    pub(super) fn never_found(&self) -> Vec<String> {
        let Way::Repair { orphans: Orphans::These(wanted), .. } = &self.way else { return Vec::new() };
        let is_found =
            |id: &&OpaqueId| self.lines.iter().any(|line| line.kind == Kind::Orphan && line.id.as_ref() == Some(id));
        let mut missing: Vec<_> = wanted.iter().filter(|id| !is_found(id)).map(ToString::to_string).collect();
        missing.sort();
        missing
    }
}

impl Print {
    fn line(self, out: &mut impl std::io::Write, line: &Line) -> anyhow::Result<()> {
        match self {
            Self::Json => json_line(&mut *out, line),
            Self::Text => writeln!(out, "{line}").context("cannot print"),
        }
    }
}

/// A line as it is printed. Columns have a width of their own, since lines come one by one.
impl Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match (self.outcome, self.kind) {
            (Some(Outcome::Repaired), _) => "repaired",
            (Some(Outcome::Removed), _) => "removed",
            (_, Kind::Ok) => "ok",
            (_, Kind::Missing) => "missing",
            (_, Kind::Differs) => "differs",
            (_, Kind::Orphan) => "orphan",
            (_, Kind::Unseen) => "unseen",
        };
        write!(f, "{word:<8}  {:<24}  ", self.what)?;
        if let Some(id) = &self.id {
            write!(f, "{id}  ")?;
        }
        write!(f, "{}", self.text)?;
        match (&self.why, self.outcome) {
            (Some(why), _) => write!(f, "; this could not be repaired: {why}"),
            (None, Some(Outcome::Left)) => write!(f, "; it is left there"),
            (None, _) => Ok(()),
        }
    }
}

/// All lines, as they are printed.
impl Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Instance;

    fn tenant() -> Tenant {
        Tenant::new(Instance::new("cache".parse().unwrap(), "small".parse().unwrap()), Vec::new())
    }

    #[tokio::test] // SPEC X-8
    async fn a_look_calls_nothing_that_repairs() {
        let (tenant, other) = (tenant(), OpaqueId::generate());
        let mut drift = Drift::look(vec![tenant.clone()]).removing_orphans();
        let never = async || -> Result<()> { panic!("a look changes something") };

        drift.missing(&tenant.instance.id, "server", "its database", never).await;
        drift.differs(&tenant.instance.id, "server", "its rights", never).await;
        drift.orphan(&other, "server", "a database", never).await;

        assert!(!drift.repairs());
        assert_eq!(drift.counts(), Counts { found: 2, orphans: 1, ..Counts::default() });
        assert!(drift.to_string().lines().nth(2).unwrap().starts_with("orphan    server  "), "{drift}");
    }

    #[tokio::test] // SPEC X-9
    async fn orphans_are_left_unless_they_are_asked_for_and_what_is_known_is_none() {
        let (tenant, busy, other) = (tenant(), OpaqueId::generate(), OpaqueId::generate());
        let fine = async || Ok(());
        for (drift, removed) in
            [(Drift::repair(vec![tenant.clone()]), 0), (Drift::repair(vec![tenant.clone()]).removing_orphans(), 1)]
        {
            let mut drift = drift.knowing([busy.clone()]);
            for id in [&tenant.instance.id, &busy, &other] {
                drift.orphan(id, "server", "a database", fine).await;
            }

            assert_eq!(drift.counts(), Counts { repaired: removed, orphans: 1 - removed, ..Counts::default() });
        }
    }

    #[tokio::test] // SPEC S-11
    async fn a_repair_that_fails_is_told_with_its_cause_and_without_a_secret() {
        let tenant = tenant();
        let mut drift = Drift::repair(vec![tenant.clone()]);
        let secret = tenant.instance.secret.expose();

        let fails = async || Err(BrokerError::unavailable(format!("AUTH {secret} was refused")));
        drift.missing(&tenant.instance.id, "server", "its account", fails).await;
        drift.unseen("server", BrokerError::failed(BrokerError::failed("redis://a:hunter22@h is down")));

        let said = drift.to_string();
        assert!(said.contains("this could not be repaired: AUTH [secret] was refused"), "{said}");
        assert!(said.contains("unseen    server                    redis://[secret]@h is down"), "{said}");
        assert_eq!(drift.counts().failed, 2);
    }

    #[tokio::test] // SPEC X-8
    async fn what_the_records_took_in_during_a_look_is_no_drift() {
        let (stays, goes, made) = (tenant(), tenant(), OpaqueId::generate());
        let mut drift = Drift::look(vec![stays.clone(), goes.clone()]);
        let never = async || Ok(());
        for id in [&stays.instance.id, &goes.instance.id] {
            drift.missing(id, "server", "its database", never).await;
        }
        drift.orphan(&made, "server", "a database", never).await;

        let mut later = Remembered::of(vec![stays.clone()]);
        later.known.insert(made);
        drift.confirm(&later);

        assert_eq!(drift.counts(), Counts { found: 1, ..Counts::default() });
        assert!(drift.to_string().contains(stays.instance.id.as_str()));
    }
}
