//! What a broker gets from the archive, on a broker whose instances are texts in memory.

use std::{
    io::Cursor,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use broker_backup::{Archive, BackedUp, BackupConfig, BackupPlace, Dump, Dumping, ListBackups, Restored};
use broker_core::{BrokerError, Instance, Result, Tenant};
use tokio::{
    io::AsyncReadExt as _,
    sync::{Notify, Semaphore},
};

/// One text, for one instance.
struct Notebook {
    archive: Option<Archive>,
    text: Arc<Mutex<Vec<u8>>>,
    is_open: AtomicBool,
    /// Loads of this text fail.
    unloadable: Option<&'static [u8]>,
    /// How many dumps may go on.
    may_dump: Arc<Semaphore>,
    begun: Arc<Notify>,
}

impl Notebook {
    fn new(config: &BackupConfig, text: &[u8]) -> Self {
        Self {
            archive: Archive::open("notebook", config).unwrap(),
            text: Arc::new(Mutex::new(text.to_vec())),
            is_open: AtomicBool::new(true),
            unloadable: None,
            may_dump: Arc::new(Semaphore::new(1000)),
            begun: Arc::default(),
        }
    }

    fn archive(&self) -> &Archive {
        self.archive.as_ref().unwrap()
    }

    fn write(&self, text: &[u8]) {
        *self.text.lock().unwrap() = text.to_vec();
    }

    fn read(&self) -> Vec<u8> {
        self.text.lock().unwrap().clone()
    }
}

#[async_trait]
impl BackedUp for Notebook {
    fn archive(&self) -> Option<&Archive> {
        self.archive.as_ref()
    }

    fn dump(&self, _: &Instance) -> Result<Dumping> {
        let (text, may_dump, begun) = (Arc::clone(&self.text), Arc::clone(&self.may_dump), Arc::clone(&self.begun));
        Ok(Box::pin(async move {
            begun.notify_one();
            may_dump.acquire().await.map_err(BrokerError::failed)?.forget();
            let text = text.lock().unwrap().clone();
            Ok(Dump::new("notebook 1.0", "text", Cursor::new(text)))
        }))
    }

    async fn hold(&self, _: &Instance) -> Result<bool> {
        Ok(!self.is_open.load(SeqCst))
    }

    async fn load(&self, _: &Instance, mut data: Restored) -> Result<()> {
        self.is_open.store(false, SeqCst);
        let mut text = Vec::new();
        data.read_to_end(&mut text).await.map_err(BrokerError::failed)?;
        self.write(&text);
        match self.unloadable == Some(&text) {
            true => Err(BrokerError::bad_request("the text does not fit")),
            false => Ok(()),
        }
    }

    async fn open(&self, _: &Tenant) -> Result<()> {
        self.is_open.store(true, SeqCst);
        Ok(())
    }

    async fn last_dump(&self, instance: &Instance) -> Result<Option<Dumping>> {
        if self.read().is_empty() { Ok(None) } else { self.dump(instance).map(Some) }
    }
}

fn in_folder(folder: &tempfile::TempDir) -> BackupConfig {
    BackupConfig { backups: Some(folder.path().join("backups")), ..BackupConfig::default() }
}

fn diary() -> Tenant {
    Tenant::new(Instance::new("diary".parse().unwrap(), "small".parse().unwrap()), Vec::new())
}

#[tokio::test] // SPEC Z-4, Z-8
async fn the_oldest_backup_is_restored_before_retention_gives_it_up() {
    let folder = tempfile::tempdir().unwrap();
    let config = BackupConfig { backups_kept: 2, ..in_folder(&folder) };
    let (notebook, tenant) = (Notebook::new(&config, b"first"), diary());
    let archive = notebook.archive();
    let first = archive.back_up(&notebook, &tenant.instance).await.unwrap();
    notebook.write(b"second");
    archive.back_up(&notebook, &tenant.instance).await.unwrap();
    notebook.write(b"third");

    let before = archive.restore(&notebook, &tenant, &first.id).await.unwrap().unwrap();

    assert_eq!(notebook.read(), b"first");
    let kept = archive.list(&tenant.instance).await.unwrap();
    assert_eq!((kept.len(), kept[1].id == before.id), (2, true));
    archive.restore(&notebook, &tenant, &before.id).await.unwrap();
    assert_eq!(notebook.read(), b"third");
}

#[tokio::test] // SPEC Z-8
async fn a_load_that_fails_puts_back_what_was_there_or_leaves_the_instance_closed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut notebook, tenant) = (Notebook::new(&in_folder(&folder), b"too long"), diary());
    let made = notebook.archive().back_up(&notebook, &tenant.instance).await.unwrap();
    notebook.write(b"now");
    notebook.unloadable = Some(b"too long");

    let refusal = notebook.archive().restore(&notebook, &tenant, &made.id).await.unwrap_err();
    assert_eq!((refusal.to_string().as_str(), notebook.read()), ("the text does not fit", b"now".to_vec()));
    assert!(notebook.is_open.load(SeqCst));

    notebook.is_open.store(false, SeqCst);
    let failure = notebook.archive().restore(&notebook, &tenant, &made.id).await.unwrap_err();
    assert!(matches!(failure, BrokerError::Failed(_)), "half a restore is not put back: {failure}");
    assert!(!notebook.is_open.load(SeqCst));
}

