//! What instances and bindings live through, when all goes well and when it does not.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use broker_core::{
    Binding, Broker, BrokerServer, Catalog, EnvVars, Instance, Notes, Plan, Result,
    testing::{Answer, FakeBroker, Misdeed, TestBroker, eventually},
};
use serde_json::{Value, json};

/// Answers early, so that slow work is seen to go on.
async fn impatient(fake: &FakeBroker) -> TestBroker {
    TestBroker::start_with(fake.clone(), None, |server| server.answer_within(Duration::from_millis(50))).await
}

async fn started() -> (FakeBroker, TestBroker) {
    let fake = FakeBroker::new();
    (fake.clone(), TestBroker::start(fake).await)
}

async fn with_cache() -> (FakeBroker, TestBroker) {
    let (fake, broker) = started().await;
    broker.create("cache").await.is(201);
    (fake, broker)
}

/// Remembers how many seconds it had for a provision.
struct Punctual;

#[async_trait]
impl Broker for Punctual {
    fn catalog(&self) -> Catalog {
        Catalog::new("clock".parse().unwrap()).plan(Plan::new("small", "a clock"))
    }

    async fn provision(&self, _: &Instance) -> Result<Notes> {
        let left = broker_core::time_left().map(|left| left.as_secs());
        Ok(Notes::from_iter([("left".to_owned(), left.into())]))
    }

    async fn bind(&self, instance: &Instance, _: &Binding) -> Result<EnvVars> {
        Ok(EnvVars::default().with("LEFT", instance.notes["left"].to_string()))
    }
}

#[tokio::test] // SPEC L-14
async fn an_author_learns_how_long_a_call_may_still_take() {
    let limit = |server: BrokerServer| server.call_timeout(Duration::from_secs(77));
    let broker = TestBroker::start_with(Punctual, None, limit).await;
    broker.create("cache").await.is(201);

    let env = broker.bind_app("cache", "web").await.is(201).value();

    let left: u64 = env["LEFT"].as_str().unwrap().parse().unwrap();
    assert!((60..=77).contains(&left), "{left}");
}

#[tokio::test] // A28, A29
async fn a_create_of_a_name_that_is_there_is_refused() {
    let (fake, broker) = with_cache().await;

    broker.create("cache").await.is(409).says("instance \"cache\" already exists");

    assert_eq!(fake.count("provision"), 1);
    broker.status("cache").await.is(204);
}

#[tokio::test] // A45
async fn of_two_creates_at_once_one_is_accepted() {
    let (fake, broker) = started().await;

    let (one, other) = tokio::join!(broker.create("cache"), broker.create("cache"));

    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
    assert_eq!(fake.instances(), 1);
}

#[tokio::test] // A46
async fn a_create_that_fails_leaves_nothing_behind() {
    for misdeed in [Misdeed::Refuse, Misdeed::Fail, Misdeed::LoseServer, Misdeed::Panic] {
        let (fake, broker) = started().await;
        fake.next("provision", misdeed);

        let refused = broker.create("cache").await;

        assert!(refused.status >= 400, "{misdeed:?}");
        assert_eq!(fake.instances(), 0, "{misdeed:?}");
        broker.status("cache").await.is(404);
        broker.create("cache").await.is(201);
    }
}

#[tokio::test]
async fn what_a_failed_create_left_is_cleaned_up_when_the_server_is_back() {
    let (fake, broker) = started().await;
    fake.next("provision", Misdeed::Fail);
    fake.next("deprovision", Misdeed::Refuse);

    broker.create("cache").await.is(500);

    broker.status("cache").await.is(404);
    eventually("the leftover is gone", async || fake.instances() == 0).await;
    broker.create("cache").await.is(201);
}

#[tokio::test] // A71, A62
async fn a_slow_create_is_answered_early_and_goes_on() {
    let fake = FakeBroker::new();
    let broker = impatient(&fake).await;
    fake.next("provision", Misdeed::Hang);

    broker.create("cache").await.is(201);

    broker.status("cache").await.is(202);
    broker.bind_app("cache", "web").await.is(412);
    broker.ask("GET", "/resources/cache").await.is(200).says("[]");
    broker.create("cache").await.is(409);
    fake.release();
    eventually("the instance is up", async || broker.status("cache").await.status == 204).await;
    broker.bind_app("cache", "web").await.is(201);
}

