//! Messages on the wire whose types are known only at run time.

use prost_reflect::{DynamicMessage, MessageDescriptor};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstEncoder};

/// Encodes any message, decodes messages of one type.
#[derive(Clone, Debug)]
pub(super) struct DynamicCodec(MessageDescriptor);

impl DynamicCodec {
    /// A codec for a peer that sends `incoming`.
    pub(super) fn new(incoming: MessageDescriptor) -> Self {
        Self(incoming)
    }
}

impl Codec for DynamicCodec {
    type Encode = DynamicMessage;
    type Decode = DynamicMessage;
    type Encoder = ProstEncoder<DynamicMessage>;
    type Decoder = DynamicDecoder;

    fn encoder(&mut self) -> Self::Encoder {
        // The second type is what this codec would decode, which is not asked of it.
        ProstCodec::<DynamicMessage, ()>::raw_encoder(BufferSettings::default())
    }

    fn decoder(&mut self) -> Self::Decoder {
        DynamicDecoder(self.0.clone())
    }
}

/// Decodes messages of one type.
#[derive(Debug)]
pub(super) struct DynamicDecoder(MessageDescriptor);

impl Decoder for DynamicDecoder {
    type Item = DynamicMessage;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        DynamicMessage::decode(self.0.clone(), buffer)
            .map(Some)
            .map_err(|error| Status::internal(format!("the answer is no {}: {error}", self.0.full_name())))
    }
}
