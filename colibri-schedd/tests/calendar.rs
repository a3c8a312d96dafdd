//! The answers of colibri-schedd(8), each with a virtual clock, and the comparison with other code.

use colibri_schedd::calendar;
use colibri_schedd::timetable::{Timetable, LOOK_MS, MISSED_MAX};
use colibri_schedd::zones::Zones;
use jiff::tz::TimeZone;
use jiff::Timestamp;
use libcolibri::cron::Cron;
use libcolibri::msg::{FromSchedd, ToSchedd, When};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

fn file(name: &str) -> Option<Vec<u8>> {
    let package = std::env::var("CARGO_MANIFEST_DIR").expect("started by cargo, or as if");
    std::fs::read(format!("{package}/tests/zones/{name}")).ok()
}

fn zone(name: &str) -> TimeZone {
    TimeZone::tzif(name, &file(name).expect("a zone")).expect("a good one")
}

/// Milliseconds of a time in RFC 3339.
fn at(text: &str) -> u64 {
    let time: Timestamp = text.parse().expect("a time");
    u64::try_from(time.as_millisecond()).expect("after 1970")
}

fn cron(text: &str) -> When {
    When::Cron(text.parse::<Cron>().expect("an expression"))
}

/// Everything planned in a span, with its local time.
fn planned(expression: &str, name: &str, from: &str, to: &str) -> Vec<String> {
    let (when, zone) = (cron(expression), zone(name));
    let all = std::iter::successors(Some(at(from)), |t| calendar::next(&when, &zone, *t));
    let inside = all.skip(1).take_while(|t| *t < at(to));
    inside
        .map(|t| {
            let t = Timestamp::from_millisecond(i64::try_from(t).expect("fits")).expect("a time");
            t.to_zoned(zone.clone()).strftime("%d %H:%M %z").to_string()
        })
        .collect()
}

#[test]
fn a_skipped_wall_time_is_planned_at_the_skip() {
    let day = ("2025-03-29T12:00:00Z", "2025-03-31T00:00:00Z");
    let berlin = |e: &str| planned(e, "Europe/Berlin", day.0, day.1);
    assert_eq!(berlin("30 2 * * *"), ["30 03:00 +0200"]);
    // All that is skipped and what is planned for that instant anyway is one occurrence.
    assert_eq!(
        berlin("*/20 1-3 30 * *"),
        [
            "30 01:00 +0100",
            "30 01:20 +0100",
            "30 01:40 +0100",
            "30 03:00 +0200",
            "30 03:20 +0200",
            "30 03:40 +0200"
        ]
    );
}

#[test]
fn a_repeated_wall_time_is_planned_the_first_time() {
    let day = ("2025-10-25T12:00:00Z", "2025-10-27T00:00:00Z");
    let berlin = |e: &str| planned(e, "Europe/Berlin", day.0, day.1);
    assert_eq!(berlin("30 2 26 * *"), ["26 02:30 +0200"]);
    assert_eq!(
        berlin("*/30 1-3 26 * *"),
        [
            "26 01:00 +0200",
            "26 01:30 +0200",
            "26 02:00 +0200",
            "26 02:30 +0200",
            "26 03:00 +0100",
            "26 03:30 +0100"
        ]
    );
    // Asked in the middle of the repetition.
    let zone = zone("Europe/Berlin");
    let second_pass = at("2025-10-26T01:15:00Z");
    let next = calendar::next(&cron("30 2 * * *"), &zone, second_pass);
    assert_eq!(next, Some(at("2025-10-27T01:30:00Z")));
}

#[test]
fn a_skipped_day_is_planned_at_its_end() {
    let span = ("2011-12-29T00:00:00Z", "2012-01-01T12:00:00Z");
    let apia = |e: &str| planned(e, "Pacific/Apia", span.0, span.1);
    assert_eq!(apia("0 12 30 12 *"), ["31 00:00 +1400"]);
    assert_eq!(
        apia("0 12 * * *"),
        [
            "29 12:00 -1000",
            "31 00:00 +1400",
            "31 12:00 +1400",
            "01 12:00 +1400"
        ]
    );
}

