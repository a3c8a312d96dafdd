//! A terminal of its own for a program that needs one: a tmux server with one window, whose screen can be read.

use crate::skip::skip;
use crate::wait::{must, LONG};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A shell in a window of 80 columns and 24 rows. Dropping it ends the shell and its server.
pub struct Screen {
    socket: PathBuf,
}

impl Screen {
    /// A screen, or `None` after a `SKIP:` line where there is no tmux.
    ///
    /// # Panics
    /// In CI (`CI=true`) without tmux, and when it cannot be started.
    #[must_use]
    pub fn open(dir: &Path) -> Option<Screen> {
        let there = Command::new("tmux").arg("-V").output();
        if there.is_err() {
            let ci = std::env::var("CI").as_deref() == Ok("true");
            assert!(!ci, "no tmux");
            skip("no tmux");
            return None;
        }
        let screen = Screen {
            socket: dir.join("tmux"),
        };
        screen.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            "80",
            "-y",
            "24",
            SHELL,
        ]);
        screen.until("the shell", |s| s.starts_with("sh:"));
        Some(screen)
    }

    fn tmux(&self, args: &[&str]) -> String {
        let out = Command::new("tmux")
            .arg("-S")
            .arg(&self.socket)
            .args(args)
            // Nothing of the terminal in which the tests run, and a locale that knows more than ASCII.
            .env_remove("TMUX")
            .env_remove("NO_COLOR")
            .env("LC_ALL", "C.UTF-8")
            // That of the user may be one that lets nobody in.
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::null())
            .output()
            .expect("tmux runs");
        assert!(
            out.status.success(),
            "tmux {args:?}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    /// Types a text.
    pub fn text(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
    }

    /// Pastes a text, as terminals do that mark what is pasted.
    pub fn paste(&self, text: &str) {
        self.tmux(&["set-buffer", text]);
        self.tmux(&["paste-buffer", "-p"]);
    }

    /// Presses keys, by their names in tmux(1).
    pub fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Types a command line.
    pub fn run(&self, line: &str) {
        self.text(line);
        self.keys(&["Enter"]);
    }

    /// Gives the window another size.
    pub fn resize(&self, columns: u16, rows: u16) {
        let (x, y) = (columns.to_string(), rows.to_string());
        self.tmux(&["resize-window", "-x", &x, "-y", &y]);
    }

    /// What is on the screen, line by line, without blanks at the ends.
    #[must_use]
    pub fn shown(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// The same with the sequences that give it colours.
    #[must_use]
    pub fn coloured(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-e"])
    }

    /// A fact about the window, by its name in tmux(1).
    #[must_use]
    pub fn fact(&self, name: &str) -> String {
        let format = format!("#{{{name}}}");
        self.tmux(&["display-message", "-p", &format])
            .trim()
            .to_owned()
    }

    /// Waits until the screen fits, and returns it.
    ///
    /// # Panics
    /// When a minute passes; what was there then is in the message.
    #[track_caller]
    pub fn until(&self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        let found = crate::wait::wait_for(LONG, || {
            last = self.shown();
            fits(&last).then(|| last.clone())
        });
        found.unwrap_or_else(|| panic!("waited in vain for {what}; the screen is\n{last}"))
    }

    /// Waits until a text is there.
    ///
    /// # Panics
    /// As [`Screen::until`].
    #[track_caller]
    pub fn see(&self, text: &str) -> String {
        self.until(text, |s| s.contains(text))
    }

    /// Fails unless the terminal is as it was before: no second screen, a cursor, lines with echo and signals.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert_eq!(self.fact("alternate_on"), "0");
        assert_eq!(self.fact("cursor_flag"), "1");
        self.run("clear; stty -a; echo the-en''d");
        let modes = self.see("the-end");
        for mode in ["icanon", "echo", "isig", "icrnl", "opost", "onlcr"] {
            let on = |word: &str| word.trim_end_matches(';') == mode;
            assert!(modes.split_whitespace().any(on), "{mode}: {modes}");
        }
        self.run("clear");
        self.until("an empty screen", |s| s.trim() == "sh:");
    }

    /// The process in front, a child of the shell.
    ///
    /// # Panics
    /// When there is none within a minute.
    #[track_caller]
    #[must_use]
    pub fn front(&self) -> i32 {
        let shell: i32 = self.fact("pane_pid").parse().expect("a process id");
        must("a program in the window", LONG, || {
            crate::procs::children_of(shell).first().map(|p| p.pid)
        })
    }
}

/// With job control, and a prompt that is known.
const SHELL: &str =
    "exec env -i PATH=\"$PATH\" TERM=\"$TERM\" LC_ALL=C.UTF-8 PS1='sh: ' ENV= /bin/sh -i";

impl Drop for Screen {
    fn drop(&mut self) {
        // A server that is gone must not end the test that already fails.
        let last = |word: &str| {
            let mut tmux = Command::new("tmux");
            tmux.arg("-S").arg(&self.socket).arg(word).output()
        };
        if let (true, Ok(pane)) = (std::thread::panicking(), last("list-panes")) {
            eprintln!("--- tmux ---\n{}", String::from_utf8_lossy(&pane.stdout));
        }
        let _ = last("kill-server");
    }
}
