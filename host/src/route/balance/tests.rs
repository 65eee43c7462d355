use super::*;
use crate::config::{Member, PolicySaid, Which};
use crate::resilience::breaker::Verdict;
use crate::resilience::hash_ring::HashRing;
use crate::route::snapshot::Snapshot;
use crate::route::snapshot::tests::{ready, rules};
use std::time::Duration;

const PICKS: usize = 30_000;

fn ask(now: Moment) -> Ask<'static> {
    Ask { now, hash: None, tried: &[], limit: u64::MAX, in_flight: 0 }
}

fn balancer(policy: Balance) -> Balancer {
    Balancer::new(&Balancing { policy, ..Balancing::default() })
}

/// How often each of `endpoints` is picked; `then` happens to it.
fn counts(
    policy: Balance,
    endpoints: Vec<Arc<Endpoint>>,
    change: impl FnOnce(&mut PolicySaid),
    now: Moment,
    then: impl Fn(&Arc<Endpoint>),
) -> Vec<usize> {
    let (balancer, rules) = (balancer(policy), rules(change));
    let mut counts = vec![0; endpoints.len()];
    let snapshot = Snapshot::new(endpoints, &rules, &Snapshot::default());
    for _ in 0..PICKS {
        let picked = balancer.choose(&snapshot.choice, &ask(now)).unwrap();
        counts[picked.name().ordinal() as usize] += 1;
        then(picked);
    }
    counts
}

fn weights(weights: &[u32]) -> Vec<Member> {
    let member = |(ordinal, weight): (usize, &u32)| Member {
        which: Which::Instance(format!("test-{ordinal}").parse().unwrap()),
        weight: *weight,
        priority: 0,
    };
    weights.iter().enumerate().map(member).collect()
}

fn assert_about(count: usize, share: f64) {
    let expected = share * PICKS as f64;
    assert!((count as f64 - expected).abs() < 0.02 * PICKS as f64, "{count} of {PICKS}, expected {expected}");
}

#[test]
fn round_robin_gives_each_the_same() {
    let counts = counts(Balance::RoundRobin, ready(3), |_| {}, Moment::default(), |_| {});
    assert_eq!(counts, [PICKS / 3; 3]);
}

#[test]
fn idle_endpoints_get_about_the_same() {
    for policy in [Balance::Random, Balance::WeightedRandom, Balance::LeastRequest, Balance::PeakEwma] {
        for count in counts(policy, ready(3), |_| {}, Moment::default(), |_| {}) {
            assert_about(count, 1.0 / 3.0);
        }
    }
}

#[test]
fn weights_are_shares() {
    let members = |said: &mut PolicySaid| said.balance.members = Some(weights(&[1, 9]));
    let counts = counts(Balance::WeightedRandom, ready(2), members, Moment::default(), |_| {});
    assert_about(counts[0], 0.1);
}

#[test]
fn least_request_leaves_an_endpoint_that_never_answers() {
    let hold = |endpoint: &Arc<Endpoint>| {
        if endpoint.name().ordinal() == 1 {
            endpoint.begin();
        }
    };
    let counts = counts(Balance::LeastRequest, ready(3), |_| {}, Moment::default(), hold);
    assert!(counts[1] <= 1, "{counts:?}");
}

#[test]
fn peak_ewma_leaves_a_slow_endpoint_and_one_that_fails_fast() {
    let (endpoints, now) = (ready(3), Moment::from_nanos(1_000_000_000));
    let millis = Duration::from_millis;
    endpoints[0].answered(Verdict::Success, None, millis(10), now);
    endpoints[1].answered(Verdict::Success, None, millis(200), now);
    endpoints[2].answered(Verdict::Failure, None, millis(1), now);
    // With two instances picked at random the best one is among them two times out of three.
    let shares = counts(Balance::PeakEwma, endpoints.clone(), |_| {}, now, |_| {});
    assert_about(shares[0], 2.0 / 3.0);
    assert_about(shares[1], 1.0 / 3.0);
    assert_eq!(shares[2], 0, "it is the worse of any two");
}

#[test]
fn the_same_key_goes_to_the_same_endpoint_until_it_is_crowded() {
    let by_hash = Balancer::new(&Balancing {
        policy: Balance::ConsistentHash,
        hash_header: Some("x-user".to_owned()),
        ..Balancing::default()
    });
    let rules = rules(|said| said.balance.policy = Some(Balance::ConsistentHash));
    let endpoints = ready(4);
    let snapshot = Snapshot::new(endpoints.clone(), &rules, &Snapshot::default());
    let pick = |key: &str, in_flight| {
        let ask = Ask { hash: Some(HashRing::hash(key.as_bytes())), in_flight, ..ask(Moment::default()) };
        by_hash.choose(&snapshot.choice, &ask).unwrap().name().ordinal()
    };
    let home = pick("anna", 0);
    assert!((0..100).all(|_| pick("anna", 0) == home));
    let used: std::collections::BTreeSet<_> = (0..100).map(|n| pick(&format!("user-{n}"), 0)).collect();
    assert_eq!(used.len(), 4);
    for _ in 0..10 {
        endpoints[home as usize].begin();
    }
    let elsewhere = pick("anna", 10);
    assert!(elsewhere != home && (0..100).all(|_| pick("anna", 10) == elsewhere), "one neighbour takes over");
}

#[test]
fn what_was_tried_or_is_full_is_passed_over() {
    for policy in [
        Balance::RoundRobin,
        Balance::Random,
        Balance::WeightedRandom,
        Balance::LeastRequest,
        Balance::PeakEwma,
        Balance::ConsistentHash,
    ] {
        let endpoints = ready(3);
        endpoints[1].begin();
        let snapshot = Snapshot::new(
            endpoints.clone(),
            &rules(|said| said.balance.policy = Some(policy)),
            &Snapshot::default(),
        );
        let balancer = balancer(policy);
        let ask = Ask { tried: &endpoints[..1], limit: 1, hash: Some(7), ..ask(Moment::default()) };
        for _ in 0..100 {
            assert_eq!(balancer.choose(&snapshot.choice, &ask).unwrap().name().ordinal(), 2, "{policy}");
        }
        endpoints[2].begin();
        assert!(balancer.choose(&snapshot.choice, &ask).is_none(), "{policy}");
    }
}

#[test]
fn a_new_endpoint_takes_its_growing_share() {
    let slow_start = |said: &mut PolicySaid| said.balance.slow_start = Some(Some(Duration::from_secs(10)));
    let late = Moment::default() + Duration::from_secs(100);
    for (after, share) in [(0, 0.1), (5, 0.5), (10, 1.0)] {
        let endpoints = ready(2);
        let newcomer = crate::route::endpoint::tests::endpoints(3).remove(2);
        newcomer.store_availability(crate::route::Availability::Ready, late);
        let all = [endpoints, vec![newcomer]].concat();
        let counts = counts(Balance::Random, all, slow_start, late + Duration::from_secs(after), |_| {});
        assert_about(counts[2], share / (2.0 + share));
    }
}

#[test]
fn one_endpoint_is_picked_and_none_is_none() {
    for policy in [Balance::RoundRobin, Balance::LeastRequest, Balance::ConsistentHash] {
        let pick = |count| {
            let snapshot = Snapshot::new(ready(count), &rules(|_| {}), &Snapshot::default());
            balancer(policy).choose(&snapshot.choice, &ask(Moment::default())).is_some()
        };
        assert!(!pick(0) && pick(1), "{policy}");
    }
}
