//! An endpoint that fails leaves the rotation, and comes back when it is well again.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// Whether an endpoint is ill, which it is told from outside.
type Ill = Arc<AtomicBool>;

async fn patients(
    count: u32,
    change: impl FnOnce(&mut PolicySaid),
) -> (Router, Vec<Arc<Endpoint>>, Vec<Ill>, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let (mut endpoints, mut ills) = (Vec::new(), Vec::new());
    let mut said = PolicySaid::default();
    said.circuit_breaker.recovery_timeout = Some(Duration::from_millis(20));
    change(&mut said);
    let policy = Policies::default().with(SetBy::Host, said.clone()).of_plugin();
    for ordinal in 0..count {
        let path = directory.path().join(ordinal.to_string());
        let ill = Ill::default();
        let is_ill = ill.clone();
        serve(&path, move |request, mut reply| {
            let ill = is_ill.load(Ordering::Relaxed);
            async move {
                if !ill {
                    return echo(request, reply).await;
                }
                // In the trailers of an answer that has begun: as bad as one that is nothing else.
                let mut send = reply.send_response(head(), false).unwrap();
                let mut trailers = ok();
                trailers.insert("grpc-status", (Code::Internal as i32).into());
                send.send_trailers(trailers).unwrap();
            }
        });
        endpoints.push(endpoint_with(&path, ordinal, &policy).await);
        ills.push(ill);
    }
    let router = router_with(&endpoints, 1000, |policy| policy.circuit_breaker = said.circuit_breaker);
    (router, endpoints, ills, directory)
}

async fn code_of_one(router: &Router) -> Code {
    status(call(router, request(body(vec![message(1)], false))).await).await.code()
}

fn explained(router: &Router) -> Vec<(bool, Option<Breaker>, String)> {
    let candidates = router.find(METHOD, None).unwrap().explain().candidates;
    candidates.into_iter().map(|one| (one.is_eligible, one.breaker, one.reason)).collect()
}

#[tokio::test]
async fn an_endpoint_that_fails_leaves_and_comes_back() {
    let (router, endpoints, ills, _directory) = patients(2, |_| {}).await;
    ills[0].store(true, Ordering::Relaxed);
    let mut failures = 0;
    while endpoints[0].is_trusted() {
        failures += u32::from(code_of_one(&router).await != Code::Ok);
    }
    assert!(failures <= 7, "{failures} calls failed");
    let state = explained(&router).remove(0);
    assert!(!state.0 && matches!(state.1, Some(Breaker::Open(_))), "{state:?}");
    assert!(state.2.starts_with("its circuit breaker is open"), "{state:?}");
    ills[0].store(false, Ordering::Relaxed);
    let well_again = async {
        while !endpoints[0].is_trusted() {
            assert_eq!(code_of_one(&router).await, Code::Ok);
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, well_again).await.expect("it is trusted again");
    assert_eq!(explained(&router).remove(0).1, Some(Breaker::Closed));
    let before = endpoints[0].calls();
    for _ in 0..10 {
        assert_eq!(code_of_one(&router).await, Code::Ok);
    }
    assert_eq!(endpoints[0].calls() - before, 5, "its share");
}

#[tokio::test]
async fn while_it_is_ill_it_sees_probes_only_and_less_and_less_of_them() {
    let (router, endpoints, ills, _directory) = patients(2, |_| {}).await;
    ills[0].store(true, Ordering::Relaxed);
    while endpoints[0].is_trusted() {
        code_of_one(&router).await;
    }
    let until = tokio::time::Instant::now() + Duration::from_millis(500);
    let (mut failed, mut made) = (0, 0);
    while tokio::time::Instant::now() < until {
        failed += u32::from(code_of_one(&router).await != Code::Ok);
        made += 1;
    }
    // Rests of 20, 40, 80, 160 and 320 ms at least.
    assert!(failed <= 5, "{failed} of {made} calls failed");
}

#[tokio::test]
async fn the_only_endpoint_is_called_although_its_breaker_is_open() {
    let (router, endpoints, ills, _directory) = patients(1, |_| {}).await;
    ills[0].store(true, Ordering::Relaxed);
    while endpoints[0].is_trusted() {
        code_of_one(&router).await;
    }
    let state = explained(&router).remove(0);
    assert!(
        state.0 && state.2.ends_with("its circuit breaker is open, but too few others are trusted"),
        "{state:?}"
    );
    ills[0].store(false, Ordering::Relaxed);
    assert_eq!(code_of_one(&router).await, Code::Ok);
}

#[tokio::test]
async fn or_it_is_not_when_that_is_configured() {
    let (router, endpoints, ills, _directory) = patients(1, |said| {
        said.circuit_breaker.panic = Some(crate::config::Panic::Closed);
        said.circuit_breaker.recovery_timeout = Some(Duration::from_secs(300));
        said.circuit_breaker.max_recovery_timeout = Some(Duration::from_secs(300));
    })
    .await;
    ills[0].store(true, Ordering::Relaxed);
    while endpoints[0].is_trusted() {
        code_of_one(&router).await;
    }
    let before = endpoints[0].calls();
    let status = status(call(&router, request(body(vec![message(1)], false))).await).await;
    assert_eq!((status.code(), endpoints[0].calls()), (Code::Unavailable, before));
    assert_eq!(
        status.message(),
        "the circuit breakers of too many instances of the plugin demo are open, because they failed too often; \
         `plugmesh explain` says when each is tried again"
    );
}

#[tokio::test]
async fn without_a_breaker_it_stays_whatever_it_does() {
    let (router, endpoints, ills, _directory) =
        patients(2, |said| said.circuit_breaker.enabled = Some(false)).await;
    ills[0].store(true, Ordering::Relaxed);
    for _ in 0..40 {
        code_of_one(&router).await;
    }
    assert_eq!((endpoints[0].calls(), endpoints[0].failures()), (20, 20));
    assert_eq!(explained(&router).remove(0).1, None);
}
