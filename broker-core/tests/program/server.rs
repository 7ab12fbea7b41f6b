//! The server behind the broker: a folder, which all replicas share and which outlives them.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use broker_core::{Binding, Instance, OpaqueId, PlanName};
use tokio::time::sleep;

/// Long enough to be overlapped, or killed.
const HALF: Duration = Duration::from_millis(2);

/// Instances are files with their plan, accounts files with their password; half-made ones are empty.
#[derive(Clone, Debug)]
pub(crate) struct Server(PathBuf);

/// Held while a call runs. The system takes it from a process that dies.
struct Turn(#[expect(dead_code, reason = "files are locked for as long as they are open")] Vec<File>);

impl Server {
    pub(crate) fn at(folder: &Path) -> io::Result<Self> {
        for room in ["instances", "accounts", "turns", "held"] {
            fs::create_dir_all(folder.join(room))?;
        }
        Ok(Self(folder.to_owned()))
    }

    pub(crate) async fn make(&self, call: &str, instance: &Instance, plan: &PlanName) -> io::Result<()> {
        let _turn = self.turn(call, instance)?;
        let file = self.0.join("instances").join(instance.id.as_str());
        fs::write(&file, "")?;
        self.half(call).await?;
        fs::write(&file, plan.as_str())
    }

    pub(crate) async fn remove(&self, instance: &Instance) -> io::Result<()> {
        let _turn = self.turn("deprovision", instance)?;
        self.half("deprovision").await?;
        forget(&self.0.join("instances").join(instance.id.as_str()))
    }

    pub(crate) async fn open(&self, instance: &Instance, binding: &Binding) -> io::Result<()> {
        let _turn = self.turn_of("bind", instance, binding)?;
        let account = self.account(binding);
        fs::write(&account, "")?;
        self.half("bind").await?;
        fs::write(&account, binding.secret.expose())
    }

    pub(crate) async fn close(&self, instance: &Instance, binding: &Binding) -> io::Result<()> {
        let _turn = self.turn_of("unbind", instance, binding)?;
        self.half("unbind").await?;
        forget(&self.account(binding))
    }

    pub(crate) fn is_up(&self, instance: &Instance) -> bool {
        fs::read(self.0.join("instances").join(instance.id.as_str())).is_ok_and(|plan| !plan.is_empty())
    }

    /// Those that have an instance.
    pub(crate) fn names(&self) -> Vec<OpaqueId> {
        let files = fs::read_dir(self.0.join("instances")).into_iter().flatten().flatten();
        files.filter_map(|file| file.file_name().to_str()?.parse().ok()).collect()
    }

    pub(crate) fn forget(&self, instance: &OpaqueId) -> io::Result<()> {
        forget(&self.0.join("instances").join(instance.as_str()))
    }

    fn account(&self, binding: &Binding) -> PathBuf {
        self.0.join("accounts").join(binding.id.as_str())
    }

    /// The whole instance for one call.
    fn turn(&self, call: &str, instance: &Instance) -> io::Result<Turn> {
        let whole = self.lock_file(instance.id.as_str())?;
        self.no_overlap(call, whole.try_lock())?;
        Ok(Turn(vec![whole]))
    }

    /// Consumers side by side, each for one call.
    fn turn_of(&self, call: &str, instance: &Instance, binding: &Binding) -> io::Result<Turn> {
        let (whole, own) = (self.lock_file(instance.id.as_str())?, format!("{}.{}", instance.id, binding.consumer));
        let own = self.lock_file(&own)?;
        self.no_overlap(call, whole.try_lock_shared())?;
        self.no_overlap(call, own.try_lock())?;
        Ok(Turn(vec![whole, own]))
    }

    fn lock_file(&self, name: &str) -> io::Result<File> {
        File::options().create(true).append(true).open(self.0.join("turns").join(name))
    }

    fn no_overlap(&self, call: &str, locked: Result<(), TryLockError>) -> io::Result<()> {
        match locked {
            Ok(()) => Ok(()),
            Err(TryLockError::Error(error)) => Err(error),
            Err(TryLockError::WouldBlock) => {
                let mut overlaps = File::options().create(true).append(true).open(self.0.join("overlaps"))?;
                overlaps.write_all(format!("{call} while another call ran\n").as_bytes())
            }
        }
    }

    /// Half the work is done: here a call waits for as long as it is told to.
    async fn half(&self, call: &str) -> io::Result<()> {
        sleep(HALF).await;
        while self.0.join("hold").exists() {
            fs::write(self.0.join("held").join(call), "")?;
            sleep(HALF).await;
        }
        Ok(())
    }
}

/// What tests see and do.
impl Server {
    /// Has calls wait in their middle.
    pub(crate) fn hold(&self) {
        fs::write(self.0.join("hold"), "").unwrap();
    }

    pub(crate) fn release(&self) {
        fs::remove_file(self.0.join("hold")).unwrap();
    }

    /// Whether such a call waits in its middle, or did.
    pub(crate) fn held(&self, call: &str) -> bool {
        self.0.join("held").join(call).exists()
    }

    /// The plans of all instances.
    pub(crate) fn instances(&self) -> Vec<String> {
        self.texts("instances")
    }

    /// The passwords of all accounts.
    pub(crate) fn accounts(&self) -> Vec<String> {
        self.texts("accounts")
    }

    /// Calls about one thing that ran at once.
    pub(crate) fn overlaps(&self) -> String {
        fs::read_to_string(self.0.join("overlaps")).unwrap_or_default()
    }

    fn texts(&self, room: &str) -> Vec<String> {
        let files = fs::read_dir(self.0.join(room)).unwrap().map(|file| file.unwrap().path());
        // One that is removed meanwhile is none.
        files.filter_map(|file| fs::read_to_string(file).ok()).collect()
    }
}

/// Removing what is gone is a success.
fn forget(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
