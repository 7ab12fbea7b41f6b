//! Git remotes and credentials (our own addition).

use std::{io::Write as _, path::Path, process::Stdio};

use crate::harness::Platform;

fn git(platform: &Platform, folder: &Path, args: &[&str]) -> String {
    git_reading(platform, folder, args, "")
}

fn git_reading(platform: &Platform, folder: &Path, args: &[&str], input: &str) -> String {
    let mut git = platform
        .command("git", folder)
        .args(args)
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Who reads nothing may have gone already.
    let _ = git.stdin.take().unwrap().write_all(input.as_bytes());
    String::from_utf8(git.wait_with_output().unwrap().stdout).unwrap()
}

#[test]
fn a_repository_is_set_up_once_and_again() {
    let platform = Platform::start().on("GET /1.0/apps/blog", 200, "{}");
    let folder = tempfile::tempdir().unwrap();
    git(&platform, folder.path(), &["init", "-q", "."]);
    let url = format!("{}/git/blog.git", platform.url);

    for _ in 0..2 {
        platform
            .tsuru_in(folder.path(), "git setup -a blog")
            .says(&format!("Remote \"tsuru\" is {url}\nDeploy with: git push tsuru main\n"));
    }

    assert_eq!(git(&platform, folder.path(), &["remote", "get-url", "tsuru"]), format!("{url}\n"));
    let helpers =
        git(&platform, folder.path(), &["config", "--get-all", &format!("credential.{}.helper", platform.url)]);
    let program = env!("CARGO_BIN_EXE_tsuru");
    assert_eq!(helpers, format!("\n!'{program}' --target '{}' git credential\n", platform.url));
}

#[test] // SPEC C-5
fn git_gets_the_token_from_its_helper() {
    let platform = Platform::start().on("GET /1.0/apps/blog", 200, "{}");
    let folder = tempfile::tempdir().unwrap();
    git(&platform, folder.path(), &["init", "-q", "."]);
    platform.tsuru_in(folder.path(), "git-setup -a blog");

    let host = platform.url.strip_prefix("http://").unwrap();
    let question = format!("protocol=http\nhost={host}\n\n");

    assert_eq!(
        git_reading(&platform, folder.path(), &["credential", "fill"], &question),
        format!("protocol=http\nhost={host}\nusername=tsuru\npassword=t0k3n\n")
    );
    platform.tsuru_reading("git credential get", &question).says("username=tsuru\npassword=t0k3n\n");
    platform.tsuru_reading("git credential get", "protocol=http\nhost=elsewhere\n\n").says("");
    platform.tsuru_reading("git credential store", &question).says("");
}

#[test]
fn setup_needs_a_repository_and_an_app() {
    let platform = Platform::start().on("GET /1.0/apps/blog", 404, "App blog not found.\n");
    let folder = tempfile::tempdir().unwrap();

    platform.tsuru_in(folder.path(), "git setup -a blog").complains_of("is not in a git repository");
    git(&platform, folder.path(), &["init", "-q", "."]);
    platform.tsuru_in(folder.path(), "git setup -a blog").complains("Error: App blog not found.\n");
    assert_eq!(git(&platform, folder.path(), &["remote"]), "");
}
