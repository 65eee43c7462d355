//! Plugins and endpoints over mutual TLS.

use std::path::Path;
use std::process::Command;

use plugmesh::admin::v1::PluginState;
use plugmesh_tests::calculator::AddRequest;
use plugmesh_tests::{Certificates, Daemon, Identity, PluginDir, Process, Ran, binary, tools};
use rustix::process::Signal;

use crate::calls::echo;

#[tokio::test]
async fn a_plugin_on_tcp_is_reached_by_its_host_only() {
    let plugin = PluginDir::calculator(2).line("transport: tcp");
    let daemon = Daemon::builder().plugin(plugin).start().await;
    let answer = daemon.calculator().add(AddRequest { a: 1.0, b: 2.0 }).await.unwrap();
    assert_eq!(answer.into_inner().value, 3.0);
    let before = daemon.instance("calculator", 0).await;
    let address = before.address.strip_prefix("https://").unwrap_or_else(|| panic!("{before:#?}"));
    // A plaintext client, and one with a certificate of somebody else's.
    let plain = tokio::net::TcpStream::connect(address).await.expect("it listens");
    drop(plain);
    if tools::require_tool("grpcurl") {
        let certificates = Certificates::new();
        let stranger = certificates.issue("stranger", "spiffe://plugmesh.local/host/h");
        let mut command = tools::grpcurl();
        command
            .args(["-insecure", "-connect-timeout", "10", "-cert"])
            .arg(&stranger.cert)
            .arg("-key")
            .arg(&stranger.key);
        let ran = Ran::of(command.arg(address).arg("list")).await;
        assert_ne!(ran.code, 0, "{ran:#?}");
    }
    crate::kills::kill(before.pid);
    daemon.wait_restarted("calculator", &before.instance_id).await;
    daemon.calculator().add(AddRequest::default()).await.expect("with new certificates");
}

/// A probe on TCP with these certificates, for hosts of the same authority.
async fn remote(port: u16, certificates: &Certificates, dir: &Path) -> (Process, String) {
    let own = certificates.issue("plugin", "spiffe://example.org/plugin/probe/probe-0");
    let file = dir.join("address");
    let _ = std::fs::remove_file(&file);
    let mut command = Command::new(binary("probe"));
    command
        .env("PLUGMESH_LISTEN", format!("tcp://127.0.0.1:{port}"))
        .env("PLUGMESH_ADDRESS_FILE", &file)
        .env("PLUGMESH_TLS_CERT_FILE", own.cert)
        .env("PLUGMESH_TLS_KEY_FILE", own.key)
        .env("PLUGMESH_TLS_CLIENT_CA_FILE", certificates.ca());
    let process = Process::start(&mut command);
    assert!(process.wrote("listens on").await, "{}", process.err());
    let address = std::fs::read_to_string(file).unwrap();
    (process, address.trim().replace("tcp://", "https://"))
}

/// Puts the files of a host where its configuration looks for them.
fn install(dir: &Path, certificates: &Certificates) {
    let Identity { cert, key } = certificates.issue("host", "spiffe://example.org/host/h");
    for (from, name) in [(certificates.ca(), "ca.pem"), (&cert, "cert.pem"), (&key, "key.pem")] {
        std::fs::copy(from, dir.join("new")).unwrap();
        std::fs::rename(dir.join("new"), dir.join(name)).unwrap();
    }
}

/// The configuration of a host that finds the probe at `address`, with the files in `dir`.
fn config(address: &str, dir: &Path) -> String {
    let files = dir.display();
    format!(
        "plugins:\n  probe:\n    endpoints: [\"{address}\"]\n    tls:\n      ca: {files}/ca.pem\n      \
         cert: {files}/cert.pem\n      key: {files}/key.pem\n"
    )
}

#[tokio::test]
async fn an_endpoint_that_is_silent_is_given_up_when_the_configuration_says_so() {
    let dir = tempfile::tempdir().unwrap();
    install(dir.path(), &Certificates::new());
    // Connections come up, and nobody ever says anything on them.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://{}", silent.local_addr().unwrap());
    let config = config(&address, dir.path()) + "    connection: {connection_timeout: 120ms}\n";
    let daemon = Daemon::builder().config(config).start().await;
    let plugin = daemon.wait_for("probe", |plugin| !plugin.message.is_empty()).await;
    assert!(plugin.message.contains("took longer than 120ms"), "{plugin:#?}");
}

#[tokio::test]
async fn a_remote_plugin_is_called_and_new_certificates_are_used_once_their_files_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let old = Certificates::new();
    install(dir.path(), &old);
    let (process, address) = remote(0, &old, dir.path()).await;
    let daemon = Daemon::builder().config(config(&address, dir.path())).start().await;
    let answer = daemon.probe().echo(echo("", 0)).await.unwrap().into_inner();
    assert_eq!(answer.pid, u64::from(process.pid()));

    // Another authority altogether: with the old files neither side takes the other any more.
    let port = address.rsplit(':').next().unwrap().parse().unwrap();
    process.end(Signal::KILL).await;
    daemon.wait_for("probe", |plugin| plugin.state() != PluginState::Ready).await;
    let new = Certificates::new();
    let (process, _) = remote(port, &new, dir.path()).await;
    install(dir.path(), &new);
    daemon.wait_ready("probe").await;
    let answer = daemon.probe().echo(echo("", 0)).await.unwrap().into_inner();
    assert_eq!(answer.pid, u64::from(process.pid()));
}
