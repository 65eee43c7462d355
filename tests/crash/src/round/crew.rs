//! The publishers and members of a round.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use super::Counts;
use crate::BoxError;
use crate::history::{Fact, Incarnation, Record, Who, Writer};
use crate::plan::{Plan, Victim};
use crate::process::{Process, Programs, command};
use crate::role::Task;
use crate::tail::Tail;

/// Everybody but the host.
#[derive(Debug)]
pub(super) struct Crew {
    starter: Starter,
    all: Vec<One>,
}

/// How somebody is started.
#[derive(Debug)]
struct Starter {
    programs: Programs,
    seed: u64,
    directory: PathBuf,
    socket: PathBuf,
}

/// A publisher or a member.
#[derive(Debug)]
struct One {
    victim: Victim,
    life: u32,
    /// `None`: it has done its work.
    process: Option<Process>,
    tail: Tail,
}

impl Victim {
    fn who(self, life: u32) -> Who {
        match self {
            Self::Publisher(index) => Who::Publisher(Incarnation { index, life }),
            Self::Member(index) => Who::Member(Incarnation { index, life }),
        }
    }
}

impl Starter {
    fn histories(&self) -> PathBuf {
        self.directory.join("history")
    }

    fn start(&self, victim: Victim, life: u32) -> Result<(Process, Tail), BoxError> {
        let (Victim::Publisher(index) | Victim::Member(index)) = victim;
        let task = Task {
            seed: self.seed,
            incarnation: Incarnation { index, life },
            directory: self.histories(),
            socket: self.socket.clone(),
        };
        let mut command = command(&self.programs.participant)?;
        command.args(task.args(victim));
        let process = Process::start(command, &self.directory.join("crew.log"))?;
        Ok((process, Tail::new(&self.histories(), victim.who(life))))
    }
}

impl Crew {
    /// Starts everybody.
    pub(super) fn start(
        plan: &Plan,
        programs: &Programs,
        directory: &Path,
        socket: &Path,
    ) -> Result<Self, BoxError> {
        let starter = Starter {
            programs: programs.clone(),
            seed: plan.seed,
            directory: directory.to_owned(),
            socket: socket.to_owned(),
        };
        let publishers = (0..plan.publishers.len() as u32).map(Victim::Publisher);
        let all = publishers.chain((0..plan.members).map(Victim::Member)).map(|victim| {
            let (process, tail) = starter.start(victim, 0)?;
            Ok(One { victim, life: 0, process: Some(process), tail })
        });
        let all = all.collect::<Result<_, BoxError>>()?;
        Ok(Self { starter, all })
    }

    /// Adds what was written since the last time.
    pub(super) fn read(&mut self, records: &mut Vec<Record>) -> Result<(), BoxError> {
        self.all.iter_mut().try_for_each(|one| one.tail.read(records))
    }

    /// Kills somebody, unless it has done its work, and starts it again.
    pub(super) fn kill(
        &mut self,
        victim: Victim,
        history: &mut Writer,
        records: &mut Vec<Record>,
        counts: &mut Counts,
    ) -> Result<(), BoxError> {
        let found = self.all.iter_mut().find(|one| one.victim == victim);
        let Some(one) = found.filter(|one| one.process.is_some()) else { return Ok(()) };
        records.push(history.write(Fact::Killing(victim.who(one.life)))?);
        one.process.take().map(|mut process| process.kill()).transpose()?;
        match victim {
            Victim::Publisher(_) => counts.publisher_kills += 1,
            Victim::Member(_) => counts.member_kills += 1,
        }
        one.again(&self.starter, records)
    }

    /// Starts those again who have killed themselves.
    pub(super) fn replace(&mut self, records: &mut Vec<Record>, counts: &mut Counts) -> Result<(), BoxError> {
        for one in &mut self.all {
            let Some(process) = &mut one.process else { continue };
            let Some(status) = process.ended()? else { continue };
            match one.victim {
                Victim::Publisher(_) if status.success() => one.process = None,
                Victim::Member(_) if status.signal() == Some(Signal::KILL.as_raw()) => {
                    counts.member_deaths += 1;
                    one.again(&self.starter, records)?;
                }
                victim => return Err(format!("{victim:?} ended: {status}; see crew.log").into()),
            }
        }
        Ok(())
    }

    /// Whether all that there is to publish was acknowledged.
    pub(super) fn has_published(&self) -> bool {
        self.all.iter().all(|one| matches!(one.victim, Victim::Member(_)) || one.process.is_none())
    }

    /// Ends everybody, and adds what they wrote last.
    pub(super) fn dismiss(&mut self, records: &mut Vec<Record>) -> Result<(), BoxError> {
        for one in &mut self.all {
            one.process = None;
            one.tail.read(records)?;
        }
        Ok(())
    }
}

impl One {
    /// Begins its next life, when all is read of the one that has ended.
    fn again(&mut self, starter: &Starter, records: &mut Vec<Record>) -> Result<(), BoxError> {
        self.tail.read(records)?;
        self.life += 1;
        let (process, tail) = starter.start(self.victim, self.life)?;
        (self.process, self.tail) = (Some(process), tail);
        Ok(())
    }
}
