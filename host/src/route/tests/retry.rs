//! Calls that are made more than once, and calls that must not be.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::config::Idempotency;

/// A status without anything else.
fn trailers_only(code: Code) -> Response<()> {
    let mut head = head();
    head.headers_mut().insert("grpc-status", (code as i32).into());
    head
}

/// What servers were asked, in order: the request's message and the attempts before.
type Seen = Arc<std::sync::Mutex<Vec<(Vec<u8>, Option<String>)>>>;

/// Three endpoints of which the first `failing` answer as `fail` says, once they have read the request; the others echo.
async fn mesh<F, R>(
    failing: usize,
    fail: F,
    change: impl FnOnce(&mut PolicySaid),
) -> (Router, Vec<Arc<Endpoint>>, Seen, tempfile::TempDir)
where
    F: Fn(SendResponse<Bytes>) -> R + Clone + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let directory = tempfile::tempdir().unwrap();
    let (seen, mut endpoints) = (Seen::default(), Vec::new());
    for ordinal in 0..3 {
        let path = directory.path().join(ordinal.to_string());
        let (seen, fail) = (seen.clone(), fail.clone());
        serve(&path, move |request, mut reply| {
            let (seen, fail) = (seen.clone(), fail.clone());
            async move {
                let before = request.headers().get("grpc-previous-rpc-attempts");
                let before = before.map(|value| value.to_str().unwrap().to_owned());
                let Ok(all) = read(request.into_body()).await else { return };
                seen.lock().unwrap().push((all.clone(), before));
                if ordinal < failing {
                    return fail(reply).await;
                }
                let mut send = reply.send_response(head(), false).unwrap();
                send.send_data(all.into(), false).unwrap();
                send.send_trailers(ok()).unwrap();
            }
        });
        endpoints.push(endpoint(&path, ordinal as u32).await);
    }
    let router = router_with(&endpoints, 1 << 20, |said| {
        said.idempotency = Some(Idempotency::Idempotent);
        said.retry.initial_interval = Some(Duration::from_millis(1));
        change(said);
    });
    (router, endpoints, seen, directory)
}

async fn unavailable(mut reply: SendResponse<Bytes>) {
    reply.send_response(trailers_only(Code::Unavailable), true).unwrap();
}

async fn refused(mut reply: SendResponse<Bytes>) {
    reply.send_reset(Reason::REFUSED_STREAM);
}

#[tokio::test]
async fn an_idempotent_call_is_made_again_elsewhere_with_the_whole_request() {
    let (router, endpoints, seen, _directory) = mesh(2, unavailable, |_| {}).await;
    let sent = [message(10), message(2000)];
    let status = status(call(&router, request(body(sent.to_vec(), false))).await).await;
    assert_eq!(status.code(), Code::Ok, "{status}");
    let seen = seen.lock().unwrap();
    let attempts: Vec<_> = seen.iter().map(|(_, before)| before.as_deref()).collect();
    assert_eq!(attempts, [None, Some("1"), Some("2")], "each endpoint once, and told so");
    assert!(seen.iter().all(|(request, _)| *request == sent.concat()));
    assert_eq!(endpoints.iter().map(|endpoint| endpoint.calls()).collect::<Vec<_>>(), [1, 1, 1]);
    assert_eq!(router.replay_memory().used(), 0);
}

#[tokio::test]
async fn a_call_that_may_not_be_made_twice_is_made_once() {
    let unknown = |said: &mut PolicySaid| said.idempotency = None;
    let (router, _, seen, _directory) = mesh(3, unavailable, unknown).await;
    let status = status(call(&router, request(body(vec![message(1)], false))).await).await;
    assert_eq!((status.code(), seen.lock().unwrap().len()), (Code::Unavailable, 1));
}

#[tokio::test]
async fn what_nobody_looked_at_is_made_again_whatever_it_is() {
    let unknown = |said: &mut PolicySaid| said.idempotency = None;
    let (router, _, seen, _directory) = mesh(2, refused, unknown).await;
    let status = status(call(&router, request(body(vec![message(1)], false))).await).await;
    assert_eq!(status.code(), Code::Ok, "{status}");
    let attempts: Vec<_> = seen.lock().unwrap().iter().map(|(_, before)| before.clone()).collect();
    // The first time it is free, and the plugin is not told of an attempt that it did not see.
    assert_eq!(attempts, [None, None, Some("1".to_owned())]);
}

#[tokio::test]
async fn what_a_leaving_server_did_not_look_at_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let paths = [directory.path().join("a"), directory.path().join("b")];
    let listener = UnixListener::bind(&paths[0]).unwrap();
    // GOAWAY with the id of the stream before the first one, then the end.
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        while let Ok((mut io, _)) = listener.accept().await {
            io.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
            let mut bytes = [0; 1024];
            // Preface and settings; the HEADERS of the call come after the first read.
            let mut got = 0;
            while got < 24 + 9 + 100 {
                got += io.read(&mut bytes).await.unwrap();
            }
            io.write_all(&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).await.unwrap();
            std::future::pending::<()>().await;
        }
    });
    serve(&paths[1], echo);
    let endpoints = [endpoint(&paths[0], 0).await, endpoint(&paths[1], 1).await];
    let router = router(&endpoints, 1000);
    let status = status(call(&router, request(body(vec![message(100)], false))).await).await;
    assert_eq!(status.code(), Code::Ok, "{status}");
    assert_eq!(endpoints.map(|endpoint| endpoint.calls()), [1, 1]);
}

