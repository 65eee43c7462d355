//! Handles the events of a subscription.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::{Id, JoinError, JoinSet};

use super::EventError;
use super::handler::{Handled, Handler, Received};
use super::subscriber::{Delivered, Subscriber, is_answered};
use crate::{Call, Context};

/// Handles events until the stream or the subscription ends, or the plugin does. Dropping the future cancels what is being handled.
pub(super) async fn work(mut subscriber: Subscriber, handler: Handler, context: Context) {
    let mut handling = Handling { tasks: JoinSet::new(), numbers: HashMap::new() };
    let is_answered = is_answered(&handler.subscription);
    let ended = loop {
        let has_room = handling.tasks.len() < handler.concurrency;
        tokio::select! {
            biased;
            () = context.stopping() => break None,
            Some(first) = handling.tasks.join_next_with_id() => {
                handling.finish(first, is_answered.then_some(&subscriber));
                while let Some(next) = handling.tasks.try_join_next_with_id() {
                    handling.finish(next, is_answered.then_some(&subscriber));
                }
            }
            delivered = subscriber.next(), if has_room => match delivered {
                Ok(delivered) => handling.start(delivered, &subscriber, &handler, &context),
                Err(error) => break Some(error),
            },
        }
    };
    match ended {
        // What is being handled is finished; nothing more is taken.
        None => {
            while let Some(next) = handling.tasks.join_next_with_id().await {
                handling.finish(next, is_answered.then_some(&subscriber));
            }
        }
        Some(EventError::Refused(status)) => {
            let patterns = handler.subscription.patterns.join(", ");
            tracing::error!(patterns, code = ?status.code(), message = status.message(), "the host refused a subscription");
        }
        Some(_) => {}
    }
}

struct Handling {
    tasks: JoinSet<Handled>,
    /// Numbers of the deliveries that tasks are at.
    numbers: HashMap<Id, u64>,
}

impl Handling {
    fn start(&mut self, delivered: Delivered, subscriber: &Subscriber, handler: &Handler, context: &Context) {
        let Delivered { event, number, attempt, dropped } = delivered;
        let (subscription, link) = subscriber.origin();
        let call = Call::traced(&event);
        let received = Received { event, attempt, dropped, number, subscription, link };
        let handle = Arc::clone(&handler.handle);
        let guard = context.0.in_flight.enter();
        // Called in the task as well, since that may panic, too.
        let task = self.tasks.spawn(call.scope(async move {
            let _guard = guard;
            Handled::from(handle(received).await)
        }));
        self.numbers.insert(task.id(), number);
    }

    /// Tells the bus what became of an event. `None`: it does not want to know.
    fn finish(&mut self, ended: Result<(Id, Handled), JoinError>, subscriber: Option<&Subscriber>) {
        let (id, handled) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                let id = error.id();
                let why = format!("the handler panicked: {}", panic_text(error));
                (id, Handled::No { why, pause: None })
            }
        };
        let Some(number) = self.numbers.remove(&id) else { return };
        if let Handled::No { why, .. } | Handled::Never { why } = &handled {
            tracing::warn!(why, "an event was not handled");
        }
        let Some(subscriber) = subscriber else { return };
        match handled {
            Handled::Yes => subscriber.handled([number]),
            Handled::No { why, pause } => subscriber.failed(number, why, pause),
            Handled::Never { why } => subscriber.rejected(number, why),
        }
    }
}

fn panic_text(error: JoinError) -> String {
    let payload: Box<dyn Any + Send> = match error.try_into_panic() {
        Ok(payload) => payload,
        Err(error) => return error.to_string(),
    };
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        (None, None) => "without a text".to_owned(),
    }
}
