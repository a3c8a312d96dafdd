//! The framing of every private channel, and the reader and writer for payloads.
//!
//! A frame is an 8-byte header (payload length u32, kind u16, version u8, flags u8) and the
//! payload; all numbers are little endian. Flag bit 0 says that one descriptor travels with the
//! frame. The length is checked against the direction's maximum before anything is allocated.

use std::fmt;

/// Version of the messages between the three daemons. Bump it whenever one changes in any way: they
/// are of one build, and refuse every other.
///
/// History: 1 first version; 2 `Ready` tells whether runs can be limited, `Log`; 3 schedules,
/// `Survey`; 4 `Release` names the profile and `Adopt` does not, a refusal for the journal.
pub const VERSION: u8 = 4;

/// Version of what colibrid and a monitor say to each other. Monitors outlive the build that started
/// them: a colibrid that does not speak their version takes every living run for lost. So a message
/// is never changed, and a new one only sent to who has said that it knows it.
pub const MONITOR_VERSION: u8 = 3;

/// Bytes of a frame header.
pub const HEADER: usize = 8;

/// Flag bit: one descriptor comes with this frame.
pub const FLAG_FD: u8 = 1;

/// Why bytes from a peer were refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WireError {
    /// The header's version is not [`Wire::VERSION`].
    Version(u8),
    /// The payload is longer than this direction allows.
    TooLong {
        /// Announced length in bytes.
        len: usize,
        /// The direction's limit in bytes.
        max: usize,
    },
    /// No message of this direction has that kind.
    Kind(u16),
    /// Flag bits without a meaning, or a descriptor where none belongs (or none where one does).
    Flags(u8),
    /// The payload ends inside a field.
    Short,
    /// Bytes are left over after the last field.
    Trailing(usize),
    /// A field holds a value that it must not.
    Value(&'static str),
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireError::Version(v) => write!(f, "messages of version {v}, which is another build's"),
            WireError::TooLong { len, max } => {
                write!(f, "message of {len} bytes, at most {max} allowed")
            }
            WireError::Kind(k) => write!(f, "unknown message kind {k}"),
            WireError::Flags(b) => write!(f, "wrong message flags {b:#04x}"),
            WireError::Short => write!(f, "message ends inside a field"),
            WireError::Trailing(n) => write!(f, "{n} bytes after the last field"),
            WireError::Value(what) => write!(f, "bad value in field {what}"),
        }
    }
}

impl std::error::Error for WireError {}

/// A set of messages that travel in one direction of one channel.
pub trait Wire: Sized {
    /// Longest payload of this direction, in bytes.
    const MAX: usize;

    /// The version in the header.
    const VERSION: u8 = VERSION;

    /// The kind number in the header.
    fn kind(&self) -> u16;

    /// Whether a message of this kind brings a descriptor with it.
    fn brings_fd(kind: u16) -> bool {
        let _ = kind;
        false
    }

    /// Writes the payload.
    fn put(&self, w: &mut Writer);

    /// Reads a payload of `kind`.
    ///
    /// # Errors
    /// Every malformed payload, including bytes left over (checked by [`decode`]).
    fn get(kind: u16, r: &mut Reader<'_>) -> Result<Self, WireError>;
}

/// The header of a frame, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Payload bytes that follow.
    pub len: usize,
    /// Kind number.
    pub kind: u16,
    /// Whether a descriptor belongs to this frame.
    pub fd: bool,
}

/// Appends one frame to `out`.
///
/// # Panics
/// When the payload is longer than `M::MAX`: the sender's own mistake, never a peer's.
pub fn encode<M: Wire>(msg: &M, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    let mut w = Writer { out };
    msg.put(&mut w);
    let len = out.len() - start - HEADER;
    assert!(len <= M::MAX, "message of {len} bytes over {}", M::MAX);
    let kind = msg.kind();
    let flags = if M::brings_fd(kind) { FLAG_FD } else { 0 };
    let header = &mut out[start..start + HEADER];
    header[..4].copy_from_slice(&(len as u32).to_le_bytes());
    header[4..6].copy_from_slice(&kind.to_le_bytes());
    header[6] = M::VERSION;
    header[7] = flags;
}