#[tokio::test]
async fn an_accepted_create_that_fails_for_good_is_shown_until_it_is_removed() {
    let fake = FakeBroker::new();
    let server =
        |server: BrokerServer| server.answer_within(Duration::from_millis(20)).call_timeout(Duration::from_millis(200));
    let broker = TestBroker::start_with(fake.clone(), None, server).await;
    fake.next("provision", Misdeed::Hang);
    fake.next("provision", Misdeed::Refuse);
    broker.create("cache").await.is(201);

    eventually("it is down", async || broker.status("cache").await.status == 500).await;

    let reason =
        "instance \"cache\" could not be made: this provision is refused; update it to try again, or remove it";
    broker.status("cache").await.says(reason);
    broker.bind_app("cache", "web").await.is(409).says(reason);
    broker.remove("cache").await.is(200);
    assert_eq!(fake.instances(), 0);
    broker.create("cache").await.is(201);
}

#[tokio::test]
async fn an_accepted_create_is_tried_until_the_server_is_back() {
    let fake = FakeBroker::new();
    let server =
        |server: BrokerServer| server.answer_within(Duration::from_millis(20)).call_timeout(Duration::from_millis(200));
    let broker = TestBroker::start_with(fake.clone(), None, server).await;
    fake.next("provision", Misdeed::Hang);
    fake.next("provision", Misdeed::LoseServer);

    broker.create("cache").await.is(201);

    eventually("the instance is up", async || broker.status("cache").await.status == 204).await;
    assert_eq!((fake.count("provision"), fake.instances()), (3, 1));
}

#[tokio::test] // A107
async fn a_delete_stops_a_create() {
    let fake = FakeBroker::new();
    let broker = impatient(&fake).await;
    fake.next("provision", Misdeed::Hang);
    broker.create("cache").await.is(201);

    broker.remove("cache").await.is(200);

    fake.release();
    assert_eq!(fake.instances(), 0);
    broker.status("cache").await.is(404);
    broker.create("cache").await.is(201);
}

#[tokio::test] // client disconnects
async fn a_caller_who_leaves_does_not_stop_the_work() {
    let (fake, broker) = started().await;
    fake.next("provision", Misdeed::Hang);
    let request = broker.request("POST", "/resources").body("name=cache&plan=small&team=data");
    let leaving = request.timeout(Duration::from_millis(100)).send().await;
    assert!(leaving.unwrap_err().is_timeout());

    fake.release();
    eventually("the work is done", async || fake.instances() == 1).await;

    eventually("the instance is up", async || broker.status("cache").await.status == 204).await;
}

#[tokio::test] // A47, A48, A49, A50, A51, A53
async fn an_update_replaces_wishes_and_an_empty_plan_keeps_the_plan() {
    let (fake, broker) = with_cache().await;
    let update = async |body: &str| broker.form("PUT", "/resources/cache", body).await;

    update("plan=large&team=data&description=").await.is(200);
    assert_eq!(fake.plan().as_deref(), Some("large"));
    update("plan=large&team=data&description=").await.is(200);
    assert_eq!(fake.count("update"), 1);
    update("plan=&description=&team=data").await.is(200);
    update("plan=huge").await.is(400).says("plan \"huge\" does not exist, choose one of: small, large");
    update("tags=&tags=a&tags=a").await.is(200);
    assert_eq!(broker.ask("GET", "/resources/cache").await.value()[1]["value"], "large");
    broker.form("PUT", "/resources/other", "plan=small").await.is(404);
}

#[tokio::test] // A50
async fn an_update_that_fails_is_taken_back() {
    for misdeed in [Misdeed::Refuse, Misdeed::Fail, Misdeed::LoseServer, Misdeed::Panic] {
        let (fake, broker) = with_cache().await;
        fake.next("update", misdeed);

        let refused = broker.form("PUT", "/resources/cache", "plan=large&team=data").await;

        assert!(refused.status >= 400);
        assert_eq!(fake.plan().as_deref(), Some("small"), "{misdeed:?}");
        broker.status("cache").await.is(204);
        broker.form("PUT", "/resources/cache", "plan=large&team=data").await.is(200);
    }
}

