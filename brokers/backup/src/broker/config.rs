//! What the operator can set.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use broker_core::cli::Findings;

use crate::{BackupKey, Backups, S3};

/// Where backups are, and when they are made.
#[derive(Clone, Debug, clap::Args)]
pub struct BackupConfig {
    /// Folder for backups [default: there are none]
    #[arg(long, env = "BROKER_BACKUPS", value_name = "DIR")]
    pub backups: Option<PathBuf>,
    /// File (TOML) of the bucket for backups at an S3-compatible endpoint, in place of a folder: endpoint, bucket,
    /// region, access-key, secret-key
    #[arg(long, env = "BROKER_BACKUPS_S3", value_name = "FILE")]
    pub backups_s3: Option<PathBuf>,
    /// File with the key that seals backups, made when it is missing; keep a copy elsewhere [default: not sealed]
    #[arg(long, env = "BROKER_BACKUP_KEY", value_name = "FILE")]
    pub backup_key: Option<PathBuf>,
    /// Hours between backups of an instance [default: on demand only]
    #[arg(long, env = "BROKER_BACKUP_EVERY", value_name = "HOURS",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub backup_every: Option<u32>,
    /// How many backups of an instance are kept
    #[arg(long, env = "BROKER_BACKUPS_KEPT", value_name = "NUMBER", default_value_t = KEPT)]
    pub backups_kept: usize,
    /// Make a last backup of an instance before it is removed; what cannot be backed up is not removed
    #[arg(long, env = "BROKER_BACKUP_BEFORE_REMOVAL")]
    pub backup_before_removal: bool,
    /// Days that the backups of a removed instance are kept after its last one [default: for ever]
    #[arg(long, env = "BROKER_LAST_BACKUPS_KEPT", value_name = "DAYS",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub last_backups_kept: Option<u32>,
}

const KEPT: usize = 7;

impl Default for BackupConfig {
    /// No backups.
    fn default() -> Self {
        Self {
            backups: None,
            backups_s3: None,
            backup_key: None,
            backup_every: None,
            backups_kept: KEPT,
            backup_before_removal: false,
            last_backups_kept: None,
        }
    }
}

impl BackupConfig {
    /// Whether the operator wants backups.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.backups.is_some() || self.backups_s3.is_some()
    }

    /// Looks whether the place for backups can be used; nothing is made or changed there.
    pub async fn check(&self, service: &str, findings: &mut Findings) {
        match self.look(service).await {
            Ok(None) => {}
            Ok(Some(place)) => findings.found("backups", place),
            Err(problem) => findings.problem("backups", format!("{problem:#}")),
        }
    }

    async fn look(&self, service: &str) -> anyhow::Result<Option<String>> {
        self.fits_together()?;
        if let Some(key) = self.backup_key.as_deref().filter(|key| key.exists()) {
            BackupKey::kept(key)?;
        }
        let Some(file) = &self.backups_s3 else {
            let Some(folder) = &self.backups else { return Ok(None) };
            let there = fs::metadata(folder);
            anyhow::ensure!(
                there.as_ref().map_or(true, fs::Metadata::is_dir),
                "{} is no folder: name another one",
                folder.display()
            );
            return Ok(Some(match there {
                Ok(_) => folder.display().to_string(),
                Err(_) => format!("{}, which will be made", folder.display()),
            }));
        };
        let bucket = bucket_in(file)?;
        // An instance that nobody has.
        Backups::in_s3(&bucket)?.list(service, "none").await?;
        Ok(Some(format!("bucket {} at {}", bucket.bucket, bucket.endpoint)))
    }

    /// The place for backups, if the operator wants some.
    pub(super) fn place(&self) -> anyhow::Result<Option<Backups>> {
        self.fits_together()?;
        place(self.backups.as_deref(), self.backups_s3.as_deref(), self.backup_key.as_deref())
    }

    /// Settings come from flags, the environment and files, so they are looked at together, here.
    fn fits_together(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.backups.is_none() || self.backups_s3.is_none(),
            "backups have two places: give either --backups or --backups-s3"
        );
        let in_vain = [
            ("backup-key", self.backup_key.is_some()),
            ("backup-every", self.backup_every.is_some()),
            ("backup-before-removal", self.backup_before_removal),
            ("last-backups-kept", self.last_backups_kept.is_some()),
        ];
        if let Some((flag, _)) = in_vain.iter().find(|(_, is_set)| *is_set && !self.is_wanted()) {
            anyhow::bail!("--{flag} needs a place for backups: give --backups or --backups-s3");
        }
        Ok(())
    }
}

/// Where an operator reads backups from.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct BackupPlace {
    /// Folder of the backups
    #[arg(long, env = "BROKER_BACKUPS", value_name = "DIR", required_unless_present = "backups_s3")]
    pub backups: Option<PathBuf>,
    /// File (TOML) of the bucket with the backups, in place of a folder
    #[arg(long, env = "BROKER_BACKUPS_S3", value_name = "FILE", conflicts_with = "backups")]
    pub backups_s3: Option<PathBuf>,
}

impl BackupPlace {
    /// The backups that are there, for whoever has the key, if any is wanted.
    pub(super) fn open(&self, key: Option<&Path>) -> anyhow::Result<Backups> {
        let (folder, bucket) = (self.backups.as_deref(), self.backups_s3.as_deref());
        for path in [folder, bucket, key].into_iter().flatten() {
            anyhow::ensure!(path.exists(), "there is no {}: give the path that the broker has", path.display());
        }
        place(folder, bucket, key)?.context("there is no place to read from: give --backups")
    }
}

/// A folder or a bucket, and the key that seals what is there.
fn place(folder: Option<&Path>, bucket: Option<&Path>, key: Option<&Path>) -> anyhow::Result<Option<Backups>> {
    let backups = match (folder, bucket) {
        (_, Some(file)) => Backups::in_s3(&bucket_in(file)?)?,
        (Some(folder), None) => Backups::in_folder(folder)?,
        (None, None) => return Ok(None),
    };
    let key = key.map(BackupKey::kept).transpose()?;
    Ok(Some(match key {
        Some(key) => backups.sealed_with(key),
        None => backups,
    }))
}

/// The bucket of a file, which holds a secret and is for its owner only.
fn bucket_in(file: &Path) -> anyhow::Result<S3> {
    let read = || format!("cannot read the bucket for backups from {}", file.display());
    let mode = fs::metadata(file).with_context(read)?.permissions().mode();
    anyhow::ensure!(mode & 0o077 == 0, "others may read {}: give it mode 0600", file.display());
    let text = fs::read_to_string(file).with_context(read)?;
    toml::from_str(&text).map_err(|wrong| {
        // Its own words would quote the line, which may be the secret.
        let at = wrong.span().map_or(0, |span| span.start);
        let line = 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
        anyhow::anyhow!("{}, line {line}: {}", file.display(), wrong.message().lines().collect::<Vec<_>>().join(", "))
    })
}
