//! A record as a line of text.

use std::fmt;
use std::str::FromStr;

use super::{Fact, Incarnation, Seen, Who};

/// A line that is no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(pub String);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no record", self.0)
    }
}

impl std::error::Error for Unreadable {}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Runner => write!(f, "runner"),
            Self::Publisher(Incarnation { index, life }) => write!(f, "publisher-{index}.{life}"),
            Self::Member(Incarnation { index, life }) => write!(f, "member-{index}.{life}"),
        }
    }
}

impl FromStr for Who {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let incarnation = |text: &str| {
            let (index, life) = text.split_once('.')?;
            Some(Incarnation { index: index.parse().ok()?, life: life.parse().ok()? })
        };
        let who = match text.split_once('-') {
            None if text == "runner" => Some(Self::Runner),
            Some(("publisher", rest)) => incarnation(rest).map(Self::Publisher),
            Some(("member", rest)) => incarnation(rest).map(Self::Member),
            _ => None,
        };
        who.ok_or_else(|| Unreadable(text.to_owned()))
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:016x}", self.id, self.key, self.digest)
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publishing(event) => write!(f, "publishing {event}"),
            Self::Accepted { id, duplicate: false } => write!(f, "accepted {id} new"),
            Self::Accepted { id, duplicate: true } => write!(f, "accepted {id} duplicate"),
            Self::Refused { id, code } => write!(f, "refused {id} {code}"),
            Self::Unanswered { id } => write!(f, "unanswered {id}"),
            Self::Connected { host } => write!(f, "connected {host}"),
            Self::Delivered { number, attempt, event } => write!(f, "delivered {number} {attempt} {event}"),
            Self::Handled { number } => write!(f, "handled {number}"),
            Self::Failed { number } => write!(f, "failed {number}"),
            Self::Lost => write!(f, "lost"),
            Self::HostStarted { host } => write!(f, "host-started {host}"),
            Self::HostDead { host } => write!(f, "host-dead {host}"),
            Self::Killing(who) => write!(f, "killing {who}"),
        }
    }
}

/// Reads a time and what was done then.
pub(super) fn read(line: &str) -> Result<(u64, Fact), Unreadable> {
    let mut words = Words(line.split(' '));
    let mut parse = || Some((words.next()?, words.fact()?));
    parse().ok_or_else(|| Unreadable(line.to_owned()))
}

struct Words<'a>(std::str::Split<'a, char>);

impl Words<'_> {
    fn next<T: FromStr>(&mut self) -> Option<T> {
        self.0.next()?.parse().ok()
    }

    fn seen(&mut self) -> Option<Seen> {
        let (id, key) = (self.next()?, self.next()?);
        Some(Seen { id, key, digest: u64::from_str_radix(self.0.next()?, 16).ok()? })
    }

    fn fact(&mut self) -> Option<Fact> {
        let fact = match self.0.next()? {
            "publishing" => Fact::Publishing(self.seen()?),
            "accepted" => {
                let id = self.next()?;
                let duplicate = match self.0.next()? {
                    "new" => false,
                    "duplicate" => true,
                    _ => return None,
                };
                Fact::Accepted { id, duplicate }
            }
            "refused" => Fact::Refused { id: self.next()?, code: self.next()? },
            "unanswered" => Fact::Unanswered { id: self.next()? },
            "connected" => Fact::Connected { host: self.next()? },
            "delivered" => {
                let (number, attempt) = (self.next()?, self.next()?);
                Fact::Delivered { number, attempt, event: self.seen()? }
            }
            "handled" => Fact::Handled { number: self.next()? },
            "failed" => Fact::Failed { number: self.next()? },
            "lost" => Fact::Lost,
            "host-started" => Fact::HostStarted { host: self.next()? },
            "host-dead" => Fact::HostDead { host: self.next()? },
            "killing" => Fact::Killing(self.next()?),
            _ => return None,
        };
        match self.0.next() {
            None => Some(fact),
            Some(_) => None,
        }
    }
}
