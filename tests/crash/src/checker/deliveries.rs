//! What was delivered, and for how long it was in flight.

use std::collections::{BTreeMap, HashMap};

use super::Violation;
use super::publications::Publications;
use crate::history::{Fact, History, Record, Seen, Who};

/// A delivery.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) event: Seen,
    pub(super) member: Who,
    /// Process id of the host.
    pub(super) host: u32,
    pub(super) begin: u64,
    /// When it was not in flight any more; before `begin` when that host was dead by then.
    pub(super) end: u64,
    /// When the member was about to acknowledge it, if the host was not dead by then.
    pub(super) handled: Option<u64>,
}

/// All deliveries, by when they began.
#[derive(Debug)]
pub(super) struct Deliveries(Vec<Delivery>);

/// When processes ended.
struct Ends {
    hosts: HashMap<u32, u64>,
    /// When a member was about to be killed, or later, when it wrote for the last time.
    members: HashMap<Who, u64>,
}

impl Ends {
    fn read(history: &History) -> Self {
        let (mut hosts, mut members, mut last) = (HashMap::new(), HashMap::new(), HashMap::new());
        for record in &history.records {
            let wrote = last.entry(record.who).or_insert(record.at);
            *wrote = record.at.max(*wrote);
            match record.fact {
                Fact::HostDead { host } => drop(hosts.insert(host, record.at)),
                // It may have been killed by itself, and then once more.
                Fact::Killing(who) => {
                    let killed = members.entry(who).or_insert(record.at);
                    *killed = record.at.min(*killed);
                }
                _ => {}
            }
        }
        for (who, at) in &mut members {
            *at = last.get(who).map_or(*at, |last| (*at).max(*last));
        }
        Self { hosts, members }
    }
}

/// A stream of a member, while it is read.
#[derive(Default)]
struct Stream {
    host: u32,
    /// Deliveries that are in flight, by their numbers.
    open: BTreeMap<u64, Delivery>,
}

impl Stream {
    fn end(&mut self, at: u64, done: &mut Vec<Delivery>) {
        for (_, delivery) in std::mem::take(&mut self.open) {
            done.push(Delivery { end: delivery.end.min(at), ..delivery });
        }
    }
}

impl Deliveries {
    pub(super) fn read(history: &History) -> Self {
        let ends = Ends::read(history);
        let mut of_members: BTreeMap<Who, Vec<&Record>> = BTreeMap::new();
        for record in &history.records {
            if let Who::Member(_) = record.who {
                of_members.entry(record.who).or_default().push(record);
            }
        }
        let mut all = Vec::new();
        for (who, records) in of_members {
            all.extend(of_member(who, &records, &ends));
        }
        all.sort_by_key(|delivery| delivery.begin);
        Self(all)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Delivery> {
        self.0.iter()
    }

    /// When each event was handled for the first time, by id.
    pub(super) fn first_handled(&self) -> HashMap<&str, u64> {
        let mut first = HashMap::new();
        for delivery in &self.0 {
            if let Some(at) = delivery.handled {
                let known = first.entry(delivery.event.id.as_str()).or_insert(at);
                *known = at.min(*known);
            }
        }
        first
    }

    /// Events that were acknowledged to their publishers and never handled.
    pub(super) fn losses(&self, publications: &Publications) -> Vec<Violation> {
        let handled = self.first_handled();
        let lost = publications.accepted().filter(|id| !handled.contains_key(id));
        lost.map(|id| Violation::Lost { id: id.to_owned() }).collect()
    }

    /// Deliveries of what nobody was about to publish.
    pub(super) fn inventions(&self, publications: &Publications) -> Vec<Violation> {
        let is_published = |delivery: &&Delivery| {
            publications
                .get(&delivery.event.id)
                .is_some_and(|published| published.event == delivery.event && published.at <= delivery.begin)
        };
        let invented = self.0.iter().filter(|delivery| !is_published(delivery));
        invented
            .map(|delivery| Violation::Invented { id: delivery.event.id.clone(), at: delivery.begin })
            .collect()
    }
}

/// The deliveries to one process.
fn of_member(who: Who, records: &[&Record], ends: &Ends) -> Vec<Delivery> {
    let (mut done, mut stream) = (Vec::new(), Stream::default());
    let killed = ends.members.get(&who).copied().unwrap_or(u64::MAX);
    for Record { at, fact, .. } in records.iter().copied() {
        let host_end = |host| ends.hosts.get(&host).copied().unwrap_or(u64::MAX);
        match fact {
            Fact::Connected { host } => {
                stream.end(*at, &mut done);
                stream.host = *host;
            }
            Fact::Delivered { number, event, .. } => {
                let end = host_end(stream.host).min(killed);
                let host = stream.host;
                let delivery =
                    Delivery { event: event.clone(), member: who, host, begin: *at, end, handled: None };
                stream.open.insert(*number, delivery);
            }
            Fact::Handled { number } | Fact::Failed { number } => {
                if let Some(mut delivery) = stream.open.remove(number) {
                    let is_handled = matches!(fact, Fact::Handled { .. }) && *at <= host_end(delivery.host);
                    delivery.handled = is_handled.then_some(*at);
                    delivery.end = delivery.end.min(*at);
                    done.push(delivery);
                }
            }
            Fact::Lost => stream.end(*at, &mut done),
            _ => {}
        }
    }
    stream.end(u64::MAX, &mut done);
    done
}
