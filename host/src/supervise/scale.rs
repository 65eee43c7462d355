//! The number of a plugin's instances follows the load.
//!
//! `scaler`: how many there should be; plain state that is handed the time. `roster`: which of them take calls, and
//! which are kept warm. Here both meet the plugin and the clock of the mesh.

mod roster;
mod scaler;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use self::scaler::{Load, Scaler};
use super::pulse::Beat;
use crate::config::Scale;
use crate::route::Route;

pub(super) use self::roster::{Place, Role, Roster};

/// Has a plugin given another number of instances. It must not wait.
pub(super) type Resize = Box<dyn Fn(u32) + Send + Sync>;

/// The number of instances of one plugin, from one launch to the next.
pub(super) struct Scaling {
    id: u64,
    config: Scale,
    route: Arc<Route>,
    scaler: Mutex<Scaler>,
    pub(super) roster: Roster,
    /// Whether a change is on its way; the next one waits for its end.
    changing: AtomicBool,
    /// Whether nothing runs that takes calls, so that a call has to start something.
    asleep: AtomicBool,
    resize: Resize,
}

impl Scaling {
    /// For the instances of `route`, of which `wanted` take calls at first.
    ///
    /// `id` tells it from those before and after.
    pub(super) fn new(id: u64, config: Scale, route: Arc<Route>, wanted: u32, resize: Resize) -> Arc<Self> {
        let scaling = Arc::new(Self {
            id,
            config,
            scaler: Mutex::new(Scaler::new(config, wanted, Instant::now())),
            roster: Roster::default(),
            changing: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            resize,
            route,
        });
        let called = Arc::downgrade(&scaling);
        scaling.route.on_wanted(Arc::new(move || {
            if let Some(scaling) = called.upgrade() {
                scaling.wake();
            }
        }));
        scaling
    }

    /// Tells it from those before and after.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Instances that run when `wanted` take calls.
    pub(super) fn total(&self, wanted: u32) -> u32 {
        wanted + self.config.warm
    }

    /// Places for `total` instances from ordinal 0 on, of which `wanted` take calls.
    pub(super) fn places(&self, total: u32, wanted: u32) -> Vec<Place> {
        let places = (0..total).map(|ordinal| self.roster.place(ordinal)).collect();
        self.roster.balance(wanted);
        places
    }

    /// Whether nothing runs that takes calls, so that a call has to start something.
    pub(super) fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::Acquire)
    }

    /// Notes that somebody calls, and starts an instance when there is none that takes calls. Cheap, and does nothing
    /// the second time.
    pub(super) fn wake(&self) {
        self.lock().called(Instant::now());
        if self.asleep.swap(false, Ordering::AcqRel) {
            self.route.is_waking();
            (self.resize)(1);
        }
    }

    /// A change to `wanted` begins: from now on calls that find nobody start somebody, when there is none left.
    pub(super) fn begin(&self, wanted: u32) {
        self.lock().set(wanted, Instant::now());
        self.asleep.store(wanted == 0, Ordering::Release);
    }

    /// The change is over.
    pub(super) fn end(&self) {
        self.changing.store(false, Ordering::Release);
    }

    fn load(&self) -> Load {
        let all = self.route.endpoints();
        let count = |load: Load, endpoint: &Arc<crate::route::Endpoint>| {
            let in_flight = endpoint.in_flight();
            Load { in_flight: load.in_flight + in_flight, begun: load.begun + endpoint.calls() + in_flight }
        };
        all.iter().fold(Load::default(), count)
    }

    fn lock(&self) -> MutexGuard<'_, Scaler> {
        self.scaler.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Beat for Scaling {
    fn beat(&self, now: Instant) {
        let load = self.load();
        let wanted = self.lock().look(now, load);
        if let Some(wanted) = wanted
            && !self.changing.swap(true, Ordering::AcqRel)
        {
            (self.resize)(wanted);
        }
    }
}

impl fmt::Debug for Scaling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scaling").field("scaler", &*self.lock()).finish_non_exhaustive()
    }
}
