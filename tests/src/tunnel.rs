//! TLS for clients and servers that have none.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::certificates::{Certificates, Identity};

/// An address whose connections go on with TLS put on or taken off. Dropping it cuts them.
#[derive(Debug)]
#[must_use = "dropping it cuts its connections"]
pub struct Tunnel {
    address: SocketAddr,
    _accepting: JoinSet<()>,
}

impl Tunnel {
    /// From plaintext to `HOST:PORT`, which has a certificate of this authority for `localhost`, as `identity`.
    pub async fn open(to: String, authority: &Certificates, identity: &Identity) -> Self {
        Self::speaking(b"h2", to, authority, identity).await
    }

    /// The same for a client that speaks `protocol` and nothing else, by its name in ALPN.
    pub async fn speaking(
        protocol: &[u8],
        to: String,
        authority: &Certificates,
        identity: &Identity,
    ) -> Self {
        let connector = TlsConnector::from(Arc::new(client(protocol, authority, identity)));
        Self::relay(move |mut plain| {
            let (connector, to) = (connector.clone(), to.clone());
            async move {
                let secure = TcpStream::connect(to).await?;
                secure.set_nodelay(true)?;
                let name = ServerName::try_from("localhost").expect("a name");
                let mut secure = connector.connect(name, secure).await?;
                tokio::io::copy_bidirectional(&mut plain, &mut secure).await.map(drop)
            }
        })
        .await
    }

    /// From TLS, with the certificate of `identity`, to a server in plaintext.
    pub async fn in_front_of(to: SocketAddr, identity: &Identity) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(server(identity)));
        Self::relay(move |secure| {
            let acceptor = acceptor.clone();
            async move {
                let mut secure = acceptor.accept(secure).await?;
                let mut plain = TcpStream::connect(to).await?;
                tokio::io::copy_bidirectional(&mut secure, &mut plain).await.map(drop)
            }
        })
        .await
    }

    async fn relay<F>(relay: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                if stream.set_nodelay(true).is_ok() {
                    connections.spawn(relay(stream));
                }
            }
        });
        Self { address, _accepting: accepting }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn client(protocol: &[u8], authority: &Certificates, identity: &Identity) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.ca()).expect("our file")).expect("our certificate");
    let (chain, key) = files(identity);
    let builder =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("versions that the provider has");
    let mut config =
        builder.with_root_certificates(roots).with_client_auth_cert(chain, key).expect("our key");
    config.alpn_protocols = vec![protocol.to_vec()];
    config
}

fn server(identity: &Identity) -> ServerConfig {
    let (chain, key) = files(identity);
    let builder =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("versions that the provider has");
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).expect("our key");
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

fn files(identity: &Identity) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = vec![CertificateDer::from_pem_file(&identity.cert).expect("our file")];
    (chain, PrivateKeyDer::from_pem_file(&identity.key).expect("our file"))
}
