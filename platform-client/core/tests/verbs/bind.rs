//! SPEC chapters B and V: instances, binds, environment.

use crate::harness::{TestPlatform, app_name, instance_name, new_instance, redis};
use platform_core::{
    Binding, Error, OwnVar, Progress, Removal, Unbinding, ports::RecordKind, testing::brokers::BrokerCall,
};

#[tokio::test] // SPEC J-4
async fn a_bind_brings_variables_into_new_units() {
    let test = TestPlatform::new().await;
    test.running_app(2).await;
    test.create_instance("cache").await;

    test.bind("cache", "blog").await.unwrap();

    let unit = test.engine.units_of(&app_name("blog"))[0].id.clone();
    let env = test.engine.spec_of(&unit).unwrap().env;
    assert!(env.contains_key("REDIS_HOST") && env["TSURU_SERVICES"].expose().contains("\"instance_name\":\"cache\""));
    assert_eq!(test.routed(), ["blog.web.1-2.1", "blog.web.1-2.2"]);
    let instance = test.platform.instance(&test.user, &redis(), &instance_name("cache")).await.unwrap();
    assert_eq!(instance.apps, [app_name("blog")]);
}

#[tokio::test] // SPEC J-5
async fn binding_twice_is_refused_and_sends_no_bind() {
    let test = TestPlatform::new().await;
    test.create_app("blog").await;
    test.create_instance("cache").await;
    test.bind("cache", "blog").await.unwrap();

    let refusal = test.bind("cache", "blog").await.unwrap_err();

    assert_eq!(refusal.to_string(), "app is already bound to this service instance (\"cache\" is up)");
    assert_eq!(test.brokers.count(BrokerCall::Bind), 1);
}

#[tokio::test] // SPEC J-6
async fn a_bind_that_the_broker_refuses_leaves_nothing() {
    let test = TestPlatform::new().await;
    test.running_app(1).await;
    test.create_instance("cache").await;
    test.brokers.refuse(BrokerCall::Bind, "instance is not ready yet");

    let refusal = test.bind("cache", "blog").await.unwrap_err();

    assert!(refusal.to_string().starts_with("instance is not ready yet (\"cache\" is "), "{refusal}");
    assert!(test.app("blog").await.service_env.is_empty());
    assert_eq!(test.routed(), ["blog.web.1-1.1"]);
    assert_eq!(test.brokers.count(BrokerCall::Unbind), 0);
}

#[tokio::test] // SPEC J-6
async fn a_bind_whose_units_do_not_start_is_undone_at_the_broker() {
    let test = TestPlatform::new().await;
    test.running_app(1).await;
    test.create_instance("cache").await;
    test.engine.never_ready(Some("crashed"));

    test.bind("cache", "blog").await.unwrap_err();

    assert!(test.brokers.bound(&redis(), &instance_name("cache")).is_empty());
    assert!(test.app("blog").await.service_env.is_empty());
    assert_eq!(test.routed(), ["blog.web.1-1.1"]);
}

#[tokio::test] // SPEC J-7
async fn an_unbind_takes_the_variables_away_and_tells_the_broker() {
    let test = TestPlatform::new().await;
    test.running_app(1).await;
    test.create_instance("cache").await;
    test.bind("cache", "blog").await.unwrap();

    test.unbind("cache", "blog").await.unwrap();

    let unit = test.engine.units_of(&app_name("blog"))[0].id.clone();
    let env = test.engine.spec_of(&unit).unwrap().env;
    assert!(!env.contains_key("REDIS_HOST"));
    assert_eq!(env["TSURU_SERVICES"].expose(), "{}");
    assert!(test.brokers.bound(&redis(), &instance_name("cache")).is_empty());
    assert!(matches!(test.unbind("cache", "blog").await, Err(Error::Precondition(_))));
}

#[tokio::test] // SPEC J-7
async fn a_broker_that_fails_to_unbind_keeps_the_binding_unless_forced() {
    let test = TestPlatform::new().await;
    test.running_app(1).await;
    test.create_instance("cache").await;
    test.bind("cache", "blog").await.unwrap();
    test.brokers.refuse(BrokerCall::Unbind, "boom");
    test.brokers.refuse(BrokerCall::Unbind, "boom");

    test.unbind("cache", "blog").await.unwrap_err();
    assert!(!test.app("blog").await.service_env.is_empty());

    let forced = Unbinding { force: true, ..Unbinding::default() };
    let progress = Progress::silent();
    test.platform
        .unbind_app(&test.user, &redis(), &instance_name("cache"), &app_name("blog"), forced, &progress)
        .await
        .unwrap();
    assert!(progress.log().contains("[unbind-app-endpoint] ignored error due to force: boom"), "{}", progress.log());
    assert!(test.app("blog").await.service_env.is_empty());
}

