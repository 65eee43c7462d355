//! What is on its way to a participant.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::entries::Signal;

/// Frames of control that may wait for a participant that does not read: while there are so many, what it sends is not read.
const MAX_CONTROL: usize = 1024;

/// Frames of control, and the subscriptions that may have events. Whoever writes to the participant takes from it.
#[derive(Debug, Default)]
pub(super) struct Outbox(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    control: VecDeque<Bytes>,
    ready: VecDeque<u64>,
    end: Option<End>,
    writer: Option<Waker>,
    /// Who waits until there is room for frames of control.
    reader: Option<Waker>,
}

/// Why a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The participant has sent all and is subscribed to nothing.
    Finished,
    /// The host goes.
    ShuttingDown,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// This message.
    Message(Bytes),
    /// Events of this subscription, if there are any.
    Ready(u64),
    /// Nothing any more.
    End(End),
}

impl Outbox {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a frame of control, before all events.
    pub(super) fn send(&self, message: Bytes) {
        let mut waiting = self.waiting();
        waiting.control.push_back(message);
        wake(waiting);
    }

    /// Sends a message before everything else.
    pub(super) fn send_next(&self, message: Bytes) {
        self.waiting().control.push_front(message);
    }

    /// Has a subscription looked at when its turn comes.
    pub(super) fn ready(&self, subscription: u64) {
        let mut waiting = self.waiting();
        if waiting.end.is_none() {
            waiting.ready.push_back(subscription);
            wake(waiting);
        }
    }

    /// Ends the stream when the frames of control have been sent. Nothing is delivered any more.
    pub(super) fn close(&self, end: End) {
        let mut waiting = self.waiting();
        waiting.end.get_or_insert(end);
        waiting.ready.clear();
        wake(waiting);
    }

    /// What comes next. For one task.
    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Next> {
        let mut waiting = self.waiting();
        if let Some(message) = waiting.control.pop_front() {
            // It looks for itself whether that is enough.
            let reader = waiting.reader.take();
            drop(waiting);
            reader.into_iter().for_each(Waker::wake);
            return Poll::Ready(Next::Message(message));
        }
        match waiting.ready.pop_front() {
            Some(subscription) => Poll::Ready(Next::Ready(subscription)),
            None => match waiting.end {
                Some(end) => Poll::Ready(Next::End(end)),
                None => {
                    waiting.writer = Some(cx.waker().clone());
                    Poll::Pending
                }
            },
        }
    }

    /// Ready while there is room for frames of control. For one task.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut waiting = self.waiting();
        if waiting.control.len() < MAX_CONTROL || waiting.end.is_some() {
            return Poll::Ready(());
        }
        waiting.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

fn wake(mut waiting: MutexGuard<'_, Waiting>) {
    let writer = waiting.writer.take();
    drop(waiting);
    writer.into_iter().for_each(Waker::wake);
}

/// Puts a subscription into an outbox.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) outbox: Arc<Outbox>,
    pub(super) subscription: u64,
}

impl Signal for Ready {
    fn ready(&self) {
        self.outbox.ready(self.subscription);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_goes_before_events_and_the_end_after_control() {
        let outbox = Outbox::default();
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(outbox.poll_next(&mut cx), Poll::Pending);
        outbox.ready(7);
        outbox.send(Bytes::from_static(b"a"));
        outbox.send(Bytes::from_static(b"b"));
        outbox.send_next(Bytes::from_static(b"first"));
        for message in ["first", "a", "b"] {
            assert_eq!(outbox.poll_next(&mut cx), Poll::Ready(Next::Message(message.into())));
        }
        assert_eq!(outbox.poll_next(&mut cx), Poll::Ready(Next::Ready(7)));
        outbox.ready(8);
        outbox.send(Bytes::from_static(b"bye"));
        outbox.close(End::Finished);
        assert_eq!(outbox.poll_next(&mut cx), Poll::Ready(Next::Message("bye".into())));
        assert_eq!(outbox.poll_next(&mut cx), Poll::Ready(Next::End(End::Finished)));
    }

    #[test]
    fn who_does_not_read_is_not_read() {
        let outbox = Outbox::default();
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..MAX_CONTROL {
            assert!(outbox.poll_room(&mut cx).is_ready());
            outbox.send(Bytes::new());
        }
        assert!(outbox.poll_room(&mut cx).is_pending());
        assert!(outbox.poll_next(&mut cx).is_ready());
        assert!(outbox.poll_room(&mut cx).is_ready());
    }
}
