//! `git push` with the real git, against a scripted platform.

#[path = "platform/mod.rs"]
mod platform;

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use platform::{TOKEN, TestPlatform, until};
use platform_core::Error;
use platform_git::{GitConfig, GitServer};
use tower::ServiceExt as _;

#[tokio::test] // SPEC G-1
async fn a_push_deploys_its_commit() {
    let platform = TestPlatform::start().await;
    let copy = platform.working_copy("work", "blog").await;

    copy.push().await.succeeds().says("remote: ---- Building ----").says("remote: half a line").says("remote: OK");

    let [deployed] = platform.script.deployed().try_into().unwrap();
    assert_eq!((deployed.app.as_str(), deployed.user.as_str()), ("blog", "alice@example.com"));
    assert_eq!(deployed.commit, copy.head().await);
    assert_eq!(deployed.files.into_iter().collect::<Vec<_>>(), [("Procfile".to_owned(), 11)]);
    assert_eq!(platform.at("blog", "refs/heads/main").await, Some(copy.head().await));
    copy.push().await.succeeds().says("Everything up-to-date");
}

#[tokio::test] // SPEC G-4
async fn lines_arrive_while_the_deploy_runs() {
    let platform = TestPlatform::start().await;
    let copy = platform.working_copy("work", "blog").await;
    platform.script.wait_in_the_middle(true);

    let mut push = copy.start(&["push", "tsuru", "main"]);
    push.shows("remote: ---- Building ----").await;
    assert!(push.is_running());
    assert_eq!(platform.script.deployed(), []);
    platform.script.go_on.notify_one();

    push.end().await.succeeds().says("remote: OK");
}

#[tokio::test] // SPEC G-4
async fn a_silent_deploy_shows_that_it_is_alive() {
    let platform = TestPlatform::start_with(|config| config.heartbeat = Duration::from_millis(50)).await;
    let copy = platform.working_copy("work", "blog").await;
    platform.script.wait_in_the_middle(true);

    let mut push = copy.start(&["push", "tsuru", "main"]);
    push.shows("remote:  ... still at it, silent for 0 s").await;
    platform.script.go_on.notify_one();

    push.end().await.succeeds();
}

#[tokio::test] // SPEC G-1
async fn a_failed_build_rejects_the_push_which_can_be_tried_again() {
    let platform = TestPlatform::start().await;
    let copy = platform.working_copy("work", "blog").await;
    copy.push().await.succeeds();
    let first = copy.head().await;
    let second = copy.commit("broken", b"").await;
    platform.script.fail_next(Error::Build("the build failed: no such package".to_owned()));

    copy.push()
        .await
        .fails()
        .says("remote: half a line")
        .says("remote: ERROR: the build failed: no such package")
        .says("! [remote rejected] main -> main (pre-receive hook declined)");
    assert_eq!(platform.at("blog", "refs/heads/main").await, Some(first));

    copy.push().await.succeeds();
    assert_eq!(platform.at("blog", "refs/heads/main").await, Some(second));
}

