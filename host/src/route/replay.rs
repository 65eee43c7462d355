//! A request body that can be sent more than once.
//!
//! What an attempt has read is kept until the call is committed, or until that would take more memory than allowed. Only
//! one attempt reads from the caller at a time: the others read what is kept.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};

use super::MessageMeter;
use crate::BoxError;

/// Bytes of requests that one host keeps for sending them again: a thousand calls of 64 KiB. A request that finds no room is
/// sent once.
const MAX_KEPT: u64 = 64 << 20;

/// In place of a count of frames: everything has been sent.
const OVER: usize = usize::MAX;

/// The memory that the requests of one host share.
#[derive(Debug, Default)]
pub(super) struct ReplayMemory {
    used: AtomicU64,
}

impl ReplayMemory {
    fn take(&self, bytes: u64) -> bool {
        if self.used.fetch_add(bytes, Ordering::Relaxed) + bytes <= MAX_KEPT {
            return true;
        }
        self.give_back(bytes);
        false
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes that are kept now.
    #[cfg(test)]
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

/// Bytes that one call keeps beside its requests. They are given back when it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    memory: Arc<ReplayMemory>,
    bytes: u64,
}

impl Held {
    /// None so far.
    pub(super) fn new(memory: Arc<ReplayMemory>) -> Self {
        Self { memory, bytes: 0 }
    }

    /// Takes so many more, if there is room.
    pub(super) fn take(&mut self, bytes: u64) -> bool {
        let taken = self.memory.take(bytes);
        self.bytes += if taken { bytes } else { 0 };
        taken
    }

    fn give_back(&mut self) {
        match std::mem::take(&mut self.bytes) {
            0 => {}
            bytes => self.memory.give_back(bytes),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// A request's body, with what has been read of it.
#[derive(Debug)]
pub(super) struct Source<B>(Mutex<State<B>>);

#[derive(Debug)]
struct State<B> {
    body: B,
    meter: MessageMeter,
    /// What has been read, for as long as it can all be sent again.
    kept: Vec<Bytes>,
    trailers: Option<HeaderMap>,
    ended: bool,
    /// Something has been read that is not kept.
    lossy: bool,
    /// Bytes that may still be kept.
    room: u64,
    held: Held,
}

impl<B> Source<B> {
    /// Keeps `room` bytes at most. Messages of more than `max_message` bytes are refused.
    pub(super) fn new(body: B, max_message: u64, room: u64, memory: Arc<ReplayMemory>) -> Self {
        Self(Mutex::new(State {
            body,
            meter: MessageMeter::new(max_message),
            kept: Vec::new(),
            trailers: None,
            ended: false,
            lossy: false,
            room,
            held: Held::new(memory),
        }))
    }

    /// Whether the whole request could be sent once more, as far as it has been read.
    pub(super) fn is_replayable(&self) -> bool {
        !self.lock().lossy
    }

    /// Whether the whole request is there, so that several attempts can read it at the same time.
    pub(super) fn is_whole(&self) -> bool {
        let state = self.lock();
        state.ended && !state.lossy
    }

    /// The next frame for an attempt that has sent `at` frames. An attempt begins with 0 and keeps the count for this alone.
    pub(super) fn poll_frame(
        &self,
        at: &mut usize,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        let mut state = self.lock();
        if let Some(data) = state.kept.get(*at) {
            *at += 1;
            return Poll::Ready(Some(Ok(Frame::data(data.clone()))));
        }
        if !state.ended {
            match ready!(Pin::new(&mut state.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        state.meter.advance(&data)?;
                        state.keep(&data);
                        *at = state.kept.len();
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                    Err(frame) => state.trailers = frame.into_trailers().ok(),
                },
                Some(Err(error)) => {
                    // Nobody can send it whole.
                    state.forget();
                    return Poll::Ready(Some(Err(error.into())));
                }
                None => {}
            }
            state.ended = true;
        }
        // Each attempt sends the trailers once.
        let is_over = std::mem::replace(at, OVER) == OVER;
        let trailers = state.trailers.clone().filter(|_| !is_over);
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    /// Whether an attempt that has sent `at` frames has nothing more to send.
    pub(super) fn is_end(&self, at: usize) -> bool
    where
        B: Body,
    {
        let state = self.lock();
        let is_over = state.trailers.is_none() && (state.ended || state.body.is_end_stream());
        at == OVER || (is_over && at >= state.kept.len())
    }

    /// There will be no other attempt: nothing needs to be kept.
    pub(super) fn commit(&self) {
        self.lock().forget();
    }

    fn lock(&self) -> MutexGuard<'_, State<B>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B> State<B> {
    fn forget(&mut self) {
        self.lossy = true;
        self.kept = Vec::new();
        self.held.give_back();
    }

    fn keep(&mut self, data: &Bytes) {
        if self.lossy {
            return;
        }
        let length = data.len() as u64;
        if length <= self.room && self.held.take(length) {
            self.room -= length;
            self.kept.push(data.clone());
        } else {
            self.forget();
        }
    }
}