#[tokio::test] // SPEC Z-5, Z-8
async fn a_backup_of_the_schedule_is_given_up_when_another_one_was_made_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let config = BackupConfig { backup_every: Some(1), ..in_folder(&folder) };
    let (mut notebook, tenant) = (Notebook::new(&config, b"text"), diary());
    let free = std::mem::replace(&mut notebook.may_dump, Arc::new(Semaphore::new(0)));
    notebook.archive().keep_up(&notebook, &tenant.instance).await.unwrap();
    notebook.begun.notified().await;

    // Another replica restores, and so makes a backup first.
    let other = Archive::open("notebook", &config).unwrap().unwrap();
    let waiting = std::mem::replace(&mut notebook.may_dump, free);
    let made = other.back_up(&notebook, &tenant.instance).await.unwrap();
    waiting.add_permits(1);

    let refusal = async || notebook.archive().back_up(&notebook, &tenant.instance).await;
    let deadline = Instant::now() + Duration::from_secs(10);
    let next = loop {
        match refusal().await {
            Ok(next) => break next,
            Err(busy) => assert!(busy.to_string().contains("unavailable"), "{busy}"),
        }
        assert!(Instant::now() < deadline, "the one of the schedule never ends");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(other.list(&tenant.instance).await.unwrap(), [made, next]);
}

#[tokio::test] // SPEC Z-9
async fn a_last_backup_is_made_once_and_of_what_holds_something() {
    let folder = tempfile::tempdir().unwrap();
    let config = BackupConfig { backup_before_removal: true, ..in_folder(&folder) };
    let (notebook, tenant) = (Notebook::new(&config, b""), diary());
    let archive = notebook.archive();

    archive.keep_last(&notebook, &tenant.instance).await.unwrap();
    assert_eq!(archive.list(&tenant.instance).await.unwrap(), []);
    notebook.write(b"text");
    for _ in 0..2 {
        archive.keep_last(&notebook, &tenant.instance).await.unwrap();
    }

    let kept = archive.list(&tenant.instance).await.unwrap();
    assert!(kept.len() == 1 && kept[0].about.is_last, "{kept:?}");
}

/// An instance of this name and team.
fn owned(name: &str, team: &str) -> Tenant {
    let mut instance = Instance::new(name.parse().unwrap(), "small".parse().unwrap());
    instance.team = team.to_owned();
    Tenant::new(instance, Vec::new())
}

