//! What `top` asks colibrid.

use crate::model::Request;
use crate::model_board::ListTasks;

/// A request, with what its reply is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// The status, to know where to subscribe.
    Begin,
    /// Events after this one.
    Subscribe(u64),
    /// Tasks of a status, at most so many, newest first.
    Tasks(&'static str, u32),
    /// The status once more, which everything begins with.
    Settle,
    /// Everything about a run.
    Run(u64),
    /// The last events of a run.
    Evidence(u64),
    /// Everything about a task.
    Task(u64),
    /// To do something.
    Act(Act),
}

/// What an operator does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// End a run.
    Stop(u64),
    /// Stop the work of a run, but keep the agent.
    Abort(u64),
    /// Say something to a run.
    Steer(u64, String),
    /// Answer a question of a run, or cancel it.
    Answer {
        /// Which run.
        run: u64,
        /// Which question.
        request: String,
        /// The answer; nothing cancels the question.
        value: Option<String>,
    },
    /// Cancel a task.
    Cancel(u64),
}

impl Ask {
    /// As a request of the protocol.
    #[must_use]
    pub fn request(&self) -> Request<'_> {
        match self {
            Ask::Begin | Ask::Settle => Request::Status,
            Ask::Subscribe(from) => Request::Subscribe {
                from: Some(*from),
                run: None,
            },
            Ask::Tasks(status, limit) => Request::ListTasks(ListTasks {
                limit: *limit,
                before: None,
                status: Some(status),
                agent_id: None,
                capability: None,
            }),
            Ask::Run(run) => Request::GetRun { run: *run },
            Ask::Evidence(run) => Request::ExplainRun { run: *run },
            Ask::Task(task) => Request::GetTask { task_id: *task },
            Ask::Act(act) => act.request(),
        }
    }
}

impl Act {
    fn request(&self) -> Request<'_> {
        match self {
            Act::Stop(run) => Request::StopAgent { run: *run },
            Act::Abort(run) => Request::Abort { run: *run },
            Act::Steer(run, message) => Request::Steer { run: *run, message },
            Act::Answer {
                run,
                request,
                value,
            } => Request::Answer {
                run: *run,
                request,
                value: value.as_deref(),
                cancel: value.is_none(),
            },
            Act::Cancel(task) => Request::CancelTask {
                task_id: *task,
                reason: "",
            },
        }
    }

    /// What is being done, and then what was done.
    #[must_use]
    pub fn words(&self) -> (String, String) {
        match self {
            Act::Stop(run) => (
                format!("Stopping run {run} ..."),
                format!("Run {run} is stopping"),
            ),
            Act::Abort(run) => (
                format!("Telling run {run} to stop its work ..."),
                format!("Run {run} has been told to stop its current work"),
            ),
            Act::Steer(run, _) => (
                format!("Telling run {run} ..."),
                format!("Run {run} has taken the message"),
            ),
            Act::Answer { run, value, .. } => {
                let done = if value.is_some() {
                    "answered"
                } else {
                    "cancelled"
                };
                (
                    format!("Answering run {run} ..."),
                    format!("The question of run {run} is {done}"),
                )
            }
            Act::Cancel(task) => (
                format!("Cancelling task {task} ..."),
                format!("Task {task} is cancelled, once nothing of its run is left"),
            ),
        }
    }
}
