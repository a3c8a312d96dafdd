//! The encoding of every message: kind numbers, fields in order, limits.

use super::{
    FromMonitor, FromSpawnd, Kill, Proven, Refusal, Reply, RunKey, ToMonitor, ToSpawnd, PROMPT_MAX,
    TEXT_MAX,
};
use crate::record::{Entry, ENTRY_MAX, SHORT};
use crate::state::{Accounting, Container};
use crate::wire::{Reader, Wire, WireError, Writer, MONITOR_VERSION};

fn kill_code(kill: Kill) -> u8 {
    match kill {
        Kill::Term => 0,
        Kill::Kill => 1,
    }
}

fn get_kill(r: &mut Reader<'_>) -> Result<Kill, WireError> {
    match r.u8()? {
        0 => Ok(Kill::Term),
        1 => Ok(Kill::Kill),
        _ => Err(WireError::Value("kill")),
    }
}

impl Wire for ToSpawnd {
    const MAX: usize = 24;

    fn kind(&self) -> u16 {
        match self {
            ToSpawnd::Start { .. } => 1,
            ToSpawnd::Adopt { .. } => 2,
            ToSpawnd::Signal { .. } => 3,
            ToSpawnd::Release { .. } => 4,
            ToSpawnd::Log => 5,
            ToSpawnd::Survey { .. } => 6,
            ToSpawnd::Watchdog => 7,
            ToSpawnd::Hostd => 8,
        }
    }

    fn put(&self, w: &mut Writer<'_>) {
        match self {
            ToSpawnd::Start { key, profile } | ToSpawnd::Release { key, profile } => {
                key.put(w);
                w.u32(*profile);
            }
            ToSpawnd::Signal { key, kill } => {
                key.put(w);
                w.u8(kill_code(*kill));
            }
            ToSpawnd::Adopt { key } => key.put(w),
            ToSpawnd::Log | ToSpawnd::Watchdog | ToSpawnd::Hostd => {}
            ToSpawnd::Survey { token } => w.u64(*token),
        }
    }

    fn get(kind: u16, r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(match kind {
            1 => ToSpawnd::Start {
                key: RunKey::get(r)?,
                profile: r.u32()?,
            },
            2 => ToSpawnd::Adopt {
                key: RunKey::get(r)?,
            },
            3 => ToSpawnd::Signal {
                key: RunKey::get(r)?,
                kill: get_kill(r)?,
            },
            4 => ToSpawnd::Release {
                key: RunKey::get(r)?,
                profile: r.u32()?,
            },
            5 => ToSpawnd::Log,
            6 => ToSpawnd::Survey { token: r.u64()? },
            7 => ToSpawnd::Watchdog,
            8 => ToSpawnd::Hostd,
            k => return Err(WireError::Kind(k)),
        })
    }
}

const STARTED: u16 = 2;
const LOG: u16 = 7;
const WATCHDOG: u16 = 10;

impl Wire for FromSpawnd {
    const MAX: usize = 24;

    fn kind(&self) -> u16 {
        match self {
            FromSpawnd::Ready { .. } => 1,
            FromSpawnd::Started { .. } => STARTED,
            FromSpawnd::Refused { .. } => 3,
            FromSpawnd::MonitorExited { .. } => 4,
            FromSpawnd::Signalled { .. } => 5,
            FromSpawnd::Released { .. } => 6,
            FromSpawnd::Log => LOG,
            FromSpawnd::Found { .. } => 8,
            FromSpawnd::Surveyed { .. } => 9,
            FromSpawnd::Watchdog => WATCHDOG,
            FromSpawnd::NoWatchdog { .. } => 11,
            FromSpawnd::Hostd { .. } => 12,
        }
    }

    fn brings_fd(kind: u16) -> bool {
        matches!(kind, STARTED | LOG | WATCHDOG)
    }

