//! The messages between colibrid and schedd: schedules are numbers, times are milliseconds since
//! 1970, and the only text is the name of a time zone.

use crate::cron::Cron;
use crate::wire::{Reader, Wire, WireError, Writer};

/// Longest name of a time zone, in bytes; the longest that there is has 32.
pub const ZONE_MAX: usize = 64;
/// Most times in one [`FromSchedd::Plan`].
pub const PLAN_MAX: usize = 1000;

/// When something is planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At these wall times of a zone.
    Cron(Cron),
    /// At `anchor_ms` plus each multiple of `every_ms` from one on.
    Every {
        /// From when on it is counted.
        anchor_ms: u64,
        /// How often, in milliseconds; not 0.
        every_ms: u64,
    },
    /// At this one time.
    Once {
        /// Which.
        at_ms: u64,
    },
}

/// colibrid to schedd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToSchedd {
    /// Are you there?
    Ping {
        /// Comes back.
        token: u64,
    },
    /// Tell of each occurrence of this schedule when it is due. Replaces what was said of it.
    Set {
        /// Which schedule.
        id: u64,
        /// Only occurrences after this time.
        after_ms: u64,
        /// None after this time.
        until_ms: u64,
        /// When.
        when: When,
        /// Of a [`When::Cron`]: its zone. Else empty.
        zone: String,
    },
    /// Forget this schedule.
    Drop {
        /// Which.
        id: u64,
    },
    /// When would that be? Nothing is kept.
    Ask {
        /// Comes back.
        token: u64,
        /// Only times after this one.
        after_ms: u64,
        /// None after this time.
        until_ms: u64,
        /// At most so many, up to [`PLAN_MAX`].
        most: u32,
        /// When.
        when: When,
        /// As in `Set`.
        zone: String,
    },
}

/// A planned time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Planned {
    /// When.
    pub at_ms: u64,
    /// The zone's distance from UTC then, in seconds.
    pub offset_s: i32,
}

/// schedd to colibrid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromSchedd {
    /// Confined, ready.
    Ready,
    /// Yes.
    Pong {
        /// The token of the ping.
        token: u64,
    },
    /// An occurrence is due.
    Due {
        /// Of which schedule.
        id: u64,
        /// Planned for when.
        planned: Planned,
        /// The one after it is due as well and follows.
        more: bool,
    },
    /// Too many to be told of one by one were missed: those from here to there.
    Passed {
        /// Of which schedule.
        id: u64,
        /// The first of them.
        planned: Planned,
        /// None of them is later than this.
        until_ms: u64,
    },
    /// The schedule's zone is not in the database: it will not be told of.
    NoZone {
        /// Which schedule.
        id: u64,
    },
    /// The answer to `Ask`.
    Plan {
        /// The token of the question.
        token: u64,
        /// The times in order; `None` if the zone is not in the database.
        times: Option<Vec<Planned>>,
    },
}

impl When {
    fn put(&self, w: &mut Writer<'_>) {
        match self {
            When::Cron(cron) => {
                w.u8(0);
                cron.put(w);
            }
            When::Every {
                anchor_ms,
                every_ms,
            } => {
                w.u8(1);
                w.u64(*anchor_ms);
                w.u64(*every_ms);
            }
            When::Once { at_ms } => {
                w.u8(2);
                w.u64(*at_ms);
            }
        }
    }

    fn get(r: &mut Reader<'_>) -> Result<When, WireError> {
        Ok(match r.u8()? {
            0 => When::Cron(Cron::get(r)?),
            1 => {
                let (anchor_ms, every_ms) = (r.u64()?, r.u64()?);
                if every_ms == 0 {
                    return Err(WireError::Value("every"));
                }
                When::Every {
                    anchor_ms,
                    every_ms,
                }
            }
            2 => When::Once { at_ms: r.u64()? },
            _ => return Err(WireError::Value("when")),
        })
    }
}

impl Planned {
    /// No zone is further from UTC than this, in seconds.
    const OFFSET_MAX: u32 = 26 * 3600;

    fn put(self, w: &mut Writer<'_>) {
        w.u64(self.at_ms);
        w.i32(self.offset_s);
    }

    fn get(r: &mut Reader<'_>) -> Result<Planned, WireError> {
        let planned = Planned {
            at_ms: r.u64()?,
            offset_s: r.i32()?,
        };
        if planned.offset_s.unsigned_abs() > Planned::OFFSET_MAX {
            return Err(WireError::Value("offset"));
        }
        Ok(planned)
    }
}

impl Wire for ToSchedd {
    const MAX: usize = 128;

    fn kind(&self) -> u16 {
        match self {
            ToSchedd::Ping { .. } => 1,
            ToSchedd::Set { .. } => 2,
            ToSchedd::Drop { .. } => 3,
            ToSchedd::Ask { .. } => 4,
        }
    }

    fn put(&self, w: &mut Writer<'_>) {
        match self {
            ToSchedd::Ping { token } => w.u64(*token),
            ToSchedd::Set {
                id,
                after_ms,
                until_ms,
                when,
                zone,
            } => {
                w.u64(*id);
                w.u64(*after_ms);
                w.u64(*until_ms);
                when.put(w);
                w.str(zone);
            }
            ToSchedd::Drop { id } => w.u64(*id),
            ToSchedd::Ask {
                token,
                after_ms,
                until_ms,
                most,
                when,
                zone,
            } => {
                w.u64(*token);
                w.u64(*after_ms);
                w.u64(*until_ms);
                w.u32(*most);
                when.put(w);
                w.str(zone);
            }
        }
    }

