//! Handshakes for real, over an in-memory pipe.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ServerConfig};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::authority::{Usage, Validity};
use super::*;
use crate::name::{InstanceId, InstanceName};
use crate::spiffe::SpiffeId;

/// An authority, a plugin's leaf in a directory, and the host's credentials.
pub(super) struct Mesh {
    pub(super) authority: Authority,
    pub(super) dir: TempDir,
    pub(super) plugin: Leaf,
    pub(super) files: TlsFiles,
    pub(super) host: HostCredentials,
}

pub(super) fn instance() -> InstanceName {
    InstanceName::new("calculator".parse().unwrap(), 0)
}

impl Mesh {
    pub(super) fn new() -> Self {
        let authority = Authority::generate("plugmesh.test".parse().unwrap()).unwrap();
        let plugin = authority.issue_plugin(&instance(), &InstanceId::random()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let files = plugin.write_files(&authority, dir.path()).unwrap();
        let host = HostCredentials::new(&authority, &authority.issue_host("h1").unwrap()).unwrap();
        Self { authority, dir, plugin, files, host }
    }

    fn client(&self) -> Arc<ClientConfig> {
        self.host.client_config_for_plugin(self.plugin.spiffe_id().clone()).unwrap()
    }

    fn server(&self) -> Arc<ServerConfig> {
        server_config_from_files(&self.files).unwrap()
    }

    fn past_leaf(&self, usage: Usage) -> Leaf {
        let now = SystemTime::now();
        let minute = Duration::from_secs(60);
        let id = self.plugin.spiffe_id().clone();
        self.authority
            .issue("late", id, usage, Validity { from: now - 9 * minute, until: now - minute })
            .unwrap()
    }
}

type Ends = (client::TlsStream<DuplexStream>, server::TlsStream<DuplexStream>);

/// Both ends after a byte each way, since in TLS 1.3 a client learns by reading that it was refused.
pub(super) async fn handshake(
    client: Arc<ClientConfig>,
    name: ServerName<'static>,
    server: Arc<ServerConfig>,
) -> Result<Ends, String> {
    let (near, far) = duplex(1 << 16);
    let dial = async {
        let mut stream = TlsConnector::from(client).connect(name, near).await?;
        stream.write_u8(1).await?;
        stream.flush().await?;
        stream.read_u8().await?;
        std::io::Result::Ok(stream)
    };
    let accept = async {
        let mut stream = TlsAcceptor::from(server).accept(far).await?;
        stream.read_u8().await?;
        stream.write_u8(1).await?;
        stream.flush().await?;
        std::io::Result::Ok(stream)
    };
    let both = async { tokio::join!(dial, accept) };
    match tokio::time::timeout(Duration::from_secs(20), both).await.expect("the handshake hangs") {
        (Ok(client), Ok(server)) => Ok((client, server)),
        (client, server) => {
            let told = |error: Option<std::io::Error>| error.map(|error| format!("{error} ({error:?})"));
            Err(format!("client: {:?}; server: {:?}", told(client.err()), told(server.err())))
        }
    }
}

async fn refused(client: Arc<ClientConfig>, server: Arc<ServerConfig>, why: &str) {
    let error = handshake(client, plugin_server_name(), server).await.expect_err("it was taken");
    assert!(error.contains(why), "{error}");
}

/// A server that presents `leaf` and asks for nothing, whatever is wrong with the leaf.
fn careless_server(leaf: &Leaf) -> Arc<ServerConfig> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(leaf.chain().to_vec(), leaf.key().clone_key())
        .unwrap();
    Arc::new(config)
}

