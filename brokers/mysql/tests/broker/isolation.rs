//! Tenants try to reach each other, the server and the machine.

use crate::support::{Client, Shared, tenancy};

/// What apps do in their own database, in this order.
const ORDINARY: &[&str] = &[
    "SET NAMES utf8mb4",
    "CREATE TABLE parent (id INT PRIMARY KEY)",
    "CREATE TABLE child (id INT, parent INT, FOREIGN KEY (parent) REFERENCES parent (id))",
    "INSERT INTO parent VALUES (1)",
    "INSERT INTO child VALUES (1, 1)",
    "UPDATE child SET id = 2",
    "ALTER TABLE child ADD COLUMN note TEXT",
    "CREATE INDEX by_id ON child (id)",
    "CREATE VIEW v AS SELECT * FROM child",
    "SELECT * FROM v",
    "CREATE TRIGGER tr BEFORE INSERT ON child FOR EACH ROW SET NEW.note = 'x'",
    "CREATE PROCEDURE p() SELECT 1",
    "CALL p()",
    "CREATE FUNCTION f() RETURNS INT DETERMINISTIC RETURN 1",
    "SELECT f()",
    "CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO SELECT 1",
    "CREATE TEMPORARY TABLE tmp (a INT)",
    "LOCK TABLES parent WRITE",
    "UNLOCK TABLES",
    "RENAME TABLE child TO kid",
    "OPTIMIZE TABLE kid",
    "TRUNCATE TABLE kid",
    "SHOW CREATE TABLE kid",
];

/// What MySQL does not know, or says otherwise.
const OF_MARIADB: &[&str] = &["CREATE SEQUENCE s", "SELECT NEXTVAL(s)", "SET PASSWORD = PASSWORD('s3cret')"];

/// With another tenant's database `@B`, account `@UB` or connection `@ID`; `@A` is one's own database.
const ACROSS: &[&str] = &[
    "USE @B",
    "SELECT * FROM @B.t",
    "INSERT INTO @B.t VALUES (2)",
    "UPDATE @B.t SET a = 2",
    "DELETE FROM @B.t",
    "CREATE TABLE @B.mine (a INT)",
    "DROP TABLE @B.t",
    "TRUNCATE TABLE @B.t",
    "ALTER TABLE @B.t ADD COLUMN b INT",
    "RENAME TABLE t TO @B.t2",
    "CREATE TABLE stolen AS SELECT * FROM @B.t",
    "CREATE TABLE stolen LIKE @B.t",
    "CREATE VIEW stolen AS SELECT * FROM @B.t",
    "HANDLER @B.t OPEN",
    "LOCK TABLES @B.t READ",
    "CREATE TRIGGER @B.tr BEFORE INSERT ON @B.t FOR EACH ROW SET NEW.a = 1",
    "CREATE PROCEDURE @B.p() SELECT 1",
    "DROP DATABASE @B",
    "ALTER DATABASE @B CHARACTER SET latin1",
    "SHOW TABLES FROM @B",
    "SHOW CREATE TABLE @B.t",
    "SHOW GRANTS FOR '@UB'@'%'",
    "SHOW CREATE USER '@UB'@'%'",
    "SET PASSWORD FOR '@UB'@'%' = PASSWORD('x')",
    "ALTER USER '@UB'@'%' IDENTIFIED BY 'x'",
    "DROP USER '@UB'@'%'",
    "KILL @ID",
    "CREATE DEFINER='@UB'@'%' VIEW stolen AS SELECT 1",
    "GRANT SELECT ON @A.* TO '@UB'@'%'",
];

/// What belongs to the server or the machine.
const BEYOND: &[&str] = &[
    "CREATE DATABASE other",
    "CREATE DATABASE tbaaaaaaaaaaaaaaaaaaaaaaaa",
    "CREATE USER mallory",
    "GRANT ALL ON *.* TO CURRENT_USER()",
    "CREATE ROLE r",
    "SELECT * FROM mysql.user",
    "SELECT * FROM mysql.global_priv",
    "SELECT * FROM mysql.db",
    "SHOW GRANTS FOR 'root'@'localhost'",
    "SHOW CREATE USER 'broker'@'127.0.0.1'",
    "SELECT * FROM information_schema.INNODB_SYS_TABLES",
    "SHOW ENGINE INNODB STATUS",
    "SHOW BINARY LOGS",
    "SET GLOBAL max_connections = 1",
    "SET GLOBAL local_infile = 1",
    "SET GLOBAL event_scheduler = ON",
    "SET SESSION sql_log_bin = 0",
    "SET enforce_storage_engine = NULL",
    "SELECT 1 INTO OUTFILE '/tmp/mysql-broker-escape'",
    "SELECT 1 INTO DUMPFILE '/tmp/mysql-broker-escape'",
    "LOAD DATA INFILE '/etc/passwd' INTO TABLE t",
    "LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE t",
    "CREATE FUNCTION sys_exec RETURNS INT SONAME 'x.so'",
    "INSTALL PLUGIN p SONAME 'x.so'",
    "INSTALL SONAME 'ha_connect'",
    "CREATE SERVER s FOREIGN DATA WRAPPER mysql OPTIONS (HOST '127.0.0.1')",
    "CREATE DEFINER='root'@'localhost' PROCEDURE rooted() SELECT 1",
    "SHUTDOWN",
    "FLUSH PRIVILEGES",
    "FLUSH TABLES WITH READ LOCK",
    "BACKUP STAGE START",
    "RESET MASTER",
    "CHANGE MASTER TO MASTER_HOST='127.0.0.1'",
    "PURGE BINARY LOGS TO 'x'",
    "CREATE TABLE weak (a INT) ENGINE=MyISAM",
    "CREATE TABLE weak (a INT) ENGINE=Aria",
    "CREATE TABLE weak (a INT) ENGINE=CSV",
];

