//! The gateway's addresses, from the configuration.

use std::path::PathBuf;

use rustls::ServerConfig;

use super::HostError;
use crate::config::{Config, GatewayLimits, TcpSecurity};
use crate::gateway::{self, Address, Bound, Gateway, Limits, Listen};
use crate::identity::{TlsFiles, Watched, watch_server_config};
use crate::launch::RunDirectory;

/// Name of the gateway's socket in a run directory.
const SOCKET: &str = "gateway";

/// A gateway that is bound.
pub(super) struct Listening {
    pub(super) bound: Bound,
    pub(super) addresses: Vec<String>,
    /// Where plugins call back.
    pub(super) callback_address: String,
    /// Follows the certificate files for as long as it is kept.
    pub(super) certificates: Option<Watched<ServerConfig>>,
}

/// Binds every address. The Unix socket is always there, since plugins call back through it.
pub(super) fn bind(config: &Config, run_dir: &RunDirectory) -> Result<Listening, HostError> {
    let path = match &config.gateway.unix {
        Some(path) => path.clone(),
        None => run_dir.socket(SOCKET)?,
    };
    let mut listen = vec![Listen::Unix { path: path.clone() }];
    let mut certificates = None;
    if let Some(tcp) = &config.gateway.tcp {
        let address = tcp.listen;
        listen.push(match &tcp.security {
            TcpSecurity::Insecure => Listen::InsecureTcp { address },
            TcpSecurity::Tls(tls) => {
                let files =
                    TlsFiles { cert: tls.cert.clone(), key: tls.key.clone(), ca: tls.client_ca.clone() };
                let watched = watch_server_config(files)?;
                let tls = watched.current();
                certificates = Some(watched);
                Listen::Tls { address, tls }
            }
        });
    }
    let admin = config.admin.identities.iter().map(ToString::to_string).collect();
    let limits = limits(&config.gateway.limits);
    let pages = config.telemetry.metrics_listen;
    let bound = Gateway::bind(gateway::Config { listen, limits, admin, pages })?;
    let addresses = bound.addresses().iter().map(text).collect();
    Ok(Listening { bound, addresses, callback_address: unix(&path), certificates })
}

fn limits(config: &GatewayLimits) -> Limits {
    Limits {
        max_connections: config.connections as usize,
        max_streams: config.streams_per_connection,
        max_pending_resets: config.resets_per_connection as usize,
        max_header_list: u32::try_from(config.header_list_size.as_u64()).unwrap_or(u32::MAX),
        handshake_timeout: config.handshake_timeout,
        idle_timeout: config.idle_timeout,
        ..Limits::default()
    }
}

fn text(address: &Address) -> String {
    match address {
        Address::Unix(path) => unix(path),
        Address::Tls(at) => format!("https://{at}"),
        Address::InsecureTcp(at) => format!("http://{at}"),
    }
}

fn unix(path: &std::path::Path) -> String {
    crate::transport::Address::unix(PathBuf::from(path)).to_string()
}
