//! Bytes of a terminal as keys.

/// A key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// A character.
    Char(char),
    /// A character that was not typed.
    Pasted(char),
    /// With the control key; the letter in lower case.
    Ctrl(char),
    /// Return or Enter.
    Enter,
    /// Escape.
    Esc,
    /// The tabulator.
    Tab,
    /// Erases the last character.
    Backspace,
    /// Cursor up.
    Up,
    /// Cursor down.
    Down,
    /// Cursor left.
    Left,
    /// Cursor right.
    Right,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// To the begin.
    Home,
    /// To the end.
    End,
}

/// Reads keys. An escape that nothing follows in one read is the key of that name: terminals send a sequence in
/// one piece, and one that a slow line has cut in two is at worst a key that goes back. What is pasted is told
/// apart, so that it can be a text but never a command.
#[derive(Debug, Default)]
pub struct Keys {
    /// Bytes that begin something but are nothing yet.
    rest: Vec<u8>,
    pasting: bool,
}

/// Begin and end of what is pasted.
const PASTE: (&[u8], &[u8]) = (b"\x1b[200~", b"\x1b[201~");

impl Keys {
    /// The keys in what one read has brought.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Key> {
        let mut all = std::mem::take(&mut self.rest);
        all.extend_from_slice(bytes);
        let (mut keys, mut rest) = (Vec::new(), &all[..]);
        while !rest.is_empty() {
            let mark = if self.pasting { PASTE.1 } else { PASTE.0 };
            if rest.starts_with(mark) {
                self.pasting = !self.pasting;
                rest = &rest[mark.len()..];
                continue;
            }
            if self.pasting && mark.starts_with(rest) {
                break;
            }
            let Some((key, used)) = next(rest) else { break };
            keys.extend(match (key, self.pasting) {
                (key, false) => key,
                (Some(Key::Char(c)), true) => Some(Key::Pasted(c)),
                (Some(Key::Enter | Key::Tab), true) => Some(Key::Pasted(' ')),
                (_, true) => None,
            });
            rest = &rest[used..];
        }
        self.rest = rest.to_vec();
        keys
    }
}

/// The first key and its length; no key for what is to be skipped.
fn next(bytes: &[u8]) -> Option<(Option<Key>, usize)> {
    let key = match *bytes.first()? {
        0x1b => return Some(escape(bytes)),
        b'\r' | b'\n' => Key::Enter,
        b'\t' => Key::Tab,
        0x08 | 0x7f => Key::Backspace,
        c @ 1..=26 => Key::Ctrl(char::from(b'a' + c - 1)),
        c @ b' '..=b'~' => Key::Char(char::from(c)),
        c if c < b' ' => return Some((None, 1)),
        _ => return character(bytes),
    };
    Some((Some(key), 1))
}

/// A character beyond ASCII; bytes that are none are skipped.
fn character(bytes: &[u8]) -> Option<(Option<Key>, usize)> {
    let head = &bytes[..bytes.len().min(4)];
    let valid = match str::from_utf8(head) {
        Ok(text) => text,
        Err(e) if e.valid_up_to() > 0 => str::from_utf8(&head[..e.valid_up_to()]).ok()?,
        // Without a length it could still become one.
        Err(e) => return e.error_len().map(|n| (None, n)),
    };
    let c = valid.chars().next()?;
    let key = (!c.is_control()).then_some(Key::Char(c));
    Some((key, c.len_utf8()))
}

/// What begins with an escape.
fn escape(bytes: &[u8]) -> (Option<Key>, usize) {
    match bytes.get(1) {
        Some(b'O') if bytes.len() > 2 => (letter(bytes[2]), 3),
        Some(b'[') => sequence(bytes),
        // With the meta key: not ours, but not two keys either.
        Some(c) if (b' '..=b'~').contains(c) => (None, 2),
        _ => (Some(Key::Esc), 1),
    }
}

/// A control sequence: parameters, then a letter or a tilde.
fn sequence(bytes: &[u8]) -> (Option<Key>, usize) {
    let Some(end) = bytes[2..].iter().position(|b| (0x40..=0x7e).contains(b)) else {
        return (None, bytes.len());
    };
    let (parameters, last) = (&bytes[2..2 + end], bytes[2 + end]);
    let key = match (last, parameters) {
        (b'~', b"1" | b"7") => Some(Key::Home),
        (b'~', b"4" | b"8") => Some(Key::End),
        (b'~', b"5") => Some(Key::PageUp),
        (b'~', b"6") => Some(Key::PageDown),
        (letter_byte, b"") => letter(letter_byte),
        _ => None,
    };
    (key, end + 3)
}

fn letter(byte: u8) -> Option<Key> {
    Some(match byte {
        b'A' => Key::Up,
        b'B' => Key::Down,
        b'C' => Key::Right,
        b'D' => Key::Left,
        b'H' => Key::Home,
        b'F' => Key::End,
        b'M' => Key::Enter,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut reader = Keys::default();
        let keys = reader.feed(bytes);
        assert_eq!(reader.rest, b"", "{keys:?}");
        keys
    }

    #[test]
    fn what_terminals_send() {
        assert_eq!(keys(b"a?\r"), [Key::Char('a'), Key::Char('?'), Key::Enter]);
        assert_eq!(keys(b"\x1b[A\x1bOB"), [Key::Up, Key::Down]);
        assert_eq!(keys(b"\x1b[5~\x1b[6~"), [Key::PageUp, Key::PageDown]);
        assert_eq!(keys(b"\x1b[1~\x1b[F"), [Key::Home, Key::End]);
        assert_eq!(keys(b"\x1b"), [Key::Esc]);
        assert_eq!(keys(b"\x1b\x1b[A"), [Key::Esc, Key::Up]);
        assert_eq!(keys(b"\x03\x1a"), [Key::Ctrl('c'), Key::Ctrl('z')]);
        assert_eq!(keys("é漢".as_bytes()), [Key::Char('é'), Key::Char('漢')]);
        // Unknown sequences are swallowed whole.
        assert_eq!(keys(b"\x1b[1;5Ax"), [Key::Char('x')]);
        assert_eq!(keys(b"\x1b[3~y"), [Key::Char('y')]);
    }

    #[test]
    fn what_is_pasted_is_no_command() {
        use Key::Pasted;
        let mut reader = Keys::default();
        assert_eq!(
            reader.feed(b"\x1b[200~a\rs"),
            [Pasted('a'), Pasted(' '), Pasted('s')]
        );
        assert_eq!(reader.feed(b"y\x1b"), [Pasted('y')]);
        assert_eq!(reader.feed(b"[201"), []);
        assert_eq!(reader.feed(b"~q"), [Key::Char('q')]);
    }

    #[test]
    fn half_a_character_waits_and_garbage_does_not() {
        let whole = "漢".as_bytes();
        let mut reader = Keys::default();
        assert_eq!(reader.feed(&whole[..2]), []);
        assert_eq!(reader.feed(&whole[2..]), [Key::Char('漢')]);
        assert_eq!(keys(b"\xff\xfea"), [Key::Char('a')]);
        for byte in 0..=255 {
            for other in 0..=255 {
                let _ = reader.feed(&[byte, other, byte]);
                assert!(reader.rest.len() <= 6);
            }
        }
    }
}
