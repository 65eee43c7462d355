//! Answers that are given a second time.

use std::sync::atomic::{AtomicU8, Ordering};

use super::fallback::codes;
use super::*;
use crate::config::{ByteSize, Idempotency};
use crate::route::stats::Event;

/// How the server answers at present.
const ECHO: u8 = 0;
const TRAILERS_ONLY: u8 = 1;
const TRAILING: u8 = 2;
const BREAKS_OFF: u8 = 3;
const INVALID: u8 = 4;

/// A method with answers that are kept, of a server that can be told to fail.
struct Cached {
    router: Router,
    endpoint: Arc<Endpoint>,
    mode: Arc<AtomicU8>,
    _directory: tempfile::TempDir,
}

async fn answer(mode: u8, request: Request<RecvStream>, mut reply: SendResponse<Bytes>) {
    let Ok(all) = read(request.into_body()).await else { return };
    let code = match mode {
        INVALID => Code::InvalidArgument,
        _ => Code::Unavailable,
    };
    let mut head = head();
    if matches!(mode, TRAILERS_ONLY | INVALID) {
        head.headers_mut().insert("grpc-status", (code as i32).into());
        reply.send_response(head, true).unwrap();
        return;
    }
    head.headers_mut().insert("x-of", "the head".parse().unwrap());
    let mut send = reply.send_response(head, false).unwrap();
    // In pieces.
    for piece in all.chunks(1000) {
        send.send_data(Bytes::copy_from_slice(piece), false).unwrap();
    }
    let mut trailers = ok();
    trailers.insert("x-of-trailers", "1".parse().unwrap());
    match mode {
        TRAILING => drop(trailers.insert("grpc-status", (code as i32).into())),
        BREAKS_OFF => return send.send_reset(Reason::INTERNAL_ERROR),
        _ => {}
    }
    send.send_trailers(trailers).unwrap();
}

impl Cached {
    async fn new(change: impl FnOnce(&mut PolicySaid), info: impl FnOnce(&mut MethodInfo)) -> Self {
        let mode = Arc::new(AtomicU8::new(ECHO));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let serving = mode.clone();
        serve(&path, move |request, reply| answer(serving.load(Ordering::Relaxed), request, reply));
        let endpoint = endpoint(&path, 0).await;
        let router = router_with(std::slice::from_ref(&endpoint), 1 << 20, |said| {
            said.cache.ttl = Some(Some(Duration::from_secs(600)));
            said.retry.enabled = Some(false);
            change(said);
        });
        let mut method = MethodInfo {
            name: "Call".to_owned(),
            idempotency: Some(Idempotency::NoSideEffects),
            ..MethodInfo::default()
        };
        info(&mut method);
        let route = router.route(&name()).unwrap();
        router.insert(route, [ServiceInfo { name: "demo.v1.Demo".to_owned(), methods: vec![method] }]);
        Self { router, endpoint, mode, _directory: directory }
    }

    async fn plain() -> Self {
        Self::new(|_| {}, |_| {}).await
    }

    fn turn(&self, mode: u8) {
        self.mode.store(mode, Ordering::Relaxed);
    }

    fn stop(&self) {
        self.router.route(&name()).unwrap().set_availability(&self.endpoint, Availability::Starting);
    }

    fn method(&self) -> Arc<Method> {
        self.router.find(METHOD, None).unwrap()
    }

    fn counted(&self) -> (u64, u64) {
        let method = self.method();
        (method.stats().events(Event::CacheHit), method.stats().events(Event::CacheMiss))
    }

