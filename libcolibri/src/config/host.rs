//! Who is in charge of the host: the watchdog's and hostd's sockets.

use std::path::PathBuf;

use super::raw::{absolute, number, RawHost, Where};

/// How far the host lets Colibri launch runs; the later, the stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leave {
    /// As its own limits allow.
    Normal,
    /// One run at a time.
    Throttled,
    /// None: what runs goes on.
    Held,
}

impl Leave {
    /// All of them.
    pub const ALL: [Leave; 3] = [Leave::Normal, Leave::Throttled, Leave::Held];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Leave::Normal => "normal",
            Leave::Throttled => "throttled",
            Leave::Held => "held",
        }
    }

    /// How many runs may be alive when one is launched, that one counted.
    #[must_use]
    pub fn runs(self) -> usize {
        match self {
            Leave::Normal => usize::MAX,
            Leave::Throttled => 1,
            Leave::Held => 0,
        }
    }
}

impl std::str::FromStr for Leave {
    type Err = ();

    fn from_str(s: &str) -> Result<Self, ()> {
        Leave::ALL.into_iter().find(|l| l.as_str() == s).ok_or(())
    }
}

/// The authorities of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The watchdog's socket; without it nobody is asked.
    pub watchdog: Option<PathBuf>,
    /// hostd's socket.
    pub hostd: Option<PathBuf>,
    /// What holds while the watchdog gives no answer.
    pub unreachable: Leave,
    /// Seconds that an answer counts.
    pub fresh: u32,
}

/// Checks the table.
pub(super) fn host(w: &Where<'_>, raw: RawHost) -> Result<Host, String> {
    let socket = |value: Option<toml::Spanned<PathBuf>>, field: &str| match value {
        None => Ok(None),
        Some(v) if v.get_ref().as_os_str().len() > SOCKET_PATH_MAX => {
            let what = format!("must have at most {SOCKET_PATH_MAX} bytes: it names a socket");
            Err(w.err(&v, field, &what))
        }
        given => absolute(w, given, field, "/").map(Some),
    };
    Ok(Host {
        watchdog: socket(raw.watchdog, "host.watchdog")?,
        hostd: socket(raw.hostd, "host.hostd")?,
        unreachable: match raw.unreachable {
            None => Leave::Held,
            Some(word) => word.get_ref().parse().map_err(|()| {
                let what = "must be normal, throttled or held";
                w.err(&word, "host.unreachable", what)
            })?,
        },
        fresh: number(w, raw.fresh, "host.fresh", 1..=3600, 10)?,
    })
}

/// Longest path of a Unix socket, its NUL left out (FreeBSD's 104; Linux has 108).
const SOCKET_PATH_MAX: usize = 103;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Config;
    use super::*;

    fn check(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("c"), text.as_bytes()).map_err(|e| e.message)
    }

    #[test]
    fn nobody_is_in_charge_unless_named_and_silence_holds() {
        let none = check("").unwrap().host;
        assert_eq!((none.watchdog, none.hostd), (None, None));
        let text = "[host]\nwatchdog = \"/w\"\nhostd = \"/h\"\n";
        let host = check(text).unwrap().host;
        assert_eq!(host.watchdog, Some("/w".into()));
        assert_eq!((host.unreachable, host.fresh), (Leave::Held, 10));
        let text = "[host]\nunreachable = \"throttled\"\nfresh = 3600\n";
        assert_eq!(check(text).unwrap().host.unreachable, Leave::Throttled);
    }

    #[test]
    fn wrong_values_are_named() {
        let long = format!("[host]\nhostd = \"/{}\"\n", "x".repeat(SOCKET_PATH_MAX));
        for (text, expect) in [
            (
                "[host]\nwatchdog = \"w\"\n",
                "c:2: host.watchdog: must be an absolute",
            ),
            (long.as_str(), "c:2: host.hostd: must have at most 103"),
            (
                "[host]\nunreachable = \"no\"\n",
                "c:2: host.unreachable: must be normal",
            ),
            (
                "[host]\nfresh = 0\n",
                "c:2: host.fresh: must be from 1 to 3600",
            ),
        ] {
            let got = check(text).unwrap_err();
            assert!(got.starts_with(expect), "{text:?}: {got}");
        }
    }

    #[test]
    fn stricter_is_greater() {
        assert!(Leave::Normal < Leave::Throttled && Leave::Throttled < Leave::Held);
    }
}
