//! Units (contract section 9).

use serde_json::json;

use crate::{
    apps::blog,
    harness::{Platform, fields},
};

#[test]
fn units_are_added_and_removed() {
    let platform = Platform::start().on("PUT /1.0/apps/blog/units", 200, "").on("DELETE /1.0/apps/blog/units", 200, "");

    platform.tsuru("unit add 2 -a blog").says("");
    assert_eq!(platform.last().form(), fields(&[("units", "2"), ("process", ""), ("version", "")]));
    platform.tsuru("unit-remove 1 -a blog -p web --version 3").says("");
    assert_eq!(platform.asked()[1], "DELETE /1.0/apps/blog/units?units=1&process=web&version=3");
}

#[test]
fn a_wrong_number_is_the_servers_to_refuse() {
    let sentence = "Invalid number of units: the number must be an integer greater than 0.";
    let platform = Platform::start().on("PUT /1.0/apps/blog/units", 400, sentence);

    platform.tsuru("unit add -1 -a blog").complains(&format!("Error: {sentence}\n"));
    assert_eq!(platform.last().form()[0], ("units".to_owned(), "-1".to_owned()));
}

#[test]
fn set_makes_up_the_difference() {
    let platform = Platform::start()
        .on("GET /1.0/apps/blog", 200, &blog().to_string())
        .on("PUT /1.0/apps/blog/units", 200, "")
        .on("DELETE /1.0/apps/blog/units", 200, "");

    platform.tsuru("unit set 3 -a blog").says("");
    assert_eq!(platform.last().form(), fields(&[("units", "2"), ("process", "web"), ("version", "1")]));
    platform.tsuru("unit set 0 -a blog").says("");
    assert_eq!(platform.asked().last().unwrap(), "DELETE /1.0/apps/blog/units?units=1&process=web&version=1");
    platform.tsuru("unit-set 1 -a blog").says("The process web, version 1 already has 1 units.\n");
    platform.tsuru("unit set x -a blog").complains("Error: \"x\" is no number of units: give 0 or more\n");
}

#[test]
fn set_wants_to_know_which_process() {
    let mut app = blog();
    app["processes"] = json!([{"name":"web"},{"name":"worker"}]);
    let platform =
        Platform::start().on("GET /1.0/apps/blog", 200, &app.to_string()).on("PUT /1.0/apps/blog/units", 200, "");

    platform
        .tsuru("unit set 2 -a blog")
        .complains("Error: the app has several processes (web, worker): choose one with -p/--process\n");
    platform.tsuru("unit set 2 -a blog -p worker").says("");
    assert_eq!(platform.last().form(), fields(&[("units", "2"), ("process", "worker"), ("version", "")]));
}

#[test]
fn a_unit_is_killed() {
    let platform = Platform::start().on("DELETE /1.12/apps/blog/units/u1", 200, "");

    platform.tsuru("unit kill u1 -a blog -f").says("Unit successfully killed.\n");

    assert_eq!(platform.asked(), ["DELETE /1.12/apps/blog/units/u1?force=true"]);
}
