//! Errors and panics of an author's, rid of secrets: an error of a client library often has the URL in it that it was given.

use std::{
    any::Any,
    cmp::Reverse,
    panic::{AssertUnwindSafe, resume_unwind, set_hook, take_hook},
    sync::Once,
};

use futures::FutureExt as _;
use tracing::error;

use crate::{BoxError, BrokerError, Secret, line::one_line};

/// What stands where a secret stood.
const MASK: &str = "[secret]";
/// Anything shorter would be masked in the middle of other words.
const SHORTEST: usize = 4;

/// The error without these secrets and without passwords in URLs, each of its texts one line. One that has nothing of
/// the kind stays as it is, with its types.
pub(super) fn discreet(error: BrokerError, secrets: &[&Secret]) -> BrokerError {
    let sentence = |text: String| one_line(&masked(&text, secrets));
    match error {
        BrokerError::BadRequest(text) => BrokerError::BadRequest(sentence(text)),
        BrokerError::NotReady(text) => BrokerError::NotReady(sentence(text)),
        BrokerError::Conflict(text) => BrokerError::Conflict(sentence(text)),
        BrokerError::Unavailable(cause) => BrokerError::Unavailable(discreet_cause(cause, secrets)),
        BrokerError::Failed(cause) => BrokerError::Failed(discreet_cause(cause, secrets)),
        of_the_framework => of_the_framework,
    }
}

/// Runs an author's code that knows these secrets: what its panics say holds none of them, and what its errors say can
/// be rid of them by [`discreet_here`]. A panic goes on as one, to whoever catches it.
pub(crate) async fn discreetly<T>(secrets: Vec<Secret>, code: impl Future<Output = T>) -> T {
    mask_panics();
    let masked = async {
        let ended = AssertUnwindSafe(code).catch_unwind().await;
        ended.unwrap_or_else(|panic| resume_unwind(Box::new(told(text_of(panic.as_ref())))))
    };
    KNOWN.scope(secrets, masked).await
}

/// As [`discreetly`], of code that waits for nothing and knows these secrets.
pub(super) fn discreetly_at_once<T>(secrets: Vec<Secret>, code: impl FnOnce() -> T) -> T {
    mask_panics();
    KNOWN.sync_scope(secrets, code)
}

/// The error without the secrets that the code which returned it may know.
pub(crate) fn discreet_here(error: BrokerError) -> BrokerError {
    knowing(|secrets| discreet(error, secrets))
}

/// What a panic said.
pub(crate) fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

tokio::task_local! {
    /// The secrets that the code which runs may know.
    static KNOWN: Vec<Secret>;
}

/// A text of the code that runs, rid of the secrets that it may know.
fn told(text: &str) -> String {
    knowing(|secrets| one_line(&masked(text, secrets)))
}

/// Does something with the secrets that the code which runs may know.
fn knowing<T>(work: impl FnOnce(&[&Secret]) -> T) -> T {
    let secrets = KNOWN.try_with(Clone::clone).unwrap_or_default();
    work(&secrets.iter().collect::<Vec<_>>())
}

/// The usual hook prints what a panic says before anybody can catch it. In an author's code it is not asked.
fn mask_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |panic| match KNOWN.try_with(|_| ()) {
            Ok(()) => {
                let place = panic.location().map(ToString::to_string).unwrap_or_default();
                error!("the author's code panicked at {place}: {}", told(panic.payload_as_str().unwrap_or_default()));
            }
            Err(_) => usual(panic),
        }));
    });
}

fn discreet_cause(cause: BoxError, secrets: &[&Secret]) -> BoxError {
    let mut texts = vec![cause.to_string()];
    let mut next = cause.source();
    while let Some(deeper) = next {
        texts.push(deeper.to_string());
        next = deeper.source();
    }
    let clean = |text: &String| one_line(&masked(text, secrets)) == *text;
    if texts.iter().all(clean) {
        return cause;
    }
    let told = texts.iter().map(|text| one_line(&masked(text, secrets)));
    told.rev().fold(None, |source, text| Some(Told { text, source: source.map(Box::new) })).map_or(cause, Into::into)
}

/// What is left of an error that had a secret in it.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Told {
    text: String,
    source: Option<Box<Told>>,
}

/// A text without these secrets and without what stands before the host in URLs.
pub(crate) fn masked(text: &str, secrets: &[&Secret]) -> String {
    let known = secrets.iter().map(|secret| secret.expose()).filter(|secret| secret.len() >= SHORTEST);
    let mut known: Vec<&str> = known.filter(|secret| text.contains(secret)).collect();
    // The longest first: of one that has another one in it, nothing may be left.
    known.sort_unstable_by_key(|secret| Reverse(secret.len()));
    let text = known.into_iter().fold(text.to_owned(), |text, secret| text.replace(secret, MASK));
    without_userinfo(&text)
}

/// `scheme://user:password@host` loses what stands before the host.
fn without_userinfo(text: &str) -> String {
    let (mut told, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once("://") {
        told.push_str(before);
        told.push_str("://");
        // A password with a "/" in it is not one of a URL, but is written into some all the same.
        let end =
            after.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`')).unwrap_or(after.len());
        let authority = after[..end].split(['?', '#']).next().unwrap_or_default();
        rest = match authority.rfind('@') {
            Some(at) => {
                told.push_str(MASK);
                &after[at..]
            }
            None => after,
        };
    }
    told.push_str(rest);
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(error: &dyn std::error::Error) -> String {
        error.source().map_or(String::new(), |cause| format!(": {cause}{}", chain(cause)))
    }

    #[derive(Debug, thiserror::Error)]
    #[error("cannot connect to redis://default:hunter22@10.0.0.9:6379/0?x=1")]
    struct Refused(#[source] std::io::Error);

    #[test] // SPEC S-11
    fn secrets_and_passwords_in_urls_are_masked_in_the_whole_chain() {
        let secret = Secret::from("correct-horse");
        let cause = Refused(std::io::Error::other("AUTH default correct-horse was refused"));

        let error = discreet(BrokerError::unavailable(cause), &[&secret]);

        let told = chain(&error);
        assert_eq!(told, ": cannot connect to redis://[secret]@10.0.0.9:6379/0?x=1: AUTH default [secret] was refused");
    }

    #[test] // SPEC S-11
    fn a_sentence_for_the_user_is_masked_too() {
        let error = BrokerError::bad_request("mysql://u:p/w@db.test and \"amqp://a:b@mq.test\" refuse\nus");
        let told = discreet(error, &[]).to_string();
        assert_eq!(told, "mysql://[secret]@db.test and \"amqp://[secret]@mq.test\" refuse us");
    }

    #[test] // SPEC S-11
    fn of_a_secret_that_has_another_one_in_it_nothing_is_left() {
        let (short, long) = (Secret::from("hunter22"), Secret::from("x-hunter22-y"));
        assert_eq!(masked("x-hunter22-y, hunter22", &[&short, &long]), "[secret], [secret]");
    }

    #[test]
    fn an_error_without_secrets_keeps_its_type() {
        let error = discreet(BrokerError::failed(std::io::Error::other("see https://docs.test/a?m=x@y")), &[]);
        let BrokerError::Failed(cause) = error else { panic!("{error}") };
        assert!(cause.is::<std::io::Error>(), "{cause}");
    }
}
