//! Pairs whose password is there as a hash that is slow to compute (SPEC T-12).
//!
//! A hash is computed once for a pair: a right one is known by its digest from then on, wrong ones for as long as there
//! is room. All that is known is dropped with the list. So many hashes are computed at once, on threads of their own,
//! and so many wait for their turn; guessing passwords takes no more of the machine than that.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, OnceLock},
    thread,
};

use argon2::{
    Algorithm, Argon2, MIN_SALT_LEN, Params, PasswordHash, PasswordHasher as _, PasswordVerifier as _, Version,
    password_hash::{Salt, SaltString},
};
use quick_cache::sync::Cache;
use secrecy::zeroize::Zeroizing;
use subtle::ConstantTimeEq as _;
use tokio::{sync::Semaphore, task::spawn_blocking};
use tracing::error;

use super::credentials::{Digest, Pair};
use crate::Secret;

/// Pairs that were tried lately: a caller with an old password that tries again and again costs nothing.
const TRIED: usize = 1024;
/// Hashes that wait to be computed.
const WAITING: usize = 32;
/// About a second of a core.
const BCRYPT_COST: u32 = 14;
const ARGON2_KIB: u32 = 64 * 1024;
const ARGON2_ROUNDS: u32 = 10;

/// Why a hash can't be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HashError {
    /// It is in no form that is known here.
    Unknown,
    /// It costs too much to check.
    Slow,
}

/// A hash in one of the forms that are usual in files.
pub(super) enum Hash {
    /// `$argon2id$v=19$m=19456,t=2,p=1$salt$hash`, and its sisters.
    Argon2(Secret),
    /// `$2y$05$` with salt and hash, as `htpasswd -B` makes it.
    Bcrypt(Secret),
}

impl Hash {
    /// The hash that stands where a password could; `None` if it is a password. What looks like a hash of a form that
    /// is not known here is taken for no password: it would be one that others have seen.
    pub(super) fn of_line(text: &str) -> Result<Option<Self>, HashError> {
        let form = text.strip_prefix('$').and_then(|rest| rest.split_once('$'));
        let Some((form, _)) = form.filter(|(form, rest)| is_form(form) && !rest.is_empty()) else {
            return if text.starts_with("{SHA") || text.starts_with("{SSHA") {
                Err(HashError::Unknown)
            } else {
                Ok(None)
            };
        };
        match form {
            "argon2id" | "argon2i" | "argon2d" => argon2(text).map(Some),
            "2a" | "2b" | "2y" => bcrypt(text).map(Some),
            _ => Err(HashError::Unknown),
        }
    }

    /// One of argon2id, for a file.
    pub(super) fn compute(password: &Secret) -> argon2::password_hash::Result<Secret> {
        let salt = SaltString::encode_b64(&rand::random::<[u8; 16]>())?;
        let hash = Argon2::default().hash_password(password.expose().as_bytes(), &salt)?;
        Ok(Secret::from(hash.to_string()))
    }

    fn is_of(&self, password: &[u8]) -> bool {
        self.check(password).unwrap_or(false)
    }

    /// Whether it is that of a password; `None` where that can't be computed.
    pub(super) fn check(&self, password: &[u8]) -> Option<bool> {
        match self {
            Self::Argon2(text) => {
                let hash = PasswordHash::new(text.expose()).ok()?;
                match Argon2::default().verify_password(password, &hash) {
                    Ok(()) => Some(true),
                    Err(argon2::password_hash::Error::Password) => Some(false),
                    Err(_) => None,
                }
            }
            // What bcrypt would cut off counts, too: a longer password is a wrong one.
            Self::Bcrypt(text) => bcrypt::non_truncating_verify(password, text.expose()).ok(),
        }
    }
}