/// Checks the first [`HEADER`] bytes of `buf` for direction `M`; `None` when there are fewer.
///
/// # Errors
/// A header that no sender of this build writes.
pub fn header<M: Wire>(buf: &[u8]) -> Result<Option<Header>, WireError> {
    let Some(h) = buf.first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let len = u32::from_le_bytes([h[0], h[1], h[2], h[3]]) as usize;
    let kind = u16::from_le_bytes([h[4], h[5]]);
    if h[6] != M::VERSION {
        return Err(WireError::Version(h[6]));
    }
    let fd = h[7] & FLAG_FD != 0;
    if h[7] & !FLAG_FD != 0 || fd != M::brings_fd(kind) {
        return Err(WireError::Flags(h[7]));
    }
    if len > M::MAX {
        return Err(WireError::TooLong { len, max: M::MAX });
    }
    Ok(Some(Header { len, kind, fd }))
}

/// Decodes one whole payload; nothing may be left over.
///
/// # Errors
/// Any malformed payload.
pub fn decode<M: Wire>(kind: u16, payload: &[u8]) -> Result<M, WireError> {
    let mut r = Reader { buf: payload };
    let msg = M::get(kind, &mut r)?;
    match r.buf.len() {
        0 => Ok(msg),
        n => Err(WireError::Trailing(n)),
    }
}

/// Appends fields to a payload.
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// A writer that appends to `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Writer { out }
    }

    /// One byte.
    pub fn u8(&mut self, v: u8) {
        self.out.push(v);
    }

    /// 32 bits.
    pub fn u32(&mut self, v: u32) {
        self.out.extend_from_slice(&v.to_le_bytes());
    }

    /// 32 bits, signed.
    pub fn i32(&mut self, v: i32) {
        self.out.extend_from_slice(&v.to_le_bytes());
    }

    /// 64 bits.
    pub fn u64(&mut self, v: u64) {
        self.out.extend_from_slice(&v.to_le_bytes());
    }

    /// A string: length u32, bytes. The caller keeps it within the field's limit.
    pub fn str(&mut self, v: &str) {
        self.u32(v.len() as u32);
        self.out.extend_from_slice(v.as_bytes());
    }
}

/// Takes fields from a payload.
pub struct Reader<'a> {
    buf: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader of `buf`.
    #[must_use]
    pub fn new(buf: &'a [u8]) -> Self {
        Reader { buf }
    }

    /// Bytes not yet read.
    #[must_use]
    pub fn left(&self) -> usize {
        self.buf.len()
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, rest) = self.buf.split_first_chunk::<N>().ok_or(WireError::Short)?;
        self.buf = rest;
        Ok(*head)
    }

    /// One byte.
    ///
    /// # Errors
    /// `Short` when the payload has ended.
    pub fn u8(&mut self) -> Result<u8, WireError> {
        Ok(self.chunk::<1>()?[0])
    }

    /// One byte that must be 0 or 1.
    ///
    /// # Errors
    /// `Short`, or `Value` for any other number.
    pub fn bool(&mut self, what: &'static str) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WireError::Value(what)),
        }
    }

    /// 32 bits.
    ///
    /// # Errors
    /// `Short` when the payload has ended.
    pub fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_le_bytes(self.chunk()?))
    }

    /// 32 bits, signed.
    ///
    /// # Errors
    /// `Short` when the payload has ended.
    pub fn i32(&mut self) -> Result<i32, WireError> {
        Ok(i32::from_le_bytes(self.chunk()?))
    }

    /// 64 bits.
    ///
    /// # Errors
    /// `Short` when the payload has ended.
    pub fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_le_bytes(self.chunk()?))
    }

    /// A string of at most `max` bytes.
    ///
    /// # Errors
    /// `Short`, or `Value` when it is longer than `max` or not UTF-8.
    pub fn str(&mut self, max: usize, what: &'static str) -> Result<String, WireError> {
        let len = self.u32()? as usize;
        if len > max {
            return Err(WireError::Value(what));
        }
        if len > self.buf.len() {
            return Err(WireError::Short);
        }
        let (head, rest) = self.buf.split_at(len);
        self.buf = rest;
        match std::str::from_utf8(head) {
            Ok(s) => Ok(s.to_owned()),
            Err(_) => Err(WireError::Value(what)),
        }
    }
}
