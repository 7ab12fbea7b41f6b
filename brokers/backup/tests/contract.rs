//! Backups in a folder and in a bucket keep the same contract. The bucket is that of moto, a server that speaks
//! the protocol of S3; it is installed with pip when it is missing.

use std::{
    fs,
    path::Path,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use broker_backup::{About, BackupError, BackupKey, Backups, Manifest, Retention, S3, output_of, testing::Moto};
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};

/// A place for backups that goes away with its test.
struct Place {
    folder: tempfile::TempDir,
    backups: Backups,
    moto: Option<Moto>,
}

impl Place {
    fn folder() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let backups = Backups::in_folder(&folder.path().join("backups")).unwrap();
        Self { folder, backups, moto: None }
    }

    fn bucket() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let moto = Moto::start(folder.path(), Path::new(env!("CARGO_TARGET_TMPDIR")));
        let backups = Backups::in_s3(&moto.bucket()).unwrap();
        Self { folder, backups, moto: Some(moto) }
    }

    /// All that is kept, by name.
    fn objects(&self) -> Vec<String> {
        match &self.moto {
            Some(moto) => moto.objects(),
            None => files_below(&self.folder.path().join("backups")),
        }
    }
}

fn files_below(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path.display().to_string()] }).collect()
}

/// Each of these tests is one test of each place.
macro_rules! contract {
    ($($name:ident,)*) => {
        mod folder {
            $(#[tokio::test] async fn $name() { super::$name(super::Place::folder()).await; })*
        }
        mod bucket {
            $(#[tokio::test] async fn $name() { super::$name(super::Place::bucket()).await; })*
        }
    };
}

contract! {
    what_is_written_is_read_again_and_listed_in_order,
    a_source_that_breaks_off_leaves_nothing,
    a_sealed_backup_opens_with_its_key_alone,
    a_removed_backup_is_gone_and_removing_it_again_is_fine,
    retention_keeps_the_newest,
    backups_of_a_removed_instance_go_some_time_after_its_last_one,
    data_without_a_manifest_is_not_listed_and_is_swept,
}

fn about() -> About {
    About::new("redis", "6f1c", "small").server("redis 7.0").format("rdb")
}

/// Data that does not compress, longer than one request.
fn much() -> Vec<u8> {
    let mut seed = 7_u64;
    let step = |_| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 56) as u8
    };
    (0..9 << 20).map(step).collect()
}

async fn all(backups: &Backups, made: &Manifest) -> std::io::Result<Vec<u8>> {
    let mut data = Vec::new();
    backups.read(made).await.unwrap().read_to_end(&mut data).await?;
    Ok(data)
}

// SPEC Z-1
async fn what_is_written_is_read_again_and_listed_in_order(place: Place) {
    let (backups, data) = (&place.backups, much());

    let first = backups.write(&about(), data.as_slice()).await.unwrap();
    let second = backups.write(&about(), &b""[..]).await.unwrap();
    backups.write(&About::new("redis", "other", "small"), &b"x"[..]).await.unwrap();

    assert_eq!(backups.list("redis", "6f1c").await.unwrap(), [first.clone(), second.clone()]);
    assert!(all(backups, &first).await.unwrap() == data);
    assert_eq!(all(backups, &second).await.unwrap(), b"");
    assert_eq!(first.size, data.len() as u64);
    assert_eq!(backups.get("redis", "6f1c", &first.id).await.unwrap().as_ref(), Some(&first));
    assert_eq!(backups.get("redis", "6f1c", "none").await.unwrap(), None);
    assert_eq!(backups.list("redis", "6f1").await.unwrap(), []);
    backups.verify(&first).await.unwrap();
    assert!(matches!(backups.list("redis", "../x").await, Err(BackupError::Name(_))));
}

/// Some data, and then an error.
struct Broken(usize);

impl AsyncRead for Broken {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        if self.0 == 0 {
            return Poll::Ready(Err(std::io::Error::other("the server is gone")));
        }
        let length = self.0.min(buffer.remaining());
        buffer.put_slice(&vec![7; length]);
        self.0 -= length;
        Poll::Ready(Ok(()))
    }
}

// SPEC Z-1
async fn a_source_that_breaks_off_leaves_nothing(place: Place) {
    let refusal = place.backups.write(&about(), Broken(1 << 20)).await.unwrap_err();

    assert_eq!(refusal.to_string(), "the data to back up could not be read: the server is gone");
    assert_eq!(place.backups.list("redis", "6f1c").await.unwrap(), []);
    assert_eq!(place.objects(), Vec::<String>::new());
}

// SPEC Z-3
async fn a_sealed_backup_opens_with_its_key_alone(place: Place) {
    let file = place.folder.path().join("key");
    let sealing = place.backups.clone().sealed_with(BackupKey::kept(&file).unwrap());
    let data = [b"a secret ".repeat(50_000), much()[..200_000].to_vec()].concat();

    // A length that is a whole number of pieces is one of the edges.
    for length in [0, 1, 64 << 10, data.len()] {
        let made = sealing.write(&about(), &data[..length]).await.unwrap();
        let again = place.backups.clone().sealed_with(BackupKey::kept(&file).unwrap());
        assert!(all(&again, &made).await.unwrap() == data[..length], "{length}");
        assert!(matches!(place.backups.read(&made).await, Err(BackupError::WrongKey { .. })));
    }
    let other = BackupKey::kept(&place.folder.path().join("other")).unwrap();
    let made = sealing.list("redis", "6f1c").await.unwrap();
    let refusal = place.backups.clone().sealed_with(other).read(&made[0]).await.unwrap_err();
    assert!(matches!(refusal, BackupError::WrongKey { .. }), "{refusal}");
    let plain = place.backups.write(&about(), &b"plain"[..]).await.unwrap();
    assert_eq!(all(&sealing, &plain).await.unwrap(), b"plain");
}

