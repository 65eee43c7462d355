//! What goes wrong, one thing at a time.

use std::path::Path;
use std::time::Duration;

use plugmesh_benches::BoxError;
use plugmesh_benches::journal::Incarnation;
use rustix::process::{Pid, Signal};

use crate::control::{self, Faults, pause};
use crate::plan::{INSTANCES, Plan};

/// The instance that is hit. Not the first: a balancer that takes the first of equals must not be at an advantage.
const BAD: u32 = 1;

/// How long an instance that came back serves before the next one is restarted.
const SETTLE: Duration = Duration::from_millis(300);

/// How long a restart of all instances takes at most, when they come back as they should. Calls go on so long, since
/// an instance counts as back when it has got one.
const ROLLING: Duration = Duration::from_secs(4);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// Nothing: what the others are compared with.
    Undisturbed,
    /// One instance is killed.
    Kill,
    /// One stands still (SIGSTOP), and goes on.
    Freeze,
    /// Each call to one takes 100 ms more.
    Latency,
    /// One works 20 times slower.
    Slow,
    /// One fails 30 % of its calls.
    Errors,
    /// One is well and unwell by turns.
    Flapping,
    /// A client opens streams and does not read them.
    SlowReader,
    /// All are restarted, one after the other (SIGTERM).
    Rolling,
}

impl Scenario {
    pub(crate) const ALL: [Self; 9] = [
        Self::Undisturbed,
        Self::Kill,
        Self::Freeze,
        Self::Latency,
        Self::Slow,
        Self::Errors,
        Self::Flapping,
        Self::SlowReader,
        Self::Rolling,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Undisturbed => "undisturbed",
            Self::Kill => "kill-9",
            Self::Freeze => "sigstop",
            Self::Latency => "100ms-more",
            Self::Slow => "slow-20x",
            Self::Errors => "errors-30%",
            Self::Flapping => "flapping",
            Self::SlowReader => "slow-reader",
            Self::Rolling => "rolling",
        }
    }

    /// Whether one instance is hit, which traffic should leave.
    pub(crate) fn has_bad_instance(self) -> bool {
        !matches!(self, Self::Undisturbed | Self::SlowReader | Self::Rolling)
    }

    /// The plan with the phases that this needs.
    pub(crate) fn plan(self, mut plan: Plan) -> Plan {
        let disturbed = &mut plan.phases.disturbed;
        match self {
            Self::Freeze => *disturbed = plan.freeze,
            Self::Rolling => *disturbed = ROLLING.max(*disturbed),
            _ => {}
        }
        plan
    }

    /// The instance that will be hit, as it is now.
    pub(crate) fn bad(self, folder: &Path) -> Result<Option<Incarnation>, BoxError> {
        let incarnation = |pid| Incarnation { ordinal: BAD, pid };
        self.has_bad_instance().then(|| control::order(folder, BAD, None).map(incarnation)).transpose()
    }

    /// Does it, for as long as the plan says, and puts everything right again.
    pub(crate) fn disturb(self, folder: &Path, plan: Plan) -> Result<(), BoxError> {
        let lasts = plan.phases.disturbed;
        let with = |faults: Faults| {
            control::order(folder, BAD, Some(faults))?;
            pause(lasts);
            control::order(folder, BAD, Some(Faults::default())).map(drop)
        };
        match self {
            // The client does what there is to be done.
            Self::Undisturbed | Self::SlowReader => pause(lasts),
            Self::Kill => {
                signal(control::order(folder, BAD, None)?, Signal::KILL)?;
                pause(lasts);
            }
            Self::Freeze => {
                let pid = control::order(folder, BAD, None)?;
                signal(pid, Signal::STOP)?;
                pause(lasts);
                // A host that notices may have ended it meanwhile.
                let _ = signal(pid, Signal::CONT);
            }
            Self::Latency => with(Faults { added: Duration::from_millis(100), ..Faults::default() })?,
            Self::Slow => with(Faults { slower: 20, ..Faults::default() })?,
            Self::Errors => with(Faults { errors: 0.3, ..Faults::default() })?,
            Self::Flapping => flap(folder, plan)?,
            Self::Rolling => (0..INSTANCES).try_for_each(|ordinal| restart(folder, ordinal))?,
        }
        Ok(())
    }
}

fn flap(folder: &Path, plan: Plan) -> Result<(), BoxError> {
    let turns = plan.phases.disturbed.as_millis() / plan.flap.as_millis();
    for turn in 0..turns {
        control::order(folder, BAD, Some(Faults { unwell: turn % 2 == 0, ..Faults::default() }))?;
        pause(plan.flap);
    }
    control::order(folder, BAD, Some(Faults::default())).map(drop)
}

/// Ends an instance in good order, and waits until its successor has got a call.
fn restart(folder: &Path, ordinal: u32) -> Result<(), BoxError> {
    let before = control::order(folder, ordinal, None)?;
    signal(before, Signal::TERM)?;
    control::wait("an instance is back", || {
        // Nobody listens between the one and the other.
        let pid = control::order(folder, ordinal, None).ok().filter(|pid| *pid != before);
        let called = |pid: &u32| {
            let journal = Incarnation { ordinal, pid: *pid }.file(folder);
            std::fs::metadata(journal).is_ok_and(|file| file.len() > 0)
        };
        Ok(pid.filter(called))
    })?;
    pause(SETTLE);
    Ok(())
}

fn signal(pid: u32, signal: Signal) -> Result<(), BoxError> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or("no process id")?;
    Ok(rustix::process::kill_process(pid, signal)?)
}
