//! Where backups are: a folder, or a bucket.

use std::{collections::HashSet, io, path::Path as FilePath, sync::Arc, time::Duration};

use bytes::BytesMut;
use chrono::{DateTime, Utc};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::{
    ClientOptions, ObjectStore, ObjectStoreExt as _, RetryConfig, WriteMultipart, aws::AmazonS3Builder,
    local::LocalFileSystem, path::Path,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    sync::mpsc::{Receiver, Sender, channel},
    time::timeout,
};

use crate::{
    About, BackupError, BackupKey, Manifest, Restored, Retention,
    manifest::{check, new_id},
    pack::{Packed, Piece, pack},
    unpack::unpack,
};

/// How long a source may say nothing.
const SILENT_FOR: Duration = Duration::from_secs(300);
/// What travels in one request.
const PART: usize = 8 << 20;

/// A bucket at an S3-compatible endpoint.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct S3 {
    /// As `https://s3.eu-west-1.amazonaws.com`.
    pub endpoint: String,
    /// The bucket, which has to be there.
    pub bucket: String,
    /// The region, as `eu-west-1`; `us-east-1` unless it is named.
    #[serde(default = "usual_region")]
    pub region: String,
    /// The key's identifier.
    pub access_key: String,
    /// The key.
    pub secret_key: SecretString,
}

fn usual_region() -> String {
    "us-east-1".to_owned()
}

/// The place for backups. Clones are the same place.
#[derive(Clone, Debug)]
pub struct Backups {
    store: Arc<dyn ObjectStore>,
    key: Option<Arc<BackupKey>>,
}

impl Backups {
    /// Backups in a folder, which is made when it is missing, for its owner only. What is written is on disk.
    ///
    /// # Errors
    /// When the folder can't be made.
    pub fn in_folder(folder: &FilePath) -> Result<Self, BackupError> {
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(BackupError::Pack)?;
        let store = LocalFileSystem::new_with_prefix(folder)?.with_fsync(true);
        Ok(Self { store: Arc::new(store), key: None })
    }

