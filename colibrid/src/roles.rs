//! The commands of the public socket and the role each needs: one table, which colibri-protocol(7)
//! repeats and the dispatch uses.

use libcolibri::config::Role;

use crate::board::ask::Verb;
use crate::schedule::ask::Verb as Planning;
use crate::skills::ask::Verb as Skill;

/// What a client can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// Are you there?
    Ping,
    /// The suite and its living agents.
    Status,
    /// The glasspane.
    Snapshot,
    /// Runs, newest first.
    ListRuns,
    /// One run.
    GetRun,
    /// Why a run is in its state.
    ExplainRun,
    /// Events from a sequence number on.
    Subscribe,
    /// The board against the monitors and the kernel.
    Audit,
    /// Start an agent.
    SpawnAgent,
    /// End a run.
    StopAgent,
    /// A message into the work.
    Steer,
    /// Stop the current work.
    Abort,
    /// Answer a dialog.
    Answer,
    /// Work from a front end.
    IntakeTask,
    /// Who changed what.
    ListAudit,
    /// About tasks and the agents that take them.
    Board(Verb),
    /// About schedules.
    Schedule(Planning),
    /// About skills.
    Skill(Skill),
}

/// A row: the command's name and whom it is for.
pub struct Row {
    /// In requests.
    pub word: &'static str,
    /// In the code.
    pub name: Name,
    /// The least role.
    pub role: Role,
}

const fn row(word: &'static str, name: Name, role: Role) -> Row {
    Row { word, name, role }
}

/// All commands.
pub const COMMANDS: [Row; 42] = [
    row("ping", Name::Ping, Role::Observer),
    row("status", Name::Status, Role::Observer),
    row("snapshot", Name::Snapshot, Role::Observer),
    row("list-runs", Name::ListRuns, Role::Observer),
    row("get-run", Name::GetRun, Role::Observer),
    row("explain-run", Name::ExplainRun, Role::Observer),
    row("subscribe", Name::Subscribe, Role::Observer),
    row("audit", Name::Audit, Role::Operator),
    row("spawn-agent", Name::SpawnAgent, Role::Operator),
    row("stop-agent", Name::StopAgent, Role::Operator),
    row("steer", Name::Steer, Role::Operator),
    row("abort", Name::Abort, Role::Operator),
    row("answer", Name::Answer, Role::Operator),
    row("list-audit", Name::ListAudit, Role::Operator),
    board("list-tasks", Verb::ListTasks, Role::Observer),
    board("get-task", Verb::GetTask, Role::Observer),
    board("stats", Verb::Stats, Role::Observer),
    board("list-agents", Verb::ListAgents, Role::Observer),
    board("create-task", Verb::CreateTask, Role::Intake),
    row("intake-task", Name::IntakeTask, Role::Intake),
    board("claim-task", Verb::ClaimTask, Role::Agent),
    board("heartbeat", Verb::Heartbeat, Role::Agent),
    board("transition-task", Verb::TransitionTask, Role::Agent),
    board("cancel-task", Verb::CancelTask, Role::Operator),
    board("retry-task", Verb::RetryTask, Role::Operator),
    board("pause-agent", Verb::PauseAgent, Role::Operator),
    board("resume-agent", Verb::ResumeAgent, Role::Operator),
    board("add-agent", Verb::AddAgent, Role::Operator),
    board("remove-agent", Verb::RemoveAgent, Role::Operator),
    planning("list-schedules", Planning::List, Role::Observer),
    planning("get-schedule", Planning::Get, Role::Observer),
    planning("preview-schedule", Planning::Preview, Role::Observer),
    planning("list-occurrences", Planning::Occurrences, Role::Observer),
    planning("add-schedule", Planning::Add, Role::Operator),
    planning("pause-schedule", Planning::Pause, Role::Operator),
    planning("resume-schedule", Planning::Resume, Role::Operator),
    planning("run-schedule", Planning::Run, Role::Operator),
    planning("remove-schedule", Planning::Remove, Role::Operator),
    row("list-skills", Name::Skill(Skill::List), Role::Observer),
    row("get-skill", Name::Skill(Skill::Get), Role::Observer),
    row("search-skills", Name::Skill(Skill::Search), Role::Observer),
    row("import-skill", Name::Skill(Skill::Import), Role::Operator),
];

const fn planning(word: &'static str, verb: Planning, role: Role) -> Row {
    row(word, Name::Schedule(verb), role)
}

const fn board(word: &'static str, verb: Verb, role: Role) -> Row {
    row(word, Name::Board(verb), role)
}

impl Row {
    /// Whether the host's word matters for it.
    #[must_use]
    pub fn needs_host(&self) -> bool {
        matches!(self.name, Name::Status | Name::SpawnAgent)
    }

    /// Whether the command changes something that the audit log is to tell of. A heartbeat comes
    /// every few minutes and changes only how long a claim holds; a schedule is added, and told of,
    /// when schedd has looked at it.
    #[must_use]
    pub fn is_audited(&self) -> bool {
        let looks =
            self.role == Role::Observer || matches!(self.name, Name::Audit | Name::ListAudit);
        let later = self.name == Name::Schedule(Planning::Add);
        !looks && !later && self.name != Name::Board(Verb::Heartbeat)
    }
}

/// Whether somebody with `has` may use a command for `needs`. Reading is for every role; intake
/// and agent are beside each other.
#[must_use]
pub fn allows(has: Role, needs: Role) -> bool {
    needs == Role::Observer || has == needs || has == Role::Operator
}

/// The row of a command word.
#[must_use]
pub fn find(word: &str) -> Option<&'static Row> {
    COMMANDS.iter().find(|r| r.word == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_has_what_it_reads_and_its_own_and_operators_have_all() {
        for has in [Role::Observer, Role::Intake, Role::Agent, Role::Operator] {
            for r in &COMMANDS {
                let may = allows(has, r.role);
                let own = r.role == Role::Observer || r.role == has;
                assert_eq!(may, own || has == Role::Operator, "{has:?} {}", r.word);
            }
        }
    }
}
