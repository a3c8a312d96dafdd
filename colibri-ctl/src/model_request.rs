//! What this program asks colibrid: colibri-protocol(7).

use libcolibri::config::AddedAgent;
use serde::Serialize;

use crate::model_board::{ListTasks, NewTask};
use crate::model_schedule::{NewSchedule, Preview};
use crate::model_skill::{GetSkill, ListSkills, NewSkill, SearchSkills};

/// A request line.
#[derive(Debug, Serialize)]
#[serde(tag = "cmd", rename_all = "kebab-case")]
pub enum Request<'a> {
    /// What is going on.
    Status,
    /// All panes.
    Snapshot,
    /// A page of runs, newest first.
    ListRuns {
        /// Most runs in the page, up to 1000.
        limit: u32,
        /// Only runs older than this one.
        #[serde(skip_serializing_if = "Option::is_none")]
        before: Option<u64>,
    },
    /// Everything about one run.
    GetRun {
        /// Which.
        run: u64,
    },
    /// Why a run is in its state.
    ExplainRun {
        /// Which.
        run: u64,
    },
    /// The board against monitors and kernel.
    Audit,
    /// A new run.
    SpawnAgent {
        /// Name of its profile.
        profile: &'a str,
        /// Its task.
        prompt: &'a str,
    },
    /// End a run.
    StopAgent {
        /// Which.
        run: u64,
    },
    /// A message into running work.
    Steer {
        /// Which run.
        run: u64,
        /// The text.
        message: &'a str,
    },
    /// Stop the work, keep the agent.
    Abort {
        /// Which run.
        run: u64,
    },
    /// The answer to a dialog, or its cancellation.
    Answer {
        /// Which run.
        run: u64,
        /// Which dialog.
        request: &'a str,
        /// The answer.
        #[serde(skip_serializing_if = "Option::is_none")]
        value: Option<&'a str>,
        /// True, or absent.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        cancel: bool,
    },
    /// A skill or an artifact.
    ImportSkill(NewSkill<'a>),
    /// A page of them.
    ListSkills(ListSkills<'a>),
    /// One of them.
    GetSkill(GetSkill<'a>),
    /// Those with these words.
    SearchSkills(SearchSkills<'a>),
    /// A schedule.
    AddSchedule(NewSchedule<'a>),
    /// A page of schedules.
    ListSchedules {
        /// Most schedules in the page, up to 1000.
        limit: u32,
        /// Only those with a number above this.
        after: u64,
    },
    /// Everything about one schedule.
    GetSchedule {
        /// Its name.
        schedule: &'a str,
    },
    /// When it would come.
    PreviewSchedule(Preview<'a>),
    /// What became of its occurrences.
    ListOccurrences {
        /// Its name.
        schedule: &'a str,
        /// At most so many.
        limit: u32,
    },
    /// Nothing is to come of it.
    PauseSchedule {
        /// Its name.
        schedule: &'a str,
        /// Why.
        reason: &'a str,
    },
    /// It is to go on.
    ResumeSchedule {
        /// Its name.
        schedule: &'a str,
    },
    /// Its task now.
    RunSchedule {
        /// Its name.
        schedule: &'a str,
    },
    /// It is not wanted any more.
    RemoveSchedule {
        /// Its name.
        schedule: &'a str,
    },
    /// A task for the board.
    CreateTask(NewTask<'a>),
    /// Work from a front end: its fields as they are.
    IntakeTask(&'a serde_json::Map<String, serde_json::Value>),
    /// A page of tasks, newest first.
    ListTasks(ListTasks<'a>),
    /// Everything about one task.
    GetTask {
        /// Which.
        task_id: u64,
    },
    /// End a task.
    CancelTask {
        /// Which.
        task_id: u64,
        /// Why.
        #[serde(skip_serializing_if = "str::is_empty")]
        reason: &'a str,
    },
    /// Queue a task again.
    RetryTask {
        /// Which.
        task_id: u64,
    },
    /// What is in each column of the board.
    Stats,
    /// A page of the audit log, newest first.
    ListAudit {
        /// Most entries in the page, up to 1000.
        limit: u32,
        /// Only of this user.
        #[serde(skip_serializing_if = "Option::is_none")]
        uid: Option<u32>,
        /// Only of this command.
        #[serde(skip_serializing_if = "Option::is_none")]
        command: Option<&'a str>,
    },
    /// The agents.
    ListAgents,
    /// Give an agent no more tasks.
    PauseAgent {
        /// Its name.
        agent_id: &'a str,
    },
    /// Give it tasks again.
    ResumeAgent {
        /// Its name.
        agent_id: &'a str,
    },
    /// One more agent.
    AddAgent {
        /// Its name.
        agent_id: &'a str,
        /// What it is.
        #[serde(flatten)]
        spec: AddedAgent,
    },
    /// It is not one any more.
    RemoveAgent {
        /// Its name.
        agent_id: &'a str,
    },
    /// Events.
    Subscribe {
        /// Those after this number; default: from now.
        #[serde(skip_serializing_if = "Option::is_none")]
        from: Option<u64>,
        /// Only those of this run.
        #[serde(skip_serializing_if = "Option::is_none")]
        run: Option<u64>,
    },
}

/// A request with the number that its reply must carry.
#[derive(Debug, Serialize)]
pub struct Numbered<'a> {
    /// The request.
    #[serde(flatten)]
    pub request: &'a Request<'a>,
    /// The number.
    pub id: u64,
}