    fn get(kind: u16, r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(match kind {
            1 => ToSchedd::Ping { token: r.u64()? },
            2 => ToSchedd::Set {
                id: r.u64()?,
                after_ms: r.u64()?,
                until_ms: r.u64()?,
                when: When::get(r)?,
                zone: r.str(ZONE_MAX, "zone")?,
            },
            3 => ToSchedd::Drop { id: r.u64()? },
            4 => ToSchedd::Ask {
                token: r.u64()?,
                after_ms: r.u64()?,
                until_ms: r.u64()?,
                most: match r.u32()? {
                    n if n as usize <= PLAN_MAX => n,
                    _ => return Err(WireError::Value("most")),
                },
                when: When::get(r)?,
                zone: r.str(ZONE_MAX, "zone")?,
            },
            k => return Err(WireError::Kind(k)),
        })
    }
}

impl Wire for FromSchedd {
    const MAX: usize = 16 + 12 * PLAN_MAX;

    fn kind(&self) -> u16 {
        match self {
            FromSchedd::Ready => 1,
            FromSchedd::Pong { .. } => 2,
            FromSchedd::Due { .. } => 3,
            FromSchedd::Passed { .. } => 4,
            FromSchedd::NoZone { .. } => 5,
            FromSchedd::Plan { .. } => 6,
        }
    }

    fn put(&self, w: &mut Writer<'_>) {
        match self {
            FromSchedd::Ready => {}
            FromSchedd::Pong { token } => w.u64(*token),
            FromSchedd::Due { id, planned, more } => {
                w.u64(*id);
                planned.put(w);
                w.u8(u8::from(*more));
            }
            FromSchedd::Passed {
                id,
                planned,
                until_ms,
            } => {
                w.u64(*id);
                planned.put(w);
                w.u64(*until_ms);
            }
            FromSchedd::NoZone { id } => w.u64(*id),
            FromSchedd::Plan { token, times } => {
                w.u64(*token);
                w.u8(u8::from(times.is_some()));
                for t in times.iter().flatten() {
                    t.put(w);
                }
            }
        }
    }

    fn get(kind: u16, r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(match kind {
            1 => FromSchedd::Ready,
            2 => FromSchedd::Pong { token: r.u64()? },
            3 => FromSchedd::Due {
                id: r.u64()?,
                planned: Planned::get(r)?,
                more: r.bool("more")?,
            },
            4 => FromSchedd::Passed {
                id: r.u64()?,
                planned: Planned::get(r)?,
                until_ms: r.u64()?,
            },
            5 => FromSchedd::NoZone { id: r.u64()? },
            6 => {
                let token = r.u64()?;
                let known = r.bool("known")?;
                let mut times = Vec::new();
                while known && r.left() > 0 {
                    times.push(Planned::get(r)?);
                }
                FromSchedd::Plan {
                    token,
                    times: known.then_some(times),
                }
            }
            k => return Err(WireError::Kind(k)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    fn back<M: Wire + PartialEq + std::fmt::Debug>(m: &M) {
        let mut out = Vec::new();
        wire::encode(m, &mut out);
        let h = wire::header::<M>(&out).unwrap().unwrap();
        assert_eq!(&wire::decode::<M>(h.kind, &out[wire::HEADER..]).unwrap(), m);
    }

    #[test]
    fn every_message_comes_back() {
        let cron = When::Cron("*/5 9-17 1 jan-jun fri".parse().unwrap());
        let every = When::Every {
            anchor_ms: 7,
            every_ms: 1000,
        };
        for when in [cron, every, When::Once { at_ms: u64::MAX }] {
            back(&ToSchedd::Set {
                id: u64::MAX,
                after_ms: 1,
                until_ms: 2,
                when,
                zone: "x".repeat(ZONE_MAX),
            });
            back(&ToSchedd::Ask {
                token: 3,
                after_ms: 1,
                until_ms: 2,
                most: PLAN_MAX as u32,
                when,
                zone: "Europe/Berlin".into(),
            });
        }
        back(&ToSchedd::Ping { token: 5 });
        back(&ToSchedd::Drop { id: 1 });
        back(&FromSchedd::Ready);
        back(&FromSchedd::Pong { token: 5 });
        let planned = Planned {
            at_ms: 5,
            offset_s: -3600,
        };
        let more = true;
        let id = 9;
        back(&FromSchedd::Due { id, planned, more });
        let until_ms = 8;
        back(&FromSchedd::Passed {
            id,
            planned,
            until_ms,
        });
        back(&FromSchedd::NoZone { id });
        for times in [None, Some(vec![]), Some(vec![planned; PLAN_MAX])] {
            back(&FromSchedd::Plan { token: 1, times });
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let none = When::Every {
            anchor_ms: 0,
            every_ms: 0,
        };
        let mut sets: Cron = "0 0 * * *".parse().unwrap();
        sets.hours = 1 << 24;
        let mut no_minute: Cron = "0 0 * * *".parse().unwrap();
        no_minute.minutes = 0;
        for when in [none, When::Cron(sets), When::Cron(no_minute)] {
            let mut out = Vec::new();
            let m = ToSchedd::Set {
                id: 1,
                after_ms: 0,
                until_ms: 0,
                when,
                zone: String::new(),
            };
            wire::encode(&m, &mut out);
            let got = wire::decode::<ToSchedd>(2, &out[wire::HEADER..]);
            assert!(matches!(got, Err(wire::WireError::Value(_))), "{got:?}");
        }
    }
}
