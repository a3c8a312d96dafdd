//! The terminal: taken, given back, drawn on.

use std::io::{self, Write};

use nix::sys::termios::{cfmakeraw, tcgetattr, tcsetattr, SetArg, Termios};
use ratatui::backend::{Backend, ClearType, CrosstermBackend, WindowSize};
use ratatui::buffer::Cell;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use ratatui::crossterm::execute;
use ratatui::crossterm::style::ResetColor;
use ratatui::crossterm::terminal::{size, EnterAlternateScreen, LeaveAlternateScreen};
use ratatui::layout::{Position, Size};

use super::wire;

/// The modes that the terminal had.
#[derive(Clone)]
pub struct Terminal {
    before: Termios,
}

impl Terminal {
    /// Reads its modes.
    ///
    /// # Errors
    /// The system's.
    pub fn open() -> io::Result<Terminal> {
        let before = tcgetattr(io::stdin())?;
        Ok(Terminal { before })
    }

    /// Has keys come at once and unseen, and what is there now put aside.
    ///
    /// # Errors
    /// The system's.
    pub fn take(&self) -> io::Result<()> {
        let mut raw = self.before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(io::stdin(), SetArg::TCSADRAIN, &raw)?;
        execute!(
            io::stdout(),
            EnterAlternateScreen,
            EnableBracketedPaste,
            Hide
        )
    }

    /// Puts everything back. A terminal that is gone needs nothing.
    pub fn give_back(&self) {
        let _ = execute!(
            io::stdout(),
            ResetColor,
            DisableBracketedPaste,
            Show,
            LeaveAlternateScreen
        );
        let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &self.before);
    }

    /// Its size now.
    ///
    /// # Errors
    /// The system's.
    pub fn size(&self) -> io::Result<wire::Size> {
        size()
    }
}

/// What is drawn on. It is told its size: confined, it could not ask.
pub struct Screen<W: Write> {
    inner: CrosstermBackend<W>,
    size: Size,
}

impl<W: Write> Screen<W> {
    /// Of no size yet.
    pub fn new(out: W) -> Screen<W> {
        Screen {
            inner: CrosstermBackend::new(out),
            size: Size::new(0, 0),
        }
    }

    /// Has this size from now on.
    pub fn resize(&mut self, (columns, rows): wire::Size) {
        self.size = Size::new(columns, rows);
    }
}

impl<W: Write> Backend for Screen<W> {
    type Error = io::Error;

    fn draw<'a, I>(&mut self, content: I) -> io::Result<()>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        self.inner.draw(content)
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        self.inner.hide_cursor()
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        self.inner.show_cursor()
    }

    fn get_cursor_position(&mut self) -> io::Result<Position> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        self.inner.set_cursor_position(position)
    }

    fn clear(&mut self) -> io::Result<()> {
        self.inner.clear()
    }

    fn clear_region(&mut self, which: ClearType) -> io::Result<()> {
        self.inner.clear_region(which)
    }

    fn size(&self) -> io::Result<Size> {
        Ok(self.size)
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        Ok(WindowSize {
            columns_rows: self.size,
            pixels: Size::new(0, 0),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Backend::flush(&mut self.inner)
    }
}
