//! What the broker promises to executables, and what they may answer.

use std::{fs, path::Path, time::Duration};

use broker_core::{
    Binding, Broker as _, BrokerError, Consumer, Health, InfoItem, Instance, Tenant, Update,
    testing::{PASSWORD, TestBroker, conformance, eventually},
};
use command_broker::Service;

use crate::support::{broker, serve, service_of};

fn instance() -> Instance {
    let mut instance = Instance::new("docs".parse().unwrap(), "small".parse().unwrap());
    instance.parameters.insert("token".to_owned(), "hunter2-hunter2".into());
    instance
}

fn binding() -> Binding {
    Binding::new(Consumer::App("web".parse().unwrap()))
}

#[tokio::test]
async fn answers_become_notes_variables_health_and_information() {
    let folder = service_of(&[
        ("provision", r#"grep -q '"operation": "provision"' && echo '{"port": 1}'"#),
        ("bind", r#"echo '{"MADE_PORT": "1"}'"#),
        ("status", r#"echo '{"up": true, "text": "half full"}'"#),
        ("info", r#"echo '{"Address": "here:1"}'"#),
    ]);
    let (broker, instance) = (broker(folder.path(), 20), instance());

    assert_eq!(broker.provision(&instance).await.unwrap()["port"], 1);
    assert_eq!(broker.bind(&instance, &binding()).await.unwrap().get("MADE_PORT").unwrap().expose(), "1");
    assert_eq!(broker.status(&instance).await.unwrap(), Health::Notice("half full".to_owned()));
    assert_eq!(broker.info(&instance).await.unwrap(), [InfoItem::new("Address", "here:1")]);
}

#[tokio::test]
async fn operations_that_are_not_there_succeed_but_the_plan_stays() {
    let folder = service_of(&[]);
    let (broker, instance) = (broker(folder.path(), 20), instance());
    let mut other = Update::of(&instance);

    broker.unbind(&instance, &binding()).await.unwrap();
    broker.deprovision(&instance).await.unwrap();
    assert_eq!(broker.status(&instance).await.unwrap(), Health::Up);
    assert_eq!(broker.update(&instance, &other).await.unwrap(), instance.notes);
    other.plan = "large".parse().unwrap();
    assert!(matches!(broker.update(&instance, &other).await, Err(BrokerError::BadRequest(_))));
}

#[tokio::test]
async fn exit_statuses_are_the_frameworks_errors() {
    let ends = async |script: &str| {
        let folder = service_of(&[("provision", script)]);
        broker(folder.path(), 20).provision(&instance()).await.unwrap_err()
    };

    assert!(
        matches!(ends("echo no such region; echo more; exit 65").await, BrokerError::BadRequest(s) if s == "no such region")
    );
    assert!(matches!(ends("exit 65").await, BrokerError::BadRequest(s) if s == "the service refuses this provision"));
    assert!(matches!(ends("echo in a minute; exit 69").await, BrokerError::NotReady(s) if s == "in a minute"));
    assert!(matches!(ends("echo taken; exit 73").await, BrokerError::Conflict(s) if s == "taken"));
    assert!(matches!(ends("exit 75").await, BrokerError::Unavailable(_)));
    for broken in
        ["exit 1", "kill -9 $$", "echo not JSON", "echo '[]'", "head -c 2000000 /dev/zero", "echo '\"\\377\"'"]
    {
        assert!(matches!(ends(broken).await, BrokerError::Failed(_)), "{broken}");
    }
}

#[tokio::test] // SPEC S-5
async fn an_answer_that_is_no_json_is_not_shown() {
    let folder = service_of(&[("bind", r#"echo '{"MADE_PASSWORD": s3cret}'"#)]);

    let error = broker(folder.path(), 20).bind(&instance(), &binding()).await.unwrap_err();

    assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
}

/// Whether a process lives whose number is in a file. One that was killed and not waited for does not.
fn lives(file: &Path) -> bool {
    let pid = fs::read_to_string(file).unwrap();
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

const TWO_PROCESSES: &str = "sleep 300 & echo $! > child.new; mv child.new child; wait";

#[tokio::test]
async fn what_takes_too_long_is_killed_with_all_its_processes() {
    let folder = service_of(&[("provision", TWO_PROCESSES)]);

    let error = broker(folder.path(), 1).provision(&instance()).await.unwrap_err();

    assert!(
        matches!(&error, BrokerError::Unavailable(cause) if cause.to_string().contains("longer than 1 s")),
        "{error:?}"
    );
    eventually("the other process is gone", async || !lives(&folder.path().join("child"))).await;
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_killed_too() {
    let folder = service_of(&[("provision", TWO_PROCESSES)]);
    let (broker, instance, child) = (broker(folder.path(), 300), instance(), folder.path().join("child"));

    tokio::select! {
        ended = broker.provision(&instance) => panic!("{ended:?}"),
        () = eventually("it is at work", async || child.exists()) => {}
    }

    eventually("the other process is gone", async || !lives(&child)).await;
}

#[tokio::test]
async fn what_an_operation_leaves_running_ends_with_it() {
    let folder = service_of(&[("provision", "sleep 300 & echo $! > child")]);

    let (broker, instance) = (broker(folder.path(), 60), instance());
    let made = broker.provision(&instance);
    tokio::time::timeout(Duration::from_secs(30), made).await.expect("nobody waits for what is left").unwrap();

    eventually("the other process is gone", async || !lives(&folder.path().join("child"))).await;
}

#[tokio::test]
async fn what_was_lost_can_be_put_back() {
    let folder = service_of(&[("reconcile", "cat > seen.new; mv seen.new seen")]);
    let (instance, binding) = (instance(), binding());

    broker(folder.path(), 20).reconcile(&Tenant::new(instance, vec![binding.clone()])).await.unwrap();

    let seen: serde_json::Value = serde_json::from_slice(&fs::read(folder.path().join("seen")).unwrap()).unwrap();
    assert_eq!(seen["bindings"][0]["id"], binding.id.as_str());
    assert_eq!(seen["bindings"][0]["secret"], binding.secret.expose());
}

#[tokio::test] // SPEC S-5
async fn no_secret_is_in_an_argument_in_the_environment_or_in_the_log() {
    let talkative =
        "cat >&2; tr '\\0' '\\n' </proc/$$/environ >seen; tr '\\0' '\\n' </proc/$$/cmdline >>seen; echo '{}'";
    let (folder, data) = (service_of(&[("bind", talkative)]), tempfile::tempdir().unwrap());
    let program = serve(folder.path(), "made", data.path());

    let report = conformance(&program.target("small"), async |_| true).await;

    assert!(report.count() > 50);
    let (log, seen) = (program.log(), fs::read_to_string(folder.path().join("seen")).unwrap());
    assert!(log.contains("\"secret\": \"[secret]\""), "what it says is in the log, without secrets");
    assert!(!log.lines().any(|line| line.contains("\"secret\": \"") && !line.contains("[secret]")));
    assert!(seen.contains("PATH=") && seen.contains("operations/bind"), "{seen}");
    assert!(!seen.contains(PASSWORD) && !seen.contains("BROKER_"), "{seen}");
}

#[tokio::test] // SPEC S-5
async fn texts_of_parameters_are_not_in_what_a_caller_hears() {
    let folder = service_of(&[("provision", "cat; exit 1")]);
    let broker = TestBroker::start(broker(folder.path(), 20)).await;

    let answer = broker.form("POST", "/resources", "name=docs&plan=small&team=data&parameters.token=hunter2").await;

    assert_eq!(answer.status, 500);
    assert!(!answer.body.contains("hunter2"), "{}", answer.body);
}

#[test]
fn a_folder_that_is_no_service_is_refused_in_a_sentence() {
    let refusal = |folder: &Path| format!("{:#}", Service::open(folder).unwrap_err());
    let folder = service_of(&[]);
    assert!(refusal(Path::new("/nowhere")).contains("there is no folder /nowhere"));

    fs::remove_file(folder.path().join("operations/bind")).unwrap();
    assert!(refusal(folder.path()).contains("every service needs provision and bind"));

    fs::write(folder.path().join("catalog.toml"), "service = \"made\"\nplans = []").unwrap();
    assert!(refusal(folder.path()).contains("no plans"));

    fs::write(folder.path().join("catalog.toml"), "servce = \"made\"").unwrap();
    assert!(refusal(folder.path()).contains("catalog.toml cannot be used"));
}