    fn put(&self, w: &mut Writer<'_>) {
        match self {
            FromSpawnd::Ready {
                generation,
                profiles,
                container,
                accounting,
            } => {
                w.u64(*generation);
                w.u32(*profiles);
                w.u8(container.code());
                w.u8(accounting.code());
            }
            FromSpawnd::Started { key, monitor } => {
                key.put(w);
                w.u32(*monitor);
            }
            FromSpawnd::Refused { key, why, errno } => {
                key.put(w);
                w.u8(match why {
                    Refusal::Profile => 0,
                    Refusal::Again => 1,
                    Refusal::System => 2,
                    Refusal::Full => 3,
                    Refusal::Journal => 4,
                });
                w.i32(*errno);
            }
            FromSpawnd::MonitorExited { key, status } => {
                key.put(w);
                w.i32(*status);
            }
            FromSpawnd::Signalled { key, count } => {
                key.put(w);
                w.u32(*count);
            }
            FromSpawnd::Released { key, proven } => {
                key.put(w);
                w.u8(u8::from(*proven == Proven::Alive));
            }
            FromSpawnd::Log | FromSpawnd::Watchdog => {}
            FromSpawnd::NoWatchdog { errno } | FromSpawnd::Hostd { errno } => w.i32(*errno),
            FromSpawnd::Found {
                key,
                monitor,
                processes,
            } => {
                key.put(w);
                w.u32(*monitor);
                w.u32(*processes);
            }
            FromSpawnd::Surveyed { token } => w.u64(*token),
        }
    }

    fn get(kind: u16, r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(match kind {
            1 => FromSpawnd::Ready {
                generation: r.u64()?,
                profiles: r.u32()?,
                container: Container::from_code(r.u8()?).ok_or(WireError::Value("container"))?,
                accounting: Accounting::from_code(r.u8()?).ok_or(WireError::Value("accounting"))?,
            },
            STARTED => FromSpawnd::Started {
                key: RunKey::get(r)?,
                monitor: r.u32()?,
            },
            3 => FromSpawnd::Refused {
                key: RunKey::get(r)?,
                why: match r.u8()? {
                    0 => Refusal::Profile,
                    1 => Refusal::Again,
                    2 => Refusal::System,
                    3 => Refusal::Full,
                    4 => Refusal::Journal,
                    _ => return Err(WireError::Value("why")),
                },
                errno: r.i32()?,
            },
            4 => FromSpawnd::MonitorExited {
                key: RunKey::get(r)?,
                status: r.i32()?,
            },
            5 => FromSpawnd::Signalled {
                key: RunKey::get(r)?,
                count: r.u32()?,
            },
            6 => FromSpawnd::Released {
                key: RunKey::get(r)?,
                proven: if r.bool("proven")? {
                    Proven::Alive
                } else {
                    Proven::Empty
                },
            },
            LOG => FromSpawnd::Log,
            8 => FromSpawnd::Found {
                key: RunKey::get(r)?,
                monitor: r.u32()?,
                processes: r.u32()?,
            },
            9 => FromSpawnd::Surveyed { token: r.u64()? },
            WATCHDOG => FromSpawnd::Watchdog,
            11 => FromSpawnd::NoWatchdog { errno: r.i32()? },
            12 => FromSpawnd::Hostd { errno: r.i32()? },
            k => return Err(WireError::Kind(k)),
        })
    }
}

impl Wire for ToMonitor {
    const MAX: usize = PROMPT_MAX + 2 * SHORT;
    const VERSION: u8 = MONITOR_VERSION;

    fn kind(&self) -> u16 {
        match self {
            ToMonitor::Resume { .. } => 1,
            ToMonitor::Prompt { .. } => 2,
            ToMonitor::Steer { .. } => 3,
            ToMonitor::Abort { .. } => 4,
            ToMonitor::Answer { .. } => 5,
            ToMonitor::Stop => 6,
        }
    }

    fn put(&self, w: &mut Writer<'_>) {
        match self {
            ToMonitor::Resume { from_seq } => w.u64(*from_seq),
            ToMonitor::Prompt { token, text } | ToMonitor::Steer { token, text } => {
                w.u64(*token);
                w.str(text);
            }
            ToMonitor::Abort { token } => w.u64(*token),
            ToMonitor::Answer {
                token,
                request,
                reply,
            } => {
                w.u64(*token);
                w.str(request);
                match reply {
                    Reply::Cancel => w.u8(0),
                    Reply::Value(v) => {
                        w.u8(1);
                        w.str(v);
                    }
                }
            }
            ToMonitor::Stop => {}
        }
    }

