//! A codec for messages of a few bytes on streams that last.

use tonic::codec::{BufferSettings, Codec};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_prost::ProstCodec;

/// Bytes of a buffer, which grows when a message is larger. tonic reserves 8 KiB for each direction of each
/// stream, which an idle instance would keep for the two bytes that it once said.
const BUFFER: usize = 64;

/// Bytes that wait before they are sent on: a message, however small, is one too many to wait.
const YIELD: usize = 1;

/// Health checks as Protobuf.
#[derive(Clone, Copy, Debug)]
pub(super) struct HealthCodec;

type Prost = ProstCodec<HealthCheckRequest, HealthCheckResponse>;

impl Codec for HealthCodec {
    type Encode = HealthCheckRequest;
    type Decode = HealthCheckResponse;
    type Encoder = <Prost as Codec>::Encoder;
    type Decoder = <Prost as Codec>::Decoder;

    fn encoder(&mut self) -> Self::Encoder {
        Prost::raw_encoder(BufferSettings::new(BUFFER, YIELD))
    }

    fn decoder(&mut self) -> Self::Decoder {
        Prost::raw_decoder(BufferSettings::new(BUFFER, YIELD))
    }
}
