use proptest::prelude::*;

use super::*;

const KEYS: u64 = 20_000;

fn ring(members: &[(String, u32)]) -> HashRing {
    let members: Vec<_> = members.iter().map(|(name, weight)| (name.as_bytes(), *weight)).collect();
    HashRing::new(&members)
}

fn equal(count: usize) -> Vec<(String, u32)> {
    (0..count).map(|n| (format!("calculator-{n}"), 1)).collect()
}

/// The names that the keys go to.
fn owners(members: &[(String, u32)]) -> Vec<&str> {
    let ring = ring(members);
    let owner = |key: u64| members[ring.lookup(HashRing::hash(&key.to_le_bytes())).unwrap()].0.as_str();
    (0..KEYS).map(owner).collect()
}

fn moved<'a>(before: &'a [&str], after: &'a [&str]) -> impl Iterator<Item = (&'a str, &'a str)> {
    before
        .iter()
        .zip(after)
        .filter(|(before, after)| before != after)
        .map(|(before, after)| (*before, *after))
}

#[test]
fn without_weight_there_is_nobody() {
    for members in [vec![], vec![("a".to_owned(), 0)]] {
        let ring = ring(&members);
        assert_eq!((ring.lookup(5), ring.walk(5).next()), (None, None));
        assert_eq!(ring.capacity(0, 10, 1.25), 0);
    }
}

#[test]
fn one_member_has_all() {
    let members = [("a".to_owned(), 0), ("b".to_owned(), 1)];
    let ring = ring(&members);
    for hash in [0, 1, u64::MAX / 2, u64::MAX] {
        assert_eq!(ring.lookup(hash), Some(1));
        assert_eq!(ring.walk(hash).collect::<Vec<_>>(), [1]);
    }
}

#[test]
fn hosts_of_all_versions_agree() {
    // Recorded once.
    let members = equal(5);
    let ring = ring(&members);
    let owners: Vec<_> = (0..16u8).map(|key| ring.lookup(HashRing::hash(&[b'k', key])).unwrap()).collect();
    assert_eq!(owners, [2, 4, 3, 2, 4, 3, 1, 0, 0, 4, 1, 1, 4, 3, 4, 4]);
}

#[test]
fn keys_are_spread_evenly() {
    for count in [2, 3, 10, 50] {
        let members = equal(count);
        let owners = owners(&members);
        for (name, _) in &members {
            let found = owners.iter().filter(|owner| *owner == name).count() as f64;
            let share = found * count as f64 / KEYS as f64;
            assert!((0.7..1.3).contains(&share), "{name} of {count} has {share} of its share");
        }
    }
}

#[test]
fn a_key_that_all_ask_for_spills_over() {
    let ring = ring(&equal(4));
    let mut load = [0u64; 4];
    for in_flight in 0..80 {
        let has_room = |member: &usize| load[*member] < ring.capacity(*member, in_flight, 1.25);
        load[ring.walk(HashRing::hash(b"popular")).find(has_room).unwrap()] += 1;
    }
    // Never above 1.25 times the mean, however popular.
    assert!(load.iter().all(|load| *load <= 25), "{load:?}");
}

#[test]
fn a_thousand_members_are_all_there() {
    let members = equal(1_000);
    let ring = ring(&members);
    assert!(ring.points.len() as u64 <= MAX_POINTS);
    let mut walked: Vec<_> = ring.walk(7).collect();
    walked.sort_unstable();
    assert_eq!(walked, (0..1_000).collect::<Vec<_>>());
}

#[test]
fn a_walk_over_more_than_fit_inline_is_complete() {
    let members = equal(3_000);
    let mut walked: Vec<_> = ring(&members).walk(7).collect();
    walked.sort_unstable();
    assert_eq!(walked, (0..3_000).collect::<Vec<_>>());
}

#[test]
fn huge_weights_are_scaled_down() {
    let ring = ring(&[("a".to_owned(), u32::MAX), ("b".to_owned(), u32::MAX), ("c".to_owned(), 1)]);
    assert!(ring.points.len() as u64 <= MAX_POINTS + 1);
    assert_eq!(ring.walk(0).count(), 3);
}