    fn get(kind: u16, r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(match kind {
            1 => ToMonitor::Resume { from_seq: r.u64()? },
            2 => ToMonitor::Prompt {
                token: r.u64()?,
                text: r.str(PROMPT_MAX, "text")?,
            },
            3 => ToMonitor::Steer {
                token: r.u64()?,
                text: r.str(TEXT_MAX, "text")?,
            },
            4 => ToMonitor::Abort { token: r.u64()? },
            5 => ToMonitor::Answer {
                token: r.u64()?,
                request: r.str(SHORT, "request")?,
                reply: if r.bool("reply")? {
                    Reply::Value(r.str(TEXT_MAX, "value")?)
                } else {
                    Reply::Cancel
                },
            },
            6 => ToMonitor::Stop,
            k => return Err(WireError::Kind(k)),
        })
    }
}

impl Wire for FromMonitor {
    const MAX: usize = ENTRY_MAX;
    const VERSION: u8 = MONITOR_VERSION;

    fn kind(&self) -> u16 {
        match self {
            FromMonitor::Hello { .. } => 1,
            FromMonitor::Entry(_) => 2,
            FromMonitor::Activity { .. } => 3,
            FromMonitor::Straggling { .. } => 4,
        }
    }

    fn put(&self, w: &mut Writer<'_>) {
        match self {
            FromMonitor::Hello { key, last_seq } => {
                key.put(w);
                w.u64(*last_seq);
            }
            FromMonitor::Entry(e) => e.put(w),
            FromMonitor::Activity {
                at_ms,
                lines,
                bytes,
            } => {
                w.u64(*at_ms);
                w.u64(*lines);
                w.u64(*bytes);
            }
            FromMonitor::Straggling { kill } => w.u8(kill_code(*kill)),
        }
    }

