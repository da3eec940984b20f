//! The wish of somebody outside that the demo ends: Ctrl-C, SIGTERM, or a terminal that was closed.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::End;
use crate::cli::failure::Failure;

/// Tells whether somebody wants the demo to end. From the moment it is there no such signal ends the process by itself,
/// so that whoever holds nodes and folders can put them away.
pub(super) struct Interrupt(Receiver<()>);

impl Interrupt {
    pub(super) fn listen() -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failure)?;
        let (mut interrupt, mut terminate, mut hang_up) = {
            let _within = runtime.enter();
            let all = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
            let [interrupt, terminate, hang_up] = all.map(|kind| signal(kind).map_err(failure));
            (interrupt?, terminate?, hang_up?)
        };
        let (sender, receiver) = sync_channel(1);
        // The thread ends with the process.
        std::thread::spawn(move || {
            runtime.block_on(any(&mut interrupt, &mut terminate, &mut hang_up));
            let _the_demo_may_be_over = sender.send(());
        });
        Ok(Interrupt(receiver))
    }

    /// Waits for so long, unless somebody wants the demo to end.
    pub(super) fn pause(&self, time: Duration) -> Result<(), End> {
        match self.0.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            // The thread has said it before.
            Ok(()) | Err(RecvTimeoutError::Disconnected) => Err(End::Interrupted),
        }
    }

    /// Waits until somebody wants the demo to end.
    pub(super) fn wait(&self) -> Result<(), End> {
        let _either = self.0.recv();
        Err(End::Interrupted)
    }
}

async fn any(interrupt: &mut Signal, terminate: &mut Signal, hang_up: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
}

fn failure(error: io::Error) -> Failure {
    Failure::Unavailable(format!("cannot listen for Ctrl-C: {error}"))
}
