//! The signals that `run` hears: those it forwards to its command, and one that it must not obey.
//! In: signals of the process. Out: the one to forward. Never: a stop by Ctrl-Z, which would stop the
//! renewals and leave nobody to end the command in time.

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind};

/// What is forwarded, with the numbers that Linux gives them on all its machines but MIPS.
const FORWARDED: [Signal; 6] = [
    Signal::INT,
    Signal::TERM,
    Signal::HUP,
    Signal::QUIT,
    Signal::USR1,
    Signal::USR2,
];

/// Hears signals from its making on.
pub struct Signals {
    forwarded: Vec<(Signal, unix::Signal)>,
    stop: unix::Signal,
}

impl Signals {
    /// Starts hearing. Fails if the system refuses to set a handler.
    pub fn new() -> std::io::Result<Self> {
        let hear = |signal: Signal| unix::signal(SignalKind::from_raw(signal.as_raw()));
        let mut forwarded = Vec::new();
        for signal in FORWARDED {
            forwarded.push((signal, hear(signal)?));
        }
        Ok(Self {
            forwarded,
            stop: hear(Signal::TSTP)?,
        })
    }

    /// The next signal to forward.
    pub async fn next(&mut self) -> Signal {
        std::future::poll_fn(|context| {
            if self.stop.poll_recv(context).is_ready() {
                eprintln!("sidelock: cannot be suspended while it guards a lock");
            }
            for (signal, stream) in &mut self.forwarded {
                if let std::task::Poll::Ready(Some(())) = stream.poll_recv(context) {
                    return std::task::Poll::Ready(*signal);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

/// Whether a signal asks `run` itself to end, as long as there is no command to forward it to.
pub fn asks_to_end(signal: Signal) -> bool {
    signal != Signal::USR1 && signal != Signal::USR2
}
