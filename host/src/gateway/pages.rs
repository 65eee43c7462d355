//! What is there for those who speak plain HTTP: metrics and the probes of orchestrators.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use tokio::sync::Semaphore;

/// Pages that are made or sent at a time, over all connections; who comes then is told to come back. One of a large mesh has a
/// megabyte and takes milliseconds of a thread, and more than two scrapers and a person seldom ask at once.
const MAX_AT_ONCE: usize = 8;

/// Knows what the pages say. Asked on a thread where it may take its time.
pub trait Pages: Send + Sync + 'static {
    /// Metrics, and their media type.
    fn metrics(&self) -> (String, &'static str);

    /// Whether calls would be served now; why not.
    fn ready(&self) -> Result<(), String>;
}

/// One of the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    /// `/metrics`
    Metrics,
    /// `/livez`: the host answers.
    Live,
    /// `/readyz`: it serves calls.
    Ready,
}

/// The pages of a gateway.
pub(super) struct Shelf {
    pages: Arc<dyn Pages>,
    room: Semaphore,
}

impl Page {
    /// The page that a request is for.
    pub(super) fn of(head: &Parts) -> Option<Self> {
        if head.method != Method::GET && head.method != Method::HEAD {
            return None;
        }
        match head.uri.path() {
            "/metrics" => Some(Self::Metrics),
            "/livez" => Some(Self::Live),
            "/readyz" => Some(Self::Ready),
            _ => None,
        }
    }
}

impl Shelf {
    pub(super) fn new(pages: Arc<dyn Pages>) -> Self {
        Self { pages, room: Semaphore::new(MAX_AT_ONCE) }
    }

    /// Makes the page and hands it to `send`, which counts as long as it takes.
    pub(super) async fn show<T>(&self, page: Page, send: impl AsyncFnOnce(Response<Bytes>) -> T) -> T {
        match self.room.try_acquire() {
            Ok(_place) => send(self.make(page).await).await,
            Err(_) => {
                let mut busy = text(StatusCode::SERVICE_UNAVAILABLE, "too many are asking at once\n");
                busy.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
                send(busy).await
            }
        }
    }

    async fn make(&self, page: Page) -> Response<Bytes> {
        let pages = self.pages.clone();
        // Apart from the calls, which share the thread that asks.
        let made = tokio::task::spawn_blocking(move || match page {
            Page::Metrics => {
                let (metrics, content_type) = pages.metrics();
                let mut response = text(StatusCode::OK, metrics);
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
                response
            }
            Page::Live => text(StatusCode::OK, "ok\n"),
            Page::Ready => match pages.ready() {
                Ok(()) => text(StatusCode::OK, "ok\n"),
                Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
            },
        });
        made.await.unwrap_or_else(|error| {
            tracing::error!(%error, ?page, "cannot make a page");
            text(StatusCode::INTERNAL_SERVER_ERROR, "the page could not be made\n")
        })
    }
}

/// A page of plain text.
pub(super) fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
