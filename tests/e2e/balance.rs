//! Calls over instances, by counts, through the library.

use std::time::Instant;

use futures_util::{StreamExt, stream};
use plugmesh_host::Host;
use plugmesh_host::config::Config;
use plugmesh_tests::PluginDir;
use plugmesh_tests::calculator::AddRequest;
use plugmesh_tests::calculator::calculator_service_client::CalculatorServiceClient;
use plugmesh_tests::probe::probe_service_client::ProbeServiceClient;

use crate::calls::echo;

/// A host in this process, with one plugin.
pub(crate) struct Linked {
    pub(crate) host: Host,
    _home: tempfile::TempDir,
}

pub(crate) async fn linked(
    plugin: PluginDir,
    describe: impl FnOnce(plugmesh_host::HostBuilder) -> plugmesh_host::HostBuilder,
) -> Linked {
    let home = tempfile::Builder::new().prefix("pm-").tempdir_in("/tmp").unwrap();
    plugin.write(&home.path().join("plugins"));
    std::fs::create_dir(home.path().join("run")).unwrap();
    let config = Config { run_dir: Some(home.path().join("run")), ..Config::default() };
    let builder = Host::builder().config(config).plugins_in(home.path().join("plugins"));
    let (host, problems) = describe(builder).start_with_problems().await.unwrap();
    assert!(problems.is_empty(), "{problems:?}");
    Linked { host, _home: home }
}

impl Linked {
    /// Calls that each instance has been given.
    fn counts(&self) -> Vec<u64> {
        let plugin = self.host.plugins().swap_remove(0);
        plugin.instances.iter().map(|instance| instance.calls + u64::from(instance.in_flight)).collect()
    }
}

/// Spreads calls over three equals, so many at once.
async fn even(policy: &str, at_once: usize) {
    const CALLS: u64 = 30_000;
    let linked = linked(PluginDir::calculator(3).line(&format!("balance: {policy}")), |host| host).await;
    let client = linked.host.client(CalculatorServiceClient::new);
    let calls = stream::iter(0..CALLS).map(|_| {
        let mut client = client.clone();
        async move { client.add(AddRequest { a: 1.0, b: 1.0 }).await.unwrap() }
    });
    calls.buffer_unordered(at_once).for_each(|_| async {}).await;
    let counts = linked.counts();
    assert_eq!(counts.iter().sum::<u64>(), CALLS);
    let (most, least) = (counts.iter().max().unwrap(), counts.iter().min().unwrap());
    assert!((most - least) * 100 <= CALLS / 3 * 5, "{policy}: {counts:?}");
}

#[tokio::test]
async fn round_robin_is_even() {
    even("round_robin", 16).await;
}

#[tokio::test]
async fn least_request_is_even_over_equals() {
    // One at a time: with more, whichever process the machine has just kept waiting is no equal.
    even("least_request", 1).await;
}

/// What became of calls to three instances of which the second takes ten times as long as the others.
struct Spread {
    /// Share of the calls, in percent, that the slow instance got.
    share: f64,
    /// How many times as long as the others it took: less than ten where a busy machine adds to all of them.
    slower: f64,
}

/// Spreads calls, of which it counts those after the first `settle`.
///
/// Delays are long beside what the machine adds to a call, and calls in flight are many beside the one that a
/// choice between two may be off by: of the share, that is what does not come from the policy.
async fn spread_with_a_slow_one(policy: &str, settle: usize, calls: usize) -> Spread {
    let plugin = PluginDir::probe(3).env("PROBE_SLOW", "1:2000").line(&format!("balance: {policy}"));
    let linked = linked(plugin, |host| host).await;
    let client = linked.host.client(ProbeServiceClient::new);
    let endless = stream::repeat_with(|| {
        let mut client = client.clone();
        async move {
            let began = Instant::now();
            let answer = client.echo(echo("", 200)).await.unwrap().into_inner();
            (answer.instance == "probe-1", began.elapsed().as_secs_f64())
        }
    });
    let mut answers = endless.buffer_unordered(96);
    answers.by_ref().take(settle).for_each(|_| async {}).await;
    let before = linked.counts();
    let taken: Vec<_> = answers.by_ref().take(calls).collect().await;
    let counts: Vec<_> = linked.counts().iter().zip(before).map(|(now, before)| now - before).collect();
    let mean = |slow: bool| {
        let times: Vec<_> =
            taken.iter().filter(|(is_slow, _)| *is_slow == slow).map(|(_, time)| time).collect();
        times.iter().copied().sum::<f64>() / times.len() as f64
    };
    let share = counts[1] as f64 * 100.0 / counts.iter().sum::<u64>() as f64;
    Spread { share, slower: mean(true) / mean(false) }
}

#[tokio::test]
async fn least_request_moves_calls_off_a_slow_instance() {
    let Spread { share, slower } = spread_with_a_slow_one("least_request", 700, 1_400).await;
    // A third would be its even share; at least 80 % of that goes elsewhere when it is ten times slower.
    let at_most = 100.0 / 3.0 * 0.2 * (10.0 / slower).max(1.0);
    assert!(share <= at_most, "{share} % to one that is {slower} times slower");
    assert!(slower >= 4.0, "the machine is too busy to tell: {slower} times slower");
}

#[tokio::test]
async fn round_robin_does_not() {
    let share = spread_with_a_slow_one("round_robin", 0, 150).await.share;
    assert!((share - 100.0 / 3.0).abs() < 1.0, "{share} %");
}
