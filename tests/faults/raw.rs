//! A call without a generated client: what is told is what came over the wire.

use bytes::Bytes;
use h2::Reason;
use http::Request;
use plugmesh_tests::Daemon;

/// How a call ended, as any client sees it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// `grpc-status`, as a number.
    pub(crate) code: Option<i32>,
    /// `grpc-message`, without its percent encoding.
    pub(crate) message: String,
    /// The frames of all messages.
    pub(crate) body: Vec<u8>,
    /// How the gateway reset the stream, if it did.
    pub(crate) reset: Option<Reason>,
}

impl Answer {
    /// It is an echo.
    #[track_caller]
    pub(crate) fn is_ok(&self) {
        assert_eq!((self.code, &*self.body), (Some(0), HELLO), "{self:?}");
    }
}

/// `hostile.v1.Message {text: "hello"}` in its frame.
const HELLO: &[u8] = b"\0\0\0\0\x07\x0a\x05hello";

/// Calls `hostile.v1.HostileService` through the gateway, on a connection of its own.
pub(crate) async fn call(daemon: &Daemon, method: &str, metadata: &[(&str, &str)]) -> Answer {
    let answer = tokio::time::timeout(plugmesh_tests::DEADLINE / 2, exchange(daemon, method, metadata)).await;
    answer.unwrap_or_else(|_| panic!("{method} has no end"))
}

async fn exchange(daemon: &Daemon, method: &str, metadata: &[(&str, &str)]) -> Answer {
    let stream = tokio::net::UnixStream::connect(daemon.socket()).await.unwrap();
    // By default h2 gives a connection up over some hundred small frames that were not read yet.
    let builder = h2::client::Builder::new().data_frame_budget(usize::MAX).clone();
    let (mut client, connection) = builder.handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let uri = format!("http://localhost/hostile.v1.HostileService/{method}");
    let mut request = Request::post(uri).header("content-type", "application/grpc").header("te", "trailers");
    for (name, value) in metadata {
        request = request.header(*name, *value);
    }
    let (response, mut send) = client.send_request(request.body(()).unwrap(), false).unwrap();
    send.send_data(Bytes::from_static(HELLO), true).unwrap();
    let mut answer = Answer { code: None, message: String::new(), body: Vec::new(), reset: None };
    if let Err(error) = read(response, &mut answer).await {
        answer.reset = Some(error.reason().unwrap_or_else(|| panic!("{method}: {error}")));
    }
    connection.abort();
    answer
}

async fn read(response: h2::client::ResponseFuture, answer: &mut Answer) -> Result<(), h2::Error> {
    let (head, mut body) = response.await?.into_parts();
    assert_eq!(head.status, 200, "the gateway answers gRPC only");
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        answer.body.extend_from_slice(&data);
    }
    let trailers = body.trailers().await?.unwrap_or(head.headers);
    answer.code = trailers.get("grpc-status").map(|code| code.to_str().unwrap().parse().unwrap());
    let message = trailers.get("grpc-message").map(http::HeaderValue::as_bytes).unwrap_or_default();
    answer.message = percent_decoded(message);
    Ok(())
}

fn percent_decoded(text: &[u8]) -> String {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let code = after.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (first, code) {
            (b'%', Some(code)) => {
                bytes.push(code);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
