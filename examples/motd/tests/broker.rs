//! The binary, from outside.

use std::{pin::Pin, sync::Mutex};

use broker_core::{
    Secret,
    conformance::{Options, Probe, Run, Variables, cases},
    testing::{PASSWORD, Program},
};

/// Keeps what binds give. The word is no credential: no unbind can take it away, so cases about that are skipped.
#[derive(Default)]
struct Words(Mutex<Vec<Variables>>);

impl Probe for Words {
    fn opens<'c>(&'c self, env: &'c Variables) -> Pin<Box<dyn Future<Output = Option<bool>> + 'c>> {
        self.0.lock().unwrap().push(env.clone());
        Box::pin(async { None })
    }
}

#[tokio::test] // A1 to A114
async fn one_screen_keeps_both_contracts() {
    let (data, words) = (tempfile::tempdir().unwrap(), Words::default());
    let broker = Program::serve(env!("CARGO_BIN_EXE_motd-broker"), "motd", data.path(), &["--word=be brave"]);

    let options = Options::new(broker.target("kind").url, "motd", Secret::from(PASSWORD));
    let report = Run::new(options, &words).await.unwrap().cases(&cases(), |_| ()).await;

    report.is_clean();
    assert!(report.count() > 240, "these were skipped: {:?}", report.skipped());
    let words = words.0.into_inner().unwrap();
    assert!(!words.is_empty() && words.iter().all(|env| env["MOTD"] == "be brave"), "{words:?}");
}