    async fn call(&self, message: Bytes, metadata: &[(&'static str, &str)]) -> Result<Answered, Status> {
        let mut request = request(body(vec![message], false));
        for (name, value) in metadata {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let (head, body) = call(&self.router, request).await?.into_parts();
        if let Some(status) =
            Status::from_header_map(&head.headers).filter(|status| status.code() != Code::Ok)
        {
            return Err(status);
        }
        let collected = tokio::time::timeout(PATIENCE, body.collect()).await.unwrap()?;
        let trailers = collected.trailers().cloned().unwrap();
        match Status::from_header_map(&trailers).unwrap() {
            status if status.code() != Code::Ok => Err(status),
            _ => Ok(Answered {
                is_stale: head.headers.get("plugmesh-cache").is_some_and(|value| value == "stale"),
                headers: head.headers,
                data: collected.to_bytes(),
                trailers,
            }),
        }
    }
}

#[derive(Debug)]
struct Answered {
    is_stale: bool,
    headers: http::HeaderMap,
    data: Bytes,
    trailers: http::HeaderMap,
}

#[tokio::test]
async fn the_last_good_answer_is_given_when_no_instance_is_there() {
    let cached = Cached::plain().await;
    let fresh = cached.call(message(3000), &[]).await.unwrap();
    assert!(!fresh.is_stale && fresh.headers.get("age").is_none());
    assert_eq!(fresh.data, message(3000));
    cached.stop();
    let stale = cached.call(message(3000), &[("grpc-timeout", "9S")]).await.unwrap();
    assert!(stale.is_stale);
    assert_eq!(stale.data, message(3000));
    assert_eq!(
        (&stale.headers["x-of"], &stale.trailers["x-of-trailers"]),
        (&fresh.headers["x-of"], &fresh.trailers["x-of-trailers"])
    );
    assert!(stale.headers["age"].to_str().unwrap().parse::<u64>().unwrap() < 600);
    assert_eq!(cached.counted(), (1, 0));
    assert_eq!(codes(&cached.method()), [(Code::Ok, 2)], "each call once, as its caller saw it");
    // Of another request nothing is known.
    assert_eq!(cached.call(message(3001), &[]).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(cached.counted(), (1, 1));
    assert_eq!(cached.router.replay_memory().used(), 0);
}

#[tokio::test]
async fn failures_that_blame_the_instance_are_answered_wherever_their_status_comes() {
    let cached = Cached::plain().await;
    cached.call(message(100), &[]).await.unwrap();
    for (count, mode) in (1..).zip([TRAILERS_ONLY, TRAILING, BREAKS_OFF]) {
        cached.turn(mode);
        let answered = cached.call(message(100), &[]).await.unwrap();
        assert!(answered.is_stale, "{mode}");
        assert_eq!(cached.counted(), (count, 0), "{mode}");
        assert_eq!(cached.endpoint.failures(), count, "the endpoint is blamed all the same");
    }
    assert_eq!(codes(&cached.method()), [(Code::Ok, 4)]);
    // What nothing was kept for fails as it would have.
    for (count, mode) in (1..).zip([TRAILERS_ONLY, TRAILING, BREAKS_OFF]) {
        cached.turn(mode);
        let status = cached.call(message(101), &[]).await.unwrap_err();
        let code = if mode == BREAKS_OFF { Code::Internal } else { Code::Unavailable };
        assert_eq!((status.code(), cached.counted()), (code, (3, count)), "{mode}");
    }
    assert_eq!(codes(&cached.method()), [(Code::Ok, 4), (Code::Internal, 1), (Code::Unavailable, 2)]);
}

#[tokio::test]
async fn what_is_the_callers_fault_is_told() {
    let cached = Cached::plain().await;
    cached.call(message(100), &[]).await.unwrap();
    cached.turn(INVALID);
    assert_eq!(cached.call(message(100), &[]).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(cached.counted(), (0, 0));
}

#[tokio::test]
async fn nobody_gets_the_answer_of_another() {
    let cached = Cached::plain().await;
    let alice = [("plugmesh-caller", "alice"), ("authorization", "a")];
    cached.call(message(1), &alice).await.unwrap();
    cached.stop();
    assert!(cached.call(message(1), &alice).await.unwrap().is_stale);
    for other in [
        &[("plugmesh-caller", "bob"), ("authorization", "a")][..],
        &[("plugmesh-caller", "alice"), ("authorization", "b")],
        &[("plugmesh-caller", "alice")],
        &[],
    ] {
        assert_eq!(cached.call(message(1), other).await.unwrap_err().code(), Code::Unavailable, "{other:?}");
    }
    assert_eq!(cached.counted(), (1, 4));
}

#[tokio::test]
async fn those_who_pin_an_instance_want_its_answer_and_no_other() {
    let cached = Cached::plain().await;
    let pin = [("plugmesh-instance", "demo-0")];
    assert!(cached.call(message(1), &pin).await.is_ok());
    cached.turn(TRAILERS_ONLY);
    assert_eq!(cached.call(message(1), &pin).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!((cached.counted(), cached.method().route().cache().used()), ((0, 0), (0, 0)));
}

/// What is told apart, and what it changes in the policy and in what is known of the method.
type Case = (&'static str, fn(&mut PolicySaid), fn(&mut MethodInfo));

#[tokio::test]
async fn only_unary_methods_without_side_effects_are_kept() {
    let cases: [Case; 4] = [
        ("idempotent", |_| {}, |info| info.idempotency = Some(Idempotency::Idempotent)),
        ("unknown", |_| {}, |info| info.idempotency = None),
        ("streams", |_| {}, |info| info.streams = true),
        ("off", |said| said.cache.enabled = Some(false), |_| {}),
    ];
    for (what, change, info) in cases {
        let cached = Cached::new(change, info).await;
        cached.call(message(1), &[]).await.unwrap();
        cached.stop();
        assert_eq!(cached.call(message(1), &[]).await.unwrap_err().code(), Code::Unavailable, "{what}");
        assert_eq!(cached.counted(), (0, 0), "{what}");
        assert_eq!(cached.method().route().cache().used(), (0, 0), "{what}");
    }
}

#[tokio::test]
async fn what_is_too_large_streams_through_and_is_not_kept() {
    let small = |said: &mut PolicySaid| said.cache.max_size = Some(ByteSize::kib(64));
    let cached = Cached::new(small, |_| {}).await;
    let limit = cached.method().route().cache().largest() as usize;
    for length in [limit - 5, limit - 4, 100_000] {
        let answered = cached.call(message(length), &[]).await.unwrap();
        assert_eq!(answered.data, message(length), "{length}");
    }
    assert_eq!(cached.method().route().cache().used(), (0, 0), "request and answer together are too large");
    assert_eq!(codes(&cached.method()), [(Code::Ok, 3)]);
    assert_eq!(cached.router.replay_memory().used(), 0);
}

#[tokio::test]
async fn a_flood_of_distinct_requests_stays_within_bounds() {
    let small = |said: &mut PolicySaid| said.cache.max_size = Some(ByteSize::kib(64));
    let cached = Cached::new(small, |_| {}).await;
    for number in 0..500 {
        cached.call(message(number), &[]).await.unwrap();
        assert!(cached.method().route().cache().used().0 <= 64 << 10);
    }
    cached.stop();
    assert!(cached.call(message(499), &[]).await.unwrap().is_stale);
    assert_eq!(cached.call(message(0), &[]).await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn what_has_expired_is_not_given() {
    let short = |said: &mut PolicySaid| said.cache.ttl = Some(Some(Duration::from_nanos(1)));
    let cached = Cached::new(short, |_| {}).await;
    cached.call(message(1), &[]).await.unwrap();
    cached.stop();
    assert_eq!(cached.call(message(1), &[]).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(cached.counted(), (0, 1));
}

#[tokio::test]
async fn a_stale_answer_comes_before_the_fallback() {
    let cached = Cached::new(
        |said| said.fallback.answer = Some(Some(crate::config::JsonConfig::default())),
        |info| info.answer = Some(Bytes::from_static(b"fixed")),
    )
    .await;
    cached.call(message(1), &[]).await.unwrap();
    cached.stop();
    assert!(cached.call(message(1), &[]).await.unwrap().is_stale);
    let fixed = cached.call(message(2), &[]).await.unwrap();
    assert_eq!((fixed.is_stale, fixed.headers["plugmesh-fallback"].as_bytes()), (false, &b"answer"[..]));
    assert_eq!((cached.counted(), cached.method().stats().events(Event::Fallback)), ((1, 1), 1));
}
