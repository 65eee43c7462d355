//! What people see on a terminal, and what shells expect of a pipe.

use std::process::Command;

use plugmesh_tests::{Daemon, Process, Ran, binary, eventually, tools};
use serde_json::json;
use tonic::Code;

use super::{billing, events, status, with_journal};

#[tokio::test]
async fn a_tail_ends_with_its_reader_and_data_comes_from_a_pipe() {
    let daemon = Daemon::builder().start().await;
    let script = |line: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).arg(binary("plugmesh")).env("PLUGMESH_HOST", daemon.socket());
        Process::start(&mut shell)
    };
    // The shell waits for both: nothing else is published that would make the tail write, and fail.
    let first = script("\"$0\" events tail '>' | head -n 1");
    assert!(first.wrote_error("subscribed").await, "{}", first.err());
    script("printf '[1,\\n2]' | \"$0\" events publish a --id 1 -d @").ended().await.ok();
    let first = first.ended().await.json();
    assert_eq!((&first["id"], &first["data"]), (&json!("1"), &json!([1, 2])));
}

#[tokio::test]
async fn people_get_lines_and_are_asked() {
    if !tools::require_tool("script") {
        return;
    }
    let daemon = with_journal().await;
    events(&daemon, &["publish", "order.placed", "--subject", "ada", "-d", "{\"a\": 1}"]).await.ok();
    let mut work = billing(&daemon).await;
    events(&daemon, &["publish", "order.placed", "--source", "/shop"]).await.ok();
    let number = work.next().await.unwrap().number;
    work.rejected(number, "no");
    let letter = eventually("a dead letter", async || {
        let list = events(&daemon, &["dlq", "list", "-o", "json"]).await.json();
        list["letters"][0]["id"].as_str().map(str::to_owned)
    });
    let letter = letter.await;
    // A terminal of its own, and a person who types.
    let typed = async |typed: &str, args: &str| {
        let mut shell = Command::new("sh");
        let line = format!("printf '{typed}' | script -qec \"\\\"$0\\\" events {args}\" /dev/null");
        shell.args(["-c", &line]).arg(binary("plugmesh"));
        Ran::of(shell.env("PLUGMESH_HOST", daemon.socket()).env("TERM", "xterm").env("SHELL", "/bin/sh"))
            .await
    };
    let lines = typed("", "replay order.placed").await.ok();
    assert!(lines.contains("\u{1b}[") && lines.contains("subject=ada"), "{lines:?}");
    assert!(lines.contains(" {\"a\": 1}\r\n") && !lines.contains("specversion"), "{lines:?}");
    let plain = typed("", "replay order.placed --color never --from id:nothing").await;
    assert_eq!(plain.code, status(Code::NotFound), "{plain:?}");

    let purge = format!("dlq purge {letter}");
    let asked = typed("n\\n", &purge).await;
    assert!(asked.out.contains("Delete 1 dead letter for good? [y/N]"), "{asked:?}");
    assert!(asked.code == 1 && asked.out.contains("nothing was deleted"), "{asked:?}");
    assert!(typed("y\\n", &purge).await.ok().contains("deleted 1 dead letter"));
}
