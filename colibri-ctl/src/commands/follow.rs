//! Following one run's events until its end is proven.

use libcolibri::error::Result;

use super::Session;
use crate::client::News;
use crate::model::{Request, RunDetail};
use crate::output::read;

/// Reads events until the run has ended; `seen` gets each event and gap. The session must have
/// subscribed to the run before. A gap may have swallowed the end, so after one colibrid is asked.
///
/// # Errors
/// Connection lost.
pub fn until_ended(
    s: &mut Session,
    run: u64,
    mut seen: impl FnMut(&mut Session, &News) -> Result<()>,
) -> Result<()> {
    loop {
        let news = s.client.next(None, false)?;
        seen(s, &news)?;
        match news {
            News::Event(_, e) if e.run == run && e.kind == "ended" => return Ok(()),
            News::Gap(..) => {
                let detail: RunDetail = read(&s.client.request(&Request::GetRun { run })?)?;
                if detail.run.ended {
                    return Ok(());
                }
            }
            _ => {}
        }
    }
}
