//! Calls through the host's gateway, with bytes for messages.

use bytes::Bytes;
use plugmesh_sdk::Context;
use plugmesh_tests::probe::{RelayRequest, RelayResponse};
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Request, Status};

/// Messages as they are on the wire.
#[derive(Clone, Copy, Default)]
struct Raw;

/// Calls what the request names, as this plugin.
pub(crate) async fn relay(context: &Context, request: RelayRequest) -> Result<RelayResponse, Status> {
    let gateway = context.gateway();
    let gateway = if request.plugin.is_empty() { gateway } else { gateway.to_plugin(&request.plugin) };
    let mut client = tonic::client::Grpc::new(gateway);
    client.ready().await?;
    let path = request.path.parse().map_err(|_| Status::invalid_argument("path"))?;
    Ok(match client.unary(Request::new(request.request), path, Raw).await {
        Ok(answer) => RelayResponse { response: answer.into_inner(), ..Default::default() },
        Err(status) => RelayResponse {
            code: status.code().into(),
            message: status.message().into(),
            ..Default::default()
        },
    })
}

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put(into, item);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        use bytes::Buf;
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}
