//! Services (contract sections 12.1, 12.2 and 17.6).

use std::{fs, os::unix::fs::PermissionsExt};

use crate::harness::{Platform, fields};

pub(crate) const LISTING: &str = r#"[{"service":"mysql","instances":["blogdb","shopdb"],"plans":["small"],
  "service_instances":[{"name":"shopdb","service_name":"mysql","apps":["shop"]},{"name":"blogdb","service_name":"mysql","apps":["blog"]}]},
 {"service":"redis","instances":[],"plans":null,"service_instances":null}]"#;

#[test]
fn instances_are_listed_by_service() {
    let platform = Platform::start().on("GET /1.0/services/instances", 200, LISTING);

    platform.tsuru("service list").says(
        "\
+---------+----------+
| Service | Instance |
+---------+----------+
| mysql   | blogdb   |
| mysql   | shopdb   |
+---------+----------+
",
    );
    platform.tsuru("service-instance-list -q -n blog").says("mysql blogdb\n");
    platform.tsuru("service list -s redis").says("");
    platform.tsuru("service list -j").says("mysql\nredis\n");
    platform.tsuru("service-list -g x -p small");
    assert_eq!(platform.asked().last().unwrap(), "GET /1.0/services/instances?plan=small&tag=x");
    Platform::start().on("GET /1.0/services/instances", 204, "").tsuru("service list").says("");
}

#[test]
fn pools_of_instances_get_a_column() {
    let listing = r#"[{"service":"mysql","service_instances":[{"name":"db","pool":"p1"}]}]"#;

    let ran = Platform::start().on("GET /1.0/services/instances", 200, listing).tsuru("service list");

    assert!(ran.out.contains("| Service | Instance | Pool |"), "{}", ran.out);
}

#[test]
fn a_service_is_shown_with_instances_plans_and_documentation() {
    let platform = Platform::start()
        .on(
            "GET /1.0/services/mysql",
            200,
            r#"[{"Name":"blogdb","Pool":"","PlanName":"small","Apps":["blog"],"Jobs":null,"ServiceName":"mysql",
                "Teams":["core"],"TeamOwner":"core","Info":{"Address":"10.0.0.9:3306"}}]"#,
        )
        .on("GET /1.0/services/mysql/plans", 200, r#"[{"Name":"small","Description":"up to 1 GB","Schemas":null}]"#)
        .on("GET /1.0/services/mysql/doc", 200, "Use it well.\n");

    platform.tsuru("service info mysql").says(
        "\
Info for \"mysql\"

Instances
+-----------+-------+------+------+---------------+
| Instances | Plan  | Apps | Jobs | Address       |
+-----------+-------+------+------+---------------+
| blogdb    | small | blog |      | 10.0.0.9:3306 |
+-----------+-------+------+------+---------------+

Plans
+-------+-------------+
| Name  | Description |
+-------+-------------+
| small | up to 1 GB  |
+-------+-------------+

Documentation:
Use it well.
",
    );
}

#[test]
fn a_service_without_anything_is_shown() {
    let platform = Platform::start()
        .on("GET /1.0/services/mysql", 200, "null")
        .on("GET /1.0/services/mysql/plans", 200, "[]")
        .on("GET /1.0/services/mysql/doc", 200, "");

    platform.tsuru("service info mysql").says("Info for \"mysql\"\n");
    platform.tsuru("service plan list mysql").says(
        "Plans for \"mysql\"\n+------+-------------+\n| Name | Description |\n+------+-------------+\n+------+-------------+\n",
    );
}

const MANIFEST: &str =
    "id: mysql\nusername: u\npassword: s3cr3t\nteam: core\nendpoint:\n  production: http://broker\n  test: x\n";

#[test]
fn a_manifest_is_read_from_a_file_or_standard_input() {
    let platform = Platform::start().on("POST /1.0/services", 201, "success").on("PUT /1.0/services/mysql", 200, "");
    fs::write(platform.home.path().join("m.yaml"), MANIFEST).unwrap();
    let expected = fields(&[
        ("id", "mysql"),
        ("username", "u"),
        ("password", "s3cr3t"),
        ("team", "core"),
        ("endpoint", "http://broker"),
        ("multi-cluster", "false"),
    ]);

    platform.tsuru("service create m.yaml").says("Service successfully created\n");
    assert_eq!(platform.last().form(), expected);
    platform.tsuru_reading("service-create -", MANIFEST).says("Service successfully created\n");
    assert_eq!(platform.last().form(), expected);
    platform.tsuru_reading("service add -", MANIFEST).says("Service successfully created\n");
    platform.tsuru("service update m.yaml").says("Service successfully updated.\n");
    assert_eq!(platform.asked().last().unwrap(), "PUT /1.0/services/mysql");
}

#[test] // SPEC C-11
fn a_bad_manifest_is_refused_without_repeating_its_secrets() {
    let platform = Platform::start();

    let ran = platform.tsuru_reading("service create -", "id: [s3cr3t\n");
    ran.complains_of("- is not a manifest");
    assert!(!ran.err.contains("s3cr3t"));
    platform.tsuru_reading("service create -", "password: x\n").complains_of("the manifest names no service: set `id`");
    platform.tsuru("service create nowhere.yaml").complains_of("cannot read nowhere.yaml");
    assert_eq!(platform.asked(), [""; 0]);
}

#[test]
fn a_template_is_written_once_and_for_its_owner() {
    let platform = Platform::start();

    platform.tsuru("service template").says("Generated file \"manifest.yaml\" in current directory\n");

    let path = platform.home.path().join("manifest.yaml");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs::read_to_string(&path).unwrap().starts_with("id: servicename\n"));
    platform.tsuru("service template").complains_of("cannot create manifest.yaml");
}

#[test]
fn a_service_is_destroyed_after_a_question() {
    let platform = Platform::start().on("DELETE /1.0/services/mysql", 200, "");

    platform.tsuru("service destroy mysql -y").says("Service successfully removed.\n");
    platform.tsuru("service delete mysql -y").says("Service successfully removed.\n");
    let ran = platform.tsuru_reading("service remove mysql", "n\n");
    assert!(ran.out.ends_with("(y/n) Abort.\n"), "{}", ran.out);
    assert_eq!(platform.asked().len(), 2);
}
