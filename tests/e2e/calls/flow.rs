//! Readers that do not read.

use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use plugmesh_tests::Daemon;
use plugmesh_tests::probe::ProduceRequest;
use plugmesh_tests::probe::probe_service_client::ProbeServiceClient;
use tonic::transport::{Channel, Endpoint};

use super::{echo, probe};

/// Most that the host may grow by.
const GROWTH: u64 = 64 << 20;

/// Memory of a process that is in use, in bytes.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

/// A reader whose window is full as soon as it stops reading one stream, and who has room for all the others.
fn reader(daemon: &Daemon) -> ProbeServiceClient<Channel> {
    let socket = daemon.socket();
    let endpoint = Endpoint::from_static("http://localhost")
        .initial_stream_window_size(1 << 16)
        .initial_connection_window_size(1 << 24);
    ProbeServiceClient::new(endpoint.connect_with_connector_lazy(tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
    })))
}

#[tokio::test]
async fn a_hundred_stalled_readers_of_large_streams_cost_the_host_little() {
    let daemon = probe().await;
    daemon.probe().echo(echo("", 0)).await.unwrap();
    let pid = daemon.pid().await;
    let before = resident(pid);
    let mut streams = Vec::new();
    for _ in 0..10 {
        // Connections of their own, so that no window of a connection spares the host.
        let mut probe = reader(&daemon);
        for _ in 0..10 {
            let gigabyte = ProduceRequest { count: 1 << 14, size: 1 << 16, ..Default::default() };
            let mut stream = probe.produce(gigabyte).await.unwrap().into_inner();
            stream.message().await.unwrap().unwrap();
            streams.push(stream);
        }
    }
    // Long enough for gigabytes, were they taken; others are served all the while.
    let (began, mut most) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(3) {
        daemon.probe().echo(echo("", 0)).await.unwrap();
        most = most.max(resident(pid));
    }
    let growth = most.saturating_sub(before);
    assert!(growth <= GROWTH, "the host grew by {} MiB", growth >> 20);
    // And one that reads again gets what comes next, far more than was held for it.
    let mut stream = streams.pop().unwrap();
    drop(streams);
    for index in 1..=512 {
        assert_eq!(stream.message().await.unwrap().unwrap().index, index);
    }
}
