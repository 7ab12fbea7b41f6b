//! Who a server of the broker's own lets in after its next start: a file beside it, where each change is a line at the
//! end. So a change costs the same however many accounts there are, and a crash at any point leaves each account as it was
//! before it or as it is after it (SPEC K-22).
//!
//! The server itself reads another file, which is made of this one before each start. A server in a container is also
//! started by the container engine, which asks nobody: its file is made anew with each change.

use std::{
    collections::HashMap,
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use broker_core::{OpaqueId, Secret};
use broker_hosting::Place;
use tokio::task::spawn_blocking;

use crate::account::{Account, Dialect, account_file};

const FILE: &str = "roster";
/// The server's own file. Earlier versions had no other.
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

/// What the server's own file has beside the accounts.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// The password of the broker's account.
    pub(crate) admin: Secret,
    pub(crate) dialect: Dialect,
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
    /// Whether the server's own file has all that is known.
    is_handed_over: bool,
}

impl Roster {
    /// The accounts as they are now.
    pub(crate) async fn accounts(&self, place: &Place) -> io::Result<Vec<Account>> {
        let (roster, place) = (self.clone(), place.clone());
        // A change that is being written is waited for.
        spawn_blocking(move || roster.with(&place, |known| Ok(known.accounts.values().cloned().collect()))).await?
    }

    /// Cuts the file down to the accounts that are there, and makes the server's own of it, which is returned: what a
    /// server that starts is to know.
    pub(crate) fn hand_over(&self, place: &Place, rules: &Rules) -> io::Result<PathBuf> {
        self.with(place, |known| {
            known.write(place)?;
            known.hand_over(place, rules)
        })
    }

    /// Has the server's own file be as one that is started by somebody else is to find it.
    pub(crate) async fn keep_handed_over(&self, place: &Place, rules: &Rules) -> io::Result<()> {
        self.change(place, Vec::new(), rules).await
    }

    /// Lets accounts in, whatever they were before.
    pub(crate) async fn add(&self, place: &Place, accounts: &[Account], rules: &Rules) -> io::Result<()> {
        self.change(place, accounts.iter().cloned().map(Change::Add).collect(), rules).await
    }

    /// Keeps accounts out.
    pub(crate) async fn remove(&self, place: &Place, users: &[OpaqueId], rules: &Rules) -> io::Result<()> {
        self.change(place, users.iter().cloned().map(Change::Remove).collect(), rules).await
    }