#[tokio::test] // SPEC Z-10
async fn a_backup_of_an_instance_that_is_gone_is_for_the_team_that_owned_it_last() {
    let folder = tempfile::tempdir().unwrap();
    let config = BackupConfig { backup_before_removal: true, ..in_folder(&folder) };
    let notebook = Notebook::new(&config, b"first");
    let archive = notebook.archive();
    let mut gone = owned("gone", "first").instance;
    let made = archive.back_up(&notebook, &gone).await.unwrap();
    let restore = async |into: &Tenant, name: &str, id: &str| {
        archive.restore_from(&notebook, into, name, None, id).await.map(drop).map_err(|error| error.to_string())
    };
    let refused = Err("the instance has no such backup".to_owned());
    // While nothing says that it is gone, only its records say whose it is.
    assert_eq!(restore(&owned("next", "first"), "gone", &made.id).await, refused);
    gone.team = "second".to_owned();
    archive.keep_last(&notebook, &gone).await.unwrap();

    for (team, name, id) in [
        ("first", "gone", made.id.as_str()),
        ("", "gone", &made.id),
        ("second", "another", &made.id),
        ("second", "gone", "no-such"),
        ("second", "gone", "../gone"),
        ("second", "gone", ""),
    ] {
        assert_eq!(restore(&owned("next", team), name, id).await, refused, "{team}, {name}, {id}");
    }
    notebook.write(b"now");
    assert_eq!(restore(&owned("next", "second"), "gone", &made.id).await, Ok(()));
    assert_eq!(notebook.read(), b"first");
}

#[tokio::test] // SPEC Z-10
async fn a_backup_of_a_neighbour_is_restored_also_when_it_does_not_say_whose_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (notebook, gone) = (Notebook::new(&in_folder(&folder), b"text"), owned("old", "main").instance);
    let archive = notebook.archive();
    let made = archive.back_up(&notebook, &gone).await.unwrap();
    let file = folder.path().join(format!("backups/notebook/{}/{}.json", gone.id, made.id));
    let mut older: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    for member in ["name", "team"] {
        older.as_object_mut().unwrap().remove(member).unwrap();
    }
    std::fs::write(&file, older.to_string()).unwrap();
    notebook.write(b"now");

    let next = owned("next", "main");
    let before = archive.restore_from(&notebook, &next, "old", Some(&gone), &made.id).await.unwrap().unwrap();

    assert_eq!(notebook.read(), b"text");
    assert_eq!(archive.list(&next.instance).await.unwrap(), [before]);
}

#[tokio::test] // SPEC Z-11
async fn backups_are_listed_by_the_name_or_the_identifier_of_their_instance() {
    let folder = tempfile::tempdir().unwrap();
    let notebook = Notebook::new(&in_folder(&folder), b"text");
    let (one, other) = (owned("one", "main").instance, owned("other", "main").instance);
    let mut made = Vec::new();
    for instance in [&one, &other, &one] {
        made.push(notebook.back_up(instance).await.unwrap().id);
    }
    let listed = async |instance: Option<&str>| {
        let place = BackupPlace { backups: Some(folder.path().join("backups")), backups_s3: None };
        let wanted = ListBackups { place, instance: instance.map(str::to_owned) };
        let mut lines = Vec::new();
        wanted.write_to("notebook", &mut lines).await.unwrap();
        let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].clone();
        String::from_utf8(lines).unwrap().lines().map(line).collect::<Vec<_>>()
    };

    assert_eq!(listed(None).await, made);
    assert_eq!(listed(Some("one")).await, [&*made[0], &*made[2]]);
    assert_eq!(listed(Some(other.id.as_str())).await, [&*made[1]]);
    assert_eq!(listed(Some("none")).await, [""; 0]);
}

#[tokio::test] // SPEC Z-7
async fn settings_that_do_not_fit_together_are_refused_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bucket.toml");
    let (good, none) = (in_folder(&folder), BackupConfig::default());
    let of = |config: BackupConfig| Archive::open("notebook", &config).err().map(|why| format!("{why:#}"));

    let two = of(BackupConfig { backups_s3: Some(file.clone()), ..good.clone() }).unwrap();
    let in_vain = of(BackupConfig { backup_before_removal: true, ..none.clone() }).unwrap();
    std::fs::write(&file, "endpoint = \"http://127.0.0.1:1\"\nbucket = \"b\"\nsecret-key = hidden\n").unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let wrong = of(BackupConfig { backups_s3: Some(file), ..none.clone() }).unwrap();

    assert_eq!(two, "backups have two places: give either --backups or --backups-s3");
    assert_eq!(in_vain, "--backup-before-removal needs a place for backups: give --backups or --backups-s3");
    assert!(wrong.contains("bucket.toml, line 3: ") && !wrong.contains("hidden"), "{wrong}");
    assert!(of(none).is_none() && of(good).is_none());
}
