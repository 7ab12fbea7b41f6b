//! A server that is made and dropped serves nobody.

#![deny(unused_must_use)]

use broker_core::{BrokerServer, Secret, State, testing::FakeBroker};

fn main() {
    BrokerServer::new(FakeBroker::new(), State::in_memory()).accept("fake", &Secret::generate());
}
