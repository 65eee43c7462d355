//! `plugmesh serve` as a person meets it.

use plugmesh::admin::v1::PluginState;
use plugmesh_tests::calculator::AddRequest;
use plugmesh_tests::{Daemon, PluginDir, processes_mentioning};
use rustix::process::Signal;

async fn calculator() -> Daemon {
    Daemon::builder().plugin(PluginDir::calculator(2)).start().await
}

#[tokio::test]
async fn a_directory_is_served_and_the_next_steps_are_printed() {
    let daemon = calculator().await;
    let answer = daemon.calculator().add(AddRequest { a: 1.0, b: 2.0 }).await.unwrap();
    assert_eq!(answer.into_inner().value, 3.0);
    let summary = daemon.process().out();
    let socket = daemon.socket().display().to_string();
    for line in [
        &format!("1 of 1 plugin ready · gateway at unix://{socket}"),
        "plugmesh list",
        "plugmesh call calculator.v1.CalculatorService/Add -d '{\"a\": 1, \"b\": 2}'",
        &format!("grpcurl -plaintext -unix {socket} list"),
        "Ctrl-C drains the plugins and ends the host.",
    ] {
        assert!(summary.contains(line), "{line:?} is not in:\n{summary}");
    }
    let call = summary.lines().find(|line| line.contains(" call ")).unwrap();
    let mut shell = std::process::Command::new("sh");
    shell.arg("-c").arg(call).env("XDG_RUNTIME_DIR", daemon.runtime_dir()).env_remove("PLUGMESH_HOST");
    let answered = plugmesh_tests::Ran::of(&mut shell).await.ok();
    assert!(answered.contains('3'), "{answered}");
    let listed = daemon.cli(&["list"]).await.ok();
    assert!(listed.contains("calculator") && listed.contains("ready"), "{listed}");
}

#[tokio::test]
async fn the_list_is_one_json_document_when_asked() {
    let daemon = calculator().await;
    let list = daemon.cli(&["list", "--output", "json"]).await.json();
    let plugin = &list["plugins"][0];
    assert_eq!((&plugin["name"], &plugin["tier"]), (&"calculator".into(), &2.into()), "{list:#}");
    assert_eq!(plugin["instances"].as_array().map(Vec::len), Some(2), "{list:#}");
}

#[tokio::test]
async fn a_second_host_is_told_who_the_first_is() {
    let daemon = calculator().await;
    let second = Daemon::builder().arg("--gateway").arg(&daemon.socket().display().to_string());
    let (ran, _home) = second.ended().await;
    let error = ran.failed(1);
    let expected = format!(
        "a host is already running at unix://{}: process {}, since ",
        daemon.socket().display(),
        daemon.pid().await
    );
    assert!(error.contains(&expected), "{error}");
    daemon.calculator().add(AddRequest::default()).await.expect("the first one goes on");
}

#[tokio::test]
async fn a_signal_drains_and_leaves_nothing() {
    for signal in [Signal::INT, Signal::TERM] {
        let daemon = Daemon::builder().plugin(PluginDir::probe(1)).start().await;
        let home = daemon.home().to_owned();
        let slow = crate::calls::echo("slow", 500);
        let mut probe = daemon.probe();
        let call = tokio::spawn(async move { probe.echo(slow).await });
        crate::calls::begun(&daemon, "slow").await;
        daemon.process().signal(signal);
        call.await.unwrap().expect("a call in flight is finished");
        let (ran, home_dir) = daemon.ended().await;
        assert_eq!(ran.code, 0, "{ran:#?}");
        assert_eq!(processes_mentioning(&home), Vec::<u32>::new());
        drop(home_dir);
    }
}

#[tokio::test]
async fn shutdown_ends_it_and_waits() {
    let daemon = calculator().await;
    let home = daemon.home().to_owned();
    daemon.cli(&["shutdown"]).await.ok();
    // The command has waited: the host is gone, if not its guardian.
    let (ran, dir) = daemon.ended().await;
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert_eq!(processes_mentioning(&home), Vec::<u32>::new());
    assert!(!dir.path().join("run/plugmesh/gateway.sock").exists(), "its socket is left");
}

#[tokio::test]
async fn one_bad_plugin_is_reported_and_the_rest_run() {
    let bad = PluginDir::script("bad", "echo out of cheese >&2; exit 3");
    let daemon = Daemon::builder().plugin(PluginDir::calculator(1)).plugin(bad).start().await;
    let error = daemon.process().err();
    assert!(error.contains("out of cheese") && error.contains("it exited with status 3"), "{error}");
    let summary = daemon.process().out();
    assert!(summary.contains("1 of 2 plugins ready"), "{summary}");
    assert!(summary.contains("plugmesh get bad"), "{summary}");
    assert_eq!(daemon.plugin("bad").await.state(), PluginState::Failed);
    daemon.calculator().add(AddRequest::default()).await.expect("the good one runs");
}
