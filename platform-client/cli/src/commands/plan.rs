//! Sizes of units (contract section 6.1).

use anyhow::Result;
use clap::{Args, Subcommand};
use platform_wire::Plan;
use serde_json::Value;

use crate::{
    client::Call,
    render::{Table, mebibytes, percent},
    session::Tsuru,
};

/// `plan …`
#[derive(Debug, Subcommand)]
pub(crate) enum PlanCommand {
    /// List plans
    List(List),
    /// Create a plan
    Create(Create),
    /// Remove a plan
    Remove {
        /// Its name
        name: String,
    },
}

impl PlanCommand {
    pub(crate) async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        match self {
            Self::List(command) => command.run(tsuru).await,
            Self::Create(command) => command.run(tsuru).await,
            Self::Remove { name } => {
                tsuru.api()?.tell(Call::delete("1.0", &["plans", name])).await?;
                tsuru.screen.say("Plan successfully removed!")
            }
        }
    }
}

/// `plan list`
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Memory in bytes
    #[arg(short, long)]
    bytes: bool,
    /// JSON for programs
    #[arg(long)]
    json: bool,
}

impl List {
    async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let call = Call::get("1.0", &["plans"]);
        let api = tsuru.api()?;
        if self.json {
            return tsuru.screen.json(&api.list::<Value>(call).await?);
        }
        let plans: Vec<Plan> = api.list(call).await?;
        if plans.is_empty() {
            return tsuru.screen.say("No plans available.");
        }
        tsuru.screen.table(&self.table(&plans))
    }

    fn table(&self, plans: &[Plan]) -> Table {
        let burst = |plan: &Plan| {
            let factor = plan.over.cpu_burst.or(plan.cpu_burst.as_ref().map(|burst| burst.default));
            factor.filter(|factor| *factor > 1.0)
        };
        let mark = |value: String, overridden: bool| if overridden { format!("{value} (override)") } else { value };
        let bursts = plans.iter().any(|plan| burst(plan).is_some());
        let mut columns = vec!["Name", "CPU", "Memory"];
        if bursts {
            columns.push("CPU Burst (default)");
        }
        columns.push("Default");
        let mut table = Table::with_columns(columns.into_iter().map(str::to_owned).collect());
        for plan in plans {
            let memory = plan.over.memory.unwrap_or(plan.memory);
            let memory = if self.bytes { memory.to_string() } else { mebibytes(memory) };
            let cpu = percent(plan.over.cpumilli.unwrap_or(plan.cpumilli));
            let mut row = vec![
                plan.name.clone(),
                mark(cpu, plan.over.cpumilli.is_some()),
                mark(memory, plan.over.memory.is_some()),
            ];
            if bursts {
                let factor = burst(plan).map(|factor| format!("up to {:.0}%", factor * 100.0));
                row.push(mark(factor.unwrap_or_default(), plan.over.cpu_burst.is_some()));
            }
            row.push(plan.default.to_string());
            table.row(row);
        }
        table
    }
}

/// `plan create NAME`
#[derive(Args, Debug)]
pub(crate) struct Create {
    /// Its name
    name: String,
    /// Processor for each unit: 10%, 100m or 0.1; 0 for no limit
    #[arg(short, long, value_parser = millicores)]
    cpu: i64,
    /// Memory for each unit: 512Mi or 1G; 0 for no limit
    #[arg(short, long, default_value = "0", value_parser = bytes)]
    memory: i64,
    /// Apps get it that ask for none
    #[arg(short, long)]
    default: bool,
}

impl Create {
    async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let call = Call::post("1.0", &["plans"])
            .field("name", &self.name)
            .field("cpumilli", self.cpu)
            .field("memory", self.memory)
            .field("default", self.default);
        if let Err(error) = tsuru.api()?.tell(call).await {
            tsuru.screen.say("Failed to create plan!")?;
            return Err(error);
        }
        tsuru.screen.say("Plan successfully created!")
    }
}

/// Thousandths of a core: `10%`, `100m` or `0.1`.
pub(super) fn millicores(text: &str) -> Result<i64, String> {
    let (number, factor) = if let Some(number) = text.strip_suffix('%') {
        (number, 10.0)
    } else if let Some(number) = text.strip_suffix('m') {
        (number, 1.0)
    } else {
        (text, 1000.0)
    };
    whole(number, factor).ok_or_else(|| "write it as 10%, 100m or 0.1".to_owned())
}

/// Bytes: `512Mi`, `1G`, or a plain number.
pub(super) fn bytes(text: &str) -> Result<i64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: i32 = match unit.trim_end_matches(['B', 'b']).trim_end_matches('i') {
        "" => 0,
        "K" | "k" => 1,
        "M" | "m" => 2,
        "G" | "g" => 3,
        "T" | "t" => 4,
        _ => return Err("write it as 512Mi or 1G".to_owned()),
    };
    whole(number, 1024f64.powi(factor)).ok_or_else(|| "write it as 512Mi or 1G".to_owned())
}

/// A number times a factor, if it is one that fits.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
fn whole(number: &str, factor: f64) -> Option<i64> {
    let value = number.parse::<f64>().ok()? * factor;
    (0.0..1e15).contains(&value).then(|| value.round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // contract section 6.1
    fn sizes_are_read_as_people_write_them() {
        assert_eq!((millicores("10%"), millicores("100m"), millicores("0.5")), (Ok(100), Ok(100), Ok(500)));
        assert_eq!((bytes("512Mi"), bytes("1G"), bytes("1024")), (Ok(536_870_912), Ok(1_073_741_824), Ok(1024)));
        assert!(millicores("much").is_err() && bytes("1X").is_err() && bytes("-1").is_err());
    }
}
