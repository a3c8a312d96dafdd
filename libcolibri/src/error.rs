//! Errors as operators read them: the action, the object, the reason; and the exit codes.

use std::fmt;
use std::io;
use std::path::Path;

/// Success.
pub const EX_OK: i32 = 0;
/// The action failed.
pub const EX_FAILURE: i32 = 1;
/// Wrong use of the command line.
pub const EX_USAGE: i32 = 2;
/// The config is not usable (sysexits' EX_CONFIG).
pub const EX_CONFIG: i32 = 78;

/// Why a program ends, with the exit code that says which kind of failure it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fatal {
    /// One of the `EX_` constants.
    pub code: i32,
    /// One line: the action, the object, the reason.
    pub message: String,
}

/// Result of everything that can end a program.
pub type Result<T> = std::result::Result<T, Fatal>;

impl Fatal {
    /// A plain failure.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Fatal {
            code: EX_FAILURE,
            message: message.into(),
        }
    }

    /// A failure of the config.
    #[must_use]
    pub fn config(message: impl Into<String>) -> Self {
        Fatal {
            code: EX_CONFIG,
            message: message.into(),
        }
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fatal {}

/// The reason in an I/O error, in the system's words and lower case, without its number.
#[must_use]
pub fn reason(e: &io::Error) -> String {
    let text = match e.raw_os_error() {
        Some(n) => nix::errno::Errno::from_raw(n).desc().to_owned(),
        None => e.to_string(),
    };
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        // Not the I of "I/O error".
        (Some(c), Some(next)) if next.is_alphabetic() => c.to_lowercase().chain(chars).collect(),
        _ => text,
    }
}

/// "cannot `action` `path`: reason", as a failure.
#[must_use]
pub fn cannot(action: &str, path: &Path, e: &io::Error) -> Fatal {
    Fatal::new(format!("cannot {action} {}: {}", path.display(), reason(e)))
}

/// Adds "cannot `what`" to the error of an action without a path.
pub trait Context<T> {
    /// Turns the error into "cannot `what`: reason".
    ///
    /// # Errors
    /// The same failure, in words.
    fn or_fatal(self, what: &str) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn or_fatal(self, what: &str) -> Result<T> {
        self.map_err(|e| Fatal::new(format!("cannot {what}: {}", reason(&e))))
    }
}

impl<T> Context<T> for nix::Result<T> {
    fn or_fatal(self, what: &str) -> Result<T> {
        self.map_err(io::Error::from).or_fatal(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_action_object_and_reason() {
        let e = std::fs::File::open("/nonexistent/x").unwrap_err();
        let f = cannot("open", Path::new("/nonexistent/x"), &e);
        assert_eq!(
            f.message,
            "cannot open /nonexistent/x: no such file or directory"
        );
        assert_eq!(f.code, EX_FAILURE);
        let e = io::Error::from(nix::errno::Errno::EIO);
        assert_eq!(reason(&e), "I/O error");
    }
}
