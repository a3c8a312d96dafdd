//! `schedule …`.

use libcolibri::error::Result;
use libcolibri::schedule::Schedule;
use serde_json::json;

use super::Session;
use crate::cli_schedule::{AddArgs, NextArgs, PreviewArgs, ScheduleCommand};
use crate::model::Request;
use crate::model_schedule::{Entries, Entry, Ledger, Moved, NewSchedule, Planned, Preview, Times};
use crate::output::{read, schedule as show, Style};
use crate::text::clean;

/// Schedules asked for at once.
const PAGE: u32 = 500;
/// Times asked for at once.
const TIMES: u32 = 1000;

/// `schedule …`.
///
/// # Errors
/// Not reachable, refused.
pub fn schedule(s: &mut Session, command: &ScheduleCommand) -> Result<()> {
    match command {
        ScheduleCommand::Add(args) => add(s, args),
        ScheduleCommand::List => list(s),
        ScheduleCommand::Show { schedule } => {
            let data = s.client.request(&Request::GetSchedule { schedule })?;
            s.out.data(&data, show::schedule)
        }
        ScheduleCommand::Next(args) => next(s, args),
        ScheduleCommand::Preview(args) => preview(s, args),
        ScheduleCommand::Pause { schedule, reason } => {
            moved(s, &Request::PauseSchedule { schedule, reason })
        }
        ScheduleCommand::Resume { schedule } => moved(s, &Request::ResumeSchedule { schedule }),
        ScheduleCommand::Rm { schedule } => moved(s, &Request::RemoveSchedule { schedule }),
        ScheduleCommand::Run { schedule } => {
            let data = s.client.request(&Request::RunSchedule { schedule })?;
            s.out.data(&data, |m: &Moved, style: &Style| {
                let task = m.task.unwrap_or(0);
                let command = &style.command;
                format!("Task {task} accepted; to look at it: {command} task show {task}\n")
            })
        }
        ScheduleCommand::History { schedule, number } => {
            let limit = *number;
            let data = s
                .client
                .request(&Request::ListOccurrences { schedule, limit })?;
            s.out.data(&data, |l: &Ledger, style: &Style| {
                show::history(&l.occurrences, style)
            })
        }
    }
}

fn add(s: &mut Session, a: &AddArgs) -> Result<()> {
    let spec = Schedule {
        cron: a.cron.clone(),
        every: a.every,
        from_end: a.from_end,
        at: a.at.clone(),
        zone: a.zone.clone(),
        start: a.start.clone(),
        end: a.end.clone(),
        catch_up: a.catch_up.into(),
        catch_up_max: a.catch_up_max,
        late: a.late,
        overlap: a.overlap.into(),
        jitter: u32::try_from(a.jitter).unwrap_or(u32::MAX),
        pause_after: a.pause_after,
        title: a.title.clone(),
        prompt: a.prompt.clone().unwrap_or_default(),
        capabilities: a.capabilities.clone(),
        agent: a.agent.clone(),
        priority: a.priority,
        skills: a.skills.clone(),
        budget: a.budget.budget(),
    };
    let name = a.name.as_str();
    let new = NewSchedule { name, spec: &spec };
    let data = s.client.request(&Request::AddSchedule(new))?;
    s.out.data(&data, |e: &Entry, _: &Style| show::added(e))
}

fn moved(s: &mut Session, request: &Request<'_>) -> Result<()> {
    let data = s.client.request(request)?;
    s.out.data(&data, |m: &Moved, _: &Style| {
        format!("Schedule {} is {}\n", clean(&m.schedule), clean(&m.state))
    })
}

/// All schedules, page by page; `each` sees the replies as they come.
fn all(s: &mut Session, each: impl Fn(&Session, &str) -> Result<()>) -> Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let limit = PAGE;
        let after = entries.last().map_or(0, |e| e.id);
        let data = s.client.request(&Request::ListSchedules { limit, after })?;
        let page: Entries = read(&data)?;
        each(s, data.get())?;
        let whole = page.schedules.len() == PAGE as usize;
        entries.extend(page.schedules);
        if !whole {
            return Ok(entries);
        }
    }
}

fn list(s: &mut Session) -> Result<()> {
    if s.out.is_json() {
        return all(s, |s, page| s.out.raw(page)).map(drop);
    }
    let entries = all(s, |_, _| Ok(()))?;
    s.out.print(&show::schedules(&entries, s.out.style()))
}

fn next(s: &mut Session, a: &NextArgs) -> Result<()> {
    let data = s.client.request(&Request::PreviewSchedule(Preview {
        schedule: a.schedule.as_deref(),
        cron: a.cron.as_deref(),
        zone: a.zone.as_deref(),
        limit: a.number,
        ..Preview::default()
    }))?;
    s.out.data(&data, |t: &Times, style: &Style| {
        show::times(&t.times, style)
    })
}

/// Every time of every schedule in the span, in order.
fn preview(s: &mut Session, a: &PreviewArgs) -> Result<()> {
    let mut names = a.schedules.clone();
    if names.is_empty() {
        let active = all(s, |_, _| Ok(()))?.into_iter();
        names = active
            .filter(|e| e.state == "active")
            .map(|e| e.name)
            .collect();
    }
    let mut rows: Vec<(Planned, String)> = Vec::new();
    for name in names {
        let mut from = a.from.clone();
        loop {
            let data = s.client.request(&Request::PreviewSchedule(Preview {
                schedule: Some(&name),
                from: from.as_deref(),
                to: Some(&a.to),
                limit: TIMES,
                ..Preview::default()
            }))?;
            let page: Times = read(&data)?;
            // A page begins with the time that the one before has ended with.
            let known = rows
                .last()
                .filter(|(_, n)| *n == name)
                .map(|(t, _)| t.at.clone());
            let new = page
                .times
                .into_iter()
                .filter(|t| Some(&t.at) != known.as_ref());
            rows.extend(new.map(|t| (t, name.clone())));
            if !page.more {
                break;
            }
            from = rows.last().map(|(t, _)| t.at.clone());
        }
    }
    // Times in UTC sort as texts.
    rows.sort_by(|a, b| (&a.0.at, &a.1).cmp(&(&b.0.at, &b.1)));
    if s.out.is_json() {
        for (t, name) in &rows {
            let line = json!({"schedule": name, "at": t.at, "local": t.local});
            s.out.raw(&line.to_string())?;
        }
        return Ok(());
    }
    s.out.print(&show::preview(&rows, s.out.style()))
}
