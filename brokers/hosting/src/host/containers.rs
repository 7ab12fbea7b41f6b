//! Servers in containers.

use std::{net::Ipv4Addr, time::Duration};

use tokio::time::{Instant, sleep, timeout};
use tracing::info;

use super::{Host, LOCKED_WITHIN, Life, Running};
use crate::{
    Container, HostError, Place, Program, ServerId,
    contained::{Contained, Failed, Seen},
    error::At as _,
    files,
    place::Bench,
    record::Record,
    user,
};

/// How long a server may take to say that it is ready: for the first time, and at most when it was asked in vain.
const FIRST_ANSWER_WITHIN: Duration = Duration::from_millis(20);
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

impl Host {
    pub(super) fn contained(&self, id: &ServerId) -> Result<Contained, HostError> {
        let engine = self.engine.clone().ok_or_else(|| HostError::NoEngine(id.clone()))?;
        Ok(Contained {
            engine,
            group: self.group.clone(),
            id: id.clone(),
            user: user::in_container(self.owner.as_ref()),
        })
    }

    /// A place whose server listens everywhere in its container; the engine publishes its port.
    pub(super) fn place_in(&self, contained: Contained, place: Place, image: Option<String>) -> Place {
        let owner = Some(user::owner_in_container(self.owner.as_ref()));
        let container = Some(Bench { contained, image });
        Place { addresses: vec![Ipv4Addr::UNSPECIFIED.into()], owner, container, ..place }
    }

    pub(super) async fn bring_up_contained(
        &self,
        id: &ServerId,
        program: &dyn Program,
        kind: &Container,
    ) -> Result<Running, HostError> {
        let contained = self.contained(id)?;
        self.leave_process(id, program).await?;
        let found = contained.look().await?.filter(|seen| seen.runs);
        let record = Record::read(&self.record_path(id))?.filter(|record| record.contained);
        if let (Some(seen), Some(record)) = (found, record) {
            match self.settle(&contained, program, record, seen).await {
                // It was dying already: it is made anew, as if it had been found dead.
                Err(HostError::Ended { .. }) => {}
                settled => return settled,
            }
        }
        let folder = self.folder(id);
        files::folder(&folder, 0o711).at(&folder)?;
        let deadline = Instant::now() + LOCKED_WITHIN;
        loop {
            contained.clear().await?;
            let record = Record { contained: true, process: None, ..self.record_with_port(id)? };
            record.write(&self.record_path(id))?;
            match self.start_contained(&contained, program, kind, &record).await {
                Ok(seen) => return self.settle(&contained, program, record, seen).await,
                Err(Failed::Other(error)) => return Err(error),
                Err(Failed::PortTaken) if record.known => {
                    return Err(HostError::PortTaken { id: id.clone(), port: record.port });
                }
                Err(Failed::PortTaken) if Instant::now() > deadline => {
                    return Err(HostError::NoFreePort(self.hosting.ports.clone()));
                }
                Err(Failed::PortTaken) => {}
            }
        }
    }

    async fn start_contained(
        &self,
        contained: &Contained,
        program: &dyn Program,
        kind: &Container,
        record: &Record,
    ) -> Result<Seen, Failed> {
        let id = &contained.id;
        let image = contained.engine.image(&kind.image).await?;
        let place = self.place_in(contained.clone(), self.place(id, record.port, None), Some(image));
        let prepared = program.prepare(&place).await;
        let args = prepared.map_err(|cause| HostError::Preparation { id: id.clone(), cause })?;
        let args = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
        contained.start(&place, kind, args, &program.limits()).await
    }

    /// Waits until a container's server is ready, and has the engine keep it running.
    async fn settle(
        &self,
        contained: &Contained,
        program: &dyn Program,
        record: Record,
        seen: Seen,
    ) -> Result<Running, HostError> {
        let id = &contained.id;
        let seen = self.wait_contained(contained, program, record.port, seen).await?;
        contained.keep_running(&seen).await?;
        if !record.known {
            Record { known: true, ..record.clone() }.write(&self.record_path(id))?;
            info!(server.id = %id, server.port = record.port, "started server `{id}` in a container on port {}", record.port);
        }
        let life = Life::Container { id: seen.container, started: seen.started, pid: seen.pid };
        Ok(Running { port: record.port, life })
    }

    async fn wait_contained(
        &self,
        contained: &Contained,
        program: &dyn Program,
        port: u16,
        mut seen: Seen,
    ) -> Result<Seen, HostError> {
        let place = self.place_in(contained.clone(), self.place(&contained.id, port, None), None);
        let deadline = Instant::now() + program.start_within();
        let mut pause = Duration::from_millis(10);
        // A connection that is made before the container's network is up is lost, and the next one gets through at once.
        let mut patience = FIRST_ANSWER_WITHIN;
        while seen.runs {
            let cause = match timeout(patience, program.ready(&place)).await {
                Ok(Ok(())) => return Ok(seen),
                Ok(Err(cause)) => cause.to_string(),
                Err(_) => "it does not answer".to_owned(),
            };
            if Instant::now() + pause > deadline {
                return Err(HostError::NotReady { id: contained.id.clone(), waited: program.start_within(), cause });
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(100));
            patience = (patience * 2).min(ANSWER_WITHIN);
            match contained.look().await? {
                Some(now) => seen = now,
                None => return Err(contained.ended(&place, "its container is gone".to_owned())),
            }
        }
        Err(contained.ended(&place, contained.tail().await))
    }

    /// A server that was a process and shall be a container ends first, its port and data stay.
    async fn leave_process(&self, id: &ServerId, program: &dyn Program) -> Result<(), HostError> {
        match Record::read(&self.record_path(id))? {
            Some(record) if !record.contained => self.end(id, program.stop_within()).await,
            _ => Ok(()),
        }
    }

    /// The other way round.
    pub(super) async fn leave_container(&self, id: &ServerId) -> Result<(), HostError> {
        let Some(record) = Record::read(&self.record_path(id))?.filter(|record| record.contained) else {
            return Ok(());
        };
        let contained = self.contained(id)?;
        contained.stop(Duration::from_secs(30)).await?;
        contained.clear().await?;
        Record { contained: false, process: None, ..record }.write(&self.record_path(id))
    }
}