#[tokio::test] // SPEC J-8
async fn without_a_restart_units_stay_and_the_variables_wait() {
    let test = TestPlatform::new().await;
    test.running_app(1).await;
    test.create_instance("cache").await;
    let how = Binding { no_restart: true, ..Binding::default() };

    test.platform
        .bind_app(&test.user, &redis(), &instance_name("cache"), &app_name("blog"), how, &Progress::silent())
        .await
        .unwrap();

    assert_eq!(test.routed(), ["blog.web.1-1.1"]);
    assert!(test.app("blog").await.merged_env().contains_key("REDIS_HOST"));
}

#[tokio::test] // SPEC J-1
async fn an_instance_that_the_broker_refuses_is_not_remembered() {
    let test = TestPlatform::new().await;
    test.brokers
        .refuse(BrokerCall::Create, "Failed to create the instance cache: invalid response: no quota (code: 500)");

    let refusal = test.platform.create_instance(&test.user, new_instance("cache")).await.unwrap_err();

    assert!(refusal.to_string().contains("no quota"), "{refusal}");
    assert!(matches!(
        test.platform.instance(&test.user, &redis(), &instance_name("cache")).await,
        Err(Error::InstanceNotFound(_))
    ));
    test.create_instance("cache").await;
}

#[tokio::test] // SPEC J-2
async fn an_instance_name_is_taken_once_a_service() {
    let test = TestPlatform::new().await;
    test.create_instance("cache").await;

    let refusal = test.platform.create_instance(&test.user, new_instance("cache")).await.unwrap_err();

    assert_eq!(refusal.to_string(), "instance name already exists.");
    assert_eq!(test.brokers.count(BrokerCall::Create), 1);
}

#[tokio::test] // SPEC J-3
async fn a_bound_instance_is_removed_only_when_asked_to_unbind_all() {
    let test = TestPlatform::new().await;
    test.running_app(1).await;
    test.create_instance("cache").await;
    test.bind("cache", "blog").await.unwrap();
    let remove = async |removal| {
        test.platform.remove_instance(&test.user, &redis(), &instance_name("cache"), removal, &Progress::silent()).await
    };

    let refusal = remove(Removal::default()).await.unwrap_err().to_string();
    assert!(refusal.starts_with("Applications bound to the service \"cache\": \"blog\"\n"), "{refusal}");

    remove(Removal { unbind_all: true, ..Removal::default() }).await.unwrap();
    assert!(!test.brokers.has(&redis(), &instance_name("cache")));
    assert!(test.app("blog").await.service_env.is_empty());
}

#[tokio::test] // SPEC J-3
async fn errors_of_a_dead_broker_can_be_ignored() {
    let test = TestPlatform::new().await;
    test.create_instance("cache").await;
    test.brokers.refuse(BrokerCall::Delete, "connection refused");
    test.brokers.refuse(BrokerCall::Delete, "connection refused");
    let remove = async |removal| {
        test.platform.remove_instance(&test.user, &redis(), &instance_name("cache"), removal, &Progress::silent()).await
    };

    remove(Removal::default()).await.unwrap_err();
    remove(Removal { ignore_errors: true, ..Removal::default() }).await.unwrap();
}

#[tokio::test] // SPEC A-11
async fn removing_an_app_leaves_no_unit_route_binding_or_record() {
    let test = TestPlatform::new().await;
    test.running_app(2).await;
    test.create_instance("cache").await;
    test.bind("cache", "blog").await.unwrap();
    test.brokers.refuse(BrokerCall::Unbind, "boom");

    test.platform.remove_app(&test.user, &app_name("blog"), &Progress::silent()).await.unwrap();

    assert!(test.units().is_empty() && test.routes.route("blog").is_none());
    let instance = test.platform.instance(&test.user, &redis(), &instance_name("cache")).await.unwrap();
    assert!(instance.apps.is_empty());
    assert!(matches!(test.platform.app(&test.user, &app_name("blog")).await, Err(Error::AppNotFound(_))));
}

