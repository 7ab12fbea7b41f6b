//! Bindings: each has credentials of its own, for as long as it lasts.

use broker_core::{Broker as _, Endpoint, Health};

use crate::support::{Client, Grounds, Shared, binding, instance, look_after, tenancy, tenant};

#[tokio::test] // SPEC M-1
async fn a_bound_app_finds_a_working_database_in_its_environment() {
    let shared = Shared::server().await;
    let (instance, _, env) = tenancy(&shared.broker).await;

    let mut app = Client::of(&env).await.unwrap();

    app.run("CREATE TABLE entries (id INT PRIMARY KEY AUTO_INCREMENT, text TEXT)").await.unwrap();
    app.run("INSERT INTO entries (text) VALUES ('hello ✓')").await.unwrap();
    assert_eq!(app.texts("SELECT text FROM entries").await, ["hello ✓"]);
    assert_eq!(app.texts("SELECT DATABASE()").await, [env.get("MYSQL_DATABASE_NAME").unwrap().expose()]);
    assert_eq!(shared.broker.status(&instance).await.unwrap(), Health::Up);
}

#[tokio::test] // SPEC M-4
async fn an_unbound_apps_credentials_and_connections_end_and_the_others_go_on() {
    let shared = Shared::server().await;
    let (instance, leaving, env) = tenancy(&shared.broker).await;
    let staying = shared.broker.bind(&instance, &binding("staying")).await.unwrap();
    let (mut leaves, mut stays) = (Client::of(&env).await.unwrap(), Client::of(&staying).await.unwrap());

    shared.broker.unbind(&instance, &leaving).await.unwrap();

    assert!(leaves.run("SELECT 1").await.is_err(), "the open connection ended");
    assert!(Client::of(&env).await.is_err(), "the credentials ended");
    stays.run("CREATE TABLE t (a INT)").await.unwrap();
}

#[tokio::test] // SPEC L-2
async fn every_step_may_be_repeated() {
    let shared = Shared::server().await;
    let (instance, binding, env) = tenancy(&shared.broker).await;

    shared.broker.provision(&instance).await.unwrap();
    assert_eq!(shared.broker.bind(&instance, &binding).await.unwrap(), env);
    Client::of(&env).await.unwrap();
    for _ in 0..2 {
        shared.broker.unbind(&instance, &binding).await.unwrap();
    }
    for _ in 0..2 {
        shared.broker.deprovision(&instance).await.unwrap();
    }
    shared.broker.unbind(&instance, &binding).await.unwrap();
}

#[tokio::test] // SPEC B-5
async fn binding_again_gives_the_same_credentials() {
    let shared = Shared::server().await;
    let (instance, binding, env) = tenancy(&shared.broker).await;
    shared.broker.unbind(&instance, &binding).await.unwrap();

    assert_eq!(shared.broker.bind(&instance, &binding).await.unwrap(), env);

    Client::of(&env).await.unwrap();
}

#[tokio::test] // SPEC M-4
async fn what_an_unbound_app_defined_works_on_for_the_others() {
    let shared = Shared::server().await;
    let (instance, leaving, env) = tenancy(&shared.broker).await;
    let staying = shared.broker.bind(&instance, &binding("staying")).await.unwrap();
    let mut app = Client::of(&env).await.unwrap();
    app.run("CREATE TABLE t (a INT)").await.unwrap();
    app.run("CREATE VIEW v AS SELECT * FROM t").await.unwrap();
    app.run("CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.a = NEW.a + 1").await.unwrap();

    shared.broker.unbind(&instance, &leaving).await.unwrap();

    let mut other = Client::of(&staying).await.unwrap();
    other.run("INSERT INTO t VALUES (1)").await.unwrap();
    assert_eq!(other.number("SELECT a FROM v").await, 2);
    assert!(Client::of(&env).await.is_err(), "nobody logs in with the definer's credentials");
    shared.broker.bind(&instance, &leaving).await.unwrap();
    Client::of(&env).await.unwrap();
}

