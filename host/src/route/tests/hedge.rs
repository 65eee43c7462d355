//! Calls of which more than one attempt is under way.

use tokio::sync::mpsc;

use super::*;
use crate::config::{HedgingDelay, Idempotency};
use crate::route::stats::Event;

/// What an endpoint does with a call.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    Answers,
    Hangs,
    Fails(Code),
}

/// Endpoints that do so, and word of each call that was cancelled there.
async fn mesh(
    does: &[Does],
    change: impl FnOnce(&mut PolicySaid),
) -> (Router, Vec<Arc<Endpoint>>, mpsc::Receiver<u32>, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let (tell, told) = mpsc::channel(8);
    let mut endpoints = Vec::new();
    for (ordinal, does) in (0..).zip(does.iter().copied()) {
        let path = directory.path().join(ordinal.to_string());
        let tell = tell.clone();
        serve(&path, move |request, mut reply| {
            let tell = tell.clone();
            async move {
                let Ok(all) = read(request.into_body()).await else { return };
                match does {
                    Does::Answers => {
                        let mut send = reply.send_response(head(), false).unwrap();
                        send.send_data(all.into(), false).unwrap();
                        send.send_trailers(ok()).unwrap();
                    }
                    Does::Fails(code) => {
                        let mut head = head();
                        head.headers_mut().insert("grpc-status", (code as i32).into());
                        reply.send_response(head, true).unwrap();
                    }
                    Does::Hangs => {
                        let _ = std::future::poll_fn(|cx| reply.poll_reset(cx)).await;
                        tell.send(ordinal).await.unwrap();
                    }
                }
            }
        });
        endpoints.push(endpoint(&path, ordinal).await);
    }
    let router = router_with(&endpoints, 1000, |said| {
        said.idempotency = Some(Idempotency::Idempotent);
        said.hedging.delay = Some(Some(HedgingDelay::Fixed(Duration::from_millis(10))));
        said.hedging.max_attempts = Some(3);
        change(said);
    });
    (router, endpoints, told, directory)
}

async fn code_of_one(router: &Router) -> Code {
    status(call(router, request(body(vec![message(1)], false))).await).await.code()
}

fn calls(endpoints: &[Arc<Endpoint>]) -> Vec<u64> {
    endpoints.iter().map(|endpoint| endpoint.calls()).collect()
}

#[tokio::test]
async fn the_first_answer_counts_and_the_losers_are_cancelled() {
    let (router, endpoints, mut told, _directory) =
        mesh(&[Does::Hangs, Does::Hangs, Does::Answers], |_| {}).await;
    assert_eq!(code_of_one(&router).await, Code::Ok);
    let mut cancelled = [told.recv().await.unwrap(), told.recv().await.unwrap()];
    cancelled.sort_unstable();
    assert_eq!(cancelled, [0, 1]);
    assert_eq!(calls(&endpoints), [1, 1, 1], "each endpoint once");
    let stats_of = router.find(METHOD, None).unwrap();
    assert_eq!(stats_of.stats().events(Event::Hedge), 2);
    assert_eq!(stats_of.stats().by_code().map(|(code, _)| code).collect::<Vec<_>>(), [Code::Ok], "one call");
}

#[tokio::test]
async fn a_quick_answer_is_the_only_one() {
    let (router, endpoints, _, _directory) = mesh(&[Does::Answers; 3], |said| {
        said.hedging.delay = Some(Some(HedgingDelay::Fixed(Duration::from_secs(300))));
    })
    .await;
    assert_eq!(code_of_one(&router).await, Code::Ok);
    assert_eq!(calls(&endpoints), [1, 0, 0]);
}

#[tokio::test]
async fn what_may_not_be_made_twice_is_not_hedged() {
    let (router, _, _, _directory) =
        mesh(&[Does::Hangs, Does::Answers], |said| said.idempotency = None).await;
    let mut request = request(body(vec![message(1)], false));
    request.headers_mut().insert("grpc-timeout", "100m".parse().unwrap());
    assert_eq!(status(call(&router, request).await).await.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_status_that_is_not_fatal_makes_room_for_the_next_attempt_at_once() {
    let never = |said: &mut PolicySaid| {
        said.hedging.delay = Some(Some(HedgingDelay::Fixed(Duration::from_secs(300))));
    };
    let unavailable = Does::Fails(Code::Unavailable);
    let (router, endpoints, _, _directory) = mesh(&[unavailable, unavailable, Does::Answers], never).await;
    assert_eq!(code_of_one(&router).await, Code::Ok);
    assert_eq!(calls(&endpoints), [1, 1, 1]);
    let (router, _, _, _directory) = mesh(&[unavailable; 3], never).await;
    assert_eq!(code_of_one(&router).await, Code::Unavailable, "when all fail, so does the call");
    let fatal = Does::Fails(Code::NotFound);
    let (router, endpoints, _, _directory) = mesh(&[fatal, Does::Answers], never).await;
    assert_eq!(code_of_one(&router).await, Code::NotFound);
    assert_eq!(calls(&endpoints), [1, 0]);
}

#[tokio::test]
async fn without_a_budget_there_is_no_hedge() {
    let (router, endpoints, _, _directory) = mesh(&[Does::Hangs, Does::Answers], |said| {
        said.retry.budget_ratio = Some(0.0);
        said.retry.budget_min_per_second = Some(0);
    })
    .await;
    let mut request = request(body(vec![message(1)], false));
    request.headers_mut().insert("grpc-timeout", "100m".parse().unwrap());
    assert_eq!(status(call(&router, request).await).await.code(), Code::DeadlineExceeded);
    assert_eq!(calls(&endpoints), [1, 0]);
}

#[tokio::test]
async fn while_nobody_knows_what_is_slow_nothing_is_hedged() {
    let p95 = |said: &mut PolicySaid| said.hedging.delay = Some(Some(HedgingDelay::P95));
    let (router, endpoints, _, _directory) = mesh(&[Does::Hangs, Does::Answers], p95).await;
    let mut request = request(body(vec![message(1)], false));
    request.headers_mut().insert("grpc-timeout", "100m".parse().unwrap());
    assert_eq!(status(call(&router, request).await).await.code(), Code::DeadlineExceeded);
    assert_eq!(calls(&endpoints), [1, 0]);
}

#[tokio::test]
async fn a_call_that_had_to_wait_is_hedged_like_any_other() {
    let (router, endpoints, _, _directory) = mesh(&[Does::Hangs, Does::Answers], |said| {
        said.hedging.delay = Some(Some(HedgingDelay::Fixed(Duration::from_millis(300))));
    })
    .await;
    let route = router.route(&name()).unwrap();
    let set = |ordinal: usize, availability| route.set_availability(&endpoints[ordinal], availability);
    (0..2).for_each(|ordinal| set(ordinal, Availability::Starting));
    let (code, ()) = tokio::join!(code_of_one(&router), async {
        set(0, Availability::Ready);
        while endpoints[0].in_flight() == 0 {
            tokio::task::yield_now().await;
        }
        set(1, Availability::Ready);
    });
    assert_eq!(code, Code::Ok);
    assert_eq!(calls(&endpoints), [1, 1]);
}
