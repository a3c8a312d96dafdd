//! Jails with an owning descriptor as run containers.
//!
//! Order, as root: [`Jail::create`] (persistent), fork; the child leaves its session, calls
//! [`attach`], drops and execs; the parent waits until that has happened, then
//! [`Jail::let_it_end`], drops, limits the descriptor to `Event` and confines itself. From then on
//! closing the descriptor, or dying, kills every process in the jail.
//!
//! Traps: a jail that is not persistent and has no process yet is gone at once. Attaching fails
//! with EPERM while the process has any directory open, close-on-exec or not. A jail without a
//! path, or with `/`, below a named one gets the host's root. Whoever holds a copy of the descriptor
//! keeps the jail alive: it is close-on-exec here and must not be sent to anybody.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::ffi;
/// Room for a jail's path (`MAXPATHLEN`).
const PATH_SIZE: usize = 1024;

/// One value of a jail parameter. The kernel writes back into every buffer, names included: all of
/// them are owned and writable.
#[derive(Debug)]
enum Value {
    /// A boolean, named `x` for yes and `nox` for no: it has no value.
    Flag,
    /// An integer.
    Int(libc::c_int),
    /// A string with its NUL, or room for an answer.
    Bytes(Vec<u8>),
}

/// A parameter list for `jail_set(2)` and `jail_get(2)`.
#[derive(Debug, Default)]
struct Parameters(Vec<(Vec<u8>, Value)>);

impl Parameters {
    fn add(&mut self, name: &str, value: Value) -> &mut Self {
        let mut name = name.as_bytes().to_vec();
        name.push(0);
        self.0.push((name, value));
        self
    }

    fn text(&mut self, name: &str, text: &OsStr) -> io::Result<&mut Self> {
        let text = CString::new(text.as_bytes())?;
        Ok(self.add(name, Value::Bytes(text.into_bytes_with_nul())))
    }

    /// Calls the kernel. Its own words about a failure (`errmsg`) are not asked for: what crosses
    /// from the launcher to the journal is a number.
    fn call(
        &mut self,
        function: unsafe extern "C" fn(*mut libc::iovec, libc::c_uint, libc::c_int) -> libc::c_int,
        flags: libc::c_int,
    ) -> io::Result<i32> {
        let mut list = Vec::with_capacity(self.0.len() * 2);
        for (name, value) in &mut self.0 {
            list.push(piece(name.as_mut_ptr().cast(), name.len()));
            list.push(match value {
                Value::Flag => piece(std::ptr::null_mut(), 0),
                Value::Int(n) => piece(std::ptr::from_mut(n).cast(), size_of::<libc::c_int>()),
                Value::Bytes(bytes) => piece(bytes.as_mut_ptr().cast(), bytes.len()),
            });
        }
        let length = libc::c_uint::try_from(list.len()).map_err(|_| Errno::EINVAL)?;
        // SAFETY: each piece describes memory that `self` owns and does not touch during the call.
        let result = unsafe { function(list.as_mut_ptr(), length, flags) };
        Ok(Errno::result(result)?)
    }

    fn int(&self, name: &str) -> Option<libc::c_int> {
        self.0.iter().find_map(|(key, value)| match value {
            Value::Int(n) if key.strip_suffix(&[0]) == Some(name.as_bytes()) => Some(*n),
            _ => None,
        })
    }

    fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find_map(|(key, value)| match value {
            Value::Bytes(b) if key.strip_suffix(&[0]) == Some(name.as_bytes()) => {
                b.split(|byte| *byte == 0).next()
            }
            _ => None,
        })
    }
}

fn piece(base: *mut libc::c_void, length: usize) -> libc::iovec {
    libc::iovec {
        iov_base: base,
        iov_len: length,
    }
}

