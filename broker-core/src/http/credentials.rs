//! Lists of those who may call: user names with their passwords or with hashes of them, and tokens (SPEC T-6, T-12).

use std::{
    fs, io,
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use secrecy::zeroize::Zeroizing;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::hashed::{Busy, Hash, HashError, HashedPairs, Verifier};
use crate::Secret;

/// More than this is no list of credentials.
const FILE: u64 = 1 << 20;
/// Permissions of users that have nothing to do with the file.
const OTHERS: u32 = 0o007;
/// A token of fewer characters can be guessed: there is no user name that has to be guessed with it.
const SHORTEST_TOKEN: usize = 16;

/// What is left of a secret: all have one length, so that comparing them takes one time.
pub(super) type Digest = [u8; 32];

/// Begins the digest of a pair with a block of its own that nobody else knows: a digest of a password that its file has
/// only as a slow hash must not be good for guessing it quickly.
static KEYED: LazyLock<Sha256> = LazyLock::new(|| {
    let key: Zeroizing<[u8; 64]> = Zeroizing::new(rand::random());
    Sha256::new_with_prefix(*key)
});

/// What a request comes with.
pub(super) enum Presented {
    Pair(Pair),
    Token(Digest),
}

impl Presented {
    pub(super) fn pair(text: Zeroizing<Vec<u8>>) -> Self {
        Self::Pair(Pair { digest: digest_of_pair(&text), text })
    }

    pub(super) fn token(token: &str) -> Self {
        Self::Token(digest_of_token(token))
    }
}

/// A `user:password`, and its digest.
pub(super) struct Pair {
    pub(super) digest: Digest,
    text: Zeroizing<Vec<u8>>,
}

impl Pair {
    /// A pair without a `:` is of no user.
    pub(super) fn parts(&self) -> Option<(&[u8], &[u8])> {
        let at = self.text.iter().position(|byte| *byte == b':')?;
        Some((&self.text[..at], &self.text[at + 1..]))
    }
}

fn digest_of_pair(pair: &[u8]) -> Digest {
    KEYED.clone().chain_update(pair).finalize().into()
}

fn digest_of_token(token: &str) -> Digest {
    Sha256::digest(token).into()
}

/// Pairs and tokens that are accepted: several, so that a password can be changed without a moment in which the
/// platform is locked out.
#[derive(Default)]
pub(crate) struct Credentials {
    pairs: Vec<Digest>,
    tokens: Vec<Digest>,
    hashed: HashedPairs,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{} credentials]", self.len())
    }
}

impl Credentials {
    pub(crate) fn accept(&mut self, username: &str, password: &Secret) {
        let pair = Zeroizing::new(format!("{username}:{}", password.expose()));
        self.pairs.push(digest_of_pair(pair.as_bytes()));
    }

    pub(crate) fn accept_token(&mut self, token: &Secret) {
        self.tokens.push(digest_of_token(token.expose()));
    }

