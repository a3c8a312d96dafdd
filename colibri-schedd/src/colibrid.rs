//! The only peer: what it says goes into the timetable, what is due goes to it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use colibri_schedd::timetable::Timetable;
use libcolibri::chan::{Chan, ChanError};
use libcolibri::error::{Context, Fatal, Result};
use libcolibri::msg::{FromSchedd, ToSchedd};
use libcolibri::sandbox::{confine, policy, Confined};
use libcolibri::{log, sys};
use mio::{Events, Interest, Poll, Token};

const COLIBRID: Token = Token(0);
/// Messages that are made before the socket is looked at again: colibrid may be slower.
const LOT: usize = 256;

/// Our end of the channel, and the loop.
pub struct Colibrid {
    chan: Chan<FromSchedd, ToSchedd>,
    poll: Poll,
}

/// The daemons live and die together: that colibrid has gone is no failure, whichever call notices.
fn ended(e: ChanError) -> Result<()> {
    match e {
        ChanError::Closed => Ok(()),
        e => Err(Fatal::new(format!("lost colibrid: {e}"))),
    }
}

impl Colibrid {
    /// Takes over the channel.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new(channel: OwnedFd) -> Result<Colibrid> {
        let mut chan = Chan::new(channel);
        let poll = Poll::new().or_fatal("make a poll")?;
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry()
            .register(chan.source(), COLIBRID, both)
            .or_fatal("watch colibrid's channel")?;
        Ok(Colibrid { chan, poll })
    }

    /// Enters the sandbox.
    ///
    /// # Errors
    /// When confinement cannot be had or does not bite.
    pub fn confine(&self, zones: Option<BorrowedFd<'_>>) -> Result<Confined> {
        let (input, output, errors) = (io::stdin(), io::stdout(), io::stderr());
        let poll = self.poll.as_raw_fd();
        log::with_fd(|syslog| {
            let mut held: Vec<(BorrowedFd<'_>, &'static str)> = vec![
                (input.as_fd(), "stdio"),
                (output.as_fd(), "stdio"),
                (errors.as_fd(), "stdio"),
                (sys::borrow(&poll), "poll"),
                (self.chan.as_fd(), "colibrid"),
            ];
            held.extend(zones.map(|fd| (fd, "zones")));
            held.extend(syslog.map(|fd| (fd, "syslog")));
            confine(&policy::SCHEDD, &held)
        })
        .map_err(|e| Fatal::new(e.to_string()))
    }

    /// Keeps time until colibrid is gone: the daemons live and die together.
    ///
    /// # Errors
    /// When colibrid says what it must not, or the system refuses.
    pub fn serve(mut self, mut timetable: Timetable, _confined: Confined) -> Result<()> {
        if let Err(e) = self.chan.send(&FromSchedd::Ready) {
            return ended(e);
        }
        let mut events = Events::with_capacity(8);
        loop {
            let wait = self.wait(&timetable);
            match self.poll.poll(&mut events, wait) {
                Err(e) if e.kind() != io::ErrorKind::Interrupted => {
                    return Err(e).or_fatal("wait for events")
                }
                _ => {}
            }
            if let Err(e) = self.turn(&mut timetable) {
                return ended(e);
            }
        }
    }

    /// Hears all that colibrid has said, and tells it what is due.
    fn turn(&mut self, timetable: &mut Timetable) -> std::result::Result<(), ChanError> {
        self.chan.flush()?;
        while let Some((said, _)) = self.chan.recv()? {
            if let Some(reply) = timetable.hear(said) {
                self.chan.send(&reply)?;
            }
        }
        self.tell(timetable)
    }

    /// Time until something is due; what could not be sent waits for the socket, not for the clock.
    fn wait(&self, timetable: &Timetable) -> Option<Duration> {
        if self.chan.is_pending() {
            return None;
        }
        timetable.wait_ms(sys::wall_ms()).map(Duration::from_millis)
    }

    /// Tells what is due, as fast as colibrid takes it.
    fn tell(&mut self, timetable: &mut Timetable) -> std::result::Result<(), ChanError> {
        while !self.chan.is_pending() {
            let due = timetable.due(sys::wall_ms(), LOT);
            if due.is_empty() {
                break;
            }
            for message in &due {
                self.chan.send(message)?;
            }
        }
        Ok(())
    }
}
