use std::pin::pin;
use std::sync::atomic::AtomicUsize;
use std::task::Poll;

use futures_util::future::poll_immediate;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn lets_through_as_many_as_it_may() {
    let limiter = Limiter::new(2, 0, SECOND);
    let first = limiter.try_acquire();
    let second = limiter.acquire(None).await;
    assert!(first.is_some() && second.is_ok());
    assert!(limiter.try_acquire().is_none());
    assert_eq!(limiter.acquire(None).await.unwrap_err(), Shed::QueueFull);
    assert_eq!((limiter.limit(), limiter.in_flight(), limiter.queued()), (2, 2, 0));
    drop(first);
    assert!(limiter.try_acquire().is_some());
    drop(second);
    assert_eq!(limiter.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_come_in_by_order_of_arrival() {
    let limiter = Limiter::new(1, 3, SECOND);
    let held = limiter.try_acquire();
    let mut waiters: Vec<_> = (0..3).map(|_| Box::pin(limiter.acquire(None))).collect();
    for waiter in &mut waiters {
        assert!(poll_immediate(waiter).await.is_none());
    }
    assert_eq!(limiter.queued(), 3);
    assert_eq!(limiter.acquire(None).await.unwrap_err(), Shed::QueueFull);
    drop(held);
    // Nobody overtakes, also not in the moment in which one is called.
    assert!(limiter.try_acquire().is_none());
    for waiter in waiters {
        assert_eq!(limiter.in_flight(), 1);
        drop(waiter.await.unwrap());
    }
    assert_eq!((limiter.in_flight(), limiter.queued()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_wait_ends_with_the_longest_wait_or_the_deadline() {
    let limiter = Limiter::new(1, 10, SECOND);
    let _held = limiter.try_acquire();
    let began = Instant::now();
    assert_eq!(limiter.acquire(None).await.unwrap_err(), Shed::WaitedTooLong);
    assert_eq!(began.elapsed(), SECOND);
    let deadline = Instant::now() + SECOND / 4;
    assert_eq!(limiter.acquire(Some(deadline)).await.unwrap_err(), Shed::DeadlinePassed);
    assert_eq!(Instant::now(), deadline);
    let late = Instant::now() + 5 * SECOND;
    assert_eq!(limiter.acquire(Some(late)).await.unwrap_err(), Shed::WaitedTooLong);
    assert_eq!(limiter.queued(), 0);
    let patient = Limiter::new(0, 10, Duration::MAX);
    assert_eq!(patient.acquire(Some(late)).await.unwrap_err(), Shed::DeadlinePassed);
    assert!(poll_immediate(pin!(patient.acquire(None))).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_leaves_no_hole() {
    let limiter = Limiter::new(1, 2, SECOND);
    let held = limiter.try_acquire();
    let mut first = Box::pin(limiter.acquire(None));
    let mut second = Box::pin(limiter.acquire(None));
    assert!(poll_immediate(&mut first).await.is_none() && poll_immediate(&mut second).await.is_none());
    drop(first);
    assert_eq!(limiter.queued(), 1);
    let mut third = Box::pin(limiter.acquire(None));
    assert!(poll_immediate(&mut third).await.is_none());
    drop(held);
    // The second is called, and goes away before it notices.
    assert_eq!((limiter.in_flight(), limiter.queued()), (1, 1));
    drop(second);
    assert_eq!((limiter.in_flight(), limiter.queued()), (1, 0));
    drop(third.await.unwrap());
    assert_eq!(limiter.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_limit_changes_both_ways() {
    let limiter = Limiter::new(1, 10, SECOND);
    let mut permits = vec![limiter.try_acquire().unwrap()];
    let mut waiters: Vec<_> = (0..3).map(|_| Box::pin(limiter.acquire(None))).collect();
    for waiter in &mut waiters {
        assert!(poll_immediate(waiter).await.is_none());
    }
    limiter.set_limit(3);
    assert_eq!((limiter.in_flight(), limiter.queued()), (3, 1));
    let last = waiters.pop().unwrap();
    for waiter in waiters {
        permits.push(waiter.await.unwrap());
    }
    limiter.set_limit(1);
    permits.pop();
    permits.pop();
    assert_eq!((limiter.in_flight(), limiter.queued()), (1, 1));
    permits.pop();
    assert!(last.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn called_and_out_of_time_at_once_is_called() {
    let limiter = Limiter::new(1, 1, SECOND);
    let held = limiter.try_acquire();
    let mut waiter = Box::pin(limiter.acquire(None));
    assert!(poll_immediate(&mut waiter).await.is_none());
    tokio::time::advance(SECOND).await;
    drop(held);
    assert!(waiter.await.is_ok());
    assert_eq!(limiter.in_flight(), 0);
}

/// Threads that take, wait, give up and give back at random, while the limit changes.
#[test]
fn never_more_than_the_limit_and_nothing_is_left_over() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
    let limiter = Limiter::new(3, 20, Duration::from_millis(2));
    let (inside, let_in) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..40u64 {
            let (limiter, inside, let_in) = (Arc::clone(&limiter), Arc::clone(&inside), Arc::clone(&let_in));
            tasks.spawn(async move {
                let mut random = fastrand::Rng::with_seed(task);
                for _ in 0..400 {
                    if random.u8(..8) == 0 {
                        limiter.set_limit(random.u32(1..=4));
                    }
                    let patience = random.usize(0..4);
                    let mut waiting = pin!(limiter.acquire(None));
                    let mut polls = 0;
                    let permit = std::future::poll_fn(|context| match waiting.as_mut().poll(context) {
                        Poll::Ready(permit) => Poll::Ready(permit.ok()),
                        Poll::Pending if polls >= patience => Poll::Ready(None),
                        Poll::Pending => {
                            polls += 1;
                            if polls % 2 == 1 {
                                context.waker().wake_by_ref();
                            }
                            Poll::Pending
                        }
                    })
                    .await;
                    if let Some(permit) = permit {
                        // At most four at any time, since the limit is never above.
                        assert!(inside.fetch_add(1, Relaxed) < 4);
                        let_in.fetch_add(1, Relaxed);
                        tokio::task::yield_now().await;
                        inside.fetch_sub(1, Relaxed);
                        drop(permit);
                    }
                }
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
    });
    assert!(let_in.load(Relaxed) > 100);
    assert_eq!((limiter.in_flight(), limiter.queued()), (0, 0));
    assert!(limiter.queue().waiters.is_empty());
}
