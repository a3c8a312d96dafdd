//! `tail`: what happens, while it happens.

use std::time::Duration;

use libcolibri::error::Result;

use super::Session;
use crate::cli::TailArgs;
use crate::client::News;
use crate::model::{Request, RunDetail};
use crate::output::{events, read};

/// An ended run has no further events; after this much silence its old ones have all come.
const REPLAYED: Duration = Duration::from_secs(2);

/// `tail [RUN] [--from SEQ]`: with a run, until that has ended; without, until interrupted.
///
/// # Errors
/// Not reachable, refused, no such run, connection lost.
pub fn tail(s: &mut Session, args: &TailArgs) -> Result<()> {
    // Subscribed first and asked second: the end cannot fall between the two.
    s.client.request(&Request::Subscribe {
        from: args.from,
        run: args.run,
    })?;
    let mut patience = None;
    if let Some(run) = args.run {
        let detail: RunDetail = read(&s.client.request(&Request::GetRun { run })?)?;
        if detail.run.ended {
            patience = Some(REPLAYED);
            if args.from.is_none() {
                let style = s.out.style();
                let text = format!("Run {run} has ended: {} show {run}\n", style.command);
                s.out.tell(&text);
                return Ok(());
            }
        }
    }
    loop {
        match s.client.next(patience, true)? {
            News::Event(line, event) => {
                if s.out.is_json() {
                    s.out.raw(&line)?;
                } else {
                    s.out.print(&events::event(&event, s.out.style()))?;
                }
                if args.run == Some(event.run) && event.kind == "ended" {
                    return Ok(());
                }
            }
            News::Gap(line, gap) => {
                if s.out.is_json() {
                    s.out.raw(&line)?;
                } else {
                    s.out.print(&events::gap(gap, s.out.style()))?;
                }
            }
            News::Quiet | News::Unread => return Ok(()),
        }
    }
}
