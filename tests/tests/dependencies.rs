//! What may be in the binaries, by `deny.toml`, as `cargo deny check licenses bans sources` reads it: for machines
//! that don't have that program. Needs no network but for crates that were never downloaded.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use cargo_metadata::{CargoOpt, Metadata, MetadataCommand, Package};
use serde::Deserialize;
use spdx::{Expression, Licensee, ParseMode};

/// The part of `deny.toml` that is checked here. A key that is not known here is refused, so that no rule is written
/// there and kept by nobody.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Rules {
    graph: Graph,
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
    /// Checked by the program itself only: it needs the database of advisories.
    #[serde(rename = "advisories")]
    _advisories: Option<toml::Table>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Graph {
    targets: Vec<String>,
    all_features: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Licenses {
    allow: Vec<String>,
    private: Private,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Private {
    ignore: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Bans {
    multiple_versions: String,
    wildcards: String,
    allow_wildcard_paths: bool,
    deny: Vec<Banned>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Banned {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Sources {
    unknown_registry: String,
    unknown_git: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn rules() -> Rules {
    toml::from_str(&fs::read_to_string(root().join("deny.toml")).unwrap()).unwrap()
}

/// Every crate that gets into a binary, or into a test, on one of the targets.
fn crates(rules: &Rules) -> Vec<Package> {
    assert!(rules.graph.all_features);
    let mut crates = BTreeMap::new();
    for target in &rules.graph.targets {
        let options = ["--locked".to_owned(), "--filter-platform".to_owned(), target.clone()];
        let mut command = MetadataCommand::new();
        command.manifest_path(root().join("Cargo.toml")).features(CargoOpt::AllFeatures).other_options(options);
        let Metadata { packages, resolve, .. } = command.exec().unwrap();
        let used: BTreeSet<_> = resolve.unwrap().nodes.into_iter().map(|node| node.id).collect();
        crates.extend(packages.into_iter().filter(|one| used.contains(&one.id)).map(|one| (one.id.clone(), one)));
    }
    crates.into_values().collect()
}

/// What is wrong with a licence, if anything.
fn license_refusal(rules: &Licenses, license: Option<&str>) -> Option<String> {
    let Some(license) = license else { return Some("names no licence".to_owned()) };
    let allowed: Vec<Licensee> = rules.allow.iter().map(|one| Licensee::parse(one).unwrap()).collect();
    match Expression::parse_mode(license, ParseMode::LAX) {
        Ok(asked) if asked.evaluate(|one| allowed.iter().any(|allowed| allowed.satisfies(one))) => None,
        Ok(_) => Some(format!("is licensed as {license}, which is not allowed")),
        Err(error) => Some(format!("has a licence that can't be read: {error}")),
    }
}

fn ban_refusal(rules: &Bans, name: &str) -> Option<String> {
    let banned = rules.deny.iter().find(|banned| banned.name == name)?;
    Some(format!("is banned: {}", banned.reason))
}

/// Whether it is ours, or from the one registry. `source` is as the lock file has it.
fn source_refusal(source: Option<&cargo_metadata::Source>) -> Option<String> {
    match source {
        Some(source) if !source.is_crates_io() => Some(format!("comes from {source}, not from the registry")),
        _ => None,
    }
}

#[test]
fn all_crates_keep_the_rules_of_deny_toml() {
    let rules = rules();
    assert_eq!((rules.bans.multiple_versions.as_str(), rules.bans.wildcards.as_str()), ("warn", "deny"));
    assert_eq!((rules.sources.unknown_registry.as_str(), rules.sources.unknown_git.as_str()), ("deny", "deny"));
    assert!(rules.licenses.private.ignore && rules.bans.allow_wildcard_paths);
    let crates = crates(&rules);
    let mut wrong = Vec::new();
    for one in &crates {
        let is_ours = one.source.is_none();
        let is_private = one.publish.as_ref().is_some_and(Vec::is_empty);
        let license = if is_private { None } else { license_refusal(&rules.licenses, one.license.as_deref()) };
        let any = one.dependencies.iter().filter(|_| is_ours);
        let any = any.filter(|needed| needed.path.is_none() && needed.req == cargo_metadata::semver::VersionReq::STAR);
        let any = any.map(|needed| format!("takes any version of {}", needed.name));
        let refusals = [license, ban_refusal(&rules.bans, &one.name), source_refusal(one.source.as_ref())];
        wrong
            .extend(refusals.into_iter().flatten().chain(any).map(|why| format!("{} {} {why}", one.name, one.version)));
    }
    assert!(crates.len() > 100, "only {} crates were found", crates.len());
    tell_of_duplicates(&crates);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Several versions of one crate are a warning, as in `deny.toml`.
fn tell_of_duplicates(crates: &[Package]) {
    let mut versions: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for one in crates {
        versions.entry(one.name.as_str()).or_default().push(one.version.to_string());
    }
    for (name, versions) in versions.into_iter().filter(|(_, versions)| versions.len() > 1) {
        eprintln!("warning: {name} is there in {} versions: {}", versions.len(), versions.join(", "));
    }
}

#[test]
fn what_deny_toml_forbids_is_found() {
    let rules = rules();
    let license = |text: &str| license_refusal(&rules.licenses, Some(text));

    for good in ["MIT", "MIT/Apache-2.0", "GPL-3.0 OR MIT", "Apache-2.0 WITH LLVM-exception", "(MIT OR Zlib) AND ISC"] {
        assert_eq!(license(good), None, "{good}");
    }
    for bad in ["GPL-3.0-only", "MIT AND AGPL-3.0-only", "MPL-2.0", "no such licence"] {
        assert!(license(bad).is_some(), "{bad}");
    }
    assert!(license_refusal(&rules.licenses, None).is_some());
    assert!(ban_refusal(&rules.bans, "openssl-sys").is_some() && ban_refusal(&rules.bans, "rustls").is_none());
    let git: cargo_metadata::Source = serde_json::from_str("\"git+https://git.example/x#1\"").unwrap();
    assert!(source_refusal(Some(&git)).is_some() && source_refusal(None).is_none());
}