    fn get(kind: u16, r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(match kind {
            1 => FromMonitor::Hello {
                key: RunKey::get(r)?,
                last_seq: r.u64()?,
            },
            2 => FromMonitor::Entry(Entry::get(r)?),
            3 => FromMonitor::Activity {
                at_ms: r.u64()?,
                lines: r.u64()?,
                bytes: r.u64()?,
            },
            4 => FromMonitor::Straggling { kill: get_kill(r)? },
            k => return Err(WireError::Kind(k)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use crate::wire::{decode, encode, header, HEADER};

    fn round_trip<M: Wire + PartialEq + std::fmt::Debug>(msg: M) {
        let mut buf = Vec::new();
        encode(&msg, &mut buf);
        let h = header::<M>(&buf).unwrap().unwrap();
        assert_eq!(h.len + HEADER, buf.len());
        assert_eq!(decode::<M>(h.kind, &buf[HEADER..]).unwrap(), msg);
        buf.push(0);
        assert_eq!(
            decode::<M>(h.kind, &buf[HEADER..]),
            Err(WireError::Trailing(1))
        );
    }

    const KEY: RunKey = RunKey { run: 4, attempt: 9 };

    #[test]
    fn messages_round_trip() {
        round_trip(ToSpawnd::Start {
            key: KEY,
            profile: 3,
        });
        round_trip(ToSpawnd::Signal {
            key: KEY,
            kill: Kill::Kill,
        });
        round_trip(ToSpawnd::Adopt { key: KEY });
        round_trip(ToSpawnd::Release {
            key: KEY,
            profile: 3,
        });
        round_trip(ToSpawnd::Survey { token: u64::MAX });
        round_trip(FromSpawnd::Surveyed { token: 7 });
        round_trip(FromSpawnd::Found {
            key: KEY,
            monitor: 7,
            processes: u32::MAX,
        });
        round_trip(FromSpawnd::Ready {
            generation: 1,
            profiles: 2,
            container: Container::Jail,
            accounting: Accounting::Off,
        });
        round_trip(FromSpawnd::Started {
            key: KEY,
            monitor: 77,
        });
        round_trip(ToSpawnd::Log);
        round_trip(FromSpawnd::Log);
        round_trip(ToSpawnd::Watchdog);
        round_trip(ToSpawnd::Hostd);
        round_trip(FromSpawnd::Watchdog);
        round_trip(FromSpawnd::NoWatchdog { errno: 2 });
        round_trip(FromSpawnd::Hostd { errno: 0 });
        round_trip(FromSpawnd::Refused {
            key: KEY,
            why: Refusal::Journal,
            errno: 13,
        });
        round_trip(FromSpawnd::Released {
            key: KEY,
            proven: Proven::Alive,
        });
        round_trip(ToMonitor::Answer {
            token: 1,
            request: "x".into(),
            reply: Reply::Value("yes".into()),
        });
        round_trip(ToMonitor::Stop);
        round_trip(FromMonitor::Hello {
            key: KEY,
            last_seq: 12,
        });
        round_trip(FromMonitor::Straggling { kill: Kill::Term });
    }

    /// What the monitors of earlier builds say and understand: see [`MONITOR_VERSION`].
    #[test]
    fn monitors_of_earlier_builds_are_understood() {
        fn said<M: Wire>(msg: &M) -> String {
            let mut buf = Vec::new();
            encode(msg, &mut buf);
            buf.iter().map(|b| format!("{b:02x}")).collect()
        }
        let (token, text) = (7, String::from("x"));
        let request = String::from("q");
        let to = [
            ToMonitor::Resume { from_seq: 5 },
            ToMonitor::Prompt {
                token,
                text: text.clone(),
            },
            ToMonitor::Steer {
                token,
                text: text.clone(),
            },
            ToMonitor::Abort { token },
            ToMonitor::Answer {
                token,
                request: request.clone(),
                reply: Reply::Value(text),
            },
            ToMonitor::Answer {
                token,
                request,
                reply: Reply::Cancel,
            },
            ToMonitor::Stop,
        ];
        let from = [
            FromMonitor::Hello {
                key: KEY,
                last_seq: 12,
            },
            FromMonitor::Entry(Entry {
                seq: 3,
                at_ms: 4,
                record: Record::Stopping,
            }),
            FromMonitor::Activity {
                at_ms: 1,
                lines: 2,
                bytes: 3,
            },
            FromMonitor::Straggling { kill: Kill::Kill },
        ];
        let all: Vec<String> = to.iter().map(said).chain(from.iter().map(said)).collect();
        let known = [
            "08000000010003000500000000000000",
            "0d0000000200030007000000000000000100000078",
            "0d0000000300030007000000000000000100000078",
            "08000000040003000700000000000000",
            "130000000500030007000000000000000100000071010100000078",
            "0e000000050003000700000000000000010000007100",
            "0000000006000300",
            "1800000001000300040000000000000009000000000000000c00000000000000",
            "1100000002000300030000000000000004000000000000000c",
            "1800000003000300010000000000000002000000000000000300000000000000",
            "010000000400030001",
        ];
        assert_eq!(all, known);
    }

    #[test]
    fn refuses_wrong_headers() {
        let mut buf = Vec::new();
        encode(&ToSpawnd::Adopt { key: KEY }, &mut buf);
        let mut other = buf.clone();
        other[6] = 0;
        assert_eq!(header::<ToSpawnd>(&other), Err(WireError::Version(0)));
        let mut other = buf.clone();
        other[7] = 1;
        assert_eq!(header::<ToSpawnd>(&other), Err(WireError::Flags(1)));
        let mut other = buf.clone();
        other[0] = 25;
        assert_eq!(
            header::<ToSpawnd>(&other),
            Err(WireError::TooLong { len: 25, max: 24 })
        );
        assert_eq!(header::<ToSpawnd>(&buf[..7]), Ok(None));
        assert_eq!(
            decode::<ToSpawnd>(99, &buf[HEADER..]),
            Err(WireError::Kind(99))
        );
    }

    #[test]
    fn stems_are_exact() {
        assert_eq!(RunKey::from_stem("4-9"), Some(KEY));
        for bad in ["4", "4-", "-9", "04-9", "4-9-1", "+4-9", "a-b", ""] {
            assert_eq!(RunKey::from_stem(bad), None, "{bad}");
        }
    }
}
