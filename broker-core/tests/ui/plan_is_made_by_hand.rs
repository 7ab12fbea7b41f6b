//! A plan may get further fields: it is made by `Plan::new`.

use broker_core::{Plan, PlanName};

fn plan(name: PlanName) -> Plan {
    Plan { name, description: "256 MB".to_owned(), schema: None, bind_schema: None }
}

fn main() {
    let _ = plan;
}
