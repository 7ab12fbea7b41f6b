//! Deploys (contract section 8).

use std::{collections::BTreeMap, fs, io::Read};

use flate2::read::GzDecoder;

use crate::harness::{Platform, Ran, Seen, fields};

const EVENT: (&str, &str) = ("X-Tsuru-Eventid", "6650f1a2b3c4d5e6f7a8b9c0");

fn platform(answer: &str) -> Platform {
    Platform::start().on("GET /1.0/apps/blog", 200, r#"{"name":"blog"}"#).on_with(
        "POST /1.0/apps/blog/deploy",
        200,
        answer,
        &[EVENT],
    )
}

/// Parts of a multipart body by name; the archive's as the names it holds.
fn parts(request: &Seen) -> BTreeMap<String, Vec<u8>> {
    let boundary = format!("--{}", request.header("content-type").split("boundary=").nth(1).unwrap());
    let mut parts = BTreeMap::new();
    let mut rest = &request.body[..];
    while let Some(at) = find(rest, boundary.as_bytes()) {
        rest = &rest[at + boundary.len()..];
        let Some(head) = find(rest, b"\r\n\r\n") else { break };
        let end = find(rest, format!("\r\n{boundary}").as_bytes()).unwrap();
        let header = String::from_utf8_lossy(&rest[..head]).into_owned();
        let name = header.split("name=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        parts.insert(name, rest[head + 4..end].to_vec());
    }
    parts
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

fn archived(bytes: &[u8]) -> BTreeMap<String, (u32, String)> {
    let mut archive = tar::Archive::new(GzDecoder::new(bytes));
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        (entry.path().unwrap().display().to_string(), (entry.header().mode().unwrap() & 0o777, content))
    });
    entries.collect()
}

/// The output without the times in front.
fn undated(ran: &Ran) -> String {
    let line = |line: &str| line.split_once(" +0000: ").map_or(line, |(_, text)| text).to_owned();
    ran.out.lines().map(|text| line(text) + "\n").collect()
}

#[test] // SPEC C-9
fn a_folder_is_packed_and_sent_in_chunks() {
    let platform = platform("---- Building image ----\n\nOK\n");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("Procfile"), "web: ./run").unwrap();
    fs::write(folder.path().join("secret.txt"), "x").unwrap();
    fs::write(folder.path().join(".tsuruignore"), "secret.txt").unwrap();

    let ran = platform.tsuru_in(folder.path(), "app deploy -a blog -m news .");

    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_eq!(
        undated(&ran),
        "Deploying using app's platform...\nUploading files (0.00MB)... ok\n---- Building image ----\n\nOK\n"
    );
    assert_eq!(platform.asked(), ["GET /1.0/apps/blog", "POST /1.0/apps/blog/deploy"]);
    let request = platform.last();
    assert_eq!(request.header("transfer-encoding"), "chunked");
    let parts = parts(&request);
    assert_eq!((&parts["origin"][..], &parts["message"][..]), (&b"app-deploy"[..], &b"news"[..]));
    let files = archived(&parts["file"]);
    assert_eq!(files.keys().collect::<Vec<_>>(), [".tsuruignore", "Procfile"]);
    assert_eq!(files["Procfile"].1, "web: ./run");
}

#[test] // SPEC C-8
fn a_deploy_that_does_not_end_with_ok_failed() {
    for answer in ["no Procfile\n", "OK\nplease wait...\n", "", "OK"] {
        let platform = platform(answer);
        fs::write(platform.home.path().join("app.py"), "").unwrap();

        let ran = platform.tsuru("app deploy -a blog app.py");

        ran.complains("Error: the deploy failed; what went wrong is in the output above\n");
        assert!(undated(&ran).contains(answer.trim_end()), "{}", ran.out);
    }
}

#[test]
fn an_image_needs_no_files() {
    let platform = platform("\nOK\n");

    let ran = platform.tsuru("app-deploy -a blog -i registry/blog:v1 --new-version --override-old-versions");

    assert_eq!((ran.code, undated(&ran).as_str()), (0, "Deploying container image...\n\nOK\n"));
    let expected =
        [("origin", "image"), ("image", "registry/blog:v1"), ("new-version", "true"), ("override-versions", "true")];
    assert_eq!(platform.last().form(), fields(&expected));
}

#[test]
fn a_dockerfile_goes_with_its_folder() {
    let platform = platform("\nOK\n");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("Dockerfile"), "FROM scratch").unwrap();
    fs::write(folder.path().join("notes"), "x").unwrap();
    fs::write(folder.path().join(".dockerignore"), "notes").unwrap();

    let ran = platform.tsuru_in(folder.path(), "deploy -a blog --dockerfile .");

    assert_eq!(ran.code, 0, "{ran:?}");
    let parts = parts(&platform.last());
    assert_eq!((&parts["origin"][..], &parts["dockerfile"][..]), (&b"app-deploy"[..], &b"FROM scratch"[..]));
    assert_eq!(archived(&parts["file"]).keys().collect::<Vec<_>>(), [".dockerignore", "Dockerfile"]);
}