/// A tenant and another one's names.
struct Neighbours {
    client: Client,
    own: String,
    database: String,
    account: String,
    other: Client,
}

impl Neighbours {
    async fn on(shared: &Shared) -> Self {
        let (a, _, a_env) = tenancy(&shared.broker).await;
        let (b, b_binding, b_env) = tenancy(&shared.broker).await;
        let (mut client, mut other) = (Client::of(&a_env).await.unwrap(), Client::of(&b_env).await.unwrap());
        client.run("CREATE TABLE t (a INT)").await.unwrap();
        other.run("CREATE TABLE t (a INT)").await.unwrap();
        other.run("INSERT INTO t VALUES (1)").await.unwrap();
        Self {
            client,
            own: format!("tb{}", a.id),
            database: format!("tb{}", b.id),
            account: format!("ub{}", b_binding.id),
            other,
        }
    }

    /// A statement with the names that are meant.
    fn named(&self, statement: &str) -> String {
        let names =
            [("@A", &self.own), ("@B", &self.database), ("@UB", &self.account), ("@ID", &self.other.id().to_string())];
        names.iter().fold(statement.to_owned(), |words, (mark, name)| words.replace(mark, name))
    }

    async fn not_refused(&mut self, statements: &[&'static str]) -> Vec<&'static str> {
        let mut allowed = Vec::new();
        for statement in statements {
            let words = self.named(statement);
            if self.client.run(&words).await.is_ok() {
                allowed.push(*statement);
            }
        }
        assert_eq!(self.other.number("SELECT a FROM t").await, 1, "the other tenant's connection and data are whole");
        allowed
    }
}

#[tokio::test] // SPEC M-2
async fn tenants_use_their_own_database_freely() {
    let shared = Shared::server().await;
    let (_, _, env) = tenancy(&shared.broker).await;
    let mut app = Client::of(&env).await.unwrap();

    let more = if app.is_on_mariadb().await { OF_MARIADB } else { &["SET PASSWORD = 's3cret'"] };
    for statement in ORDINARY.iter().chain(more) {
        app.run(statement).await.unwrap_or_else(|refusal| panic!("{statement}: {refusal}"));
    }
}

#[tokio::test] // SPEC M-2
async fn tenants_cannot_reach_each_other() {
    let shared = Shared::server().await;
    let mut neighbours = Neighbours::on(&shared).await;

    assert_eq!(neighbours.not_refused(ACROSS).await, [""; 0]);
    // This may be said, and does nothing: the other's connection is asked afterwards.
    neighbours.not_refused(&["KILL USER '@UB'"]).await;
}

#[tokio::test] // SPEC M-2
async fn tenants_cannot_reach_the_server_or_the_machine() {
    let shared = Shared::server().await;
    let mut neighbours = Neighbours::on(&shared).await;

    assert_eq!(neighbours.not_refused(BEYOND).await, [""; 0]);
}

#[tokio::test] // SPEC M-2
async fn tenants_see_only_what_is_theirs() {
    let shared = Shared::server().await;
    let Neighbours { mut client, own, .. } = Neighbours::on(&shared).await;

    let mut databases = client.texts("SHOW DATABASES").await;
    // MySQL shows it to all, and in it what they may see.
    databases.retain(|database| database != "performance_schema");
    assert_eq!(databases, ["information_schema".to_owned(), own]);
    assert_eq!(client.number("SELECT COUNT(DISTINCT USER) FROM information_schema.PROCESSLIST").await, 1);
    assert_eq!(client.number("SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA LIKE 'tb%'").await, 1);
    assert_eq!(client.number("SELECT LOAD_FILE('/etc/passwd') IS NULL").await, 1);
}

#[tokio::test] // SPEC M-2
async fn a_table_cannot_be_put_elsewhere_on_the_machine() {
    let shared = Shared::server().await;
    let mut client = Neighbours::on(&shared).await.client;
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::set_permissions(elsewhere.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();

    let folder = elsewhere.path().display();
    let _ = client.run(&format!("CREATE TABLE away (a INT) DATA DIRECTORY='{folder}'")).await;

    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}
