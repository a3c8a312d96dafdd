//! Tasks and agents: `task`, `agent`, `board`.

use libcolibri::config::AddedAgent;
use libcolibri::error::{Fatal, Result};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::Session;
use crate::cli_board::{AddArgs, AgentCommand, AuditArgs, ListArgs, TaskCommand};
use crate::client::News;
use crate::model::{Request, Status};
use crate::model_board::{Agent, Agents, ListTasks, Named, NewTask, Stats, TaskDetail, Tasks};
use crate::output::{board, events, read, Style};
use crate::text::{clean, clean_lines};

/// Statuses that `board` shows, in its order, and how many of each.
const COLUMNS: [(&str, u32); 7] = [
    ("started", 1000),
    ("claimed", 1000),
    ("queued", 20),
    ("waiting", 20),
    ("failed", 5),
    ("cancelled", 5),
    ("done", 5),
];

/// `task …`.
///
/// # Errors
/// Not reachable, refused; `add --wait` also every end but done.
pub fn task(s: &mut Session, command: &TaskCommand) -> Result<()> {
    match command {
        TaskCommand::Add(args) => add(s, args),
        TaskCommand::List(args) => list(s, args),
        TaskCommand::Show { task } => {
            let data = s.client.request(&Request::GetTask { task_id: *task })?;
            s.out.data(&data, board::task)
        }
        TaskCommand::Explain { task } => {
            let data = s.client.request(&Request::GetTask { task_id: *task })?;
            s.out.data(&data, board::explain)
        }
        TaskCommand::Cancel { task, reason } => {
            let request = Request::CancelTask {
                task_id: *task,
                reason,
            };
            let data = s.client.request(&request)?;
            s.out
                .data(&data, |n: &Named, style: &Style| match n.stopping {
                    true => format!(
                        "Task {task} is being cancelled; to see its end: {} task show {task}\n",
                        style.command
                    ),
                    false => format!("Task {task} is {}\n", clean(&n.status)),
                })
        }
        TaskCommand::Retry { task } => {
            let data = s.client.request(&Request::RetryTask { task_id: *task })?;
            s.out.data(&data, |n: &Named, _: &Style| {
                format!("Task {task} is {}\n", clean(&n.status))
            })
        }
    }
}

fn add(s: &mut Session, a: &AddArgs) -> Result<()> {
    // Events of the task are wanted from its first one on, so the place to begin is asked before.
    let from = match a.wait {
        true => read::<Status>(&s.client.request(&Request::Status)?)?.seq,
        false => 0,
    };
    let data = s.client.request(&Request::CreateTask(NewTask {
        title: &a.title,
        description: a.description.as_deref(),
        capabilities: &a.capabilities,
        agent_id: a.agent.as_deref(),
        priority: a.priority,
        after: &a.after,
        not_before: a.not_before.as_deref(),
        deadline: a.deadline.as_deref(),
        attempts: a.attempts,
        retry_on: a.retry_on.as_deref(),
        skills: &a.skills,
        budget: a.budget.budget(),
        key: a.key.as_deref(),
    }))?;
    let new: Named = read(&data)?;
    let (task, command) = (new.id, s.out.style().command.clone());
    if !a.wait {
        return s.out.data(&data, |n: &Named, _: &Style| {
            let what = if n.existing {
                "was there before"
            } else {
                "accepted"
            };
            let status = clean(&n.status);
            format!("Task {task} {what}, {status}; to look at it: {command} task show {task}\n")
        });
    }
    if s.out.is_json() {
        s.out.raw(data.get())?;
    } else {
        let text = format!(
            "Task {task} accepted; waiting for it (to end it: {command} task cancel {task})\n"
        );
        s.out.tell(&text);
    }
    let from = Some(from);
    s.client.request(&Request::Subscribe { from, run: None })?;
    until_ended(s, task)?;
    result(s, task)
}

/// Reads events until the task has ended; after a gap colibrid is asked.
fn until_ended(s: &mut Session, task: u64) -> Result<()> {
    // It may have ended before, if it was there before.
    let mut look = true;
    loop {
        if look {
            let data = s.client.request(&Request::GetTask { task_id: task })?;
            let detail: TaskDetail = read(&data)?;
            if detail.task.ended_at.is_some() {
                return Ok(());
            }
        }
        let news = s.client.next(None, false)?;
        look = matches!(news, News::Gap(..));
        let News::Event(line, e) = &news else {
            continue;
        };
        if e.task != Some(task) {
            continue;
        }
        if s.out.is_json() {
            s.out.raw(line)?;
        } else if matches!(e.kind.as_str(), "task" | "asked" | "settled" | "stalled") {
            let plain = Style {
                colour: false,
                ..s.out.style().clone()
            };
            s.out.tell(&match e.kind.as_str() {
                "asked" => events::question(e.run, &e.dialog, &plain),
                _ => events::event(e, &plain),
            });
        }
        if e.kind == "task" && matches!(e.status.as_str(), "done" | "failed" | "cancelled") {
            return Ok(());
        }
    }
}