#[tokio::test] // SPEC M-4
async fn an_account_stays_for_each_kind_of_thing_that_runs_as_it_and_for_nothing_else() {
    let shared = Shared::server().await;
    let mut admin = shared.admin().await;
    for (definition, stays) in [
        ("CREATE VIEW v AS SELECT * FROM t", 1),
        ("CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.a = 1", 1),
        ("CREATE PROCEDURE p() SELECT 1", 1),
        ("CREATE FUNCTION f() RETURNS INT RETURN 1", 1),
        ("CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO DELETE FROM t", 1),
        ("CREATE TABLE other (a INT)", 0),
    ] {
        let (instance, leaving, env) = tenancy(&shared.broker).await;
        let mut app = Client::of(&env).await.unwrap();
        app.run("CREATE TABLE t (a INT)").await.unwrap();
        app.run(definition).await.unwrap();

        shared.broker.unbind(&instance, &leaving).await.unwrap();

        let account = format!("SELECT COUNT(*) FROM mysql.user WHERE User = 'ub{}'", leaving.id);
        assert_eq!(admin.number(&account).await, stays, "{definition}");
        shared.broker.deprovision(&instance).await.unwrap();
        assert_eq!(admin.number(&account).await, 0, "{definition}");
    }
}

#[tokio::test] // SPEC M-22
async fn an_unbind_reads_no_more_of_a_server_with_many_tenants() {
    let grounds = Grounds::new();
    let broker = grounds.broker().await;
    let mut admin = grounds.admin().await;
    let mut rows_read = async || {
        let (instance, leaving, env) = tenancy(&broker).await;
        let mut app = Client::of(&env).await.unwrap();
        for definition in [
            "CREATE TABLE t (a INT)",
            "CREATE VIEW v AS SELECT * FROM t",
            "CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.a = 1",
            "CREATE PROCEDURE p() SELECT 1",
            "CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO DELETE FROM t",
        ] {
            app.run(definition).await.unwrap();
        }
        // Every row that is read, and every one that an information_schema is filled with.
        const READ: &str = "SELECT CAST(SUM(VARIABLE_VALUE) AS UNSIGNED) FROM information_schema.GLOBAL_STATUS \
            WHERE VARIABLE_NAME LIKE 'HANDLER_READ%' OR VARIABLE_NAME LIKE 'HANDLER_TMP_WRITE'";
        let before = admin.number(READ).await;
        broker.unbind(&instance, &leaving).await.unwrap();
        admin.number(READ).await - before
    };
    rows_read().await;
    let with_two = rows_read().await;
    for _ in 0..10 {
        rows_read().await;
    }

    assert_eq!(rows_read().await, with_two);
}

#[tokio::test] // SPEC M-5
async fn a_removed_instance_leaves_no_database_and_no_account() {
    let shared = Shared::server().await;
    let (instance, leaving, env) = tenancy(&shared.broker).await;
    let staying = binding("staying");
    shared.broker.bind(&instance, &staying).await.unwrap();
    let mut app = Client::of(&env).await.unwrap();
    app.run("CREATE TABLE t (a INT)").await.unwrap();
    app.run("CREATE VIEW v AS SELECT * FROM t").await.unwrap();
    // A transaction that is open holds a lock on the table.
    app.run("BEGIN").await.unwrap();
    app.run("SELECT * FROM t").await.unwrap();
    shared.broker.unbind(&instance, &leaving).await.unwrap();

    shared.broker.deprovision(&instance).await.unwrap();

    let mut admin = shared.admin().await;
    let databases = format!("SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'tb{}'", instance.id);
    let accounts = format!("SELECT COUNT(*) FROM mysql.user WHERE User IN ('ub{}', 'ub{}')", leaving.id, staying.id);
    let grants = format!("SELECT COUNT(*) FROM mysql.db WHERE Db = 'tb{}'", instance.id);
    for select in [databases, accounts, grants] {
        assert_eq!(admin.number(&select).await, 0, "{select}");
    }
}

