//! The machine's rules, each with the events that lead to it. Times are milliseconds.

use libcolibri::config::OnSettled;
use libcolibri::msg::{Kill, Reply, ToMonitor};
use libcolibri::pi::Parser;
use libcolibri::record::{Command, Ended, Mode, Proof, Record};
use libcolibri::state::{Container, Exit, Phase, State};

use super::machine::{Machine, LINGER_MS};
use super::words::{Effect, Event, Setup, Tail};

/// A machine, its clock, and what it has had done.
struct Run {
    machine: Machine,
    now: u64,
    fx: Vec<Effect>,
    writes: u64,
}

const SETUP: Setup = Setup {
    mode: Mode::Rpc,
    on_settled: OnSettled::End,
    container: Container::PidNamespace,
    start_timeout_ms: 30_000,
    failed: None,
};

impl Run {
    fn new(setup: Setup) -> Run {
        let mut run = Run {
            machine: Machine::new(setup),
            now: 1000,
            fx: Vec::new(),
            writes: 0,
        };
        run.give(Event::Begin);
        run
    }

    /// One event; a pipe takes every write at once, as it nearly always does.
    fn give(&mut self, event: Event) -> &mut Run {
        let from = self.fx.len();
        self.machine.step(event, self.now, &mut self.fx);
        let new = &self.fx[from..];
        let writes = new.iter().filter(|e| matches!(e, Effect::Write(_)));
        let count = writes.count() as u64;
        if count > 0 {
            self.writes += count;
            self.give(Event::Written(self.writes));
        }
        self
    }

    fn lines(&mut self, lines: &[&str]) -> &mut Run {
        let mut parser = Parser::new();
        for line in lines {
            let mut events = Vec::new();
            parser.feed(format!("{line}\n").as_bytes(), &mut |e| events.push(e));
            for event in events {
                self.give(Event::Pi(event));
            }
        }
        self
    }

    fn after(&mut self, ms: u64) -> &mut Run {
        self.now += ms;
        self.give(Event::Tick)
    }

    fn prompt(&mut self, token: u64) -> &mut Run {
        let text = "do".to_owned();
        self.give(Event::Command(ToMonitor::Prompt { token, text }))
    }

    fn stop(&mut self) -> &mut Run {
        self.give(Event::Command(ToMonitor::Stop))
    }

    /// What was done since the last call.
    fn take(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.fx)
    }

    fn did(&mut self, token: u64) -> Option<String> {
        self.fx.iter().find_map(|e| match e {
            Effect::Record(Record::Did {
                token: t, error, ..
            }) if *t == token => Some(error.clone()),
            _ => None,
        })
    }

    fn has(&self, effect: &Effect) -> bool {
        self.fx.contains(effect)
    }

    fn ended(&mut self, exit: Exit) -> Ended {
        self.give(Event::Exited(exit));
        self.give(Event::Empty(Proof::Kernel, Tail::default()));
        assert_eq!(self.fx.last(), Some(&Effect::Finish));
        let found = self.fx.iter().find_map(|e| match e {
            Effect::Record(Record::Ended(ended)) => Some(ended.clone()),
            _ => None,
        });
        found.expect("an end")
    }
}

const UP: &str = r#"{"id":"probe","type":"response","command":"get_state","success":true}"#;
const TAKEN: &str = r#"{"id":"c1","type":"response","command":"prompt","success":true}"#;
const START: &str = r#"{"type":"agent_start"}"#;
const END: &str = r#"{"type":"agent_end","willRetry":false}"#;
const SETTLED: &str = r#"{"type":"agent_settled","aborted":false}"#;
const ANSWER: &str = r#"{"type":"message_end","message":{"role":"assistant","stopReason":"stop"}}"#;
const ASK: &str = r#"{"type":"extension_ui_request","id":"q","method":"confirm","title":"?"}"#;

fn working() -> Run {
    let mut run = Run::new(SETUP);
    run.lines(&[UP]).prompt(1).lines(&[TAKEN, START]);
    run
}

