use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use super::*;
use crate::resilience::latency::LatencyHistogram;
use crate::telemetry::catalogue::{CLIENT_DURATION, RESTARTS, START_TIME};

#[test]
fn the_text_is_what_the_format_says() {
    let mut metrics = Metrics::new(SystemTime::UNIX_EPOCH);
    let hostile = vec![("plugmesh.plugin", Cow::Borrowed("a\"b\\c\nd"))];
    metrics.count(&RESTARTS, &hostile, 3);
    metrics.level(&START_TIME, &Labels::new(), 1.5);
    let latency = LatencyHistogram::new();
    latency.record(Duration::from_micros(15));
    latency.record(Duration::from_millis(1500));
    metrics.add(&CLIENT_DURATION, vec![("rpc.method", Cow::Borrowed("a.B/C"))], latency.snapshot().into());
    let text = metrics.to_string();
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("# HELP")).collect();
    assert_eq!(lines.len(), 4 + 21 + 4, "{text}");
    for line in [
        "# TYPE plugmesh_host_start_time_seconds gauge",
        "plugmesh_host_start_time_seconds 1.5",
        "# TYPE plugmesh_instance_restarts_total counter",
        r#"plugmesh_instance_restarts_total{plugmesh_plugin="a\"b\\c\nd"} 3"#,
        "# TYPE rpc_client_call_duration_seconds histogram",
        r#"rpc_client_call_duration_seconds_bucket{rpc_method="a.B/C",le="0.00001"} 0"#,
        r#"rpc_client_call_duration_seconds_bucket{rpc_method="a.B/C",le="0.00002"} 1"#,
        r#"rpc_client_call_duration_seconds_bucket{rpc_method="a.B/C",le="60"} 2"#,
        r#"rpc_client_call_duration_seconds_bucket{rpc_method="a.B/C",le="+Inf"} 2"#,
        r#"rpc_client_call_duration_seconds_sum{rpc_method="a.B/C"} 1.500015000"#,
        r#"rpc_client_call_duration_seconds_count{rpc_method="a.B/C"} 2"#,
    ] {
        assert!(lines.contains(&line), "{line} is not in\n{text}");
    }
    assert!(text.ends_with('\n'));
}