/// What a new jail looks like. The rest is FreeBSD's default, which for a jail means: no raw
/// sockets, no mounting, no System V IPC, no children, other processes invisible.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Its name; a dotted name makes it a child of an existing jail. At most 255 bytes.
    pub name: String,
    /// Its root as the host sees it. For a child of a named jail read that one's by [`path_of`].
    pub path: PathBuf,
    /// Share the host's network stack and addresses (`ip4=inherit ip6=inherit`); otherwise none.
    pub inherit_network: bool,
    /// 2 hides all mounts but its own root, 1 those outside, 0 nothing.
    pub enforce_statfs: i32,
    /// See security(7); 3 is the strictest and costs an agent nothing.
    pub securelevel: i32,
    /// Further parameters without a value, such as `allow.noset_hostname`.
    pub flags: &'static [&'static str],
}

impl Spec {
    /// The jail of a run on the host: the host's root and network, everything else tight.
    #[must_use]
    pub fn host(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            path: PathBuf::from("/"),
            inherit_network: true,
            enforce_statfs: 2,
            securelevel: 3,
            flags: &["allow.noset_hostname", "allow.noreserved_ports"],
        }
    }

    fn parameters(&self) -> io::Result<Parameters> {
        if self.name.is_empty() || !self.path.is_absolute() {
            return Err(Errno::EINVAL.into());
        }
        let mut list = Parameters::default();
        list.text("name", OsStr::new(&self.name))?
            .text("path", self.path.as_os_str())?
            .add("persist", Value::Flag)
            .add("enforce_statfs", Value::Int(self.enforce_statfs))
            .add("securelevel", Value::Int(self.securelevel))
            .add("host", Value::Int(ffi::JAIL_SYS_INHERIT))
            .add("desc", Value::Int(-1));
        for flag in self.flags {
            list.add(flag, Value::Flag);
        }
        if self.inherit_network {
            list.add("ip4", Value::Int(ffi::JAIL_SYS_INHERIT))
                .add("ip6", Value::Int(ffi::JAIL_SYS_INHERIT));
        }
        Ok(list)
    }
}

/// A jail that ends with this value: dropping the last copy of its descriptor removes the jail and
/// kills every process in it.
#[derive(Debug)]
pub struct Jail {
    descriptor: OwnedFd,
    jid: i32,
}

impl Jail {
    /// Makes a jail, still persistent so that it can wait for its first process. Needs root.
    pub fn create(spec: &Spec) -> io::Result<Self> {
        let mut list = spec.parameters()?;
        let jid = list.call(libc::jail_set, ffi::JAIL_CREATE | ffi::JAIL_OWN_DESC)?;
        let fd = list.int("desc").filter(|fd| *fd >= 0).ok_or(Errno::EBADF)?;
        // SAFETY: just made by the kernel and owned by nobody else.
        let descriptor = unsafe { OwnedFd::from_raw_fd(fd) };
        // The kernel does not make it close-on-exec.
        let cloexec = nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC);
        nix::fcntl::fcntl(&descriptor, cloexec)?;
        Ok(Self { descriptor, jid })
    }

    /// Its number, for [`attach`] in the child.
    #[must_use]
    pub fn jid(&self) -> i32 {
        self.jid
    }

    /// Makes it end with its last process. Only after the first one is in.
    pub fn let_it_end(&self) -> io::Result<()> {
        let mut list = Parameters::default();
        list.add("desc", Value::Int(self.descriptor.as_raw_fd()))
            .add("nopersist", Value::Flag);
        list.call(libc::jail_set, ffi::JAIL_UPDATE | ffi::JAIL_USE_DESC)?;
        Ok(())
    }

    /// Its descriptor, to be watched.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// The bare descriptor, to be handed through exec by number.
    #[must_use]
    pub fn into_descriptor(self) -> OwnedFd {
        self.descriptor
    }
}

/// Moves this process into a jail, for good: its root and its working directory become the jail's.
///
/// EPERM while any directory is open. Needs root; drop afterwards.
pub fn attach(jid: i32) -> io::Result<()> {
    // SAFETY: a plain number.
    Errno::result(unsafe { libc::jail_attach(jid) })?;
    Ok(())
}

