//! Errors of an author's, rid of secrets: an error of a client library often has the URL in it that it was given.

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

fn masked(text: &str, secrets: &[&Secret]) -> String {
    let known = secrets.iter().map(|secret| secret.expose()).filter(|secret| secret.len() >= SHORTEST);
    let text = known.fold(text.to_owned(), |text, secret| text.replace(secret, MASK));
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

    #[test]
    fn an_error_without_secrets_keeps_its_type() {
        let error = discreet(BrokerError::failed(std::io::Error::other("see https://docs.test/a?m=x@y")), &[]);
        let BrokerError::Failed(cause) = error else { panic!("{error}") };
        assert!(cause.is::<std::io::Error>(), "{cause}");
    }
}
