//! Mutual TLS for clients that have none.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::certificates::{Certificates, Identity};

/// A plaintext address whose connections go on over mutual TLS. Dropping it cuts them.
#[derive(Debug)]
#[must_use = "dropping it cuts its connections"]
pub struct Tunnel {
    address: SocketAddr,
    _accepting: JoinSet<()>,
}

impl Tunnel {
    /// To `HOST:PORT`, which has a certificate of this authority for `localhost`, as `identity`.
    pub async fn open(to: String, authority: &Certificates, identity: &Identity) -> Self {
        let connector = TlsConnector::from(Arc::new(config(authority, identity)));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut plain, _)) = listener.accept().await {
                let (connector, to) = (connector.clone(), to.clone());
                connections.spawn(async move {
                    let secure = TcpStream::connect(to).await?;
                    secure.set_nodelay(true)?;
                    plain.set_nodelay(true)?;
                    let mut secure =
                        connector.connect(ServerName::try_from("localhost").expect("a name"), secure).await?;
                    tokio::io::copy_bidirectional(&mut plain, &mut secure).await.map(drop)
                });
            }
        });
        Self { address, _accepting: accepting }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn config(authority: &Certificates, identity: &Identity) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.ca()).expect("our file")).expect("our certificate");
    let chain = vec![CertificateDer::from_pem_file(&identity.cert).expect("our file")];
    let key = PrivateKeyDer::from_pem_file(&identity.key).expect("our file");
    let builder =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("versions that the provider has");
    let mut config =
        builder.with_root_certificates(roots).with_client_auth_cert(chain, key).expect("our key");
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}
