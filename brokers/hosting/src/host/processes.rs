//! Servers that are processes of this machine, detached: they outlive us.

use std::{fs, io, os::unix::fs::OpenOptionsExt as _, sync::Arc, time::Duration};

use rustix::process::Signal;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::{Host, LOCKED_WITHIN, LONGEST_LOG, Life, Running, tail};
use crate::{
    HostError, Limits, Place, Program, ServerId,
    error::At as _,
    files, ports,
    process::{self, Identity},
    record::Record,
};

impl Host {
    pub(super) fn limit(&self, id: &ServerId, process: &Identity, limits: &Limits) -> Result<(), HostError> {
        let applied = self.means.apply(&self.group, id, process.pid, limits);
        applied.map_err(|cause| HostError::Limits { id: id.clone(), cause })
    }

    pub(super) async fn bring_up(&self, id: &ServerId, program: &dyn Program) -> Result<Running, HostError> {
        let folder = self.folder(id);
        files::folder(&folder, if self.owner.is_some() { 0o711 } else { 0o700 }).at(&folder)?;
        let deadline = Instant::now() + LOCKED_WITHIN;
        loop {
            let log = self.log(id)?;
            let outcome = match log.try_lock() {
                Ok(()) => self.start(id, program, log).await?,
                Err(_) => self.adopt(id, program).await?,
            };
            match outcome {
                Some(running) => return Ok(running),
                None if Instant::now() < deadline => sleep(Duration::from_millis(10)).await,
                None => return Err(HostError::Locked { id: id.clone(), log: folder.join("log") }),
            }
        }
    }