    pub(crate) fn len(&self) -> usize {
        self.pairs.len() + self.tokens.len() + self.hashed.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn has_tokens(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// What a file lists, a line each: `user:password`, `user:hash`, `Bearer token` or `Bearer sha256:digest`; empty
    /// lines and those that begin with `#` are left out.
    pub(crate) fn read(path: &Path) -> Result<Self, CredentialsError> {
        let unreadable = |cause| CredentialsError::Unreadable { file: path.to_owned(), cause };
        let file = fs::File::open(path).map_err(unreadable)?;
        if file.metadata().map_err(unreadable)?.mode() & OTHERS != 0 {
            return Err(CredentialsError::Open(path.to_owned()));
        }
        let mut text = String::new();
        file.take(FILE + 1).read_to_string(&mut text).map_err(unreadable)?;
        let text = Secret::from(text);
        // A part of it would leave users out, and end within a password.
        if text.expose().len() as u64 > FILE {
            return Err(CredentialsError::Large(path.to_owned()));
        }
        Self::in_text(&text, path)
    }

    /// What the file's text lists.
    pub(super) fn in_text(text: &Secret, path: &Path) -> Result<Self, CredentialsError> {
        let mut credentials = Self::default();
        for (line, number) in text.expose().lines().map(str::trim).zip(1..) {
            if !line.is_empty() && !line.starts_with('#') {
                credentials.accept_line(line).map_err(|wrong| wrong.at(path, number))?;
            }
        }
        if credentials.is_empty() {
            return Err(CredentialsError::Empty(path.to_owned()));
        }
        Ok(credentials)
    }

    fn accept_line(&mut self, line: &str) -> Result<(), WrongLine> {
        if let Some((scheme, token)) = line.split_once(char::is_whitespace)
            && scheme.eq_ignore_ascii_case("bearer")
        {
            self.tokens.push(token_of_line(token.trim()).ok_or(WrongLine::Token)?);
            return Ok(());
        }
        match line.split_once(':') {
            Some((username, password)) if !username.is_empty() && !password.is_empty() => {
                match Hash::of_line(password).map_err(WrongLine::Hash)? {
                    Some(hash) => self.hashed.accept(username, hash),
                    None => self.accept(username, &Secret::from(password)),
                }
                Ok(())
            }
            _ => Err(WrongLine::Other),
        }
    }

    /// The line of a pair, with a hash in the place of its password.
    pub(crate) fn hashed_line(username: &str, password: &Secret) -> Result<Secret, UnlistedPair> {
        if password.expose().is_empty() {
            return Err(UnlistedPair::Password);
        }
        let hash = Hash::compute(password).map_err(|cause| UnlistedPair::Hash(cause.to_string()))?;
        let line = format!("{username}:{}", hash.expose());
        let mut read = Self::default();
        let is_read = !line.starts_with('#') && line.trim() == line && !username.contains(char::is_control);
        match is_read.then(|| read.accept_line(&line)) {
            Some(Ok(())) if read.hashed.has(username) => Ok(Secret::from(line)),
            _ => Err(UnlistedPair::Username),
        }
    }

    /// Compares with every accepted pair or token, and every hashed pair that was found right before, whether or not
    /// an earlier one matched.
    pub(super) fn accepts(&self, presented: &Presented) -> bool {
        match presented {
            Presented::Pair(pair) => is_among(&self.pairs, &pair.digest) | self.hashed.is_known(&pair.digest),
            Presented::Token(token) => is_among(&self.tokens, token),
        }
    }

    /// Whether a hash has to be computed to say whether a pair opens that [`accepts`](Self::accepts) does not know.
    pub(super) fn may_open(&self, pair: &Pair) -> bool {
        self.hashed.may_open(pair)
    }

    /// Whether a hash that is listed is that of the pair's password.
    pub(super) async fn opens(&self, pair: &Pair, verifier: &Verifier) -> Result<bool, Busy> {
        self.hashed.opens(pair, verifier).await
    }
}

fn is_among(known: &[Digest], presented: &Digest) -> bool {
    known.iter().fold(false, |accepted, known| accepted | bool::from(known.ct_eq(presented)))
}

/// The digest of a line's token: of `sha256:` and 64 hexadecimal digits it is there already. No token has a `:`.
fn token_of_line(text: &str) -> Option<Digest> {
    if let Some(hex) = text.strip_prefix("sha256:") {
        return hex::decode(hex).ok()?.try_into().ok();
    }
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    (text.len() >= SHORTEST_TOKEN && text.bytes().all(is_token)).then(|| digest_of_token(text))
}

/// What is wrong with a line.
enum WrongLine {
    Token,
    Hash(HashError),
    Other,
}

impl WrongLine {
    fn at(self, file: &Path, line: usize) -> CredentialsError {
        let file = file.to_owned();
        match self {
            Self::Token => CredentialsError::Token { file, line },
            Self::Hash(HashError::Unknown) => CredentialsError::Hash { file, line },
            Self::Hash(HashError::Slow) => CredentialsError::SlowHash { file, line },
            Self::Other => CredentialsError::Line { file, line },
        }
    }
}

/// Why there is no line for a pair.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnlistedPair {
    #[error(
        "the user name cannot be in a list: it has no `:`, blank at an end or control character, and begins with no `#`"
    )]
    Username,
    #[error("the password is empty")]
    Password,
    #[error("the password cannot be hashed: {0}")]
    Hash(String),
}

