//! The tutorial, done as it says: its code goes into a new crate, its commands are run, in its order.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

const TUTORIAL: &str = include_str!("../TUTORIAL.md");
/// Where the tutorial's broker listens; here it is given a free port instead.
const LISTEN: &str = "127.0.0.1:8071";
/// What the tutorial depends on, and whose place that takes here.
const PUBLISHED: &str = "broker-core = { version = \"0.1\"";

/// Somebody who follows the tutorial.
struct Reader {
    home: tempfile::TempDir,
    folder: PathBuf,
    code_begun: bool,
    serving: Option<(Child, String)>,
    said: String,
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some((broker, _)) = &mut self.serving {
            let _ = broker.kill();
            let _ = broker.wait();
        }
    }
}

impl Reader {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().to_owned();
        Self { home, folder, code_begun: false, serving: None, said: String::new() }
    }

    fn follow(&mut self, language: &str, block: &str) {
        match language {
            "console" => {
                for command in block.lines().filter_map(|line| line.strip_prefix("$ ")) {
                    self.type_in(command);
                }
            }
            "toml" => self.depend(block),
            "rust" | "rust,no_run" => self.write(block),
            // What needs a platform.
            "sh" => {}
            other => panic!("nobody knows what to do with a block of {other}"),
        }
    }

    /// The dependencies take the place of the empty table that a new crate has. So that what is built for other tests
    /// is used again, versions and profile are this workspace's.
    fn depend(&self, block: &str) {
        let core = env!("CARGO_MANIFEST_DIR");
        let here = format!("broker-core = {{ path = \"{core}\"");
        let dependencies = block.replace("broker-core = \"0.1\"", &format!("{here} }}")).replace(PUBLISHED, &here);
        assert_eq!(dependencies.matches(&here).count(), 2, "{dependencies}");
        let workspace = fs::read_to_string(Path::new(core).join("../Cargo.toml")).unwrap();
        let profile =
            &workspace[workspace.find("[profile.dev]").unwrap()..workspace.find("[profile.release]").unwrap()];
        let manifest = self.folder.join("Cargo.toml");
        let made = fs::read_to_string(&manifest).unwrap();
        fs::write(&manifest, made.replace("[dependencies]\n", &dependencies) + "\n" + profile).unwrap();
        fs::copy(Path::new(core).join("../Cargo.lock"), self.folder.join("Cargo.lock")).unwrap();
    }

    /// What a reader sees of a block of code, in the order of the text.
    fn write(&mut self, block: &str) {
        let seen: Vec<_> = block.lines().filter(|line| *line != "#" && !line.starts_with("# ")).collect();
        let mut file = fs::OpenOptions::new();
        let file = file.write(true).append(self.code_begun).truncate(!self.code_begun);
        let mut file = file.open(self.folder.join("src/main.rs")).unwrap();
        writeln!(file, "{}\n", seen.join("\n").trim()).unwrap();
        self.code_begun = true;
    }

    fn type_in(&mut self, command: &str) {
        if let Some(folder) = command.strip_prefix("cd ") {
            self.folder.push(folder);
        } else if let Some(command) = command.strip_suffix(" &") {
            self.serve(&command.replace(LISTEN, "127.0.0.1:0"));
        } else {
            let address = self.serving.as_ref().map_or(LISTEN, |(_, address)| address);
            let ended = self.shell(&command.replace(LISTEN, address)).output().unwrap();
            let said = format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
            assert!(ended.status.success(), "`{command}` ended with {}:\n{said}", ended.status);
            self.said += &said;
        }
    }

    fn serve(&mut self, command: &str) {
        let mut broker = self.shell(command).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(broker.stderr.take().unwrap()).lines();
        let mut seen = String::new();
        let address = log.by_ref().map_while(Result::ok).find_map(|line| {
            seen += &format!("{line}\n");
            line.split_once("listening on http://").map(|(_, address)| address.trim().to_owned())
        });
        // Somebody has to read on, or the broker waits.
        std::thread::spawn(move || log.for_each(drop));
        let address = address.unwrap_or_else(|| panic!("the broker does not serve:\n{seen}"));
        self.serving = Some((broker, address));
    }

    /// A shell that becomes the command. It finds `broker-check`, and builds where everything is built.
    fn shell(&self, command: &str) -> Command {
        let programs = Path::new(env!("CARGO_BIN_EXE_broker-check")).parent().unwrap();
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths([programs.to_owned()].into_iter().chain(env::split_paths(&path))).unwrap();
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("exec {command}")).current_dir(&self.folder).stdin(Stdio::null());
        shell.env("PATH", path).env("CARGO_TARGET_DIR", programs.parent().unwrap()).env("CARGO_NET_OFFLINE", "true");
        // Cargo tells its tests about the crate they are of; this is another one.
        for (name, _) in env::vars().filter(|(name, _)| name.starts_with("CARGO_PKG_") || name.starts_with("BROKER_")) {
            shell.env_remove(name);
        }
        shell
    }
}

/// The blocks of a text, with their languages.
fn blocks(text: &str) -> Vec<(&str, &str)> {
    let fenced = text.split("```").skip(1).step_by(2);
    fenced.map(|block| block.split_once('\n').expect("a block has lines")).collect()
}

#[test]
fn the_tutorial_leads_to_a_broker_that_passes() {
    let mut reader = Reader::new();

    for (language, block) in blocks(TUTORIAL) {
        reader.follow(language, block);
    }

    let said = &reader.said;
    assert!(said.contains("test result: ok. 3 passed"), "{said}");
    assert!(said.contains("id: letterbox\n"), "{said}");
    assert!(reader.serving.is_some() && reader.folder.starts_with(reader.home.path()), "all of it was done");
}
