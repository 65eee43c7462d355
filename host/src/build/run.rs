//! The build's process.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{BuildError, KEPT_LINES};
use crate::config::{BuildCommand, BuildConfig, Program};
use crate::launch::{Launcher, LogLine, LogSink, ProcessSpec, Stream};
use crate::name::InstanceId;

/// Runs the command to its end, with the environment of this process.
pub(super) async fn run<F>(config: &BuildConfig, launcher: &Launcher, progress: F) -> Result<(), BuildError>
where
    F: Fn(&str) + Send + Sync + 'static,
{
    let command = config.command.to_string();
    let output = Arc::new(Output { progress, kept: Mutex::default() });
    let spec = spec(config).log(output.clone());
    let process = match launcher.spawn(spec).await {
        Ok(process) => process,
        Err(source) => return Err(BuildError::Start { command, source }),
    };
    let ended = tokio::time::timeout(config.timeout, process.wait()).await;
    if ended.is_err() {
        process.stop(Duration::ZERO).await;
    }
    let output = std::mem::take(&mut *output.kept()).into();
    match ended {
        Ok(exit) if exit.is_success() => Ok(()),
        Ok(exit) => Err(BuildError::Failed { cause: exit.cause, command, output }),
        Err(_) => Err(BuildError::TimedOut { after: config.timeout, command, output }),
    }
}

/// The launcher, and not a `Command` of its own: whoever is a subreaper may have one place only that collects
/// the status of children.
fn spec(config: &BuildConfig) -> ProcessSpec {
    let (program, arguments) = match &config.command {
        BuildCommand::Shell(line) => ("sh".into(), vec!["-c".to_owned(), line.clone()]),
        BuildCommand::Exec(line) => {
            let program = match &line.program {
                Program::File(path) => path.clone(),
                Program::OnPath(name) => name.into(),
            };
            (program, line.args.clone())
        }
    };
    ProcessSpec::new(program, InstanceId::random())
        .arguments(arguments)
        .environment(std::env::vars_os())
        .work_dir(&config.dir)
}

/// Shows lines as they come, and keeps the last ones for an error.
struct Output<F> {
    progress: F,
    kept: Mutex<VecDeque<String>>,
}

impl<F> Output<F> {
    fn kept(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Fn(&str) + Send + Sync + 'static> LogSink for Output<F> {
    fn line(&self, line: LogLine) {
        (self.progress)(&line.text);
        let mut kept = self.kept();
        if kept.len() == KEPT_LINES {
            kept.pop_front();
        }
        kept.push_back(line.text);
    }

    fn lost(&self, _: Stream, count: u64) {
        self.kept().push_back(format!("({count} lines were dropped, they came too fast)"));
    }
}
