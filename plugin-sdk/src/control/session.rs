//! Which host this plugin belongs to: sessions, epochs, leases.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use plugmesh::plugin::v1::{HostInfo, InstanceInfo, Limits, Phase, Session};
use tokio::time::Instant;
use tonic::Status;

/// The session of the moment, and the highest epoch seen.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    current: Option<Opened>,
    highest_epoch: u64,
}

/// A session as a handshake opened it.
#[derive(Debug)]
pub(crate) struct Opened {
    session: Session,
    pub(crate) host: Option<HostInfo>,
    pub(crate) instance: Option<InstanceInfo>,
    pub(crate) limits: Option<Limits>,
    tenure: Tenure,
}

/// Whether the session's host runs the lifecycle.
#[derive(Debug)]
enum Tenure {
    /// It only calls.
    Dialled,
    /// It does, until the lease ends, if there is one.
    Managed { until: Option<Instant>, last_phase: Phase },
}

/// What came of a handshake.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// A new session took the place of the one before.
    New,
    /// The same session, with a fresh lease.
    Renewed,
    /// Another host manages the plugin; this one may call it, and that is all.
    Beside,
}

impl Opened {
    /// `lease` counts from now; it has a meaning for a managed session only.
    pub(crate) fn new(
        session: Session,
        host: Option<HostInfo>,
        instance: Option<InstanceInfo>,
        limits: Option<Limits>,
        managed: bool,
        lease: Option<Duration>,
    ) -> Self {
        let tenure = if managed {
            // A lease beyond the clock's end is none.
            let until = lease.and_then(|lease| Instant::now().checked_add(lease));
            Tenure::Managed { until, last_phase: Phase::Unspecified }
        } else {
            Tenure::Dialled
        };
        Self { session, host, instance, limits, tenure }
    }

    fn holds(&self) -> bool {
        match self.tenure {
            Tenure::Dialled => false,
            Tenure::Managed { until, .. } => until.is_none_or(|until| Instant::now() < until),
        }
    }

    /// Takes over what the same session has done before.
    fn renew(&mut self, before: &Self) {
        if let (Tenure::Managed { last_phase, .. }, Tenure::Managed { last_phase: before, .. }) =
            (&mut self.tenure, &before.tenure)
        {
            *last_phase = *before;
        }
    }
}

impl Sessions {
    /// Opens `next`, unless that would take the plugin from a host that owns it.
    pub(crate) fn open(&self, mut next: Opened) -> Result<Opening, Status> {
        let mut state = self.state();
        if next.session.epoch < state.highest_epoch {
            return Err(Status::failed_precondition(format!(
                "epoch {} is over: this plugin has accepted epoch {}, so another host or a newer incarnation owns it",
                next.session.epoch, state.highest_epoch
            )));
        }
        let mut opening = Opening::New;
        if let Some(current) = &state.current {
            if current.session == next.session {
                next.renew(current);
                opening = Opening::Renewed;
            } else if current.holds()
                && current.session.host_id != next.session.host_id
                && current.session.epoch == next.session.epoch
            {
                return match next.tenure {
                    Tenure::Dialled => Ok(Opening::Beside),
                    Tenure::Managed { .. } => Err(Status::failed_precondition(format!(
                        "host {:?} manages this plugin in epoch {}: wait until its lease ends, or use a higher epoch",
                        current.session.host_id, current.session.epoch
                    ))),
                };
            }
        }
        state.highest_epoch = next.session.epoch;
        state.current = Some(next);
        Ok(opening)
    }

    /// Says that `phase` begins, at most once per session and in order.
    pub(crate) fn begin_phase(&self, session: Option<&Session>, phase: Phase) -> Result<(), Status> {
        let mut state = self.state();
        let last_phase = managed(&mut state, session)?;
        if phase <= *last_phase {
            return Err(Status::failed_precondition(format!(
                "{} came after {}: phases run in order, each once per session",
                phase.as_str_name(),
                last_phase.as_str_name()
            )));
        }
        *last_phase = phase;
        Ok(())
    }

    /// Checks that `session` is the current one and may run the lifecycle.
    pub(crate) fn check_managed(&self, session: Option<&Session>) -> Result<(), Status> {
        managed(&mut self.state(), session).map(drop)
    }

    /// Reads from the current session.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Opened) -> Option<T>) -> Option<T> {
        self.state().current.as_ref().and_then(read)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is a plain assignment, so a panic in between leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last phase of the current session, if `session` is that one and may run phases.
fn managed<'a>(state: &'a mut State, session: Option<&Session>) -> Result<&'a mut Phase, Status> {
    let refuse = |reason: &str| Err(Status::failed_precondition(reason));
    let Some(current) = &mut state.current else {
        return refuse("no session is open: a Handshake comes first");
    };
    if session != Some(&current.session) {
        return refuse("this session is not, or no longer, the current one");
    }
    match &mut current.tenure {
        Tenure::Dialled => {
            refuse("this session is not managed: phases and drain need a Handshake with managed = true")
        }
        Tenure::Managed { until: Some(until), .. } if Instant::now() >= *until => {
            refuse("the lease of this session has ended: renew it with another Handshake")
        }
        Tenure::Managed { last_phase, .. } => Ok(last_phase),
    }
}

#[cfg(test)]
mod tests;
