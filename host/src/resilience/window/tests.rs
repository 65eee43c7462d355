use proptest::prelude::*;

use super::*;

fn at(millis: u64) -> Moment {
    Moment::from_nanos(millis * 1_000_000)
}

#[test]
fn counts_what_is_within() {
    let window: Window = Window::new();
    window.add(at(0), Counts::PLAIN);
    window.add(at(999), Counts::MARKED);
    window.add(at(5_000), Counts::PLAIN);
    assert_eq!(window.totals(at(5_000)), Counts { total: 3, marked: 1 });
    assert_eq!(window.totals(at(9_999)), Counts { total: 3, marked: 1 });
}

#[test]
fn a_bucket_that_just_left_counts_no_more() {
    let window: Window = Window::new();
    window.add(at(0), Counts::MARKED);
    window.add(at(1_000), Counts::PLAIN);
    assert_eq!(window.totals(at(10_000)), Counts { total: 1, marked: 0 });
    // Its cell is taken over by the second that is ten later, and only then.
    window.add(at(10_000), Counts::PLAIN);
    assert_eq!(window.totals(at(10_000)), Counts { total: 2, marked: 0 });
    assert_eq!(window.totals(at(11_000)), Counts { total: 1, marked: 0 });
}

#[test]
fn nothing_comes_back_after_years() {
    let year = 365 * 24 * 3_600 * 1_000;
    let window: Window = Window::new();
    window.add(at(3_000), Counts::MARKED);
    for years in 1..21 {
        for second in 0..10 {
            assert_eq!(window.totals(at(years * year + second * 1_000)), Counts::default(), "{years}");
        }
    }
    for years in [1, 9, 10, 11, 15, 20, 25] {
        window.add(at(years * year), Counts::PLAIN);
        assert_eq!(window.totals(at(years * year)), Counts::PLAIN, "{years}");
    }
}

#[test]
fn an_event_of_a_second_that_has_left_is_dropped() {
    let window: Window = Window::new();
    window.add(at(12_000), Counts::PLAIN);
    window.add(at(2_000), Counts::MARKED);
    assert_eq!(window.totals(at(12_000)), Counts::PLAIN);
    // A second that is still within is counted, however late.
    window.add(at(3_000), Counts::MARKED);
    assert_eq!(window.totals(at(12_000)), Counts { total: 2, marked: 1 });
}

#[test]
fn a_full_bucket_keeps_its_share() {
    let window: Window = Window::new();
    window.add(at(0), Counts { total: COUNT_MAX as u32 - 1, marked: 1_000 });
    window.add(at(0), Counts::MARKED);
    for _ in 0..10 {
        window.add(at(0), Counts::MARKED);
    }
    assert_eq!(window.totals(at(0)), Counts { total: COUNT_MAX as u32, marked: 1_001 });
}

#[test]
fn cleared_is_empty_and_goes_on() {
    let window: Window = Window::new();
    window.add(at(70_000), Counts::MARKED);
    window.clear();
    assert_eq!(window.totals(at(70_000)), Counts::default());
    window.add(at(70_000), Counts::PLAIN);
    assert_eq!(window.totals(at(70_000)), Counts::PLAIN);
}

#[test]
fn nothing_is_lost_between_threads() {
    const EACH: u64 = 20_000;
    let window: Window = Window::new();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let window = &window;
            // All go through the same seconds, so that they race for each change of a bucket.
            scope.spawn(move || {
                for n in 0..EACH {
                    let event = if thread == 0 { Counts::MARKED } else { Counts::PLAIN };
                    window.add(at(3_000 + n / 4), event);
                }
            });
        }
    });
    let sum = window.totals(at(3_000 + EACH / 4));
    assert_eq!(sum, Counts { total: 4 * EACH as u32, marked: EACH as u32 });
}

proptest! {
    /// The same as keeping every event.
    #[test]
    fn agrees_with_a_list(steps in proptest::collection::vec((0u64..4_000, any::<bool>()), 1..200)) {
        let window: Window<10> = Window::new();
        let mut list = Vec::new();
        let mut now = 0;
        for (pause, marked) in steps {
            now += pause;
            window.add(at(now), if marked { Counts::MARKED } else { Counts::PLAIN });
            list.push((now, marked));
            let within = |event: &&(u64, bool)| now / 1_000 - event.0 / 1_000 < 10;
            let counted = window.totals(at(now));
            prop_assert_eq!(counted.total as usize, list.iter().filter(within).count());
            let marked = list.iter().filter(within).filter(|event| event.1).count();
            prop_assert_eq!(counted.marked as usize, marked);
        }
    }
}
