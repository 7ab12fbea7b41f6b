//! Who a server of the broker's own lets in after its next start: a file beside it, where each change is a line at the
//! end. So a change costs the same however many accounts there are, and a crash at any point leaves each account as it was
//! before it or as it is after it (SPEC K-22).

use std::{
    collections::HashMap,
    fs, io,
    sync::{Arc, Mutex, PoisonError},
};

use broker_core::OpaqueId;
use broker_hosting::Place;
use tokio::task::spawn_blocking;

use crate::account::Account;

const FILE: &str = "roster";
/// The server's own file, which is made of the roster before each start. Earlier versions had no other.
pub(crate) const ACCOUNTS: &str = "users.acl";
/// How many lines of the past the file may have, beside as many as there are accounts.
const PAST: usize = 1000;

/// The accounts of one server. They are read once: the broker has the server's folder for itself. All clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roster(Arc<Kept>);

#[derive(Debug, Default)]
struct Kept {
    known: Mutex<Option<Known>>,
    /// Changes that wait for the file: whoever has it writes all of them, and they share a sync.
    asked: Mutex<Vec<Change>>,
}

/// Who is let in or kept out.
#[derive(Debug)]
enum Change {
    Add(Account),
    Remove(OpaqueId),
}

#[derive(Debug)]
struct Known {
    accounts: HashMap<OpaqueId, Account>,
    lines: usize,
    /// Whether the file has all that is known, and ends with a whole line: then a change is added to it. Else it is
    /// written anew.
    is_kept: bool,
}

impl Roster {
    /// The accounts as they are now.
    pub(crate) fn accounts(&self, place: &Place) -> io::Result<Vec<Account>> {
        self.with(place, |known| Ok(known.accounts.values().cloned().collect()))
    }

    /// The accounts as they are now, with the file cut down to them: what a server that starts is to know.
    pub(crate) fn close_off(&self, place: &Place) -> io::Result<Vec<Account>> {
        self.with(place, |known| {
            known.write(place)?;
            Ok(known.accounts.values().cloned().collect())
        })
    }

    /// Lets accounts in, whatever they were before.
    pub(crate) async fn add(&self, place: &Place, accounts: &[Account]) -> io::Result<()> {
        self.change(place, accounts.iter().cloned().map(Change::Add).collect()).await
    }

    /// Keeps accounts out.
    pub(crate) async fn remove(&self, place: &Place, users: &[OpaqueId]) -> io::Result<()> {
        self.change(place, users.iter().cloned().map(Change::Remove).collect()).await
    }

    /// Forgets what was read: the server was removed.
    pub(crate) fn forget(&self) {
        *self.0.known.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    async fn change(&self, place: &Place, changes: Vec<Change>) -> io::Result<()> {
        self.0.asked.lock().unwrap_or_else(PoisonError::into_inner).extend(changes);
        let (roster, place) = (self.clone(), place.clone());
        spawn_blocking(move || {
            roster.with(&place, |known| {
                // Another caller may have written ours, or failed to: then all is written anew.
                let asked = std::mem::take(&mut *roster.0.asked.lock().unwrap_or_else(PoisonError::into_inner));
                known.make(&place, asked)
            })
        })
        .await?
    }

    fn with<T>(&self, place: &Place, act: impl FnOnce(&mut Known) -> io::Result<T>) -> io::Result<T> {
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *known {
            Some(known) => act(known),
            unread => act(unread.insert(Known::read(place)?)),
        }
    }
}

impl Known {
    fn read(place: &Place) -> io::Result<Self> {
        let path = place.path().join(FILE);
        let (text, is_roster) = match text_of(&path)? {
            Some(text) => (text, true),
            None => (text_of(&place.path().join(ACCOUNTS))?.unwrap_or_default(), false),
        };
        // What a crash cut off was not answered: all lines that were are whole.
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        let mut accounts = HashMap::new();
        for line in whole.lines() {
            if let Some(account) = Account::read(line) {
                accounts.insert(account.user.clone(), account);
            } else if let Some(user) = line.strip_prefix(GONE).and_then(|user| user.parse::<OpaqueId>().ok()) {
                accounts.remove(&user);
            }
        }
        Ok(Self { accounts, lines: whole.lines().count(), is_kept: is_roster && whole.len() == text.len() })
    }

    /// Makes changes, in the order in which they were asked for.
    fn make(&mut self, place: &Place, changes: Vec<Change>) -> io::Result<()> {
        let mut lines = Vec::new();
        for change in changes {
            match change {
                Change::Add(account) => {
                    let line = account.line();
                    if self.accounts.insert(account.user.clone(), account.clone()) != Some(account) {
                        lines.push(line);
                    }
                }
                Change::Remove(user) => {
                    if self.accounts.remove(&user).is_some() {
                        lines.push(format!("{GONE}{user}\n"));
                    }
                }
            }
        }
        self.keep(place, lines)
    }

    /// Has the file have what is known, by these lines more where they are enough. After a failure the file may have a
    /// part of them, so the repeat writes all of it.
    fn keep(&mut self, place: &Place, more: Vec<String>) -> io::Result<()> {
        if !self.is_kept || self.lines + more.len() > 2 * self.accounts.len() + PAST {
            return self.write(place);
        }
        if more.is_empty() {
            return Ok(());
        }
        self.is_kept = false;
        place.append(FILE, &more.concat())?;
        self.lines += more.len();
        self.is_kept = true;
        Ok(())
    }

