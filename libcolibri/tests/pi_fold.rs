//! The state machine, rule by rule, fed with lines as Pi writes them.

use libcolibri::pi::fold::SETTLE_MS;
use libcolibri::pi::{Fold, Input, Options, Parser};
use libcolibri::record::{Closed, Mode, Record};
use libcolibri::state::{Exit, Phase, State};

struct Run {
    fold: Fold,
    parser: Parser,
    at: u64,
    out: Vec<Record>,
}

impl Run {
    fn new(mode: Mode, live: bool) -> Run {
        let mode = Some(mode);
        Run {
            fold: Fold::new(Options { mode, live }),
            parser: Parser::new(),
            at: 1000,
            out: Vec::new(),
        }
    }

    fn live() -> Run {
        Run::new(Mode::Rpc, true)
    }

    fn lines(&mut self, lines: &[&str]) -> &mut Self {
        for line in lines {
            let mut events = Vec::new();
            self.parser.feed(line.as_bytes(), &mut |e| events.push(e));
            self.parser.feed(b"\n", &mut |e| events.push(e));
            assert_eq!(self.parser.malformed(), 0, "{line}");
            for event in events {
                self.fold.step(Input::Event(event), self.at, &mut self.out);
            }
        }
        self
    }

    fn give(&mut self, input: Input<'_>) -> &mut Self {
        self.fold.step(input, self.at, &mut self.out);
        self
    }

    fn exit(&mut self, exit: Exit, asked: bool) -> (State, String) {
        self.give(Input::Exit { exit, asked });
        let view = self.fold.view();
        assert_eq!(view.phase, Phase::None);
        (view.state, view.reason.clone())
    }

    fn is(&self, state: State, phase: Phase, reason: &str) {
        let view = self.fold.view();
        assert_eq!(
            (view.state, view.phase, view.reason.as_str()),
            (state, phase, reason)
        );
    }
}

const START: &str = r#"{"type":"agent_start"}"#;
const END: &str = r#"{"type":"agent_end","messages":[]}"#;
const SETTLED: &str = r#"{"type":"agent_settled","aborted":false}"#;
const OPENED: &str = r#"{"id":"p1","type":"response","command":"prompt","success":true}"#;
const ABORTED: &str = r#"{"id":"a1","type":"response","command":"abort","success":true}"#;
const HEADER: &str = r#"{"type":"session","version":3,"id":"s","cwd":"/w"}"#;

fn answer(stop: &str, error: &str) -> String {
    format!(
        r#"{{"type":"message_end","message":{{"role":"assistant","content":[{{"type":"text","text":"t"}}],"stopReason":"{stop}","errorMessage":"{error}"}}}}"#
    )
}

