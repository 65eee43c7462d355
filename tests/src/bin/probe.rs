//! A plugin that does as a test tells it. See `proto/probe/v1/probe.proto`.
//!
//! From its environment: `PROBE_NAME`, the plugin's name; `PROBE_SLOW`, `ORDINAL:MS`, which makes the
//! instance of that ordinal take so long for each Echo.

mod probe {
    pub(crate) mod ending;
    pub(crate) mod relay;
    pub(crate) mod service;
}

use plugmesh_sdk::{Error, Plugin};
use plugmesh_tests::descriptors;
use plugmesh_tests::probe::probe_service_server::ProbeServiceServer;

/// Largest message that it takes and sends: more than any limit that a test sets.
const MAX_MESSAGE: usize = 256 << 20;

fn main() -> Result<(), Error> {
    let name = std::env::var("PROBE_NAME").unwrap_or_else(|_| "probe".into());
    let plugin = Plugin::new(name, "1.2.3").description("Does as it is told").descriptors(descriptors::PROBE);
    let service = ProbeServiceServer::new(probe::service::Probe::new(plugin.context()))
        .accept_compressed(tonic::codec::CompressionEncoding::Gzip)
        .send_compressed(tonic::codec::CompressionEncoding::Gzip)
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    plugin.service(service).run()
}
