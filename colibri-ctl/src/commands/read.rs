//! Commands that only look: `status`, `snapshot`, `runs`, `show`.

use libcolibri::error::Result;
use serde_json::value::RawValue;

use super::Session;
use crate::cli::RunsArgs;
use crate::model::{Page, Request, Run};
use crate::output::{read, text};

/// Runs of one page: half of what the protocol allows, so that long reasons fit into a line.
const PAGE: u32 = 500;

/// `status`.
///
/// # Errors
/// Not reachable, refused.
pub fn status(s: &mut Session) -> Result<()> {
    let data = s.client.request(&Request::Status)?;
    s.out.data(&data, text::status)
}

/// `snapshot`.
///
/// # Errors
/// Not reachable, refused.
pub fn snapshot(s: &mut Session) -> Result<()> {
    let data = s.client.request(&Request::Snapshot)?;
    s.out.data(&data, text::snapshot)
}

/// `show RUN`.
///
/// # Errors
/// Not reachable, refused, no such run.
pub fn show(s: &mut Session, run: u64) -> Result<()> {
    let data = s.client.request(&Request::GetRun { run })?;
    s.out.data(&data, text::show)
}

/// `runs`: page after page until there are enough or no more.
///
/// # Errors
/// Not reachable, refused.
pub fn runs(s: &mut Session, args: &RunsArgs) -> Result<()> {
    let wanted = if args.all { u32::MAX } else { args.number };
    let mut raw: Vec<Box<RawValue>> = Vec::new();
    let mut runs: Vec<Run> = Vec::new();
    loop {
        let limit = PAGE.min(wanted - raw.len() as u32);
        let before = runs.last().map(|r| r.run);
        let data = s.client.request(&Request::ListRuns { limit, before })?;
        let page: Page = read(&data)?;
        let got = page.runs.len();
        for one in page.runs.into_iter().take(limit as usize) {
            let run: Run = read(&one)?;
            // The next page begins below the last run, so an order that does not fall would never end.
            if runs.last().is_some_and(|last| run.run >= last.run) {
                return Err(s.client.nonsense("runs in the wrong order"));
            }
            runs.push(run);
            raw.push(one);
        }
        if got < limit as usize || raw.len() as u32 >= wanted {
            break;
        }
    }
    if s.out.is_json() {
        let list: Vec<&str> = raw.iter().map(|r| r.get()).collect();
        return s.out.raw(&format!("{{\"runs\":[{}]}}", list.join(",")));
    }
    s.out.print(&text::runs(&runs, s.out.style()))
}
