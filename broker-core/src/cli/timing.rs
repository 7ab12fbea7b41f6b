//! How long things take.

use std::time::Duration;

use crate::BrokerServer;

#[derive(Debug, clap::Args)]
#[group(skip)]
#[command(next_help_heading = "Timing")]
pub(super) struct Timing {
    /// Answer after so many seconds that the work goes on; the platform gives up after 300
    #[arg(long, env = "BROKER_ANSWER_WITHIN", value_name = "SECONDS", default_value_t = 240)]
    answer_within: u64,
    /// How many seconds one step on the service's server may take
    #[arg(long, env = "BROKER_CALL_TIMEOUT", value_name = "SECONDS", default_value_t = 280)]
    call_timeout: u64,
    /// How many seconds one step of a bind or unbind may take [default: as call-timeout]
    #[arg(long, env = "BROKER_BIND_TIMEOUT", value_name = "SECONDS")]
    bind_timeout: Option<u64>,
    /// How many seconds the service's server has to answer a question for status or info
    #[arg(long, env = "BROKER_LOOK_TIMEOUT", value_name = "SECONDS", default_value_t = 10)]
    look_timeout: u64,
    /// How many seconds a request waits for another one about the same instance, before it is told what runs
    #[arg(long, env = "BROKER_TURN_WITHIN", value_name = "SECONDS", default_value_t = 5)]
    turn_within: u64,
    /// How many seconds a stopping broker has to finish what it began
    #[arg(long, env = "BROKER_FINISH_WITHIN", value_name = "SECONDS", default_value_t = 30)]
    finish_within: u64,
    /// Look for unfinished work and lost accounts every so many seconds
    #[arg(long, env = "BROKER_RECONCILE_EVERY", value_name = "SECONDS", default_value_t = 5,
        value_parser = clap::value_parser!(u64).range(1..))]
    reconcile_every: u64,
    /// How many seconds an unbound app's credentials are remembered, for a bind soon after
    #[arg(long, env = "BROKER_GRACE", value_name = "SECONDS", default_value_t = 900)]
    grace: u64,
    /// How many seconds replaced credentials work on after a rotation
    #[arg(long, env = "BROKER_ROTATION_GRACE", value_name = "SECONDS", default_value_t = 3600)]
    rotation_grace: u64,
    /// How often a step that failed because its server is unavailable is repeated at once
    #[arg(long, env = "BROKER_RETRIES", value_name = "NUMBER", default_value_t = 2)]
    retries: u32,
    /// Milliseconds before the first repeat; each further pause is twice as long
    #[arg(long, env = "BROKER_RETRY_PAUSE", value_name = "MILLISECONDS", default_value_t = 200)]
    retry_pause: u64,
    /// How many seconds a create or update that was accepted is tried before it has failed
    #[arg(long, env = "BROKER_GIVE_UP_AFTER", value_name = "SECONDS", default_value_t = 3600)]
    give_up_after: u64,
    #[command(flatten)]
    lease: Lease,
}

/// How long a silent replica is taken to live.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Lease {
    /// After so many seconds of silence a replica is dead, and others take up its work; the same for all replicas
    #[arg(long, env = "BROKER_LEASE", value_name = "SECONDS", default_value_t = 15,
        value_parser = clap::value_parser!(u64).range(1..))]
    lease: u64,
}

impl Lease {
    pub(super) fn length(&self) -> Duration {
        Duration::from_secs(self.lease)
    }
}

impl Timing {
    #[cfg(feature = "postgres")]
    pub(super) fn lease(&self) -> Duration {
        self.lease.length()
    }

    pub(super) fn set(&self, server: BrokerServer) -> BrokerServer {
        let seconds = Duration::from_secs;
        let server = match self.bind_timeout {
            Some(limit) => server.bind_timeout(seconds(limit)),
            None => server,
        };
        server
            .look_timeout(seconds(self.look_timeout))
            .answer_within(seconds(self.answer_within))
            .call_timeout(seconds(self.call_timeout))
            .turn_within(seconds(self.turn_within))
            .finish_within(seconds(self.finish_within))
            .reconcile_every(seconds(self.reconcile_every))
            .remember_unbound_for(seconds(self.grace))
            .rotation_grace(seconds(self.rotation_grace))
            .retry(self.retries, Duration::from_millis(self.retry_pause))
            .give_up_after(seconds(self.give_up_after))
            .lease(self.lease.length())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{State, testing::FakeBroker};

    #[derive(Debug, clap::Parser)]
    struct Program {
        #[command(flatten)]
        timing: Timing,
    }

    #[test]
    fn what_no_flag_says_is_as_the_library_has_it() {
        let server = || BrokerServer::new(FakeBroker::new(), State::in_memory());
        let timing = <Program as clap::Parser>::try_parse_from(["broker"]).unwrap().timing;

        assert_eq!(format!("{:?}", timing.set(server())), format!("{:?}", server()));
    }
}
