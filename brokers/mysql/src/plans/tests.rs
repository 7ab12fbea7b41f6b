//! Plans from a file: what they mean, and how a wrong one is refused.

use std::path::Path;

use super::{
    file::{Sites, Wrong, parse},
    *,
};

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    config: Config,
}

fn config() -> Config {
    <Line as clap::Parser>::parse_from(["mysql-broker"]).config
}

fn plans(text: &str) -> Plans {
    plans_in(Path::new(""), text)
}

fn plans_in(folder: &Path, text: &str) -> Plans {
    let mut sites = Sites::of(folder, usual_server(&config()).unwrap());
    let usual = sites.find(&"a".parse().unwrap(), &Default::default()).unwrap();
    let offers = parse(text, &config(), &mut sites);
    Plans { offers: offers.unwrap_or_else(|Wrong(at, sentence)| panic!("byte {at}: {sentence}")), usual }
}

fn refusal(text: &str) -> String {
    let mut config = config();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    config.plans = Some(file.path().to_owned());
    let sentence = Plans::of(&config).unwrap_err().to_string();
    sentence.replace(&file.path().display().to_string(), "plans.toml")
}

#[test] // SPEC M-8
fn a_file_names_any_number_of_plans_and_the_first_is_the_default() {
    let plans = plans(
        r#"
        [[plan]]
        name = "small"
        kind = "dedicated"
        description = "a server of 256 MB"
        backend = "container"
        memory = "256mb"
        cpu-milli = 500
        at-most = 20

        [[plan]]
        name = "trial"
        kind = "shared"
        connections = 3
        statement-time = 30
        "#,
    );

    let catalog = plans.catalog();
    assert_eq!(catalog.default_plan().unwrap().name.as_str(), "small");
    assert_eq!(catalog.default_plan().unwrap().description, "a server of 256 MB");
    let Kind::Dedicated(small) = &plans.offers[0].kind else { panic!("small is dedicated") };
    assert!(small.is_contained);
    assert_eq!((small.limits.memory, small.limits.cpu_milli), (Some(256 << 20), Some(500)));
    assert_eq!(small.buffer_pool, 128, "half of the memory");
    let trial = plans.find(&"trial".parse().unwrap()).unwrap();
    assert!(trial.kind.is_shared());
    assert_eq!((trial.limits.connections, trial.limits.statement_time), (3, 30));
}

#[test] // SPEC M-8
fn without_a_file_there_are_the_usual_plans() {
    let names = |config: &Config| {
        let plans = Plans::of(config).unwrap();
        plans.offers.iter().map(|offer| offer.name.to_string()).collect::<Vec<_>>()
    };
    let mut config = config();
    assert_eq!(names(&config), ["shared", "dedicated"]);
    config.shared_url = Some("mysql://a:b@c".into());
    assert_eq!(names(&config), ["shared"]);
}

#[test] // SPEC M-13
fn shared_plans_have_servers_in_common_or_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("servers.toml"), "[[server]]\nid = \"a\"\ncapacity = 3\n").unwrap();
    std::fs::write(folder.path().join("big.url"), "mysql://a:b@c\n").unwrap();
    let plan = |name: &str, more: &str| format!("[[plan]]\nname = \"{name}\"\nkind = \"shared\"\n{more}\n");
    let text = plan("trial", "servers = \"servers.toml\"")
        + &plan("crowd", "servers = \"servers.toml\"")
        + &plan("big", "url-file = \"big.url\"\ncapacity = 9")
        + &plan("plain", "");

    let plans = plans_in(folder.path(), &text);

    let servers: Vec<_> = plans.servers().iter().map(|server| (server.id.to_string(), server.capacity)).collect();
    assert_eq!(servers, [("a".to_owned(), 3), ("big".to_owned(), 9), ("shared".to_owned(), u64::MAX)]);
    let twice = refusal(&(plan("one", "") + &plan("two", "capacity = 4")));
    assert!(twice.starts_with("two shared plans have a server named \"shared\""), "{twice}");
}

#[test] // SPEC M-8
fn what_is_wrong_with_a_file_is_said_with_its_line() {
    let shared = "[[plan]]\nname = \"a\"\nkind = \"shared\"\n";
    let dedicated = "[[plan]]\nname = \"b\"\nkind = \"dedicated\"\n";
    let cases = [
        (String::new(), "plans.toml, line 1: there is no plan"),
        (format!("{shared}{shared}"), "plans.toml, line 5: there are two plans named \"a\""),
        (format!("{shared}memory = \"1gb\"\n"), "plans.toml, line 1: `memory` is for servers of an instance's own"),
        (format!("{shared}conections = 3\n"), "plans.toml, line 4: unknown field `conections`"),
        (format!("{shared}url-file = \"no-such.url\"\n"), "plans.toml, line 1: cannot read a server's URL from"),
        (
            format!("{shared}servers = \"x\"\ncapacity = 3\n"),
            "plans.toml, line 1: each server in the file `servers` has",
        ),
        (format!("{dedicated}capacity = 3\n"), "plans.toml, line 1: `capacity` is for shared plans"),
        (format!("{shared}connections = 0\n"), "plans.toml, line 4: `connections` is at least 1"),
        (format!("{dedicated}memory = \"lots\"\n"), "plans.toml, line 4: a size is written like 64mb"),
        (format!("{dedicated}memory = \"64mb\"\nbuffer-pool = \"1gb\"\n"), "plans.toml, line 5: the buffer pool has"),
        (format!("{dedicated}server-connections = 2\n"), "plans.toml, line 4: `server-connections` is at least 10"),
        ("[[plan]]\nname = \"\"\nkind = \"shared\"\n".to_owned(), "plans.toml, line 2: "),
        ("[[plan]]\nname = \"a\"\nkind = \"huge\"\n".to_owned(), "plans.toml, line 3: unknown variant `huge`"),
        ("[[plan]]\nname =\n".to_owned(), "plans.toml, line 2: "),
    ];
    for (text, sentence) in cases {
        let said = refusal(&text);
        assert!(said.starts_with(sentence), "{said}");
    }
}