async fn a_removed_backup_is_gone_and_removing_it_again_is_fine(place: Place) {
    let made = place.backups.write(&about(), &b"data"[..]).await.unwrap();

    place.backups.remove(&made).await.unwrap();
    place.backups.remove(&made).await.unwrap();

    assert_eq!(place.backups.list("redis", "6f1c").await.unwrap(), []);
    assert_eq!(place.objects(), Vec::<String>::new());
}

// SPEC Z-4
async fn retention_keeps_the_newest(place: Place) {
    let mut made = Vec::new();
    for number in 0..4_u8 {
        made.push(place.backups.write(&about(), &[number][..]).await.unwrap());
    }
    let keep = Retention { keep: Some(2), days: None };

    let removed = place.backups.retain("redis", "6f1c", &keep, made[3].begun).await.unwrap();

    assert_eq!(removed.len(), 2);
    assert_eq!(place.backups.list("redis", "6f1c").await.unwrap(), made[2..]);
}

// SPEC Z-6
async fn backups_of_a_removed_instance_go_some_time_after_its_last_one(place: Place) {
    let backups = &place.backups;
    let of = |instance: &str| About::new("redis", instance, "small");
    let earlier = backups.write(&of("gone"), &b"1"[..]).await.unwrap();
    let last = backups.write(&of("gone").last(), &b"2"[..]).await.unwrap();
    let stays = backups.write(&of("stays"), &b"3"[..]).await.unwrap();
    let days = chrono::Duration::days;

    let early = backups.forget("redis", days(7), last.ended + days(6)).await.unwrap();
    assert_eq!(early, []);
    assert_eq!(backups.list("redis", "gone").await.unwrap(), [earlier.clone(), last.clone()]);
    let forgotten = backups.forget("redis", days(7), last.ended + days(7)).await.unwrap();

    assert_eq!(forgotten, [earlier, last]);
    assert_eq!(backups.list("redis", "gone").await.unwrap(), []);
    assert_eq!(backups.list("redis", "stays").await.unwrap(), [stays], "it has no last one");
    assert_eq!(place.objects().len(), 2);
}

// SPEC Z-1
async fn data_without_a_manifest_is_not_listed_and_is_swept(place: Place) {
    let whole = place.backups.write(&about(), &b"data"[..]).await.unwrap();
    let half = place.backups.write(&about(), &b"data"[..]).await.unwrap();
    let manifest = format!("redis/6f1c/{}.json", half.id);
    match &place.moto {
        Some(moto) => assert!(moto.ask("DELETE", &format!("/backups/{manifest}")).status().unwrap().success()),
        None => fs::remove_file(place.folder.path().join("backups").join(manifest)).unwrap(),
    }

    assert_eq!(place.backups.list("redis", "6f1c").await.unwrap(), std::slice::from_ref(&whole));
    assert_eq!(place.backups.sweep("redis", Duration::from_secs(3600)).await.unwrap(), 0, "it may go on");
    let deadline = Instant::now() + Duration::from_secs(10);
    while place.backups.sweep("redis", Duration::ZERO).await.unwrap() == 0 {
        // Times of objects are rounded there, so the newest may be of the next second.
        assert!(Instant::now() < deadline, "it is never swept");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(place.objects().len(), 2);
    place.backups.verify(&whole).await.unwrap();
}

#[tokio::test] // SPEC Z-2
async fn a_damaged_backup_is_never_read_to_its_end() {
    let place = Place::folder();
    for seal in [false, true] {
        let key = BackupKey::kept(&place.folder.path().join("key")).unwrap();
        let backups = if seal { place.backups.clone().sealed_with(key) } else { place.backups.clone() };
        let made = backups.write(&about(), &much()[..300_000]).await.unwrap();
        let file = place.folder.path().join(format!("backups/redis/6f1c/{}.data", made.id));
        let good = fs::read(&file).unwrap();
        let middle = good.len() / 2;
        let flipped = [&good[..middle], &[good[middle] ^ 1], &good[middle + 1..]].concat();
        for bad in [flipped, good[..good.len() - 1].to_vec(), [&good[..], b"x"].concat(), Vec::new()] {
            fs::write(&file, bad).unwrap();
            assert!(all(&backups, &made).await.is_err());
            let refusal = backups.verify(&made).await.unwrap_err();
            assert!(matches!(refusal, BackupError::Damaged { .. }), "{refusal}");
        }
    }
}

#[tokio::test] // SPEC Z-1
async fn a_dump_that_fails_becomes_no_backup() {
    let place = Place::folder();
    let shell = |script: &str| {
        let mut command = tokio::process::Command::new("sh");
        command.args(["-c", script]);
        output_of(command).unwrap()
    };

    let refusal = place.backups.write(&about(), shell("echo half; exit 3")).await.unwrap_err().to_string();
    let made = place.backups.write(&about(), shell("echo whole")).await.unwrap();

    assert!(refusal.contains("sh failed: exit status: 3"), "{refusal}");
    assert_eq!(all(&place.backups, &made).await.unwrap(), b"whole\n");
}

#[tokio::test]
async fn a_bucket_that_does_not_answer_is_an_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", taken.local_addr().unwrap());
    drop(taken);
    let own = str::to_owned;
    let s3 =
        S3 { endpoint, bucket: own("b"), region: own("r"), access_key: own("k"), secret_key: own("hidden").into() };

    let refusal = Backups::in_s3(&s3).unwrap().list("redis", "6f1c").await.unwrap_err().to_string();

    assert!(refusal.starts_with("cannot use the place for backups") && !refusal.contains("hidden"), "{refusal}");
}