    fn write(&mut self, place: &Place) -> io::Result<()> {
        self.is_kept = false;
        place.write(FILE, &self.accounts.values().map(Account::line).collect::<String>())?;
        self.lines = self.accounts.len();
        self.is_kept = true;
        Ok(())
    }
}

/// Before the name of an account that was let in earlier in the file.
const GONE: &str = "gone ";

/// None when there is no such file. What is no text can only be in a line that is none of ours.
fn text_of(path: &std::path::Path) -> io::Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(other) => Err(other),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, path::Path, slice};

    use broker_core::{Binding, Consumer};
    use broker_hosting::testing::place;

    use super::*;

    fn accounts(count: usize) -> Vec<Account> {
        (0..count).map(|_| Account::on_server(&Binding::new(Consumer::App("blog".parse().unwrap())))).collect()
    }

    /// Who a broker that starts now would let in.
    fn read(folder: &Path) -> HashSet<OpaqueId> {
        let accounts = Roster::default().accounts(&place(folder)).unwrap();
        accounts.into_iter().map(|account| account.user).collect()
    }

    fn names(accounts: &[Account]) -> HashSet<OpaqueId> {
        accounts.iter().map(|account| account.user.clone()).collect()
    }

    #[tokio::test] // SPEC K-22
    async fn a_change_adds_a_line_however_many_accounts_there_are() {
        let folder = tempfile::tempdir().unwrap();
        let (roster, place) = (Roster::default(), place(folder.path()));
        let many = accounts(500);
        roster.add(&place, &many).await.unwrap();
        let text = || fs::read_to_string(folder.path().join(FILE)).unwrap();
        let before = text();

        let one = accounts(1);
        roster.add(&place, &one).await.unwrap();
        roster.add(&place, &one).await.unwrap();
        roster.remove(&place, slice::from_ref(&many[0].user)).await.unwrap();
        roster.remove(&place, slice::from_ref(&many[0].user)).await.unwrap();

        let after = text();
        let added = after.strip_prefix(&before).unwrap();
        assert_eq!(added, format!("{}gone {}\n", one[0].line(), many[0].user));
        assert_eq!(read(folder.path()), names(&[&many[1..], &one].concat()));
    }

    #[tokio::test] // SPEC K-22
    async fn a_crash_within_a_change_leaves_what_was_before_and_spoils_no_later_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        let [one, other, later] = &accounts(3)[..] else { panic!("three accounts") };
        let roster = Roster::default();
        let place = place(folder.path());
        roster.add(&place, slice::from_ref(one)).await.unwrap();
        let (first, both) = (fs::read(&file).unwrap(), {
            roster.remove(&place, slice::from_ref(&one.user)).await.unwrap();
            roster.add(&place, slice::from_ref(other)).await.unwrap();
            fs::read(&file).unwrap()
        });

        for cut in first.len()..=both.len() {
            fs::write(&file, &both[..cut]).unwrap();
            let before = read(folder.path());
            Roster::default().add(&place, slice::from_ref(later)).await.unwrap();

            let whole = both[..cut].iter().filter(|byte| **byte == b'\n').count();
            let expected = [vec![one], vec![], vec![other]][whole - 1].iter().map(|one| one.user.clone()).collect();
            assert_eq!(before, expected, "cut at {cut}");
            assert_eq!(read(folder.path()), &before | &names(slice::from_ref(later)), "cut at {cut}");
        }
    }

    #[tokio::test] // SPEC K-22
    async fn a_change_that_could_not_be_written_is_there_after_its_repeat() {
        let folder = tempfile::tempdir().unwrap();
        let (roster, place) = (Roster::default(), place(folder.path()));
        let (staying, leaving) = (accounts(1), accounts(1));
        roster.add(&place, &[staying.clone(), leaving.clone()].concat()).await.unwrap();
        let file = folder.path().join(FILE);
        fs::rename(&file, folder.path().join("aside")).unwrap();
        fs::create_dir(&file).unwrap();
        roster.remove(&place, slice::from_ref(&leaving[0].user)).await.unwrap_err();
        fs::remove_dir(&file).unwrap();
        fs::rename(folder.path().join("aside"), &file).unwrap();

        roster.remove(&place, slice::from_ref(&leaving[0].user)).await.unwrap();

        assert_eq!(read(folder.path()), names(&staying));
    }

    #[tokio::test] // SPEC K-22
    async fn the_file_does_not_grow_with_the_past() {
        let folder = tempfile::tempdir().unwrap();
        let (roster, place) = (Roster::default(), place(folder.path()));
        let staying = accounts(3);
        roster.add(&place, &staying).await.unwrap();

        let passing = accounts(1);
        for _ in 0..PAST {
            roster.add(&place, &passing).await.unwrap();
            roster.remove(&place, slice::from_ref(&passing[0].user)).await.unwrap();
        }

        let lines = fs::read_to_string(folder.path().join(FILE)).unwrap().lines().count();
        assert!(lines <= PAST + 8, "{lines} lines");
        assert_eq!(read(folder.path()), names(&staying));
    }

    #[tokio::test] // SPEC K-22
    async fn accounts_of_an_earlier_version_are_taken_over_from_the_servers_own_file() {
        let folder = tempfile::tempdir().unwrap();
        let old = accounts(2);
        let rules = crate::account::Dialect { version: (7, 0), many_databases: true };
        let text = crate::account::account_file(&"s3cret".into(), &old, rules);
        fs::write(folder.path().join(ACCOUNTS), text).unwrap();
        assert_eq!(read(folder.path()), names(&old));

        let roster = Roster::default();
        roster.remove(&place(folder.path()), slice::from_ref(&old[0].user)).await.unwrap();

        assert_eq!(read(folder.path()), names(&old[1..]));
    }
}
