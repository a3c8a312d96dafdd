//! What colibrid's commands become: lines for the agent, or a refusal that says why.

use libcolibri::msg::{Reply, ToMonitor};
use libcolibri::pi::command::{self, Command as Line, Reply as PiReply};
use libcolibri::pi::Input;
use libcolibri::record::{Command, Mode};

use super::machine::{did, Machine, Stdin, What, IN_FLIGHT, QUEUE_MAX};
use super::words::Effect;

impl Machine {
    pub(super) fn command(&mut self, command: ToMonitor, now: u64, fx: &mut Vec<Effect>) {
        let (token, what) = match &command {
            ToMonitor::Resume { .. } => return,
            ToMonitor::Stop => {
                self.asked = true;
                return self.stop(now, fx);
            }
            // A colibrid that was started anew cannot know whether the last one's prompt arrived.
            ToMonitor::Prompt { token, .. } if self.prompt == Some(*token) => return,
            ToMonitor::Prompt { token, .. } => (*token, Command::Prompt),
            ToMonitor::Steer { token, .. } => (*token, Command::Steer),
            ToMonitor::Abort { token } => (*token, Command::Abort),
            ToMonitor::Answer { token, .. } => (*token, Command::Answer),
        };
        let result = match self.refusal(what) {
            Some(why) => Err(why.to_owned()),
            None => self.accepted(command, now, fx),
        };
        if what == Command::Prompt && result.is_ok() {
            self.prompt = Some(token);
        }
        if let Err(why) = result {
            did(token, what, why, fx);
        }
    }

    /// Why no such command can be taken now, whatever it says.
    fn refusal(&self, what: Command) -> Option<&'static str> {
        if self.setup.failed.is_some() {
            return Some("the agent was not started");
        }
        if self.stopping {
            return Some("the run is stopping");
        }
        if self.setup.mode == Mode::Json {
            return match what {
                Command::Prompt if !self.prompted => None,
                Command::Prompt => Some("the profile runs in JSON mode: it takes one prompt only"),
                Command::Steer => Some("the profile runs in JSON mode: it cannot be steered"),
                Command::Abort => {
                    Some("the profile runs in JSON mode: it cannot be aborted, only stopped")
                }
                Command::Answer => Some("the profile runs in JSON mode: it asks nothing"),
            };
        }
        if self.stdin == Stdin::Closed {
            return Some("the agent takes no more input");
        }
        if self.due.len() >= IN_FLIGHT {
            return Some("too many commands are on their way to the agent");
        }
        if self.unwritten.iter().sum::<usize>() > QUEUE_MAX {
            return Some("the agent does not read its input");
        }
        None
    }

    fn accepted(
        &mut self,
        command: ToMonitor,
        now: u64,
        fx: &mut Vec<Effect>,
    ) -> Result<(), String> {
        match command {
            ToMonitor::Prompt { token, text } if self.setup.mode == Mode::Json => {
                self.prompted = true;
                let of = Some((token, Command::Prompt));
                self.write(text.into_bytes(), of, What::Prompt, fx);
            }
            ToMonitor::Prompt { token, text } => {
                self.prompted = true;
                self.say(token, Command::Prompt, Line::Prompt(&text), fx);
            }
            ToMonitor::Steer { token, text } if self.is_active() => {
                self.say(token, Command::Steer, Line::Steer(&text), fx);
            }
            ToMonitor::Steer { token, text } => {
                self.prompted = true;
                self.say(token, Command::Steer, Line::Prompt(&text), fx);
            }
            ToMonitor::Abort { .. } if !self.is_active() => {
                return Err("there is nothing to abort".to_owned());
            }
            ToMonitor::Abort { token } => {
                // An open dialog would hold the abort up for ever.
                self.cancel_dialogs(fx);
                self.say(token, Command::Abort, Line::Abort, fx);
                self.fold(Input::Aborted, now, fx);
            }
            ToMonitor::Answer {
                token,
                request,
                reply,
            } => self.answer(token, request, &reply, fx)?,
            ToMonitor::Resume { .. } | ToMonitor::Stop => {}
        }
        Ok(())
    }

    fn say(&mut self, token: u64, command: Command, line: Line<'_>, fx: &mut Vec<Effect>) {
        let line = command::line(&format!("c{token}"), line);
        self.write(line, Some((token, command)), What::Replied, fx);
    }

    fn answer(
        &mut self,
        token: u64,
        request: String,
        reply: &Reply,
        fx: &mut Vec<Effect>,
    ) -> Result<(), String> {
        let Some(open) = self
            .dialogs
            .iter_mut()
            .find(|o| o.dialog.request == request)
        else {
            return Err("no such question".to_owned());
        };
        if open.answered {
            return Err("the question has been answered".to_owned());
        }
        let reply = match reply {
            Reply::Cancel => PiReply::Cancelled,
            Reply::Value(value) => {
                PiReply::parse(&open.dialog.method, &open.dialog.options, value)?
            }
        };
        open.answered = true;
        let cancelled = reply == PiReply::Cancelled;
        let line = command::reply(&request, reply);
        let of = Some((token, Command::Answer));
        self.write(line, of, What::Dialog { request, cancelled }, fx);
        Ok(())
    }
}
