//! `run`: a new agent, and with `--wait` its way to the end.

use libcolibri::error::{Fatal, Result};

use super::{follow, Session};
use crate::cli::RunArgs;
use crate::client::News;
use crate::model::{Request, RunDetail, Spawned, Status};
use crate::output::{events, read, text};
use crate::text::{clean, clean_lines};

/// `run PROFILE [--wait] PROMPT`. Waiting, it tells the changes on standard error and prints the answer on
/// standard output.
///
/// # Errors
/// Refused; with `--wait` also every end but `done`.
pub fn run(s: &mut Session, args: &RunArgs) -> Result<()> {
    // Events of the run are wanted from its first one on, so the place to begin is asked for before.
    let from = match args.wait {
        true => read::<Status>(&s.client.request(&Request::Status)?)?.seq,
        false => 0,
    };
    let data = s.client.request(&Request::SpawnAgent {
        profile: &args.profile,
        prompt: &args.prompt,
    })?;
    let Spawned { run } = read(&data)?;
    let command = s.out.style().command.clone();
    if !args.wait {
        return s.out.data(&data, |_: &Spawned, _| {
            format!("Run {run} accepted; to follow it: {command} tail {run}\n")
        });
    }
    if s.out.is_json() {
        s.out.raw(data.get())?;
    } else {
        let text =
            format!("Run {run} accepted; waiting for it (to end it: {command} stop {run})\n");
        s.out.tell(&text);
    }
    s.client.request(&Request::Subscribe {
        from: Some(from),
        run: Some(run),
    })?;
    follow::until_ended(s, run, progress)?;
    result(s, run)
}

/// Shows one event: as it came in JSON, and of the others those that a waiting person wants.
fn progress(s: &mut Session, news: &News) -> Result<()> {
    if s.out.is_json() {
        return match news {
            News::Event(line, _) | News::Gap(line, _) => s.out.raw(line),
            _ => Ok(()),
        };
    }
    let style = s.out.style();
    match news {
        News::Gap(_, gap) => s.out.tell(&events::gap(*gap, style)),
        News::Event(_, e) => match e.kind.as_str() {
            "asked" => s.out.tell(&events::question(e.run, &e.dialog, style)),
            "state" | "settled" | "tool-start" | "tool-end" | "stop-wanted" | "stopping"
            | "stalled" | "unstalled" | "ended" => {
                // Standard error may go elsewhere than the terminal that the style was made for.
                let plain = crate::output::Style {
                    colour: false,
                    ..style.clone()
                };
                s.out.tell(&events::event(e, &plain));
            }
            _ => {}
        },
        _ => {}
    }
    Ok(())
}

/// Prints the answer and turns the end into an exit status.
fn result(s: &mut Session, run: u64) -> Result<()> {
    let data = s.client.request(&Request::GetRun { run })?;
    let detail: RunDetail = read(&data)?;
    if s.out.is_json() {
        s.out.raw(&format!("{{\"final\":{}}}", data.get()))?;
    } else if let Some(answer) = &detail.answer {
        let answer = clean_lines(answer);
        s.out.print(&format!("{}\n", answer.trim_end()))?;
    }
    if detail.run.state == "done" {
        return Ok(());
    }
    let end = text::outcome(&detail.run);
    Err(Fatal::new(format!("run {run} {}", clean(&end))))
}