#[tokio::test] // SPEC G-2
async fn who_may_not_push_reads_why() {
    let platform = TestPlatform::start().await;
    let copy = platform.working_copy("work", "blog").await;
    let push_to = async |url: String| copy.git(&["push", &url, "main"]).await.fails();

    push_to(platform.url_with("alice", "wrong", "blog")).await.says("remote: invalid token, log in again");
    push_to(platform.url_with("alice", "guest", "blog")).await.says("You don't have permission to do this action");
    push_to(platform.url("nope")).await.says("remote: App nope not found.");
    push_to(platform.url("No%20App")).await.says("remote: Invalid app name");
    push_to(format!("http://{}/git/blog.git", platform.address)).await.says("could not read Username");

    assert_eq!(platform.script.deployed(), []);
    let made: Vec<_> = fs::read_dir(platform.data().join("git")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(made.iter().all(|path| path.extension().is_none_or(|end| end != "git")), "{made:?}");
}

#[tokio::test] // SPEC G-2
async fn a_request_without_credentials_is_asked_for_them() {
    let platform = TestPlatform::start().await;

    for (method, path) in [("GET", "info/refs?service=git-receive-pack"), ("POST", "git-receive-pack")] {
        let request = Request::builder().method(method).uri(format!("/git/blog.git/{path}"));
        let answer = platform.server.router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(answer.headers()["www-authenticate"], r#"Basic realm="tsuru""#);
    }
}

#[tokio::test] // SPEC G-3, G-8
async fn what_is_no_request_of_gits_is_refused() {
    let platform = TestPlatform::start().await;
    let status = async |method: &str, path: &str, encoding: &str, body: &'static str| {
        let request = Request::builder()
            .method(method)
            .uri(format!("/git/blog.git/{path}"))
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("content-encoding", encoding)
            .body(Body::from(body));
        platform.server.router().oneshot(request.unwrap()).await.unwrap().status()
    };

    assert_eq!(status("GET", "info/refs", "identity", "").await, StatusCode::FORBIDDEN);
    assert_eq!(status("GET", "info/refs?service=git-shell", "identity", "").await, StatusCode::FORBIDDEN);
    assert_eq!(status("GET", "info/refs?service=git-upload-pack", "identity", "").await, StatusCode::OK);
    assert_eq!(status("GET", "HEAD", "identity", "").await, StatusCode::NOT_FOUND);
    assert_eq!(status("POST", "git-receive-pack", "br", "").await, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(status("POST", "git-receive-pack", "gzip", "rubbish").await, StatusCode::BAD_REQUEST);
    assert_eq!(status("POST", "git-receive-pack", "identity", "0000").await, StatusCode::OK);
}

#[tokio::test] // SPEC G-7
async fn another_branch_is_refused_politely() {
    let platform = TestPlatform::start().await;
    let copy = platform.working_copy("work", "blog").await;

    copy.git(&["push", "tsuru", "main:next", "main"])
        .await
        .fails()
        .says("remote: ERROR: next is not deployed and not kept here, please push to main: git push tsuru HEAD:main")
        .says("(pre-receive hook declined)");
    assert_eq!(platform.script.deployed(), []);

    copy.push().await.succeeds();
    copy.git(&["push", "tsuru", ":main"]).await.fails().says("remote: ERROR: main is what runs and can't be deleted");
    copy.git(&["tag", "v1"]).await.succeeds();
    copy.git(&["push", "tsuru", "v1"]).await.succeeds().says("[new tag]");
    assert_eq!(platform.script.deployed().len(), 1);
}

#[tokio::test] // SPEC G-3, G-7
async fn what_was_pushed_can_be_cloned() {
    let platform = TestPlatform::start().await;
    let copy = platform.working_copy("work", "blog").await;
    copy.git(&["push", "tsuru", "main:master"]).await.succeeds();
    // HEAD follows once the push is over.
    until("HEAD names the deployed branch", async || platform.at("blog", "HEAD").await).await;

    for version in ["0", "2"] {
        let protocol = format!("protocol.version={version}");
        let clone = format!("../clone{version}");
        copy.git(&["-c", &protocol, "clone", &platform.url("blog"), &clone]).await.succeeds();
        assert!(copy.folder.join(clone).join("Procfile").exists());
    }
}

#[tokio::test] // SPEC G-8
async fn a_long_history_is_negotiated_compressed() {
    let platform = TestPlatform::start().await;
    let copy = platform.working_copy("work", "blog").await;
    copy.push().await.succeeds();
    copy.git(&["clone", "--quiet", &platform.url("blog"), "../other"]).await.succeeds();
    let other = platform::WorkingCopy { folder: platform.folder.path().join("other") };
    other.later_commits(60).await;
    copy.commit("more", b"").await;
    copy.push().await.succeeds();

    other.git(&["fetch", "origin"]).await.succeeds();
    other.git(&["rebase", "--quiet", "origin/main"]).await.succeeds();
    other.git(&["push", "origin", "main"]).await.succeeds().says("remote: OK");

    let requests = platform.requests.lock().unwrap().clone();
    assert!(requests.contains(&"POST /git/blog.git/git-upload-pack gzip".to_owned()), "{requests:?}");
    assert_eq!(platform.script.deployed().len(), 3);
}

/// A request to fetch, whose body never ends.
fn endless_fetch() -> Request<Body> {
    let request = Request::post("/git/blog.git/git-upload-pack").header("authorization", format!("Bearer {TOKEN}"));
    request.body(Body::from_stream(futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>())).unwrap()
}

#[tokio::test] // SPEC G-8
async fn a_silent_client_is_given_up() {
    let platform = TestPlatform::start_with(|config| config.idle = Duration::from_millis(100)).await;

    let answer = platform.server.router().oneshot(endless_fetch()).await.unwrap();

    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let text = axum::body::to_bytes(answer.into_body(), 1000).await.unwrap();
    assert_eq!(text, "the request broke off: the client was silent for 100ms\n");
}

#[tokio::test] // SPEC G-1, G-8
async fn a_push_that_breaks_off_leaves_nothing() {
    let platform = TestPlatform::start().await;
    let copy = platform.working_copy("work", "blog").await;
    copy.push().await.succeeds();
    let head = copy.head().await;
    let command = format!("{head} {} refs/heads/main\0report-status", head.replace(|_| true, "a"));
    let half = format!("{:04x}{command}0000PACK\0\0\0\x02\0\0\0\x01", command.len() + 4);
    let body = futures::stream::iter([Ok(half), Err(std::io::Error::other("the line is cut"))]);
    let request = Request::post("/git/blog.git/git-receive-pack").header("authorization", format!("Bearer {TOKEN}"));

    let answer = platform.server.router().oneshot(request.body(Body::from_stream(body)).unwrap()).await.unwrap();

    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert_eq!(platform.at("blog", "refs/heads/main").await, Some(head));
    assert_eq!(platform.script.deployed().len(), 1);
    let objects = fs::read_dir(platform.data().join("git/blog.git/objects")).unwrap();
    let names: Vec<_> = objects.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.starts_with("tmp_")), "{names:?}");
    until("the scratch folder is empty", async || {
        let mut left = fs::read_dir(platform.data().join("git/.scratch")).unwrap();
        left.next().is_none().then_some(())
    })
    .await;
}

