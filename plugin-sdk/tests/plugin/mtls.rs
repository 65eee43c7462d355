//! TCP with certificates of one launch.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use plugmesh::env;
use plugmesh::plugin::v1::HandshakeRequest;
use rcgen::string::Ia5String;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use crate::support::{Client, Probe, Running, SOON, handshake, plugin, wait_until};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// PEM of a certificate with this URI, and of its key.
fn leaf(authority: &Authority, uri: &str) -> (String, String) {
    let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    params.subject_alt_names.push(SanType::URI(Ia5String::try_from(uri).unwrap()));
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
}

fn tls_variables(directory: &Path, authority: &Authority, uri: &str) -> Vec<(String, String)> {
    let (certificate, key) = leaf(authority, uri);
    let put = |name: &str, pem: &str| {
        let path = directory.join(name);
        fs::write(&path, pem).unwrap();
        path.display().to_string()
    };
    vec![
        (env::LISTEN.into(), "tcp://127.0.0.1:0".into()),
        (env::INSTANCE_ID.into(), "i".into()),
        (env::ADDRESS_FILE.into(), directory.join("address").display().to_string()),
        (env::TLS_CERT_FILE.into(), put("cert.pem", &certificate)),
        (env::TLS_KEY_FILE.into(), put("key.pem", &key)),
        (env::TLS_CLIENT_CA_FILE.into(), put("ca.pem", &authority.pem())),
    ]
}

fn connect(address: SocketAddr, authority: &Authority, identity: Option<(String, String)>) -> Channel {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match identity {
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            config
                .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
                .unwrap()
        }
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tls = TlsConnector::from(Arc::new(config));
    let connector = tower::service_fn(move |_: http::Uri| {
        let tls = tls.clone();
        async move {
            let stream = TcpStream::connect(address).await?;
            tls.connect(ServerName::try_from("localhost").unwrap(), stream).await.map(TokioIo::new)
        }
    });
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector)
}

#[tokio::test]
async fn only_a_host_of_the_same_trust_domain_comes_in() {
    let directory = tempfile::tempdir().unwrap();
    let authority = authority();
    let plugin = plugin().service(Probe::default());
    let context = plugin.context();
    let variables = tls_variables(directory.path(), &authority, "spiffe://mesh.test/plugin/probe/probe-0");
    let ended = tokio::spawn(plugin.environment(variables).serve());
    let address_file = directory.path().join("address");
    wait_until(async || address_file.exists()).await;
    let address = fs::read_to_string(&address_file).unwrap();
    let address: SocketAddr = address.strip_prefix("tcp://").unwrap().parse().unwrap();

    let host = leaf(&authority, "spiffe://mesh.test/host/a");
    Client::new(connect(address, &authority, Some(host))).call("Echo", "").await.unwrap();

    let stranger = self::authority();
    let refused = [
        None,
        Some(leaf(&authority, "spiffe://mesh.test/plugin/other/other-0")),
        Some(leaf(&authority, "spiffe://elsewhere.test/host/a")),
        Some(leaf(&authority, "spiffe://mesh.test/host/")),
        Some(leaf(&stranger, "spiffe://mesh.test/host/a")),
    ];
    for identity in refused {
        let mut client = Client::new(connect(address, &authority, identity.clone()));
        assert!(client.call("Echo", "").await.is_err(), "{identity:?} came in");
    }
    context.shut_down();
    tokio::time::timeout(SOON, ended).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_certificate_without_an_identity_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let variables = tls_variables(directory.path(), &authority(), "https://example.org");
    let error = plugin().environment(variables).serve().await.unwrap_err();
    assert!(error.to_string().contains("has no SPIFFE URI"), "{error}");
}

#[tokio::test]
async fn a_plugin_calls_a_gateway_over_tls() {
    let directory = tempfile::tempdir().unwrap();
    let authority = authority();
    // Stands in for a gateway: a server whose certificate is of the CA of the handshake. It wants a client
    // certificate that plugins do not have, so that the TLS handshake is as far as the call comes.
    let gateway = plugin().service(Probe::default());
    let context = gateway.context();
    let variables = tls_variables(directory.path(), &authority, "spiffe://mesh.test/host/a");
    let ended = tokio::spawn(gateway.environment(variables).serve());
    let address_file = directory.path().join("address");
    wait_until(async || address_file.exists()).await;
    let address = fs::read_to_string(&address_file).unwrap().replace("tcp://127.0.0.1", "https://localhost");

    let running = Running::start(plugin()).await;
    let mut callback = crate::support::callback(address, "secret");
    let request = HandshakeRequest { callback: Some(callback.clone()), ..handshake(1) };
    running.contract().handshake(request).await.unwrap();
    let status = Client::new(running.context.gateway()).call("Echo", "").await.unwrap_err();
    assert!(status.message().ends_with("the handshake brought no CA certificates for it"), "{status}");

    callback.ca_certificates_pem = authority.pem();
    let request = HandshakeRequest { callback: Some(callback), ..handshake(2) };
    running.contract().handshake(request).await.unwrap();
    let status = Client::new(running.context.gateway()).call("Echo", "").await.unwrap_err();
    assert!(!status.message().contains("UnknownIssuer"), "{status}");
    context.shut_down();
    tokio::time::timeout(SOON, ended).await.unwrap().unwrap().unwrap();
}