#[tokio::test] // SPEC I-5
async fn a_failed_update_is_taken_back_as_soon_as_the_server_allows_it() {
    let (fake, broker) = with_cache().await;
    fake.next("update", Misdeed::LoseServer);
    fake.next("update", Misdeed::LoseServer);

    broker.form("PUT", "/resources/cache", "plan=large&team=data").await.is(503);

    eventually("the instance is up", async || broker.status("cache").await.status == 204).await;
    assert_eq!((fake.plan().as_deref(), fake.count("update")), (Some("small"), 3));
    assert_eq!(broker.ask("GET", "/resources/cache").await.value()[1]["value"], "small");
}

#[tokio::test] // SPEC L-7
async fn a_reconciliation_that_hangs_keeps_nobody_elses_work_waiting() {
    let (fake, broker) = with_cache().await;
    fake.next("reconcile", Misdeed::Hang);
    let before = fake.count("reconcile");
    eventually("a reconciliation hangs", async || fake.count("reconcile") > before).await;
    fake.next("provision", Misdeed::LoseServer);
    fake.next("deprovision", Misdeed::Refuse);

    broker.create("other").await.is(503);
    assert_eq!(fake.instances(), 2, "what is left could not be removed at once");

    eventually("what is left of it is removed", async || fake.instances() == 1).await;
    eventually("its name is free", async || broker.create("other").await.status == 201).await;
}

#[tokio::test] // A72, A73, A74, A82, A93
async fn every_app_has_credentials_of_its_own_and_keeps_them() {
    let (fake, broker) = with_cache().await;
    let (a, b, c) =
        tokio::join!(broker.bind_app("cache", "a"), broker.bind_app("cache", "b"), broker.bind_app("cache", "c"));
    let (a, b, c) = (a.is(201).env(), b.is(201).env(), c.is(201).env());
    assert!(a != b && b != c && [&a, &b, &c].into_iter().all(|env| fake.opens(env)));
    assert_eq!(broker.bind_app("cache", "a").await.is(201).env(), a);

    broker.unbind_app("cache", "a").await.is(200);

    assert!(!fake.opens(&a) && fake.opens(&b) && fake.opens(&c));
}

#[tokio::test] // A86 to A91; SPEC B-5
async fn an_unbind_is_repeatable_and_a_bind_soon_after_gives_the_same_credentials() {
    let (fake, broker) = with_cache().await;
    let first = broker.bind_app("cache", "web").await.is(201).env();

    broker.unbind_app("cache", "web").await.is(200);
    broker.unbind_app("cache", "web").await.is(404).says("app \"web\" is not bound to instance \"cache\"");
    broker.unbind_app("other", "web").await.is(404);
    broker.ask("DELETE", "/resources/cache/bind-app").await.is(400);

    assert_eq!(broker.bind_app("cache", "web").await.is(201).env(), first);
    assert!(fake.opens(&first));
}

#[tokio::test] // SPEC B-5
async fn a_bind_long_after_an_unbind_gives_new_credentials() {
    let fake = FakeBroker::new();
    let forgetful = |server: BrokerServer| server.remember_unbound_for(Duration::ZERO);
    let broker = TestBroker::start_with(fake.clone(), None, forgetful).await;
    broker.create("cache").await.is(201);
    let first = broker.bind_app("cache", "web").await.is(201).env();
    broker.unbind_app("cache", "web").await.is(200);

    let second = broker.bind_app("cache", "web").await.is(201).env();

    assert!(first["FAKE_PASSWORD"] != second["FAKE_PASSWORD"] && fake.opens(&second) && !fake.opens(&first));
}

#[tokio::test] // A80
async fn a_bind_that_fails_leaves_no_credentials_behind() {
    for misdeed in [Misdeed::Refuse, Misdeed::Fail, Misdeed::LoseServer, Misdeed::Panic] {
        let (fake, broker) = with_cache().await;
        fake.next("bind", misdeed);

        assert!(broker.bind_app("cache", "web").await.status >= 400);

        assert_eq!(fake.accounts(), BTreeMap::new(), "{misdeed:?}");
        assert!(fake.opens(&broker.bind_app("cache", "web").await.is(201).env()));
    }
}

