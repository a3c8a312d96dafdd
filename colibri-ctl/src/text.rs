//! Text of others, made safe and measurable for a terminal. Agents and models write names, titles
//! and reasons; whatever of it reaches the screen has passed through here.

/// Columns of every table and of the summary lines.
pub const COLUMNS: usize = 80;

/// Stands for a character that must not reach a terminal.
const REPLACED: char = '\u{fffd}';

/// Whether `c` can make a terminal show something else than the text says, or nothing at all:
/// controls (C0, DEL, C1), line and paragraph separators, bidirectional overrides and isolates,
/// invisible marks, tag characters.
#[must_use]
pub fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{200b}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// One line of safe text: white space becomes a blank, every other harmful character U+FFFD.
#[must_use]
pub fn clean(s: &str) -> String {
    let mapped = s.chars().map(|c| match c {
        '\n' | '\t' | '\r' | '\u{2028}' | '\u{2029}' => ' ',
        c if is_harmful(c) => REPLACED,
        c => c,
    });
    mapped.collect()
}

/// Safe text that keeps its lines and tabs (CR LF becomes LF); for answers and questions.
#[must_use]
pub fn clean_lines(s: &str) -> String {
    let unified = s
        .replace("\r\n", "\n")
        .replace(['\u{2028}', '\u{2029}'], "\n");
    let mapped = unified.chars().map(|c| match c {
        '\n' | '\t' => c,
        c if is_harmful(c) => REPLACED,
        c => c,
    });
    mapped.collect()
}

/// Columns that a terminal gives to `c`. An approximation by blocks: 0 for combining marks, joiners and
/// variation selectors, 2 for CJK, Hangul, full-width forms and the emoji blocks, 1 for the rest. Where
/// terminals disagree (joined emoji, ambiguous width) a row may be a column short or long.
#[must_use]
pub fn char_width(c: char) -> usize {
    match u32::from(c) {
        0..=0x2ff => 1,
        0x300..=0x36f
        | 0x483..=0x489
        | 0x591..=0x5bd
        | 0x610..=0x61a
        | 0x64b..=0x65f
        | 0x1160..=0x11ff
        | 0x1ab0..=0x1aff
        | 0x1dc0..=0x1dff
        | 0x200c..=0x200f
        | 0x20d0..=0x20ff
        | 0xfe00..=0xfe0f
        | 0xfe20..=0xfe2f => 0,
        0x1100..=0x115f
        | 0x231a..=0x231b
        | 0x23e9..=0x23ec
        | 0x2614..=0x2615
        | 0x26a1
        | 0x2705
        | 0x274c
        | 0x2753..=0x2757
        | 0x2b50
        | 0x2e80..=0x303e
        | 0x3041..=0x33ff
        | 0x3400..=0x4dbf
        | 0x4e00..=0xa4cf
        | 0xa960..=0xa97f
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1f64f
        | 0x1f680..=0x1f6ff
        | 0x1f900..=0x1f9ff
        | 0x1fa70..=0x1faff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// Columns of a text, by [`char_width`].
#[must_use]
pub fn width(s: &str) -> usize {
    s.chars().map(char_width).sum()
}

/// `s` in at most `columns` columns, cut with `…`. Characters are bounded too (four to a column),
/// so that a pile of combining marks does not pass as a short text.
#[must_use]
pub fn fit(s: &str, columns: usize) -> String {
    let most = columns.saturating_mul(4);
    if width(s) <= columns && s.chars().count() <= most {
        return s.to_owned();
    }
    let (mut out, mut used) = (String::new(), 0);
    for c in s.chars().take(most) {
        if used + char_width(c) >= columns {
            break;
        }
        used += char_width(c);
        out.push(c);
    }
    if columns > 0 {
        out.push('…');
    }
    out
}

/// `s` followed by blanks up to `columns`.
#[must_use]
pub fn pad(s: &str, columns: usize) -> String {
    let blanks = columns.saturating_sub(width(s));
    format!("{s}{}", " ".repeat(blanks))
}

/// `s` after blanks up to `columns`; for numbers.
#[must_use]
pub fn pad_left(s: &str, columns: usize) -> String {
    let blanks = columns.saturating_sub(width(s));
    format!("{}{s}", " ".repeat(blanks))
}

/// `s` as one word of a POSIX shell, for commands that we suggest. The texts in them come from
/// agents: pasted, they must not be more than one argument.
#[must_use]
pub fn shell_word(s: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:=+,@%-".contains(c);
    if !s.is_empty() && s.chars().all(plain) {
        return s.to_owned();
    }
    format!("'{}'", clean(s).replace('\'', "'\\''"))
}

/// Money as people write it: cents, and for less than a cent four digits.
#[must_use]
pub fn cost(usd: f64) -> String {
    if !usd.is_finite() || usd <= 0.0 {
        "-".into()
    } else if usd < 0.01 {
        format!("${usd:.4}")
    } else {
        format!("${usd:.2}")
    }
}

/// `1 run`, `2 runs`.
#[must_use]
pub fn count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_harmful_survives_cleaning() {
        let every = || (0..=0x10_ffff).filter_map(char::from_u32);
        let all: String = every().collect();
        assert!(!clean(&all).chars().any(is_harmful));
        let kept = |c: char| c == '\n' || c == '\t';
        assert!(!clean_lines(&all).chars().any(|c| is_harmful(c) && !kept(c)));
        assert_eq!(clean("a\x1b[31mb\u{202e}c\nd"), "a\u{fffd}[31mb\u{fffd}c d");
        assert_eq!(clean("Grüße 漢字 👍"), "Grüße 漢字 👍");
        assert_eq!(clean_lines("a\r\nb\rc\td"), "a\nb\u{fffd}c\td");
    }

    #[test]
    fn fits_by_columns_not_by_characters() {
        assert_eq!(fit("abc", 3), "abc");
        assert_eq!(fit("abcd", 3), "ab…");
        assert_eq!(fit("漢字漢字", 5), "漢字…");
        assert_eq!(fit("漢字漢字", 4), "漢…");
        assert_eq!(fit("x", 0), "");
        let zalgo = format!("a{}", "\u{301}".repeat(1000));
        assert!(fit(&zalgo, 10).chars().count() <= 41);
        // 127 is prime: the steps meet every block in different places.
        let sample = (0..=0x10_ffff).step_by(127);
        let every: String = sample.filter_map(char::from_u32).collect();
        for columns in 0..100 {
            assert!(width(&fit(&every, columns)) <= columns);
        }
    }

    #[test]
    fn pads_by_columns() {
        assert_eq!(pad("漢", 4), "漢  ");
        assert_eq!(pad_left("7", 3), "  7");
        assert_eq!(pad("long", 2), "long");
    }

    #[test]
    fn a_suggested_word_stays_one_word() {
        assert_eq!(shell_word("e37f-12"), "e37f-12");
        assert_eq!(shell_word("x; rm -rf ~"), "'x; rm -rf ~'");
        assert_eq!(shell_word("it's $(id)"), "'it'\\''s $(id)'");
        assert_eq!(shell_word("a\nb"), "'a b'");
        assert_eq!(shell_word(""), "''");
    }

    #[test]
    fn money_and_counts() {
        assert_eq!(cost(0.0), "-");
        assert_eq!(cost(0.0042), "$0.0042");
        assert_eq!(cost(12.345), "$12.35");
        assert_eq!(cost(f64::NAN), "-");
        assert_eq!(count(1, "run", "runs"), "1 run");
        assert_eq!(count(0, "run", "runs"), "0 runs");
    }
}
