//! `gateway:`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::super::decode::{Decoder, Section, boolean, duration, integer, path, size, text};
use super::super::defaults::{
    CONNECTIONS, HANDSHAKE_TIMEOUT, HEADER_LIST_SIZE, HEADER_LIST_SIZES, IDLE_TIMEOUT, RESETS_PER_CONNECTION,
    STREAMS_PER_CONNECTION, TIMEOUTS,
};
use super::super::fault::quote;
use super::super::size::ByteSize;
use super::super::yaml::Node;

/// Most that a count of connections or streams may be set to.
const MAX_COUNT: u32 = 1_000_000;

/// Where the gateway listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayConfig {
    /// Its Unix socket; none for the one in the run directory.
    pub unix: Option<PathBuf>,
    /// Its TCP port, if it has one.
    pub tcp: Option<TcpConfig>,
    /// What it takes from clients.
    pub limits: GatewayLimits,
}

/// A TCP port of the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpConfig {
    /// Where.
    pub listen: SocketAddr,
    /// How clients prove who they are.
    pub security: TcpSecurity,
}

/// How TCP clients prove who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TcpSecurity {
    /// By their certificate.
    Tls(ServerTls),
    /// Not at all, in plaintext: `insecure: true`.
    Insecure,
}

/// Files for listening with mutual TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// PEM certificate chain to present.
    pub cert: PathBuf,
    /// PEM private key of `cert`.
    pub key: PathBuf,
    /// PEM certificates that a client must chain to.
    pub client_ca: PathBuf,
}

/// What the gateway takes from its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayLimits {
    /// Connections at once.
    pub connections: u32,
    /// Concurrent calls on one connection.
    pub streams_per_connection: u32,
    /// Resets of unanswered calls that one connection may have pending.
    pub resets_per_connection: u32,
    /// Header list of one call.
    pub header_list_size: ByteSize,
    /// For TLS and the HTTP/2 preface together.
    pub handshake_timeout: Duration,
    /// For a connection without a call.
    pub idle_timeout: Duration,
}

impl Default for GatewayLimits {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS,
            streams_per_connection: STREAMS_PER_CONNECTION,
            resets_per_connection: RESETS_PER_CONNECTION,
            header_list_size: HEADER_LIST_SIZE,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
        }
    }
}

pub(super) fn gateway(d: &mut Decoder<'_>, node: &Node) -> Option<GatewayConfig> {
    let mut section = Section::open(d, node)?;
    let unix = section.optional(d, "unix", path);
    let tcp = section.optional(d, "tcp", tcp);
    let limits = section.optional(d, "limits", limits);
    section.finish(d);
    Some(GatewayConfig { unix, tcp, limits: limits.unwrap_or_default() })
}

fn tcp(d: &mut Decoder<'_>, node: &Node) -> Option<TcpConfig> {
    let mut section = Section::open(d, node)?;
    let listen = section.required(d, "listen", listen);
    let tls = section.optional(d, "tls", tls);
    let insecure = section.optional(d, "insecure", boolean).unwrap_or(false);
    let security = match (section.has("tls"), insecure) {
        (true, true) => {
            let at = section.key_position("insecure").unwrap_or(section.at());
            d.fault(at, "tls and insecure: true are both given", Some("keep one of them".into()));
            None
        }
        (true, false) => tls.map(TcpSecurity::Tls),
        (false, true) => Some(TcpSecurity::Insecure),
        (false, false) => {
            let hint =
                "add tls with cert, key and client_ca, or insecure: true for plaintext that anybody may use";
            d.fault(section.at(), "neither tls nor insecure: true is given", Some(hint.into()));
            None
        }
    };
    section.finish(d);
    Some(TcpConfig { listen: listen?, security: security? })
}

pub(super) fn listen(d: &mut Decoder<'_>, node: &Node) -> Option<SocketAddr> {
    let written = text(d, node)?;
    match written.parse() {
        Ok(address) => Some(address),
        Err(_) => d.refuse_with(
            node,
            format_args!("{} is not an address to listen on", quote(written)),
            "write IP:PORT, such as 127.0.0.1:7443 or [::]:7443",
        ),
    }
}

fn tls(d: &mut Decoder<'_>, node: &Node) -> Option<ServerTls> {
    let mut section = Section::open(d, node)?;
    let cert = section.required(d, "cert", path);
    let key = section.required(d, "key", path);
    let client_ca = section.required(d, "client_ca", path);
    section.finish(d);
    Some(ServerTls { cert: cert?, key: key?, client_ca: client_ca? })
}

fn limits(d: &mut Decoder<'_>, node: &Node) -> Option<GatewayLimits> {
    let mut section = Section::open(d, node)?;
    let count = |d: &mut Decoder<'_>, node: &Node| integer(d, node, 1..=MAX_COUNT);
    let timeout = |d: &mut Decoder<'_>, node: &Node| duration(d, node, &TIMEOUTS);
    let connections = section.optional(d, "connections", count);
    let streams = section.optional(d, "streams_per_connection", count);
    let resets = section.optional(d, "resets_per_connection", count);
    let header_list_size =
        section.optional(d, "header_list_size", |d, node| size(d, node, &HEADER_LIST_SIZES));
    let handshake_timeout = section.optional(d, "handshake_timeout", timeout);
    let idle_timeout = section.optional(d, "idle_timeout", timeout);
    section.finish(d);
    let defaults = GatewayLimits::default();
    Some(GatewayLimits {
        connections: connections.unwrap_or(defaults.connections),
        streams_per_connection: streams.unwrap_or(defaults.streams_per_connection),
        resets_per_connection: resets.unwrap_or(defaults.resets_per_connection),
        header_list_size: header_list_size.unwrap_or(defaults.header_list_size),
        handshake_timeout: handshake_timeout.unwrap_or(defaults.handshake_timeout),
        idle_timeout: idle_timeout.unwrap_or(defaults.idle_timeout),
    })
}
