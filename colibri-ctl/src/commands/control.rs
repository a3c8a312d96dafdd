//! Commands to a run: `stop`, `steer`, `abort`, `answer`.

use libcolibri::error::Result;

use super::{follow, Session};
use crate::cli::AnswerArgs;
use crate::client::News;
use crate::model::{Request, RunDetail, Stopping};
use crate::output::{events, read, text, Style};

/// `stop RUN [--wait]`.
///
/// # Errors
/// Refused, no such run, connection lost while waiting.
pub fn stop(s: &mut Session, run: u64, wait: bool) -> Result<()> {
    if wait {
        // Before the request, or the end could come first and never be seen.
        let run = Some(run);
        s.client.request(&Request::Subscribe { from: None, run })?;
    }
    let data = s.client.request(&Request::StopAgent { run })?;
    if !wait {
        return s.out.data(&data, |stopping: &Stopping, style: &Style| {
            match stopping.state.as_str() {
                "ended" => format!("Run {run} has ended\n"),
                _ => format!(
                    "Run {run} is stopping; to see its end: {} tail {run}\n",
                    style.command
                ),
            }
        });
    }
    let stopping: Stopping = read(&data)?;
    if s.out.is_json() {
        s.out.raw(data.get())?;
    }
    if stopping.state != "ended" {
        follow::until_ended(s, run, progress)?;
    }
    let data = s.client.request(&Request::GetRun { run })?;
    if s.out.is_json() {
        return s.out.raw(&format!("{{\"final\":{}}}", data.get()));
    }
    let detail: RunDetail = read(&data)?;
    let end = text::outcome(&detail.run);
    s.out.print(&format!("Run {run} {end}\n"))
}

/// While a stop is awaited: JSON as it comes, and for people only what takes time.
fn progress(s: &mut Session, news: &News) -> Result<()> {
    match news {
        News::Event(line, _) | News::Gap(line, _) if s.out.is_json() => s.out.raw(line),
        News::Event(_, e) if e.kind == "stopping" || e.kind == "exited" => {
            s.out.tell(&events::event(e, s.out.style()));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// `steer RUN TEXT`.
///
/// # Errors
/// Refused by colibrid or by the agent, no such run.
pub fn steer(s: &mut Session, run: u64, message: &str) -> Result<()> {
    let request = Request::Steer { run, message };
    told(s, &request, &format!("Run {run} has taken the message\n"))
}

/// `abort RUN`.
///
/// # Errors
/// Refused by colibrid or by the agent, no such run.
pub fn abort(s: &mut Session, run: u64) -> Result<()> {
    let text = format!("Run {run} has been told to stop its current work\n");
    told(s, &Request::Abort { run }, &text)
}

/// `answer RUN REQUEST VALUE` or `--cancel`.
///
/// # Errors
/// Refused by colibrid or by the agent, no such run or question.
pub fn answer(s: &mut Session, args: &AnswerArgs) -> Result<()> {
    let run = args.run;
    let request = Request::Answer {
        run,
        request: &args.request,
        value: args.value.as_deref(),
        cancel: args.cancel,
    };
    let done = if args.cancel { "cancelled" } else { "answered" };
    told(
        s,
        &request,
        &format!("The question of run {run} is {done}\n"),
    )
}

/// Sends a command whose reply says only that it was done.
fn told(s: &mut Session, request: &Request<'_>, text: &str) -> Result<()> {
    let data = s.client.request(request)?;
    s.out
        .data(&data, |_: &serde::de::IgnoredAny, _| text.to_owned())
}
