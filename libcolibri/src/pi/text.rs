//! Text that came from elsewhere: collected within a limit, and made fit for one line.

use crate::record::clip;

/// Longest reason that is kept, in bytes; enough for an error's first sentence.
pub const REASON: usize = 300;

/// Bytes of a JSON string, unescaped as they come and cut at a limit.
#[derive(Debug, Default)]
pub struct Text {
    bytes: Vec<u8>,
    cut: bool,
}

impl Text {
    /// Adds bytes while fewer than `max` are held; what is over is dropped.
    pub fn push(&mut self, bytes: &[u8], max: usize) {
        let room = max.saturating_sub(self.bytes.len());
        let take = bytes.len().min(room);
        self.cut |= take < bytes.len();
        self.bytes.extend_from_slice(&bytes[..take]);
    }

    /// How many bytes are held.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets everything after the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        if len < self.bytes.len() {
            self.bytes.truncate(len);
            self.cut = false;
        }
    }

    /// The bytes so far.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of memory held.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// The text, and an empty collector. Invalid UTF-8 becomes U+FFFD; a character that the limit
    /// cut is dropped, so that the limit never makes text invalid.
    pub fn take(&mut self) -> String {
        let mut bytes = std::mem::take(&mut self.bytes);
        if std::mem::take(&mut self.cut) {
            if let Err(e) = std::str::from_utf8(&bytes) {
                if e.error_len().is_none() {
                    bytes.truncate(e.valid_up_to());
                }
            }
        }
        match String::from_utf8(bytes) {
            Ok(s) => s,
            Err(e) => String::from_utf8_lossy(e.as_bytes()).into_owned(),
        }
    }
}

/// Words with these beginnings are keys of well-known services.
const SECRETS: [&str; 6] = ["sk-", "ghp_", "github_pat_", "xoxb-", "AIza", "Bearer "];

/// An error's text as a reason: one line, trimmed, without keys, at most [`REASON`] bytes. Errors
/// can hold a provider's raw answer, with HTML and parts of a key.
#[must_use]
pub fn reason(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len().min(REASON + 8));
    for c in clip(raw, 4 * REASON).chars() {
        if !c.is_control() && !c.is_whitespace() {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with(' ') {
            out.push(' ');
        }
    }
    for secret in SECRETS {
        hide(&mut out, secret);
    }
    let cut = clip(&out, REASON).trim_end().len();
    out.truncate(cut);
    out
}

/// Replaces what follows `prefix` in each word that looks like a key.
fn hide(text: &mut String, prefix: &str) {
    let mut from = 0;
    while let Some(at) = text[from..].find(prefix) {
        let start = from + at;
        let rest = start + prefix.len();
        let word = text[rest..]
            .bytes()
            .take_while(|b| b.is_ascii_alphanumeric() || b"-_.*+/=".contains(b))
            .count();
        let inside_word = text[..start]
            .bytes()
            .next_back()
            .is_some_and(|b| b.is_ascii_alphanumeric());
        if word >= 8 && !inside_word {
            text.replace_range(rest..rest + word, "***");
        }
        from = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_one_clean_line() {
        assert_eq!(
            reason(" 502 \r\n<html>\u{1b}[31m\tbad  "),
            "502 <html> [31m bad"
        );
        assert_eq!(
            reason("401 Incorrect API key provided: fake-key"),
            "401 Incorrect API key provided: fake-key"
        );
        assert_eq!(
            reason("bad key sk-proj-abcdefgh1234, ask-someone-else"),
            "bad key sk-***, ask-someone-else"
        );
        assert!(reason(&"é ".repeat(1000)).len() <= REASON);
    }

    #[test]
    fn the_limit_cuts_between_characters() {
        let mut t = Text::default();
        t.push("aé".as_bytes(), 2);
        t.push(b"z", 2);
        assert_eq!(t.take(), "a");
        t.push(b"a\xffb", 10);
        assert_eq!(t.take(), "a\u{fffd}b");
        assert_eq!(t.capacity(), 0);
    }
}
