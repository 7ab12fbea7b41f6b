//! Where on the platform an instance belongs: pools and their clusters (contract 2.4).

use serde::{Deserialize, Serialize};

use crate::Secret;

/// A pool of the platform's, as it names it with calls about an instance of a multi-cluster service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// What runs apps there, such as `kubernetes`; may be empty.
    pub provisioner: String,
    /// Its cluster, if it has one.
    pub cluster: Option<Cluster>,
}

/// The cluster of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// What runs apps there; may be empty.
    pub provisioner: String,
    /// Where it is reached; may be none.
    pub addresses: Vec<String>,
    /// How to log in, where the platform hands that on: JSON with the members `cluster` and `user`, each as a
    /// kubeconfig file has it.
    pub kube_config: Option<Secret>,
}

impl Pool {
    /// A pool without a cluster, for an author's tests.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), provisioner: String::new(), cluster: None }
    }

    /// The pool's cluster.
    #[must_use]
    pub fn cluster(mut self, name: impl Into<String>, addresses: &[&str]) -> Self {
        let addresses = addresses.iter().map(|address| (*address).to_owned()).collect();
        self.cluster = Some(Cluster { name: name.into(), provisioner: String::new(), addresses, kube_config: None });
        self
    }
}

#[cfg(feature = "server")]
impl Pool {
    /// The pool that a body names, if it names one.
    pub(crate) fn named(name: String, provisioner: String, cluster: Option<Cluster>) -> Option<Self> {
        (!name.is_empty()).then_some(Self { name, provisioner, cluster })
    }
}

#[cfg(feature = "server")]
impl Cluster {
    /// As [`Pool::named`].
    pub(crate) fn named(name: String, provisioner: String, addresses: Vec<String>) -> Option<Self> {
        (!name.is_empty()).then_some(Self { name, provisioner, addresses, kube_config: None })
    }
}

#[cfg(feature = "server")]
pub(crate) use headers::HEADERS;

#[cfg(feature = "server")]
mod headers {
    use axum::http::HeaderMap;
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    use super::{Cluster, Pool, Secret};
    use crate::BrokerError;

    /// What the names of all of these headers begin with.
    const OF_PLATFORM: &str = "x-tsuru-";
    const POOL: &str = "x-tsuru-pool-name";
    const PROVISIONER: &str = "x-tsuru-pool-provisioner";
    const CLUSTER: &str = "x-tsuru-cluster-name";
    const CLUSTER_PROVISIONER: &str = "x-tsuru-cluster-provisioner";
    const ADDRESSES: &str = "x-tsuru-cluster-addresses";
    const KUBE_CONFIG: &str = "x-tsuru-cluster-kube-config";
    /// All of them.
    pub(crate) const HEADERS: [&str; 6] = [POOL, PROVISIONER, CLUSTER, CLUSTER_PROVISIONER, ADDRESSES, KUBE_CONFIG];
    /// The longest name or address.
    const LONGEST: usize = 1024;
    /// The most addresses.
    const MOST: usize = 64;

    impl Pool {
        /// The pool that a call's headers name, if they name one (SPEC T-20).
        ///
        /// # Errors
        /// When a header is malformed; the sentence names it, and not its value.
        pub(crate) fn read(headers: &HeaderMap) -> Result<Option<Self>, BrokerError> {
            // Most calls name none: they are not looked through for each of the headers.
            if !headers.keys().any(|name| name.as_str().starts_with(OF_PLATFORM)) {
                return Ok(None);
            }
            let name = text(headers, POOL)?;
            let cluster = Cluster::read(headers)?;
            if name.is_empty() {
                return cluster.map_or(Ok(None), |_| Err(malformed(POOL, "is missing, but a cluster is named")));
            }
            Ok(Some(Self { name, provisioner: text(headers, PROVISIONER)?, cluster }))
        }
    }

