//! A watchdog that does what a test says: answers, lies, is slow, says nothing, or dies.

use crate::wait::{Stop, LONG};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What it does when it is asked.
#[derive(Debug, Clone)]
pub enum Manner {
    /// Says this, byte by byte as given.
    Says(Vec<u8>),
    /// Says nothing, and keeps the connection.
    Silent,
    /// Says one byte after the other for ever, without a line feed, and not fast.
    Trickles,
    /// Says as much as is taken, without a line feed.
    Floods,
    /// Closes the connection.
    Closes,
}

struct Shared {
    manner: Mutex<Manner>,
    /// The questions so far.
    asked: Mutex<Vec<String>>,
    more: Condvar,
    stop: Stop,
}

impl Shared {
    fn asked(&self) -> MutexGuard<'_, Vec<String>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A listening watchdog; dropping it is its death, which leaves its socket behind.
pub struct Watchdog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Listens at `path`; what a dead one left there is removed.
    ///
    /// # Panics
    /// When it cannot listen.
    #[must_use]
    #[allow(clippy::disallowed_methods)] // test code: it serves beside the test
    pub fn start(path: &Path, manner: Manner) -> Self {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).expect("the watchdog's socket");
        listener.set_nonblocking(true).expect("non-blocking");
        let shared = Arc::new(Shared {
            manner: Mutex::new(manner),
            asked: Mutex::default(),
            more: Condvar::new(),
            stop: Stop::default(),
        });
        let its = Arc::clone(&shared);
        let thread = std::thread::spawn(move || serve(&listener, &its));
        Self {
            shared,
            thread: Some(thread),
        }
    }

    /// One that says `mode`.
    #[must_use]
    pub fn saying(path: &Path, mode: &str) -> Self {
        Self::start(path, says(mode))
    }

    /// From now on it does this.
    pub fn set(&self, manner: Manner) {
        let lock = self.shared.manner.lock();
        *lock.unwrap_or_else(PoisonError::into_inner) = manner;
    }

    /// The questions so far.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.shared.asked().clone()
    }

    /// Waits until it was asked `n` times.
    ///
    /// # Panics
    /// When a minute passes.
    #[track_caller]
    pub fn wait_asked(&self, n: usize) {
        let end = Instant::now() + LONG;
        let mut asked = self.shared.asked();
        while asked.len() < n {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "asked {} times, not {n}", asked.len());
            let woken = self.shared.more.wait_timeout(asked, left);
            asked = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.stop.set();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The manner of one that says `mode`.
#[must_use]
pub fn says(mode: &str) -> Manner {
    let line =
        format!("{{\"mode\":\"{mode}\",\"reason\":\"low memory\",\"jails\":{{\"active\":3}}}}\n");
    Manner::Says(line.into_bytes())
}

fn serve(listener: &UnixListener, shared: &Arc<Shared>) {
    std::thread::scope(|scope| {
        // Its directory may be gone before it, so nothing else than looking wakes it for its end.
        while !shared.stop.wait(Duration::from_millis(2)) {
            while let Ok((stream, _)) = listener.accept() {
                scope.spawn(move || answer(stream, shared));
            }
        }
    });
}

fn answer(mut stream: UnixStream, shared: &Shared) {
    let mut line = String::new();
    let _ = stream.set_nonblocking(false);
    let _ = stream.set_read_timeout(Some(LONG));
    let heard = stream.try_clone().map(BufReader::new);
    if !heard.is_ok_and(|mut r| r.read_line(&mut line).is_ok()) {
        return;
    }
    let lock = shared.manner.lock();
    let manner = lock.unwrap_or_else(PoisonError::into_inner).clone();
    shared.asked().push(line);
    shared.more.notify_all();
    match manner {
        Manner::Says(bytes) => drop(stream.write_all(&bytes)),
        Manner::Silent => drop(shared.stop.wait(LONG)),
        Manner::Trickles => {
            while stream.write_all(b"x").is_ok() && !shared.stop.wait(Duration::from_millis(50)) {}
        }
        Manner::Floods => while stream.write_all(&[b'x'; 4096]).is_ok() {},
        Manner::Closes => {}
    }
}
