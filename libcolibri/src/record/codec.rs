//! The encoding of records: one function writes, its neighbour of the same name reads.

use super::{
    clip, Closed, Command, Dialog, Ended, Entry, Mode, Proof, Record, LONG, OPTIONS, SHORT,
};
use crate::state::{Container, Exit, Phase, State, Usage};
use crate::wire::{Reader, WireError, Writer};

impl Entry {
    /// Appends the encoded entry; texts over their limit are clipped.
    pub fn put(&self, w: &mut Writer<'_>) {
        w.u64(self.seq);
        w.u64(self.at_ms);
        w.u8(self.record.kind());
        put_record(&self.record, w);
    }

    /// Reads one entry.
    ///
    /// # Errors
    /// Any malformed or over-long field.
    pub fn get(r: &mut Reader<'_>) -> Result<Entry, WireError> {
        let seq = r.u64()?;
        let at_ms = r.u64()?;
        let kind = r.u8()?;
        let record = get_record(kind, r)?;
        Ok(Entry { seq, at_ms, record })
    }
}

fn short(w: &mut Writer<'_>, s: &str) {
    w.str(clip(s, SHORT));
}

fn long(w: &mut Writer<'_>, s: &str) {
    w.str(clip(s, LONG));
}

fn put_record(record: &Record, w: &mut Writer<'_>) {
    match record {
        Record::Opened {
            run,
            attempt,
            monitor,
            container,
            mode,
        } => {
            w.u64(*run);
            w.u64(*attempt);
            w.u32(*monitor);
            w.u8(container.code());
            w.u8(*mode as u8);
        }
        Record::Launched { pid } => w.u32(*pid),
        Record::State {
            state,
            phase,
            reason,
            until_ms,
        } => {
            w.u8(state.code());
            w.u8(phase.code());
            short(w, reason);
            w.u64(*until_ms);
        }
        Record::Session { id, cwd } => {
            short(w, id);
            short(w, cwd);
        }
        Record::Usage(u) => put_usage(u, w),
        Record::Asked(d) => put_dialog(d, w),
        Record::Settled { request, how } => {
            short(w, request);
            w.u8(*how as u8);
        }
        Record::ToolStart { id, name } => {
            short(w, id);
            short(w, name);
        }
        Record::ToolEnd {
            id,
            name,
            failed,
            duration_ms,
        } => {
            short(w, id);
            short(w, name);
            w.u8(u8::from(*failed));
            w.u64(*duration_ms);
        }
        Record::Answer { text } => long(w, text),
        Record::Did {
            token,
            command,
            error,
        } => {
            w.u64(*token);
            w.u8(*command as u8);
            short(w, error);
        }
        Record::Stopping => {}
        Record::Exited(exit) => put_exit(*exit, w),
        Record::Dropped { records } => w.u64(*records),
        Record::Ended(e) => put_ended(e, w),
    }
}

fn put_usage(u: &Usage, w: &mut Writer<'_>) {
    for n in [
        u.messages,
        u.input,
        u.output,
        u.cache_read,
        u.cache_write,
        u.cost_nano_usd,
    ] {
        w.u64(n);
    }
}

fn put_dialog(d: &Dialog, w: &mut Writer<'_>) {
    short(w, &d.request);
    short(w, &d.method);
    short(w, &d.title);
    long(w, &d.message);
    let options = &d.options[..d.options.len().min(OPTIONS)];
    w.u32(options.len() as u32);
    for o in options {
        short(w, o);
    }
    w.u64(d.timeout_ms);
}

fn put_exit(exit: Exit, w: &mut Writer<'_>) {
    let (how, value) = match exit {
        Exit::Code(c) => (0, c),
        Exit::Signal(s) => (1, s),
        Exit::NotStarted(e) => (2, e),
        Exit::Unseen => (3, 0),
    };
    w.u8(how);
    w.i32(value);
}

