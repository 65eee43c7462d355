//! The thread on which a host looks after its plugins.
//!
//! It is apart from the calls: a flood of output or a slow start takes nothing from them, and a program that
//! blocks its own runtime for a while does not make its plugins look dead.

use std::future::Future;
use std::io;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// How long dropping a host waits for its processes to be killed, which takes milliseconds. Past it the
/// parent-death signal and the watchdog do the same.
const KILL: Duration = Duration::from_secs(2);

/// A thread with a runtime of its own. Dropping it ends every task on it.
#[derive(Debug)]
pub(super) struct Control {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    ended: Option<(mpsc::Receiver<()>, JoinHandle<()>)>,
}

impl Control {
    pub(super) fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, told) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name("plugmesh-control".to_owned()).spawn(move || {
            // An error means that the owner is gone, which is a reason to stop too.
            let _ = runtime.block_on(stopped);
            // Ends the tasks, and with them the processes they own.
            drop(runtime);
            let _ = tell.send(());
        })?;
        Ok(Self { handle, stop: Some(stop), ended: Some((told, thread)) })
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Runs `work` there; `None` when the thread has stopped. The work goes on when this future is dropped: half
    /// an operation would help nobody.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        self.handle.spawn(work).await.ok()
    }

    /// Ends every task on it and waits for that, bounded.
    pub(super) fn stop(&mut self) {
        drop(self.stop.take());
        if let Some((told, thread)) = self.ended.take()
            && told.recv_timeout(KILL).is_ok()
        {
            let _ = thread.join();
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stop();
    }
}
