//! `plugmesh call` against a service with a method of each kind.

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use prost::Message as _;
use tokio_stream::StreamExt as _;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::support::{Fake, Pair, Reflection, Sum};

/// `demo.v1.Demo`, as [`DEMO`](super::support::DEMO) describes it.
#[derive(Clone)]
pub(crate) struct Demo {
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
}

impl NamedService for Demo {
    const NAME: &'static str = "demo.v1.Demo";
}

impl Service<http::Request<tonic::body::Body>> for Demo {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        for name in ["plugmesh-plugin", "plugmesh-instance", "x-user", "x-bin", "grpc-timeout"] {
            if let Some(value) = request.headers().get(name) {
                self.asked.lock().unwrap().push(format!("{name}: {}", value.to_str().unwrap()));
            }
        }
        let method = request.uri().path().rsplit('/').next().unwrap().to_owned();
        Box::pin(async move {
            Ok(match method.as_str() {
                "Add" => Grpc::new(ProstCodec::<Sum, Pair>::default()).streaming(Add, request).await,
                _ => Grpc::new(ProstCodec::<Sum, Sum>::default()).streaming(Sums(method), request).await,
            })
        })
    }
}

type Sending = std::pin::Pin<Box<dyn tokio_stream::Stream<Item = Result<Sum, Status>> + Send>>;

struct Add;

impl StreamingService<Pair> for Add {
    type Response = Sum;
    type ResponseStream = Sending;
    type Future = BoxFuture<Response<Sending>, Status>;

    fn call(&mut self, request: Request<Streaming<Pair>>) -> Self::Future {
        Box::pin(async move {
            let Pair { a, b, .. } = request.into_inner().message().await?.unwrap_or_default();
            match a {
                0 => Err(rich()),
                -1 => std::future::pending().await,
                _ => {
                    let sum = Sum { value: i64::from(a) + i64::from(b) };
                    let mut response = Response::new(Box::pin(tokio_stream::once(Ok(sum))) as Sending);
                    response.metadata_mut().insert("x-served-by", "calculator-0".parse().unwrap());
                    Ok(response)
                }
            }
        })
    }
}

struct Sums(String);

impl StreamingService<Sum> for Sums {
    type Response = Sum;
    type ResponseStream = Sending;
    type Future = BoxFuture<Response<Sending>, Status>;

    fn call(&mut self, request: Request<Streaming<Sum>>) -> Self::Future {
        let method = self.0.clone();
        Box::pin(async move {
            let mut numbers = request.into_inner();
            let answers: Sending = match method.as_str() {
                "Echo" => Box::pin(numbers),
                "Count" => {
                    let Sum { value } = numbers.message().await?.unwrap_or_default();
                    Box::pin(tokio_stream::iter((1..=value).map(|value| Ok(Sum { value }))))
                }
                "Total" => {
                    let mut value = 0;
                    while let Some(number) = numbers.next().await {
                        value += number?.value;
                    }
                    Box::pin(tokio_stream::once(Ok(Sum { value })))
                }
                other => return Err(Status::unimplemented(other)),
            };
            Ok(Response::new(answers))
        })
    }
}

/// An error with a standard detail, one that reflection describes, and one that nobody does.
fn rich() -> Status {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Rich {
        #[prost(int32, tag = "1")]
        code: i32,
        #[prost(string, tag = "2")]
        message: String,
        #[prost(message, repeated, tag = "3")]
        details: Vec<prost_types::Any>,
    }
    let any = |name: &str, value: Vec<u8>| prost_types::Any {
        type_url: format!("type.googleapis.com/{name}"),
        value,
    };
    let details = vec![
        any("google.rpc.BadRequest", b"\x0a\x09\x0a\x01a\x12\x04zero".to_vec()),
        any("demo.v1.Sum", Sum { value: 7 }.encode_to_vec()),
        any("demo.v1.Unknown", vec![0, 1, 2]),
    ];
    let rich = Rich { code: 3, message: "a is zero".into(), details };
    Status::with_details(tonic::Code::InvalidArgument, "a is zero", rich.encode_to_vec().into())
}