#[test]
fn beyond_the_limit_few_more_keys_move() {
    let (before, after) = (equal(1_000), equal(1_001));
    let (before, after) = (owners(&before), owners(&after));
    let moved = moved(&before, &after).count() as u64;
    assert!(moved < 4 * KEYS / 1_000 + 20, "{moved}");
}

fn members() -> impl Strategy<Value = Vec<(String, u32)>> {
    let weight = prop_oneof![4 => Just(1u32), 1 => 0u32..8];
    let names = proptest::collection::hash_set("[a-z]{1,12}", 2..25);
    names.prop_flat_map(move |names| {
        let weights = proptest::collection::vec(weight.clone(), names.len());
        weights.prop_map(move |weights| names.iter().cloned().zip(weights).collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn only_the_keys_of_a_removed_member_move(
        mut members in members(), which in any::<prop::sample::Index>(),
    ) {
        prop_assume!(members.iter().filter(|member| member.1 > 0).count() > 1);
        let all = members.clone();
        let removed = members.remove(which.index(members.len()));
        prop_assume!(members.iter().any(|member| member.1 > 0));
        let (before, after) = (owners(&all), owners(&members));
        prop_assert!(moved(&before, &after).all(|(from, _)| from == removed.0));
        prop_assert!(!after.contains(&removed.0.as_str()));
        // Seen the other way round: a new member takes keys for itself only.
        prop_assert!(moved(&after, &before).all(|(_, to)| to == removed.0));
    }

    #[test]
    fn the_order_of_the_members_does_not_matter(members in members()) {
        prop_assume!(members.iter().any(|member| member.1 > 0));
        let reversed: Vec<_> = members.iter().rev().cloned().collect();
        prop_assert_eq!(owners(&members), owners(&reversed));
    }

    #[test]
    fn weights_are_honoured(weights in proptest::collection::vec(0u32..12, 2..8)) {
        let total: u32 = weights.iter().sum();
        prop_assume!(total > 0);
        let named = |(n, weight): (usize, &u32)| (format!("m{n}"), *weight);
        let members: Vec<_> = weights.iter().enumerate().map(named).collect();
        let owners = owners(&members);
        for (name, weight) in &members {
            let share = f64::from(*weight) / f64::from(total);
            let found = owners.iter().filter(|owner| *owner == name).count() as f64 / KEYS as f64;
            // Five standard deviations of the share of that many of the points.
            let deviation = (share * (1.0 - share) / f64::from(total * 256)).sqrt();
            prop_assert!((found - share).abs() <= 5.0 * deviation + 0.015, "{found} for {share}");
            prop_assert!(*weight > 0 || found == 0.0);
        }
    }

    #[test]
    fn a_walk_has_each_member_once_and_starts_with_the_owner(members in members(), hash in any::<u64>()) {
        prop_assume!(members.iter().any(|member| member.1 > 0));
        let ring = ring(&members);
        let walked: Vec<_> = ring.walk(hash).collect();
        prop_assert_eq!(walked.first().copied(), ring.lookup(hash));
        let mut sorted = walked.clone();
        sorted.sort_unstable();
        let expected: Vec<_> = (0..members.len()).filter(|member| members[*member].1 > 0).collect();
        prop_assert_eq!(sorted, expected);
        // The second is the owner when the first is not there.
        if let [first, second, ..] = walked[..] {
            let mut rest = members.clone();
            rest[first].1 = 0;
            prop_assert_eq!(self::ring(&rest).lookup(hash), Some(second));
        }
    }

    #[test]
    fn with_bounded_load_there_is_always_room(
        members in members(), keys in 1usize..300, factor in 1.0..3.0,
    ) {
        prop_assume!(members.iter().any(|member| member.1 > 0));
        let ring = ring(&members);
        let mut load = vec![0u64; members.len()];
        // The worst there is: all calls have the same key.
        for in_flight in 0..keys as u64 {
            let has_room = |member: &usize| load[*member] < ring.capacity(*member, in_flight, factor);
            let Some(member) = ring.walk(77).find(has_room) else {
                return Err(TestCaseError::fail("nobody has room"));
            };
            load[member] += 1;
        }
        for (member, load) in load.iter().enumerate() {
            prop_assert!(*load <= ring.capacity(member, keys as u64, factor));
        }
    }
}