#[tokio::test]
async fn a_slow_bind_is_refused_for_now_and_its_result_is_there_later() {
    let fake = FakeBroker::new();
    let broker = impatient(&fake).await;
    broker.create("cache").await.is(201);
    fake.next("bind", Misdeed::Hang);

    broker.bind_app("cache", "web").await.is(412);

    fake.release();
    eventually("the bind's result is there", async || broker.bind_app("cache", "web").await.status == 201).await;
    assert_eq!(fake.accounts().len(), 1);
}

#[tokio::test]
async fn an_unbind_that_fails_leaves_the_app_bound() {
    let (fake, broker) = with_cache().await;
    let env = broker.bind_app("cache", "web").await.is(201).env();
    for misdeed in [Misdeed::Fail, Misdeed::LoseServer, Misdeed::Panic] {
        fake.next("unbind", misdeed);
        assert!(broker.unbind_app("cache", "web").await.status >= 500, "{misdeed:?}");
        assert!(fake.opens(&env), "{misdeed:?}");
    }
    fake.next("unbind", Misdeed::LoseServer);
    fake.next("bind", Misdeed::Refuse);
    broker.unbind_app("cache", "web").await.is(503);
    eventually("access is given back", async || fake.opens(&env)).await;

    broker.unbind_app("cache", "web").await.is(200);
    assert!(!fake.opens(&env));
}

#[tokio::test]
async fn a_slow_unbind_is_promised_and_kept() {
    let fake = FakeBroker::new();
    let broker = impatient(&fake).await;
    broker.create("cache").await.is(201);
    broker.bind_app("cache", "web").await.is(201);
    fake.next("unbind", Misdeed::Hang);

    broker.unbind_app("cache", "web").await.is(200);

    fake.release();
    eventually("no account is left", async || fake.accounts().is_empty()).await;
}

#[tokio::test] // A101 to A105, A108
async fn a_delete_takes_everything_with_it() {
    let (fake, broker) = with_cache().await;
    broker.bind_app("cache", "web").await.is(201);
    broker.form("PUT", "/resources/cache/binds/jobs/nightly", "").await.is(201);

    broker.ask("DELETE", "/resources/cache").await.is(200);

    assert_eq!((fake.instances(), fake.accounts().len()), (0, 0));
    broker.remove("cache").await.is(404).says("instance \"cache\" does not exist");
    broker.ask("GET", "/resources/cache").await.is(404);
    broker.create("cache").await.is(201);
}

#[tokio::test] // SPEC I-6
async fn a_server_that_takes_no_access_away_can_be_removed_all_the_same() {
    let (fake, broker) = with_cache().await;
    broker.bind_app("cache", "web").await.is(201);
    broker.bind_app("cache", "worker").await.is(201);
    fake.next("unbind", Misdeed::Refuse);

    broker.remove("cache").await.is(200);

    assert_eq!((fake.instances(), fake.accounts().len()), (0, 0));
    assert_eq!((fake.count("unbind"), fake.count("deprovision")), (3, 1));
}

#[tokio::test]
async fn a_delete_that_fails_goes_on_and_the_next_one_hears_of_it() {
    let (fake, broker) = with_cache().await;
    fake.next("deprovision", Misdeed::Refuse);

    broker.remove("cache").await.is(400);
    broker.status("cache").await;
    eventually("the instance is gone", async || fake.instances() == 0).await;

    eventually("it is not shown", async || broker.status("cache").await.status == 404).await;
    broker.remove("cache").await.is(200);
    broker.remove("cache").await.is(404);
}

