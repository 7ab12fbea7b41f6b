//! Services on a disk of their own, and ways to look at what they did.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

use broker_core::testing::{Program, Variables};
use command_broker::{CommandBroker, Config, Service};
use tempfile::TempDir;

/// A copy of one of the services that come with the broker: what it makes is made in there.
pub(crate) fn copy_of(service: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("services").join(service);
    let copied = Command::new("cp").arg("-a").arg(from.join(".")).arg(folder.path()).status().unwrap();
    assert!(copied.success());
    folder
}

/// A service with one plan, whose operations are these shell scripts.
pub(crate) fn service_of(operations: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let catalog = "service = \"made\"\n[[plans]]\nname = \"small\"\ndescription = \"a small one\"\n";
    fs::write(folder.path().join("catalog.toml"), catalog).unwrap();
    fs::create_dir(folder.path().join("operations")).unwrap();
    for (operation, script) in [("provision", ""), ("bind", "echo '{}'")].iter().chain(operations) {
        let file = folder.path().join("operations").join(operation);
        // Written by a process of its own: a file that a thread of ours has open while another one starts a process
        // is busy for that one.
        let mut tee = Command::new("tee").arg(&file).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        write!(tee.stdin.take().unwrap(), "#!/bin/sh\n{script}\n").unwrap();
        assert!(tee.wait().unwrap().success());
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

pub(crate) fn broker(folder: &Path, operation_timeout: u64) -> CommandBroker {
    CommandBroker::new(Service::open(folder).unwrap(), &Config { operation_timeout })
}

/// The binary, serving this folder.
pub(crate) fn serve(folder: &Path, service: &str, data: &Path) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_command-broker"));
    command.env("COMMAND_DIR", folder);
    Program::serve_by(command, service, data, &[""; 0])
}

/// Whether the web server would let this user in, and from where the password comes: the hash is made again.
pub(crate) fn site_opens(folder: &Path, env: &Variables) -> bool {
    let site = folder.join("sites").join(env["SITE_FOLDER"].rsplit('/').nth(1).unwrap());
    let users = fs::read_to_string(site.join("users")).unwrap_or_default();
    let line = users.lines().find_map(|line| line.strip_prefix(&format!("{}:", env["SITE_USER"])));
    let Some(hash) = line else { return false };
    let salt = hash.split('$').nth(2).unwrap();
    let command = ["passwd", "-6", "-salt", salt, "-stdin"];
    let mut openssl =
        Command::new("openssl").args(command).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    writeln!(openssl.stdin.take().unwrap(), "{}", env["SITE_PASSWORD"]).unwrap();
    String::from_utf8(openssl.wait_with_output().unwrap().stdout).unwrap().trim() == hash
}

/// What is still below a folder of the service's.
pub(crate) fn below(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path().display().to_string()).collect()
}

/// Runs a statement in the database of tokens, with the database as `db` and arguments after it.
pub(crate) fn tokens(folder: &Path, question: &str, argument: &str) -> String {
    let script = "import hashlib, sqlite3, sys\n\
        db = sqlite3.connect(sys.argv[1])\n\
        digest = hashlib.sha256(sys.stdin.read().encode()).hexdigest()\n\
        print(*db.execute(sys.argv[2], (digest,) if '?' in sys.argv[2] else ()).fetchone())";
    let mut python = Command::new("python3");
    python.args(["-c", script]).arg(folder.join("tokens/tokens.db")).arg(question);
    let mut python = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    write!(python.stdin.take().unwrap(), "{argument}").unwrap();
    String::from_utf8(python.wait_with_output().unwrap().stdout).unwrap().trim().to_owned()
}