fn put_ended(e: &Ended, w: &mut Writer<'_>) {
    put_exit(e.exit, w);
    w.u8(u8::from(e.asked));
    w.u8(e.state.code());
    short(w, &e.reason);
    w.u8(e.proof as u8);
    long(w, &e.stderr);
    w.u64(e.lines);
    w.u64(e.bytes);
    w.u64(e.malformed);
}

fn get_record(kind: u8, r: &mut Reader<'_>) -> Result<Record, WireError> {
    Ok(match kind {
        1 => Record::Opened {
            run: r.u64()?,
            attempt: r.u64()?,
            monitor: r.u32()?,
            container: Container::from_code(r.u8()?).ok_or(WireError::Value("container"))?,
            mode: pick(r, &[Mode::Rpc, Mode::Json], "mode")?,
        },
        2 => Record::Launched { pid: r.u32()? },
        3 => Record::State {
            state: State::from_code(r.u8()?).ok_or(WireError::Value("state"))?,
            phase: Phase::from_code(r.u8()?).ok_or(WireError::Value("phase"))?,
            reason: r.str(SHORT, "reason")?,
            until_ms: r.u64()?,
        },
        4 => Record::Session {
            id: r.str(SHORT, "session")?,
            cwd: r.str(SHORT, "cwd")?,
        },
        5 => Record::Usage(get_usage(r)?),
        6 => Record::Asked(get_dialog(r)?),
        7 => Record::Settled {
            request: r.str(SHORT, "request")?,
            how: pick(
                r,
                &[
                    Closed::Answered,
                    Closed::Cancelled,
                    Closed::TimedOut,
                    Closed::Overtaken,
                ],
                "how",
            )?,
        },
        8 => Record::ToolStart {
            id: r.str(SHORT, "id")?,
            name: r.str(SHORT, "name")?,
        },
        9 => Record::ToolEnd {
            id: r.str(SHORT, "id")?,
            name: r.str(SHORT, "name")?,
            failed: r.bool("failed")?,
            duration_ms: r.u64()?,
        },
        10 => Record::Answer {
            text: r.str(LONG, "text")?,
        },
        11 => Record::Did {
            token: r.u64()?,
            command: pick(
                r,
                &[
                    Command::Prompt,
                    Command::Steer,
                    Command::Abort,
                    Command::Answer,
                ],
                "command",
            )?,
            error: r.str(SHORT, "error")?,
        },
        12 => Record::Stopping,
        13 => Record::Exited(get_exit(r)?),
        14 => Record::Dropped { records: r.u64()? },
        15 => Record::Ended(get_ended(r)?),
        _ => return Err(WireError::Value("record")),
    })
}

fn pick<T: Copy>(r: &mut Reader<'_>, of: &[T], what: &'static str) -> Result<T, WireError> {
    let n = usize::from(r.u8()?);
    of.get(n).copied().ok_or(WireError::Value(what))
}

fn get_usage(r: &mut Reader<'_>) -> Result<Usage, WireError> {
    Ok(Usage {
        messages: r.u64()?,
        input: r.u64()?,
        output: r.u64()?,
        cache_read: r.u64()?,
        cache_write: r.u64()?,
        cost_nano_usd: r.u64()?,
    })
}

fn get_dialog(r: &mut Reader<'_>) -> Result<Dialog, WireError> {
    let request = r.str(SHORT, "request")?;
    let method = r.str(SHORT, "method")?;
    let title = r.str(SHORT, "title")?;
    let message = r.str(LONG, "message")?;
    let n = r.u32()? as usize;
    if n > OPTIONS {
        return Err(WireError::Value("options"));
    }
    let mut options = Vec::with_capacity(n);
    for _ in 0..n {
        options.push(r.str(SHORT, "option")?);
    }
    Ok(Dialog {
        request,
        method,
        title,
        message,
        options,
        timeout_ms: r.u64()?,
    })
}

