//! How calls ended, for tests that wait for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use plugmesh_tests::probe::Ending;
use tokio::sync::watch;

/// Counts of endings by key. Clones are one.
#[derive(Clone, Default)]
pub(crate) struct Endings(Arc<watch::Sender<BTreeMap<(String, Ending), u64>>>);

/// A call that has not ended: dropping this without [`done`](Self::done) means that it was cancelled.
pub(crate) struct Running {
    endings: Endings,
    key: String,
    ending: Ending,
}

impl Endings {
    /// A call with this key begins.
    pub(crate) fn begin(&self, key: impl Into<String>) -> Running {
        let key = key.into();
        self.note(&key, Ending::Begun);
        Running { endings: self.clone(), key, ending: Ending::Cancelled }
    }

    /// Waits until there were `count` endings of that kind.
    pub(crate) async fn wait(&self, key: String, ending: Ending, count: u64) -> u64 {
        let key = (key, ending);
        let seen = |all: &BTreeMap<_, u64>| all.get(&key).copied().unwrap_or_default();
        let mut all = self.0.subscribe();
        all.wait_for(|all| seen(all) >= count).await.map_or(0, |all| seen(&all))
    }

    fn note(&self, key: &str, ending: Ending) {
        self.0.send_modify(|all| *all.entry((key.to_owned(), ending)).or_default() += 1);
    }
}

impl Running {
    pub(crate) fn done(mut self) {
        self.ending = Ending::Done;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.endings.note(&self.key, self.ending);
    }
}
