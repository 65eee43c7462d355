//! The calculator as a plugin.

use calculator::v1::calculator_service_server::CalculatorServiceServer;
use calculator::{Calculator, FILE_DESCRIPTOR_SET, MAX_MESSAGE};
use plugmesh_sdk::{Error, Plugin};

fn main() -> Result<(), Error> {
    let service = CalculatorServiceServer::new(Calculator)
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    Plugin::new("calculator", env!("CARGO_PKG_VERSION"))
        .description("Adds, multiplies and divides")
        .author("plugmesh maintainers")
        .label("lang", "rust")
        .descriptors(FILE_DESCRIPTOR_SET)
        .service(service)
        .run()
}