fn settled() -> Run {
    let mut run = working();
    run.lines(&[ANSWER, END, SETTLED]);
    run
}

#[test]
fn stdin_is_closed_when_the_work_has_settled_and_not_before() {
    let mut run = working();
    run.lines(&[ANSWER, END]);
    assert!(!run.has(&Effect::CloseStdin));
    run.lines(&[SETTLED]);
    assert!(run.has(&Effect::CloseStdin));
    let ended = run.ended(Exit::Code(0));
    assert_eq!((ended.state, ended.asked), (State::Done, false));
}

#[test]
fn an_agent_that_lingers_is_hurried_and_then_killed() {
    let mut run = settled();
    run.give(Event::Linked);
    run.after(LINGER_MS - 1);
    assert!(!run.has(&Effect::Straggling(Kill::Term)));
    run.after(1);
    assert!(run.has(&Effect::Straggling(Kill::Term)));
    run.take();
    run.after(9_999);
    assert!(run.take().is_empty());
    run.after(1);
    assert_eq!(run.take(), [Effect::Straggling(Kill::Kill)]);
    run.after(2_000);
    assert_eq!(run.take(), [Effect::Straggling(Kill::Kill)]);
    // The result is what the work achieved, not how the process was ended.
    assert_eq!(run.ended(Exit::Signal(9)).state, State::Done);
}

#[test]
fn nobody_is_asked_while_nobody_listens_and_the_next_one_at_once() {
    let mut run = settled();
    run.take();
    run.after(LINGER_MS);
    assert!(run.take().is_empty());
    // Nothing is waited for: no cause, no wake-up.
    assert_eq!(run.machine.deadline(), None);
    run.give(Event::Linked);
    assert_eq!(run.take(), [Effect::Straggling(Kill::Term)]);
    run.give(Event::Unlinked).give(Event::Linked);
    assert_eq!(run.take(), [Effect::Straggling(Kill::Term)]);
}

#[test]
fn an_agent_at_rest_waits_for_nothing() {
    let mut run = Run::new(Setup {
        on_settled: OnSettled::Stay,
        ..SETUP
    });
    assert_eq!(run.machine.deadline(), Some(31_000));
    run.lines(&[UP]);
    assert_eq!(run.machine.deadline(), None);
    run.prompt(1).lines(&[TAKEN, START, ANSWER, END, SETTLED]);
    assert_eq!(run.machine.deadline(), None);
    assert!(!run.has(&Effect::CloseStdin));
}

