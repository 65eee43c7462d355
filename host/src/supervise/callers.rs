//! Which plugin is calling.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::launch::Process;
use crate::name::{InstanceId, InstanceName};

/// Recognises the host's own plugins when they call back: by their process group on a Unix socket, or by the
/// token that the handshake gave them. Clones share the list.
#[derive(Clone, Debug, Default)]
pub struct Callers(Arc<Mutex<HashMap<InstanceId, Caller>>>);

#[derive(Debug)]
struct Caller {
    name: InstanceName,
    token: String,
    process: Option<Process>,
}

/// Keeps one incarnation on the list until it is dropped.
#[derive(Debug)]
pub(super) struct Registration {
    callers: Callers,
    id: InstanceId,
}

impl Callers {
    /// The instance to which `pid`, the peer of a socket, belongs.
    pub fn by_pid(&self, pid: i32) -> Option<InstanceName> {
        let callers = self.lock();
        let is_member =
            |caller: &&Caller| caller.process.as_ref().is_some_and(|process| process.has_member(pid));
        callers.values().find(is_member).map(|caller| caller.name.clone())
    }

    /// The instance that `token` was given to.
    pub fn by_token(&self, token: &str) -> Option<InstanceName> {
        // The tokens are random and die with their incarnation: comparing them leaks nothing worth having,
        // and an attacker who can time this is on the same socket already.
        self.lock().values().find(|caller| caller.token == token).map(|caller| caller.name.clone())
    }

    pub(super) fn register(
        &self,
        name: InstanceName,
        id: InstanceId,
        process: Option<Process>,
    ) -> (Registration, String) {
        let token = uuid::Uuid::new_v4().simple().to_string();
        let caller = Caller { name, token: token.clone(), process };
        self.lock().insert(id.clone(), caller);
        (Registration { callers: self.clone(), id }, token)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<InstanceId, Caller>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.callers.lock().remove(&self.id);
    }
}
