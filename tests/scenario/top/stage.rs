//! What the tests of the live view share.

use colibri_tests::agents::recorded;
use colibri_tests::client::Client;
use colibri_tests::pi::fixtures;
use colibri_tests::screen::Screen;
use colibri_tests::steps::Steps;
use colibri_tests::suite::{program, Scratch, Setup, Suite};
use colibri_tests::wait::LONG;
use serde_json::{json, Value};
use std::time::Instant;

/// A suite and a terminal; the agent `steps` does what the test says, `asks` asks a question.
pub struct Stage {
    pub screen: Screen,
    pub client: Client,
    pub steps: Steps,
    pub suite: Suite,
}

impl Stage {
    /// `None` after a `SKIP:` line where there is no tmux.
    pub fn new() -> Option<Stage> {
        let scratch = Scratch::new();
        let (profile, steps) = Steps::new(&scratch, "steps");
        let trace = fixtures().join("pi/1.5.2/rpc_ask_answer.jsonl");
        let asks = recorded(&scratch, "asks", "rpc", &trace, &["--speed", "0"]);
        let setup = Setup {
            profiles: vec![profile, asks],
            more: "[agent.steps]\ncapabilities = [\"rust\"]\n[agent.asks]\n".into(),
            ..Setup::default()
        };
        let suite = Suite::start_in(scratch, setup);
        let screen = Screen::open(suite.dir())?;
        let mut client = suite.client();
        client.subscribe(None);
        Some(Stage {
            screen,
            client,
            steps,
            suite,
        })
    }

    /// Types the command that starts the view; `before` stands before it.
    pub fn start(&self, before: &str) {
        let (ctl, socket) = (program("colibri-ctl"), self.suite.socket());
        self.screen.run(&format!(
            "clear; {before} {} -s {} top; echo status $?",
            ctl.display(),
            socket.display()
        ));
    }

    /// Starts it and waits until it shows what is.
    #[track_caller]
    pub fn top(&self) -> String {
        self.start("");
        self.screen.see("Board: ")
    }

    /// Puts a task on the board; its number.
    #[track_caller]
    pub fn task(&mut self, title: &str, agent: &str) -> u64 {
        let new: Value = json!({"cmd": "create-task", "title": title, "agent_id": agent});
        self.client.call(new)["id"].as_u64().expect("a number")
    }
}

/// Reads events until the task stands there.
#[track_caller]
pub fn wait_task(client: &mut Client, task: u64, status: &str) {
    let end = Instant::now() + LONG;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let line = client
            .event(left)
            .unwrap_or_else(|e| panic!("waited for task {task} to be {status}: {e}"));
        let event = &line["event"];
        if event["kind"] == "task" && event["task"] == json!(task) && event["status"] == status {
            return;
        }
    }
}
