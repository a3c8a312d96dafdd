//! Occurrences that were planned while the suite was down. The clock is not moved: the ledger of a
//! suite that is stopped is, to an hour before.

use crate::stage::{
    add, ledger, ms, now_ms, occurrences, sql, statuses, suite, suite_that_keeps, wait_occurrence,
    watcher,
};
use colibri_tests::client::Client;
use colibri_tests::wait::{must, LONG};
use serde_json::{json, Value};

/// A schedule that comes every ten minutes, of which the last hour was missed.
fn missed_an_hour(fields: &Value) -> (colibri_tests::suite::Suite, Client) {
    let (mut suite, mut client) = suite("");
    let mut all = json!({"every": 600});
    for (k, v) in fields.as_object().expect("fields") {
        all[k] = v.clone();
    }
    add(&mut client, "m", all);
    suite.stop();
    // Half a minute more, so that the last one is not on time.
    sql(
        &suite,
        "UPDATE schedules SET high_ms = high_ms - 3690000, anchor_ms = anchor_ms - 3690000",
    );
    suite.launch();
    let client = watcher(&suite);
    (suite, client)
}

/// The first that has fired since then: a watcher is told of those before, too.
#[track_caller]
fn fired_since(client: &mut Client, name: &str, since_ms: u64) -> Value {
    must("one that has fired", LONG, || {
        let fired = wait_occurrence(client, name, "fired");
        (ms(&fired["at"]) > since_ms).then_some(fired)
    })
}

#[test]
fn latest_makes_up_for_one_and_merges_the_others_into_it() {
    let (_suite, mut client) = missed_an_hour(&json!({}));
    let fired = wait_occurrence(&mut client, "m", "fired");
    let merged = ["merged"; 5];
    assert_eq!(
        statuses(&mut client, "m"),
        [&merged[..], &["fired"]].concat()
    );
    let reason = ledger(&mut client, "m")[1]["reason"].clone();
    let expect = format!(
        "missed; the one of {} stands for it",
        fired["planned"].as_str().unwrap()
    );
    assert_eq!(reason, json!(expect));
}

#[test]
fn skip_makes_up_for_none() {
    let (_suite, mut client) = missed_an_hour(&json!({"catch_up": "skip"}));
    for _ in 0..6 {
        let skipped = wait_occurrence(&mut client, "m", "skipped");
        assert_eq!(skipped["why"], "missed");
    }
    assert_eq!(statuses(&mut client, "m"), ["skipped"; 6]);
    assert_eq!(client.call(json!({"cmd": "stats"}))["tasks"]["queued"], 0);
}

#[test]
fn all_makes_up_for_as_many_as_it_says_in_order() {
    let fields = json!({"catch_up": "all", "catch_up_max": 3, "overlap": "allow"});
    let (_suite, mut client) = missed_an_hour(&fields);
    let planned: Vec<Value> = (0..3)
        .map(|_| wait_occurrence(&mut client, "m", "fired")["planned"].take())
        .collect();
    assert!(planned.is_sorted_by_key(|p| p.as_str().map(str::to_owned)));
    let expect = ["skipped", "skipped", "skipped", "fired", "fired", "fired"];
    assert_eq!(statuses(&mut client, "m"), expect);
}

#[test]
fn what_is_too_late_is_skipped_whatever_else() {
    let fields = json!({"catch_up": "all", "late": 1800, "overlap": "allow"});
    let (_suite, mut client) = missed_an_hour(&fields);
    for _ in 0..3 {
        wait_occurrence(&mut client, "m", "fired");
    }
    let rows = ledger(&mut client, "m");
    let late = rows
        .iter()
        .filter(|r| r["why"] == "late" && r["status"] == "skipped");
    assert_eq!((late.count(), rows.len()), (3, 6));
}