#[test]
fn a_skip_of_midnight_and_of_half_an_hour() {
    let cairo = planned(
        "0 0 * * *",
        "Africa/Cairo",
        "2024-04-24T00:00:00Z",
        "2024-04-26T12:00:00Z",
    );
    assert_eq!(cairo, ["25 00:00 +0200", "26 01:00 +0300"]);
    let howe = planned(
        "15 2 * * *",
        "Australia/Lord_Howe",
        "2024-10-05T00:00:00Z",
        "2024-10-06T12:00:00Z",
    );
    assert_eq!(howe, ["06 02:30 +1100"]);
}

#[test]
fn leap_days_are_waited_for_and_never_is_never() {
    let utc = TimeZone::UTC;
    let leap = calendar::next(&cron("0 0 29 2 *"), &utc, at("2096-03-01T00:00:00Z"));
    assert_eq!(leap, Some(at("2104-02-29T00:00:00Z")));
    assert_eq!(calendar::next(&cron("* * * * *"), &utc, u64::MAX), None);
    let every = When::Every {
        anchor_ms: 10,
        every_ms: 7,
    };
    assert_eq!(calendar::next(&every, &utc, 0), Some(17));
    assert_eq!(calendar::next(&every, &utc, 17), Some(24));
    assert_eq!(calendar::next(&every, &utc, u64::MAX), None);
    assert_eq!(calendar::next(&When::Once { at_ms: 5 }, &utc, 4), Some(5));
    assert_eq!(calendar::next(&When::Once { at_ms: 5 }, &utc, 5), None);
}

fn timetable() -> Timetable {
    Timetable::new(Zones::new(Box::new(file)))
}

fn set(t: &mut Timetable, id: u64, when: When, after_ms: u64) {
    let zone = "Europe/Berlin".into();
    let until_ms = u64::MAX;
    let said = ToSchedd::Set {
        id,
        after_ms,
        until_ms,
        when,
        zone,
    };
    assert_eq!(t.hear(said), None);
}

/// What is due at a time: the planned times, and whether more follows the last.
fn due(t: &mut Timetable, now: u64) -> Vec<(u64, bool)> {
    let told = t.due(now, usize::MAX).into_iter();
    told.map(|m| match m {
        FromSchedd::Due { planned, more, .. } => (planned.at_ms, more),
        other => panic!("{other:?}"),
    })
    .collect()
}

const NOON: &str = "2025-06-01T10:00:00Z";

#[test]
fn each_occurrence_is_told_of_once_and_nothing_early() {
    let (mut t, noon) = (timetable(), at(NOON));
    set(&mut t, 1, cron("* * * * *"), noon);
    assert_eq!(due(&mut t, noon + MINUTE - 1), []);
    assert_eq!(due(&mut t, noon + MINUTE), [(noon + MINUTE, false)]);
    assert_eq!(due(&mut t, noon + MINUTE), []);
    assert_eq!(
        due(&mut t, noon + 2 * MINUTE + 5),
        [(noon + 2 * MINUTE, false)]
    );
}

#[test]
fn the_clock_is_looked_at_once_a_minute_and_only_where_something_is_planned() {
    let (mut t, noon) = (timetable(), at(NOON));
    assert_eq!(t.wait_ms(noon), None);
    set(&mut t, 1, cron("0 0 1 1 *"), noon);
    assert_eq!(t.wait_ms(noon), Some(LOOK_MS));
    set(&mut t, 2, When::Once { at_ms: noon + 10 }, noon);
    assert_eq!(t.wait_ms(noon), Some(10));
    assert_eq!(t.wait_ms(noon + 20), Some(0));
    t.hear(ToSchedd::Drop { id: 1 });
    due(&mut t, noon + 20);
    assert_eq!(t.wait_ms(noon), None);
}