    impl Cluster {
        fn read(headers: &HeaderMap) -> Result<Option<Self>, BrokerError> {
            let name = text(headers, CLUSTER)?;
            let addresses = headers.get_all(ADDRESSES).iter();
            let addresses: Vec<String> = addresses.map(|one| plain(ADDRESSES, one)).collect::<Result<_, _>>()?;
            if addresses.len() > MOST {
                return Err(malformed(ADDRESSES, "comes more than 64 times"));
            }
            let cluster = Self {
                provisioner: text(headers, CLUSTER_PROVISIONER)?,
                kube_config: kube_config(headers)?,
                name,
                addresses,
            };
            let is_named = !cluster.name.is_empty() || !cluster.addresses.is_empty() || cluster.kube_config.is_some();
            Ok(is_named.then_some(cluster))
        }
    }

    fn kube_config(headers: &HeaderMap) -> Result<Option<Secret>, BrokerError> {
        let Some(coded) = headers.get(KUBE_CONFIG).filter(|value| !value.is_empty()) else { return Ok(None) };
        let wrong = || malformed(KUBE_CONFIG, "is not base64 of JSON with the objects \"cluster\" and \"user\"");
        let json = STANDARD.decode(coded.as_bytes()).map_err(|_| wrong())?;
        let read: serde_json::Value = serde_json::from_slice(&json).map_err(|_| wrong())?;
        if !(read["cluster"].is_object() && read["user"].is_object()) {
            return Err(wrong());
        }
        Ok(Some(Secret::from(read.to_string())))
    }

    fn text(headers: &HeaderMap, name: &'static str) -> Result<String, BrokerError> {
        let mut values = headers.get_all(name).iter();
        let Some(value) = values.next() else { return Ok(String::new()) };
        if values.next().is_some() {
            return Err(malformed(name, "comes more than once"));
        }
        plain(name, value)
    }

    fn plain(name: &'static str, value: &axum::http::HeaderValue) -> Result<String, BrokerError> {
        let text = value.to_str().ok().filter(|text| text.len() <= LONGEST);
        text.map(str::to_owned).ok_or_else(|| malformed(name, "is not plain text of at most 1024 characters"))
    }

    fn malformed(name: &str, how: &str) -> BrokerError {
        BrokerError::bad_request(format!("the header {name} {how}"))
    }

    #[cfg(test)]
    mod tests {
        use axum::http::{HeaderName, HeaderValue};

        use super::*;

        fn read(lines: &[(&str, &str)]) -> Result<Option<Pool>, BrokerError> {
            let line = |(name, value): &(&str, &str)| {
                (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
            };
            let mut headers = HeaderMap::new();
            for (name, value) in lines.iter().map(line) {
                headers.append(name, value);
            }
            Pool::read(&headers)
        }

        #[test] // SPEC T-20
        fn a_pool_is_read_with_every_address_and_a_secret_config() {
            let config = STANDARD.encode(r#"{"cluster":{"server":"https://k"},"user":{"token":"s3cret"}}"#);
            let pool = read(&[
                (POOL, "eu"),
                (PROVISIONER, ""),
                (CLUSTER, "k1"),
                (CLUSTER_PROVISIONER, "kubernetes"),
                (ADDRESSES, "https://a:6443"),
                (ADDRESSES, "https://b:6443"),
                (KUBE_CONFIG, &config),
            ]);

            let pool = pool.unwrap().unwrap();

            let cluster = pool.cluster.clone().unwrap();
            assert_eq!((pool.name.as_str(), cluster.addresses.len()), ("eu", 2));
            assert!(cluster.kube_config.unwrap().expose().contains("s3cret"));
            assert!(!format!("{:?}", pool).contains("s3cret"));
            assert_eq!(read(&[]).unwrap(), None);
            assert_eq!(read(&[(POOL, "eu"), (PROVISIONER, "docker")]).unwrap().unwrap().cluster, None);
        }

        #[test] // SPEC T-20
        fn a_malformed_header_is_named_without_its_value() {
            for (lines, name) in [
                (vec![(POOL, "eu"), (KUBE_CONFIG, "s3cret%")], KUBE_CONFIG),
                (vec![(POOL, "eu"), (KUBE_CONFIG, "czNjcmV0")], KUBE_CONFIG),
                (vec![(POOL, "eu"), (POOL, "us")], POOL),
                (vec![(CLUSTER, "k1")], POOL),
            ] {
                let refusal = read(&lines).unwrap_err().to_string();
                assert!(refusal.contains(name) && !refusal.contains("s3cret"), "{refusal}");
            }
        }
    }
}
