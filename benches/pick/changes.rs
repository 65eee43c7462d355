//! Endpoints that come, go and change their mind, while others are picked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use plugmesh_benches::BoxError;
use plugmesh_host::route::{Availability, Route};

use crate::picks::add;

/// From one change to the next: a hundred a second.
const PAUSE: Duration = Duration::from_millis(10);

/// A thread that changes a route.
#[derive(Debug)]
pub(crate) struct Changes {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Changes {
    pub(crate) fn start(route: Arc<Route>) -> Result<Self, BoxError> {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new().name("changes".into()).spawn({
            let stop = stop.clone();
            move || {
                while !stop.load(Ordering::Relaxed) {
                    turn(&route);
                }
            }
        })?;
        Ok(Self { stop, thread })
    }

    pub(crate) fn stop(self) -> Result<(), BoxError> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the thread that changes the route panicked".into())
    }
}

/// One comes, another one is unwell and well again, and the one that came goes: there is always one to pick.
fn turn(route: &Route) {
    let endpoints = route.endpoints();
    let new = add(route, endpoints.len() as u32);
    pause();
    if let Some(other) = endpoints.get(fastrand::usize(..endpoints.len())) {
        route.set_availability(other, Availability::Unhealthy("a change".into()));
        pause();
        route.set_availability(other, Availability::Ready);
        pause();
    }
    route.remove(new.id());
    pause();
}

#[allow(clippy::disallowed_methods, reason = "the thread has nothing else to do")]
fn pause() {
    std::thread::sleep(PAUSE);
}
