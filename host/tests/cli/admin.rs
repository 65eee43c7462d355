//! Commands about plugins.

use super::support::Fake;

const TEXT: &str = "\
NAME  VERSION  STATE  INSTANCES  SERVICES
text  0.1.0    ready  0/0        -
";

#[test]
fn status_says_how_the_host_is_doing() {
    let expected = "\
host:        box
version:     0.1.0
up for:      -
process:     7
gateway:     unix:///run/gateway.sock
plugins:     1 of 2 ready
";
    Fake::start().run(&["status"]).printed(expected);
}

#[test]
fn health_names_the_culprits_and_the_exit_code_tells() {
    let expected = "\
degraded: calculator-1 has not answered for 3s

NAME            HEALTH    ANSWERS IN  ASKED  WHY
calculator      degraded  -           -      -
  calculator-0  healthy   0.3 ms      -      -
  calculator-1  degraded  -           -      has not answered for 3s
text            healthy   -           -      -
";
    let fake = Fake::start();
    let ran = fake.run(&["health"]);
    assert_eq!((ran.code, ran.err.as_str(), ran.out.as_str()), (3, "", expected));
    let ran = fake.run(&["health", "text"]);
    assert_eq!((ran.code, ran.out.lines().next()), (0, Some("healthy")));
    let ran = fake.run(&["health", "-o", "json"]);
    let answer: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, &answer["state"]), (3, &"HEALTH_STATE_DEGRADED".into()));
    assert_eq!(answer["plugins"][0]["instances"][1]["message"], "has not answered for 3s");
}

#[test]
fn list_has_a_line_for_each_plugin() {
    let expected = "\
NAME        VERSION  STATE     INSTANCES  SERVICES         WHY
calculator  1.2.0    degraded  1/2        demo.v1.Demo +1  1 of 2 instances
text        0.1.0    ready     0/0        -                -
";
    Fake::start().run(&["list"]).printed(expected);
}

#[test]
fn json_is_the_protobuf_mapping() {
    let ran = Fake::start().run(&["list", "-o", "json"]);
    let answer: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(ran.out.lines().count(), 1);
    assert_eq!(answer["plugins"][0]["state"], "PLUGIN_STATE_DEGRADED");
    assert_eq!(answer["plugins"][0]["instances"][0]["startDuration"], "0.004s");
    assert_eq!(answer["plugins"][0]["instances"][0]["inFlight"], "2");
    // What is empty is there, too: a script need not ask whether a field exists.
    assert_eq!(answer["plugins"][1]["message"], "");
}

