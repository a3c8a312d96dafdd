//! An agent that does exactly what a test says, when it says so: a shell script in JSON mode that
//! copies lines from a named pipe to its stdout.

use crate::suite::{is_root, Profile, Scratch, AGENT};
use nix::sys::stat::Mode;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

/// The agent's program. `exit N` ends it; `started` gets one line each time it is started.
const SCRIPT: &str = "\
echo started >>\"$1/started\"
prompt=$(cat)
printf '%s\\n' \"$prompt\" >>\"$1/prompts\"
echo '{\"type\":\"session\",\"version\":3,\"id\":\"steps\",\"timestamp\":\"2026-01-01T00:00:00.000Z\",\"cwd\":\"/\"}'
echo '{\"type\":\"agent_start\"}'
while IFS= read -r line; do
  case $line in
    exit*) exit \"${line#exit }\" ;;
    *) printf '%s\\n' \"$line\" ;;
  esac
done <\"$1/pipe\"
";

/// The test's side of such an agent.
pub struct Steps {
    dir: PathBuf,
    /// Open for both directions, so that the agent never sees its end.
    pipe: File,
    tools: usize,
}

impl Steps {
    /// Makes the agent; its profile has the name `name`.
    ///
    /// # Panics
    /// When its files cannot be made.
    #[must_use]
    pub fn new(scratch: &Scratch, name: &str) -> (Profile, Self) {
        let dir = scratch.for_agent(&format!("steps-{name}"));
        let path = dir.join("pipe");
        nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600)).expect("a named pipe");
        let script = dir.join("agent.sh");
        fs::write(&script, SCRIPT).expect("the script");
        if is_root() {
            std::os::unix::fs::chown(&path, Some(AGENT.0), Some(AGENT.1)).expect("given away");
        }
        let pipe = File::options()
            .read(true)
            .write(true)
            .open(&path)
            .expect("the pipe");
        let command = [
            "/bin/sh",
            &script.display().to_string(),
            &dir.display().to_string(),
        ];
        let profile = Profile::new(name, "json", command.map(str::to_owned).to_vec());
        (
            profile,
            Self {
                dir,
                pipe,
                tools: 0,
            },
        )
    }

    /// Has the agent write a line.
    ///
    /// # Panics
    /// When the pipe is broken.
    pub fn say(&mut self, line: &str) {
        self.pipe
            .write_all(format!("{line}\n").as_bytes())
            .expect("written");
    }

    /// Has the agent start and end `n` tools, `call-0`, `call-1` and so on through its life.
    pub fn tools(&mut self, n: usize) {
        for _ in 0..n {
            let id = self.tools;
            self.tools += 1;
            self.say(&format!(
                r#"{{"type":"tool_execution_start","toolCallId":"call-{id}","toolName":"bash","args":{{}}}}"#
            ));
            self.say(&format!(
                r#"{{"type":"tool_execution_end","toolCallId":"call-{id}","toolName":"bash","result":{{}},"isError":false}}"#
            ));
        }
    }

    /// How many tools were used so far.
    #[must_use]
    pub fn used(&self) -> usize {
        self.tools
    }

    /// Has the agent end an answer of the model that costs so much and is not the last.
    pub fn answer(&mut self, tokens: u64, usd: f64) {
        self.say(&format!(
            r#"{{"type":"message_end","message":{{"role":"assistant","content":[],"usage":{{"input":{tokens},"output":0,"cacheRead":0,"cacheWrite":0,"totalTokens":{tokens},"cost":{{"input":{usd},"output":0,"cacheRead":0,"cacheWrite":0,"total":{usd}}}}},"stopReason":"toolUse"}}}}"#
        ));
    }

    /// Has the agent settle its work well.
    pub fn settle(&mut self) {
        self.say(r#"{"type":"message_end","message":{"role":"assistant","content":[{"type":"text","text":"done"}],"usage":{"input":1,"output":1,"cacheRead":0,"cacheWrite":0,"totalTokens":2,"cost":{"input":0,"output":0,"cacheRead":0,"cacheWrite":0,"total":0}},"stopReason":"stop"}}"#);
        self.say(r#"{"type":"agent_end","messages":[],"willRetry":false}"#);
        self.say(r#"{"type":"agent_settled","aborted":false}"#);
    }

    /// Has the agent exit.
    pub fn exit(&mut self, code: u8) {
        self.say(&format!("exit {code}"));
    }

    /// How often the agent was started.
    #[must_use]
    pub fn started(&self) -> usize {
        lines(&self.dir.join("started"))
    }

    /// How many prompts it got.
    #[must_use]
    pub fn prompts(&self) -> usize {
        lines(&self.dir.join("prompts"))
    }

    /// All prompts that it got, a line feed behind each.
    #[must_use]
    pub fn prompted(&self) -> String {
        fs::read_to_string(self.dir.join("prompts")).unwrap_or_default()
    }
}

fn lines(path: &std::path::Path) -> usize {
    fs::read_to_string(path).map_or(0, |text| text.lines().count())
}
