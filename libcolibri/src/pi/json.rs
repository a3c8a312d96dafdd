//! A JSON tokenizer that is fed pieces of one line and keeps nothing but its place.
//!
//! Values that nobody asked for are stepped over at the speed of a byte search. What is wanted is
//! decided by [`Sink`], which gives each place in the document a [`Slot`].

/// A place in the document that a sink knows; `Slot::default()` must mean "not wanted".
pub trait Sink {
    /// The sink's names for places.
    type Slot: Copy + PartialEq + Default;

    /// The place of the document itself.
    const ROOT: Self::Slot;

    /// The place of member `key` of the object at `parent`.
    fn member(parent: Self::Slot, key: &[u8]) -> Self::Slot;
    /// The place of the elements of the array at `parent`.
    fn element(parent: Self::Slot) -> Self::Slot;
    /// A wanted object begins (true) or ends (false).
    fn object(&mut self, at: Self::Slot, begins: bool);
    /// A piece of a wanted string, unescaped.
    fn piece(&mut self, at: Self::Slot, bytes: &[u8]);
    /// A wanted string is complete. Returns true when the rest of the line does not matter.
    fn string(&mut self, at: Self::Slot) -> bool;
    /// A wanted number or literal, as written.
    fn scalar(&mut self, at: Self::Slot, text: &[u8]);
    /// Whether the string at this place is wanted at all.
    fn wants_string(&self, at: Self::Slot) -> bool;
}

/// What became of a piece of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fed {
    /// Go on.
    More,
    /// The sink has what it wants.
    Enough,
    /// This is not JSON.
    Bad,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    Colon,
    CommaOrEnd,
    /// The document is complete; only white space may follow.
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    /// Between tokens.
    Gap,
    Key,
    String,
    /// In a number, true, false or null.
    Scalar,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    No,
    /// After a backslash.
    Begun,
    /// After `\u`, with this many digits read.
    Hex(u8),
}

/// Deeper than this, the place is not followed (all wanted places are within).
const PLACES: usize = 6;
/// Deeper than this, wrong commas, colons and closing brackets are not noticed.
const KINDS: u32 = 1024;
/// Longest key and longest number that is looked at; longer ones are unknown keys and no numbers.
const SHORT: usize = 40;

/// The place in one document. 250 bytes, whatever the document's length.
pub struct Tokenizer<S: Sink> {
    want: Want,
    within: Within,
    escape: Escape,
    hex: u16,
    /// First half of a pair of `\u` escapes; 0 = none.
    high: u16,
    depth: u32,
    kinds: [u64; (KINDS / 64) as usize],
    places: [S::Slot; PLACES],
    /// Place of the value that comes next or is being read.
    slot: S::Slot,
    collect: bool,
    short: [u8; SHORT],
    short_len: usize,
}

impl<S: Sink> Tokenizer<S> {
    /// At the start of a document.
    pub fn new() -> Self {
        Tokenizer {
            want: Want::Value,
            within: Within::Gap,
            escape: Escape::No,
            hex: 0,
            high: 0,
            depth: 0,
            kinds: [0; (KINDS / 64) as usize],
            places: [S::Slot::default(); PLACES],
            slot: S::ROOT,
            collect: false,
            short: [0; SHORT],
            short_len: 0,
        }
    }

    /// Back to the start of a document.
    pub fn reset(&mut self) {
        self.want = Want::Value;
        self.within = Within::Gap;
        self.escape = Escape::No;
        self.high = 0;
        self.depth = 0;
        self.slot = S::ROOT;
        self.short_len = 0;
    }

    /// Whether a whole document was read.
    pub fn complete(&self) -> bool {
        self.want == Want::Nothing && self.within == Within::Gap
    }

