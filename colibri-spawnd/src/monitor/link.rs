//! The connection to colibrid. Entries are never queued for it: they are read from the journal by
//! a cursor when the socket takes them, so replay and live are one thing and a slow colibrid
//! costs no memory.

use libcolibri::chan::{Chan, ChanError};
use libcolibri::journal::Mark;
use libcolibri::msg::{FromMonitor, Kill, RunKey, ToMonitor};
use libcolibri::{debug, warn};
use mio::net::UnixStream;
use mio::{Interest, Registry, Token};

use super::ledger::Ledger;

/// Entries sent or skipped before the rest of the loop has its turn.
const BUDGET: usize = 256;

/// How far a pump came.
#[derive(Debug, PartialEq, Eq)]
pub enum Pumped {
    /// Everything in the journal is sent, or the socket is full: an event will tell.
    Resting,
    /// There is more and the socket takes it.
    More,
}

/// Where in the journal this connection is.
enum Cursor {
    /// `Resume` has not come: nothing is sent.
    Waiting,
    /// Passing over what colibrid has.
    Skipping { at: Mark, upto: u64 },
    /// Sending what comes after.
    At(Mark),
}

/// One connection.
pub struct Link {
    chan: Chan<FromMonitor, ToMonitor>,
    cursor: Cursor,
}

impl Link {
    /// Takes over a connected socket, says Hello and registers it.
    ///
    /// # Errors
    /// When the peer is gone already.
    pub fn new(
        stream: UnixStream,
        registry: &Registry,
        token: Token,
        key: RunKey,
        last_seq: u64,
    ) -> Result<Link, ChanError> {
        let mut chan = Chan::over(stream);
        registry
            .register(
                chan.source(),
                token,
                Interest::READABLE | Interest::WRITABLE,
            )
            .map_err(ChanError::Io)?;
        chan.send(&FromMonitor::Hello { key, last_seq })?;
        Ok(Link {
            chan,
            cursor: Cursor::Waiting,
        })
    }

    /// Takes the socket out of the loop.
    pub fn close(mut self, registry: &Registry) {
        // Closing it would do as well, but for copies that somebody else may hold.
        let _ = registry.deregister(self.chan.source());
    }

    /// Whether colibrid has said where it is.
    pub fn is_resumed(&self) -> bool {
        !matches!(self.cursor, Cursor::Waiting)
    }

    /// The next command; the Resume that begins a connection is dealt with here and shows as
    /// [`ToMonitor::Resume`] so that the caller knows that it came.
    ///
    /// # Errors
    /// Anything that ends this connection, a message out of turn included.
    pub fn recv(&mut self, last_seq: u64) -> Result<Option<ToMonitor>, ChanError> {
        let Some((msg, _)) = self.chan.recv()? else {
            return Ok(None);
        };
        match (&msg, self.is_resumed()) {
            (ToMonitor::Resume { from_seq }, false) if *from_seq <= last_seq => {
                self.cursor = Cursor::Skipping {
                    at: Mark::default(),
                    upto: *from_seq,
                };
                Ok(Some(msg))
            }
            (ToMonitor::Resume { .. }, _) => Err(out_of_turn("resume")),
            (_, false) => Err(out_of_turn("command before resume")),
            _ => Ok(Some(msg)),
        }
    }

    /// Sends what the journal has for colibrid, as long as the socket takes it at once.
    ///
    /// # Errors
    /// When the peer is gone.
    pub fn pump(&mut self, ledger: &Ledger) -> Result<Pumped, ChanError> {
        self.chan.flush()?;
        let mut mark = match self.cursor {
            Cursor::Waiting => return Ok(Pumped::Resting),
            Cursor::Skipping { at, upto } => {
                let at = ledger.mark_after(at, upto, BUDGET);
                if at.seq() < upto {
                    self.cursor = Cursor::Skipping { at, upto };
                    return Ok(Pumped::More);
                }
                at
            }
            Cursor::At(at) => at,
        };
        let mut left = BUDGET;
        while mark.seq() < ledger.last_seq() && !self.chan.is_pending() && left > 0 {
            let mut reader = ledger.journal().reader(mark);
            match reader.next_entry() {
                Ok(Some(entry)) => self.chan.send(&FromMonitor::Entry(entry))?,
                Ok(None) => break,
                Err(e) => {
                    warn!("cannot read journal: {e}");
                    return Err(ChanError::Closed);
                }
            }
            mark = reader.mark();
            left -= 1;
        }
        self.cursor = Cursor::At(mark);
        Ok(if left == 0 {
            Pumped::More
        } else {
            Pumped::Resting
        })
    }

    /// Whether colibrid's socket has taken everything that the journal holds.
    pub fn is_even(&self, ledger: &Ledger) -> bool {
        let sent = matches!(self.cursor, Cursor::At(m) if m.seq() == ledger.last_seq());
        sent && !self.chan.is_pending()
    }

    /// Says something that is not in the journal; left out when it would have to wait.
    ///
    /// # Errors
    /// When the peer is gone.
    pub fn mention(&mut self, msg: &FromMonitor) -> Result<bool, ChanError> {
        if !self.is_resumed() || self.chan.is_pending() {
            return Ok(false);
        }
        self.chan.send(msg).map(|()| true)
    }

    /// Asks for a signal to the agent's tree; waits behind what is being sent.
    ///
    /// # Errors
    /// When the peer is gone or does not read.
    pub fn ask_kill(&mut self, kill: Kill) -> Result<(), ChanError> {
        if self.is_resumed() {
            self.chan.send(&FromMonitor::Straggling { kill })?;
        }
        Ok(())
    }
}

fn out_of_turn(what: &'static str) -> ChanError {
    ChanError::Wire(libcolibri::wire::WireError::Value(what))
}

/// Says why a connection is over: its plain end is normal, anything else is worth a warning.
pub fn log_end(e: &ChanError) {
    match e {
        ChanError::Closed => debug!("colibrid is gone; the run goes on"),
        e => warn!("connection to colibrid closed: {e}"),
    }
}
