//! A watchdog's answer: refused, or one of three words with all that was said kept.
#![no_main]

use colibrid::host::verdict::{read, ANSWER_MAX};
use libcolibri::record::SHORT;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    match read(data) {
        // Nothing of it comes back.
        Err(why) => assert!(why.starts_with("its answer ")),
        Ok(said) => {
            assert!(data.len() <= ANSWER_MAX && said.reason.len() <= SHORT);
            let whole: Value = serde_json::from_slice(data).expect("an answer is JSON");
            assert_eq!(whole.as_object(), Some(&said.raw));
            let mode = said.raw["mode"].as_str().expect("a word");
            let said_least = mode.parse().expect("a known word");
            assert!(said.leave >= said_least);
        }
    }
});