    /// Reads the next piece.
    pub fn feed(&mut self, sink: &mut S, bytes: &[u8]) -> Fed {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let (used, fed) = match self.within {
                Within::Gap => self.gap(sink, rest[0]),
                Within::Key => self.key(rest),
                Within::String => self.string(sink, rest),
                Within::Scalar => self.scalar(sink, rest),
            };
            if fed != Fed::More {
                return fed;
            }
            at += used;
        }
        Fed::More
    }

    fn gap(&mut self, sink: &mut S, byte: u8) -> (usize, Fed) {
        if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
            return (1, Fed::More);
        }
        if self.depth > KINDS {
            return (1, self.deep_gap(byte));
        }
        let ok = match (self.want, byte) {
            (Want::Colon, b':') => {
                self.want = Want::Value;
                true
            }
            (Want::CommaOrEnd, b',') => {
                self.want = if self.in_object() {
                    Want::Key
                } else {
                    Want::Value
                };
                self.slot = S::element(self.place());
                true
            }
            (Want::CommaOrEnd | Want::KeyOrEnd, b'}') => self.close(sink, true),
            (Want::CommaOrEnd | Want::ValueOrEnd, b']') => self.close(sink, false),
            (Want::Key | Want::KeyOrEnd, b'"') => {
                self.within = Within::Key;
                self.short_len = 0;
                true
            }
            (Want::Value | Want::ValueOrEnd, _) => return self.value(sink, byte),
            _ => false,
        };
        (1, if ok { Fed::More } else { Fed::Bad })
    }

    /// Below [`KINDS`] only strings and brackets are told apart: enough to find the way back up.
    fn deep_gap(&mut self, byte: u8) -> Fed {
        match byte {
            b'"' => {
                self.within = Within::String;
                self.collect = false;
            }
            b'{' | b'[' => self.depth = self.depth.saturating_add(1),
            b'}' | b']' => {
                self.depth -= 1;
                self.after_value();
            }
            _ => {}
        }
        Fed::More
    }

    /// The first byte of a value.
    fn value(&mut self, sink: &mut S, byte: u8) -> (usize, Fed) {
        match byte {
            b'{' | b'[' => {
                self.open(sink, byte == b'{');
                (1, Fed::More)
            }
            b'"' => {
                self.within = Within::String;
                self.high = 0;
                self.collect = self.slot != S::Slot::default() && sink.wants_string(self.slot);
                (1, Fed::More)
            }
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                self.within = Within::Scalar;
                self.short_len = 0;
                (0, Fed::More)
            }
            _ => (1, Fed::Bad),
        }
    }

    fn open(&mut self, sink: &mut S, object: bool) {
        if self.depth < KINDS {
            let (word, bit) = ((self.depth / 64) as usize, 1 << (self.depth % 64));
            if object {
                self.kinds[word] |= bit;
            } else {
                self.kinds[word] &= !bit;
            }
        }
        if let Some(place) = self.places.get_mut(self.depth as usize) {
            *place = self.slot;
        }
        if object && self.slot != S::Slot::default() {
            sink.object(self.slot, true);
        }
        self.depth = self.depth.saturating_add(1);
        self.slot = S::element(self.place());
        self.want = if object {
            Want::KeyOrEnd
        } else {
            Want::ValueOrEnd
        };
    }

    /// Whether the innermost container is an object. Asked only where the depth is 1 to [`KINDS`].
    fn in_object(&self) -> bool {
        let level = self.depth - 1;
        self.kinds[(level / 64) as usize] & (1 << (level % 64)) != 0
    }

    fn place(&self) -> S::Slot {
        let level = self.depth.wrapping_sub(1) as usize;
        self.places.get(level).copied().unwrap_or_default()
    }

    fn close(&mut self, sink: &mut S, object: bool) -> bool {
        if self.depth == 0 || self.in_object() != object {
            return false;
        }
        let place = self.place();
        if object && place != S::Slot::default() {
            sink.object(place, false);
        }
        self.depth -= 1;
        self.after_value();
        true
    }

    fn after_value(&mut self) {
        self.within = Within::Gap;
        self.want = if self.depth == 0 {
            Want::Nothing
        } else {
            Want::CommaOrEnd
        };
    }

    fn key(&mut self, rest: &[u8]) -> (usize, Fed) {
        let (used, end) = match self.escape {
            Escape::No => plain(rest),
            _ => (0, false),
        };
        self.push_short(&rest[..used]);
        if end {
            self.within = Within::Gap;
            self.want = Want::Colon;
            // A key over the limit equals no wanted one.
            let known = self.short_len <= SHORT;
            self.slot = if known {
                S::member(self.place(), &self.short[..self.short_len])
            } else {
                S::Slot::default()
            };
            return (used + 1, Fed::More);
        }
        if used == rest.len() {
            return (used, Fed::More);
        }
        let mut out = [0; 8];
        match self.escaped(rest[used], &mut out) {
            Ok(n) => self.push_short(&out[..n]),
            Err(()) => return (used + 1, Fed::Bad),
        }
        (used + 1, Fed::More)
    }

    fn push_short(&mut self, bytes: &[u8]) {
        let end = self.short_len.saturating_add(bytes.len());
        if end <= SHORT {
            self.short[self.short_len..end].copy_from_slice(bytes);
            self.short_len = end;
        } else {
            self.short_len = SHORT + 1;
        }
    }

    fn string(&mut self, sink: &mut S, rest: &[u8]) -> (usize, Fed) {
        let (used, end) = match self.escape {
            Escape::No => plain(rest),
            _ => (0, false),
        };
        if used > 0 && self.collect {
            self.lone_half(sink);
            sink.piece(self.slot, &rest[..used]);
        }
        if end {
            if self.collect {
                self.lone_half(sink);
            }
            let slot = self.slot;
            let enough = self.collect && sink.string(slot);
            self.after_value();
            return (used + 1, if enough { Fed::Enough } else { Fed::More });
        }
        if used == rest.len() {
            return (used, Fed::More);
        }
        let mut out = [0; 8];
        match self.escaped(rest[used], &mut out) {
            Ok(n) if n > 0 && self.collect => sink.piece(self.slot, &out[..n]),
            Ok(_) => {}
            Err(()) => return (used + 1, Fed::Bad),
        }
        (used + 1, Fed::More)
    }

    /// A first half without its second becomes U+FFFD.
    fn lone_half(&mut self, sink: &mut S) {
        if std::mem::take(&mut self.high) != 0 {
            sink.piece(self.slot, "\u{fffd}".as_bytes());
        }
    }

    /// One byte of an escape sequence; writes what it stands for and returns its length.
    fn escaped(&mut self, byte: u8, out: &mut [u8; 8]) -> Result<usize, ()> {
        match self.escape {
            Escape::No => {
                self.escape = Escape::Begun;
                Ok(0)
            }
            Escape::Begun if byte == b'u' => {
                self.escape = Escape::Hex(0);
                self.hex = 0;
                Ok(0)
            }
            Escape::Begun => {
                self.escape = Escape::No;
                let c = match byte {
                    b'"' | b'\\' | b'/' => byte,
                    b'b' => 8,
                    b'f' => 12,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    _ => return Err(()),
                };
                let mut n = 0;
                if std::mem::take(&mut self.high) != 0 {
                    n = '\u{fffd}'.encode_utf8(out).len();
                }
                out[n] = c;
                Ok(n + 1)
            }
            Escape::Hex(digits) => {
                let digit = char::from(byte).to_digit(16).ok_or(())? as u16;
                self.hex = self.hex << 4 | digit;
                if digits < 3 {
                    self.escape = Escape::Hex(digits + 1);
                    return Ok(0);
                }
                self.escape = Escape::No;
                Ok(self.unit(out))
            }
        }
    }

    /// A complete `\uXXXX`.
    fn unit(&mut self, out: &mut [u8; 8]) -> usize {
        let high = std::mem::take(&mut self.high);
        let second = (0xdc00..0xe000).contains(&self.hex);
        if high != 0 && second {
            let code = 0x1_0000 + (u32::from(high - 0xd800) << 10) + u32::from(self.hex - 0xdc00);
            let c = char::from_u32(code).unwrap_or('\u{fffd}');
            return c.encode_utf8(out).len();
        }
        let mut n = 0;
        if high != 0 {
            n = '\u{fffd}'.encode_utf8(out).len();
        }
        if (0xd800..0xdc00).contains(&self.hex) {
            self.high = self.hex;
            return n;
        }
        let c = char::from_u32(u32::from(self.hex)).unwrap_or('\u{fffd}');
        n + c.encode_utf8(&mut out[n..]).len()
    }

    fn scalar(&mut self, sink: &mut S, rest: &[u8]) -> (usize, Fed) {
        let used = rest
            .iter()
            .position(|b| !b.is_ascii_alphanumeric() && !b"+-.".contains(b))
            .unwrap_or(rest.len());
        self.push_short(&rest[..used]);
        if used == rest.len() {
            return (used, Fed::More);
        }
        let ok = self.end_scalar(sink);
        (used, if ok { Fed::More } else { Fed::Bad })
    }

    fn end_scalar(&mut self, sink: &mut S) -> bool {
        self.after_value();
        if self.short_len > SHORT {
            return true;
        }
        let text = &self.short[..self.short_len];
        let literal = matches!(text, b"true" | b"false" | b"null");
        if !literal && !text.iter().all(|b| b"0123456789+-.eE".contains(b)) {
            return false;
        }
        if self.slot != S::Slot::default() {
            sink.scalar(self.slot, text);
        }
        true
    }
}

/// Length of the part of a string before its end or an escape, and whether the end follows.
fn plain(rest: &[u8]) -> (usize, bool) {
    match memchr::memchr2(b'"', b'\\', rest) {
        Some(at) => (at, rest[at] == b'"'),
        None => (rest.len(), false),
    }
}
