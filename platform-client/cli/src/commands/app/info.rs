//! How `app info` looks (contract section 17.2).

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use platform_wire::{AppInfo, Unit, UnitMetrics};

use super::{addresses, router_addresses, status};
use crate::render::{Facts, Screen, Table, age, mebibytes, percent};

/// The whole of it.
pub(super) fn full(app: &AppInfo, screen: Screen) -> String {
    let mut shown = header(app).to_string();
    let mut block = |title: &str, table: &Table| {
        shown.push_str(&format!("\n{title}\n{}\n", table.render(screen)));
    };
    for (title, table) in units(app, Utc::now()) {
        block(&title, &table);
    }
    if !app.service_instance_binds.is_empty() {
        block(&format!("Service instances: {}", app.service_instance_binds.len()), &services(app));
    }
    if let Some((title, table)) = plans(app) {
        block(title, &table);
    }
    if !app.internal_addresses.is_empty() {
        block("Cluster internal addresses:", &internal_addresses(app));
    }
    if !app.routers.is_empty() {
        block("Cluster external addresses:", &external_addresses(app));
    }
    shown.push('\n');
    shown
}

fn header(app: &AppInfo) -> Facts {
    let mut facts = Facts::default();
    facts.add("Error", &app.error);
    facts.add("Application", &app.name);
    facts.add("Dashboard", &app.dashboard_url);
    facts.add("Description", &app.description);
    facts.add("Tags", app.tags.join(", "));
    facts.add("Platform", &app.platform);
    facts.add("Provisioner", &app.provisioner);
    if app.routers.is_empty() {
        facts.add("Router", &app.router);
    }
    facts.add("Teams", teams(&app.teamowner, &app.teams));
    facts.add("Created by", &app.owner);
    facts.add("Deploys", app.deploys.to_string());
    facts.add("Cluster", &app.cluster);
    facts.add("Pool", &app.pool);
    facts.add("Quota", quota(app));
    facts.add("Addresses", addresses(&app.cname, &app.routers, &app.ip));
    facts
}

/// The owner first, then the others.
pub(super) fn teams(owner: &str, teams: &[String]) -> String {
    let owner_first = (!owner.is_empty()).then(|| format!("{owner} (owner)"));
    let others = teams.iter().filter(|team| *team != owner).cloned();
    owner_first.into_iter().chain(others).collect::<Vec<_>>().join(", ")
}

fn quota(app: &AppInfo) -> String {
    let (limit, inuse) = (app.quota.limit, app.quota.inuse);
    if limit < 0 { format!("{inuse}/unlimited") } else { format!("{inuse}/{limit} units") }
}

/// A table for each process, version and routability.
fn units(app: &AppInfo, now: DateTime<Utc>) -> Vec<(String, Table)> {
    let mut groups = BTreeMap::<(i64, &str, bool), Vec<&Unit>>::new();
    for unit in app.units.iter().filter(|unit| !unit.id.is_empty()) {
        groups.entry((unit.version, &unit.process_name, !unit.routable)).or_default().push(unit);
    }
    let tables = groups.into_iter().map(|((version, process, hidden), mut units)| {
        units.sort_by_key(|unit| (&unit.id, status(unit)));
        let mut title = "Units".to_owned();
        if !process.is_empty() {
            title.push_str(&format!(" [process {process}]"));
        }
        if version > 0 {
            title.push_str(&format!(" [version {version}]"));
        }
        if !hidden {
            title.push_str(" [routable]");
        }
        (format!("{title}: {}", units.len()), unit_table(&units, &app.units_metrics, now))
    });
    tables.collect()
}

fn unit_table(units: &[&Unit], metrics: &[UnitMetrics], now: DateTime<Utc>) -> Table {
    let mut columns = vec!["Name", "Host", "Status", "Restarts", "Age"];
    if !metrics.is_empty() {
        columns.extend(["CPU", "Memory"]);
    }
    let mut table = Table::with_columns(columns.into_iter().map(str::to_owned).collect());
    for unit in units {
        let mut row = vec![
            if unit.name.is_empty() { unit.id.clone() } else { unit.name.clone() },
            host(unit),
            status_with_reason(unit),
            unit.restarts.map(|count| count.to_string()).unwrap_or_default(),
            unit.created_at.map(|at| age(at, now)).unwrap_or_default(),
        ];
        if !metrics.is_empty() {
            let used = metrics.iter().find(|metrics| metrics.id == unit.id);
            row.extend(used.map_or([String::new(), String::new()], |used| [used.cpu.clone(), used.memory.clone()]));
        }
        table.row(row);
    }
    table
}

/// The host of a unit's address, if the address has a port.
fn host(unit: &Unit) -> String {
    let address = unit.addresses.first().or(unit.address.as_ref());
    let parts = address.and_then(|address| address.host.rsplit_once(':'));
    parts.map(|(host, _)| host.trim_matches(['[', ']']).to_owned()).unwrap_or_default()
}

fn status_with_reason(unit: &Unit) -> String {
    if unit.status_reason.is_empty() {
        status(unit).to_owned()
    } else {
        format!("{} ({})", status(unit), unit.status_reason)
    }
}

fn services(app: &AppInfo) -> Table {
    let mut by_service = BTreeMap::<&str, Vec<String>>::new();
    for bind in &app.service_instance_binds {
        let plan = if bind.plan.is_empty() { String::new() } else { format!(" ({})", bind.plan) };
        by_service.entry(&bind.service).or_default().push(format!("{}{plan}", bind.instance));
    }
    let mut table = Table::new(["Service", "Instance (Plan)"]);
    for (service, mut instances) in by_service {
        instances.sort();
        table.row([service.to_owned(), instances.join("\n")]);
    }
    table
}

