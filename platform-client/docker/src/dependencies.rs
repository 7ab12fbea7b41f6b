//! The layer of dependencies: made once, kept while the files that name them are unchanged.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, Weak},
};

use platform_core::{Error, Progress, Result, UnitEnv, ports::Build};
use sha2::{Digest, Sha256};

use crate::{
    archive::Source,
    client::Client,
    image::{Image, forget_old_layers, name_and_tag},
    workshop::{Step, Workshop},
};

/// Layers that are being made now: who wants the same one waits for it.
#[derive(Default)]
pub(crate) struct Making {
    now: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

impl Making {
    fn turn(&self, layer: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut now = self.now.lock().expect("no holder of the list panics");
        now.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = now.get(layer).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        now.insert(layer.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

/// The image that source is put on: the platform's, or one with the dependencies installed (SPEC U-2).
pub(crate) async fn layer(
    client: &Client,
    making: &Making,
    platform: &Image,
    build: &Build<'_>,
    source: &Source,
    progress: &Progress,
) -> Result<String> {
    let files: BTreeMap<&str, &[u8]> = platform
        .words("tsuru.dependencies.files")
        .iter()
        .filter_map(|name| source.read.get_key_value(name))
        .map(|(name, content)| (name.as_str(), content.as_slice()))
        .collect();
    let Some(command) = platform.dependencies_command().filter(|_| !files.is_empty()) else {
        return Ok(platform.id.clone());
    };
    let env = variables(platform, &build.env);
    let layer = layer_name(build.platform_image, &key(platform, command, &files, &env));
    let turn = making.turn(&layer);
    let _turn = turn.lock().await;
    if Image::inspect(client, &layer).await?.is_some() {
        progress.step("dependencies unchanged, layer reused");
        return Ok(layer);
    }
    progress.step(format!("installing dependencies ({})", files.keys().copied().collect::<Vec<_>>().join(", ")));
    make(client, platform, command, &files, env, &layer, progress).await?;
    let client = client.clone();
    tokio::spawn(async move { forget_old_layers(&client).await });
    Ok(layer)
}

async fn make(
    client: &Client,
    platform: &Image,
    command: &str,
    files: &BTreeMap<&str, &[u8]>,
    env: UnitEnv,
    layer: &str,
    progress: &Progress,
) -> Result<()> {
    let mut workshop = Workshop::closed(client, &platform.id).await?;
    let place = platform_core::APP_DIR.trim_start_matches('/');
    let files = files.iter().map(|(name, content)| (format!("{place}/{name}"), content.to_vec())).collect();
    workshop.put_files(&files).await?;
    workshop.open().await?;
    let user = platform.app_user();
    let installed = workshop.run("installing dependencies", Step::shell(&user, command, env), progress).await;
    installed.map_err(|reason| match reason {
        Error::Build(sentence) => Error::Build(format!("{sentence}, see its output above")),
        other => other,
    })?;
    workshop.commit(layer, platform.successor(client, "dependencies", platform.command())).await
}

/// The app's own variables that dependencies depend on, such as a package index of its own
/// (`tsuru.dependencies.variables`: how their names begin).
fn variables(platform: &Image, env: &UnitEnv) -> UnitEnv {
    let beginnings = platform.words("tsuru.dependencies.variables");
    env.iter()
        .filter(|(name, _)| beginnings.iter().any(|beginning| name.starts_with(beginning.as_str())))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Equal where the layer would come out the same.
fn key(platform: &Image, command: &str, files: &BTreeMap<&str, &[u8]>, env: &UnitEnv) -> String {
    let mut digest = Sha256::new();
    let mut add = |part: &[u8]| {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    };
    add(platform.id.as_bytes());
    add(command.as_bytes());
    for (name, content) in files {
        add(name.as_bytes());
        add(content);
    }
    for (name, value) in env {
        add(name.as_bytes());
        add(value.expose().as_bytes());
    }
    hex::encode(digest.finalize())
}

/// `tsuru-deps/python:<half of the key>`
fn layer_name(platform_image: &str, key: &str) -> String {
    let (name, _) = name_and_tag(platform_image);
    let name = name.rsplit('/').next().unwrap_or(name);
    format!("tsuru-deps/{name}:{}", &key[..32])
}