fn is_form(text: &str) -> bool {
    (1..=20).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn argon2(text: &str) -> Result<Hash, HashError> {
    let hash = PasswordHash::new(text).map_err(|_| HashError::Unknown)?;
    // One that names no version is of the first one, and would be computed as one of the second.
    let is_known = Algorithm::try_from(hash.algorithm).is_ok()
        && hash.version.is_some_and(|version| Version::try_from(version).is_ok());
    let is_whole = is_known && hash.salt.is_some_and(is_salt) && hash.hash.is_some();
    let params = Params::try_from(&hash).ok().filter(|_| is_whole).ok_or(HashError::Unknown)?;
    if params.m_cost() > ARGON2_KIB || params.t_cost() > ARGON2_ROUNDS {
        return Err(HashError::Slow);
    }
    Ok(Hash::Argon2(Secret::from(text)))
}

fn is_salt(salt: Salt<'_>) -> bool {
    salt.decode_b64(&mut [0; Salt::MAX_LENGTH]).is_ok_and(|bytes| bytes.len() >= MIN_SALT_LEN)
}

fn bcrypt(text: &str) -> Result<Hash, HashError> {
    let parts: bcrypt::HashParts = text.parse().map_err(|_| HashError::Unknown)?;
    match parts.get_cost() {
        4..=BCRYPT_COST => Ok(Hash::Bcrypt(Secret::from(text))),
        0..4 => Err(HashError::Unknown),
        _ => Err(HashError::Slow),
    }
}

struct Line {
    hash: Hash,
    /// The pair that was found to be this one.
    opened_by: OnceLock<Digest>,
}

/// All such lines of a list, and what is known of pairs that were tried.
pub(super) struct HashedPairs {
    lines: HashMap<Vec<u8>, Vec<Arc<Line>>>,
    /// Made when it is needed: most lists have no hash.
    tried: LazyLock<Cache<Digest, bool>>,
}

impl Default for HashedPairs {
    fn default() -> Self {
        Self { lines: HashMap::new(), tried: LazyLock::new(|| Cache::new(TRIED)) }
    }
}

impl HashedPairs {
    pub(super) fn accept(&mut self, username: &str, hash: Hash) {
        let line = Line { hash, opened_by: OnceLock::new() };
        self.lines.entry(username.as_bytes().to_owned()).or_default().push(Arc::new(line));
    }

    pub(super) fn len(&self) -> usize {
        self.lines.values().map(Vec::len).sum()
    }

    pub(super) fn has(&self, username: &str) -> bool {
        self.lines.contains_key(username.as_bytes())
    }

    /// Whether a pair was found right before. It is compared with all that were.
    pub(super) fn is_known(&self, presented: &Digest) -> bool {
        let known = self.lines.values().flatten().filter_map(|line| line.opened_by.get());
        known.fold(false, |accepted, known| accepted | bool::from(known.ct_eq(presented)))
    }

    /// Whether hashes of the pair's user are there, and the pair is none that was found wrong.
    pub(super) fn may_open(&self, pair: &Pair) -> bool {
        let has_lines = pair.parts().is_some_and(|(username, _)| self.lines.contains_key(username));
        has_lines && self.tried.get(&pair.digest) != Some(false)
    }

    /// Whether a hash is that of the pair's password. Of those who ask for one pair at once, one has it computed.
    pub(super) async fn opens(&self, pair: &Pair, verifier: &Verifier) -> Result<bool, Busy> {
        let Some((username, password)) = pair.parts() else { return Ok(false) };
        let Some(lines) = self.lines.get(username) else { return Ok(false) };
        let verified = verifier.verify(lines, password, pair.digest);
        self.tried.get_or_insert_async(&pair.digest, verified).await
    }
}

/// There are so many passwords to be checked that one more would wait too long.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Busy;

/// Computes hashes, so many at once.
#[derive(Debug)]
pub(super) struct Verifier {
    at_once: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Default for Verifier {
    /// Half the cores, and at most four: the rest of the broker stays quick.
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self::of((cores / 2).clamp(1, 4), WAITING)
    }
}

impl Verifier {
    fn of(at_once: usize, waiting: usize) -> Self {
        Self { at_once: Arc::new(Semaphore::new(at_once)), waiting: Semaphore::new(waiting) }
    }

    async fn verify(&self, lines: &[Arc<Line>], password: &[u8], digest: Digest) -> Result<bool, Busy> {
        let waits = self.waiting.try_acquire().map_err(|_| Busy)?;
        let turn = self.at_once.clone().acquire_owned().await.map_err(|_| Busy)?;
        drop(waits);
        let (lines, password) = (lines.to_owned(), Zeroizing::new(password.to_owned()));
        let work = move || {
            // Ours until the hash is computed: a caller that has left frees nothing before.
            let _turn = turn;
            let right = lines.iter().find(|line| line.hash.is_of(&password));
            right.inspect(|line| _ = line.opened_by.set(digest)).is_some()
        };
        spawn_blocking(work).await.map_err(|panic| {
            error!("a password could not be checked: {panic}");
            Busy
        })
    }
}

#[cfg(test)]
mod tests {
    use futures::future::{join, join_all};

    use super::{super::credentials::Presented, *};

    fn list() -> HashedPairs {
        let mut list = HashedPairs::default();
        for password in ["old", "new"] {
            list.accept("redis", Hash::Bcrypt(Secret::from(bcrypt::hash(password, 4).unwrap())));
        }
        list
    }

    fn pair(text: &str) -> Pair {
        match Presented::pair(Zeroizing::new(text.as_bytes().to_owned())) {
            Presented::Pair(pair) => pair,
            Presented::Token(_) => unreachable!(),
        }
    }

    #[tokio::test] // SPEC T-12
    async fn a_pair_is_checked_once_whether_right_or_wrong() {
        let (list, right, wrong) = (list(), pair("redis:new"), pair("redis:guess"));
        let verifier = Verifier::of(1, 1);
        assert!(list.may_open(&right) && list.may_open(&wrong) && !list.may_open(&pair("other:new")));
        assert!(!list.is_known(&right.digest));

        assert_eq!(list.opens(&right, &verifier).await, Ok(true));
        assert_eq!(list.opens(&wrong, &verifier).await, Ok(false));

        assert!(list.is_known(&right.digest) && !list.is_known(&wrong.digest) && !list.may_open(&wrong));
        // Where no hash can be computed any more.
        verifier.at_once.close();
        assert_eq!(list.opens(&right, &verifier).await, Ok(true));
        assert_eq!(list.opens(&wrong, &verifier).await, Ok(false));
        assert_eq!(list.opens(&pair("redis:other"), &verifier).await, Err(Busy));
    }

    #[tokio::test] // SPEC T-12
    async fn many_guesses_forget_no_right_pair_and_take_no_more_room() {
        let (list, right) = (list(), pair("redis:old"));
        let verifier = Verifier::of(4, 4);
        assert_eq!(list.opens(&right, &verifier).await, Ok(true));

        for guess in 0..4 * TRIED {
            list.tried.insert(pair(&format!("redis:{guess}")).digest, false);
        }

        assert!(list.is_known(&right.digest) && list.tried.len() <= TRIED);
    }

    #[tokio::test] // SPEC T-12
    async fn guesses_beyond_those_that_may_wait_are_refused() {
        let (list, verifier) = (list(), Verifier::of(1, 2));
        let turn = verifier.at_once.clone().acquire_owned().await.unwrap();
        let guesses: Vec<Pair> = (0..5).map(|guess| pair(&format!("redis:{guess}"))).collect();

        let asked = join_all(guesses.iter().map(|guess| list.opens(guess, &verifier)));
        let (outcomes, ()) = join(asked, async { drop(turn) }).await;

        assert_eq!(outcomes, [Ok(false), Ok(false), Err(Busy), Err(Busy), Err(Busy)]);
        assert_eq!(list.opens(&pair("redis:old"), &verifier).await, Ok(true));
    }

    #[tokio::test] // SPEC T-12
    async fn those_who_show_one_pair_at_once_wait_for_one_check() {
        let (list, verifier, right) = (list(), Verifier::of(1, 1), pair("redis:new"));
        let turn = verifier.at_once.clone().acquire_owned().await.unwrap();

        let asked = join_all((0..100).map(|_| list.opens(&right, &verifier)));
        let (outcomes, ()) = join(asked, async { drop(turn) }).await;

        assert!(outcomes.iter().all(|outcome| *outcome == Ok(true)), "{outcomes:?}");
    }
}
