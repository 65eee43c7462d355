//! The streams of `AdminService`: changes of plugins, and log lines.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures_util::stream::{self, Stream};
use plugmesh::admin::v1::{ChangeKind, Plugin, TailLogsResponse, WatchPluginsResponse};
use tokio::sync::watch;
use tonic::Status;

use super::convert;
use crate::launch::{Followed, LogBuffer};
use crate::name::PluginName;
use crate::supervise::{Board, PluginStatus};

type Plugins = BTreeMap<PluginName, Arc<PluginStatus>>;

/// The present state of every plugin, or of one, then each change. A reader that is slow misses states in
/// between, never the last one.
pub(super) fn plugins(
    board: &Board,
    only: Option<PluginName>,
) -> impl Stream<Item = Result<WatchPluginsResponse, Status>> + use<> {
    let watching = Watching { follow: board.follow(), seen: None, due: VecDeque::new(), only };
    stream::unfold(watching, |mut watching| async move {
        let next = watching.next().await?;
        Some((Ok(next), watching))
    })
}

struct Watching {
    follow: watch::Receiver<Arc<Plugins>>,
    seen: Option<Arc<Plugins>>,
    due: VecDeque<WatchPluginsResponse>,
    only: Option<PluginName>,
}

impl Watching {
    async fn next(&mut self) -> Option<WatchPluginsResponse> {
        loop {
            if let Some(due) = self.due.pop_front() {
                return Some(due);
            }
            if self.seen.is_some() {
                self.follow.changed().await.ok()?;
            }
            let now = self.follow.borrow_and_update().clone();
            self.compare(&now);
            self.seen = Some(now);
        }
    }

    fn compare(&mut self, now: &Arc<Plugins>) {
        let wanted = |name: &PluginName| self.only.as_ref().is_none_or(|only| only == name);
        let empty = Arc::default();
        let before = self.seen.as_ref().unwrap_or(&empty);
        let kind = match self.seen {
            Some(_) => ChangeKind::Changed,
            None => ChangeKind::Existing,
        };
        let is_news = |name: &PluginName, status: &Arc<PluginStatus>| {
            before.get(name).is_none_or(|before| !Arc::ptr_eq(before, status))
        };
        let news = now.iter().filter(|(name, status)| wanted(name) && is_news(name, status));
        let news = news.map(|(_, status)| change(kind, convert::plugin(status, now)));
        let gone = before.keys().filter(|name| wanted(name) && !now.contains_key(name));
        let gone = gone
            .map(|name| change(ChangeKind::Removed, Plugin { name: name.to_string(), ..Plugin::default() }));
        self.due.extend(news.chain(gone));
    }
}

fn change(kind: ChangeKind, plugin: Plugin) -> WatchPluginsResponse {
    WatchPluginsResponse { kind: kind.into(), plugin: Some(plugin) }
}

/// The last `lines` lines of a plugin, then, with `follow`, new ones.
pub(super) fn logs(
    log: &LogBuffer,
    lines: usize,
    follow: bool,
) -> impl Stream<Item = Result<TailLogsResponse, Status>> + use<> {
    let follower = log.follow(lines);
    stream::unfold((follower, 0), move |(mut follower, mut lost)| async move {
        loop {
            let followed = match follow {
                true => follower.next().await,
                false => follower.try_next()?,
            };
            match followed {
                Followed::Line(entry) => return Some((Ok(convert::log(&entry, lost)), (follower, 0))),
                Followed::Lost(count) => lost += count,
            }
        }
    })
}
