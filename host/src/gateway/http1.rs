//! HTTP/1.1, for one request of a scraper, a probe or a browser.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::limits::Limits;
use super::pages::{Page, Shelf, text};

/// For browsers, curl without `--http2-prior-knowledge`, and load balancers' probes.
const NOT_HERE: &str = "there is no such page here; there are /metrics, /livez and /readyz, and gRPC over HTTP/2: \
                        try grpcurl -plaintext ADDRESS list\n";

/// Bytes of a request's head below which hyper does not go.
const LEAST_HEAD: usize = 8 << 10;

/// Answers one request and closes the connection, so that the caller's timeout bounds all of it.
pub(super) async fn serve<T>(io: T, shelf: &Shelf, limits: &Limits) -> hyper::Result<()>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(async |request: Request<Incoming>| {
        let (head, _) = request.into_parts();
        Ok::<_, Infallible>(match Page::of(&head) {
            Some(page) => shelf.show(page, async |response| response.map(Full::new)).await,
            None => text(StatusCode::NOT_FOUND, Bytes::from_static(NOT_HERE.as_bytes())).map(Full::new),
        })
    });
    let mut builder = Builder::new();
    builder.keep_alive(false).max_buf_size((limits.max_header_list as usize).max(LEAST_HEAD));
    builder.serve_connection(TokioIo::new(io), service).await
}
