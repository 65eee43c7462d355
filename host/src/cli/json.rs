//! The host's answers as JSON: the protobuf JSON mapping of the contract's messages, with every field
//! present, which is what scripts may rely on.

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde::{Serialize, Serializer};

use super::error::CliError;
use super::terminal::Terminal;

/// A message that is serialised by the protobuf JSON mapping.
#[derive(Debug)]
pub(crate) struct Mapped<'a>(pub(crate) &'a DynamicMessage);

impl Serialize for Mapped<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let options = SerializeOptions::new().skip_default_fields(false);
        self.0.serialize_with_options(serializer, &options)
    }
}

/// Prints messages of one type of the contract.
#[derive(Debug)]
pub(crate) struct Printer(MessageDescriptor);

impl Printer {
    /// A printer of the message `name` in package `plugmesh.admin.v1`.
    pub(crate) fn of(name: &'static str) -> Result<Self, CliError> {
        Self::within("plugmesh.admin.v1", name)
    }

    /// A printer of the message `name` in another package.
    pub(crate) fn within(package: &'static str, name: &'static str) -> Result<Self, CliError> {
        DescriptorPool::decode(plugmesh::FILE_DESCRIPTOR_SET)
            .ok()
            .and_then(|pool| pool.get_message_by_name(&format!("{package}.{name}")))
            .map(Self)
            .ok_or(CliError::Incomplete("descriptor"))
    }

    /// Prints one message on one line.
    pub(crate) fn print(&self, message: &impl Message, terminal: &mut Terminal) -> Result<(), CliError> {
        let message = DynamicMessage::decode(self.0.clone(), message.encode_to_vec().as_slice())
            .map_err(|_| CliError::Incomplete("valid encoding"))?;
        terminal.json(&Mapped(&message))
    }
}

/// Prints one message of package `plugmesh.admin.v1`.
pub(crate) fn print(
    name: &'static str,
    message: &impl Message,
    terminal: &mut Terminal,
) -> Result<(), CliError> {
    Printer::of(name)?.print(message, terminal)
}
