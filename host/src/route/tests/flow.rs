//! Readers that stand still.

use super::*;

/// Small messages that fill most of a stream's window.
const MESSAGES: usize = 8000;
const LENGTH: usize = 27;

/// Sends many small messages, each in a frame of its own.
async fn small(mut reply: SendResponse<Bytes>) {
    let mut send = reply.send_response(head(), false).unwrap();
    for _ in 0..MESSAGES {
        send.send_data(message(LENGTH), false).unwrap();
    }
    send.send_trailers(ok()).unwrap();
}

#[tokio::test]
async fn stalled_readers_of_small_messages_do_not_cost_their_neighbours_the_connection() {
    let (router, _endpoint, _directory) = demo(1000, |request, reply| async move {
        match request.headers().contains_key("small") {
            true => small(reply).await,
            false => echo(request, reply).await,
        }
    })
    .await;
    let mut stalled = Vec::new();
    for _ in 0..60 {
        let mut request = request(body(vec![], false));
        request.headers_mut().insert("small", "1".parse().unwrap());
        stalled.push(call(&router, request).await.unwrap().into_body());
    }
    // The streams take turns on the connection: when one is here, the others are all but here.
    let read = |body: CallBody| async { body.collect().await.map(|all| all.to_bytes().len()) };
    assert_eq!(read(stalled.pop().unwrap()).await.unwrap(), MESSAGES * (5 + LENGTH));
    let answer = call(&router, request(body(vec![message(100)], false))).await;
    assert_eq!(status(answer).await.code(), Code::Ok);
    for body in stalled {
        assert_eq!(read(body).await.unwrap(), MESSAGES * (5 + LENGTH));
    }
}