#[tokio::test] // SPEC G-4, G-8
async fn a_clone_stops_when_its_client_goes_away() {
    let platform = TestPlatform::start_with(|config| config.max_sessions = 1).await;
    let copy = platform.working_copy("work", "blog").await;
    copy.push().await.succeeds();
    let fetch = tokio::spawn(platform.server.router().oneshot(endless_fetch()));
    let clone = async |name: &str| copy.git(&["clone", &platform.url("blog"), name]).await;
    until("the fetch has the only place", async || (!clone("../refused").await.success).then_some(())).await;

    fetch.abort();

    until("the place is free", async || clone("../clone").await.success.then_some(())).await;
}

#[tokio::test] // SPEC G-9
async fn a_folder_that_is_too_deep_for_a_socket_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = GitConfig::new(folder.path().join("d".repeat(100))).unwrap();

    let Err(refusal) = GitServer::new(config, std::sync::Arc::<platform::Script>::default()).await else {
        panic!("a socket that can't be")
    };

    assert!(refusal.to_string().ends_with("choose a data folder with a shorter path"), "{refusal}");
}

/// Bytes that no compression makes smaller.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    next.flatten().take(length).collect()
}

#[tokio::test] // SPEC G-8
async fn a_large_push_goes_through() {
    const LENGTH: usize = 32 << 20;
    let platform = TestPlatform::start().await;
    let copy = platform.working_copy("work", "blog").await;
    copy.commit("large", &noise(LENGTH)).await;

    copy.push().await.succeeds().says("remote: OK");

    assert_eq!(platform.script.deployed()[0].files["large"], LENGTH);
    copy.git(&["clone", "--quiet", &platform.url("blog"), "../clone"]).await.succeeds();
    assert_eq!(fs::metadata(platform.folder.path().join("clone/large")).unwrap().len(), LENGTH as u64);
}

#[tokio::test] // SPEC G-8
async fn a_push_above_the_limit_is_refused() {
    let platform = TestPlatform::start_with(|config| config.max_pack = 1 << 20).await;
    let copy = platform.working_copy("work", "blog").await;
    copy.commit("large", &noise(8 << 20)).await;

    copy.push().await.fails().says("pack exceeds maximum allowed size");

    assert_eq!(platform.at("blog", "refs/heads/main").await, None);
}

#[tokio::test] // SPEC G-6
async fn the_second_of_two_pushes_reads_who_is_first() {
    let platform = TestPlatform::start().await;
    let copy = platform.working_copy("work", "blog").await;
    let other = platform.working_copy("other", "blog").await;
    other.commit("mine", b"").await;
    platform.script.wait_in_the_middle(true);
    let mut first = copy.start(&["push", "tsuru", "main"]);
    first.shows("Building").await;

    other.push().await.fails().says("remote: ERROR: alice@example.com has been deploying a push to blog for");

    platform.script.go_on.notify_one();
    first.end().await.succeeds();
    platform.script.wait_in_the_middle(false);
    other.push().await.fails().says("fetch first");
    other.git(&["push", "--force", "tsuru", "main"]).await.succeeds().says("remote: OK");
}

