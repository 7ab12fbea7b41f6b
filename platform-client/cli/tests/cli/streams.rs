//! Progress streams (contract section 1.6).

use crate::harness::Platform;

fn restart(body: &str) -> crate::harness::Ran {
    Platform::start().on("POST /1.0/apps/blog/restart", 200, body).tsuru("app restart blog")
}

#[test] // SPEC C-3
fn lines_have_their_time_in_front_and_keep_alives_are_dropped() {
    let ran = restart(
        "{\"Message\":\"---- Restarting the app \\\"blog\\\" ----\\n\",\"Timestamp\":\"2026-01-02T03:04:05.123456Z\"}\n\
         \n\
         {\"Message\":\" ---> 1 of 1\",\"Timestamp\":\"2026-01-02T03:04:06Z\"}\n\
         {\"message\":\" new units ready\\n\",\"timestamp\":\"2026-01-02T03:04:07Z\",\"news\":1}\n\
         {\"Message\":\"done\\nindeed\"}",
    );

    ran.says(
        "2026-01-02 03:04:05 +0000: ---- Restarting the app \"blog\" ----\n\
         2026-01-02 03:04:06 +0000:  ---> 1 of 1 new units ready\n\
         done\nindeed\n",
    );
}

#[test]
fn an_error_in_the_stream_fails_the_command() {
    let ran = restart("{\"Message\":\"working...\"}\n{\"Message\":\"\",\"Error\":\"unable to start units\"}\n");

    ran.complains("Error: unable to start units\n");
    assert_eq!(ran.out, "working...\n");
}

#[test]
fn an_empty_stream_is_a_success() {
    restart("").says("");
}

#[test]
fn what_is_no_message_fails_the_command() {
    restart("{\"Message\":\"a\\n\"}\nrubbish\n").complains("Error: Unparseable chunk: \"rubbish\"\n");
    restart("rubbish").complains("Error: unparsed message error: rubbish\n");
}

#[test]
fn output_of_a_command_has_no_time_in_front() {
    let platform = Platform::start().on(
        "POST /1.0/apps/blog/run",
        200,
        "{\"Message\":\"total 0\\n\",\"Timestamp\":\"2026-01-02T03:04:05Z\"}\n",
    );

    platform.tsuru("app run -a blog --once -- ls -l /").says("total 0\n");

    let form = platform.last().form();
    assert_eq!(form, crate::harness::fields(&[("command", "ls -l /"), ("once", "true"), ("isolated", "false")]));
}