#[test]
fn get_tells_all_and_nothing_steers_the_terminal() {
    let expected = "\
name:        calculator
version:     1.2.0
description: Adds\\u{1b}[2J
author:      ada
labels:      a=1, b=2
state:       degraded
why:         1 of 2 instances
health:      degraded
ready:       1/2
scales:      1 to 4, 10 in flight each, 1 warm
speaks:      plugmesh
services:    demo.v1.Demo, demo.v1.Other
requires:    text ^1 (missing)
manifest:    /plugins/calculator/plugin.yaml

INSTANCE      STATE    HEALTH     ANSWERS IN  READY FOR  STARTED IN  IN FLIGHT  CALLS  FAILED  RESTARTS  PID  ADDRESS                        WHY
calculator-0  ready    healthy    0.3 ms      -          4 ms                2   1000       1         0  40   unix:///run/calculator-0.sock  -
calculator-1  backoff  unhealthy  -           -          4 ms                2   1000       1         1  41   unix:///run/calculator-1.sock  exit status 1
";
    Fake::start().run(&["get", "calculator"]).printed(expected);
}

#[test]
fn an_unknown_plugin_has_the_exit_code_of_not_found() {
    let expected = "error: NOT_FOUND (5): no plugin \"calcualtor\"; did you mean calculator?\n";
    Fake::start().run(&["get", "calcualtor"]).failed(69, expected);
}

#[test]
fn watch_prints_each_change() {
    let fake = Fake::start();
    let ran = fake.run(&["watch", "calculator"]);
    let lines: Vec<_> = ran.out.lines().map(|line| line.split_once("  ").unwrap().1).collect();
    assert_eq!(
        lines,
        ["calculator           degraded     1/2   1 of 2 instances", "text                 removed"]
    );
    assert_eq!(fake.asked(), ["WatchPluginsRequest { name: \"calculator\" }"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, "the host has ended the watch\n"));
    let ran = fake.run(&["watch", "-o", "json"]);
    let kinds: Vec<_> = ran
        .out
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["kind"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(kinds, ["CHANGE_KIND_EXISTING", "CHANGE_KIND_REMOVED"]);
}

#[test]
fn services_are_listed_with_who_provides_them() {
    let fake = Fake::start();
    let expected = "\
SERVICE        METHODS     PLUGINS
demo.v1.Demo   Count, Add  calculator
demo.v1.Other  -           a, b
";
    fake.run(&["services"]).printed(expected);
    let expected = "\
demo.v1.Demo  (calculator)
  Count(demo.v1.Pair) returns (stream demo.v1.Sum)
  Add(demo.v1.Pair) returns (demo.v1.Sum)
demo.v1.Other  (a, b)
  (no descriptor: the methods are not known)
";
    fake.run(&["services", "--methods"]).printed(expected);
}

#[test]
fn endpoint_prints_commands_that_can_be_pasted() {
    let fake = Fake::start();
    let expected = "\
# calculator-0, directly (unix:///run/calculator-0.sock)
grpcurl -plaintext -unix /run/calculator-0.sock list
# calculator-1, directly (unix:///run/calculator-1.sock)
grpcurl -plaintext -unix /run/calculator-1.sock list
# through the gateway (unix://PLACE/gateway.sock)
grpcurl -plaintext -unix -H 'plugmesh-plugin: calculator' PLACE/gateway.sock list
grpcurl -plaintext -unix -H 'plugmesh-plugin: calculator' -d '{}' PLACE/gateway.sock demo.v1.Demo/Add
";
    fake.run(&["endpoint", "calculator"]).printed(expected);
    let ran = fake.run(&["endpoint", "calculator", "-o", "json"]);
    let answer: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(answer["commands"][0], "grpcurl -plaintext -unix /run/calculator-0.sock list");
    assert_eq!(answer["gateway"]["address"], "unix://PLACE/gateway.sock");
}

/// The proof that the printed line works is that a shell with the real grpcurl runs it.
#[test]
#[allow(clippy::disallowed_methods, reason = "the shell is what the line is for")]
fn the_printed_command_works_with_the_real_grpcurl() {
    if std::process::Command::new("grpcurl").arg("-version").output().is_err() {
        let required = std::env::var_os("PLUGMESH_REQUIRE_TOOLS").is_some_and(|value| value == "1");
        assert!(!required, "grpcurl is not on PATH, and PLUGMESH_REQUIRE_TOOLS=1");
        eprintln!("SKIPPED: grpcurl is not on PATH");
        return;
    }
    let fake = Fake::start();
    let output = fake.command(&["endpoint", "calculator", "-o", "json"]).output().unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let line = answer["gateway"]["commands"][0].as_str().unwrap();
    let listed = std::process::Command::new("sh").args(["-c", line]).output().unwrap();
    assert!(listed.status.success(), "{line}: {}", String::from_utf8_lossy(&listed.stderr));
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.lines().any(|service| service == "demo.v1.Demo"), "{listed}");
    assert_eq!(fake.asked(), [""; 0]);
}

#[test]
fn logs_show_lines_and_what_was_lost() {
    let fake = Fake::start();
    let expected = "\
2023-11-14T22:13:20.000Z calculator-0 WARN   careful left=3
(5 lines were lost here)
2023-11-14T22:13:20.000Z calculator-0 stdout \\u{1b}[2Jgone
";
    fake.run(&["logs", "calculator", "-f", "-n", "7"]).printed(expected);
    assert_eq!(fake.asked(), ["TailLogsRequest { name: \"calculator\", lines: 7, follow: true }"]);
    let ran = fake.run(&["logs", "calculator", "-o", "json"]);
    let first: serde_json::Value = serde_json::from_str(ran.out.lines().next().unwrap()).unwrap();
    assert_eq!(first["stream"], "LOG_STREAM_STDERR");
}

#[test]
fn what_changes_plugins_says_how_they_are_afterwards() {
    let fake = Fake::start();
    for command in [
        &["load", "/plugins/text"][..],
        &["reload", "text"],
        &["enable", "text"],
        &["disable", "text"],
        &["attach", "text", "http://127.0.0.1:50051"],
    ] {
        fake.run(command).printed(TEXT);
    }
    let expected = [
        "LoadPluginRequest { manifest: \"/plugins/text\" }",
        "ReloadPluginRequest { name: \"text\" }",
        "EnablePluginRequest { name: \"text\" }",
        "DisablePluginRequest { name: \"text\" }",
        "AttachPluginRequest { name: \"text\", address: \"http://127.0.0.1:50051\" }",
    ];
    assert_eq!(fake.asked(), expected);
}

#[test]
fn a_path_means_the_same_to_the_host() {
    let fake = Fake::start();
    let here = std::env::current_dir().unwrap();
    fake.run(&["load", "plugins"]).printed(TEXT);
    fake.run(&["attach", "text", "text.sock"]).printed(TEXT);
    let expected = [
        format!("LoadPluginRequest {{ manifest: \"{}/plugins\" }}", here.display()),
        format!("AttachPluginRequest {{ name: \"text\", address: \"unix://{}/text.sock\" }}", here.display()),
    ];
    assert_eq!(fake.asked(), expected);
}

#[test]
fn unload_says_who_still_needs_the_plugin() {
    let expected = "error: FAILED_PRECONDITION (9): text requires calculator\n";
    Fake::start().run(&["unload", "calculator"]).failed(73, expected);
}

#[test]
fn drain_tells_whether_it_is_done() {
    let fake = Fake::start();
    fake.run(&["drain", "calculator"])
        .printed("drained calculator; `plugmesh reload calculator` brings it back\n");
    let ran = fake.run(&["drain", "calculator", "--instance", "calculator-1", "--grace", "1500ms"]);
    let expected = "calculator-1 still has 3 calls in flight, and takes no new ones\n";
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (1, expected, ""));
    let grace = "Some(Duration { seconds: 1, nanos: 500000000 })";
    let expected =
        format!("DrainPluginRequest {{ name: \"calculator\", instance: \"calculator-1\", grace: {grace} }}");
    assert_eq!(fake.asked()[1], expected);
}

#[test]
fn explain_names_the_candidates() {
    let fake = Fake::start();
    let expected = "\
One instance can take the call.
plugin calculator, policy least_request, 100 retries left in the budget, at most 50 in flight and 2 waiting for that

INSTANCE      STATE      BREAKER  WEIGHT  IN FLIGHT  LATENCY  PICKED  WHY
calculator-0  ready      closed   1       1          1.25 ms  yes     least in flight
calculator-1  unhealthy  open     1       1          -        no      says NOT_SERVING

SETTING            VALUE  SET BY
retry.max_retries  3      default
hedging.delay      p95    method
";
    fake.run(&["explain", "demo.v1.Demo/Add", "--plugin", "calculator"]).printed(expected);
    fake.run(&["explain", "demo.v1.Demo"]).printed(expected);
    let expected = [
        "ExplainRequest { service: \"demo.v1.Demo\", method: \"Add\", plugin: \"calculator\" }",
        "ExplainRequest { service: \"demo.v1.Demo\", method: \"\", plugin: \"\" }",
    ];
    assert_eq!(fake.asked(), expected);
}

#[test]
fn shutdown_returns_when_the_host_is_gone() {
    let fake = Fake::start();
    fake.run(&["shutdown", "--grace", "2s"]).printed("the host has shut down\n");
    fake.run(&["shutdown", "--no-wait"]).printed("the host is shutting down\n");
    assert_eq!(
        fake.asked(),
        [
            "ShutdownRequest { grace: Some(Duration { seconds: 2, nanos: 0 }) }",
            "ShutdownRequest { grace: None }"
        ]
    );
}

#[test]
fn colours_are_for_those_who_ask() {
    let fake = Fake::start();
    let ran = fake.run(&["list", "--color", "always"]);
    assert!(ran.out.contains("\u{1b}[") && ran.out.contains("degraded"), "{:?}", ran.out);
    assert!(!fake.run(&["list"]).out.contains('\u{1b}'));
}
