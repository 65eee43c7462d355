//! Hosts on TCP: plaintext on loopback, and mutual TLS.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

use super::support::{Ran, admin, plugmesh, runtime};

/// Starts a host on a free port, with TLS if asked; it ends with the runtime.
fn serve(tls: Option<ServerTlsConfig>) -> (tokio::runtime::Runtime, u16) {
    let runtime = runtime();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut server = Server::builder();
    if let Some(tls) = tls {
        server = server.tls_config(tls).unwrap();
    }
    let router = server.add_service(admin(&std::sync::Arc::default()));
    runtime.spawn(router.serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener)));
    (runtime, port)
}

fn run(args: &[&str], place: &Path) -> Ran {
    Ran::of(plugmesh(args).output().unwrap(), place)
}

#[test]
fn plaintext_on_loopback_works() {
    let (_runtime, port) = serve(None);
    let ran = run(&["status", "--host", &format!("http://127.0.0.1:{port}")], Path::new("/no/place"));
    assert!(ran.code == 0 && ran.out.contains("1 of 2 ready"), "{ran:?}");
    let ran = run(
        &["endpoint", "calculator", "--host", &format!("http://127.0.0.1:{port}")],
        Path::new("/no/place"),
    );
    assert!(
        ran.out.contains(&format!(
            "grpcurl -plaintext -H 'plugmesh-plugin: calculator' 127.0.0.1:{port} list\n"
        )),
        "{}",
        ran.out
    );
}

#[test]
fn mutual_tls_takes_three_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let leaf = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        (leaf.pem(), key.serialize_pem())
    };
    let (cert, key) = leaf("localhost");
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(cert, key))
        .client_ca_root(Certificate::from_pem(ca.pem()));
    let (_runtime, port) = serve(Some(tls));

    let (cert, key) = leaf("me");
    let write = |name: &str, pem: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, pem).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let (ca, cert, key) = (write("ca.pem", &ca.pem()), write("cert.pem", &cert), write("key.pem", &key));
    let host = format!("https://localhost:{port}");
    let with = |args: &[&str]| run(&[&["status", "--host", &host], args].concat(), folder.path());

    let ran = with(&["--ca", &ca, "--cert", &cert, "--key", &key]);
    assert!(ran.code == 0 && ran.out.contains("1 of 2 ready"), "{ran:?}");
    assert_ne!(with(&["--ca", &ca]).code, 0);
    let stranger = with(&["--ca", &cert, "--cert", &cert, "--key", &key]);
    let start = format!("error: cannot connect to {host}\n  caused by: ");
    let next = "  next: check the address, and that --ca, --cert and --key belong to this host\n";
    assert!(
        stranger.code == 1 && stranger.err.starts_with(&start) && stranger.err.ends_with(next),
        "{}",
        stranger.err
    );
    with(&["--ca", &ca, "--cert", &cert]).failed(
        2,
        &format!(
            "error: {host} needs the key of the certificate\n  next: say --ca FILE, and --cert FILE --key FILE when the host asks for a certificate\n"
        ),
    );
    let missing = with(&["--ca", "/no/such.pem"]);
    missing
        .failed(1, "error: cannot read /no/such.pem\n  caused by: No such file or directory (os error 2)\n");

    // The same flags, as grpcurl spells them.
    let ran = run(
        &["endpoint", "calculator", "--host", &host, "--ca", &ca, "--cert", &cert, "--key", &key],
        folder.path(),
    );
    let line = format!(
        "grpcurl -cacert PLACE/ca.pem -cert PLACE/cert.pem -key PLACE/key.pem -H 'plugmesh-plugin: calculator' localhost:{port} list\n"
    );
    assert!(ran.out.contains(&line), "{}", ran.out);
}
