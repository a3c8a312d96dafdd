//! JSON output: what colibrid sent, made safe to look at.

use std::fmt::Write;

use crate::text::is_harmful;

/// The same JSON value without characters that can deceive a terminal. In valid JSON they can only stand
/// inside strings, where an escape means the same; white space between tokens becomes a blank.
#[must_use]
pub fn for_terminal(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    for c in line.chars() {
        match c {
            // Raw controls are not allowed inside strings, so these are between tokens.
            '\t' | '\r' | '\n' => out.push(' '),
            c if is_harmful(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a String cannot fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_keep_the_value() {
        let every: String = (0..=0x10_ffff).filter_map(char::from_u32).collect();
        let line = serde_json::to_string(&every).unwrap();
        let safe = for_terminal(&line);
        assert!(!safe.chars().any(is_harmful));
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), every);
        assert_eq!(for_terminal("{\"a\":\t1}\r"), "{\"a\": 1} ");
    }
}