#[tokio::test] // SPEC V-2
async fn a_binding_wins_over_the_owners_variable_and_gives_it_back() {
    let test = TestPlatform::new().await;
    test.create_app("blog").await;
    test.create_instance("cache").await;
    set(&test, "REDIS_HOST", "mine", "").await.unwrap();
    set(&test, "COPY", "", "REDIS_HOST").await.unwrap();

    test.bind("cache", "blog").await.unwrap();

    let env = test.app("blog").await.merged_env();
    assert_ne!(env["REDIS_HOST"].value.expose(), "mine");
    assert_eq!(env["COPY"].value, env["REDIS_HOST"].value);
    assert_eq!(env["REDIS_HOST"].managed_by, "redis/cache");
    test.unbind("cache", "blog").await.unwrap();
    assert_eq!(test.app("blog").await.merged_env()["REDIS_HOST"].value.expose(), "mine");
}

#[tokio::test] // SPEC V-5
async fn a_variable_that_a_binding_owns_cannot_be_set() {
    let test = TestPlatform::new().await;
    test.create_app("blog").await;
    test.create_instance("cache").await;
    test.bind("cache", "blog").await.unwrap();

    let refusal = set(&test, "REDIS_HOST", "mine", "").await.unwrap_err();

    assert_eq!(
        refusal.to_string(),
        "Environment variable \"REDIS_HOST\" is already in use by service bind \"redis/cache\""
    );
}

#[tokio::test] // SPEC V-4
async fn tsuru_services_is_canonical_json() {
    let test = TestPlatform::new().await;
    test.create_app("blog").await;
    assert_eq!(test.app("blog").await.services_json(), "{}");
    test.brokers.answer_binds_with(&[("B", "a&b<c>"), ("A", "1")]);
    test.create_instance("cache").await;
    test.create_instance("audit").await;
    test.bind("cache", "blog").await.unwrap();
    test.bind("audit", "blog").await.unwrap();

    let json = test.app("blog").await.services_json();

    assert_eq!(
        json,
        r#"{"redis":[{"instance_name":"cache","envs":{"A":"1","B":"a\u0026b\u003cc\u003e"}},{"instance_name":"audit","envs":{"A":"1","B":"a\u0026b\u003cc\u003e"}}]}"#
    );
}

#[tokio::test] // SPEC P-5
async fn a_bind_that_a_crash_interrupted_leaves_nothing_at_the_broker() {
    let test = TestPlatform::new().await;
    test.running_app(1).await;
    test.create_instance("cache").await;
    test.engine.hold_ready(true);
    let (platform, user) = (test.platform.clone(), test.user.clone());
    let binding = tokio::spawn(async move {
        let how = Binding::default();
        platform.bind_app(&user, &redis(), &instance_name("cache"), &app_name("blog"), how, &Progress::silent()).await
    });
    while test.units().len() < 2 {
        tokio::task::yield_now().await;
    }
    binding.abort();

    let test = test.restart().await;
    test.engine.hold_ready(false);

    test.reconciled(|test| test.brokers.bound(&redis(), &instance_name("cache")).is_empty() && test.units().len() == 1)
        .await;
    assert!(test.app("blog").await.service_env.is_empty());
    test.bind("cache", "blog").await.unwrap();
}

#[tokio::test] // SPEC P-5
async fn an_instance_whose_create_a_crash_interrupted_is_deleted_at_the_broker() {
    let test = TestPlatform::new().await;
    test.store.panic_at(RecordKind::Instance);
    let (platform, user) = (test.platform.clone(), test.user.clone());
    let creation = tokio::spawn(async move { platform.create_instance(&user, new_instance("cache")).await });
    assert!(creation.await.is_err());
    assert!(test.brokers.has(&redis(), &instance_name("cache")));

    test.reconciled(|test| !test.brokers.has(&redis(), &instance_name("cache"))).await;

    test.create_instance("cache").await;
}

async fn set(test: &TestPlatform, name: &str, value: &str, alias: &str) -> platform_core::Result<()> {
    let var = OwnVar { value: value.into(), public: true, alias: alias.to_owned() };
    let vars = vec![(name.parse().unwrap(), var)];
    test.platform.set_env(&test.user, &app_name("blog"), vars, false, &Progress::silent()).await
}

#[tokio::test] // SPEC J-6
async fn a_router_that_is_away_after_a_bind_was_recorded_does_not_undo_it() {
    let test = TestPlatform::new().await;
    test.running_app(1).await;
    test.create_instance("cache").await;
    test.routes.set_down(Some("the router does not answer"));

    test.bind("cache", "blog").await.unwrap();

    assert_eq!(test.brokers.bound(&redis(), &instance_name("cache")).len(), 1);
    test.routes.set_down(None);
    test.reconciled(|test| test.routed() == ["blog.web.1-2.1"] && test.units() == test.routed()).await;
}
