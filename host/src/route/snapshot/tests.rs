use super::*;
use crate::config::{PolicySaid, SetBy};
use crate::resilience::breaker::Verdict;
use crate::route::endpoint::tests::endpoints;

pub(in crate::route) fn rules(change: impl FnOnce(&mut PolicySaid)) -> Rules {
    let mut said = PolicySaid::default();
    change(&mut said);
    let policies = Policies::default().with(SetBy::Plugin, said);
    Rules::new(&policies.of_plugin(), &policies)
}

pub(in crate::route) fn ready(count: u32) -> Vec<Arc<Endpoint>> {
    let endpoints = endpoints(count);
    for endpoint in &endpoints {
        endpoint.store_availability(Availability::Ready, Moment::default());
    }
    endpoints
}

fn instance(ordinal: u32, weight: u32, priority: u32) -> Member {
    Member { which: Which::Instance(format!("test-{ordinal}").parse().unwrap()), weight, priority }
}

/// Fails until its breaker is open.
fn ruin(endpoint: &Arc<Endpoint>) {
    for _ in 0..7 {
        endpoint.begin();
        endpoint.end(Verdict::Failure, None, Moment::default());
    }
    assert!(!endpoint.is_trusted());
}

fn names(endpoints: &[Arc<Endpoint>]) -> Vec<u32> {
    endpoints.iter().map(|endpoint| endpoint.name().ordinal()).collect()
}

#[test]
fn a_lower_tier_is_used_only_when_the_upper_has_nobody() {
    let rules = rules(|said| {
        said.balance.members = Some(vec![instance(2, 1, 1), instance(3, 1, 1), instance(4, 1, 2)])
    });
    let all = ready(5);
    let picked = |all: &[Arc<Endpoint>]| {
        names(Snapshot::new(all.to_vec(), &rules, &Snapshot::default()).choice.endpoints())
    };
    assert_eq!(picked(&all), [0, 1]);
    ruin(&all[0]);
    assert_eq!(picked(&all), [1]);
    all[1].store_availability(Availability::Draining, Moment::default());
    assert_eq!(picked(&all), [2, 3]);
    ruin(&all[2]);
    ruin(&all[3]);
    let snapshot = Snapshot::new(all.clone(), &rules, &Snapshot::default());
    assert_eq!(names(snapshot.choice.endpoints()), [4]);
    assert_eq!(names(&snapshot.resting), [0, 2, 3], "all that come before are probed");
    assert!(snapshot.next_probe > Moment::default() && snapshot.next_probe < Moment::MAX);
}

#[test]
fn the_last_endpoint_is_not_ejected_into_nothing() {
    let all = ready(3);
    all.iter().for_each(ruin);
    let open = Snapshot::new(all.clone(), &rules(|_| {}), &Snapshot::default());
    assert_eq!((names(open.choice.endpoints()), open.mode), (vec![0, 1, 2], Mode::FailOpen));
    let closed = Snapshot::new(
        all,
        &rules(|said| said.circuit_breaker.panic = Some(Panic::Closed)),
        &Snapshot::default(),
    );
    assert_eq!((names(closed.choice.endpoints()), closed.mode), (vec![], Mode::FailClosed));
    assert_eq!(names(&closed.resting), [0, 1, 2]);
}

#[test]
fn a_panic_threshold_counts_the_share_of_those_that_are_trusted() {
    let all = ready(4);
    let rules = rules(|said| said.circuit_breaker.panic_threshold = Some(0.5));
    ruin(&all[0]);
    ruin(&all[1]);
    assert_eq!(names(Snapshot::new(all.clone(), &rules, &Snapshot::default()).choice.endpoints()), [2, 3]);
    ruin(&all[2]);
    let snapshot = Snapshot::new(all, &rules, &Snapshot::default());
    assert_eq!((names(snapshot.choice.endpoints()), snapshot.mode), (vec![0, 1, 2, 3], Mode::FailOpen));
}

#[test]
fn the_nearest_come_first_when_asked_for() {
    use crate::transport::{Address, Dialer, Pool, Settings};
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let at = |ordinal, address| {
        let tasks = tokio_util::task::TaskTracker::new();
        let dialer = Dialer::plain(address);
        let pool = Pool::new(dialer, 1, Settings::default(), runtime.handle().clone(), tasks);
        let name = format!("test-{ordinal}").parse().unwrap();
        let id = crate::name::InstanceId::random();
        let endpoint = Endpoint::new(name, id, 1, Lane::Http2(pool), &Policy::default());
        endpoint.store_availability(Availability::Ready, Moment::default());
        endpoint
    };
    let elsewhere = at(1, Address::Tcp("10.0.0.1:7".parse().unwrap()));
    let here = [at(2, Address::unix("/s")), at(3, Address::Tcp("127.0.0.1:7".parse().unwrap()))];
    let mut all = vec![elsewhere];
    all.extend(here);
    all.extend(ready(1));
    let picked = |all: &[Arc<Endpoint>], rules: &Rules| {
        names(Snapshot::new(all.to_vec(), rules, &Snapshot::default()).choice.endpoints())
    };
    let prefer = rules(|said| said.balance.locality = Some(Locality::Prefer));
    assert_eq!(picked(&all, &rules(|_| {})), [0, 1, 2, 3]);
    assert_eq!(picked(&all, &prefer), [0]);
    all.pop();
    assert_eq!(picked(&all, &prefer), [2, 3]);
    all.truncate(1);
    assert_eq!(picked(&all, &prefer), [1]);
}

#[test]
fn versions_and_names_give_weights_and_the_first_that_fits_counts() {
    let all = ready(3);
    all[1].set_version("2.1.0".parse().unwrap());
    all[2].set_version("2.1.0".parse().unwrap());
    let canary = Member { which: Which::Version("^2".parse().unwrap()), weight: 5, priority: 0 };
    let rules = rules(|said| said.balance.members = Some(vec![instance(2, 0, 0), canary]));
    let weights: Vec<_> = all.iter().map(|endpoint| rules.standing(endpoint).weight).collect();
    assert_eq!(weights, [1, 5, 0]);
    assert_eq!(
        names(Snapshot::new(all, &rules, &Snapshot::default()).choice.endpoints()),
        [0, 1],
        "weight 0 takes nothing"
    );
}

#[test]
fn a_new_endpoint_comes_up_slowly() {
    let all = ready(2);
    let late = Moment::default() + Duration::from_secs(100);
    let newcomer = endpoints(3).remove(2);
    newcomer.store_availability(Availability::Ready, late);
    let all = [all, vec![newcomer.clone()]].concat();
    let rules = rules(|said| said.balance.slow_start = Some(Some(Duration::from_secs(10))));
    let snapshot = Snapshot::new(all.clone(), &rules, &Snapshot::default());
    let ramp = |endpoint: &Endpoint, after| snapshot.choice.ramp(endpoint, late + Duration::from_secs(after));
    assert_eq!((ramp(&newcomer, 0), ramp(&newcomer, 5), ramp(&newcomer, 10)), (Some(0.1), Some(0.5), None));
    assert_eq!(ramp(&all[0], 0), None);
}
