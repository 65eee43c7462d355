//! What the gateway counts.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Request;
use semver::Version;
use tokio::time::timeout;
use tonic::{Code, Status};

use super::support::*;
use crate::code::code_name;
use crate::gateway::Limits;

/// How many calls there were, by method and status.
fn counted(running: &Running) -> BTreeMap<(String, &'static str), u64> {
    let mut counted = BTreeMap::new();
    running.calls.read(|method, code, latency| {
        let method = method.unwrap_or("other").to_owned();
        counted.insert((method, code_name(code)), latency.snapshot().count());
    });
    counted
}

#[tokio::test]
async fn calls_are_counted_by_method_and_status() {
    let running = start(
        upstream(async |request: Request<crate::gateway::RequestBody>| {
            match request.headers().get("x-fail") {
                Some(_) => Err(Status::data_loss("as asked")),
                None => echo(request).await,
            }
        }),
        Limits::default(),
    )
    .await;
    let set = compile("demo.proto", DEMO);
    running.catalog.insert(plugin("demo"), Version::new(1, 0, 0), set, vec!["demo.v1.Echo".into()]).unwrap();
    let client = running.client().await;
    for _ in 0..3 {
        call(&client, say().body(()).unwrap(), message(1)).await;
    }
    call(&client, say().header("x-fail", "1").body(()).unwrap(), message(1)).await;
    call(&client, say().header("grpc-timeout", "soon").body(()).unwrap(), message(1)).await;
    // Methods and services that somebody makes up are one.
    for path in
        ["/demo.v1.Echo/Made", "/demo.v1.Echo/Up", "/x.Y/Z", "/grpc.health.v1.Health/None", "/nonsense"]
    {
        call(&client, grpc(path).body(()).unwrap(), message(1)).await;
    }
    call(&client, grpc("/grpc.health.v1.Health/Check").body(()).unwrap(), message(0)).await;
    let page = Request::get("http://localhost/livez").body(()).unwrap();
    call(&client, page, message(0)).await;
    let counted = counted(&running);
    let expected = [
        (("demo.v1.Echo/Say", "DATA_LOSS"), 1),
        (("demo.v1.Echo/Say", "INVALID_ARGUMENT"), 1),
        (("demo.v1.Echo/Say", "OK"), 3),
        (("grpc.health.v1.Health/Check", "NOT_FOUND"), 1),
        (("other", "OK"), 3),
        (("other", "UNIMPLEMENTED"), 2),
    ];
    let counted: Vec<_> = counted.iter().map(|((method, code), n)| ((method.as_str(), *code), *n)).collect();
    assert_eq!(counted, expected);
}

#[tokio::test]
async fn a_call_that_its_client_leaves_was_cancelled() {
    let running = start(upstream(echo), Limits::default()).await;
    let mut client = running.client().await.ready().await.unwrap();
    let (response, mut send) = client.send_request(say().body(()).unwrap(), false).unwrap();
    send.send_data(message(1), false).unwrap();
    let mut body = timeout(PATIENCE, response).await.unwrap().unwrap().into_body();
    timeout(PATIENCE, body.data()).await.unwrap().unwrap().unwrap();
    assert!(counted(&running).is_empty(), "it has not ended");
    send.send_reset(h2::Reason::CANCEL);
    let seen = async {
        while counted(&running).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, seen).await.unwrap();
    assert_eq!(counted(&running).keys().next(), Some(&("other".to_owned(), code_name(Code::Cancelled))));
    drop(body);
    assert_eq!(running.calls.connections(), 1);
}
