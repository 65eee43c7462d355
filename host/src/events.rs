//! Events for the program that links the host: [`Host::events`](crate::Host::events).
//!
//! ```no_run
//! # async fn example(host: plugmesh_host::Host) -> Result<(), Box<dyn std::error::Error>> {
//! use plugmesh_host::events::{Ack, Event, Subscription};
//!
//! let events = host.events();
//! let mut logins = events.subscribe(Subscription { patterns: vec!["user.*".into()], ..Default::default() }).await?;
//! let event = Event::builder("user.login", "/shop").json("ada")?.build()?;
//! events.publish(&event, Ack::Accepted).await?;
//! if let Some(delivered) = logins.next().await? {
//!     println!("{} {}", delivered.event.event_type(), delivered.event.json::<String>()?);
//! }
//! # Ok(())
//! # }
//! ```

pub use plugmesh::cloudevents::{Attribute, Data, DataError, Event, EventBuilder};
pub use plugmesh::event::v1::{
    Ack, Filter, Mode, Overflow, Redelivery, Start, Subscription, subscription::Members,
};

pub use crate::event::local::{Delivered, EventBus, EventError, Outcome, Subscriber};
