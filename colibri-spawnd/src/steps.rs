//! The steps from a request to a running agent, numbered: the launcher says by number which one
//! failed, the monitor turns the number into words for the journal.

/// A step that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Step {
    /// spawnd's note about the run.
    Note = 1,
    /// The run's own TMPDIR.
    Tmpdir,
    /// The run's socket: bound as root, in a directory that only root writes.
    Socket,
    /// Taking in orphans.
    Reaper,
    /// stdin, stdout, stderr.
    Pipes,
    /// Jail or namespace.
    Container,
    /// The agent's (or the init's) process.
    Fork,
    /// The container's own view: processes and directories.
    Furnish,
    /// Session and process group.
    Session,
    /// The agent's descriptors 0, 1 and 2.
    Stdio,
    /// Entering the jail.
    Enter,
    /// Everything from 3 up.
    Descriptors,
    /// rlimits.
    Limits,
    /// The nice value.
    Priority,
    /// Groups, group, user.
    User,
    /// No set-id programs from here on.
    Privileges,
    /// Death with the parent, where no container does it.
    Tie,
    /// The profile's `cwd`, as the agent's user.
    Directory,
    /// The profile's `command`.
    Execute,
    /// Hearing of the agent's exec.
    Report,
    /// Making the jail end with its last process.
    Settle,
}

/// Every step with the words that follow "cannot".
const STEPS: [(Step, &str); 21] = [
    (Step::Note, "write the note about the run"),
    (Step::Tmpdir, "make the temporary directory"),
    (Step::Socket, "bind the run's socket"),
    (Step::Reaper, "become the reaper"),
    (Step::Pipes, "make the pipes"),
    (Step::Container, "create the container"),
    (Step::Fork, "fork"),
    (Step::Furnish, "furnish the container"),
    (Step::Session, "start a session"),
    (Step::Stdio, "set up standard input and output"),
    (Step::Enter, "attach to the jail"),
    (Step::Descriptors, "close descriptors"),
    (Step::Limits, "set limits"),
    (Step::Priority, "set the priority"),
    (Step::User, "become the user"),
    (Step::Privileges, "give up privileges"),
    (Step::Tie, "tie the agent to its monitor"),
    (Step::Directory, "enter the working directory"),
    (Step::Execute, "execute the program"),
    (Step::Report, "learn whether the program was executed"),
    (Step::Settle, "let the jail end with its last process"),
];

impl Step {
    /// The number on the pipe and in the monitor's arguments; 0 means that nothing failed.
    #[must_use]
    pub fn code(self) -> u32 {
        self as u32
    }

    /// The step of a number.
    #[must_use]
    pub fn from_code(code: u32) -> Option<Step> {
        STEPS.iter().map(|(s, _)| *s).find(|s| s.code() == code)
    }

    /// What could not be done: "cannot ..." goes on with it.
    #[must_use]
    pub fn words(self) -> &'static str {
        STEPS
            .iter()
            .find(|(s, _)| *s == self)
            .map_or("", |(_, words)| words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_has_its_number_and_its_words() {
        for (n, (step, words)) in STEPS.iter().enumerate() {
            assert_eq!(step.code() as usize, n + 1);
            assert_eq!(Step::from_code(step.code()), Some(*step));
            assert_eq!(step.words(), *words);
        }
        assert_eq!(Step::from_code(0), None);
        assert_eq!(Step::from_code(22), None);
    }
}
