//! Clients of the listener that speak HTTP/2 as nobody should, or check whether it does itself.

use std::process::Command;
use std::time::Duration;

use plugmesh_tests::{DEADLINE, Daemon, Leaks, Neighbour, PluginDir, Ran, tools};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_HEADERS: u8 = 4;
const ENHANCE_YOUR_CALM: u32 = 11;

async fn calculator(config: &str) -> Daemon {
    Daemon::builder().plugin(PluginDir::calculator(1)).config(config).start().await
}

/// Every case of h2spec, without an exception.
#[tokio::test]
async fn the_listener_conforms() {
    let Some(h2spec) = tools::find("h2spec") else { return };
    let daemon = calculator("gateway:\n  tcp:\n    listen: 127.0.0.1:0\n    insecure: true\n").await;
    let neighbour = Neighbour::of(&daemon).await;
    let tcp = daemon.tcp().await;
    let (host, port) = tcp.rsplit_once(':').unwrap();
    let mut command = Command::new(h2spec);
    command.args(["-h", host, "-p", port, "-P", "/calculator.v1.CalculatorService/Add", "-o", "3"]);
    let ran = Ran::of(command.args(["generic", "http2", "hpack"])).await;
    assert_eq!(ran.code, 0, "{}", ran.out.split("Failures:").last().unwrap_or_default());
    assert!(ran.out.contains("145 tests, 145 passed, 0 skipped, 0 failed"), "{}", ran.out);
    assert!(neighbour.finish().await > 0);
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The head of a call, in HPACK literals.
fn head() -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    let path = "/calculator.v1.CalculatorService/Add";
    for (index, value) in [(&[0x04][..], path), (&[0x01], "localhost"), (&[0x0f, 0x10], "application/grpc")] {
        block.extend(index);
        block.push(value.len() as u8);
        block.extend(value.as_bytes());
    }
    block
}

/// Reads until GOAWAY, and gives its error code; `None` when the connection ends without.
async fn goaway(io: &mut (impl AsyncReadExt + Unpin)) -> Option<u32> {
    loop {
        let mut header = [0; 9];
        io.read_exact(&mut header).await.ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize];
        io.read_exact(&mut payload).await.ok()?;
        if header[3] == GOAWAY {
            return Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
    }
}

async fn connect(daemon: &Daemon) -> UnixStream {
    UnixStream::connect(daemon.socket()).await.unwrap()
}

async fn all(attackers: JoinSet<()>) {
    timeout(DEADLINE, attackers.join_all()).await.expect("every connection is ended by the host");
}

#[tokio::test]
async fn a_rapid_reset_on_many_connections_is_not_noticed_by_others() {
    let daemon = calculator("").await;
    let neighbour = Neighbour::of(&daemon).await;
    let leaks = Leaks::of(&daemon).await;
    let mut attackers = JoinSet::new();
    for _ in 0..20 {
        let (mut read, mut write) = connect(&daemon).await.into_split();
        attackers.spawn(async move {
            let flood = async {
                write.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.ok()?;
                for id in (1..200_000).step_by(2) {
                    let head = frame(HEADERS, END_HEADERS, id, &head());
                    write.write_all(&[head, frame(RST_STREAM, 0, id, &[0, 0, 0, 8])].concat()).await.ok()?;
                }
                panic!("the flood was taken whole");
                #[allow(unreachable_code)]
                Some(())
            };
            let (_, code) = tokio::join!(flood, goaway(&mut read));
            assert_eq!(code, Some(ENHANCE_YOUR_CALM));
        });
    }
    all(attackers).await;
    assert!(neighbour.finish().await > 0);
    leaks.back_to(&daemon).await;
}

#[tokio::test]
async fn clients_that_send_byte_by_byte_are_cut_off_and_others_do_not_wait() {
    let limits = "gateway:\n  limits:\n    handshake_timeout: 1s\n    idle_timeout: 1s\n";
    let daemon = calculator(limits).await;
    let neighbour = Neighbour::of(&daemon).await;
    let leaks = Leaks::of(&daemon).await;
    // One never finishes what every connection begins with, the other never finishes a head.
    let in_head = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(HEADERS, 0, 1, &head())].concat();
    let mut attackers = JoinSet::new();
    for index in 0..100 {
        let mut io = connect(&daemon).await;
        let (begin, drip) = match index % 2 {
            0 => (PREFACE[..1].to_vec(), PREFACE[1..PREFACE.len() - 1].to_vec()),
            _ => (in_head.clone(), frame(9, 0, 1, &[0; 100])),
        };
        attackers.spawn(async move {
            io.write_all(&begin).await.unwrap();
            let (mut read, mut write) = io.into_split();
            let dripping = tokio::spawn(async move {
                for byte in drip {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    if write.write_all(&[byte]).await.is_err() {
                        return;
                    }
                }
                std::future::pending().await
            });
            // Ends, in good order or not, before it has taken what was promised.
            let _ = read.read_to_end(&mut Vec::new()).await;
            dripping.abort();
        });
    }
    all(attackers).await;
    leaks.back_to(&daemon).await;
    assert!(neighbour.finish().await > 0);
}