#[tokio::test]
async fn a_second_caller_is_told_what_runs() {
    let fake = FakeBroker::new();
    let hasty = |server: BrokerServer| server.turn_within(Duration::from_millis(20));
    let broker = TestBroker::start_with(fake.clone(), None, hasty).await;
    broker.create("cache").await.is(201);
    fake.next("update", Misdeed::Hang);
    let update = broker.request("PUT", "/resources/cache").body("plan=large&team=data");
    let update = tokio::spawn(Answer::to(update));
    eventually("the update runs", async || fake.count("update") == 1).await;
    broker.status("cache").await.is(202);

    let busy = broker.form("PUT", "/resources/cache", "plan=small&team=data").await;
    busy.is(409).says("instance \"cache\" is busy: an update is running, try again when it has ended");
    let bind = broker.bind_app("cache", "web").await; // A71: as long as its status is 202.
    bind.is(412).says("instance \"cache\" is not ready yet, try again when its status is up");

    fake.release();
    update.await.unwrap().is(200);
    broker.bind_app("cache", "web").await.is(201);
}

#[tokio::test]
async fn a_server_that_lost_its_accounts_gets_them_back() {
    let (fake, broker) = with_cache().await;
    let env = broker.bind_app("cache", "web").await.is(201).env();

    fake.lose_accounts();

    eventually("the account is back", async || fake.opens(&env)).await;
}

async fn rotate(broker: &TestBroker, app: &str) -> Answer {
    broker.form("POST", "/resources/cache/rotate", &format!("app-name={app}")).await
}

#[tokio::test] // SPEC B-8
async fn rotated_credentials_overlap_until_the_grace_is_over() {
    let fake = FakeBroker::new();
    let server = |server: BrokerServer| server.rotation_grace(Duration::from_millis(300));
    let broker = TestBroker::start_with(fake.clone(), None, server).await;
    broker.create("cache").await.is(201);
    let old = broker.bind_app("cache", "web").await.is(201).env();

    let answer = rotate(&broker, "web").await;

    answer.is(200).says("app \"web\" has new credentials: bind it again to get them, the old ones work for a while\n");
    let new = broker.bind_app("cache", "web").await.is(201).env();
    assert_ne!(new["FAKE_PASSWORD"], old["FAKE_PASSWORD"]);
    assert!(fake.opens(&new) && fake.opens(&old));
    eventually("the old ones are over", async || !fake.opens(&old)).await;
    assert!(fake.opens(&new));
    broker.unbind_app("cache", "web").await.is(200);
    assert!(fake.accounts().is_empty());
}

#[tokio::test] // SPEC B-8
async fn an_unbind_takes_access_away_from_all_credentials() {
    let (fake, broker) = with_cache().await;
    broker.bind_app("cache", "web").await.is(201);
    rotate(&broker, "web").await.is(200);
    rotate(&broker, "web").await.is(200);
    assert_eq!(fake.accounts().len(), 3);

    broker.unbind_app("cache", "web").await.is(200);

    assert!(fake.accounts().is_empty());
    rotate(&broker, "web").await.is(404).says("app \"web\" is not bound to instance \"cache\"");
}

#[tokio::test] // SPEC B-8
async fn rotating_again_and_again_does_not_pile_up_credentials() {
    let (fake, broker) = with_cache().await;
    let first = broker.bind_app("cache", "web").await.is(201).env();
    rotate(&broker, "web").await.is(200);
    rotate(&broker, "web").await.is(200);

    let refusal = rotate(&broker, "web").await;

    let sentence = &refusal.is(409).body;
    let moment = sentence.strip_prefix("app \"web\" has 2 earlier credentials that still work: rotate again after ");
    let moment = moment.and_then(|rest| rest.strip_suffix(" UTC, or unbind it to end them all")).unwrap();
    let next = chrono::NaiveDateTime::parse_from_str(moment, "%Y-%m-%d %H:%M:%S").unwrap().and_utc();
    assert!(next > chrono::Utc::now() && next <= chrono::Utc::now() + chrono::TimeDelta::seconds(3601));
    assert_eq!((fake.accounts().len(), fake.count("bind")), (3, 3), "the author is not asked");
    assert!(fake.opens(&first), "whoever still has the first ones was promised an hour");
    broker.unbind_app("cache", "web").await.is(200);
    broker.bind_app("cache", "web").await.is(201);
    rotate(&broker, "web").await.is(200);
}

