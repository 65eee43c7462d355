//! What callers get when no instance of a plugin is there.

use plugmesh::admin::v1::InstanceState;
use plugmesh_tests::{Daemon, PluginDir, Ran, binary, eventually, tools};
use tonic::Code;

use crate::calls::{echo, with};
use crate::kills::kill;

const SERVICE: &str = "calculator.v1.CalculatorService";

/// A plugin that cannot start once there is a file `gone` beside its manifest.
fn mortal(name: &str, command: &str) -> PluginDir {
    let command = binary(command).display();
    PluginDir::script(name, &format!("[ -e \"$(dirname \"$0\")/gone\" ] && exit 3\nexec {command}"))
}

/// Ends the only instance of a plugin for good.
async fn end(daemon: &Daemon, plugin: &str) {
    std::fs::write(daemon.plugins_dir().join(plugin).join("gone"), "").unwrap();
    kill(daemon.instance(plugin, 0).await.pid);
    daemon.wait_for(plugin, |plugin| plugin.instances[0].state() != InstanceState::Ready).await;
}

async fn add(daemon: &Daemon, a: u32, b: u32) -> Ran {
    let sum = format!(r#"{{"a": {a}, "b": {b}}}"#);
    daemon.grpcurl(&["-v", "-d", &sum, &format!("{SERVICE}/Add")]).await
}

#[tokio::test]
async fn grpcurl_gets_the_last_answer_and_else_the_fixed_one() {
    if !tools::require_tool("grpcurl") {
        return;
    }
    let policies = format!(
        "policies:\n  {SERVICE}/Add: {{idempotency: no_side_effects, cache: {{ttl: 10m}}, fallback: {{answer: {{value: 42}}}}}}\n  \
         {SERVICE}/Divide: {{fallback: {{answer: {{valeu: 42}}}}}}\n  {SERVICE}/Fibonacci: {{fallback: {{answer: {{value: 1}}}}}}"
    );
    let daemon = Daemon::builder().plugin(mortal("calculator", "calculator").line(&policies)).start().await;
    // Answers are kept, and can be encoded, once the descriptors are known; reflection has them a moment later.
    eventually("reflection knows it", async || {
        let described = daemon.grpcurl(&["describe", SERVICE]).await;
        (described.code == 0).then_some(())
    })
    .await;
    for (method, problem) in [("Divide", "valeu"), ("Fibonacci", "the method streams")] {
        let warned = |line: &str| {
            line.contains("fallback.answer is never given") && line.contains(method) && line.contains(problem)
        };
        assert!(daemon.log().lines().any(warned), "{method}: {}", daemon.log());
    }
    let fresh = add(&daemon, 1, 2).await.ok();
    assert!(fresh.contains("\"value\": 3") && !fresh.contains("plugmesh-cache"), "{fresh}");

    end(&daemon, "calculator").await;
    let stale = add(&daemon, 1, 2).await.ok();
    assert!(stale.contains("\"value\": 3") && stale.contains("plugmesh-cache: stale"), "{stale}");
    assert!(stale.lines().any(|line| line.starts_with("age: ")), "{stale}");
    let fixed = add(&daemon, 5, 5).await.ok();
    assert!(fixed.contains("\"value\": 42") && fixed.contains("plugmesh-fallback: answer"), "{fixed}");
    let nothing = daemon.grpcurl(&["-d", r#"{"a": 1, "b": 2}"#, &format!("{SERVICE}/Divide")]).await;
    assert_eq!(nothing.code, 64 + Code::Unavailable as i32, "{nothing:#?}");
}

#[tokio::test]
async fn another_plugin_answers_for_one_that_has_never_started() {
    let services = "services: [probe.v1.ProbeService]\nfallback: {plugin: spare}";
    let broken = PluginDir::script("broken", "exit 3").line(services);
    let daemon = Daemon::builder().plugin(broken).plugin(PluginDir::named_probe("spare", 1)).start().await;
    let answer = daemon.probe().echo(echo("", 0)).await.unwrap();
    assert_eq!(answer.metadata().get("plugmesh-fallback").unwrap(), "spare");
    assert_eq!(answer.into_inner().instance, "spare-0");
    let pinned = with(echo("", 0), "plugmesh-instance", "broken-0");
    let status = daemon.probe().echo(pinned).await.unwrap_err();
    assert!(status.message().contains("broken"), "{status:?}");
}

#[tokio::test]
async fn another_plugin_answers_in_its_place_and_only_then() {
    let probe = mortal("probe", "probe").env("PROBE_NAME", "probe").line("fallback: {plugin: spare}");
    let daemon = Daemon::builder().plugin(probe).plugin(PluginDir::named_probe("spare", 1)).start().await;
    let first = daemon.probe().echo(echo("", 0)).await.unwrap();
    assert_eq!(first.metadata().get("plugmesh-fallback"), None);
    assert_eq!(first.into_inner().instance, "probe-0");
    let chosen = daemon.probe().echo(with(echo("", 0), "plugmesh-plugin", "spare")).await.unwrap();
    assert_eq!(chosen.into_inner().instance, "spare-0");

    end(&daemon, "probe").await;
    let answer = daemon.probe().echo(echo("", 0)).await.unwrap();
    assert_eq!(answer.metadata().get("plugmesh-fallback").unwrap(), "spare");
    assert_eq!(answer.into_inner().instance, "spare-0");
}