#[tokio::test]
async fn a_response_that_has_begun_commits_the_call() {
    let begins = |mut reply: SendResponse<Bytes>| async move {
        let mut send = reply.send_response(head(), false).unwrap();
        let mut trailers = ok();
        trailers.insert("grpc-status", (Code::Unavailable as i32).into());
        send.send_trailers(trailers).unwrap();
    };
    let (router, _, seen, _directory) = mesh(3, begins, |_| {}).await;
    let status = status(call(&router, request(body(vec![message(1)], false))).await).await;
    assert_eq!((status.code(), seen.lock().unwrap().len()), (Code::Unavailable, 1));
}

#[tokio::test]
async fn a_request_that_is_too_large_to_keep_is_sent_once() {
    let small = |said: &mut PolicySaid| said.retry.buffer_size = Some(crate::config::ByteSize::bytes(100));
    let (router, _, seen, _directory) = mesh(3, unavailable, small).await;
    let status_of_large = status(call(&router, request(body(vec![message(200)], false))).await).await;
    assert_eq!((status_of_large.code(), seen.lock().unwrap().len()), (Code::Unavailable, 1));
    let _ = status(call(&router, request(body(vec![message(50)], false))).await).await;
    assert_eq!(seen.lock().unwrap().len(), 1 + 4);
    assert_eq!(router.replay_memory().used(), 0);
}

#[tokio::test]
async fn pushback_says_whether_and_when() {
    for (pushback, attempts) in [("-1", 1), ("1", 4)] {
        let fails = move |mut reply: SendResponse<Bytes>| async move {
            let mut head = trailers_only(Code::Unavailable);
            head.headers_mut().insert("grpc-retry-pushback-ms", pushback.parse().unwrap());
            reply.send_response(head, true).unwrap();
        };
        // Longer than the test may take: only pushback makes the attempts.
        let slow = |said: &mut PolicySaid| said.retry.initial_interval = Some(Duration::from_secs(300));
        let (router, _, seen, _directory) = mesh(3, fails, slow).await;
        let status = status(call(&router, request(body(vec![message(1)], false))).await).await;
        assert_eq!((status.code(), seen.lock().unwrap().len()), (Code::Unavailable, attempts), "{pushback}");
    }
}

#[tokio::test]
async fn an_attempt_that_hangs_gives_way_to_another() {
    let hangs = |reply: SendResponse<Bytes>| async move {
        let _reply = reply;
        std::future::pending().await
    };
    let timeout = |said: &mut PolicySaid| said.retry.attempt_timeout = Some(Some(Duration::from_millis(20)));
    let (router, endpoints, _, _directory) = mesh(2, hangs, timeout).await;
    let status = status(call(&router, request(body(vec![message(1)], false))).await).await;
    assert_eq!(status.code(), Code::Ok, "{status}");
    assert_eq!(
        endpoints.iter().map(|e| (e.in_flight(), e.failures())).collect::<Vec<_>>(),
        [(0, 1), (0, 1), (0, 0)]
    );
}

#[tokio::test]
async fn an_attempt_is_told_the_time_that_is_left() {
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let count = Arc::new(AtomicUsize::new(0));
    let (tell, counting) = (told.clone(), count.clone());
    let handle = move |request: Request<RecvStream>, mut reply: SendResponse<Bytes>| {
        tell.lock().unwrap().push(timeout::parse(&request.headers()["grpc-timeout"]).unwrap());
        let answer = match counting.fetch_add(1, Ordering::Relaxed) {
            0 => trailers_only(Code::Unavailable),
            _ => trailers_only(Code::Ok),
        };
        async move {
            reply.send_response(answer, true).unwrap();
        }
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    serve(&path, handle);
    let router = router_with(&[endpoint(&path, 0).await], 1000, |said| {
        said.idempotency = Some(Idempotency::Idempotent);
        said.retry.initial_interval = Some(Duration::from_millis(20));
        said.connection.request_timeout = Some(Some(Duration::from_secs(60)));
        said.connection.max_request_timeout = Some(Some(Duration::from_secs(10)));
    });
    let mut request = request(body(vec![message(1)], false));
    request.headers_mut().insert("grpc-timeout", "1H".parse().unwrap());
    assert_eq!(status(call(&router, request).await).await.code(), Code::Ok);
    let told = told.lock().unwrap().clone();
    assert!(told[0] <= Duration::from_secs(10) && told[0] > Duration::from_secs(9), "{told:?}");
    assert!(told[1] <= told[0] - Duration::from_millis(16), "minus the pause: {told:?}");
}

#[tokio::test]
async fn a_call_whose_time_is_up_is_never_sent() {
    let (router, endpoint, _directory) = demo(1000, echo).await;
    let mut request = request(body(vec![message(1)], false));
    request.headers_mut().insert("grpc-timeout", "0m".parse().unwrap());
    let status = status(call(&router, request).await).await;
    assert_eq!((status.code(), endpoint.calls()), (Code::DeadlineExceeded, 0));
    assert_eq!(status.message(), "the deadline of the call to the plugin demo had passed before it was sent");
}
