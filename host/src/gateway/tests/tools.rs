//! Programs of others, against the gateway. Each test skips with a message where its program is missing,
//! and fails instead when `PLUGMESH_REQUIRE_TOOLS` is set.

#![allow(clippy::disallowed_methods, reason = "tests run tools, not plugins")]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use semver::Version;
use tokio::process::Command;

use super::principals::Ca;
use super::support::*;
use crate::gateway::{Address, Limits, Listen};

pub(super) fn tool(name: &str) -> Option<PathBuf> {
    let mut places: Vec<_> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    places.extend(std::env::var_os("HOME").map(|home| PathBuf::from(home).join("go/bin")));
    let found = places.into_iter().map(|place| place.join(name)).find(|path| path.is_file());
    if found.is_none() {
        assert!(std::env::var_os("PLUGMESH_REQUIRE_TOOLS").is_none(), "{name} is required and missing");
        println!("SKIPPED: {name} is not installed");
    }
    found
}

/// Runs a tool to its end: whether it succeeded, and what it wrote.
pub(super) async fn run(tool: &Path, arguments: &[impl AsRef<OsStr>]) -> (bool, String) {
    let output = Command::new(tool).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE * 30, output).await.expect("the tool ends").unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

async fn with_demo(listen: Vec<Listen>) -> Running {
    let running = start_with(upstream(echo), Limits::default(), listen, None, Arc::default()).await;
    running.known.set_health("", None, crate::gateway::ServingStatus::Serving);
    let services = vec!["demo.v1.Echo".to_owned()];
    let set = compile("demo.proto", DEMO);
    running.catalog.insert(plugin("demo"), Version::new(1, 0, 0), set, services).unwrap();
    running
}

/// Lists, describes and calls, with the address and credentials given.
async fn works_with_grpcurl(grpcurl: &Path, arguments: &[&str]) {
    let run = async |more: &[&str], after: &[&str]| {
        let (success, text) = run(grpcurl, &[more, arguments, after].concat()).await;
        assert!(success, "{more:?} {after:?}: {text}");
        text
    };
    let list = run(&[], &["list"]).await;
    assert!(list.lines().any(|line| line == "demo.v1.Echo"), "{list}");
    assert!(list.contains("plugmesh.admin.v1.AdminService"), "{list}");
    let described = run(&[], &["describe", "demo.v1.Echo"]).await;
    assert!(
        described.contains("rpc Chat ( stream .demo.v1.Text ) returns ( stream .demo.v1.Text );"),
        "{described}"
    );
    let scoped = run(&["-reflect-header", "plugmesh-plugin: demo"], &["list"]).await;
    assert_eq!(scoped.trim(), "demo.v1.Echo");
    let said = run(&["-d", r#"{"text": "hello"}"#], &["demo.v1.Echo/Say"]).await;
    assert!(said.contains(r#""text": "hello""#), "{said}");
    let chat = run(&["-d", r#"{"text": "one"} {"text": "two"}"#], &["demo.v1.Echo/Chat"]).await;
    assert!(chat.contains("one") && chat.contains("two"), "{chat}");
    let health = run(&[], &["grpc.health.v1.Health/Check"]).await;
    assert!(health.contains("SERVING"), "{health}");
    let admin = run(&[], &["describe", "plugmesh.admin.v1.AdminService.ListPlugins"]).await;
    assert!(admin.contains("ListPluginsResponse"), "{admin}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpcurl_lists_describes_and_calls_over_the_socket() {
    let Some(grpcurl) = tool("grpcurl") else { return };
    let running = with_demo(vec![]).await;
    works_with_grpcurl(&grpcurl, &["-plaintext", "-unix", running.path.to_str().unwrap()]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpcurl_lists_describes_and_calls_over_mutual_tls() {
    let Some(grpcurl) = tool("grpcurl") else { return };
    let ca = Ca::new();
    let tls = crate::identity::Current::fixed(Arc::new(ca.server()));
    let running = with_demo(vec![Listen::Tls { address: "127.0.0.1:0".parse().unwrap(), tls }]).await;
    let Address::Tls(address) = running.handle.addresses()[0] else { panic!("no TLS") };
    let leaf = ca.leaf(&["spiffe://test/someone"]);
    let file = |name: &str, text: String| {
        let path = running.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.into_os_string().into_string().unwrap()
    };
    let (root, cert) = (file("ca", ca.certificate.pem()), file("cert", leaf.certificate.pem()));
    let key = file("key", leaf.key.serialize_pem());
    let arguments = ["-cacert", &root, "-cert", &cert, "-key", &key, &address.to_string()];
    works_with_grpcurl(&grpcurl, &arguments).await;
}

/// Every case of h2spec, without an exception.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_listener_conforms_to_http2() {
    let Some(h2spec) = tool("h2spec") else { return };
    let listen = vec![Listen::InsecureTcp { address: "127.0.0.1:0".parse().unwrap() }];
    let running = with_demo(listen).await;
    let Address::InsecureTcp(address) = running.handle.addresses()[0] else { panic!("no TCP") };
    let port = address.port().to_string();
    let suites = ["-o", "3", "generic", "http2", "hpack"];
    let arguments = [&["-p", &port, "-P", "/demo.v1.Echo/Say"][..], &suites].concat();
    let (success, text) = run(&h2spec, &arguments).await;
    assert!(success, "{}", text.split("Failures:").last().unwrap_or_default());
    assert!(text.contains("145 tests, 145 passed, 0 skipped"), "{text}");
}