#[tokio::test] // SPEC G-6
async fn a_push_that_was_overtaken_is_refused_before_its_deploy() {
    let platform = TestPlatform::start().await;
    let copy = platform.working_copy("work", "blog").await;
    let slow = platform.working_copy("slow", "blog").await;
    // The client's own hook runs once it has seen the branches: there the other push overtakes.
    let overtake = format!("#!/bin/sh\nunset GIT_DIR\nexec git -C {} push tsuru main\n", copy.folder.display());
    let hook = slow.folder.join(".git/hooks/pre-push");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, overtake).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();

    slow.push()
        .await
        .fails()
        .says("remote: ERROR: somebody else pushed to main meanwhile: fetch that, then push again");

    let [deployed] = platform.script.deployed().try_into().unwrap();
    assert_eq!(Some(deployed.commit), platform.at("blog", "refs/heads/main").await);
}

#[tokio::test] // SPEC G-4
async fn a_deploy_outlives_its_push() {
    let platform = TestPlatform::start().await;
    let copy = platform.working_copy("work", "blog").await;
    platform.script.wait_in_the_middle(true);
    let mut push = copy.start(&["push", "tsuru", "main"]);
    push.shows("Building").await;

    push.kill().await;
    platform.script.go_on.notify_one();

    until("the branch moves", async || platform.at("blog", "refs/heads/main").await).await;
    assert_eq!(platform.script.deployed()[0].commit, copy.head().await);
}

#[tokio::test] // SPEC G-5
async fn a_daemon_that_is_gone_rejects_the_push() {
    let platform = TestPlatform::start().await;
    let copy = platform.working_copy("work", "blog").await;
    fs::remove_file(platform.socket()).unwrap();

    copy.push().await.fails().says("remote: ERROR: the platform is not there").says("pre-receive hook declined");
    assert_eq!(platform.at("blog", "refs/heads/main").await, None);
}

#[tokio::test] // SPEC G-5
async fn a_daemon_that_dies_in_the_middle_rejects_the_push() {
    let platform = TestPlatform::start().await;
    let copy = platform.working_copy("work", "blog").await;
    fs::remove_file(platform.socket()).unwrap();
    let dying = tokio::net::UnixListener::bind(platform.socket()).unwrap();

    let push = copy.start(&["push", "tsuru", "main"]);
    let (mut hook, _) = dying.accept().await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut hook, b"{\"text\":\"half a\"}\n").await.unwrap();
    let mut asked = vec![0; 4096];
    tokio::io::AsyncReadExt::read(&mut hook, &mut asked).await.unwrap();
    drop(hook);

    let said = push.end().await.fails();
    said.says("the platform went away before the deploy was over").says("see `tsuru app deploy list -a blog`");
    assert_eq!(platform.at("blog", "refs/heads/main").await, None);
}

#[tokio::test] // SPEC G-7
async fn submodules_and_large_files_are_said_to_stay_behind() {
    let platform = TestPlatform::start().await;
    let copy = platform.working_copy("work", "blog").await;
    copy.commit(".gitmodules", b"[submodule \"a\"]\n\tpath = a\n\turl = https://example.com/a\n").await;
    copy.commit(".gitattributes", b"*.bin filter=lfs diff=lfs\n").await;

    copy.push()
        .await
        .succeeds()
        .says("remote: note: submodules are not fetched")
        .says("remote: note: files in Git LFS");
}

#[tokio::test] // SPEC G-9
async fn an_app_that_is_made_again_starts_without_history() {
    let platform = TestPlatform::start().await;
    let copy = platform.working_copy("work", "blog").await;
    copy.push().await.succeeds();

    platform.server.remove(&"blog".parse().unwrap()).await.unwrap();

    copy.push().await.succeeds().says("remote: OK");
    assert_eq!(platform.script.deployed().len(), 2);
}

#[tokio::test] // SPEC G-9
async fn repositories_are_served_by_one_process_and_for_its_user_alone() {
    let platform = TestPlatform::start().await;
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(platform.data().join("git")), 0o700);
    assert_eq!(mode(platform.socket()), 0o600);

    let config = GitConfig::new(platform.data()).unwrap();
    let Err(refusal) = GitServer::new(config, platform.script.clone()).await else { panic!("two servers") };

    assert!(refusal.to_string().contains("another process serves the repositories"), "{refusal}");
}

#[tokio::test] // SPEC G-9
async fn a_restarted_server_goes_on_with_what_was_pushed() {
    let platform = TestPlatform::start().await;
    let copy = platform.working_copy("work", "blog").await;
    copy.push().await.succeeds();
    let second = copy.commit("more", b"").await;
    // A push that was killed half-way.
    fs::create_dir(platform.data().join("git/.scratch/half-made")).unwrap();

    let platform = platform.restart().await;

    assert!(!platform.data().join("git/.scratch/half-made").exists());
    copy.git(&["push", &platform.url("blog"), "main"]).await.succeeds().says("remote: OK");
    assert_eq!(platform.at("blog", "refs/heads/main").await, Some(second));
}