#[tokio::test]
async fn host_and_plugin_of_one_run_trust_each_other() {
    let mesh = Mesh::new();
    let (client, server) = handshake(mesh.client(), plugin_server_name(), mesh.server()).await.unwrap();
    let peer = PeerIdentity::of_client(&server).unwrap();
    assert_eq!(peer.as_str(), "spiffe://plugmesh.test/host/h1");
    assert_eq!(client.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(client.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
}

#[tokio::test]
async fn tls_1_2_is_served_as_well() {
    let mesh = Mesh::new();
    let server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(mesh.plugin.chain().to_vec(), mesh.plugin.key().clone_key())
        .unwrap();
    let (_client, server) = handshake(mesh.client(), plugin_server_name(), Arc::new(server)).await.unwrap();
    assert_eq!(PeerIdentity::of_client(&server), Err(NoPeerCertificate::Absent));
}

#[tokio::test]
async fn another_incarnation_is_refused() {
    let mesh = Mesh::new();
    let later = mesh.authority.issue_plugin(&instance(), &InstanceId::random()).unwrap();
    let client = mesh.host.client_config_for_plugin(later.spiffe_id().clone()).unwrap();
    refused(client, mesh.server(), "is expected at this address").await;
}

#[tokio::test]
async fn the_host_leaf_is_no_server_certificate() {
    let mesh = Mesh::new();
    // It holds no DNS name either; here only its purpose counts.
    let leaf = mesh.authority.issue_host("h2").unwrap();
    let peer = PeerName::Spiffe(leaf.spiffe_id().clone());
    let client = client_config_from_files(&mesh.files, &peer).unwrap();
    refused(client, careless_server(&leaf), "ServerAuth").await;
}

#[tokio::test]
async fn a_plugin_leaf_is_no_client_certificate() {
    let mesh = Mesh::new();
    let posing = HostCredentials::new(&mesh.authority, &mesh.plugin).unwrap();
    let client = posing.client_config_for_plugin(mesh.plugin.spiffe_id().clone()).unwrap();
    refused(client, mesh.server(), "ClientAuth").await;
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let mesh = Mesh::new();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(mesh.authority.certificate().clone()).unwrap();
    let mut client = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"h2".to_vec()];
    refused(Arc::new(client), mesh.server(), "NoCertificatesPresented").await;
}

#[tokio::test]
async fn another_authority_is_refused_on_both_sides() {
    let (mesh, other) = (Mesh::new(), Mesh::new());
    let client = mesh.host.client_config_for_plugin(other.plugin.spiffe_id().clone()).unwrap();
    refused(client, other.server(), "UnknownIssuer").await;
    let client = other.host.client_config_for_plugin(mesh.plugin.spiffe_id().clone()).unwrap();
    // This one trusts the server, and is itself the one refused.
    let mut trusting = mesh.client().as_ref().clone();
    trusting.client_auth_cert_resolver = client.client_auth_cert_resolver.clone();
    refused(Arc::new(trusting), mesh.server(), r#"server: Some("invalid peer certificate: "#).await;
}

#[tokio::test]
async fn expired_certificates_are_refused_on_both_sides() {
    let mesh = Mesh::new();
    refused(mesh.client(), careless_server(&mesh.past_leaf(Usage::Server)), "Expired").await;
    let late = HostCredentials::new(&mesh.authority, &mesh.past_leaf(Usage::Client)).unwrap();
    let client = late.client_config_for_plugin(mesh.plugin.spiffe_id().clone()).unwrap();
    refused(client, mesh.server(), "Expired").await;
}

#[tokio::test]
async fn a_copied_certificate_without_its_key_is_refused() {
    let mesh = Mesh::new();
    let other = mesh.authority.issue_plugin(&instance(), &InstanceId::random()).unwrap();
    let key = provider().key_provider.load_private_key(other.key().clone_key()).unwrap();
    let posing = Arc::new(SingleCertAndKey::from(CertifiedKey::new(mesh.plugin.chain().to_vec(), key)));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(posing.clone());
        refused(mesh.client(), Arc::new(server), "BadSignature").await;
    }
}

#[tokio::test]
async fn a_remote_server_is_known_by_dns_name_or_by_spiffe_id() {
    let mesh = Mesh::new();
    let host = mesh.authority.issue_host("h1").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let files = host.write_files(&mesh.authority, dir.path()).unwrap();
    let dial = async |peer: PeerName| {
        let client = client_config_from_files(&files, &peer).unwrap();
        handshake(client, peer.server_name("plugins.example"), mesh.server()).await.map(drop)
    };
    dial("localhost".parse().unwrap()).await.unwrap();
    dial("127.0.0.1".parse().unwrap()).await.unwrap();
    dial("::1".parse().unwrap()).await.unwrap();
    dial(PeerName::Spiffe(mesh.plugin.spiffe_id().clone())).await.unwrap();
    let error = dial("plugins.example".parse().unwrap()).await.unwrap_err();
    assert!(error.contains("NotValidForName"), "{error}");
    let error = dial("spiffe://plugmesh.test/plugin/other/1".parse().unwrap()).await.unwrap_err();
    assert!(error.contains("is expected at this address"), "{error}");
    assert!("spiffe://X/".parse::<PeerName>().is_err() && "a b".parse::<PeerName>().is_err());
}

#[tokio::test]
async fn no_session_is_resumed() {
    let mesh = Mesh::new();
    let mut willing = mesh.client().as_ref().clone();
    willing.resumption = rustls::client::Resumption::in_memory_sessions(8);
    let pairs = [(mesh.client(), careless_server(&mesh.plugin)), (Arc::new(willing), mesh.server())];
    for (client, server) in pairs {
        for _ in 0..2 {
            let ends = handshake(client.clone(), plugin_server_name(), server.clone()).await.unwrap();
            assert_eq!(ends.0.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Full));
        }
    }
}

