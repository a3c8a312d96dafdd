//! The guard of `top`: it owns the terminal and the name of colibrid's socket. From the view it takes three words
//! and, at the end, a text.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use libcolibri::chan::{Chan, ChanError};
use libcolibri::error::{Context, Fatal, Result};
use libcolibri::sandbox;
use libcolibri::signals::Signals;
use libcolibri::sys::{self, Ended, Signal};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::terminal::Terminal;
use super::wire::{short, ToGuard, ToView};
use crate::client;
use crate::confinement::TOP;
use crate::text::clean;

/// Wait after the first failed connection; doubled with each further one.
const AGAIN_FIRST: Duration = Duration::from_millis(50);
/// Longest wait between two attempts.
const AGAIN_MAX: Duration = Duration::from_secs(1);

/// Signals that end it.
const ENDING: [Signal; 4] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
];
/// Signals about the terminal, about being stopped, and about the view.
const OTHERS: [Signal; 4] = [
    Signal::SIGWINCH,
    Signal::SIGTSTP,
    Signal::SIGCONT,
    Signal::SIGCHLD,
];

/// A connection for the view: it does not block, and has no more rights than the view's table says.
///
/// # Errors
/// As [`client::connect`].
pub fn connect(path: &Path, timeout: Duration) -> Result<OwnedFd> {
    let stream = client::connect(path, timeout)?;
    stream.set_nonblocking(true).or_fatal("set up a socket")?;
    let fd = OwnedFd::from(stream);
    sandbox::limit(&TOP, fd.as_fd(), "colibrid").map_err(|e| Fatal::new(e.to_string()))?;
    Ok(fd)
}

/// See the module.
pub struct Guard<'a> {
    chan: Chan<ToView, ToGuard>,
    signals: Signals,
    view: Pid,
    path: &'a Path,
    timeout: Duration,
    terminal: Terminal,
    /// When to connect next, and the wait after that.
    wanted: Option<(Instant, Duration)>,
    /// The view has been told to let go, and has not yet said that it did.
    letting_go: bool,
    /// The view's last words.
    said: Option<String>,
}

