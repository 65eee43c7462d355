//! What a call hands on to the calls made for it: the deadline and the trace.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use plugmesh::cloudevents::{Attribute, Event};
use tokio::time::Instant;

/// The unit letters of `grpc-timeout` and their nanoseconds.
const UNITS: [(u8, u64); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', 1_000_000_000),
    (b'M', 60_000_000_000),
    (b'H', 3_600_000_000_000),
];

/// gRPC allows eight digits before the unit.
const MAX_TIMEOUT_DIGITS: usize = 8;

pub(crate) const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

tokio::task_local! {
    static CURRENT: Call;
}

/// The deadline and the trace context of a call, to be carried into the calls made for it.
///
/// A handler needs none of this: within it, and within the stream that it answers with, [`Context::client`]
/// finds the call by itself. Work moved to another task does not: take [`Call::current`] along and run
/// that work in [`Call::scope`].
///
/// [`Context::client`]: crate::Context::client
#[derive(Clone, Debug, Default)]
pub struct Call(Option<Arc<Carried>>);

#[derive(Debug)]
struct Carried {
    deadline: Option<Instant>,
    traceparent: Option<HeaderValue>,
    tracestate: Option<HeaderValue>,
}

impl Call {
    /// The call being handled by this task; one without deadline and trace outside of a handler.
    pub fn current() -> Self {
        CURRENT.try_with(Clone::clone).unwrap_or_default()
    }

    /// Deadline and trace as `request` states them, the deadline counted from now.
    pub fn of<T>(request: &tonic::Request<T>) -> Self {
        Self::arrived(request.metadata().as_ref())
    }

    /// Runs `work` as a part of this call: its calls through the gateway carry deadline and trace.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }

    /// When the caller stops waiting, if it said so.
    pub fn deadline(&self) -> Option<std::time::Instant> {
        self.expires().map(Instant::into_std)
    }

    /// The W3C `traceparent` that came with the call.
    pub fn traceparent(&self) -> Option<&str> {
        self.0.as_ref()?.traceparent.as_ref()?.to_str().ok()
    }

    pub(crate) fn arrived(headers: &HeaderMap) -> Self {
        let deadline = headers.get(GRPC_TIMEOUT).and_then(timeout).map(|left| Instant::now() + left);
        let traceparent = headers.get(TRACEPARENT).cloned();
        if deadline.is_none() && traceparent.is_none() {
            return Self(None);
        }
        Self(Some(Arc::new(Carried { deadline, traceparent, tracestate: headers.get(TRACESTATE).cloned() })))
    }

    /// The W3C `tracestate` that came with it.
    pub(crate) fn tracestate(&self) -> Option<&str> {
        self.0.as_ref()?.tracestate.as_ref()?.to_str().ok()
    }

    /// One without deadline, and with the trace that an event carries.
    pub(crate) fn traced(event: &Event) -> Self {
        let header = |name| match event.attribute(name) {
            Some(Attribute::String(text)) => HeaderValue::try_from(text).ok(),
            _ => None,
        };
        let Some(traceparent) = header("traceparent") else { return Self(None) };
        let tracestate = header("tracestate");
        Self(Some(Arc::new(Carried { deadline: None, traceparent: Some(traceparent), tracestate })))
    }

    pub(crate) fn expires(&self) -> Option<Instant> {
        self.0.as_ref()?.deadline
    }

    /// Runs `work`, which must not wait, as a part of this call.
    pub(crate) fn within<R>(&self, work: impl FnOnce() -> R) -> R {
        match &self.0 {
            Some(_) => CURRENT.sync_scope(self.clone(), work),
            None => work(),
        }
    }

    /// Puts trace and remaining time on an outgoing call. What the caller set itself stays, but for a
    /// longer time-out than is left.
    ///
    /// Returns false when no time is left.
    pub(crate) fn carry_into(&self, headers: &mut HeaderMap) -> bool {
        let Some(carried) = &self.0 else {
            return true;
        };
        if let Some(traceparent) = &carried.traceparent
            && !headers.contains_key(TRACEPARENT)
        {
            headers.insert(TRACEPARENT, traceparent.clone());
            if let Some(tracestate) = &carried.tracestate {
                headers.insert(TRACESTATE, tracestate.clone());
            }
        }
        let Some(deadline) = carried.deadline else {
            return true;
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        let own = headers.get(GRPC_TIMEOUT).and_then(timeout);
        if own.is_none_or(|own| own > left) {
            headers.insert(GRPC_TIMEOUT, timeout_value(left));
        }
        true
    }
}

/// Reads a `grpc-timeout`; anything malformed counts as none.
fn timeout(value: &HeaderValue) -> Option<Duration> {
    let (unit, digits) = value.as_bytes().split_last()?;
    if digits.is_empty() || digits.len() > MAX_TIMEOUT_DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanos = UNITS.iter().find(|(letter, _)| letter == unit)?.1;
    let count = digits.iter().fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    // 99999999 hours do not fit 64 bits of nanoseconds.
    Some(Duration::from_nanos(nanos.saturating_mul(count)))
}

/// Writes a `grpc-timeout` in the finest unit that fits eight digits.
fn timeout_value(time: Duration) -> HeaderValue {
    let limit = 10_u128.pow(8);
    let (letter, count) = UNITS
        .iter()
        .map(|(letter, nanos)| (*letter, time.as_nanos() / u128::from(*nanos)))
        .find(|(_, count)| *count < limit)
        .unwrap_or((b'H', limit - 1));
    HeaderValue::try_from(format!("{count}{}", char::from(letter))).unwrap_or(HeaderValue::from_static("0n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        let read = |text| timeout(&HeaderValue::from_static(text));
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("1H"), Some(Duration::from_secs(3600)));
        assert_eq!(read("99999999H"), Some(Duration::from_nanos(u64::MAX)));
        for bad in ["", "m", "1", "1x", "-1m", "123456789n", "1 m"] {
            assert_eq!(read(bad), None, "{bad:?} was taken");
        }
    }

    #[test]
    fn a_timeout_survives_writing_within_its_unit() {
        for time in [Duration::from_nanos(7), Duration::from_millis(250), Duration::from_secs(86_400)] {
            assert_eq!(timeout(&timeout_value(time)), Some(time));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_left_shrinks_and_a_shorter_one_wins() {
        let call = Call::arrived(&headers(&[("grpc-timeout", "10S"), ("traceparent", "00-a-b-01")]));
        tokio::time::advance(Duration::from_secs(4)).await;

        let mut onward = HeaderMap::new();
        assert!(call.carry_into(&mut onward));
        assert_eq!(timeout(&onward[GRPC_TIMEOUT]), Some(Duration::from_secs(6)));
        assert_eq!(onward[TRACEPARENT], "00-a-b-01");

        let mut hurried = headers(&[("grpc-timeout", "1S")]);
        assert!(call.carry_into(&mut hurried));
        assert_eq!(hurried[GRPC_TIMEOUT], "1S");

        tokio::time::advance(Duration::from_secs(6)).await;
        assert!(!call.carry_into(&mut HeaderMap::new()));
    }

    #[tokio::test]
    async fn a_call_is_current_only_within_its_scope() {
        let call = Call::arrived(&headers(&[("traceparent", "00-a-b-01")]));
        assert!(Call::current().traceparent().is_none());
        let within = call.scope(async { Call::current().traceparent().map(str::to_owned) }).await;
        assert_eq!(within.as_deref(), Some("00-a-b-01"));
    }
}
