//! Every bound of the gateway, in one place.

use std::fmt;
use std::time::Duration;

use plugmesh::event::frame::HTTP2_FRAME;

/// What the gateway grants to those who connect. All of it is enforced; nothing here is advice.
#[derive(Clone)]
#[non_exhaustive]
pub struct Limits {
    /// Connections at a time over all listeners. One more is told so by a GOAWAY and closed.
    ///
    /// 1024: a connection costs some 20 KiB and one descriptor, and 1024 descriptors is the usual soft limit,
    /// which the host raises for itself.
    pub max_connections: usize,
    /// Calls at a time on one connection, advertised to the client, whose library queues the rest.
    ///
    /// 512: twice what a busy program keeps in flight, with room for long-lived watches.
    pub max_streams: u32,
    /// Calls that a client may have reset before the gateway saw them, at a time. One more ends the connection
    /// with ENHANCE_YOUR_CALM: "rapid reset".
    ///
    /// 128: a client that is itself cancelled resets all its young calls at once, which is no attack.
    pub max_pending_resets: usize,
    /// Resets that a client may send for calls under way, or provoke by errors of its own, within
    /// [`reset_window`](Self::reset_window). One more ends the connection with ENHANCE_YOUR_CALM.
    ///
    /// 2000: each one costs the plugin a started call, and 200 a second is more than hedging produces.
    pub max_resets: u32,
    /// The time over which [`max_resets`](Self::max_resets) is counted. 10 s.
    pub reset_window: Duration,
    /// Bytes of one call's headers, decoded, as HTTP/2 counts them; also bounds CONTINUATION frames. More is
    /// answered with status 431.
    ///
    /// 16 KiB: twice gRPC's default of 8 KiB for metadata.
    pub max_header_list: u32,
    /// From accepting a connection to its TLS handshake and HTTP/2 preface being complete. 10 s.
    pub handshake_timeout: Duration,
    /// A connection without calls is told to go after this time, or up to twice as long. 15 min.
    pub idle_timeout: Duration,
    /// Bytes of one call's request that may be under way to a plugin that does not read them.
    ///
    /// 256 KiB: fills a fast local link. The connection's window is this times
    /// [`max_streams`](Self::max_streams), so that a stalled call never blocks its neighbours.
    pub stream_window: u32,
    /// Bytes of one call's response that wait for a client that does not read them.
    ///
    /// 64 KiB: four frames. A hundred stalled clients then hold 6.4 MiB.
    pub max_send_buffer: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_streams: 512,
            max_pending_resets: 128,
            max_resets: 2000,
            reset_window: Duration::from_secs(10),
            max_header_list: 16 << 10,
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(15 * 60),
            stream_window: 256 << 10,
            max_send_buffer: 64 << 10,
        }
    }
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limits")
            .field("max_connections", &self.max_connections)
            .field("max_streams", &self.max_streams)
            .finish_non_exhaustive()
    }
}

impl Limits {
    /// The HTTP/2 settings that follow from these bounds, for a peer on this machine or on another.
    pub(super) fn h2(&self, is_local: bool) -> h2::server::Builder {
        /// RFC 9113 §6.9.1.
        const MAX_WINDOW: u32 = i32::MAX as u32;
        /// Calls that the gateway ended early and whose late frames are still told from a protocol error: as
        /// many as can end early at a time, twice.
        const REMEMBERED: usize = 2;
        /// HTTP/2's own.
        const USUAL_FRAME: u32 = 16 << 10;
        let stream_window = self.stream_window.min(MAX_WINDOW);
        let mut builder = h2::server::Builder::new();
        builder
            .initial_window_size(stream_window)
            .initial_connection_window_size(stream_window.saturating_mul(self.max_streams).min(MAX_WINDOW))
            .max_concurrent_streams(self.max_streams)
            .max_frame_size(if is_local { HTTP2_FRAME } else { USUAL_FRAME })
            .max_header_list_size(self.max_header_list)
            .max_concurrent_reset_streams(self.max_streams as usize * REMEMBERED)
            .max_pending_accept_reset_streams(self.max_pending_resets)
            .max_local_error_reset_streams(Some(self.max_resets as usize))
            .max_send_buffer_size(self.max_send_buffer.min(u32::MAX as usize));
        builder
    }
}
