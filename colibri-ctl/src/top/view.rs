//! The view of `top`: reads keys, colibrid and the guard, and draws. Confined; one poll, one thread.

use std::io::{self, BufWriter, Stdout};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use libcolibri::chan::Chan;
use libcolibri::error::{Context, Fatal, Result, EX_OK};
use libcolibri::sys::{self, Signal};
use libcolibri::wire::encode;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use ratatui::layout::Rect;

use super::app::{App, Effect};
use super::draw::draw;
use super::keys::Keys;
use super::link::{Heard, Link};
use super::terminal::Screen;
use super::wire::{short, ToGuard, ToView};
use crate::confinement;
use crate::output::Style;
use crate::time;

/// Least time between two pictures.
const FRAME: Duration = Duration::from_millis(40);
/// Most time between two pictures: ages are shown in seconds.
const TICK: Duration = Duration::from_secs(1);

/// The guard decides about these; the view ends with it.
const IGNORED: [Signal; 5] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGTSTP,
];

/// Runs until it is over; the exit status. What went wrong is told to the guard.
pub fn run(
    mut chan: Chan<ToGuard, ToView>,
    first: OwnedFd,
    timeout: Duration,
    style: &Style,
) -> i32 {
    let terminal = match confined(&chan, &first) {
        Ok(terminal) => terminal,
        Err(e) => {
            let _ = chan.send(&ToGuard::End(short(&e.message)));
            return e.code;
        }
    };
    let mut app = App::new(time::now());
    app.connected();
    let mut view = View {
        chan,
        link: Some(Link::new(first, timeout)),
        timeout,
        app,
        keys: Keys::default(),
        terminal,
        style: style.clone(),
        drawing: false,
        dirty: true,
        drawn: Instant::now(),
    };
    let (code, said) = match view.work() {
        Ok(()) => (EX_OK, String::new()),
        Err(e) => (e.code, e.message),
    };
    let _ = view.chan.send(&ToGuard::End(short(&said)));
    code
}

/// Makes what needs more than the table gives, and confines this process.
fn confined(chan: &Chan<ToGuard, ToView>, first: &OwnedFd) -> Result<Canvas> {
    sys::ignore_signals(&IGNORED).or_fatal("ignore signals")?;
    let last = tell_of_panics(chan)?;
    let screen = Screen::new(BufWriter::new(io::stdout()));
    let canvas = Canvas::new(screen).or_fatal("set up the screen")?;
    confinement::enter_top(first.as_fd(), &[chan.as_fd(), sys::borrow(&last)])?;
    Ok(canvas)
}

/// What is drawn on, and what was.
type Canvas = ratatui::Terminal<Screen<BufWriter<Stdout>>>;

struct View {
    chan: Chan<ToGuard, ToView>,
    link: Option<Link>,
    timeout: Duration,
    app: App,
    keys: Keys,
    terminal: Canvas,
    style: Style,
    /// Whether the terminal is ours.
    drawing: bool,
    /// Whether something has changed since the last picture, and when that was.
    dirty: bool,
    drawn: Instant,
}

impl View {
    fn work(&mut self) -> Result<()> {
        loop {
            if self.follow()? {
                return Ok(());
            }
            self.draw_if_due()?;
            let (guard, keys, colibrid) = self.wait();
            if guard {
                self.hear_guard()?;
            }
            if keys && self.drawing && !self.read_keys()? {
                return Ok(());
            }
            if colibrid {
                self.hear_colibrid();
            }
            self.look_at_deadline();
        }
    }