#[test]
fn a_unary_call_prints_its_answer() {
    let fake = Fake::start();
    for target in ["demo.v1.Demo/Add", "demo.v1.Demo.Add", "Demo/Add", "/demo.v1.Demo/Add"] {
        fake.run(&["call", target, "-d", r#"{"a": 1, "b": 2}"#]).printed("{\n  \"value\": \"3\"\n}\n");
    }
    fake.run(&["call", "Demo/Add", "-d", r#"{"a": 1, "b": 2}"#, "-o", "json"]).printed("{\"value\":\"3\"}\n");
    fake.run_with(&["call", "Demo/Add", "-d", "@", "-o", "json"], "{\"a\": 4}")
        .printed("{\"value\":\"4\"}\n");
}

#[test]
fn streams_are_a_message_a_line() {
    let fake = Fake::start();
    let counted = "{\"value\":\"1\"}\n{\"value\":\"2\"}\n{\"value\":\"3\"}\n";
    fake.run(&["call", "Demo/Count", "-d", r#"{"value": 3}"#, "-o", "json"]).printed(counted);
    fake.run_with(&["call", "Demo/Total", "-o", "json"], "{\"value\":1}{\"value\":2}\n{\"value\":\"3\"}")
        .printed("{\"value\":\"6\"}\n");
    fake.run(&["call", "Demo/Total", "-d", "", "-o", "json"]).printed("{\"value\":\"0\"}\n");
    fake.run_with(&["call", "Demo/Echo", "-d", "@", "-o", "json"], "{\"value\":1}\n{\"value\":2}\n")
        .printed("{\"value\":\"1\"}\n{\"value\":\"2\"}\n");
}

/// Each answer must come while the input is still open: nothing may wait for the end of it.
#[test]
fn a_conversation_goes_back_and_forth() {
    let fake = Fake::start();
    let mut child = fake
        .command(&["call", "Demo/Echo", "-o", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = child.stdin.take().unwrap();
    let mut heard = BufReader::new(child.stdout.take().unwrap()).lines();
    for number in 1..=3 {
        writeln!(said, "{{\"value\": {number}}}").unwrap();
        assert_eq!(heard.next().unwrap().unwrap(), format!("{{\"value\":\"{number}\"}}"));
    }
    drop(said);
    assert!(heard.next().is_none());
    assert!(child.wait().unwrap().success());
}

#[test]
fn metadata_is_sent_and_shown() {
    let fake = Fake::start();
    let args = ["call", "Demo/Add", "-d", r#"{"a": 1}"#, "-o", "json", "-v", "--plugin", "calculator"];
    let more = ["--instance", "calculator-0", "-H", "X-User: ada", "-H", "x-bin: AAEC", "--deadline", "60s"];
    let ran = fake.run(&[&args[..], &more[..]].concat());
    assert_eq!((ran.code, ran.out.as_str()), (0, "{\"value\":\"1\"}\n"));
    for line in [
        "> plugmesh-plugin: calculator",
        "> x-user: ada",
        "> x-bin: AAEC",
        "< x-served-by: calculator-0",
        "< grpc-status: 0",
    ] {
        assert!(ran.err.lines().any(|it| it == line), "{line:?} is missing in:\n{}", ran.err);
    }
    let mut asked = fake.asked();
    asked.sort_unstable();
    let expected = [
        "grpc-timeout: 60000000u",
        "plugmesh-instance: calculator-0",
        "plugmesh-plugin: calculator",
        "x-bin: AAEC",
        "x-user: ada",
    ];
    assert_eq!(asked, expected);
}

#[test]
fn a_status_has_its_details_and_its_exit_code() {
    let fake = Fake::start();
    fake.run(&["call", "Demo/Add", "-d", "{}"]).failed(
        67,
        "\
error: INVALID_ARGUMENT (3): a is zero
  detail google.rpc.BadRequest: {\"fieldViolations\":[{\"description\":\"zero\",\"field\":\"a\"}]}
  detail demo.v1.Sum: {\"value\":\"7\"}
  detail demo.v1.Unknown: \"AAEC\"
  next: `plugmesh call demo.v1.Demo/Add --example` prints what a request looks like
",
    );
    let ran = fake.run(&["call", "Demo/Add", "-o", "json"]);
    let error: serde_json::Value = serde_json::from_str(&ran.err).unwrap();
    assert_eq!(ran.code, 67);
    assert_eq!(error["error"]["code"], "INVALID_ARGUMENT");
    assert_eq!(error["error"]["message"], "a is zero");
    assert_eq!(error["error"]["details"][1], serde_json::json!({ "@type": "demo.v1.Sum", "value": "7" }));
}

#[test]
fn a_deadline_ends_a_call_that_hangs() {
    let fake = Fake::start();
    let ran = fake.run(&["call", "Demo/Add", "-d", r#"{"a": -1}"#, "--deadline", "50ms"]);
    assert_eq!(ran.code, 68, "{ran:?}");
    assert!(ran.err.starts_with("error: DEADLINE_EXCEEDED (4): "), "{}", ran.err);
    assert!(
        ran.err.ends_with(
            "  next: give it more time with --deadline, or see `plugmesh logs NAME` for what it is doing\n"
        ),
        "{}",
        ran.err
    );
}

#[test]
fn a_message_over_the_limit_names_the_option() {
    let fake = Fake::start();
    fake.run(&["call", "Demo/Add", "-d", r#"{"a": 1000}"#, "--max-message-size", "2"])
        .failed(1, "error: message 1 has 3 bytes, and --max-message-size is 2\n");
    // 100 is two bytes, and the sum of two of them three.
    let ran =
        fake.run(&["call", "Demo/Total", "-d", r#"{"value": 100}{"value": 100}"#, "--max-message-size", "2"]);
    assert_eq!(ran.code, 75, "{ran:?}");
    let next = "  next: --max-message-size is 2 bytes here; the host's own limit is `max_message_size`\n";
    assert!(ran.err.starts_with("error: OUT_OF_RANGE (11): ") && ran.err.ends_with(next), "{}", ran.err);
}

#[test]
fn names_that_do_not_exist_are_answered_with_those_that_do() {
    let fake = Fake::start();
    fake.run(&["call", "Dmo/Add"]).failed(
        76,
        "\
error: no service Dmo at unix://PLACE/gateway.sock; did you mean demo.v1.Demo?
  next: `plugmesh services` lists what can be called
",
    );
    fake.run(&["call", "Demo/Ad"]).failed(
        76,
        "\
error: service demo.v1.Demo has no method Ad; did you mean Add?
  next: demo.v1.Demo has: Add, Count, Total, Echo
",
    );
}

#[test]
fn a_bad_request_is_refused_before_the_call() {
    let fake = Fake::start();
    let add = |data: &str| fake.run(&["call", "Demo/Add", "-d", data]);
    add(r#"{"c": 1}"#).failed(
        1,
        "\
error: message 1 is no demo.v1.Pair
  caused by: unrecognized field name 'c'
  next: demo.v1.Pair has: a (int32), b (int32), tags (repeated string), at (google.protobuf.Timestamp)
",
    );
    let example = "`plugmesh call SERVICE/METHOD --example` prints what a request looks like";
    add("{\"a\": 1").failed(
        1,
        &format!("error: message 1 is not JSON\n  caused by: EOF while parsing an object at line 1 column 7\n  next: {example}\n"),
    );
    add("{}{}").failed(1, "error: demo.v1.Demo.Add takes one message, and more than one was given\n");
    add("").failed(
        1,
        "error: demo.v1.Demo.Add takes one message, and none was given\n  next: say '{}' for an empty message\n",
    );
    fake.run(&["call", "Demo/Add", "-d", "@/no/such"])
        .failed(1, "error: cannot read /no/such\n  caused by: No such file or directory (os error 2)\n");
    assert_eq!(fake.asked(), [""; 0]);
}

#[test]
fn a_stream_that_goes_bad_ends_the_call() {
    let fake = Fake::start();
    let ran = fake.run_with(&["call", "Demo/Echo", "-o", "json"], "{\"value\":1}\n{\"value\":\n");
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("message 2 is not JSON"), "{}", ran.err);
}

#[test]
fn an_example_of_a_request_can_be_had() {
    let fake = Fake::start();
    fake.run(&["call", "Demo/Add", "--example", "-o", "json"])
        .printed("{\"a\":0,\"b\":0,\"tags\":[\"\"],\"at\":\"1970-01-01T00:00:00Z\"}\n");
}

#[test]
fn a_host_with_the_older_reflection_or_none_is_understood() {
    Fake::with(Reflection::V1Alpha)
        .run(&["call", "Demo/Add", "-d", r#"{"a": 1}"#, "-o", "json"])
        .printed("{\"value\":\"1\"}\n");
    let ran = Fake::with(Reflection::None).run(&["call", "demo.v1.Demo/Add"]);
    assert_eq!(ran.code, 76);
    assert!(
        ran.err.starts_with(
            "error: cannot ask unix://PLACE/gateway.sock what can be called: UNIMPLEMENTED (12)"
        ),
        "{}",
        ran.err
    );
    assert!(
        ran.err.ends_with("  next: give the plugin reflection, or its manifest a `descriptor_set`\n"),
        "{}",
        ran.err
    );
}
