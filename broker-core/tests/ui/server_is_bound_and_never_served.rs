//! A server that only has its address serves nobody either.

#![deny(unused_must_use)]

use broker_core::{BrokerServer, ServeError};

async fn begin(server: BrokerServer) -> Result<(), ServeError> {
    server.bind(([127, 0, 0, 1], 0).into()).await?;
    Ok(())
}

fn main() {
    let _ = begin;
}