    /// Forgets what was read: the server was removed.
    pub(crate) fn forget(&self) {
        *self.0.known.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    async fn change(&self, place: &Place, changes: Vec<Change>, rules: &Rules) -> io::Result<()> {
        self.0.asked.lock().unwrap_or_else(PoisonError::into_inner).extend(changes);
        let (roster, place, rules) = (self.clone(), place.clone(), rules.clone());
        spawn_blocking(move || {
            roster.with(&place, |known| {
                // Another caller may have written ours, or failed to: then all is written anew.
                let asked = std::mem::take(&mut *roster.0.asked.lock().unwrap_or_else(PoisonError::into_inner));
                known.make(&place, asked)?;
                if place.is_contained() && !known.is_handed_over {
                    known.hand_over(&place, &rules)?;
                }
                Ok(())
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
        let is_kept = is_roster && whole.len() == text.len();
        Ok(Self { accounts, lines: whole.lines().count(), is_kept, is_handed_over: false })
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
        self.is_handed_over &= lines.is_empty();
        self.keep(place, lines)
    }

    fn hand_over(&mut self, place: &Place, Rules { admin, dialect }: &Rules) -> io::Result<PathBuf> {
        self.is_handed_over = false;
        let accounts: Vec<_> = self.accounts.values().cloned().collect();
        let path = place.write(ACCOUNTS, &account_file(admin, &accounts, *dialect))?;
        self.is_handed_over = true;
        Ok(path)
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
    use broker_hosting::testing::{place, place_in_container};
    use futures::future::join_all;

    use super::*;

    fn accounts(count: usize) -> Vec<Account> {
        (0..count).map(|_| Account::on_server(&Binding::new(Consumer::App("blog".parse().unwrap())))).collect()
    }

    /// Who a broker that starts now would let in.
    async fn read(folder: &Path) -> HashSet<OpaqueId> {
        let accounts = Roster::default().accounts(&place(folder)).await.unwrap();
        accounts.into_iter().map(|account| account.user).collect()
    }

    fn rules() -> Rules {
        Rules { admin: Secret::from("s3cret"), dialect: Dialect { version: (7, 0), many_databases: true } }
    }

    fn names(accounts: &[Account]) -> HashSet<OpaqueId> {
        accounts.iter().map(|account| account.user.clone()).collect()
    }

    #[tokio::test] // SPEC K-22
    async fn a_change_adds_a_line_however_many_accounts_there_are() {
        let folder = tempfile::tempdir().unwrap();
        let (roster, place) = (Roster::default(), place(folder.path()));
        let many = accounts(500);
        roster.add(&place, &many, &rules()).await.unwrap();
        let text = || fs::read_to_string(folder.path().join(FILE)).unwrap();
        let before = text();

        let one = accounts(1);
        roster.add(&place, &one, &rules()).await.unwrap();
        roster.add(&place, &one, &rules()).await.unwrap();
        roster.remove(&place, slice::from_ref(&many[0].user), &rules()).await.unwrap();
        roster.remove(&place, slice::from_ref(&many[0].user), &rules()).await.unwrap();

        let after = text();
        let added = after.strip_prefix(&before).unwrap();
        assert_eq!(added, format!("{}gone {}\n", one[0].line(), many[0].user));
        assert_eq!(read(folder.path()).await, names(&[&many[1..], &one].concat()));
    }

    #[tokio::test] // SPEC K-22
    async fn a_crash_within_a_change_leaves_what_was_before_and_spoils_no_later_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        let [one, other, later] = &accounts(3)[..] else { panic!("three accounts") };
        let roster = Roster::default();
        let place = place(folder.path());
        roster.add(&place, slice::from_ref(one), &rules()).await.unwrap();
        let (first, both) = (fs::read(&file).unwrap(), {
            roster.remove(&place, slice::from_ref(&one.user), &rules()).await.unwrap();
            roster.add(&place, slice::from_ref(other), &rules()).await.unwrap();
            fs::read(&file).unwrap()
        });

        for cut in first.len()..=both.len() {
            fs::write(&file, &both[..cut]).unwrap();
            let before = read(folder.path()).await;
            Roster::default().add(&place, slice::from_ref(later), &rules()).await.unwrap();

            let whole = both[..cut].iter().filter(|byte| **byte == b'\n').count();
            let expected = [vec![one], vec![], vec![other]][whole - 1].iter().map(|one| one.user.clone()).collect();
            assert_eq!(before, expected, "cut at {cut}");
            assert_eq!(read(folder.path()).await, &before | &names(slice::from_ref(later)), "cut at {cut}");
        }
    }

    #[tokio::test] // SPEC K-22
    async fn a_change_that_could_not_be_written_is_there_after_its_repeat() {
        let folder = tempfile::tempdir().unwrap();
        let (roster, place) = (Roster::default(), place(folder.path()));
        let (staying, leaving) = (accounts(1), accounts(1));
        roster.add(&place, &[staying.clone(), leaving.clone()].concat(), &rules()).await.unwrap();
        let file = folder.path().join(FILE);
        fs::rename(&file, folder.path().join("aside")).unwrap();
        fs::create_dir(&file).unwrap();
        roster.remove(&place, slice::from_ref(&leaving[0].user), &rules()).await.unwrap_err();
        fs::remove_dir(&file).unwrap();
        fs::rename(folder.path().join("aside"), &file).unwrap();

        roster.remove(&place, slice::from_ref(&leaving[0].user), &rules()).await.unwrap();

        assert_eq!(read(folder.path()).await, names(&staying));
    }

    #[tokio::test] // SPEC K-22
    async fn the_file_does_not_grow_with_the_past() {
        let folder = tempfile::tempdir().unwrap();
        let (roster, place) = (Roster::default(), place(folder.path()));
        let staying = accounts(3);
        roster.add(&place, &staying, &rules()).await.unwrap();

        let passing = accounts(1);
        for _ in 0..PAST {
            roster.add(&place, &passing, &rules()).await.unwrap();
            roster.remove(&place, slice::from_ref(&passing[0].user), &rules()).await.unwrap();
        }

        let lines = fs::read_to_string(folder.path().join(FILE)).unwrap().lines().count();
        assert!(lines <= PAST + 8, "{lines} lines");
        assert_eq!(read(folder.path()).await, names(&staying));
    }

    /// Who a server in a container finds when its engine starts it.
    fn handed_over(folder: &Path) -> HashSet<OpaqueId> {
        let text = fs::read_to_string(folder.join(ACCOUNTS)).unwrap_or_default();
        text.lines().filter_map(Account::read).map(|account| account.user).collect()
    }

    #[tokio::test] // SPEC K-22
    async fn a_server_that_its_engine_starts_finds_whom_it_let_in_last() {
        let folder = tempfile::tempdir().unwrap();
        let (roster, contained) = (Roster::default(), place_in_container(folder.path()));
        let [one, other] = &accounts(2)[..] else { panic!("two accounts") };
        roster.add(&contained, slice::from_ref(one), &rules()).await.unwrap();
        roster.add(&contained, slice::from_ref(other), &rules()).await.unwrap();
        assert_eq!(handed_over(folder.path()), names(&[one.clone(), other.clone()]));

        // It can't be written: the change is not answered, and its repeat makes it.
        let file = folder.path().join(ACCOUNTS);
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        roster.remove(&contained, slice::from_ref(&one.user), &rules()).await.unwrap_err();
        fs::remove_dir(&file).unwrap();
        roster.remove(&contained, slice::from_ref(&one.user), &rules()).await.unwrap();
        assert_eq!(handed_over(folder.path()), names(slice::from_ref(other)));

        // A crash between the two files.
        fs::write(&file, "").unwrap();
        Roster::default().keep_handed_over(&contained, &rules()).await.unwrap();
        assert_eq!(handed_over(folder.path()), names(slice::from_ref(other)));
    }

    #[tokio::test] // SPEC K-22
    async fn changes_that_come_together_are_all_handed_over() {
        let folder = tempfile::tempdir().unwrap();
        let (roster, contained) = (Roster::default(), place_in_container(folder.path()));
        let (staying, leaving) = (accounts(20), accounts(20));
        roster.add(&contained, &leaving, &rules()).await.unwrap();

        let added =
            staying.iter().map(async |account| roster.add(&contained, slice::from_ref(account), &rules()).await);
        let removed = leaving.iter().map(async |account| {
            let user = slice::from_ref(&account.user);
            roster.remove(&contained, user, &rules()).await
        });
        let (added, removed) = tokio::join!(join_all(added), join_all(removed));

        assert!(added.iter().chain(&removed).all(Result::is_ok));
        assert_eq!(handed_over(folder.path()), names(&staying));
    }

    #[tokio::test] // SPEC K-22
    async fn accounts_of_an_earlier_version_are_taken_over_from_the_servers_own_file() {
        let folder = tempfile::tempdir().unwrap();
        let old = accounts(2);
        let Rules { admin, dialect } = rules();
        let text = account_file(&admin, &old, dialect);
        fs::write(folder.path().join(ACCOUNTS), text).unwrap();
        assert_eq!(read(folder.path()).await, names(&old));

        let roster = Roster::default();
        roster.remove(&place(folder.path()), slice::from_ref(&old[0].user), &rules()).await.unwrap();

        assert_eq!(read(folder.path()).await, names(&old[1..]));
    }
}
