//! `operations`: what was done to an instance (SPEC L-10).

use std::io::Write as _;

use anyhow::Context as _;

use super::{
    About,
    records::Records,
    show::{Table, json_line, moment, output},
};
use crate::{InstanceName, OperationView};

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Operations {
    /// Name of an instance, which may be gone
    instance: InstanceName,
    /// How many, the latest first
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// An object a line, with all that is known
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    records: Records,
}

impl Operations {
    pub(super) async fn run(self, about: About) -> anyhow::Result<()> {
        let look = self.records.inspect(about).await?;
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let instance = look.instance(&self.instance).await?;
        let is_there = instance.is_some();
        // What goes on is not in the log yet.
        let running = instance.map(|instance| instance.operation).filter(|operation| operation.ended.is_none());
        let mut operations: Vec<OperationView> = running.into_iter().collect();
        operations.extend(look.operations(&self.instance, limit).await?);
        operations.truncate(limit);
        anyhow::ensure!(
            is_there || !operations.is_empty(),
            "there is no instance {:?}, and none of that name in the last 30 days",
            self.instance.as_str()
        );
        let mut out = output();
        if self.json {
            operations.iter().try_for_each(|one| json_line(&mut out, one))?;
        } else {
            let header = ["BEGAN", "ENDED", "WHAT", "CONSUMER", "USER", "EVENT", "FAILURE"];
            Table::new(&mut out, header).rows(&operations.iter().map(row).collect::<Vec<_>>())?;
        }
        out.flush().context("cannot print")
    }
}

fn row(one: &OperationView) -> [String; 7] {
    [
        moment(one.began),
        one.ended.map_or_else(|| "goes on".to_owned(), moment),
        one.kind.to_owned(),
        one.consumer.as_ref().map(ToString::to_string).unwrap_or_default(),
        one.user.clone(),
        one.event.clone(),
        one.failure.clone().unwrap_or_default(),
    ]
}
