//! Where `events tail` gets its events from.

use std::collections::VecDeque;

use plugmesh::cloudevents::v1::CloudEvent;
use plugmesh::event::v1::bus_frame::Frame as FromBus;
use plugmesh::event::v1::client_frame::Frame;
use plugmesh::event::v1::subscription::Members;
use plugmesh::event::v1::{
    BusFrame, ClientFrame, Credit, Delivery, Hello, Overflow, Problem, Subscribe, SubscribeRequest,
    SubscribeResponse, Subscription, Unsubscribed,
};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::words::StartAt;
use crate::cli::args::events::Wanted;
use crate::cli::connect::Host;
use crate::cli::error::CliError;

/// Number of the only subscription on a stream.
const SUBSCRIPTION: u64 = 1;

/// What may be on the way: enough to keep the connection busy.
const CREDIT: Credit = Credit { subscription: SUBSCRIPTION, events: 1024, bytes: 4 << 20 };

/// Frames that wait to be sent: one of credit for each delivery, and those with which it begins.
const FRAMES: usize = 4;

/// Events as they come.
pub(super) enum Feed {
    /// From now on; what is not read in time is dropped.
    Live(Streaming<SubscribeResponse>),
    /// From somewhere in the journal; nothing is dropped.
    Journal(Journal),
}

/// Events that come from the journal, and go on as they are published.
pub(super) struct Journal {
    frames: Streaming<BusFrame>,
    sender: mpsc::Sender<ClientFrame>,
    arrived: VecDeque<CloudEvent>,
    /// For what was printed since credit was sent last.
    owed: Credit,
}

/// The next event.
pub(super) struct Arrived {
    pub(super) event: CloudEvent,
    /// Events that were dropped before it.
    pub(super) dropped: u64,
}

impl Feed {
    /// Subscribes; when this returns, nothing that is published is missed.
    pub(super) async fn live(host: &Host, wanted: &Wanted) -> Result<Self, CliError> {
        let Wanted { patterns, filters } = wanted;
        let request = SubscribeRequest { patterns: patterns.clone(), filters: filters.clone() };
        Ok(Self::Live(host.events().subscribe(request).await?.into_inner()))
    }

    /// Subscribes to what the journal holds from there on, and to what follows.
    pub(super) async fn from_journal(host: &Host, wanted: &Wanted, from: &StartAt) -> Result<Self, CliError> {
        let what = Subscription {
            patterns: wanted.patterns.clone(),
            filters: wanted.filters.clone(),
            members: Some(Members::Broadcast(true)),
            start: Some(from.to_wire()),
            overflow: Overflow::Spill as i32,
            ..Subscription::default()
        };
        let subscribe = Subscribe { subscription: SUBSCRIPTION, what: Some(what), credit: Some(CREDIT) };
        let (sender, frames) = mpsc::channel(FRAMES);
        for frame in
            [Frame::Hello(Hello { name: "plugmesh events tail".to_owned() }), Frame::Subscribe(subscribe)]
        {
            // There is room: it has just been made.
            let _ = sender.try_send(ClientFrame { frame: Some(frame) });
        }
        let frames = host.events().connect(ReceiverStream::new(frames)).await?.into_inner();
        let owed = Credit { events: 0, bytes: 0, ..CREDIT };
        let mut journal = Journal { frames, sender, arrived: VecDeque::new(), owed };
        while !journal.receive().await? {}
        Ok(Self::Journal(journal))
    }

    /// The next event.
    ///
    /// # Errors
    /// The host has ended the stream.
    pub(super) async fn next(&mut self) -> Result<Arrived, CliError> {
        match self {
            Self::Journal(journal) => journal.next().await,
            Self::Live(stream) => {
                let SubscribeResponse { event, gap } = stream.message().await?.ok_or_else(ended)?;
                let event = event.ok_or(CliError::Incomplete("event"))?;
                Ok(Arrived { event, dropped: gap })
            }
        }
    }
}

impl Journal {
    async fn next(&mut self) -> Result<Arrived, CliError> {
        while self.arrived.is_empty() {
            self.receive().await?;
        }
        let event = self.arrived.pop_front().ok_or(CliError::Incomplete("event"))?;
        self.owed.events += 1;
        self.owed.bytes += event.encoded_len() as u64;
        if self.arrived.is_empty() {
            let owed = std::mem::replace(&mut self.owed, Credit { events: 0, bytes: 0, ..CREDIT });
            // A stream that has ended is noticed when the next frame is read.
            let _ = self.sender.send(ClientFrame { frame: Some(Frame::Credit(owed)) }).await;
        }
        Ok(Arrived { event, dropped: 0 })
    }

    /// Takes the next frame, and says whether it is the one that puts the subscription in force.
    async fn receive(&mut self) -> Result<bool, CliError> {
        match self.frames.message().await?.ok_or_else(ended)?.frame {
            Some(FromBus::Subscribed(_)) => return Ok(true),
            Some(FromBus::Delivery(Delivery { events, .. })) => self.arrived.extend(events),
            Some(FromBus::Unsubscribed(Unsubscribed { code, message, .. })) => {
                return Err(Status::new(Code::from(code), message).into());
            }
            Some(FromBus::Problem(Problem { code, message, .. })) => {
                return Err(Status::new(Code::from(code), message).into());
            }
            _ => {}
        }
        Ok(false)
    }
}

fn ended() -> Status {
    Status::unavailable("the host has ended the stream of events")
}