#[test]
fn a_leaf_must_have_one_uri_and_it_must_be_a_spiffe_id() {
    let with = |names: &[&str]| {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "alice");
        params.subject_alt_names =
            names.iter().map(|uri| rcgen::SanType::URI((*uri).try_into().unwrap())).collect();
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    };
    assert_eq!(SpiffeId::of_leaf(&with(&["spiffe://d/x"])).unwrap().as_str(), "spiffe://d/x");
    assert_eq!(SpiffeId::of_leaf(&with(&[])), Err(CertificateError::NoUri));
    let two = with(&["spiffe://d/x", "https://d/x"]);
    assert_eq!(SpiffeId::of_leaf(&two), Err(CertificateError::ManyUris(2)));
    assert!(matches!(SpiffeId::of_leaf(&with(&["https://d/x"])), Err(CertificateError::NotSpiffe(_))));
    assert!(matches!(SpiffeId::of_leaf(&vec![0; 9].into()), Err(CertificateError::Malformed(_))));

    // A server that asks who calls takes a name where there is no SPIFFE ID, but no ambiguous one.
    assert_eq!(PeerIdentity::of_leaf(&with(&[])), Ok(PeerIdentity::CommonName("alice".into())));
    assert_eq!(PeerIdentity::of_leaf(&with(&["https://d/x"])), Ok(PeerIdentity::CommonName("alice".into())));
    assert_eq!(PeerIdentity::of_leaf(&two), Err(CertificateError::ManyUris(2)));
}

#[test]
fn a_name_that_could_pass_for_a_spiffe_id_is_none() {
    let named = |common: &str, dns: &str| {
        let mut params = rcgen::CertificateParams::new([dns.to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, common);
        let key = rcgen::KeyPair::generate().unwrap();
        PeerIdentity::of_leaf(params.self_signed(&key).unwrap().der())
    };
    let dns = Ok(PeerIdentity::Dns("app.example".into()));
    for common in ["spiffe://d/host/x", "a\nb", "ü", " ", &"x".repeat(300)] {
        assert_eq!(named(common, "app.example"), dns, "{common:?}");
    }
    assert_eq!(named("", "spiffe://d/x"), Err(CertificateError::Nameless));
}

#[cfg(unix)]
#[test]
fn files_are_for_our_user_only_and_replace_earlier_ones() {
    use std::os::unix::fs::PermissionsExt;
    let mesh = Mesh::new();
    // As an interrupted write would leave it.
    fs::write(mesh.dir.path().join("tls-key.pem.new"), "half").unwrap();
    let next = mesh.authority.issue_plugin(&instance(), &InstanceId::random()).unwrap();
    let files = next.write_files(&mesh.authority, mesh.dir.path()).unwrap();
    assert_eq!(fs::read_to_string(&files.key).unwrap(), next.key_pem());
    assert_eq!(fs::read_to_string(&files.cert).unwrap(), next.chain_pem());
    for path in files.paths() {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(fs::read_dir(mesh.dir.path()).unwrap().count(), 3);
    let error = next.write_files(&mesh.authority, Path::new("/nonexistent")).unwrap_err();
    assert!(error.to_string().starts_with("could not write /nonexistent/tls-cert.pem: "), "{error}");
}

#[test]
fn no_secret_is_printed() {
    let mesh = Mesh::new();
    let shown = format!("{:?} {:?} {:?}", mesh.plugin, mesh.authority, mesh.host);
    let secret = mesh.plugin.key_pem().lines().nth(1).unwrap();
    assert!(shown.contains("[redacted]") && !shown.contains(secret), "{shown}");
}

#[test]
fn openssl_takes_the_certificates_for_their_purpose_only() {
    let mesh = Mesh::new();
    #[allow(clippy::disallowed_methods, reason = "a test that runs a tool, not a plugin")]
    let verify = |args: &[&str]| {
        let mut command = std::process::Command::new("openssl");
        command
            .args(["verify", "-x509_strict", "-CAfile"])
            .arg(&mesh.files.ca)
            .args(args)
            .arg(&mesh.files.cert);
        command.output()
    };
    let good = match verify(&[
        "-purpose",
        "sslserver",
        "-verify_hostname",
        "localhost",
        "-verify_ip",
        "127.0.0.1",
    ]) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let required = std::env::var_os("PLUGMESH_REQUIRE_TOOLS").is_some_and(|value| value == "1");
            assert!(!required, "openssl is required and not installed");
            println!("SKIPPED: openssl is not installed, so it did not check our certificates");
            return;
        }
        other => other.unwrap(),
    };
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    let bad = verify(&["-purpose", "sslclient"]).unwrap();
    let report = String::from_utf8_lossy(&bad.stderr);
    assert!(!bad.status.success() && report.contains("purpose"), "{report}");
}
