//! Calls come from several threads at once.

use std::{cell::Cell, sync::Arc};

use async_trait::async_trait;
use broker_core::{Binding, Broker, Catalog, EnvVars, Instance, Notes, Plan, Result};

struct Counting {
    binds: Arc<Cell<u32>>,
}

#[async_trait]
impl Broker for Counting {
    fn catalog(&self) -> Catalog {
        Catalog::new("counting".parse().unwrap()).plan(Plan::new("small", "a small one"))
    }

    async fn provision(&self, _: &Instance) -> Result<Notes> {
        Ok(Notes::new())
    }

    async fn bind(&self, _: &Instance, _: &Binding) -> Result<EnvVars> {
        self.binds.set(self.binds.get() + 1);
        Ok(EnvVars::default())
    }
}

fn main() {}
