//! What was done (contract section 14).

use std::fmt::Write as _;

use anyhow::Result;
use chrono::Utc;
use clap::{Args, Subcommand};
use platform_wire::{Event, EventTarget};
use serde_json::Value;

use super::AssumeYes;
use crate::{
    client::Call,
    render::{Facts, Table, minutes, short_date, stamp},
    session::Tsuru,
};

/// `event …`
#[derive(Debug, Subcommand)]
pub(crate) enum EventCommand {
    /// List what was done last
    List(List),
    /// Show one thing that was done
    Info {
        /// Its identifier, as `event list` shows it
        id: String,
        /// JSON for programs
        #[arg(long)]
        json: bool,
    },
    /// Ask something that runs to stop
    Cancel(Cancel),
}

impl EventCommand {
    pub(crate) async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        match self {
            Self::List(command) => command.run(tsuru).await,
            Self::Info { id, json } => info(tsuru, id, *json).await,
            Self::Cancel(command) => command.run(tsuru).await,
        }
    }
}

/// `event list`
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Only of this kind, such as app.deploy (may be repeated)
    #[arg(short, long = "kind")]
    kinds: Vec<String>,
    /// Only about things of this type, such as app
    #[arg(short = 't', long)]
    target_type: Option<String>,
    /// Only about this thing
    #[arg(short = 'v', long)]
    target_value: Option<String>,
    /// Only by this user
    #[arg(short, long)]
    owner: Option<String>,
    /// Only what runs now
    #[arg(short, long)]
    running: bool,
    /// JSON for programs
    #[arg(long)]
    json: bool,
}

impl List {
    /// Every key is sent, empty when unused, as the stock client does (contract section 14.1).
    fn call(&self) -> Call {
        let empty = |call: Call, names: &[&str]| names.iter().fold(call, |call, name| call.query(name, ""));
        let mut call = empty(Call::get("1.1", &["events"]), &["allowedtargets", "erroronly"]);
        call = call.query_each("kindname", &self.kinds);
        call = empty(call, &["kindtype", "limit"]).query("ownername", self.owner.as_deref().unwrap_or_default());
        call = empty(call, &["ownertype", "permissions", "raw"]);
        if self.running {
            call = call.query("running", true);
        }
        call = empty(call, &["since", "skip", "sort"])
            .query("target.type", self.target_type.as_deref().unwrap_or_default())
            .query("target.value", self.target_value.as_deref().unwrap_or_default());
        empty(call, &["until"])
    }

    async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let api = tsuru.api()?;
        if self.json {
            return tsuru.screen.json(&api.list::<Value>(self.call()).await?);
        }
        let events: Vec<Event> = api.list(self.call()).await?;
        let mut table = Table::new(["ID", "Start (duration)", "Success", "Owner", "Kind", "Target"]).ruled();
        for event in events {
            table.row([
                event.unique_id.clone(),
                began(&event),
                success(&event).to_owned(),
                short_owner(&event.owner.name),
                event.kind.name.clone(),
                targets(&event).join("\n"),
            ]);
        }
        tsuru.screen.table(&table)
    }
}

fn began(event: &Event) -> String {
    let start = event.start_time.0.map(short_date).unwrap_or_default();
    let duration = match (event.start_time.0, event.end_time.0) {
        (Some(start), Some(end)) if !event.running => minutes((end - start).num_seconds()),
        _ => "…".to_owned(),
    };
    format!("{start} ({duration})")
}

fn success(event: &Event) -> &'static str {
    match event {
        Event { running: true, .. } => "…",
        event if event.cancel_info.canceled => "false ✗",
        event if event.error.is_empty() => "true",
        _ => "false",
    }
}

/// A user by the part before the `@`.
fn short_owner(owner: &str) -> String {
    owner.split_once('@').map_or_else(|| owner.to_owned(), |(name, _)| format!("{name}@…"))
}

fn targets(event: &Event) -> Vec<String> {
    let line = |target: &EventTarget| format!("{}: {}", target.kind, target.value);
    let extra = event.extra_targets.iter().map(|extra| line(&extra.target));
    std::iter::once(line(&event.target)).chain(extra).collect()
}

async fn info(tsuru: &Tsuru, id: &str, json: bool) -> Result<()> {
    let call = Call::get("1.1", &["events", id]);
    let api = tsuru.api()?;
    if json {
        return tsuru.screen.json(&api.read::<Value>(call).await?);
    }
    let event: Event = api.read(call).await?;
    let mut shown = facts(&event).to_string();
    custom_data(&mut shown, &event)?;
    if !event.log.trim().is_empty() {
        shown.push_str("Log:\n");
        event.log.trim_end().lines().try_for_each(|line| writeln!(shown, "    {line}"))?;
    }
    tsuru.screen.write(&shown)
}

fn facts(event: &Event) -> Facts {
    let mut facts = Facts::default();
    facts.add("ID", &event.unique_id);
    facts.add("Start", event.start_time.0.map(stamp).unwrap_or_default());
    facts.add("End", end(event));
    facts.add("Targets", targets(event).iter().map(|line| bracketed(line)).collect::<Vec<_>>().join(", "));
    facts.add("Kind", format!("{}({})", event.kind.kind, event.kind.name));
    facts.add("Owner", format!("{}({})", event.owner.kind, event.owner.name));
    facts.add("Source IP", &event.source_ip);
    facts.add("Success", success(event));
    facts.add("Error", &event.error);
    facts.add("Cancelable", event.cancelable.to_string());
    facts.add("Canceled", event.cancel_info.canceled.to_string());
    if event.cancel_info.asked {
        facts.add("  Reason", &event.cancel_info.reason);
        facts.add("  By", &event.cancel_info.owner);
        facts.add("  At", event.cancel_info.start_time.0.map(stamp).unwrap_or_default());
    }
    facts
}

/// `app: blog` as `app(blog)`.
fn bracketed(target: &str) -> String {
    target.split_once(": ").map_or_else(|| target.to_owned(), |(kind, value)| format!("{kind}({value})"))
}

fn end(event: &Event) -> String {
    let Some(start) = event.start_time.0 else { return String::new() };
    match event.end_time.0 {
        Some(end) if !event.running => format!("{} ({})", stamp(end), minutes((end - start).num_seconds())),
        _ => format!("running for {}", minutes((Utc::now() - start).num_seconds())),
    }
}

fn custom_data(shown: &mut String, event: &Event) -> Result<()> {
    let data = &event.custom_data;
    let parts = [("Start", &data.start), ("End", &data.end), ("Other", &data.other)];
    for (name, value) in parts.into_iter().filter(|(_, value)| !value.is_null()) {
        writeln!(shown, "{name} Custom Data:")?;
        serde_norway::to_string(value)?.trim_end().lines().try_for_each(|line| writeln!(shown, "    {line}"))?;
    }
    Ok(())
}

/// `event cancel ID REASON…`
#[derive(Args, Debug)]
pub(crate) struct Cancel {
    /// Its identifier, as `event list` shows it
    id: String,
    /// Why
    #[arg(required = true)]
    reason: Vec<String>,
    #[command(flatten)]
    yes: AssumeYes,
}

impl Cancel {
    async fn run(&self, tsuru: &Tsuru) -> Result<()> {
        let api = tsuru.api()?;
        let question = "Are you sure you want to cancel this event?";
        if !tsuru.screen.confirm(self.yes.assume_yes, question)? {
            return Ok(());
        }
        let call = Call::post("1.1", &["events", &self.id, "cancel"]).field("reason", self.reason.join(" "));
        api.tell(call).await?;
        tsuru.screen.say("Cancellation successfully requested.")
    }
}