impl<'a> Guard<'a> {
    /// Takes the terminal.
    ///
    /// # Errors
    /// The system's.
    pub fn new(
        chan: Chan<ToView, ToGuard>,
        view: i32,
        path: &'a Path,
        timeout: Duration,
        terminal: Terminal,
    ) -> Result<Guard<'a>> {
        let numbers: Vec<i32> = ENDING.iter().chain(&OTHERS).map(|s| *s as i32).collect();
        let signals = Signals::new(&numbers).or_fatal("install signal handlers")?;
        let (last, hook) = (Mutex::new(terminal.clone()), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |info| {
            if let Ok(terminal) = last.lock() {
                terminal.give_back();
            }
            hook(info);
        }));
        Ok(Guard {
            chan,
            signals,
            view: Pid::from_raw(view),
            path,
            timeout,
            terminal,
            wanted: None,
            letting_go: false,
            said: None,
        })
    }

    /// Runs until the view ends or a signal ends both.
    ///
    /// # Errors
    /// What the view says, or how it died.
    pub fn run(mut self) -> Result<()> {
        let ended = self.show().and_then(|()| loop {
            self.wait();
            for number in self.signals.take() {
                let signal = Signal::try_from(number).or_fatal("read a signal")?;
                if ENDING.contains(&signal) {
                    self.leave();
                    die_by(signal);
                }
                self.signal(signal)?;
            }
            if let Err(gone) = self.hear() {
                break Ok(gone);
            }
            self.connect_if_due();
        });
        // Its end of the channel is closed by its end, which tells how it died.
        let status = self.leave();
        match (ended?, self.said.take()) {
            (_, Some(said)) if !said.is_empty() => Err(Fatal::new(clean(&said))),
            (ChanError::Closed, Some(_)) => Ok(()),
            (ChanError::Closed, None) => Err(died(status)),
            (e, _) => Err(Fatal::new(format!("top's view sent nonsense: {e}"))),
        }
    }

    /// Waits for a signal, a word of the view, or the time to connect.
    fn wait(&self) {
        let timeout = self.wanted.map_or(PollTimeout::NONE, |(at, _)| {
            let left = at.saturating_duration_since(Instant::now());
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        let mut events = PollFlags::POLLIN;
        events.set(PollFlags::POLLOUT, self.chan.is_pending());
        let mut fds = [
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.chan.as_fd(), events),
        ];
        // A signal that interrupts it is read next; nothing else can fail.
        let _ = poll(&mut fds, timeout);
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        match signal {
            Signal::SIGWINCH if !self.letting_go => self.draw(),
            // The terminal may have been used by others meanwhile, whoever has stopped us.
            Signal::SIGCONT => self.show(),
            Signal::SIGTSTP => {
                self.let_go();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Takes the terminal and has the view draw.
    fn show(&mut self) -> Result<()> {
        self.terminal.take().or_fatal("set up the terminal")?;
        self.letting_go = false;
        self.draw()
    }

    fn draw(&mut self) -> Result<()> {
        let size = self
            .terminal
            .size()
            .or_fatal("ask for the terminal's size")?;
        self.tell(&ToView::Draw(size));
        Ok(())
    }

    /// A view that is gone is noticed when it is heard.
    fn tell(&mut self, message: &ToView) {
        let _ = self.chan.send(message);
    }

    fn let_go(&mut self) {
        self.letting_go = true;
        self.tell(&ToView::LetGo);
    }

    /// Does what the view says; the error says that it will say nothing any more.
    fn hear(&mut self) -> std::result::Result<(), ChanError> {
        let _ = self.chan.flush();
        while let Some((message, _)) = self.chan.recv()? {
            match message {
                ToGuard::Connect => self.wanted = Some((Instant::now(), AGAIN_FIRST)),
                ToGuard::Suspend => self.let_go(),
                ToGuard::Released if self.letting_go => {
                    self.terminal.give_back();
                    // Not SIGTSTP, which has a handler; what follows comes with SIGCONT.
                    let _ = kill(Pid::this(), Signal::SIGSTOP);
                }
                ToGuard::Released => {}
                ToGuard::End(said) => self.said = Some(said),
            }
        }
        Ok(())
    }

    fn connect_if_due(&mut self) {
        let Some((_, again)) = self.wanted.filter(|(at, _)| *at <= Instant::now()) else {
            return;
        };
        match connect(self.path, self.timeout) {
            Ok(fd) => {
                self.wanted = None;
                let _ = self.chan.send_fd(&ToView::Connected, fd);
            }
            Err(e) => {
                self.wanted = Some((Instant::now() + again, (again * 2).min(AGAIN_MAX)));
                self.tell(&ToView::Away(short(&e.message)));
            }
        }
    }

    /// Ends the view, which has nothing to lose, and gives the terminal back: how the view ended.
    fn leave(&mut self) -> Option<Ended> {
        let ended = match sys::wait_any(false) {
            Ok(Some(ended)) => Some(ended),
            _ => {
                let _ = kill(self.view, Signal::SIGKILL);
                sys::wait_any(true).ok().flatten()
            }
        };
        self.terminal.give_back();
        ended.map(|(_, status)| Ended::from_status(status))
    }
}

fn died(status: Option<Ended>) -> Fatal {
    Fatal::new(match status {
        Some(Ended::Signal(n)) => format!("top's view was killed by signal {n}"),
        Some(Ended::Code(n)) => format!("top's view ended with status {n}"),
        None => "top's view is gone".into(),
    })
}

/// Ends this process as the signal would have without a handler, so that a shell sees it.
fn die_by(signal: Signal) -> ! {
    let _ = sys::default_signals();
    let _ = kill(Pid::this(), signal);
    sys::exit_now(128 + signal as i32)
}
