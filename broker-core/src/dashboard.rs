//! Links to the framework's dashboards: where they begin, and the key that opens one (SPEC I-12).

use std::{fmt, str::FromStr};

use axum::http::Uri;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::{Instance, Secret};

/// What a key is about. PostgreSQL's and others' login proofs (SCRAM) are HMACs of a password too, of texts that a
/// server may choose: those of the first step end with four bytes of a number, no identifier does.
const LABEL: &[u8] = b"broker-core dashboard 1 ";

/// Where users' browsers reach a broker: what its dashboards' links begin with (SPEC I-12).
///
/// It is read from a text: `http` or `https`, a host, maybe a port and a path, and nothing else. A path is that of a
/// proxy in front, which takes it away.
///
/// ```
/// use broker_core::PublicUrl;
///
/// assert_eq!("https://redis.example.com/".parse::<PublicUrl>().unwrap().to_string(), "https://redis.example.com");
/// assert!("redis.example.com".parse::<PublicUrl>().is_err());
/// assert!("https://admin:s3cret@redis.example.com".parse::<PublicUrl>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(String);

impl PublicUrl {
    /// Where whoever is given this finds the instance's dashboard.
    pub(crate) fn link(&self, instance: &Instance) -> String {
        format!("{self}/dashboard/{}?key={}", instance.name, key_of(instance))
    }

    /// Whether who reads along on the way can open what was linked.
    pub(crate) fn is_readable_on_the_way(&self) -> bool {
        self.0.starts_with("http://")
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for PublicUrl {
    type Err = InvalidPublicUrl;

    fn from_str(text: &str) -> Result<Self, InvalidPublicUrl> {
        if text.contains(['?', '#']) {
            return Err(InvalidPublicUrl::More);
        }
        let uri: Uri = text.parse().map_err(|_| InvalidPublicUrl::NoUrl)?;
        let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"));
        let (Some(scheme), Some(authority)) = (scheme, uri.authority()) else { return Err(InvalidPublicUrl::NoUrl) };
        if authority.as_str().contains('@') {
            return Err(InvalidPublicUrl::Credentials);
        }
        let has_whole_port = authority.port_u16().is_some() || authority.as_str() == authority.host();
        if authority.host().is_empty() || !has_whole_port {
            return Err(InvalidPublicUrl::NoUrl);
        }
        Ok(Self(format!("{scheme}://{authority}{}", uri.path().trim_end_matches('/'))))
    }
}

/// Why links can't begin with a text. The text is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPublicUrl {
    /// It does not name a place on the web.
    #[error("it is no URL of http or https, write one like https://broker.example.com")]
    NoUrl,
    /// Every user would read them.
    #[error("it has a user name or password in it, which every user would read: leave them out")]
    Credentials,
    /// A path can't follow.
    #[error("it has a query or a fragment, leave out what begins with `?` or `#`")]
    More,
}

/// What opens the instance's dashboard: made of what only the records have, so that it is the same after a restart, at
/// each replica and under another sealing key. An instance made later under the same name has another one.
fn key_of(instance: &Instance) -> String {
    URL_SAFE_NO_PAD.encode(mac(&instance.secret, instance.id.as_str()).finalize().into_bytes())
}

/// Whether a key opens the instance's dashboard, in constant time, and in the same time where there is no instance.
pub(crate) fn opens(key: &str, instance: Option<&Instance>) -> bool {
    let Ok(key) = URL_SAFE_NO_PAD.decode(key) else { return false };
    let nobody = Secret::from("");
    let (secret, id) = instance.map_or((&nobody, ""), |instance| (&instance.secret, instance.id.as_str()));
    mac(secret, id).verify_slice(&key).is_ok() & instance.is_some()
}

fn mac(secret: &Secret, id: &str) -> Hmac<Sha256> {
    let mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).expect("a key may have any length");
    mac.chain_update(LABEL).chain_update(id.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance() -> Instance {
        Instance::new("cache".parse().unwrap(), "small".parse().unwrap())
    }

    fn key_in(link: &str) -> &str {
        link.split_once("?key=").unwrap().1
    }

    #[test] // SPEC I-12
    fn links_begin_with_a_url_that_others_can_follow() {
        for (text, wanted) in [
            ("https://redis.example.com", "https://redis.example.com"),
            ("http://10.0.0.9:8071/", "http://10.0.0.9:8071"),
            ("https://[fd00::9]:8443/brokers/redis//", "https://[fd00::9]:8443/brokers/redis"),
        ] {
            assert_eq!(text.parse::<PublicUrl>().unwrap().to_string(), wanted);
        }
        for text in
            ["", "/", "example.com", "example.com/x", "ftp://x", "https://", "https://:80", "https://x:99999", "a b"]
        {
            assert_eq!(text.parse::<PublicUrl>(), Err(InvalidPublicUrl::NoUrl), "{text}");
        }
        for text in ["https://x?", "https://x/y?a=b", "https://x#top"] {
            assert_eq!(text.parse::<PublicUrl>(), Err(InvalidPublicUrl::More), "{text}");
        }
        let refusal = "https://admin:s3cret@x".parse::<PublicUrl>().unwrap_err();
        assert!(refusal == InvalidPublicUrl::Credentials && !refusal.to_string().contains("s3cret"));
    }

    #[test] // SPEC I-12, S-5
    fn a_key_opens_its_own_instance_and_no_other_one() {
        let (instance, other) = (instance(), instance());
        let url: PublicUrl = "https://x.test/b".parse().unwrap();
        let link = url.link(&instance);
        let key = key_in(&link);

        assert!(link.starts_with("https://x.test/b/dashboard/cache?key=") && !link.contains(instance.secret.expose()));
        assert!(opens(key, Some(&instance)) && !opens(key, Some(&other)) && !opens(key, None));
        assert_eq!(link, url.link(&instance.clone()));
        for wrong in ["", "x", &key[1..], &key[..42], &format!("{key}A"), &format!("{key}="), &key.to_lowercase()] {
            assert!(!opens(wrong, Some(&instance)), "{wrong}");
        }
        let of_nobody = URL_SAFE_NO_PAD.encode(mac(&Secret::from(""), "").finalize().into_bytes());
        assert!(!opens(&of_nobody, None) && !opens(&of_nobody, Some(&instance)));
    }
}
