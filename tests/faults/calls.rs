//! What a call can meet, by the bytes that a caller gets.

use tonic::Code;

use crate::raw::call;
use crate::scene::{Scene, hostile};

#[tokio::test]
async fn answers_that_are_wrong_become_a_status_that_says_so() {
    let scene = Scene::new().await;
    scene.load(&hostile("honest")).await.unwrap();
    let faults = [
        ("Cancelled", Code::Cancelled, "instance honest-0 of plugin honest: the stream was reset (CANCEL)"),
        (
            "Refused",
            Code::Unavailable,
            "instance honest-0 of plugin honest: the stream was reset (REFUSED_STREAM)",
        ),
        (
            "Calm",
            Code::ResourceExhausted,
            "instance honest-0 of plugin honest: the stream was reset (ENHANCE_YOUR_CALM)",
        ),
        (
            "Internal",
            Code::Internal,
            "instance honest-0 of plugin honest: the stream was reset (INTERNAL_ERROR)",
        ),
        (
            "NoStatus",
            Code::Unknown,
            "instance honest-0 of plugin honest ended its answer without a gRPC status; a gRPC server sends grpc-status in the trailers",
        ),
        (
            "Html",
            Code::Unknown,
            "instance honest-0 of plugin honest answered with HTTP status 200 and content-type \"text/html\", which is no gRPC response; it, or a proxy before it, has no gRPC service at that path",
        ),
        (
            "Unavailable503",
            Code::Unavailable,
            "instance honest-0 of plugin honest answered with HTTP status 503 and content-type \"text/plain\", which is no gRPC response; it, or a proxy before it, has no gRPC service at that path",
        ),
        (
            "Truncated",
            Code::Internal,
            "instance honest-0 of plugin honest ended its answer with OK in the middle of a message; what it sent is not complete",
        ),
        (
            "LargeHeaders",
            Code::Internal,
            "instance honest-0 of plugin honest: its answer has more than the host's 16 KiB of headers, or breaks HTTP/2 (PROTOCOL_ERROR)",
        ),
        (
            "HugeHeaders",
            Code::Unavailable,
            "instance honest-0 of plugin honest: the connection was lost (it sent far more than the host's 16 KiB of headers)",
        ),
        (
            "HugeTrailers",
            Code::Unavailable,
            "instance honest-0 of plugin honest: the connection was lost (it sent far more than the host's 16 KiB of headers)",
        ),
    ];
    let mut wrong = Vec::new();
    for (method, code, message) in faults {
        let answer = call(&scene.daemon, method, &[]).await;
        if (answer.code, &*answer.message) != (Some(code as i32), message) {
            wrong.push(format!("{method}: {:?} {:?} {:?}", answer.code, answer.message, answer.reset));
        }
        // Whatever it was, the next call is answered, over a new connection if need be.
        call(&scene.daemon, "Echo", &[]).await.is_ok();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    scene.unload("honest").await;
    scene.end().await;
}

#[tokio::test]
async fn what_only_a_client_can_judge_passes_as_it_came() {
    let scene = Scene::new().await;
    scene.load(&hostile("honest")).await.unwrap();
    let plain = async |method| {
        let answer = call(&scene.daemon, method, &[]).await;
        assert_eq!(answer.reset, None, "{method}: {answer:?}");
        (answer.code.unwrap(), answer.message, answer.body)
    };
    assert_eq!(plain("Code42").await, (42, "out of range".to_owned(), Vec::new()));
    assert_eq!(plain("NoMessage").await, (0, String::new(), Vec::new()));
    assert_eq!(plain("BadFlag").await, (0, String::new(), b"\x07\0\0\0\0".into()));
    assert_eq!(plain("NotAMessage").await, (0, String::new(), b"\0\0\0\0\x04\xff\xff\xff\xff".into()));
    let two = plain("TwoMessages").await.2;
    assert_eq!(two[..12], two[12..]);
    let huge = plain("HugeMessage").await;
    assert_eq!((huge.0, huge.1.len()), (Code::Aborted as i32, 12_000));
    // Bytes that are no text, and percent signs that are no encoding.
    assert_eq!(plain("BadMessage").await.1, "caf\u{fffd} \u{fffd} %zz \u{20ac}");
    scene.unload("honest").await;
    scene.end().await;
}

#[tokio::test]
async fn a_call_that_stalls_ends_with_its_deadline() {
    let scene = Scene::new().await;
    scene.load(&hostile("honest")).await.unwrap();
    let answer = call(&scene.daemon, "Stalls", &[("grpc-timeout", "200m")]).await;
    assert_eq!(answer.code, Some(Code::DeadlineExceeded as i32), "{answer:?}");
    assert_eq!(
        answer.message,
        "instance honest-0 of plugin honest did not answer within the caller's deadline"
    );
    let answer = call(&scene.daemon, "Endless", &[("grpc-timeout", "200m")]).await;
    assert_eq!(
        answer.code,
        Some(Code::DeadlineExceeded as i32),
        "{:?} after {} bytes: {:?}",
        answer.message,
        answer.body.len(),
        answer.reset
    );
    call(&scene.daemon, "Echo", &[]).await.is_ok();
    assert_eq!(scene.daemon.instance("honest", 0).await.in_flight, 0);
    scene.unload("honest").await;
    scene.end().await;
}

#[tokio::test]
async fn an_unknown_service_is_answered_with_the_closest() {
    let scene = Scene::new().await;
    let mut grpc = tonic::client::Grpc::new(scene.daemon.channel());
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let path = "/calculator.v1.CalculatrService/Add".parse().unwrap();
    let status = grpc.unary(tonic::Request::new(()), path, codec).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert_eq!(
        status.message(),
        "no plugin provides the service calculator.v1.CalculatrService; did you mean calculator.v1.CalculatorService?"
    );
    scene.end().await;
}