/// The number of the jail of that name; `None` if there is none (one that is dying counts as none).
pub fn find(name: &str) -> io::Result<Option<i32>> {
    let mut list = Parameters::default();
    list.text("name", OsStr::new(name))?;
    match list.call(libc::jail_get, 0) {
        Ok(jid) => Ok(Some(jid)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Whether the jail of that number is being removed and not gone yet.
pub fn is_dying(jid: i32) -> io::Result<bool> {
    let lookup = |flags| {
        let mut list = Parameters::default();
        list.add("jid", Value::Int(jid));
        match list.call(libc::jail_get, flags) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    };
    Ok(lookup(ffi::JAIL_DYING)? && !lookup(0)?)
}

/// The root of a jail as this process sees it.
pub fn path_of(jid: i32) -> io::Result<PathBuf> {
    let mut list = Parameters::default();
    list.add("jid", Value::Int(jid))
        .add("path", Value::Bytes(vec![0; PATH_SIZE]));
    list.call(libc::jail_get, 0)?;
    let path = list.bytes("path").unwrap_or_default();
    Ok(Path::new(OsStr::from_bytes(path)).to_owned())
}

/// Whether this process can make jails with an owning descriptor: makes one and drops it.
///
/// No before 15.0, without root, and inside a jail whose `children.max` is used up.
#[must_use]
pub fn permitted() -> bool {
    let name = format!("colibri-probe-{}", std::process::id());
    Jail::create(&Spec::host(&name)).is_ok()
}

/// What happened to a watched jail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A process of this id has entered.
    Attached(i32),
    /// It is gone. For a jail that had been told to end with its last process, and whose descriptor
    /// is still open, this proves that no process is left. After closing it proves nothing.
    Removed,
    /// Anything else (its parameters were changed).
    Other,
}

/// A kqueue that watches one jail descriptor: register it with mio as a `SourceFd`.
///
/// Works in capability mode; the jail's descriptor needs the right `Event`, the queue `Event`,
/// `KqueueEvent` and, if it is made before, nothing else.
#[derive(Debug)]
pub struct Watch {
    queue: OwnedFd,
}

impl Watch {
    /// Starts watching. The descriptor must stay open as long as answers are wanted.
    pub fn new(jail: BorrowedFd<'_>) -> io::Result<Self> {
        let queue = OwnedFd::from(nix::sys::event::Kqueue::new()?);
        let ident = usize::try_from(jail.as_raw_fd()).map_err(|_| Errno::EBADF)?;
        let mut change = empty_event();
        change.ident = ident;
        change.flags = libc::EV_ADD | libc::EV_CLEAR;
        change.fflags = ffi::NOTE_JAIL_ATTACH | ffi::NOTE_JAIL_REMOVE;
        // SAFETY: one change, no room for events: an error of the change is the call's error.
        let result = unsafe {
            libc::kevent(
                queue.as_raw_fd(),
                &raw const change,
                1,
                std::ptr::null_mut(),
                0,
                std::ptr::null(),
            )
        };
        Errno::result(result)?;
        Ok(Self { queue })
    }

    /// The next event, if there is one; does not wait.
    pub fn take(&mut self) -> io::Result<Option<Event>> {
        let mut event = empty_event();
        let now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: no changes, room for one event, a time limit of zero.
        let result = unsafe {
            libc::kevent(
                self.queue.as_raw_fd(),
                std::ptr::null(),
                0,
                &raw mut event,
                1,
                &raw const now,
            )
        };
        if Errno::result(result)? == 0 {
            return Ok(None);
        }
        Ok(Some(match event.fflags {
            // Several may have come together; the end is the one that matters.
            f if f & ffi::NOTE_JAIL_REMOVE != 0 => Event::Removed,
            f if f & ffi::NOTE_JAIL_ATTACH != 0 => {
                Event::Attached(i32::try_from(event.data).unwrap_or(0))
            }
            _ => Event::Other,
        }))
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.queue.as_raw_fd()
    }
}

/// nix's type has no room for a filter that it does not know.
fn empty_event() -> libc::kevent {
    libc::kevent {
        ident: 0,
        filter: ffi::EVFILT_JAILDESC,
        flags: 0,
        fflags: 0,
        data: 0,
        udata: std::ptr::null_mut(),
        ext: [0; 4],
    }
}