fn get_exit(r: &mut Reader<'_>) -> Result<Exit, WireError> {
    let how = r.u8()?;
    let value = r.i32()?;
    Ok(match how {
        0 => Exit::Code(value),
        1 => Exit::Signal(value),
        2 => Exit::NotStarted(value),
        3 if value == 0 => Exit::Unseen,
        _ => return Err(WireError::Value("exit")),
    })
}

fn get_ended(r: &mut Reader<'_>) -> Result<Ended, WireError> {
    Ok(Ended {
        exit: get_exit(r)?,
        asked: r.bool("asked")?,
        state: State::from_code(r.u8()?).ok_or(WireError::Value("state"))?,
        reason: r.str(SHORT, "reason")?,
        proof: pick(
            r,
            &[Proof::Kernel, Proof::Reaped, Proof::NothingStarted],
            "proof",
        )?,
        stderr: r.str(LONG, "stderr")?,
        lines: r.u64()?,
        bytes: r.u64()?,
        malformed: r.u64()?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::ENTRY_MAX;
    use super::*;

    fn round_trip(record: Record) {
        let entry = Entry {
            seq: 7,
            at_ms: 1_700_000_000_123,
            record,
        };
        let mut buf = Vec::new();
        entry.put(&mut Writer::new(&mut buf));
        assert!(buf.len() <= ENTRY_MAX);
        let mut r = Reader::new(&buf);
        assert_eq!(Entry::get(&mut r).unwrap(), entry);
        assert_eq!(r.left(), 0);
        for cut in 0..buf.len() {
            assert!(Entry::get(&mut Reader::new(&buf[..cut])).is_err());
        }
    }

    #[test]
    fn every_record_round_trips_and_no_prefix_decodes() {
        round_trip(Record::Opened {
            run: 1,
            attempt: 2,
            monitor: 3,
            container: Container::Reaper,
            mode: Mode::Json,
        });
        round_trip(Record::Launched { pid: 9 });
        round_trip(Record::State {
            state: State::Blocked,
            phase: Phase::Stopping,
            reason: "user".into(),
            until_ms: 5,
        });
        round_trip(Record::Session {
            id: "s".into(),
            cwd: "/w".into(),
        });
        round_trip(Record::Usage(Usage {
            messages: 1,
            input: 2,
            output: 3,
            cache_read: 4,
            cache_write: 5,
            cost_nano_usd: 6,
        }));
        round_trip(Record::Asked(Dialog {
            request: "r".into(),
            method: "select".into(),
            title: "t".into(),
            message: "m".into(),
            options: vec!["a".into(), "b".into()],
            timeout_ms: 1500,
        }));
        round_trip(Record::Settled {
            request: "r".into(),
            how: Closed::Overtaken,
        });
        round_trip(Record::ToolEnd {
            id: "i".into(),
            name: "bash".into(),
            failed: true,
            duration_ms: 3,
        });
        round_trip(Record::Did {
            token: 1,
            command: Command::Answer,
            error: "no".into(),
        });
        round_trip(Record::Exited(Exit::Signal(9)));
        round_trip(Record::Ended(Ended {
            exit: Exit::Code(143),
            asked: true,
            state: State::Idle,
            reason: "stopped 143".into(),
            proof: Proof::Reaped,
            stderr: "bye".into(),
            lines: 1,
            bytes: 2,
            malformed: 3,
        }));
    }

    /// Found by fuzzing: an end that nobody saw has no value, and one record has one encoding.
    #[test]
    fn an_unseen_end_with_a_value_is_refused() {
        let mut buf = Vec::new();
        let entry = Entry {
            seq: 1,
            at_ms: 2,
            record: Record::Exited(Exit::Unseen),
        };
        entry.put(&mut Writer::new(&mut buf));
        *buf.last_mut().unwrap() = 1;
        assert!(Entry::get(&mut Reader::new(&buf)).is_err());
    }

    #[test]
    fn long_texts_are_clipped_at_a_character() {
        let s = "é".repeat(SHORT);
        let cut = clip(&s, SHORT - 1);
        assert_eq!(cut.len(), SHORT - 2);
        assert!(s.starts_with(cut));
    }
}