/// Why a file of credentials can't be used. No text of the file is in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// It can't be read.
    #[error("cannot read the credentials in {}: {cause}", file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// It has no pair or token in it, so that nobody could call.
    #[error("{} names nobody, write a line `user:password` into it", .0.display())]
    Empty(PathBuf),
    /// It is longer than any list.
    #[error("{} is larger than 1 MiB and no list of credentials, name another file", .0.display())]
    Large(PathBuf),
    /// Everybody on the machine can read or change it.
    #[error("{file} is open to every user of this machine, take that away: chmod o= {file}", file = .0.display())]
    Open(PathBuf),
    /// A line is something else.
    #[error("line {line} of {} is neither `user:password` nor `Bearer token`", file.display())]
    Line {
        /// Which file.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// A line's token can't be one.
    #[error(
        "line {line} of {} has no token after `Bearer`: it takes at least 16 of the characters A-Z a-z 0-9 - . _ ~ + / =, \
         or `sha256:` with 64 hexadecimal digits",
        file.display()
    )]
    Token {
        /// Which file.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// A line has a hash that can't be checked.
    #[error(
        "line {line} of {} has a hash of an unknown form, make one with the broker's `hash-password` or with `htpasswd -nB`",
        file.display()
    )]
    Hash {
        /// Which file.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// A line has a hash that takes so long to check that it would keep others waiting.
    #[error(
        "line {line} of {} has a hash that costs too much to check: bcrypt takes a cost of at most 14, argon2 64 MiB and \
         10 rounds",
        file.display()
    )]
    SlowHash {
        /// Which file.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
    },
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// Of "s3cret", as crypt of the C library makes it.
    const BCRYPT: &str = "$2y$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK";

    fn read(text: &str, mode: u32) -> Result<Credentials, CredentialsError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("credentials");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        Credentials::read(&file)
    }

    fn pair(text: &str) -> Presented {
        Presented::pair(Zeroizing::new(text.as_bytes().to_owned()))
    }

    /// Whether it opens, after a hash was computed where there is one.
    async fn opens(credentials: &Credentials, text: &str) -> bool {
        let presented = pair(text);
        let Presented::Pair(pair) = &presented else { unreachable!() };
        credentials.accepts(&presented) || credentials.opens(pair, &Verifier::default()).await.unwrap()
    }

    #[test] // SPEC T-6
    fn a_file_that_is_no_list_is_refused_without_its_text() {
        let refusal = |text: &str, mode: u32| read(text, mode).unwrap_err().to_string();

        assert!(refusal("# nobody\n\n", 0o600).contains("names nobody"));
        let why = refusal("fake:good\ns3cret\n", 0o600);
        assert!(why.starts_with("line 2 of ") && !why.contains("s3cret"), "{why}");
        assert!(refusal("fake:good\n", 0o604).contains("chmod"));
        assert!(refusal(":empty\n", 0o600).contains("line 1"));
        let large = "fake:s3cret\n".repeat(100_000);
        let why = refusal(&large, 0o600);
        assert!(why.contains("larger than 1 MiB") && !why.contains("s3cret"), "{why}");
        assert_eq!(read(&large[..12 * 80_000], 0o600).unwrap().len(), 80_000);
        let missing = Credentials::read(Path::new("/nowhere/credentials")).unwrap_err().to_string();
        assert!(missing.contains("cannot read"), "{missing}");
    }

    #[test] // SPEC T-13
    fn a_token_stands_after_its_scheme_in_clear_or_as_a_digest() {
        let digest = hex::encode(Sha256::digest("a-token-of-a-file"));
        let list =
            read(&format!("Bearer 0123456789abcdef\nbearer\tsha256:{digest}\nBearer:of a pair\n"), 0o600).unwrap();

        assert_eq!(list.len(), 3);
        assert!(list.has_tokens() && list.accepts(&pair("Bearer:of a pair")));
        for token in ["0123456789abcdef", "a-token-of-a-file"] {
            assert!(list.accepts(&Presented::token(token)), "{token}");
        }
        assert!(
            !list.accepts(&Presented::token(&digest)) && !list.accepts(&Presented::token(&format!("sha256:{digest}")))
        );
        for wrong in
            ["Bearer short", "Bearer user:with-a-long-password", "Bearer sha256:00ff", "Bearer two words of text"]
        {
            let why = read(wrong, 0o600).unwrap_err().to_string();
            assert!(why.contains("no token after `Bearer`") && !why.contains(&wrong[8..]), "{why}");
        }
    }

    #[tokio::test] // SPEC T-12
    async fn a_hash_stands_in_the_place_of_a_password() {
        let made = Credentials::hashed_line("watch", &Secret::from("s3:cret")).unwrap();
        assert!(made.expose().starts_with("watch:$argon2id$v=19$m=19456,t=2,p=1$"), "{}", made.expose());
        let text = format!("redis:{BCRYPT}\nredis:plain\n{}\nprice:$5 or $6\n", made.expose());
        let list = read(&text, 0o600).unwrap();

        assert_eq!(list.len(), 4);
        for good in ["redis:s3cret", "redis:plain", "watch:s3:cret", "price:$5 or $6", "redis:s3cret"] {
            assert!(opens(&list, good).await, "{good}");
        }
        let hash = format!("redis:{BCRYPT}");
        for bad in [&hash, made.expose(), "redis:wrong", "redis:", "watch:s3cret", "other:s3cret", "redis", ""] {
            assert!(!opens(&list, bad).await, "{bad}");
        }
        // bcrypt would look at 72 bytes of it.
        let long = bcrypt::hash("x".repeat(72), 4).unwrap();
        assert!(!opens(&read(&format!("a:{long}"), 0o600).unwrap(), &format!("a:{}", "x".repeat(73))).await);
    }

    #[test] // SPEC T-12
    fn what_looks_like_a_hash_and_cannot_be_checked_is_refused() {
        for (hash, why) in [
            ("$6$salt$0123456789", "unknown form"),
            ("$apr1$salt$0123456789", "unknown form"),
            ("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "unknown form"),
            ("$2y$05$tooshort", "unknown form"),
            ("$2x$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK", "unknown form"),
            ("$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ", "unknown form"),
            ("$argon2id$rubbish", "unknown form"),
            // None of these could ever be that of a password.
            ("$argon2id$v=99$m=19456,t=2,p=1$c29tZXNhbHQ$MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI", "unknown form"),
            ("$argon2id$m=19456,t=2,p=1$c29tZXNhbHQ$MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI", "unknown form"),
            ("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI", "unknown form"),
            ("$argon2id$v=19$m=19456,t=2,p=1$no.base-64$MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI", "unknown form"),
            ("$2y$20$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK", "costs too much"),
            (
                "$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ$MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI",
                "costs too much",
            ),
            (
                "$argon2id$v=19$m=19456,t=900,p=1$c29tZXNhbHQ$MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI",
                "costs too much",
            ),
        ] {
            let said = read(&format!("a:b\nredis:{hash}\n"), 0o600).unwrap_err().to_string();
            assert!(said.starts_with("line 2 of ") && said.contains(why) && !said.contains(hash), "{hash}: {said}");
        }
    }

    #[test] // SPEC T-12
    fn there_is_no_line_for_a_user_that_no_file_can_name() {
        for username in ["", "a:b", "#a", " a", "a\nb", "Bearer a"] {
            assert!(Credentials::hashed_line(username, &Secret::from("s3cret")).is_err(), "{username:?}");
        }
        assert!(Credentials::hashed_line("redis", &Secret::from("")).is_err());
    }
}
