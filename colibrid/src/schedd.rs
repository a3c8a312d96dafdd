//! The conversation with colibri-schedd.

use std::os::fd::OwnedFd;

use libcolibri::chan::{Chan, ChanError};
use libcolibri::error::{Fatal, Result};
use libcolibri::msg::{FromSchedd, ToSchedd};

use crate::engine::{Engine, SCHEDD};

/// Our end of the channel.
pub struct Schedd {
    /// The channel.
    pub chan: Chan<ToSchedd, FromSchedd>,
    /// It said Ready, and has answered.
    pub ready: bool,
    confined: bool,
}

/// Messages that are taken in in one turn of the loop.
const TURN: usize = 256;

/// Sent once at the start: a daemon that answers is alive, not merely there.
const HELLO: u64 = 1;

/// In messages.
const NAME: &str = "colibri-schedd";

fn lost(e: &ChanError) -> Fatal {
    Fatal::new(format!("lost {NAME}: {e}"))
}

impl Schedd {
    /// Takes over the channel.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Schedd {
        Schedd {
            chan: Chan::new(fd),
            ready: false,
            confined: false,
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When schedd is gone or does not read.
    pub fn send(&mut self, m: &ToSchedd) -> Result<()> {
        self.chan.send(m).map_err(|e| lost(&e))
    }
}

impl Engine {
    /// Takes in what schedd has sent.
    ///
    /// # Errors
    /// When it is gone or sent what it must not.
    pub(crate) fn hear_schedd(&mut self) -> Result<()> {
        if let Err(e) = self.schedd.chan.flush() {
            return Err(self.lost_peer(NAME, &e));
        }
        for _ in 0..TURN {
            let m = match self.schedd.chan.recv() {
                Ok(Some((m, _))) => m,
                Ok(None) => return Ok(()),
                Err(e) => return Err(self.lost_peer(NAME, &e)),
            };
            let (confined, ready) = (self.schedd.confined, self.schedd.ready);
            match m {
                FromSchedd::Ready if !confined => {
                    self.schedd.confined = true;
                    let hello = ToSchedd::Ping { token: HELLO };
                    self.schedd.send(&hello)?;
                }
                FromSchedd::Pong { token: HELLO } if confined && !ready => {
                    self.schedd.ready = true;
                    self.open_if_ready()?;
                }
                FromSchedd::Pong { token } if ready && self.crossed(token) => {}
                FromSchedd::Due { id, planned, more } if ready => {
                    self.hear_due(id, planned, more, None)?;
                }
                FromSchedd::Passed {
                    id,
                    planned,
                    until_ms,
                } if ready => self.hear_due(id, planned, true, Some(until_ms))?,
                FromSchedd::NoZone { id } if ready => self.hear_no_zone(id),
                FromSchedd::Plan { token, times } if ready => self.hear_plan(token, times)?,
                _ => {
                    return Err(Fatal::new(
                        "colibri-schedd said something out of turn: it is not to be trusted",
                    ))
                }
            }
        }
        // There may be more, and others wait.
        self.again.push(SCHEDD);
        Ok(())
    }
}