#[test]
fn a_step_forward_tells_of_all_that_it_passed_in_order() {
    for step in [10 * MINUTE, 5 * HOUR, 3 * DAY] {
        let (mut t, noon) = (timetable(), at(NOON));
        set(&mut t, 1, cron("*/5 * * * *"), noon);
        let all = due(&mut t, noon + step);
        assert_eq!(all.len() as u64, step / (5 * MINUTE));
        assert!(all.is_sorted());
        let more = all.iter().filter(|(_, more)| !more).count();
        assert_eq!((more, all.last().map(|l| l.1)), (1, Some(false)));
    }
}

#[test]
fn after_a_sleep_it_is_told_of_at_the_next_look() {
    let (mut t, noon) = (timetable(), at(NOON));
    set(&mut t, 1, cron("0 12 * * *"), noon);
    // The clock that poll(2) waits by stands still while the host sleeps, so the wait that was begun
    // before may have to be waited for to its end.
    let begun = t.wait_ms(noon).expect("something is planned");
    assert!(begun <= LOOK_MS);
    let awake = noon + 2 * DAY + HOUR;
    let noons = [noon + DAY, noon + 2 * DAY];
    assert_eq!(due(&mut t, awake), [(noons[0], true), (noons[1], false)]);
}

#[test]
fn a_zone_that_is_changed_counts_from_the_next_start() {
    let now = std::rc::Rc::new(std::cell::Cell::new("Europe/Berlin"));
    let source = || {
        let now = std::rc::Rc::clone(&now);
        Zones::new(Box::new(move |_| file(now.get())))
    };
    let noon = at(NOON);
    let midnight = |t: &mut Timetable| {
        set(t, 1, cron("0 0 * * *"), noon);
        due(t, noon + DAY)[0].0
    };
    let mut t = Timetable::new(source());
    let before = at("2025-06-01T22:00:00Z");
    assert_eq!(midnight(&mut t), before);
    now.set("Asia/Kathmandu");
    // What it has told colibrid and what it will tell agree for as long as it lives.
    assert_eq!(midnight(&mut t), before);
    let mut next = Timetable::new(source());
    assert_eq!(midnight(&mut next), at("2025-06-01T18:15:00Z"));
}

#[test]
fn a_step_back_goes_on_from_there() {
    for step in [10 * MINUTE, 5 * HOUR, 3 * DAY, 400 * DAY] {
        let (mut t, noon) = (timetable(), at(NOON));
        set(&mut t, 1, cron("*/5 * * * *"), noon);
        due(&mut t, noon + 5 * MINUTE);
        let back = noon + 5 * MINUTE - step;
        // Nothing is due at once; what is planned after the new time is told of when it comes.
        assert_eq!(due(&mut t, back), []);
        assert_eq!(due(&mut t, back + 5 * MINUTE), [(back + 5 * MINUTE, false)]);
    }
}

#[test]
fn a_step_back_brings_no_start_forward() {
    let (mut t, noon) = (timetable(), at(NOON));
    set(&mut t, 1, cron("*/5 * * * *"), noon + DAY);
    assert_eq!(due(&mut t, noon), []);
    let back = noon - 5 * HOUR;
    assert_eq!(due(&mut t, back), []);
    assert_eq!(due(&mut t, back + DAY), []);
    let first = noon + DAY + 5 * MINUTE;
    assert_eq!(due(&mut t, first), [(first, false)]);
}

#[test]
fn a_small_step_back_is_waited_for() {
    let (mut t, noon) = (timetable(), at(NOON));
    set(&mut t, 1, cron("* * * * *"), noon);
    assert_eq!(due(&mut t, noon + MINUTE), [(noon + MINUTE, false)]);
    assert_eq!(due(&mut t, noon + 10_000), []);
    assert_eq!(due(&mut t, noon + MINUTE + 1), []);
    assert_eq!(due(&mut t, noon + 2 * MINUTE), [(noon + 2 * MINUTE, false)]);
}

