//! One connection to one endpoint.
//!
//! The call path speaks HTTP/2 through the `h2` crate itself. A generic client puts a queue and a worker
//! task between the caller and the connection (tonic's `Channel`, hyper's dispatcher); here the
//! caller's own task writes its frames into the connection and waits for its own stream, so that a
//! call costs two task switches instead of four or more.
//!
//! - [`Address`]: where an endpoint listens.
//! - [`Dialer`]: from an address to bytes that flow, TLS included.
//! - [`Connection`]: HTTP/2 over those bytes.
//! - [`Pool`]: the connections to one endpoint.
//! - [`InProcess`]: a tower service in place of a connection.
//! - [`Lane`]: either of the last two: what a call is sent through.

mod address;
mod batch;
mod body;
mod dial;
mod error;
mod fair;
mod http2;
mod in_process;
mod io;
mod lane;
mod pool;
mod send;
mod spoken;
mod write_through;

pub use address::Address;
pub(crate) use body::BodyError;
pub use body::ResponseBody;
pub use dial::{DialError, Dialer, Opened, Tls};
pub use error::{CallError, StreamError};
pub(crate) use fair::Fair;
pub use http2::{Closed, Connection, STREAM_WINDOW, Settings, Stream};
pub use in_process::InProcess;
pub use io::Io;
pub use lane::{Lane, Sending, Slot};
pub use pool::{ConnectError, Pool};
pub use spoken::Spoken;
pub(crate) use write_through::write_through;
