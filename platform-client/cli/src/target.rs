//! What the client remembers: platforms and tokens, as files below `~/.tsuru` (contract section 2).

use std::{
    env, fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use broker_core::Secret;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// A platform: where it is, and what the user calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Its label, when it has one.
    pub(crate) label: Option<String>,
    /// Its URL, with scheme and without a trailing `/`.
    pub(crate) url: String,
}

/// The client's files.
#[derive(Debug)]
pub(crate) struct Files {
    home: PathBuf,
}

impl Files {
    /// The files of whoever runs this.
    ///
    /// # Errors
    ///
    /// When there is no home directory.
    pub(crate) fn of_user() -> Result<Self> {
        let home = ["HOME", "HOMEPATH"].iter().find_map(|name| env::var_os(name).filter(|value| !value.is_empty()));
        Ok(Self { home: home.context("there is no home directory: set HOME")?.into() })
    }

    /// The platform to talk to: `chosen` (a label or a URL), or the current one.
    ///
    /// # Errors
    ///
    /// When nothing is chosen and there is no current one.
    pub(crate) fn target(&self, chosen: Option<&str>) -> Result<Target> {
        let current;
        let chosen = match chosen {
            Some(chosen) => chosen,
            None => {
                current = self.current()?.context(
                    "No target defined. Please use target-add/target-set to define a target.\n\n\
                     For more details, please run \"tsuru help target\".",
                )?;
                &current
            }
        };
        let targets = self.targets()?;
        let by_label = targets.iter().find(|(label, _)| label == chosen);
        let url = with_scheme(by_label.map_or(chosen, |(_, url)| url));
        let by_url = || targets.iter().find(|(_, known)| with_scheme(known) == url);
        let label = by_label.or_else(by_url).map(|(label, _)| label.clone());
        Ok(Target { label, url })
    }

    /// The current platform's URL as it was given.
    pub(crate) fn current(&self) -> Result<Option<String>> {
        let text = match read(&self.path("target"))? {
            Some(text) => Some(text),
            None => read(&self.home.join(".tsuru_target"))?,
        };
        Ok(text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()))
    }

    /// Makes a platform the current one.
    pub(crate) fn set_current(&self, url: &str) -> Result<()> {
        self.write("target", url)
    }

    /// Forgets which platform is the current one.
    pub(crate) fn forget_current(&self) -> Result<()> {
        remove(&self.path("target"))
    }

    /// Known platforms, label and URL, sorted by label.
    pub(crate) fn targets(&self) -> Result<Vec<(String, String)>> {
        let text = match read(&self.path("targets"))? {
            Some(text) => text,
            None => read(&self.home.join(".tsuru_targets"))?.unwrap_or_default(),
        };
        let mut targets: Vec<_> = text
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .map(|(label, url)| (label.trim().to_owned(), url.trim().to_owned()))
            .collect();
        targets.sort();
        Ok(targets)
    }

    /// Writes down the known platforms.
    pub(crate) fn set_targets(&self, targets: &[(String, String)]) -> Result<()> {
        let lines: String = targets.iter().map(|(label, url)| format!("{label}\t{url}\n")).collect();
        self.write("targets", &lines)
    }

    /// The token for a platform. A token is only ever shown to the platform it was given by.
    pub(crate) fn token(&self, target: &Target) -> Result<Option<Secret>> {
        let own = read(&self.path(&own_token(target)))?;
        let token = match own {
            None if self.is_current(target)? => read(&self.path("token"))?,
            own => own,
        };
        Ok(token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()).map(Secret::from))
    }

    /// Keeps a platform's token.
    pub(crate) fn set_token(&self, target: &Target, token: &Secret) -> Result<()> {
        self.write(&own_token(target), token.expose())?;
        if self.is_current(target)? {
            self.write("token", token.expose())?;
        }
        Ok(())
    }

    /// Forgets a platform's token.
    pub(crate) fn forget_token(&self, target: &Target) -> Result<()> {
        remove(&self.path(&own_token(target)))?;
        if self.is_current(target)? {
            remove(&self.path("token"))?;
        }
        Ok(())
    }

    /// Whether a platform is the current one, or there is no current one.
    fn is_current(&self, target: &Target) -> Result<bool> {
        match self.current()? {
            Some(current) => Ok(self.target(Some(&current))?.url == target.url),
            None => Ok(true),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.join(".tsuru").join(name)
    }

    /// Replaces a file as a whole, readable by nobody else.
    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path(name);
        let folder = path.parent().unwrap_or(&self.home);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        replace(folder, &path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Where a platform's own token is: by label, or else by URL.
fn own_token(target: &Target) -> String {
    match &target.label {
        Some(label) => format!("token.d/{label}"),
        None => format!("token.d/{}", utf8_percent_encode(&target.url, NON_ALPHANUMERIC)),
    }
}

fn replace(folder: &Path, path: &Path, text: &str) -> io::Result<()> {
    let mut file = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o600)).tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// The URL with `http://` in front if it has no scheme, and without a trailing `/` (contract section 1.1).
pub(crate) fn with_scheme(url: &str) -> String {
    let url = url.trim().trim_end_matches('/');
    if url.contains("://") { url.to_owned() } else { format!("http://{url}") }
}

/// Checks a label: it names a file.
///
/// # Errors
///
/// When it cannot.
pub(crate) fn check_label(label: &str) -> Result<()> {
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '@' | ':');
    if label.is_empty() || label.starts_with('.') || !label.chars().all(fits) {
        bail!("{label:?} cannot be a label: use letters, numbers, dashes, dots and underscores");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> (tempfile::TempDir, Files) {
        let home = tempfile::tempdir().unwrap();
        let files = Files { home: home.path().to_owned() };
        (home, files)
    }

    #[test] // SPEC C-5
    fn a_token_is_not_shown_to_another_platform() {
        let (_home, files) = files();
        files.set_targets(&[("a".into(), "http://a".into()), ("b".into(), "http://b".into())]).unwrap();
        files.set_current("http://a").unwrap();
        let (a, b) = (files.target(Some("a")).unwrap(), files.target(Some("b")).unwrap());

        files.set_token(&a, &Secret::from("t")).unwrap();

        assert_eq!(files.token(&a).unwrap().unwrap().expose(), "t");
        assert!(files.token(&b).unwrap().is_none());
    }

    #[test] // SPEC C-4
    fn files_are_their_owners_only() {
        let (home, files) = files();
        let target = Target { label: None, url: "http://a".to_owned() };

        files.set_token(&target, &Secret::from("t")).unwrap();

        let mode = |path: &str| fs::metadata(home.path().join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(".tsuru"), mode(".tsuru/token.d"), mode(".tsuru/token")), (0o700, 0o700, 0o600));
        assert_eq!(fs::read_to_string(home.path().join(".tsuru/token")).unwrap(), "t");
    }

    #[test]
    fn a_target_is_a_label_or_a_url() {
        let (_home, files) = files();
        files.set_targets(&[("main".into(), "tsuru.example/".into())]).unwrap();

        let by_label = files.target(Some("main")).unwrap();
        let by_url = files.target(Some("http://tsuru.example")).unwrap();

        assert_eq!(by_label, Target { label: Some("main".into()), url: "http://tsuru.example".into() });
        assert_eq!(by_url, by_label);
        assert!(files.target(None).unwrap_err().to_string().starts_with("No target defined."));
    }
}