#[test]
fn of_too_many_missed_the_newest_are_told_one_by_one() {
    let ways = [
        (cron("* * * * *"), MINUTE),
        (cron("0 0 * * *"), DAY),
        (
            When::Every {
                anchor_ms: 0,
                every_ms: 1000,
            },
            1000,
        ),
    ];
    for (when, period) in ways {
        let (mut t, first) = (timetable(), at("2020-01-01T00:00:00Z"));
        set(&mut t, 1, when, first);
        let now = first + period * (3 * MISSED_MAX as u64);
        let told = t.due(now, usize::MAX);
        assert_eq!(told.len(), MISSED_MAX + 1, "{when:?}");
        let FromSchedd::Passed {
            planned, until_ms, ..
        } = &told[0]
        else {
            panic!("{:?}", told[0]);
        };
        let FromSchedd::Due {
            planned: second, ..
        } = &told[1]
        else {
            panic!("{:?}", told[1]);
        };
        assert!(planned.at_ms <= *until_ms && *until_ms < second.at_ms);
        assert!(matches!(
            told.last(),
            Some(FromSchedd::Due { more: false, .. })
        ));
    }
}

#[test]
fn nothing_is_told_after_the_end_and_unknown_zones_are_named() {
    let (mut t, noon) = (timetable(), at(NOON));
    let said = |zone: &str| ToSchedd::Set {
        id: 1,
        after_ms: noon,
        until_ms: noon + 2 * MINUTE,
        when: cron("* * * * *"),
        zone: zone.into(),
    };
    assert_eq!(t.hear(said("")), None);
    assert_eq!(due(&mut t, noon + HOUR).len(), 2);
    assert_eq!(t.wait_ms(noon), None);
    assert_eq!(
        t.hear(said("Mars/Olympus")),
        Some(FromSchedd::NoZone { id: 1 })
    );
    assert!(t.is_empty());
}

#[test]
fn a_question_is_answered_and_nothing_kept() {
    let (mut t, noon) = (timetable(), at(NOON));
    let ask = |zone: &str, most| ToSchedd::Ask {
        token: 7,
        after_ms: noon,
        until_ms: noon + DAY,
        most,
        when: cron("0 * * * *"),
        zone: zone.into(),
    };
    let Some(FromSchedd::Plan {
        token: 7,
        times: Some(times),
    }) = t.hear(ask("Europe/Berlin", 5))
    else {
        panic!("no plan");
    };
    assert_eq!(times.len(), 5);
    assert_eq!((times[0].at_ms, times[0].offset_s), (noon + HOUR, 7200));
    let Some(FromSchedd::Plan {
        times: Some(times), ..
    }) = t.hear(ask("", 1000))
    else {
        panic!("no plan");
    };
    assert_eq!(times.len(), 24);
    let none = FromSchedd::Plan {
        token: 7,
        times: None,
    };
    assert_eq!(t.hear(ask("Mars/Olympus", 5)), Some(none));
    assert!(t.is_empty() && t.wait_ms(noon).is_none());
}

/// The same expressions in the same zones over twenty years by other code: oracle.py.
#[test]
fn another_implementation_agrees() {
    let (first, last) = (at("2005-01-01T00:00:00Z"), at("2025-01-01T00:00:00Z"));
    let lines = include_str!("oracle.txt");
    assert_eq!(lines.lines().count(), 144);
    for line in lines.lines() {
        let [expression, name, years, digest] = line.split('|').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let (when, zone) = (cron(expression), zone(name));
        let mut counts = [0u32; 20];
        let mut bytes = Vec::new();
        let mut t = first - 1;
        while let Some(next) = calendar::next(&when, &zone, t).filter(|n| *n < last) {
            let year = Timestamp::from_millisecond(i64::try_from(next).expect("fits"))
                .expect("a time")
                .to_zoned(TimeZone::UTC)
                .year();
            counts[usize::try_from(year - 2005).expect("in range")] += 1;
            bytes.extend((next / 1000).to_le_bytes());
            t = next;
        }
        let counts = counts.map(|c| c.to_string()).join(" ");
        assert_eq!(counts, years, "{expression} in {name}");
        let found = format!("{:016x}", libcolibri::config::hash(&bytes));
        assert_eq!(found, digest, "{expression} in {name}");
    }
}