    fn log(&self, id: &ServerId) -> Result<fs::File, HostError> {
        let path = self.folder(id).join("log");
        fs::OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path).at(path)
    }

    /// Starts a server whose lock we have. None when another program took its port meanwhile and
    /// nobody knows it yet: then another port will do.
    async fn start(&self, id: &ServerId, program: &dyn Program, log: fs::File) -> Result<Option<Running>, HostError> {
        if log.metadata().at(self.folder(id))?.len() > LONGEST_LOG {
            log.set_len(0).at(self.folder(id))?;
        }
        let mut record = self.record_with_port(id)?;
        let place = self.place(id, record.port, Some(Arc::new(log)));
        let process = spawn(id, program, &place).await;
        drop(place); // From here on the lock is the server's alone.
        let ready = match process {
            Ok(process) => {
                record.process = Some(process.clone());
                record.write(&self.record_path(id))?;
                self.limit(id, &process, &program.limits())?;
                self.wait(id, program, record.port, &process).await.map(|()| process)
            }
            Err(error) => Err(error),
        };
        match ready {
            Ok(process) => {
                record.known = true;
                record.write(&self.record_path(id))?;
                info!(server.id = %id, server.port = record.port, "started server `{id}` on port {}", record.port);
                Ok(Some(Running { port: record.port, life: Life::Process(process) }))
            }
            Err(HostError::Ended { .. }) if !record.known && !ports::is_free(&self.hosting.addresses, record.port)? => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes over a server that runs already. None when what holds the lock is only the rest of a
    /// preparation, which is ended, or a server that is dying.
    async fn adopt(&self, id: &ServerId, program: &dyn Program) -> Result<Option<Running>, HostError> {
        let record = Record::read(&self.record_path(id))?;
        let writers = process::writers(&self.folder(id).join("log")).at(self.folder(id))?;
        let wanted = program.executable().canonicalize().at(program.executable())?;
        let recorded = record.clone().and_then(|record| record.process).filter(Identity::is_alive);
        let found = recorded.or_else(|| writers.iter().find(|w| w.program == wanted && w.leads_its_group()).cloned());
        let (Some(record), Some(process)) = (record, found) else {
            for rest in writers {
                warn!(server.id = %id, "ended process {} that a crash left over from server `{id}`", rest.pid);
                process::kill_group(rest.pid);
                kill(id, &rest, Duration::ZERO).await?;
            }
            return Ok(None);
        };
        self.limit(id, &process, &program.limits())?;
        match self.wait(id, program, record.port, &process).await {
            Err(HostError::Ended { .. }) => return Ok(None),
            waited => waited?,
        }
        let record = Record { known: true, process: Some(process.clone()), ..record };
        record.write(&self.record_path(id))?;
        info!(server.id = %id, server.port = record.port, "server `{id}` runs on port {}", record.port);
        Ok(Some(Running { port: record.port, life: Life::Process(process) }))
    }

    /// Waits until a server is ready, or ended.
    async fn wait(&self, id: &ServerId, program: &dyn Program, port: u16, process: &Identity) -> Result<(), HostError> {
        let place = self.place(id, port, None);
        let ended = || HostError::Ended { id: id.clone(), log: place.log(), tail: tail(&place.log()) };
        let grip = process.grip().at("/proc")?.ok_or_else(ended)?;
        let deadline = Instant::now() + program.start_within();
        let mut pause = Duration::from_millis(5);
        loop {
            let cause = tokio::select! {
                () = grip.ended() => return Err(ended()),
                answer = timeout(Duration::from_secs(2), program.ready(&place)) => match answer {
                    Ok(Ok(())) => return Ok(()),
                    Ok(Err(cause)) => cause.to_string(),
                    Err(_) => "it does not answer".to_owned(),
                },
            };
            if Instant::now() + pause > deadline {
                return Err(HostError::NotReady { id: id.clone(), waited: program.start_within(), cause });
            }
            tokio::select! {
                () = grip.ended() => return Err(ended()),
                () = sleep(pause) => pause = (pause * 2).min(Duration::from_millis(100)),
            }
        }
    }

    /// Ends whatever runs in the server's folder, until nobody holds the lock.
    pub(super) async fn end(&self, id: &ServerId, within: Duration) -> Result<(), HostError> {
        if Record::read(&self.record_path(id))?.is_some_and(|record| record.contained) {
            return self.contained(id)?.stop(within).await;
        }
        let path = self.folder(id).join("log");
        let deadline = Instant::now() + within + LOCKED_WITHIN;
        loop {
            let log = match fs::File::open(&path) {
                Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(()),
                opened => opened.at(&path)?,
            };
            if log.try_lock().is_ok() {
                return Ok(());
            }
            let recorded = Record::read(&self.record_path(id))?.and_then(|record| record.process);
            let mut doomed = process::writers(&path).at(&path)?;
            doomed.extend(recorded.filter(|process| process.is_alive() && !doomed.contains(process)));
            for process in doomed {
                kill(id, &process, within).await?;
            }
            if Instant::now() > deadline {
                return Err(HostError::Locked { id: id.clone(), log: path });
            }
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Prepares a place and starts the server there, detached: it outlives us.
async fn spawn(id: &ServerId, program: &dyn Program, place: &Place) -> Result<Identity, HostError> {
    let args = program.prepare(place).await.map_err(|cause| HostError::Preparation { id: id.clone(), cause })?;
    let mut command = place.command(program.executable()).at(program.executable())?;
    let mut child = command.args(args).spawn().at(program.executable())?;
    let process = child.id().and_then(Identity::of);
    let name = id.clone();
    // Waited for, so that it does not stay a zombie.
    tokio::spawn(async move {
        if let Ok(status) = child.wait().await {
            info!(server.id = %name, "server `{name}` ended: {status}");
        }
    });
    process.ok_or_else(|| HostError::Ended { id: id.clone(), log: place.log(), tail: tail(&place.log()) })
}

/// Asks a process to end, for as long as `within`, then kills it.
pub(super) async fn kill(id: &ServerId, process: &Identity, within: Duration) -> Result<(), HostError> {
    let Some(grip) = process.grip().at("/proc")? else { return Ok(()) };
    if !within.is_zero() {
        grip.signal(Signal::TERM).at("/proc")?;
        if timeout(within, grip.ended()).await.is_ok() {
            return Ok(());
        }
    }
    grip.signal(Signal::KILL).at("/proc")?;
    let ended = timeout(Duration::from_secs(5), grip.ended()).await;
    ended.map_err(|_| HostError::Immortal { id: id.clone(), pid: process.pid })
}
