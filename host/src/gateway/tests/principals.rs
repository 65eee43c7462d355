//! Who may call, and as whom.

use std::sync::Arc;

use crate::identity::Current;
use arc_swap::ArcSwap;
use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::Code;

use super::support::*;
use crate::gateway::{Address, Limits, Listen};
use crate::name::InstanceName;

/// A certificate authority for a test.
pub(super) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub(super) certificate: rcgen::Certificate,
}

pub(super) struct Leaf {
    pub(super) certificate: rcgen::Certificate,
    pub(super) key: KeyPair,
}

impl Ca {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    pub(super) fn leaf(&self, uris: &[&str]) -> Leaf {
        let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let uris = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap()));
        params.subject_alt_names.extend(uris);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf { certificate, key }
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        Arc::new(roots)
    }

    pub(super) fn server(&self) -> ServerConfig {
        let leaf = self.leaf(&["spiffe://test/host/a"]);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(self.roots(), provider.clone()).build().unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(leaf.chain(), leaf.private_key())
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }

    /// Connects as `leaf`, or as nobody.
    async fn connect(
        &self,
        address: std::net::SocketAddr,
        leaf: Option<Leaf>,
    ) -> Result<h2::client::SendRequest<Bytes>, Box<dyn std::error::Error>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots());
        let mut config = match leaf {
            Some(leaf) => config.with_client_auth_cert(leaf.chain(), leaf.private_key())?,
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let tcp = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost")?;
        let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        let (client, connection) = h2::client::handshake(tls).await?;
        tokio::spawn(connection);
        Ok(client.ready().await?)
    }
}

impl Leaf {
    fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.der().clone()]
    }

    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }
}

fn admin() -> tonic::service::Routes {
    tonic::service::Routes::default().add_service(Admin)
}

/// Answers every method with who called.
#[derive(Clone)]
struct Admin;

impl tonic::server::NamedService for Admin {
    const NAME: &'static str = "plugmesh.admin.v1.AdminService";
}

impl tower_service::Service<http::Request<tonic::body::Body>> for Admin {
    type Response = http::Response<tonic::body::Body>;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let principal = crate::gateway::Principal::of(request.extensions()).unwrap();
        let mut response = tonic::Status::ok("").into_http();
        response.headers_mut().insert("x-principal", principal.to_string().parse().unwrap());
        std::future::ready(Ok(response))
    }
}

fn get_host() -> http::request::Builder {
    grpc("/plugmesh.admin.v1.AdminService/GetHost")
}

async fn with_tcp() -> (Running, Ca, std::net::SocketAddr, std::net::SocketAddr, Arc<ArcSwap<ServerConfig>>) {
    let ca = Ca::new();
    let tls = Arc::new(ArcSwap::from_pointee(ca.server()));
    let any = "127.0.0.1:0".parse().unwrap();
    let listen = vec![
        Listen::Tls { address: any, tls: Current::over(tls.clone()) },
        Listen::InsecureTcp { address: any },
    ];
    let known = Arc::default();
    let running = start_with(upstream(echo), Limits::default(), listen, Some(admin()), known).await;
    let (Address::Tls(secure), Address::InsecureTcp(plain)) =
        (&running.handle.addresses()[0], &running.handle.addresses()[1])
    else {
        panic!("{:?}", running.handle.addresses());
    };
    let (secure, plain) = (*secure, *plain);
    (running, ca, secure, plain, tls)
}

#[tokio::test]
async fn the_owner_of_the_socket_is_the_operator() {
    let running = start_with(upstream(echo), Limits::default(), vec![], Some(admin()), Arc::default()).await;
    let answer = call(&running.client().await, get_host().body(()).unwrap(), message(0)).await;
    assert_eq!(answer.head.headers["x-principal"], "operator");
}

#[tokio::test]
async fn a_process_of_a_plugin_is_that_plugin_whatever_it_says() {
    let running = start_with(upstream(echo), Limits::default(), vec![], Some(admin()), Arc::default()).await;
    let text = InstanceName::new(plugin("text"), 1);
    running.known.pids.lock().unwrap().insert(std::process::id() as i32, text);
    running.known.tokens.lock().unwrap().insert("t0".into(), InstanceName::new(plugin("other"), 0));
    let client = running.client().await;
    let request = say().header("plugmesh-token", "t0").header("plugmesh-caller", "operator");
    let answer = call(&client, request.body(()).unwrap(), message(0)).await;
    assert_eq!(answer.trailers["plugmesh-caller"], "plugin/text/text-1");
    assert!(!answer.trailers.contains_key("plugmesh-token"));
    let answer = call(&client, get_host().body(()).unwrap(), message(0)).await;
    assert_eq!(answer.status().code(), Code::PermissionDenied);
    assert!(answer.status().message().contains("text-1 may not call AdminService"), "{}", answer.status());
}

