use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn at(millis: u64) -> Moment {
    Moment::from_nanos(millis * 1_000_000)
}

fn close(found: f64, expected: f64) -> bool {
    (found / expected - 1.0).abs() < 1e-4
}

#[test]
fn a_peak_counts_at_once_and_decays() {
    let ewma = PeakEwma::default();
    ewma.record(MS, at(0));
    ewma.record(100 * MS, at(1));
    assert!(close(ewma.cost(0, at(1)), 100e6));
    // Fast again: after one time constant 37 % of the difference are left.
    for now in 2..=10_001 {
        ewma.record(MS, at(now));
    }
    let expected = 1e6 + 99e6 * (-1f64).exp();
    assert!(close(ewma.cost(0, at(10_001)), expected), "{:?}", ewma.value(at(10_001)));
}

#[test]
fn idle_decays_to_nothing() {
    let ewma = PeakEwma::default();
    ewma.record(100 * MS, at(0));
    assert!(close(ewma.cost(0, at(30_000)), 100e6 * (-3f64).exp()));
    assert!(ewma.cost(0, at(600_000)) < 1.0);
    // What it answers then counts, not what it was.
    ewma.record(5 * MS, at(600_000));
    assert_eq!(ewma.value(at(600_000)), Some(5 * MS));
}

#[test]
fn never_measured_is_tried_once() {
    let ewma = PeakEwma::default();
    assert_eq!((ewma.value(at(5)), ewma.cost(0, at(5))), (None, 0.0));
    assert!(ewma.cost(1, at(5)) > 1e14);
    ewma.record(Duration::ZERO, at(5));
    assert!(ewma.cost(10, at(5)) <= 11.0);
}

#[test]
fn many_samples_within_a_unit_lose_nothing() {
    let ewma = PeakEwma::default();
    ewma.record(100 * MS, at(0));
    // Four a unit, for a second.
    for n in 1..=250_000u64 {
        ewma.record(10 * MS, Moment::from_nanos(n * 4_000));
    }
    let expected = 10e6 + 90e6 * (-0.1f64).exp();
    assert!(close(ewma.cost(0, at(1_000)), expected), "{:?}", ewma.value(at(1_000)));
}

#[test]
fn changes_too_small_for_the_number_add_up() {
    let ewma = PeakEwma::new(Duration::from_secs(1_000));
    ewma.record(Duration::from_micros(1_010), at(0));
    for n in 1..=2_000_000u64 {
        ewma.record(MS, Moment::from_nanos(n * 100_000));
    }
    // 200 of 1,000 seconds.
    let expected = 1e6 + 1e4 * (-0.2f64).exp();
    let found = ewma.cost(0, at(200_000));
    assert!((found - expected).abs() < 100.0, "{found} {expected}");
}

#[test]
fn a_thread_that_is_late_does_no_harm() {
    let ewma = PeakEwma::default();
    ewma.record(100 * MS, at(5_000));
    ewma.record(MS, at(4_000));
    assert_eq!(ewma.value(at(5_000)), Some(100 * MS));
    assert_eq!(ewma.value(at(3_000)), Some(100 * MS));
    ewma.record(200 * MS, at(4_000));
    assert_eq!(ewma.value(at(5_000)), Some(200 * MS));
}

#[test]
fn threads_at_once_keep_the_peak() {
    let ewma = PeakEwma::default();
    std::thread::scope(|scope| {
        for thread in 1..=4u64 {
            let ewma = &ewma;
            scope.spawn(move || {
                for n in 0..20_000u64 {
                    ewma.record(Duration::from_micros(1 + n % 977 * thread), Moment::from_nanos(n));
                }
            });
        }
    });
    // All within two units, so nothing has decayed to speak of.
    assert!(close(ewma.cost(0, Moment::from_nanos(20_000)), 1e3 * (1.0 + 976.0 * 4.0)));
}

proptest! {
    #[test]
    fn stays_between_what_was_seen(
        samples in proptest::collection::vec((0u64..20_000_000_000, 1u64..100_000_000_000), 1..60),
    ) {
        let ewma = PeakEwma::default();
        let (mut now, mut list) = (0, Vec::new());
        for (pause, rtt) in samples {
            now += pause;
            ewma.record(Duration::from_nanos(rtt), Moment::from_nanos(now));
            list.push((now, rtt as f64));
            let found = ewma.cost(0, Moment::from_nanos(now));
            let most = list.iter().fold(0.0, |most: f64, sample| most.max(sample.1));
            prop_assert!(found <= most * 1.001, "{found} above {most}");
            // Each sample was a peak or below one, and no peak is forgotten before it has decayed.
            for (then, rtt) in &list {
                let left = rtt * (-((now - then) as f64) / 10e9).exp();
                prop_assert!(found >= left * 0.999, "{found} below {left}");
            }
        }
    }

    #[test]
    fn grows_with_what_is_pending(rtt in 1u64..1 << 40, pending in 0u32..100_000, later in 0u64..60_000) {
        let ewma = PeakEwma::default();
        prop_assert!(ewma.cost(pending, at(later)) < ewma.cost(pending + 1, at(later)));
        ewma.record(Duration::from_nanos(rtt), at(0));
        prop_assert!(ewma.cost(pending, at(later)) < ewma.cost(pending + 1, at(later)));
    }
}