    /// Waits for something to do: whether there is something of the guard, of the keys, of colibrid.
    fn wait(&self) -> (bool, bool, bool) {
        let now = Instant::now();
        let picture = self
            .drawing
            .then(|| self.drawn + if self.dirty { FRAME } else { TICK });
        let deadline = self.link.as_ref().and_then(Link::deadline);
        let next = picture.into_iter().chain(deadline).min();
        let timeout = next.map_or(PollTimeout::NONE, |at| {
            let left = at.saturating_duration_since(now);
            // Rounded up, or the last millisecond would be a busy loop.
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        let read_and = |write| {
            let mut events = PollFlags::POLLIN;
            events.set(PollFlags::POLLOUT, write);
            events
        };
        let stdin = io::stdin();
        let keys = if self.drawing {
            PollFlags::POLLIN
        } else {
            PollFlags::empty()
        };
        let mut fds = vec![
            PollFd::new(self.chan.as_fd(), read_and(self.chan.is_pending())),
            PollFd::new(stdin.as_fd(), keys),
        ];
        if let Some(link) = &self.link {
            fds.push(PollFd::new(link.as_fd(), read_and(link.is_pending())));
        }
        let _ = poll(&mut fds, timeout);
        let come = |at: usize| fds.get(at).is_some_and(|fd| fd.any().unwrap_or(false));
        (come(0), come(1), come(2))
    }

    fn hear_guard(&mut self) -> Result<()> {
        let gone = |_| Fatal::new("top's guard is gone");
        self.chan.flush().map_err(gone)?;
        while let Some((message, fd)) = self.chan.recv().map_err(gone)? {
            match message {
                ToView::Draw(size) => {
                    self.terminal.backend_mut().resize(size);
                    self.redraw(Rect::new(0, 0, size.0, size.1))?;
                    self.drawing = true;
                }
                ToView::LetGo => {
                    self.drawing = false;
                    self.chan.send(&ToGuard::Released).map_err(gone)?;
                }
                ToView::Connected => {
                    self.link = fd.map(|fd| Link::new(fd, self.timeout));
                    self.app.connected();
                }
                ToView::Away(why) => self.app.away(why, time::now()),
            }
            self.dirty = true;
        }
        Ok(())
    }

    /// Whether it goes on: a terminal that is gone has nobody before it.
    fn read_keys(&mut self) -> Result<bool> {
        let mut bytes = [0; 1024];
        // Not by way of std's buffer, of which poll knows nothing.
        let n = match nix::unistd::read(io::stdin(), &mut bytes) {
            Ok(n) => n,
            Err(nix::errno::Errno::EINTR) => return Ok(true),
            Err(e) => return Err(io::Error::from(e)).or_fatal("read keys"),
        };
        for key in self.keys.feed(&bytes[..n]) {
            self.app.key(key);
        }
        self.dirty = true;
        Ok(n > 0)
    }

    fn hear_colibrid(&mut self) {
        let now = time::now();
        let Some(link) = &mut self.link else { return };
        let mut heard = Vec::new();
        let read = link.flush().and_then(|()| link.read(&mut heard));
        for one in heard {
            match one {
                Heard::Reply(ask, result) => self.app.reply(&ask, result, now),
                Heard::Told(told) => self.app.told(told, now),
            }
        }
        if let Err(why) = read {
            self.app.lost(why, now);
        }
        self.dirty = true;
    }

    fn look_at_deadline(&mut self) {
        let deadline = self.link.as_ref().and_then(Link::deadline);
        if deadline.is_some_and(|at| at <= Instant::now()) {
            let why = format!("it did not answer within {} s", self.timeout.as_secs());
            self.app.lost(why, time::now());
            self.dirty = true;
        }
    }

    /// Does what has to be done; whether it is over.
    fn follow(&mut self) -> Result<bool> {
        let gone = |_| Fatal::new("top's guard is gone");
        for effect in self.app.effects() {
            match effect {
                Effect::Send(ask) => {
                    let sent = self.link.as_mut().map(|l| l.send(ask, Instant::now()));
                    if let Some(Err(why)) = sent {
                        self.app.lost(why, time::now());
                    }
                }
                Effect::Reconnect => {
                    self.link = None;
                    self.chan.send(&ToGuard::Connect).map_err(gone)?;
                }
                Effect::Redraw => {
                    let area = self.terminal.get_frame().area();
                    self.redraw(area)?;
                }
                Effect::Suspend => self.chan.send(&ToGuard::Suspend).map_err(gone)?,
                Effect::Quit => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Forgets what the terminal shows.
    fn redraw(&mut self, area: Rect) -> Result<()> {
        self.terminal.resize(area).or_fatal("draw")
    }

    fn draw_if_due(&mut self) -> Result<()> {
        let since = self.drawn.elapsed();
        let due = since >= TICK || (self.dirty && since >= FRAME);
        if !self.drawing || !due {
            return Ok(());
        }
        self.style.now = time::now();
        let (app, style) = (&mut self.app, &self.style);
        self.terminal
            .draw(|frame| draw(frame, app, style))
            .or_fatal("draw")?;
        (self.dirty, self.drawn) = (false, Instant::now());
        Ok(())
    }
}

/// A panic ends the process at once, and its message would go to a screen that is given back: the guard tells it.
/// Returns the number of the descriptor for that.
fn tell_of_panics(chan: &Chan<ToGuard, ToView>) -> Result<i32> {
    use std::os::fd::AsRawFd;
    let last = chan
        .as_fd()
        .try_clone_to_owned()
        .or_fatal("copy a channel")?;
    let number = last.as_raw_fd();
    std::panic::set_hook(Box::new(move |info| {
        let mut bytes = Vec::new();
        encode(&ToGuard::End(short(&format!("top: {info}"))), &mut bytes);
        let _ = nix::unistd::write(&last, &bytes);
    }));
    Ok(number)
}