#[test]
fn replies_on_their_way_hold_the_end_up_but_not_for_ever() {
    let steer = |token| {
        let text = "also".to_owned();
        Event::Command(ToMonitor::Steer { token, text })
    };
    let mut run = working();
    run.give(steer(2)).lines(&[ANSWER, END, SETTLED]);
    assert!(!run.has(&Effect::CloseStdin));
    run.lines(&[r#"{"id":"c2","type":"response","command":"steer","success":true}"#]);
    assert!(run.has(&Effect::CloseStdin));
    assert_eq!(run.did(2), Some(String::new()));

    let mut run = working();
    run.give(steer(2)).lines(&[ANSWER, END, SETTLED]);
    run.after(2_000);
    assert!(run.has(&Effect::CloseStdin));
    run.ended(Exit::Code(0));
    assert_eq!(run.did(2).as_deref(), Some("the agent has exited"));
}

#[test]
fn a_refused_prompt_is_the_end_of_a_run_that_ends_with_its_work() {
    let mut run = Run::new(SETUP);
    run.lines(&[UP]).prompt(1).lines(&[
        r#"{"id":"c1","type":"response","command":"prompt","success":false,"error":"no key"}"#,
    ]);
    assert_eq!(run.did(1).as_deref(), Some("no key"));
    assert!(run.has(&Effect::CloseStdin));
    let ended = run.ended(Exit::Code(0));
    assert_eq!(ended.state, State::Error);
    assert_eq!(ended.reason, "prompt refused: no key");
}

#[test]
fn a_prompt_that_an_extension_handled_ends_too() {
    let mut run = Run::new(SETUP);
    run.lines(&[UP]).prompt(1).lines(&[
        r#"{"id":"c1","type":"response","command":"prompt","success":true,"data":{"disposition":"handled"}}"#,
    ]);
    assert!(run.has(&Effect::CloseStdin));
    assert_eq!(run.ended(Exit::Code(0)).state, State::Idle);
}

#[test]
fn a_stop_aborts_the_work_and_closes_after_a_second() {
    let mut run = working();
    run.take();
    run.stop();
    let done = run.take();
    assert_eq!(done[0], Effect::Record(Record::Stopping));
    let abort =
        |e: &Effect| matches!(e, Effect::Write(l) if l.windows(7).any(|w| w == b"\"abort\""));
    assert!(done.iter().any(abort));
    assert!(!done.contains(&Effect::CloseStdin));
    run.after(999);
    assert!(!run.has(&Effect::CloseStdin));
    run.after(1);
    assert!(run.has(&Effect::CloseStdin));
    let ended = run.ended(Exit::Code(143));
    assert!(ended.asked);
    assert_eq!(
        (ended.state, ended.reason.as_str()),
        (State::Idle, "stopped 143")
    );
}

#[test]
fn a_stop_at_rest_closes_at_once_and_is_said_once() {
    let mut run = Run::new(SETUP);
    run.lines(&[UP]).take();
    run.stop().stop();
    let done = run.take();
    let said = done
        .iter()
        .filter(|e| **e == Effect::Record(Record::Stopping));
    assert_eq!(said.count(), 1);
    assert!(done.contains(&Effect::CloseStdin));
    run.prompt(3);
    assert_eq!(run.did(3).as_deref(), Some("the run is stopping"));
}

#[test]
fn a_stop_cancels_dialogs_before_it_aborts() {
    let mut run = working();
    run.lines(&[ASK]).take();
    run.stop();
    let written: Vec<String> = run
        .take()
        .into_iter()
        .filter_map(|e| match e {
            Effect::Write(line) => Some(String::from_utf8(line).unwrap()),
            _ => None,
        })
        .collect();
    assert_eq!(written.len(), 2);
    assert!(written[0].contains("\"cancelled\":true"), "{written:?}");
    assert!(written[1].contains("\"abort\""), "{written:?}");
}

#[test]
fn the_end_is_said_only_when_it_is_proven() {
    let mut run = settled();
    run.take();
    run.give(Event::Exited(Exit::Code(0)));
    assert!(run.take().is_empty());
    // The rest of the tree has a moment to go by itself.
    run.after(99);
    assert!(run.take().is_empty());
    run.give(Event::Linked).after(1);
    assert_eq!(
        run.take(),
        [
            Effect::Record(Record::Exited(Exit::Code(0))),
            Effect::Straggling(Kill::Kill)
        ]
    );
    run.after(2_000);
    assert_eq!(run.take(), [Effect::Straggling(Kill::Kill)]);
    run.give(Event::Empty(Proof::Kernel, Tail::default()));
    assert!(matches!(
        &run.take()[..],
        [Effect::Record(Record::Ended(_)), Effect::Finish]
    ));
}

#[test]
fn a_jail_without_proof_is_closed_and_so_is_one_that_nobody_stops() {
    let jail = || Setup {
        container: Container::Jail,
        ..SETUP
    };
    let mut run = Run::new(jail());
    run.lines(&[UP]).give(Event::Exited(Exit::Code(0)));
    run.after(9_999);
    assert!(!run.has(&Effect::CloseContainer));
    run.after(1);
    assert!(run.has(&Effect::CloseContainer));
    run.take();
    run.after(60_000);
    assert!(!run.has(&Effect::CloseContainer));

    let mut run = Run::new(jail());
    run.give(Event::Linked).lines(&[UP]).stop();
    run.after(60_000);
    assert!(!run.has(&Effect::CloseContainer));
    run.give(Event::Unlinked).after(14_999);
    assert!(!run.has(&Effect::CloseContainer));
    run.after(1);
    assert!(run.has(&Effect::CloseContainer));
}

#[test]
fn a_launch_that_failed_gives_up_the_container_and_says_why() {
    let mut run = Run::new(Setup {
        failed: Some((2, "cannot execute the program: no such file".into())),
        container: Container::Jail,
        ..SETUP
    });
    assert!(run.has(&Effect::CloseContainer));
    run.prompt(1);
    assert_eq!(run.did(1).as_deref(), Some("the agent was not started"));
    let ended = run.ended(Exit::Unseen);
    assert_eq!(ended.exit, Exit::NotStarted(2));
    assert_eq!(ended.proof, Proof::NothingStarted);
    assert_eq!(ended.reason, "cannot execute the program: no such file");
}

#[test]
fn a_full_journal_ends_the_run_without_being_asked() {
    let mut run = working();
    run.give(Event::Linked).take();
    run.give(Event::Exhausted);
    let done = run.take();
    assert!(done.contains(&Effect::Seal));
    let said = |e: &Effect| matches!(e, Effect::Record(Record::State { phase: Phase::Stopping, reason, .. }) if reason == "journal limit");
    assert!(done.iter().any(said));
    // An agent that does not care is killed all the same.
    run.after(LINGER_MS);
    assert!(run.has(&Effect::Straggling(Kill::Term)));
    run.after(10_000);
    assert!(run.has(&Effect::Straggling(Kill::Kill)));
    let ended = run.ended(Exit::Signal(9));
    assert!(!ended.asked);
    assert_eq!(
        (ended.state, ended.reason.as_str()),
        (State::Error, "journal limit")
    );
}

#[test]
fn json_mode_closes_behind_its_prompt_and_waits_for_words_only_then() {
    let mut run = Run::new(Setup {
        mode: Mode::Json,
        ..SETUP
    });
    // Pi says nothing before the end of its input: no deadline for that.
    assert_eq!(run.machine.deadline(), None);
    run.prompt(1);
    let done = run.take();
    assert_eq!(done[0], Effect::Write(b"do".to_vec()));
    assert!(done.contains(&Effect::CloseStdin));
    assert_eq!(run.machine.deadline(), Some(31_000));
    run.after(30_000);
    let silent = |e: &Effect| matches!(e, Effect::Record(Record::State { state: State::Unknown, reason, .. }) if reason == "silent since start");
    assert!(run.take().iter().any(silent));
    // Late, but alive.
    run.lines(&[r#"{"type":"session","id":"s","cwd":"/"}"#]);
    let idle = |e: &Effect| {
        matches!(
            e,
            Effect::Record(Record::State {
                state: State::Idle,
                ..
            })
        )
    };
    assert!(run.take().iter().any(idle));
}

#[test]
fn commands_behind_a_broken_input_are_told() {
    let mut machine = Machine::new(SETUP);
    let mut fx = Vec::new();
    machine.step(Event::Begin, 1, &mut fx);
    let text = "x".to_owned();
    machine.step(
        Event::Command(ToMonitor::Prompt { token: 1, text }),
        1,
        &mut fx,
    );
    machine.step(Event::Written(1), 1, &mut fx); // the probe only
    machine.step(Event::StdinBroken, 1, &mut fx);
    assert!(fx.contains(&Effect::Record(Record::Did {
        token: 1,
        command: Command::Prompt,
        error: "the agent's input is closed".into(),
    })));
    let reply = Reply::Cancel;
    let request = "q".to_owned();
    machine.step(
        Event::Command(ToMonitor::Answer {
            token: 2,
            request,
            reply,
        }),
        1,
        &mut fx,
    );
    assert!(matches!(
        fx.last(),
        Some(Effect::Record(Record::Did { token: 2, error, .. })) if error == "the agent takes no more input"
    ));
}

#[test]
fn commands_in_flight_are_bounded() {
    let mut run = Run::new(SETUP);
    run.lines(&[UP]);
    for token in 1..=65 {
        run.prompt(token);
    }
    assert_eq!(run.did(64), None);
    assert!(run.did(65).is_some_and(|e| e.contains("too many")));
}
