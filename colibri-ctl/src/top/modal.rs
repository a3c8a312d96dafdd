//! What the operator is asked before something is done. Pure.

use super::ask::Act;
use super::keys::Key;
use crate::model::Dialog;

/// Longest text that can be typed, in bytes.
const TYPED_MAX: usize = 16 * 1024;

/// See the module.
#[derive(Debug)]
pub enum Modal {
    /// Yes or no.
    Confirm {
        /// The question.
        question: String,
        /// What yes does.
        act: Act,
    },
    /// One of the answers to a question of an agent.
    Choice {
        /// Of which run.
        run: u64,
        /// The question.
        dialog: Dialog,
        /// The answer that is chosen; the last one cancels the question.
        at: usize,
    },
    /// A text.
    Input {
        /// For which run.
        run: u64,
        /// The question that it answers; nothing steers.
        dialog: Option<Dialog>,
        /// What was typed so far.
        text: String,
    },
}

/// What became of a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It goes on.
    Stay,
    /// It is over, and nothing is done.
    Drop,
    /// It is over, and this is done.
    Do(Act),
}

impl Modal {
    /// Asks for the answer to a question of a run.
    #[must_use]
    pub fn answer(run: u64, dialog: Dialog) -> Modal {
        match dialog.method.as_str() {
            "confirm" | "select" => Modal::Choice { run, dialog, at: 0 },
            _ => Modal::Input {
                run,
                dialog: Some(dialog),
                text: String::new(),
            },
        }
    }

    /// The question of an agent that it is about: run and name.
    #[must_use]
    pub fn about(&self) -> Option<(u64, &str)> {
        match self {
            Modal::Choice { run, dialog, .. }
            | Modal::Input {
                run,
                dialog: Some(dialog),
                ..
            } => Some((*run, &dialog.request)),
            _ => None,
        }
    }

    /// Takes a key.
    pub fn key(&mut self, key: Key) -> Outcome {
        match (self, key) {
            (_, Key::Esc) => Outcome::Drop,
            (Modal::Confirm { act, .. }, Key::Char('y' | 'Y')) => Outcome::Do(act.clone()),
            (Modal::Confirm { .. }, Key::Char('n' | 'N' | 'q')) => Outcome::Drop,
            (Modal::Confirm { .. }, _) => Outcome::Stay,
            (Modal::Choice { run, dialog, at }, key) => choose(*run, dialog, at, key),
            (Modal::Input { run, dialog, text }, key) => typed(*run, dialog.as_ref(), text, key),
        }
    }
}

/// The answers that there are to a question.
#[must_use]
pub fn answers(dialog: &Dialog) -> Vec<String> {
    match dialog.method.as_str() {
        "confirm" => vec!["yes".into(), "no".into()],
        _ => dialog.options.clone(),
    }
}

fn choose(run: u64, dialog: &Dialog, at: &mut usize, key: Key) -> Outcome {
    let mut answers = answers(dialog);
    let last = answers.len();
    match key {
        Key::Up | Key::Char('k') => *at = at.saturating_sub(1),
        Key::Down | Key::Char('j') | Key::Tab => *at = (*at + 1).min(last),
        Key::Home => *at = 0,
        Key::End => *at = last,
        // A letter chooses, Enter does: an answer cannot be taken back.
        Key::Char('y') if dialog.method == "confirm" => *at = 0,
        Key::Char('n') if dialog.method == "confirm" => *at = 1,
        Key::Char(c @ '1'..='9') => *at = (c as usize - '1' as usize).min(last),
        Key::Enter => {
            let value = (*at < last).then(|| answers.swap_remove(*at));
            return answered(run, dialog, value);
        }
        Key::Ctrl('x') => return answered(run, dialog, None),
        _ => {}
    }
    Outcome::Stay
}

