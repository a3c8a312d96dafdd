//! Cron expressions: an error names a column within the text and what was expected there; what is
//! accepted can be said in words, crosses a channel unchanged and comes at least once in nine years.
#![no_main]

use colibri_schedd::calendar::next;
use jiff::tz::TimeZone;
use libcolibri::cron::Cron;
use libcolibri::msg::{ToSchedd, When};
use libcolibri::wire;
use libfuzzer_sys::fuzz_target;

/// Somewhere in 2026, milliseconds since 1970.
const NOW: u64 = 1_780_000_000_000;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match text.parse::<Cron>() {
        Ok(cron) => accepted(cron),
        Err(e) => {
            assert!((1..=text.chars().count() + 1).contains(&e.column), "{e}");
            assert!(!e.expected.is_empty() && text.contains(&e.found), "{e}");
        }
    }
});

fn accepted(cron: Cron) {
    assert!(!cron.describe().is_empty());
    let when = When::Cron(cron);
    let set = ToSchedd::Set {
        id: 1,
        after_ms: 0,
        until_ms: 0,
        when,
        zone: String::new(),
    };
    let mut bytes = Vec::new();
    wire::encode(&set, &mut bytes);
    assert_eq!(wire::decode::<ToSchedd>(2, &bytes[wire::HEADER..]), Ok(set));
    let first = next(&when, &TimeZone::UTC, NOW).expect("it comes");
    let second = next(&when, &TimeZone::UTC, first).expect("it comes again");
    assert!(NOW < first && first < second && first.is_multiple_of(60_000));
}