fn tool(event: &str, id: &str) -> String {
    format!(r#"{{"type":"tool_execution_{event}","toolCallId":"{id}","toolName":"bash"}}"#)
}

fn ask(id: &str, timeout: u64) -> String {
    format!(
        r#"{{"type":"extension_ui_request","id":"{id}","method":"confirm","title":"t","message":"m","timeout":{timeout}}}"#
    )
}

fn closed(run: &Run) -> Vec<Closed> {
    let how = run.out.iter().filter_map(|r| match r {
        Record::Settled { how, .. } => Some(*how),
        _ => None,
    });
    how.collect()
}

#[test]
fn the_last_answer_decides_when_the_work_settles() {
    for (stop, error, state, reason) in [
        ("stop", "", State::Done, ""),
        ("length", "", State::Done, "truncated"),
        ("deferred", "", State::Done, ""),
        ("aborted", "Request was aborted", State::Idle, "aborted"),
        ("error", "401 no", State::Error, "401 no"),
    ] {
        let mut run = Run::live();
        run.lines(&[OPENED, START, &answer(stop, error), END, SETTLED]);
        run.is(state, Phase::None, reason);
        assert!(run.fold.settled());
        assert!(run.out.contains(&Record::Answer { text: "t".into() }));
        assert_eq!(run.exit(Exit::Code(0), false), (state, reason.into()));
    }
}

#[test]
fn exit_codes_alone_prove_nothing() {
    let done = answer("stop", "");
    let exits = |lines: &[&str], exit, asked| {
        let mut run = Run::new(Mode::Json, false);
        run.lines(lines).exit(exit, asked)
    };
    let error = |reason: &str| (State::Error, reason.to_owned());
    let idle = |reason: &str| (State::Idle, reason.to_owned());
    let zero = Exit::Code(0);
    assert_eq!(exits(&[HEADER], zero, false), error("no run"));
    assert_eq!(exits(&[], zero, false), error("no run"));
    assert_eq!(
        exits(&[HEADER, START], zero, false),
        error("stream ended early")
    );
    assert_eq!(exits(&[HEADER, START], zero, true), idle("stopped"));
    assert_eq!(
        exits(&[HEADER, START, &done, END], zero, false),
        (State::Done, String::new())
    );
    assert_eq!(
        exits(&[HEADER, START], Exit::Code(143), true),
        idle("stopped 143")
    );
    assert_eq!(
        exits(&[HEADER, START], Exit::Code(143), false),
        error("exit 143")
    );
    assert_eq!(exits(&[], Exit::Signal(15), true), idle("stopped -15"));
    assert_eq!(exits(&[], Exit::Signal(9), false), error("exit -9"));
    assert_eq!(exits(&[], Exit::Code(1), false), error("exit 1"));
    assert_eq!(exits(&[], Exit::Unseen, true), error("monitor lost"));
    let delta = r#"{"type":"message_update","assistantMessageEvent":{}}"#;
    // A Pi of this dialect always says agent_settled; without it the stream was cut.
    assert_eq!(
        exits(&[HEADER, START, delta, &done, END], zero, false),
        error("stream ended early")
    );
    let compaction = r#"{"type":"compaction_start","reason":"overflow"}"#;
    assert_eq!(
        exits(&[HEADER, START, &done, END, compaction], zero, false),
        error("stream ended early")
    );
    let again = r#"{"type":"compaction_end","reason":"overflow","willRetry":true}"#;
    assert_eq!(
        exits(&[HEADER, START, &done, END, compaction, again], zero, false),
        error("stream ended early")
    );
    let will = r#"{"type":"agent_end","messages":[],"willRetry":true}"#;
    assert_eq!(
        exits(&[HEADER, START, &done, will], zero, false),
        error("stream ended early")
    );
}

#[test]
fn what_we_end_after_it_settled_keeps_its_result() {
    for (exit, state) in [
        (Exit::Code(143), State::Done),
        (Exit::Signal(9), State::Done),
        (Exit::Code(1), State::Error),
    ] {
        let mut run = Run::live();
        run.lines(&[OPENED, START, &answer("stop", ""), END, SETTLED]);
        run.give(Input::Finishing);
        assert_eq!(run.exit(exit, false).0, state);
    }
}

#[test]
fn a_retry_is_work_until_it_is_cancelled() {
    let retry = r#"{"type":"auto_retry_start","attempt":1,"maxAttempts":3,"delayMs":2000,"errorMessage":"429"}"#;
    let will = r#"{"type":"agent_end","messages":[],"willRetry":true}"#;
    let cancelled =
        r#"{"type":"auto_retry_end","success":false,"attempt":1,"finalError":"Retry cancelled"}"#;
    let gave_up = r#"{"type":"auto_retry_end","success":false,"attempt":3,"finalError":"429"}"#;
    let mut run = Run::live();
    run.lines(&[START, &answer("error", "429"), will, retry]);
    run.is(State::Working, Phase::Retrying, "1/3 429");
    assert_eq!(run.fold.view().until_ms, 3000);
    run.lines(&[START]).is(State::Working, Phase::Model, "");
    run.lines(&[&answer("error", "429"), END, gave_up]);
    run.is(State::Working, Phase::Settling, "");
    run.lines(&[SETTLED]).is(State::Error, Phase::None, "429");

    let mut run = Run::new(Mode::Rpc, false);
    run.lines(&[START, &answer("error", "429"), will, retry, cancelled]);
    run.lines(&[r#"{"type":"agent_settled"}"#, ABORTED]);
    run.is(State::Idle, Phase::None, "aborted");
}

#[test]
fn an_abort_explains_an_error_that_reads_like_one() {
    let quirk = answer("error", "This operation was aborted");
    let settled = r#"{"type":"agent_settled"}"#;
    // We know that we aborted.
    let mut run = Run::live();
    run.lines(&[OPENED, START]).give(Input::Aborted);
    run.lines(&[&quirk, END, settled]);
    run.is(State::Idle, Phase::None, "aborted");
    // The next run's own error is its own.
    run.lines(&[ABORTED, START, &answer("error", "500"), END, settled]);
    run.is(State::Error, Phase::None, "500");
    // A recording shows it by the reply, which comes last.
    let mut run = Run::new(Mode::Rpc, false);
    run.lines(&[OPENED, START, &quirk, END, settled]);
    run.is(State::Error, Phase::None, "This operation was aborted");
    run.lines(&[ABORTED])
        .is(State::Idle, Phase::None, "aborted");
    // An abort of nothing does not excuse a real error.
    let mut run = Run::new(Mode::Rpc, false);
    run.lines(&[
        OPENED,
        START,
        &answer("error", "401"),
        END,
        settled,
        ABORTED,
    ]);
    run.is(State::Error, Phase::None, "401");
}

#[test]
fn a_dialog_blocks_until_it_is_answered() {
    let mut run = Run::live();
    run.lines(&[OPENED, START, &tool("start", "a"), &ask("d", 0)]);
    run.is(State::Blocked, Phase::None, "user");
    assert!(run.fold.is_open("d"));
    run.give(Input::Answered {
        request: "other",
        cancelled: false,
    });
    run.is(State::Blocked, Phase::None, "user");
    run.give(Input::Answered {
        request: "d",
        cancelled: true,
    });
    run.is(State::Working, Phase::Tool, "");
    assert_eq!(closed(&run), [Closed::Cancelled]);
}

#[test]
fn a_dialog_with_a_timeout_ends_by_itself() {
    let mut run = Run::live();
    run.lines(&[OPENED, START, &tool("start", "a"), &ask("d", 1500)]);
    assert_eq!(run.fold.next_deadline(), Some(2500));
    run.at = 2499;
    run.give(Input::Tick)
        .is(State::Blocked, Phase::None, "user");
    run.at = 2500;
    run.give(Input::Tick).is(State::Working, Phase::Tool, "");
    assert_eq!(run.fold.next_deadline(), None);
    assert_eq!(closed(&run), [Closed::TimedOut]);
}

#[test]
fn only_the_tool_that_can_have_asked_shows_that_a_dialog_is_over() {
    let mut run = Run::live();
    run.lines(&[
        START,
        &tool("start", "a"),
        &tool("start", "b"),
        &ask("d", 0),
    ]);
    run.lines(&[&tool("update", "b")]);
    run.is(State::Blocked, Phase::None, "user");
    run.lines(&[&tool("end", "b")]);
    run.is(State::Blocked, Phase::None, "user");
    run.lines(&[&tool("end", "a")]);
    run.is(State::Working, Phase::Model, "");
    for over in [tool("update", "a"), tool("start", "b"), END.to_owned()] {
        let mut run = Run::live();
        run.lines(&[START, &tool("start", "a"), &ask("d", 0), &over]);
        assert_eq!(closed(&run), [Closed::Overtaken], "{over}");
    }
}

#[test]
fn tools_and_compactions_are_counted() {
    let mut run = Run::live();
    run.lines(&[
        START,
        &tool("start", "a"),
        &tool("start", "b"),
        &tool("end", "a"),
    ]);
    run.is(State::Working, Phase::Tool, "");
    run.lines(&[&tool("end", "b")])
        .is(State::Working, Phase::Model, "");
    let (begin, end) = (
        r#"{"type":"compaction_start","reason":"threshold"}"#,
        r#"{"type":"compaction_end","reason":"threshold","result":{"usage":{"input":9}}}"#,
    );
    run.lines(&[begin, begin, end])
        .is(State::Working, Phase::Compacting, "");
    run.lines(&[end]).is(State::Working, Phase::Model, "");
    assert_eq!(run.fold.usage().input, 18);
    run.lines(&[r#"{"type":"summarization_retry_scheduled","attempt":1,"maxAttempts":3,"delayMs":5,"errorMessage":"x"}"#]);
    run.is(State::Working, Phase::Retrying, "1/3 x");
    run.lines(&[r#"{"type":"summarization_retry_finished"}"#]);
    run.is(State::Working, Phase::Model, "");
}

#[test]
fn an_old_pi_settles_by_quiet_or_when_it_says_that_it_is_idle() {
    let quiet = r#"{"id":"g","type":"response","command":"get_state","success":true,"data":{"isStreaming":false,"isCompacting":false}}"#;
    let done = answer("stop", "");
    let mut run = Run::live();
    run.lines(&[OPENED, START, &done, END]);
    assert_eq!(run.fold.next_deadline(), Some(run.at + SETTLE_MS));
    run.at += SETTLE_MS;
    run.give(Input::Tick).is(State::Done, Phase::None, "");
    let mut run = Run::live();
    run.lines(&[OPENED, START, &done, END, quiet]);
    run.is(State::Done, Phase::None, "");
    // What follows within the quiet takes it back, and a recording is never guessed at.
    let mut run = Run::live();
    run.lines(&[OPENED, START, &done, END, START]);
    assert_eq!(run.fold.next_deadline(), None);
    let mut run = Run::new(Mode::Rpc, false);
    run.lines(&[OPENED, START, &done, END, quiet]);
    run.is(State::Working, Phase::Settling, "");
}

#[test]
fn stopping_is_shown_and_a_handled_prompt_starts_nothing() {
    let mut run = Run::live();
    run.lines(&[OPENED, START]).give(Input::Stopping);
    run.is(State::Working, Phase::Stopping, "");
    assert_eq!(
        run.exit(Exit::Code(143), false),
        (State::Idle, "stopped 143".into())
    );
    let mut run = Run::live();
    run.lines(&[
        r#"{"type":"response","command":"prompt","success":true,"data":{"disposition":"handled"}}"#,
    ]);
    run.is(State::Idle, Phase::None, "handled");
    assert_eq!(
        run.exit(Exit::Code(0), false),
        (State::Idle, "no run".into())
    );
}

#[test]
fn json_mode_with_several_prompts_passes_through_done() {
    let mut run = Run::new(Mode::Json, true);
    run.lines(&[HEADER, START, &answer("error", "x"), END, SETTLED]);
    run.is(State::Error, Phase::None, "x");
    run.lines(&[START, &answer("stop", ""), END, SETTLED]);
    assert_eq!(run.exit(Exit::Code(0), false), (State::Done, String::new()));
}
