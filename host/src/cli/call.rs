//! `call`: any method of any plugin, with JSON.
//!
//! - `target`: which method is meant. `reflect`: its descriptors, from the gateway's reflection.
//! - `input`: the messages to send. `metadata`: the metadata to send. `example`: what a request looks like.
//! - `codec`: messages on the wire. `details`: what came with an error. `error`: why a call failed.

mod codec;
mod details;
mod error;
pub(super) mod example;
mod input;
mod metadata;
mod reflect;
mod target;

use std::time::{Duration, Instant};

use prost_reflect::{DynamicMessage, MethodDescriptor};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use self::codec::DynamicCodec;
pub(crate) use self::error::CallError;
use self::input::Input;
use self::reflect::Reflection;
use self::target::Target;
use super::args::CallArgs;
use super::connect::Host;
use super::error::CliError;
use super::exit::Exit;
use super::human::printable;
use super::json::Mapped;
use super::terminal::{Terminal, Tone};

/// Messages that are ready to be sent: enough to keep the connection busy; more would only be memory.
const REQUEST_QUEUE: usize = 16;

/// Calls a method and prints what comes back.
///
/// # Errors
///
/// What is wrong with the command line or the input, or the status of the call.
pub(crate) async fn run(host: &Host, args: &CallArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let target: Target = args.target.parse()?;
    // What is wrong with the command line is said before anything is asked of the host.
    let metadata = metadata::from_args(args)?;
    let mut reflection = Reflection::new(host, args.plugin.as_deref());
    let method = reflection.method(&target).await?;
    if args.example {
        let request = example::of(&method.input());
        let shown = Mapped(&request);
        if terminal.is_json() {
            terminal.json(&shown)?
        } else {
            terminal.pretty(&shown)?
        }
        return Ok(Exit::OK);
    }
    let input = Input::open(args.data.as_deref(), &method).await?;
    let call = Call { method: &method, args, metadata };
    match call.run(host.channel.clone(), input, terminal).await {
        Err(CliError::Status(status)) => {
            Err(CallError::refused(*status, &method, args, &mut reflection).await.into())
        }
        other => other,
    }
}

struct Call<'a> {
    method: &'a MethodDescriptor,
    args: &'a CallArgs,
    metadata: MetadataMap,
}

impl Call<'_> {
    async fn run(self, channel: Channel, input: Input, terminal: &mut Terminal) -> Result<Exit, CliError> {
        let Some(time) = self.args.deadline else { return self.exchange(channel, input, terminal).await };
        let started = Instant::now();
        // The host is told the deadline too, but a host that hangs does not keep to it.
        match tokio::time::timeout(time, self.exchange(channel, input, terminal)).await {
            // tonic, on either side, calls its own end of waiting a cancellation.
            Ok(Err(CliError::Status(status)))
                if status.code() == Code::Cancelled && started.elapsed() >= time =>
            {
                Err(late(time).into())
            }
            Ok(done) => done,
            Err(_) => Err(late(time).into()),
        }
    }

    /// Sends and receives at the same time, in this one task: when it is dropped, both end.
    async fn exchange(
        self,
        channel: Channel,
        input: Input,
        terminal: &mut Terminal,
    ) -> Result<Exit, CliError> {
        let (sender, messages) = mpsc::channel(REQUEST_QUEUE);
        let mut send = std::pin::pin!(input.send(self.method.input(), self.args.max_message_size, sender));
        let mut receive = std::pin::pin!(self.receive(channel, messages, terminal));
        let mut sending = true;
        loop {
            tokio::select! {
                done = &mut receive => return done,
                sent = &mut send, if sending => {
                    sent?;
                    sending = false;
                }
            }
        }
    }

    async fn receive(
        &self,
        channel: Channel,
        messages: mpsc::Receiver<DynamicMessage>,
        terminal: &mut Terminal,
    ) -> Result<Exit, CliError> {
        let limit = self.args.max_message_size;
        let mut grpc = Grpc::new(channel)
            .max_decoding_message_size(limit)
            .max_encoding_message_size(limit)
            .accept_compressed(CompressionEncoding::Gzip);
        grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;

        let mut request = Request::new(ReceiverStream::new(messages));
        *request.metadata_mut() = self.metadata.clone();
        if let Some(time) = self.args.deadline {
            request.set_timeout(time);
        }
        self.trace('>', request.metadata(), terminal);
        let path = format!("/{}/{}", self.method.parent_service().full_name(), self.method.name());
        let path = http::uri::PathAndQuery::try_from(path).map_err(|_| CliError::Incomplete("valid name"))?;

        let codec = DynamicCodec::new(self.method.output());
        let response = match grpc.streaming(request, path, codec).await {
            Ok(response) => response,
            Err(status) => return Err(self.ended(status, terminal)),
        };
        self.trace('<', response.metadata(), terminal);
        let mut responses = response.into_inner();
        let mut received = 0_usize;
        loop {
            match responses.message().await {
                Ok(Some(message)) => {
                    received += 1;
                    self.print(&message, terminal)?;
                }
                Ok(None) => break,
                Err(status) => return Err(self.ended(status, terminal)),
            }
        }
        if let Ok(Some(trailers)) = responses.trailers().await {
            self.trace('<', &trailers, terminal);
        }
        if !self.method.is_server_streaming() && received != 1 {
            let text =
                format!("{} answered with {received} messages instead of one", self.method.full_name());
            return Err(Status::internal(text).into());
        }
        Ok(Exit::OK)
    }

    fn ended(&self, status: Status, terminal: &mut Terminal) -> CliError {
        self.trace('<', status.metadata(), terminal);
        status.into()
    }

    fn print(&self, message: &DynamicMessage, terminal: &mut Terminal) -> Result<(), CliError> {
        let shown = Mapped(message);
        if terminal.is_json() { terminal.json(&shown) } else { terminal.pretty(&shown) }
    }

    /// Shows metadata that goes out (`>`) or comes in (`<`), when that was asked for.
    fn trace(&self, direction: char, metadata: &MetadataMap, terminal: &mut Terminal) {
        if !self.args.verbose {
            return;
        }
        let paint = terminal.remark_paint();
        for (name, value) in metadata.as_ref() {
            let value = printable(&String::from_utf8_lossy(value.as_bytes()));
            terminal.remark(paint.tone(Tone::Faint, format_args!("{direction} {name}: {value}")));
        }
    }
}

fn late(time: Duration) -> Status {
    let time = humantime::format_duration(time);
    Status::deadline_exceeded(format!("no end of the call within the deadline of {time}"))
}
