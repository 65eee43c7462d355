//! What a process of a round may be.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use fastrand::Rng;
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::history::Incarnation;
use crate::plan::Victim;
use crate::{BoxError, member, publisher};

/// What a publisher or a member needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) seed: u64,
    pub(crate) incarnation: Incarnation,
    /// Where histories are.
    pub(crate) directory: PathBuf,
    /// Where the host is to be found.
    pub(crate) socket: PathBuf,
}

impl Task {
    /// What is random in this life.
    pub(crate) fn rng(&self) -> Rng {
        let Incarnation { index, life } = self.incarnation;
        Rng::with_seed(self.seed ^ (u64::from(index + 1) << 40) ^ (u64::from(life + 1) << 20))
    }

    /// The command line that [`run`] understands.
    pub(crate) fn args(&self, victim: Victim) -> [String; 6] {
        let kind = match victim {
            Victim::Publisher(_) => "publisher",
            Victim::Member(_) => "member",
        };
        let Incarnation { index, life } = self.incarnation;
        let paths = [&self.directory, &self.socket].map(|path| path.display().to_string());
        let [directory, socket] = paths;
        [kind.to_owned(), self.seed.to_string(), index.to_string(), life.to_string(), directory, socket]
    }
}

/// Does what the arguments say. A publisher ends when all is published, a member works until it is killed; with `exec` this process
/// becomes another program, which ends with the one that started it.
///
/// # Errors
/// The arguments are none of this program's, or the history cannot be written.
pub fn run(args: impl Iterator<Item = String>) -> Result<(), BoxError> {
    // Nothing stays behind.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let args: Vec<_> = args.collect();
    if let [kind, program, args @ ..] = args.as_slice()
        && kind == "exec"
    {
        return Err(Command::new(program).args(args).exec().into());
    }
    let [kind, seed, index, life, directory, socket] = args.as_slice() else {
        return Err(format!("{args:?} is no role").into());
    };
    let task = Task {
        seed: seed.parse()?,
        incarnation: Incarnation { index: index.parse()?, life: life.parse()? },
        directory: directory.into(),
        socket: socket.into(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match kind.as_str() {
        "publisher" => runtime.block_on(publisher::run(task)),
        "member" => runtime.block_on(member::run(task)),
        _ => Err(format!("{kind:?} is no role").into()),
    }
}
