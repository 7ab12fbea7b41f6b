//! `instances`: what there is.

use std::io::Write as _;

use anyhow::Context as _;
use clap::builder::PossibleValuesParser;

use super::{
    About,
    records::Records,
    show::{Table, json_line, moment, output},
};
use crate::InstanceView;

/// How many are in memory at once.
const PAGE: usize = 500;
const STATES: [&str; 5] = ["provisioning", "ready", "updating", "deprovisioning", "failed"];

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Instances {
    /// Only instances in this state
    #[arg(long, value_name = "STATE", value_parser = PossibleValuesParser::new(STATES))]
    state: Option<String>,
    /// An object a line, with all that is known
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    records: Records,
}

impl Instances {
    /// A page at a time, however many there are.
    pub(super) async fn run(self, about: About) -> anyhow::Result<()> {
        let look = self.records.inspect(about).await?;
        let mut out = output();
        let mut table = Table::new(&mut out, ["NAME", "PLAN", "TEAM", "STATE", "SINCE", "LAST", "WHY"]);
        let mut after = None;
        loop {
            let page = look.instances(after.as_ref(), PAGE).await?;
            let wanted = page.iter().filter(|one| self.state.as_deref().is_none_or(|state| one.state == state));
            if self.json {
                wanted.into_iter().try_for_each(|one| json_line(table.out(), one))?;
            } else {
                table.rows(&wanted.map(row).collect::<Vec<_>>())?;
            }
            match page.into_iter().next_back() {
                Some(last) => after = Some(last.name),
                None => break,
            }
        }
        out.flush().context("cannot print")
    }
}

fn row(one: &InstanceView) -> [String; 7] {
    [
        one.name.to_string(),
        one.plan.to_string(),
        one.team.clone(),
        one.state.to_owned(),
        moment(one.since),
        one.operation.kind.to_owned(),
        one.reason.clone().unwrap_or_default(),
    ]
}
