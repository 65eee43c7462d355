//! `grpc.health.v1`.

use std::future::pending;

use tonic::Code;
use tonic_health::pb::HealthCheckResponse;
use tonic_health::pb::health_check_response::ServingStatus;

use super::Mode;
use super::server::{Answer, end, frame};

pub(super) async fn answer(method: &str, answer: Answer, mode: Mode) {
    if method != "Watch" {
        return answer.status(Code::Unimplemented, b"only Watch");
    }
    let says = |status: ServingStatus| frame(&HealthCheckResponse { status: status.into() });
    match mode {
        "health-hangs" => pending().await,
        "health-refused" => return answer.status(Code::PermissionDenied, b"mind your own business"),
        _ => {}
    }
    let mut body = answer.begin().await;
    match mode {
        "health-not-serving" => drop(body.send_data(says(ServingStatus::NotServing), false)),
        "health-unknown-number" => {
            let _ = body.send_data(frame(&HealthCheckResponse { status: 99 }), false);
        }
        // Says that all is well, and hangs up, each time.
        "health-ends" => {
            let _ = body.send_data(says(ServingStatus::Serving), false);
            return end(body, Code::Ok, b"");
        }
        "health-ends-silently" => return end(body, Code::Ok, b""),
        "health-breaks" => {
            let _ = body.send_data(says(ServingStatus::Serving), false);
            return end(body, Code::Internal, b"lost my pulse");
        }
        "health-garbage" => drop(body.send_data(b"\0\0\0\0\x04\xff\xff\xff\xff".as_slice().into(), false)),
        "health-flaps" => loop {
            for status in [ServingStatus::Serving, ServingStatus::NotServing] {
                body.reserve_capacity(7);
                let got = std::future::poll_fn(|cx| body.poll_capacity(cx)).await;
                if !matches!(got, Some(Ok(_))) || body.send_data(says(status), false).is_err() {
                    return;
                }
            }
            tokio::task::yield_now().await;
        },
        _ => drop(body.send_data(says(ServingStatus::Serving), false)),
    }
    // A watch lasts.
    pending::<()>().await;
    drop(body);
}