    /// Backups in a bucket. Nothing is asked of it yet.
    ///
    /// # Errors
    /// When the settings can't work.
    pub fn in_s3(s3: &S3) -> Result<Self, BackupError> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Another thread may be first, which is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let client = ClientOptions::new()
            .with_allow_http(s3.endpoint.starts_with("http://"))
            .with_connect_timeout(Duration::from_secs(5))
            .with_timeout(Duration::from_secs(120));
        let retries = RetryConfig { max_retries: 3, retry_timeout: Duration::from_secs(60), ..RetryConfig::default() };
        let store = AmazonS3Builder::new()
            .with_endpoint(&s3.endpoint)
            .with_bucket_name(&s3.bucket)
            .with_region(&s3.region)
            .with_access_key_id(&s3.access_key)
            .with_secret_access_key(s3.secret_key.expose_secret())
            .with_client_options(client)
            .with_retry(retries)
            .build()?;
        Ok(Self { store: Arc::new(store), key: None })
    }

    /// The same place, where all that is written from now on is sealed.
    #[must_use]
    pub fn sealed_with(self, key: BackupKey) -> Self {
        Self { key: Some(Arc::new(key)), ..self }
    }

    /// Writes a backup of all that `source` has, which must fail rather than end early. Whatever breaks off, nothing
    /// half written is listed (SPEC Z-1).
    ///
    /// # Errors
    /// When the source fails or says nothing for five minutes, or the place can't be used.
    pub async fn write(&self, about: &About, source: impl AsyncRead + Send + Unpin) -> Result<Manifest, BackupError> {
        let begun = Utc::now();
        let id = new_id(begun);
        let (data, manifest) = (path_of(about, &id, "data")?, path_of(about, &id, "json")?);
        let (to_thread, from_source) = channel(4);
        let (to_store, from_thread) = channel(4);
        let (key, name) = (self.key.clone(), id.clone());
        let packing = tokio::task::spawn_blocking(move || pack(from_source, to_store, key, &name));
        let (read, upload) = tokio::join!(pump(source, to_thread), self.upload(&data, from_thread));
        let packed = packing.await.map_err(io::Error::other).and_then(|packed| packed);
        let outcome = read.map_err(BackupError::Source).and(packed.map_err(BackupError::Pack));
        // A place that can't be used breaks off the others: it is the cause.
        let (upload, packed) = match (upload, outcome) {
            (Err(cause), _) => return Err(cause),
            (Ok(mut upload), Err(cause)) => {
                drop(upload.abort().await);
                return Err(cause);
            }
            (Ok(upload), Ok(packed)) => (upload, packed),
        };
        upload.finish().await?;
        let Packed { size, stored, sha256 } = packed;
        let key = self.key.as_ref().map(|key| key.fingerprint());
        let made = Manifest { id, about: about.clone(), begun, ended: Utc::now(), size, stored, sha256, key };
        let text = serde_json::to_vec_pretty(&made).map_err(|cause| BackupError::Pack(cause.into()))?;
        self.store.put(&manifest, text.into()).await?;
        Ok(made)
    }

    async fn upload(&self, path: &Path, mut pieces: Receiver<bytes::Bytes>) -> Result<Upload, BackupError> {
        let mut upload = WriteMultipart::new_with_chunk_size(self.store.put_multipart(path).await?, PART);
        while let Some(piece) = pieces.recv().await {
            if let Err(cause) = upload.wait_for_capacity(2).await {
                drop(upload.abort().await);
                return Err(cause.into());
            }
            upload.put(piece);
        }
        Ok(Upload(Some(upload)))
    }

    /// An instance's backups, oldest first.
    ///
    /// # Errors
    /// When the place can't be used, or a manifest there can't be read.
    pub async fn list(&self, service: &str, instance: &str) -> Result<Vec<Manifest>, BackupError> {
        self.listed(Path::from(format!("{}/{}", check(service)?, check(instance)?))).await
    }

    async fn listed(&self, folder: Path) -> Result<Vec<Manifest>, BackupError> {
        let found: Vec<_> = self.store.list(Some(&folder)).try_collect().await?;
        let manifests = found.into_iter().map(|object| object.location).filter(|path| path.extension() == Some("json"));
        let read = futures::stream::iter(manifests).map(|path| async move { self.manifest(&path).await }).buffered(8);
        let mut listed: Vec<Manifest> = read.try_filter_map(async |found| Ok(found)).try_collect().await?;
        listed.sort_by(|a, b| (a.begun, &a.id).cmp(&(b.begun, &b.id)));
        Ok(listed)
    }

    /// All backups of a service, oldest first; those of instances that are gone, too.
    ///
    /// # Errors
    /// When the place can't be used, or a manifest there can't be read.
    pub async fn all(&self, service: &str) -> Result<Vec<Manifest>, BackupError> {
        self.listed(Path::from(check(service)?)).await
    }

    /// The backup of this identifier, whichever instance it is of. All names have to be gone through.
    ///
    /// # Errors
    /// When the place can't be used.
    pub async fn find(&self, service: &str, id: &str) -> Result<Option<Manifest>, BackupError> {
        if check(id).is_err() {
            return Ok(None);
        }
        let (folder, wanted) = (Path::from(check(service)?), format!("{id}.json"));
        let mut names = self.store.list(Some(&folder));
        while let Some(object) = names.try_next().await? {
            if object.location.filename() == Some(&wanted) {
                return self.manifest(&object.location).await;
            }
        }
        Ok(None)
    }

    /// One backup; none when there is none of this identifier, whatever that has in it.
    ///
    /// # Errors
    /// When the place can't be used.
    pub async fn get(&self, service: &str, instance: &str, id: &str) -> Result<Option<Manifest>, BackupError> {
        if check(id).is_err() {
            return Ok(None);
        }
        self.manifest(&path_of(&About::new(service, instance, ""), id, "json")?).await
    }

    async fn manifest(&self, path: &Path) -> Result<Option<Manifest>, BackupError> {
        let bytes = match self.store.get(path).await {
            Ok(found) => found.bytes().await?,
            // Removed since it was listed.
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(other) => return Err(other.into()),
        };
        let damaged =
            |cause: serde_json::Error| BackupError::Damaged { id: path.to_string(), cause: cause.to_string() };
        serde_json::from_slice(&bytes).map(Some).map_err(damaged)
    }

    /// The data of a backup, unpacked. It is verified while it is read: the end comes without an error only when it
    /// is what was written.
    ///
    /// # Errors
    /// When the place can't be used, or the backup is sealed with another key.
    pub async fn read(&self, backup: &Manifest) -> Result<Restored, BackupError> {
        let ours = self.key.as_ref().map(|key| key.fingerprint());
        if let Some(wanted) = backup.key.clone().filter(|wanted| Some(wanted) != ours.as_ref()) {
            let found = ours.unwrap_or_else(|| "none".to_owned());
            return Err(BackupError::WrongKey { id: backup.id.clone(), wanted, found });
        }
        let key = backup.key.as_ref().and(self.key.clone());
        let kept = self.store.get(&path_of(&backup.about, &backup.id, "data")?).await?;
        Ok(unpack(kept.into_stream(), key, backup))
    }

    /// Reads a backup to its end without keeping anything.
    ///
    /// # Errors
    /// Those of [`Backups::read`], and when it is damaged.
    pub async fn verify(&self, backup: &Manifest) -> Result<(), BackupError> {
        let mut data = self.read(backup).await?;
        let read = tokio::io::copy(&mut data, &mut tokio::io::sink()).await;
        read.map(drop).map_err(|cause| BackupError::damaged(backup, cause))
    }

    /// Removes a backup. One that is gone is a success.
    ///
    /// # Errors
    /// When the place can't be used.
    pub async fn remove(&self, backup: &Manifest) -> Result<(), BackupError> {
        for kind in ["json", "data"] {
            self.delete(&path_of(&backup.about, &backup.id, kind)?).await?;
        }
        Ok(())
    }

    async fn delete(&self, path: &Path) -> Result<(), BackupError> {
        match self.store.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(other) => Err(other.into()),
        }
    }

    /// Removes those of an instance's backups that `retention` gives up, and returns them.
    ///
    /// # Errors
    /// When the place can't be used; a repeat goes on where this ended.
    pub async fn retain(
        &self,
        service: &str,
        instance: &str,
        retention: &Retention,
        now: DateTime<Utc>,
    ) -> Result<Vec<Manifest>, BackupError> {
        let expired = retention.expired(&self.list(service, instance).await?, now);
        for backup in &expired {
            self.remove(backup).await?;
        }
        Ok(expired)
    }

    /// Removes all backups of instances whose last one is older than `age`, and returns them. An instance without a
    /// last one keeps what it has (SPEC Z-6).
    ///
    /// # Errors
    /// When the place can't be used; a repeat goes on where this ended.
    pub async fn forget(
        &self,
        service: &str,
        age: chrono::Duration,
        now: DateTime<Utc>,
    ) -> Result<Vec<Manifest>, BackupError> {
        let mut all = self.all(service).await?;
        let is_due = |backup: &&Manifest| backup.about.is_last && now - backup.ended >= age;
        let gone: HashSet<String> = all.iter().filter(is_due).map(|backup| backup.about.instance.clone()).collect();
        all.retain(|backup| gone.contains(&backup.about.instance));
        // By the last one the others are found again, should this be cut off.
        all.sort_by_key(|backup| backup.about.is_last);
        for backup in &all {
            self.remove(backup).await?;
        }
        Ok(all)
    }

    /// Removes data of a service that no manifest names and that is older than `age`: what a crash left of a
    /// backup or of a removal. `age` has to be longer than any backup takes. Returns how many there were.
    ///
    /// # Errors
    /// When the place can't be used.
    pub async fn sweep(&self, service: &str, age: Duration) -> Result<usize, BackupError> {
        let found: Vec<_> = self.store.list(Some(&Path::from(check(service)?))).try_collect().await?;
        let whole: HashSet<String> = found
            .iter()
            .filter_map(|object| Some(object.location.as_ref().strip_suffix(".json")?.to_owned()))
            .collect();
        let mut swept = 0;
        for object in &found {
            let name = object.location.as_ref().strip_suffix(".data");
            let is_old =
                Utc::now().signed_duration_since(object.last_modified).to_std().is_ok_and(|since| since >= age);
            if is_old && name.is_some_and(|name| !whole.contains(name)) {
                self.delete(&object.location).await?;
                swept += 1;
            }
        }
        Ok(swept)
    }
}

/// An upload that goes on; given up when it is dropped unfinished.
struct Upload(Option<WriteMultipart>);

impl Upload {
    async fn finish(mut self) -> Result<(), BackupError> {
        if let Some(upload) = self.0.take() {
            upload.finish().await?;
        }
        Ok(())
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        match self.0.take() {
            Some(upload) => upload.abort().await,
            None => Ok(()),
        }
    }
}

/// Reads a source to its end.
async fn pump(mut source: impl AsyncRead + Unpin, to: Sender<Piece>) -> io::Result<()> {
    loop {
        let mut piece = BytesMut::with_capacity(128 << 10);
        let read = timeout(SILENT_FOR, source.read_buf(&mut piece)).await;
        let length = read.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "it says nothing"))??;
        let next = if length == 0 { Piece::End } else { Piece::Data(piece.freeze()) };
        // Who does not take it any more says why.
        if to.send(next).await.is_err() || length == 0 {
            return Ok(());
        }
    }
}

fn path_of(about: &About, id: &str, kind: &str) -> Result<Path, BackupError> {
    Ok(Path::from(format!("{}/{}/{}.{kind}", check(&about.service)?, check(&about.instance)?, check(id)?)))
}