#[tokio::test]
async fn a_callback_token_names_the_plugin() {
    let running = start_with(upstream(echo), Limits::default(), vec![], Some(admin()), Arc::default()).await;
    let name = InstanceName::new(plugin("text"), 0);
    running.known.tokens.lock().unwrap().insert("secret".into(), name);
    let client = running.client().await;
    let with =
        |request: http::request::Builder, token| request.header("plugmesh-token", token).body(()).unwrap();
    let answer = call(&client, with(say(), "secret"), message(0)).await;
    assert_eq!(answer.trailers["plugmesh-caller"], "plugin/text/text-0");
    assert!(!answer.trailers.contains_key("plugmesh-token"));
    let answer = call(&client, with(get_host(), "secret"), message(0)).await;
    assert_eq!(answer.status().code(), Code::PermissionDenied);
    let answer = call(&client, with(say(), "stale"), message(0)).await;
    assert_eq!(answer.status().code(), Code::Unauthenticated);
    assert!(!answer.status().message().contains("stale"), "a token is not repeated");
}

#[tokio::test]
async fn a_control_service_is_not_routed() {
    let running = start(upstream(echo), Limits::default()).await;
    let client = running.client().await;
    for path in ["/plugmesh.plugin.v1.PluginService/Drain", "/plugin.GRPCBroker/StartStream"] {
        let answer = call(&client, grpc(path).body(()).unwrap(), message(0)).await;
        assert_eq!(answer.status().code(), Code::PermissionDenied, "{path}");
    }
}

#[tokio::test]
async fn over_tls_the_certificate_names_the_caller() {
    let (_running, ca, secure, plain, _) = with_tcp().await;
    let listed = ca.connect(secure, Some(ca.leaf(&["spiffe://test/operator"]))).await.unwrap();
    let answer = call(&listed, say().body(()).unwrap(), message(3)).await;
    assert_eq!(answer.trailers["plugmesh-caller"], "identity/spiffe://test/operator");
    let answer = call(&listed, get_host().body(()).unwrap(), message(0)).await;
    assert_eq!(answer.head.headers["x-principal"], "identity/spiffe://test/operator");
    let other = ca.connect(secure, Some(ca.leaf(&["spiffe://test/other"]))).await.unwrap();
    let answer = call(&other, get_host().body(()).unwrap(), message(0)).await;
    assert_eq!(answer.status().code(), Code::PermissionDenied);
    assert!(answer.status().message().contains("list it under `admin:`"), "{}", answer.status());
    let (insecure, connection) =
        h2::client::handshake(TcpStream::connect(plain).await.unwrap()).await.unwrap();
    tokio::spawn(connection);
    let answer = call(&insecure, get_host().body(()).unwrap(), message(0)).await;
    assert_eq!(answer.status().code(), Code::PermissionDenied);
    let answer = call(&insecure, say().body(()).unwrap(), message(0)).await;
    assert_eq!(answer.trailers["plugmesh-caller"], "anonymous");
}

/// In TLS 1.3 a client learns of its refusal with its first read.
async fn is_refused(connected: Result<h2::client::SendRequest<Bytes>, Box<dyn std::error::Error>>) -> bool {
    let Ok(mut client) = connected else { return true };
    let Ok((response, _)) = client.send_request(say().body(()).unwrap(), true) else { return true };
    tokio::time::timeout(PATIENCE, response).await.unwrap().is_err()
}

#[tokio::test]
async fn certificates_that_do_not_name_one_caller_are_refused() {
    let (_running, ca, secure, _, _) = with_tcp().await;
    assert!(is_refused(ca.connect(secure, None).await).await);
    assert!(is_refused(ca.connect(secure, Some(ca.leaf(&[]))).await).await);
    let two = ca.leaf(&["spiffe://test/a", "spiffe://test/b"]);
    assert!(is_refused(ca.connect(secure, Some(two)).await).await);
    let stranger = Ca::new().leaf(&["spiffe://test/operator"]);
    assert!(is_refused(ca.connect(secure, Some(stranger)).await).await);
}

#[tokio::test]
async fn a_new_tls_configuration_holds_for_new_connections() {
    let (_running, old, secure, _, tls) = with_tcp().await;
    let before = old.connect(secure, Some(old.leaf(&["spiffe://test/a"]))).await.unwrap();
    let new = Ca::new();
    tls.store(Arc::new(new.server()));
    let after = new.connect(secure, Some(new.leaf(&["spiffe://test/b"]))).await.unwrap();
    for client in [before, after] {
        assert_eq!(call(&client, say().body(()).unwrap(), message(1)).await.status().code(), Code::Ok);
    }
    assert!(old.connect(secure, Some(old.leaf(&["spiffe://test/a"]))).await.is_err());
}
