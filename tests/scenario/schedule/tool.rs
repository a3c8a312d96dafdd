//! `colibri-ctl schedule`.

use crate::stage::suite;

#[test]
fn add_list_show_next_preview_pause_resume_run_rm_history() {
    let (suite, _client) = suite("");
    let added = suite.ctl_ok(&[
        "schedule",
        "add",
        "review",
        "Review of {planned}",
        "--cron",
        "30 9 * * mon-fri",
        "--zone",
        "Europe/Berlin",
        "--jitter",
        "1m",
        "--budget-usd",
        "2.5",
    ]);
    assert!(
        added.starts_with("Schedule review: at 09:30, on Monday to Friday, Europe/Berlin\nNext:\n")
    );
    assert_eq!(added.lines().count(), 7, "{added}");

    let bad = suite.ctl(&["schedule", "add", "x", "t", "--cron", "30 25 * * *"]);
    assert_eq!(bad.status.code(), Some(1));
    let said = String::from_utf8_lossy(&bad.stderr);
    assert!(
        said.contains("cron: column 4: expected an hour from 0 to 23, found \"25\""),
        "{said}"
    );
    assert_eq!(
        suite.ctl(&["schedule", "add", "x", "t"]).status.code(),
        Some(2)
    );

    let list = suite.ctl_ok(&["schedule", "list"]);
    assert!(list.contains("review    active  command"), "{list}");
    assert!(suite
        .ctl_ok(&["-j", "schedule", "list"])
        .contains("\"says\":"));
    let show = suite.ctl_ok(&["schedule", "show", "review"]);
    assert!(
        show.contains("  when         at 09:30, on Monday to Friday"),
        "{show}"
    );
    assert!(show.contains("  budget       2.5 usd\n"), "{show}");
    let next = suite.ctl_ok(&["schedule", "next", "review", "-n", "3"]);
    assert_eq!(next.lines().count(), 4, "{next}");
    let next = suite.ctl_ok(&["schedule", "next", "--cron", "@yearly", "-n", "2"]);
    assert!(next.contains("-01-01T00:00:00+00:00"), "{next}");

    let year = suite.ctl_ok(&[
        "schedule",
        "preview",
        "--from",
        "2026-01-01T00:00:00Z",
        "--to",
        "2027-01-01T00:00:00Z",
    ]);
    assert_eq!(
        year.lines().count(),
        1 + 261,
        "a year has so many working days"
    );
    assert!(
        year.lines()
            .nth(1)
            .unwrap()
            .contains("2026-01-01T09:30:00+01:00"),
        "{year}"
    );
    let json = suite.ctl_ok(&[
        "-j",
        "schedule",
        "preview",
        "review",
        "--from",
        "2026-01-01T00:00:00Z",
        "--to",
        "2026-01-08T00:00:00Z",
    ]);
    assert_eq!(json.lines().count(), 5, "{json}");

    assert_eq!(
        suite.ctl_ok(&["schedule", "pause", "review"]),
        "Schedule review is paused\n"
    );
    assert!(suite.ctl_ok(&["schedule", "list"]).contains("paused"));
    assert_eq!(
        suite.ctl_ok(&["schedule", "resume", "review"]),
        "Schedule review is active\n"
    );
    assert!(suite
        .ctl_ok(&["schedule", "run", "review"])
        .starts_with("Task 1 accepted"));
    let history = suite.ctl_ok(&["schedule", "history", "review"]);
    assert!(history.contains("yes     fired"), "{history}");
    for text in [&list, &show, &next, &year, &history] {
        assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
    }
    assert_eq!(
        suite.ctl_ok(&["schedule", "rm", "review"]),
        "Schedule review is retired\n"
    );
    assert_eq!(suite.ctl_ok(&["schedule", "list"]), "No schedules.\n");
    assert_eq!(
        suite.ctl(&["schedule", "show", "nothing"]).status.code(),
        Some(1)
    );
}