#[test]
fn a_ledger_that_is_ahead_of_the_clock_does_not_double() {
    let (mut suite, mut client) = suite("");
    add(&mut client, "a", json!({"every": 1, "overlap": "allow"}));
    wait_occurrence(&mut client, "a", "fired");
    suite.stop();
    // As after a clock that was a day ahead and was set right.
    sql(&suite, "UPDATE schedules SET high_ms = high_ms + 86400000");
    let back = now_ms();
    suite.launch();
    let mut client = watcher(&suite);
    let again = fired_since(&mut client, "a", back);
    wait_occurrence(&mut client, "a", "fired");
    // From here on it goes with the clock again: what a suite that is down misses is known.
    suite.stop();
    let down = now_ms();
    must("some to be missed", LONG, || {
        (now_ms() > down + 2500).then_some(())
    });
    suite.launch();
    let mut client = watcher(&suite);
    must("one that comes after that", LONG, || {
        let last = wait_occurrence(&mut client, "a", "fired");
        (ms(&last["planned"]) > down + 2000).then_some(())
    });
    let rows = ledger(&mut client, "a");
    let planned: Vec<u64> = rows.iter().rev().map(|r| ms(&r["planned"])).collect();
    let from = planned.iter().position(|p| *p == ms(&again["planned"]));
    for pair in planned[from.expect("its row")..].windows(2) {
        assert_eq!(pair[1] - pair[0], 1000, "each second once: {planned:?}");
    }
}

#[test]
fn what_was_forgotten_does_not_come_again() {
    let (mut suite, mut client) = suite("");
    add(
        &mut client,
        "f",
        json!({"every": 600, "overlap": "allow", "catch_up": "all"}),
    );
    suite.stop();
    // The clock was set back by an hour, and the rows of the first half of it are gone.
    sql(
        &suite,
        "UPDATE schedules SET high_ms = high_ms - 3690000, anchor_ms = anchor_ms - 3690000,
             floor_ms = high_ms - 1890000",
    );
    suite.launch();
    let mut client = watcher(&suite);
    for _ in 0..3 {
        wait_occurrence(&mut client, "f", "fired");
    }
    assert_eq!(statuses(&mut client, "f"), ["fired"; 3]);
    let log = suite.log();
    assert!(
        !log.contains("not planned for then"),
        "schedd is honest: {log}"
    );
}

#[test]
fn a_span_that_begins_with_one_that_had_its_turn_is_entered_from_there_on() {
    // More than a thousand rows are looked at.
    let (mut suite, mut client) = suite_that_keeps(10_000, "");
    add(&mut client, "s", json!({"every": 1, "overlap": "allow"}));
    wait_occurrence(&mut client, "s", "fired");
    suite.stop();
    // Much later, while the ledger says that nothing but the row of the first was there.
    sql(
        &suite,
        "DELETE FROM occurrences WHERE planned_ms > (SELECT min(planned_ms) FROM occurrences);
         UPDATE occurrences SET planned_ms = planned_ms - 2000000;
         UPDATE schedules SET anchor_ms = anchor_ms - 2000000,
             high_ms = (SELECT planned_ms FROM occurrences) - 1",
    );
    let down = now_ms();
    suite.launch();
    let mut client = watcher(&suite);
    fired_since(&mut client, "s", down);
    suite.stop();
    let count = |what: &str| occurrences(&suite, what);
    assert_eq!(count("until_ms IS NOT NULL"), 1);
    let first = "planned_ms = (SELECT min(planned_ms) FROM occurrences)";
    assert_eq!(
        count(&format!(
            "{first} AND status = 'fired' AND until_ms IS NULL"
        )),
        1
    );
    // Behind the span each second has its row: only the last has none after it.
    let behind = "planned_ms > (SELECT max(until_ms) FROM occurrences)";
    let next = "SELECT 1 FROM occurrences n WHERE n.planned_ms = occurrences.planned_ms + 1000";
    assert!(count(behind) >= 1000);
    assert_eq!(count(&format!("{behind} AND NOT EXISTS ({next})")), 1);
}