/// The app's plan, or one for each process when some have their own.
fn plans(app: &AppInfo) -> Option<(&'static str, Table)> {
    if app.processes.iter().any(|process| !process.plan.is_empty()) {
        let mut table = Table::new(["Process", "Plan"]);
        for process in &app.processes {
            let plan = if process.plan.is_empty() { &app.plan.name } else { &process.plan };
            table.row([&process.name, plan]);
        }
        return Some(("Process plans:", table));
    }
    if app.plan.memory == 0 && app.plan.cpumilli == 0 {
        return None;
    }
    let over = &app.plan.over;
    let mark = |value: String, overridden: bool| if overridden { format!("{value} (override)") } else { value };
    let mut table = Table::new(["Name", "CPU", "Memory"]);
    table.row([
        app.plan.name.clone(),
        mark(percent(over.cpumilli.unwrap_or(app.plan.cpumilli)), over.cpumilli.is_some()),
        mark(mebibytes(over.memory.unwrap_or(app.plan.memory)), over.memory.is_some()),
    ]);
    Some(("Plan:", table))
}

fn internal_addresses(app: &AppInfo) -> Table {
    let versions = app.internal_addresses.iter().any(|address| !address.version.is_empty());
    let mut columns = vec!["Domain".to_owned(), "Port".to_owned(), "Process".to_owned()];
    if versions {
        columns.push("Version".to_owned());
    }
    let mut table = Table::with_columns(columns);
    for address in &app.internal_addresses {
        let mut port = format!("{}/{}", address.port, address.protocol);
        if address.target_port != 0 && address.target_port != address.port {
            port = format!("{}->{}/{}", address.port, address.target_port, address.protocol);
        }
        let mut row = vec![address.domain.clone(), port, address.process.clone()];
        if versions {
            row.push(address.version.clone());
        }
        table.row(row);
    }
    table
}

fn external_addresses(app: &AppInfo) -> Table {
    let mut table = Table::new(["Router", "Addresses", "Status"]);
    for router in &app.routers {
        let detail =
            if router.status_detail.is_empty() { String::new() } else { format!(": {}", router.status_detail) };
        let status = format!("{}{detail}", router.status);
        table.row([router.name.clone(), router_addresses(router).join("\n"), status]);
    }
    table
}

/// `app info -s`
pub(super) fn short(app: &AppInfo, screen: Screen) -> String {
    let mut who = Facts::default();
    who.add("Application", &app.name);
    who.add("Created by", &app.owner);
    who.add("Platform", &app.platform);
    who.add("Plan", &app.plan.name);
    let provisioner = if app.provisioner.is_empty() { String::new() } else { format!(" ({})", app.provisioner) };
    who.add("Pool", format!("{}{provisioner}", app.pool));
    who.add("Teams", teams(&app.teamowner, &app.teams));

    let mut what = Facts::default();
    what.add("Cluster External Addresses", addresses(&[], &app.routers, &app.ip).replace('\n', ", "));
    let bound = app.service_instance_binds.iter().map(|bind| format!("{}/{}", bind.service, bind.instance));
    what.add("Bound Services", bound.collect::<Vec<_>>().join(", "));

    let units: Vec<_> = app.units.iter().filter(|unit| !unit.id.is_empty()).collect();
    let what = what.to_string();
    let gap = if what.is_empty() { "" } else { "\n" };
    format!("{who}{gap}{what}\nUnits: {}\n{}\n\n", units.len(), summary(app, &units).render(screen))
}

/// A row for each process and version.
fn summary(app: &AppInfo, units: &[&Unit]) -> Table {
    let mut groups = BTreeMap::<(&str, i64), Vec<&Unit>>::new();
    for unit in units {
        groups.entry((&unit.process_name, unit.version)).or_default().push(unit);
    }
    let mut table = Table::new(["Process", "Ready", "Restarts", "Avg CPU (abs)", "Avg Memory"]);
    for ((process, version), units) in groups {
        let count = i64::try_from(units.len()).unwrap_or(i64::MAX);
        let ready = units.iter().filter(|unit| unit.ready == Some(true)).count();
        let restarts: i64 = units.iter().filter_map(|unit| unit.restarts).sum();
        let used = || app.units_metrics.iter().filter(|metrics| units.iter().any(|unit| unit.id == metrics.id));
        let cpu: f64 = used().map(|metrics| quantity(&metrics.cpu)).sum();
        let memory: f64 = used().map(|metrics| quantity(&metrics.memory)).sum();
        let version = if version > 0 { format!(" (v{version})") } else { String::new() };
        #[expect(clippy::cast_possible_truncation, reason = "whole per cents and bytes are all that is shown")]
        table.row([
            format!("{process}{version}"),
            format!("{ready}/{count}"),
            restarts.to_string(),
            format!("{}%", (cpu * 100.0).round() as i64 / count),
            mebibytes(memory as i64 / count),
        ]);
    }
    table
}

/// A quantity such as `100m` or `64Mi`; 0 if it cannot be read.
fn quantity(text: &str) -> f64 {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" => 1.0,
        "m" => 0.001,
        "n" => 1e-9,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        _ => 0.0,
    };
    number.parse::<f64>().unwrap_or(0.0) * factor
}