#[test]
fn what_cannot_be_deployed_is_refused_before_anything_is_asked() {
    let platform = platform("\nOK\n");

    platform
        .tsuru("app deploy -a blog")
        .complains("Error: You should provide at least one file, Docker image name or Dockerfile to deploy.\n");
    platform
        .tsuru("app deploy -a blog -i x .")
        .complains("Error: You can't deploy files and docker image at the same time.\n");
    platform.tsuru("app deploy -a blog -i x --dockerfile .").complains_of("You can't deploy container image");
    platform
        .tsuru("app deploy -a blog nowhere")
        .complains("Error: cannot read nowhere: No such file or directory (os error 2)\n");
    platform.tsuru("app deploy .").complains_of("The name of the app is required.");
    assert_eq!(platform.asked(), [""; 0]);
}

#[test]
fn an_unknown_app_ends_a_deploy_before_the_upload() {
    let platform = Platform::start().on("GET /1.0/apps/blog", 404, "App blog not found.\n");

    platform.tsuru("app deploy -a blog -i x").complains("Error: App blog not found.\n");

    assert_eq!(platform.asked(), ["GET /1.0/apps/blog"]);
}

#[test]
fn a_refused_deploy_says_why() {
    let platform = Platform::start().on("GET /1.0/apps/blog", 200, "{}").on(
        "POST /1.0/apps/blog/deploy",
        500,
        "event locked: app(blog) running \"app.deploy\"\n",
    );
    fs::write(platform.home.path().join("app.py"), "").unwrap();

    platform.tsuru("app deploy -a blog app.py").complains("Error: event locked: app(blog) running \"app.deploy\"\n");
}

#[test]
fn deploys_are_listed_newest_first() {
    let deploy = |image: &str, origin: &str, at: &str, seconds: u64, commit: &str| {
        format!(
            r#"{{"ID":"","App":"blog","Timestamp":"{at}","Duration":{},"Commit":"{commit}","Error":"","Image":"{image}",
               "Version":1,"User":"alice@example.com","Origin":"{origin}","CanRollback":true}}"#,
            seconds * 1_000_000_000
        )
    };
    let body = format!(
        "[{},{}]",
        deploy("v1", "image", "2026-01-02T03:04:05Z", 26, ""),
        deploy("v2", "app-deploy", "2026-01-02T03:09:05Z", 18, "")
    );
    let platform = Platform::start().on("GET /1.0/deploys", 200, &body);
    let table = "\
+------------------+------------+-------------------+-----------------------------+-------+
| Image (Rollback) | Origin     | User              | Date (Duration)             | Error |
+------------------+------------+-------------------+-----------------------------+-------+
| v2 (*)           | app-deploy | alice@example.com | 02 Jan 26 03:09 UTC (00:18) |       |
+------------------+------------+-------------------+-----------------------------+-------+
| v1 (*)           | image      | alice@example.com | 02 Jan 26 03:04 UTC (00:26) |       |
+------------------+------------+-------------------+-----------------------------+-------+
";

    for spelling in ["app deploy list -a blog", "app-deploy-list blog"] {
        platform.tsuru(spelling).says(table);
    }
    assert_eq!(platform.asked()[0], "GET /1.0/deploys?app=blog&limit=10");

    let git = deploy("v1", "git", "2026-01-02T03:04:05Z", 1, "0123456789abcdef");
    let ran = Platform::start().on("GET /1.0/deploys", 200, &format!("[{git}]")).tsuru("app deploy list blog");
    assert!(ran.out.contains("| git (0123456) |"), "{}", ran.out);
    Platform::start().on("GET /1.0/deploys", 204, "").tsuru("app deploy list blog").says("App blog has no deploy.\n");
}

#[test]
fn a_rollback_asks_first_and_shows_a_progress_stream() {
    let platform = Platform::start().on("POST /1.0/apps/blog/deploy/rollback", 200, "{\"Message\":\"back\\n\"}\n");

    platform
        .tsuru_reading("app deploy rollback -a blog v1", "n\n")
        .says("Are you sure you want to rollback app \"blog\" to image \"v1\"? (y/n) Abort.\n");
    platform.tsuru("rollback -a blog v1 -y").says("back\n");

    assert_eq!(platform.asked(), ["POST /1.0/apps/blog/deploy/rollback"]);
    assert_eq!(platform.last().form(), fields(&[("origin", "rollback"), ("image", "v1")]));
}
