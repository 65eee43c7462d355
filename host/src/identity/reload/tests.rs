use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;

use super::*;
use crate::identity::tests::{Mesh, handshake, instance};
use crate::identity::{Leaf, plugin_server_name, watch_server_config};
use crate::name::InstanceId;

/// Far longer than anything here takes; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<F: Future>(what: &str, event: F) -> F::Output {
    tokio::time::timeout(PATIENCE, event).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

async fn renewed(current: &mut Current<ServerConfig>) -> (u64, Arc<ServerConfig>) {
    soon("renewal", current.changed()).await.expect("the watch is on")
}

fn fresh(mesh: &Mesh) -> Leaf {
    mesh.authority.issue_plugin(&instance(), &InstanceId::random()).unwrap()
}

/// The certificate that a server with these settings really presents to our host.
async fn presented(mesh: &Mesh, leaf: &Leaf, server: Arc<ServerConfig>) -> CertificateDer<'static> {
    let client = mesh.host.client_config_for_plugin(leaf.spiffe_id().clone()).unwrap();
    let (client, _server) = handshake(client, plugin_server_name(), server).await.unwrap();
    client.get_ref().1.peer_certificates().unwrap()[0].clone()
}

#[tokio::test]
async fn files_renamed_over_are_taken_up_each_time() {
    let mesh = Mesh::new();
    let watched = watch_server_config(mesh.files.clone()).unwrap();
    let mut current = watched.current();
    assert_eq!(current.version(), 1);
    for _ in 0..2 {
        let leaf = fresh(&mesh);
        leaf.write_files(&mesh.authority, mesh.dir.path()).unwrap();
        // Only a whole pair makes a version, so this is not half of it.
        let (_, server) = renewed(&mut current).await;
        assert_eq!(presented(&mesh, &leaf, server).await, leaf.chain()[0]);
    }
    soon("the end", watched.stop()).await;
    assert!(current.changed().await.is_none());
}

#[tokio::test]
async fn broken_files_keep_the_old_value_and_are_reported_until_mended() {
    let mesh = Mesh::new();
    let watched = watch_server_config(mesh.files.clone()).unwrap();
    let (mut current, mut fault) = (watched.current(), watched.fault());
    let before = watched.load();
    for (contents, expected) in [("garbage", "is not PEM"), (fresh(&mesh).chain_pem(), "is not the key of")] {
        fs::write(&mesh.files.cert, contents).unwrap();
        let wanted = |fault: &Option<Arc<WatchError>>| {
            fault.as_ref().is_some_and(|error| error.to_string().contains(expected))
        };
        soon(expected, fault.wait_for(wanted)).await.unwrap();
        assert_eq!(current.version(), 1);
        assert!(Arc::ptr_eq(&before, &watched.load()));
    }
    fs::remove_file(&mesh.files.key).unwrap();
    let gone = |fault: &Option<Arc<WatchError>>| {
        fault.as_ref().is_some_and(|error| error.to_string().contains("cannot be read"))
    };
    soon("a fault", fault.wait_for(gone)).await.unwrap();

    let leaf = fresh(&mesh);
    leaf.write_files(&mesh.authority, mesh.dir.path()).unwrap();
    let (version, server) = renewed(&mut current).await;
    assert_eq!(version, 2);
    assert_eq!(presented(&mesh, &leaf, server).await, leaf.chain()[0]);
    soon("mending", fault.wait_for(Option::is_none)).await.unwrap();
}

/// Points `dir/..data` at a new directory with `leaf`, as a Kubernetes kubelet does.
fn publish(mesh: &Mesh, leaf: &Leaf, dir: &Path, generation: &str) {
    let target = dir.join(generation);
    fs::create_dir(&target).unwrap();
    leaf.write_files(&mesh.authority, &target).unwrap();
    symlink(generation, dir.join("..data_tmp")).unwrap();
    fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
}

#[tokio::test]
async fn links_that_are_swapped_are_followed() {
    let mesh = Mesh::new();
    let dir = tempfile::tempdir().unwrap();
    publish(&mesh, &fresh(&mesh), dir.path(), "..1");
    let link = |name: &str| {
        symlink(Path::new("..data").join(name), dir.path().join(name)).unwrap();
        dir.path().join(name)
    };
    let files = TlsFiles { cert: link("tls-cert.pem"), key: link("tls-key.pem"), ca: link("tls-ca.pem") };
    let watched = watch_server_config(files).unwrap();
    let mut current = watched.current();
    for (generation, old) in [("..2", "..1"), ("..3", "..2")] {
        let leaf = fresh(&mesh);
        publish(&mesh, &leaf, dir.path(), generation);
        fs::remove_dir_all(dir.path().join(old)).unwrap();
        let (_, server) = renewed(&mut current).await;
        assert_eq!(presented(&mesh, &leaf, server).await, leaf.chain()[0]);
    }
    // The last one is watched where it really is.
    let leaf = fresh(&mesh);
    leaf.write_files(&mesh.authority, &dir.path().join("..3")).unwrap();
    let (_, server) = renewed(&mut current).await;
    assert_eq!(presented(&mesh, &leaf, server).await, leaf.chain()[0]);
}

#[tokio::test]
async fn a_directory_that_is_replaced_is_found_again() {
    let mesh = Mesh::new();
    let base = tempfile::tempdir().unwrap();
    let dir = base.path().join("tls");
    fs::create_dir(&dir).unwrap();
    let files = mesh.plugin.write_files(&mesh.authority, &dir).unwrap();
    let watched = watch_server_config(files).unwrap();
    let (mut current, mut fault) = (watched.current(), watched.fault());
    fs::rename(&dir, base.path().join("old")).unwrap();
    soon("a fault", fault.wait_for(Option::is_some)).await.unwrap();
    fs::create_dir(&dir).unwrap();
    let leaf = fresh(&mesh);
    leaf.write_files(&mesh.authority, &dir).unwrap();
    let (_, server) = renewed(&mut current).await;
    assert_eq!(presented(&mesh, &leaf, server).await, leaf.chain()[0]);
}

#[tokio::test]
async fn dropping_the_owner_ends_the_watch_and_keeps_the_value() {
    let mesh = Mesh::new();
    let watched = watch_server_config(mesh.files.clone()).unwrap();
    let mut current = watched.current();
    drop(watched);
    assert!(soon("the end", current.changed()).await.is_none());
    assert_eq!(current.load().alpn_protocols[0], b"h2");
    assert!(Current::fixed(current.load()).changed().await.is_none());
}

#[tokio::test]
async fn bad_files_at_the_start_are_an_error() {
    let mesh = Mesh::new();
    fs::write(&mesh.files.ca, "").unwrap();
    let error = watch_server_config(mesh.files.clone()).unwrap_err().to_string();
    assert!(error.starts_with(&mesh.files.ca.display().to_string()), "{error}");
}