#[tokio::test] // SPEC B-8
async fn credentials_whose_grace_is_over_make_room_for_a_rotation() {
    let fake = FakeBroker::new();
    let server = |server: BrokerServer| server.rotation_grace(Duration::ZERO).reconcile_every(Duration::from_secs(600));
    let broker = TestBroker::start_with(fake.clone(), None, server).await;
    broker.create("cache").await.is(201);
    broker.bind_app("cache", "web").await.is(201);

    for _ in 0..5 {
        rotate(&broker, "web").await.is(200);
    }

    assert_eq!(fake.accounts().len(), 2, "the present ones, and those of before that wait for their end");
    fake.next("unbind", Misdeed::LoseServer);
    rotate(&broker, "web").await.is(503);
    assert_eq!(fake.count("bind"), 6, "what can't be taken away is not added to");
}

#[tokio::test] // SPEC B-8
async fn a_rotation_that_fails_changes_nothing() {
    let (fake, broker) = with_cache().await;
    let env = broker.bind_app("cache", "web").await.is(201).env();
    fake.next("bind", Misdeed::LoseServer);

    rotate(&broker, "web").await.is(503);

    eventually("the new credentials are gone", async || fake.accounts().len() == 1).await;
    assert!(fake.opens(&env));
    assert_eq!(broker.bind_app("cache", "web").await.is(201).env(), env);
    broker.form("POST", "/resources/cache/rotate", "app-name=").await.is(400).says("the app's name is missing");
    rotate(&broker, "other").await.is(404);
}

#[tokio::test] // SPEC Y-7
async fn credentials_are_listed_without_a_password() {
    let (fake, broker) = with_cache().await;
    let listed = async || broker.ask("GET", "/resources/cache/credentials").await.is(200).value();
    assert_eq!(listed().await, json!([]));
    let before = chrono::Utc::now();
    let old = broker.bind_app("cache", "web").await.is(201).env();
    broker.form("PUT", "/resources/cache/binds/jobs/nightly", "user=a").await.is(201);
    rotate(&broker, "web").await.is(200);
    let new = broker.bind_app("cache", "web").await.is(201).env();

    let answer = broker.ask("GET", "/resources/cache/credentials").await;

    let moment = |value: &Value| value.as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    let all = answer.is(200).value();
    let of = |consumer: Value| all.as_array().unwrap().iter().find(|one| one["consumer"] == consumer).unwrap();
    let (web, nightly) = (of(json!({ "app": "web" })), of(json!({ "job": "nightly" })));
    let account = |env: &BTreeMap<String, String>| json!([{ "label": "User", "value": env["FAKE_USER"] }]);
    assert_eq!((&web["state"], &web["account"]), (&json!("bound"), &account(&new)));
    assert!(before <= moment(&web["made"]) && moment(&web["made"]) <= moment(&web["rotated"]));
    assert_eq!(web["replaced"].as_array().unwrap().len(), 1);
    assert_eq!(web["replaced"][0]["account"], account(&old));
    assert!(moment(&web["replaced"][0]["until"]) > moment(&web["rotated"]));
    assert_eq!((nightly.get("rotated"), &nightly["replaced"]), (None, &json!([])));
    for env in [&old, &new] {
        assert!(!answer.body.contains(&env["FAKE_PASSWORD"]), "{}", answer.body);
    }
    broker.unbind_app("cache", "web").await.is(200);
    assert_eq!(listed().await.as_array().unwrap().len(), 1);
    assert_eq!(fake.accounts().len(), 1);
    broker.ask("GET", "/resources/none/credentials").await.is(404);
}

/// A broker with an instance `cache` that was accepted and could not be made.
async fn with_a_failed_one() -> (FakeBroker, TestBroker) {
    let fake = FakeBroker::new();
    let server =
        |server: BrokerServer| server.answer_within(Duration::from_millis(20)).call_timeout(Duration::from_millis(200));
    let broker = TestBroker::start_with(fake.clone(), None, server).await;
    fake.next("provision", Misdeed::Hang);
    fake.next("provision", Misdeed::Refuse);
    broker.create("cache").await.is(201);
    eventually("it is down", async || broker.status("cache").await.status == 500).await;
    (fake, broker)
}