#[tokio::test] // SPEC M-3
async fn a_bindings_connections_are_limited() {
    let shared = Shared::server().await;
    let (_, _, env) = tenancy(&shared.broker).await;
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(Client::of(&env).await.unwrap());
    }

    let refusal = Client::of(&env).await.err().unwrap().to_string();

    assert!(refusal.contains("max_user_connections"), "{refusal}");
}

#[tokio::test] // SPEC M-6
async fn lost_accounts_and_databases_are_made_again_but_not_those_taken_away() {
    let shared = Shared::server().await;
    let (instance, staying, env) = tenancy(&shared.broker).await;
    let (removed, gone, _) = tenancy(&shared.broker).await;
    let taken = binding("taken");
    let taken_env = shared.broker.bind(&instance, &taken).await.unwrap();
    let tenants = [tenant(&instance, &[&staying, &taken]), tenant(&removed, &[&gone])];
    let mut admin = shared.admin().await;
    admin.run(&format!("DROP USER 'ub{}'@'%'", staying.id)).await.unwrap();
    admin.run(&format!("DROP DATABASE tb{}", instance.id)).await.unwrap();
    assert!(Client::of(&env).await.is_err());
    assert!(matches!(shared.broker.status(&instance).await.unwrap(), Health::Down(_)));
    shared.broker.unbind(&instance, &taken).await.unwrap();
    shared.broker.deprovision(&removed).await.unwrap();

    look_after(&shared.broker, &tenants).await;

    Client::of(&env).await.unwrap().run("CREATE TABLE t (a INT)").await.unwrap();
    assert!(Client::of(&taken_env).await.is_err());
    let databases = format!("SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'tb{}'", removed.id);
    assert_eq!(admin.number(&databases).await, 0);
}

#[tokio::test]
async fn an_instances_info_names_its_address_and_size_and_no_secret() {
    let shared = Shared::server().await;
    let (instance, binding, env) = tenancy(&shared.broker).await;
    Client::of(&env).await.unwrap().run("CREATE TABLE t (a INT)").await.unwrap();

    let items = shared.broker.info(&instance).await.unwrap();

    let port = env.get("MYSQL_PORT").unwrap().expose();
    assert_eq!(items[0].value, format!("127.0.0.1:{port}"));
    assert_eq!(shared.broker.endpoints(&instance), [Endpoint::tcp("127.0.0.1", port.parse().unwrap())]);
    assert_eq!(items[1].value, "shared");
    assert_eq!(items[2].value, format!("tb{}", instance.id));
    assert!(items[3].value.ends_with(" KiB"), "{}", items[3].value);
    assert!(items.iter().all(|item| !item.value.contains(binding.secret.expose())));
}

#[tokio::test] // SPEC M-6
async fn what_is_wrong_with_one_tenant_keeps_no_other_from_what_it_lost() {
    let shared = Shared::server().await;
    let (refused, mut unusable) = (instance("refused"), binding("other"));
    let (instance, binding, env) = tenancy(&shared.broker).await;
    shared.broker.provision(&refused).await.unwrap();
    unusable.secret = broker_core::Secret::from("needs 'quoting'");
    let mut admin = shared.admin().await;
    admin.run(&format!("DROP USER {}", env.get("MYSQL_USER").unwrap().expose())).await.unwrap();

    shared.broker.reconcile(&tenant(&refused, &[&unusable])).await.unwrap_err();
    shared.broker.reconcile(&tenant(&instance, &[&binding])).await.unwrap();

    assert!(Client::of(&env).await.is_ok());
    shared.broker.deprovision(&refused).await.unwrap();
    shared.broker.deprovision(&instance).await.unwrap();
}
