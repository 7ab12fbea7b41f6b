//! How the engine is set up.

use std::{path::PathBuf, time::Duration};

use platform_core::UnitEnv;

/// Which Docker, whose units, and how builds reach the world.
#[derive(Clone, Debug)]
pub struct DockerConfig {
    /// Marks this platform's containers and images, so that several platforms can share a Docker:
    /// lower case letters, digits and dashes.
    pub instance: String,
    /// Where Docker listens: `unix:///var/run/docker.sock`, `tcp://host:2375`.
    pub host: String,
    /// The Docker network that units are in; none for Docker's own bridge.
    pub network: Option<String>,
    /// What build steps need beyond the app's variables.
    pub build: BuildSettings,
    /// How long a build may take.
    pub build_timeout: Duration,
    /// How long Docker may take to answer a call that should be quick.
    pub call_timeout: Duration,
    /// Bytes that an app's source may take, unpacked.
    pub source_limit: u64,
    /// Bytes of output that are kept of a unit, at most: older lines are forgotten.
    pub log_limit: u64,
    /// Processes and threads that a unit may have.
    pub process_limit: u32,
}

impl Default for DockerConfig {
    fn default() -> Self {
        Self {
            instance: "tsuru".to_owned(),
            host: "unix:///var/run/docker.sock".to_owned(),
            network: None,
            build: BuildSettings::default(),
            build_timeout: Duration::from_secs(30 * 60),
            call_timeout: Duration::from_secs(60),
            source_limit: 2 << 30,
            log_limit: 20 << 20,
            process_limit: 2048,
        }
    }
}

impl DockerConfig {
    /// The name of an image of this platform's own: `tsuru/app-blog:v1`, and `tsuru-<instance>/...`
    /// where the instance is not the usual one.
    pub(crate) fn image(&self, name: impl std::fmt::Display, version: u32) -> String {
        match self.instance.as_str() {
            "tsuru" => format!("tsuru/{name}:v{version}"),
            instance => format!("tsuru-{instance}/{name}:v{version}"),
        }
    }

    /// Whether the instance can be part of names.
    pub(crate) fn has_good_instance(&self) -> bool {
        let is_good = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let ends = self.instance.bytes().next().zip(self.instance.bytes().last());
        self.instance.len() <= 40
            && self.instance.bytes().all(is_good)
            && !self.instance.contains("--")
            && ends.is_some_and(|(first, last)| first != b'-' && last != b'-')
    }
}

/// What reaches build steps, and neither images nor running units (SPEC U-5).
#[derive(Clone, Debug, Default)]
pub struct BuildSettings {
    /// A file of certificates (PEM) that build steps trust beside those that the image trusts.
    pub ca_bundle: Option<PathBuf>,
    /// Variables such as `HTTPS_PROXY` and `PIP_INDEX_URL`. The values may hold credentials.
    pub env: UnitEnv,
    /// The Docker network of build steps; none for Docker's own bridge.
    pub network: Option<String>,
}

impl BuildSettings {
    /// Takes from a machine's environment what its builds need to reach the world: `SSL_CERT_FILE`,
    /// proxies, and `PIP_*` except for what names a path, which only the machine itself has. A proxy
    /// on the machine's loopback is reached through Docker's `host` network.
    ///
    /// ```
    /// # use platform_docker::BuildSettings;
    /// let of_host = [("HTTPS_PROXY", "http://127.0.0.1:3128"), ("PIP_CERT", "/etc/ca.pem"), ("LANG", "C")];
    /// let settings = BuildSettings::from_environment(of_host.map(|(name, value)| (name.into(), value.into())));
    /// assert_eq!(settings.env.keys().collect::<Vec<_>>(), ["HTTPS_PROXY", "https_proxy"]);
    /// assert_eq!(settings.network.as_deref(), Some("host"));
    /// ```
    #[must_use]
    pub fn from_environment(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut settings = Self::default();
        for (name, value) in variables.into_iter().filter(|(_, value)| !value.is_empty()) {
            let is_proxy = PROXIES.contains(&name.to_ascii_uppercase().as_str());
            if name == "SSL_CERT_FILE" {
                settings.ca_bundle = Some(PathBuf::from(value));
            } else if is_proxy {
                if is_loopback(&value) && !name.eq_ignore_ascii_case("NO_PROXY") {
                    settings.network = Some("host".to_owned());
                }
                // Programs differ in which case they read.
                settings.env.entry(name.to_ascii_lowercase()).or_insert_with(|| value.as_str().into());
                settings.env.entry(name.to_ascii_uppercase()).or_insert_with(|| value.as_str().into());
            } else if name.starts_with("PIP_") && !value.starts_with('/') && !value.starts_with('~') {
                settings.env.insert(name, value.into());
            }
        }
        settings
    }
}

/// Proxy variables, which Docker's builder keeps out of images by itself.
pub(crate) const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "FTP_PROXY", "ALL_PROXY"];

fn is_loopback(url: &str) -> bool {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = host.rsplit_once('@').map_or(host, |(_, rest)| rest);
    host.starts_with("127.") || host.starts_with("localhost") || host.starts_with("[::1]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(instance: &str) -> DockerConfig {
        DockerConfig { instance: instance.to_owned(), ..DockerConfig::default() }
    }

    #[test] // SPEC U-1
    fn images_of_two_platforms_have_different_names() {
        assert_eq!(of("tsuru").image("app-blog", 1), "tsuru/app-blog:v1");
        assert_eq!(of("x1").image("app-blog", 1), "tsuru-x1/app-blog:v1");
    }

    #[test]
    fn an_instance_is_part_of_names() {
        assert!(["tsuru", "a-b", "0f"].iter().all(|good| of(good).has_good_instance()));
        assert!(!["", "A", "a_b", "-a", "a-", "a--b", &"a".repeat(41)].iter().any(|bad| of(bad).has_good_instance()));
    }
}