/// Prints the result and turns the end into an exit status.
fn result(s: &mut Session, task: u64) -> Result<()> {
    let data = s.client.request(&Request::GetTask { task_id: task })?;
    let detail: TaskDetail = read(&data)?;
    if s.out.is_json() {
        s.out.raw(&format!("{{\"final\":{}}}", data.get()))?;
    } else if let Some(summary) = &detail.summary {
        s.out
            .print(&format!("{}\n", clean_lines(summary).trim_end()))?;
    }
    if detail.task.status == "done" {
        return Ok(());
    }
    let end = board::stands(&detail.task);
    Err(Fatal::new(format!("task {task} {end}")))
}

fn list(s: &mut Session, a: &ListArgs) -> Result<()> {
    let data = s.client.request(&Request::ListTasks(ListTasks {
        limit: a.number,
        before: a.before,
        status: a.status.as_deref(),
        agent_id: a.agent.as_deref(),
        capability: a.capability.as_deref(),
    }))?;
    s.out.data(&data, |t: &Tasks, style: &Style| {
        board::tasks(&t.tasks, style)
    })
}

/// `agent …`.
///
/// # Errors
/// Not reachable, refused, no such agent.
pub fn agent(s: &mut Session, command: &AgentCommand) -> Result<()> {
    match command {
        AgentCommand::List => {
            let raw = agents(s)?;
            if s.out.is_json() {
                let list: Vec<&str> = raw.iter().map(|r| r.get()).collect();
                return s.out.raw(&format!("{{\"agents\":[{}]}}", list.join(",")));
            }
            let agents = raw
                .iter()
                .map(|r| read(r))
                .collect::<Result<Vec<Agent>>>()?;
            s.out.print(&board::agents(&agents, s.out.style()))
        }
        AgentCommand::Show { agent } => {
            for one in agents(s)? {
                if read::<Agent>(&one)?.name == *agent {
                    return s.out.data(&one, board::agent);
                }
            }
            let name = clean(agent);
            Err(Fatal::new(format!("there is no agent {name} (not-found)")))
        }
        AgentCommand::Pause { agent } => {
            let request = Request::PauseAgent { agent_id: agent };
            said(s, &request, &format!("Agent {agent} gets no more tasks\n"))
        }
        AgentCommand::Add(a) => {
            let spec = AddedAgent {
                capabilities: a.capabilities.clone(),
                profile: a.profile.clone(),
                uids: a.uids.clone(),
                runs: Some(a.runs),
                hours: a.hours.clone(),
                skills: a.skills.clone(),
            };
            let agent_id = &a.agent;
            let request = Request::AddAgent { agent_id, spec };
            said(s, &request, &format!("Agent {agent_id} is added\n"))
        }
        AgentCommand::Rm { agent } => {
            let request = Request::RemoveAgent { agent_id: agent };
            said(s, &request, &format!("Agent {agent} is removed\n"))
        }
        AgentCommand::Resume { agent } => {
            let request = Request::ResumeAgent { agent_id: agent };
            said(s, &request, &format!("Agent {agent} gets tasks again\n"))
        }
    }
}

fn agents(s: &mut Session) -> Result<Vec<Box<RawValue>>> {
    let data = s.client.request(&Request::ListAgents)?;
    Ok(read::<Agents>(&data)?.agents)
}

fn said(s: &mut Session, request: &Request<'_>, text: &str) -> Result<()> {
    let data = s.client.request(request)?;
    s.out
        .data(&data, |_: &IgnoredAny, _: &Style| clean_lines(text))
}

/// `audit`.
///
/// # Errors
/// Not reachable, refused.
pub fn audit(s: &mut Session, a: &AuditArgs) -> Result<()> {
    let data = s.client.request(&Request::ListAudit {
        limit: a.number,
        uid: a.uid,
        command: a.command.as_deref(),
    })?;
    s.out.data(&data, board::audit)
}

/// `board`: the counts, then the tasks of each column.
///
/// # Errors
/// Not reachable, refused.
pub fn board(s: &mut Session) -> Result<()> {
    let counts = s.client.request(&Request::Stats)?;
    let stats: Stats = read(&counts)?;
    let mut columns: Vec<(&str, Box<RawValue>)> = Vec::new();
    for (status, limit) in COLUMNS {
        if stats.tasks.get(status).is_none_or(|n| *n == 0) {
            continue;
        }
        let data = s.client.request(&Request::ListTasks(ListTasks {
            limit,
            before: None,
            status: Some(status),
            agent_id: None,
            capability: None,
        }))?;
        columns.push((status, data));
    }
    if s.out.is_json() {
        let parts: Vec<String> = columns
            .iter()
            .map(|(status, data)| format!("\"{status}\":{}", data.get()))
            .collect();
        let (stats, columns) = (counts.get(), parts.join(","));
        return s
            .out
            .raw(&format!("{{\"stats\":{stats},\"columns\":{{{columns}}}}}"));
    }
    let mut tasks = Vec::new();
    for (_, data) in &columns {
        tasks.extend(read::<Tasks>(data)?.tasks);
    }
    s.out.print(&board::columns(&stats, &tasks, s.out.style()))
}