fn typed(run: u64, dialog: Option<&Dialog>, text: &mut String, key: Key) -> Outcome {
    match (key, dialog) {
        (Key::Char(c) | Key::Pasted(c), _) if text.len() + c.len_utf8() <= TYPED_MAX => {
            text.push(c)
        }
        (Key::Backspace, _) => drop(text.pop()),
        (Key::Ctrl('u'), _) => text.clear(),
        (Key::Ctrl('w'), _) => {
            let kept = text.trim_end().rfind(' ').map_or(0, |at| at + 1);
            text.truncate(kept);
        }
        (Key::Ctrl('x'), Some(dialog)) => return answered(run, dialog, None),
        (Key::Enter, Some(dialog)) => return answered(run, dialog, Some(text.clone())),
        (Key::Enter, None) if !text.trim().is_empty() => {
            return Outcome::Do(Act::Steer(run, text.clone()))
        }
        _ => {}
    }
    Outcome::Stay
}

fn answered(run: u64, dialog: &Dialog, value: Option<String>) -> Outcome {
    let request = dialog.request.clone();
    Outcome::Do(Act::Answer {
        run,
        request,
        value,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialog(method: &str) -> Dialog {
        Dialog {
            request: "r1".into(),
            method: method.into(),
            options: vec!["red".into(), "green".into()],
            ..Dialog::default()
        }
    }

    fn keys(modal: &mut Modal, keys: &[Key]) -> Outcome {
        let mut last = Outcome::Stay;
        for key in keys {
            assert_eq!(last, Outcome::Stay, "before {key:?}");
            last = modal.key(*key);
        }
        last
    }

    fn value(outcome: Outcome) -> Option<String> {
        match outcome {
            Outcome::Do(Act::Answer {
                run: 7,
                request,
                value,
            }) if request == "r1" => value,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn choices_are_made_by_enter_only() {
        let ask =
            |method, pressed: &[Key]| value(keys(&mut Modal::answer(7, dialog(method)), pressed));
        assert_eq!(ask("confirm", &[Key::Enter]).as_deref(), Some("yes"));
        let no = [Key::Char('n'), Key::Enter];
        assert_eq!(ask("confirm", &no).as_deref(), Some("no"));
        let second = [Key::Char('2'), Key::Enter];
        assert_eq!(ask("select", &second).as_deref(), Some("green"));
        assert_eq!(ask("select", &[Key::End, Key::Enter]), None);
        assert_eq!(ask("select", &[Key::Ctrl('x')]), None);
        let mut modal = Modal::answer(7, dialog("select"));
        assert_eq!(keys(&mut modal, &[Key::Down, Key::Esc]), Outcome::Drop);
    }

    #[test]
    fn texts_are_typed() {
        let type_in = |modal: &mut Modal, text: &str| {
            text.chars().for_each(|c| drop(modal.key(Key::Char(c))));
        };
        let mut modal = Modal::answer(7, dialog("input"));
        assert_eq!(modal.about(), Some((7, "r1")));
        type_in(&mut modal, "one twwo");
        let fixed = [Key::Ctrl('w'), Key::Char('2'), Key::Enter];
        assert_eq!(value(keys(&mut modal, &fixed)).as_deref(), Some("one 2"));
        let mut steer = Modal::Input {
            run: 7,
            dialog: None,
            text: String::new(),
        };
        assert_eq!(steer.key(Key::Enter), Outcome::Stay, "nothing to say");
        type_in(&mut steer, "left");
        assert_eq!(
            steer.key(Key::Enter),
            Outcome::Do(Act::Steer(7, "left".into()))
        );
    }

    #[test]
    fn only_yes_is_yes() {
        let mut modal = Modal::Confirm {
            question: "Stop?".into(),
            act: Act::Stop(7),
        };
        assert_eq!(
            keys(&mut modal, &[Key::Enter, Key::Char('n')]),
            Outcome::Drop
        );
        assert_eq!(modal.key(Key::Char('y')), Outcome::Do(Act::Stop(7)));
    }
}