#[tokio::test] // SPEC I-10
async fn what_could_not_be_made_is_tried_again_by_an_update_with_its_wishes() {
    let (fake, broker) = with_a_failed_one().await;

    broker.form("PUT", "/resources/cache", "plan=large&team=data").await.is(200);

    broker.status("cache").await.is(204);
    assert_eq!(fake.plan().as_deref(), Some("large"));
    broker.bind_app("cache", "web").await.is(201);
}

#[tokio::test] // SPEC I-10
async fn a_retry_that_fails_leaves_the_instance_failed() {
    let (fake, broker) = with_a_failed_one().await;
    fake.next("provision", Misdeed::LoseServer);

    broker.form("POST", "/resources/cache/retry", "").await.is(503);

    broker.status("cache").await.is(500);
    broker.form("POST", "/resources/cache/retry", "").await.is(200).says("instance \"cache\" is made\n");
    broker.status("cache").await.is(204);
    let refusal = "instance \"cache\" is ready, only one that could not be made is tried again";
    broker.form("POST", "/resources/cache/retry", "").await.is(409).says(refusal);
}

#[tokio::test] // SPEC L-9
async fn a_call_whose_server_is_away_for_a_moment_is_repeated_before_anybody_hears_of_it() {
    let fake = FakeBroker::new();
    let server = |server: BrokerServer| server.retry(2, Duration::from_millis(1));
    let broker = TestBroker::start_with(fake.clone(), None, server).await;
    fake.next("provision", Misdeed::LoseServer);
    fake.next("provision", Misdeed::LoseServer);
    (0..3).for_each(|_| fake.next("bind", Misdeed::LoseServer));

    broker.create("cache").await.is(201);
    broker.bind_app("cache", "web").await.is(503);

    assert_eq!((fake.count("provision"), fake.count("bind")), (3, 3));
    broker.bind_app("cache", "web").await.is(201);
}

#[tokio::test] // SPEC L-9, I-10
async fn an_accepted_create_whose_server_stays_away_fails_in_the_end() {
    let fake = FakeBroker::new();
    let server = |server: BrokerServer| {
        server
            .answer_within(Duration::from_millis(20))
            .call_timeout(Duration::from_millis(100))
            .give_up_after(Duration::from_millis(300))
    };
    let broker = TestBroker::start_with(fake.clone(), None, server).await;
    fake.next("provision", Misdeed::Hang);
    broker.create("cache").await.is(201);
    fake.set_down(true);

    eventually("it is down", async || broker.status("cache").await.status == 500).await;

    broker.status("cache").await.says(
        "instance \"cache\" could not be made: the service is unavailable at the moment, try again later; \
         update it to try again, or remove it",
    );
}

#[tokio::test] // SPEC L-10
async fn what_was_done_is_remembered_after_the_instance_is_gone() {
    let (fake, broker) = with_cache().await;
    fake.next("bind", Misdeed::LoseServer);
    broker.bind_app("cache", "web").await.is(503);
    broker.bind_app("cache", "web").await.is(201);
    broker.remove("cache").await.is(200);

    let log = broker.ask("GET", "/resources/cache/operations").await.is(200).value();

    let kinds: Vec<&str> = log.as_array().unwrap().iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["remove", "bind", "bind", "create"]);
    assert_eq!(log[2]["failure"], "the service is unavailable at the moment, try again later");
    assert_eq!(log[2]["consumer"]["app"], "web");
    assert_eq!(log[3]["actor"]["user"], "alice@example.com");
    assert!(log.as_array().unwrap().iter().all(|line| line["ended"].is_string()));
}

#[tokio::test] // SPEC T-4
async fn monitoring_learns_how_many_there_are_and_nothing_else() {
    let (_, broker) = with_cache().await;
    broker.bind_app("cache", "web").await.is(201);

    let metrics = broker.ask("GET", "/metrics").await;

    let text = &metrics.is(200).body;
    assert!(text.contains("broker_instances{state=\"ready\"} 1"), "{text}");
    assert!(text.contains("broker_bindings{state=\"bound\"} 1"), "{text}");
    assert!(!text.contains("cache") && !text.contains("web"));
    Answer::to(broker.anonymous("GET", "/metrics")).await.is(401);
    Answer::to(broker.anonymous("GET", "/readyz")).await.is(200).says("ok");
}
