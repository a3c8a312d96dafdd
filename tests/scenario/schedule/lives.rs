//! The lives of schedules.

use crate::stage::{
    add, claim, finish, ledger, ms, now_ms, report, rfc3339, statuses, suite, wait_occurrence,
    watcher,
};
use colibri_tests::daemon::{Daemon, Parts};
use colibri_tests::procs::{self, gone};
use colibri_tests::suite::{config_text, Scratch, Setup};
use colibri_tests::wait::LONG;
use nix::sys::signal::Signal;
use serde_json::json;

#[test]
fn one_time_makes_one_task_that_knows_its_time() {
    let (_suite, mut client) = suite("");
    let at = rfc3339(now_ms() + 1500);
    let fields = json!({
        "at": at, "title": "{schedule} of {planned_utc}", "prompt": "it is {planned}",
        "capabilities": ["b", "a"], "agent": "hand", "priority": 7,
    });
    let added = add(&mut client, "single", fields);
    assert_eq!(added["next"].as_array().map(Vec::len), Some(1));
    let fired = wait_occurrence(&mut client, "single", "fired");
    assert!(now_ms() >= ms(&json!(at)), "it came early");
    assert_eq!(fired["planned"], json!(at));
    let task = client.call(json!({"cmd": "get-task", "task_id": fired["task"]}));
    assert_eq!(task["title"], json!(format!("single of {at}")));
    let seconds = &at[..19];
    assert!(
        task["description"]
            .as_str()
            .is_some_and(|d| d.starts_with(&format!("it is {seconds}"))),
        "{task}"
    );
    assert_eq!(task["capabilities"], json!(["a", "b"]));
    assert_eq!(
        (&task["only_agent"], &task["priority"]),
        (&json!("hand"), &json!(7))
    );
    let claim = claim(&mut client, &fired["task"]);
    report(&mut client, &fired["task"], &claim, "done");
    wait_occurrence(&mut client, "single", "done");
    let rows = ledger(&mut client, "single");
    assert_eq!(rows.len(), 1, "{rows:?}");
    for field in ["fired_at", "started_at", "ended_at"] {
        assert!(rows[0][field].is_string(), "{field}: {}", rows[0]);
    }
    let shown = client.call(json!({"cmd": "get-schedule", "schedule": "single"}));
    assert_eq!(
        (&shown["state"], &shown["next"]),
        (&json!("active"), &json!([]))
    );
}

#[test]
fn an_interval_comes_at_each_of_its_times_once() {
    let (_suite, mut client) = suite("");
    add(
        &mut client,
        "often",
        json!({"every": 1, "overlap": "allow"}),
    );
    let mut planned = Vec::new();
    for _ in 0..4 {
        planned.push(ms(
            &wait_occurrence(&mut client, "often", "fired")["planned"]
        ));
    }
    for pair in planned.windows(2) {
        assert_eq!(pair[1] - pair[0], 1000, "{planned:?}");
    }
    let rows = ledger(&mut client, "often");
    let mut tasks: Vec<_> = rows.iter().map(|r| r["task"].as_u64()).collect();
    tasks.sort_unstable();
    tasks.dedup();
    assert_eq!(tasks.len(), rows.len());
}

#[test]
fn an_interval_from_the_end_waits_for_the_end() {
    let (_suite, mut client) = suite("");
    add(&mut client, "calm", json!({"every": 1, "from_end": true}));
    let first = wait_occurrence(&mut client, "calm", "fired");
    let shown = client.call(json!({"cmd": "get-schedule", "schedule": "calm"}));
    assert_eq!(shown["next"], json!([]), "nothing is planned while it runs");
    finish(&mut client, &first["task"], "done");
    wait_occurrence(&mut client, "calm", "done");
    let ended = ms(&ledger(&mut client, "calm")[0]["ended_at"]);
    let second = wait_occurrence(&mut client, "calm", "fired");
    let gap = ms(&second["planned"]) - ended;
    // Between the end and its entry a moment passes.
    assert!((1000..LONG.as_millis() as u64).contains(&gap), "{gap}");
}

#[test]
fn a_person_can_have_one_now_and_it_is_recorded_as_such() {
    let (_suite, mut client) = suite("");
    add(&mut client, "daily", json!({"cron": "@daily"}));
    let first = client.call(json!({"cmd": "run-schedule", "schedule": "daily"}));
    let second = client.call(json!({"cmd": "run-schedule", "schedule": "daily"}));
    assert_ne!(first["task"], second["task"]);
    let rows = ledger(&mut client, "daily");
    assert_eq!(rows.len(), 2);
    assert!(rows
        .iter()
        .all(|r| r["manual"] == true && r["status"] == "fired"));
    finish(&mut client, &first["task"], "done");
    wait_occurrence(&mut client, "daily", "done");
}

#[test]
fn a_removed_schedule_keeps_its_history_and_its_name_can_be_used_again() {
    let (_suite, mut client) = suite("");
    add(&mut client, "short", json!({"every": 1}));
    wait_occurrence(&mut client, "short", "fired");
    let twice = json!({"cmd": "add-schedule", "name": "short", "title": "t", "every": 9});
    assert_eq!(client.refused(twice), "conflict");
    client.call(json!({"cmd": "remove-schedule", "schedule": "short"}));
    let gone = json!({"cmd": "remove-schedule", "schedule": "short"});
    assert_eq!(client.refused(gone), "conflict");
    assert_eq!(
        client.call(json!({"cmd": "list-schedules"}))["schedules"],
        json!([])
    );
    assert!(!ledger(&mut client, "short").is_empty());
    add(&mut client, "short", json!({"every": 3600}));
    assert!(ledger(&mut client, "short").is_empty());
}

#[test]
fn what_waits_when_its_schedule_is_removed_is_closed() {
    let (_suite, mut client) = suite("");
    add(&mut client, "q", json!({"every": 1, "overlap": "queue"}));
    let fired = wait_occurrence(&mut client, "q", "fired");
    wait_occurrence(&mut client, "q", "waiting");
    client.call(json!({"cmd": "remove-schedule", "schedule": "q"}));
    let closed = wait_occurrence(&mut client, "q", "skipped");
    assert_eq!(closed["why"], "retired");
    assert!(!statuses(&mut client, "q").contains(&"waiting".to_owned()));
    // What has its task goes on to its end.
    finish(&mut client, &fired["task"], "done");
    wait_occurrence(&mut client, "q", "done");
}

#[test]
fn what_cannot_be_is_refused_where_it_is_said() {
    let (_suite, mut client) = suite("");
    let mut refused = |fields| {
        let mut request = json!({"cmd": "add-schedule", "name": "x", "title": "t"});
        let more: &serde_json::Map<_, _> = match &fields {
            serde_json::Value::Object(m) => m,
            other => panic!("{other}"),
        };
        for (k, v) in more {
            request[k] = v.clone();
        }
        client.refused(request)
    };
    assert_eq!(refused(json!({"cron": "61 * * * *"})), "bad-request");
    assert_eq!(
        refused(json!({"cron": "@daily", "zone": "Mars/Olympus"})),
        "bad-request"
    );
    assert_eq!(
        refused(json!({"cron": "@daily", "zone": "../../etc/passwd"})),
        "bad-request"
    );
    assert_eq!(
        refused(json!({"at": "2020-01-01T00:00:00Z"})),
        "bad-request"
    );
    assert_eq!(
        refused(json!({"every": 1, "end": "2020-01-01T00:00:00Z"})),
        "bad-request"
    );
    assert_eq!(
        refused(json!({"every": 1, "zone": "Mars/Olympus"})),
        "bad-request"
    );
    assert_eq!(
        refused(json!({"every": 1, "priority": i32::MIN})),
        "bad-request"
    );
    assert_eq!(refused(json!({"every": 1, "agent": "nobody"})), "not-found");
    assert_eq!(
        client.call(json!({"cmd": "list-schedules"}))["schedules"],
        json!([])
    );
    let unknown = json!({"cmd": "get-schedule", "schedule": "x"});
    assert_eq!(client.refused(unknown), "not-found");
}

#[test]
fn a_zone_decides_when_a_wall_time_is() {
    let (_suite, mut client) = suite("");
    let preview = json!({
        "cmd": "preview-schedule", "cron": "30 2 * mar *", "zone": "Europe/Berlin",
        "from": "2025-03-28T12:00:00Z", "to": "2025-03-31T12:00:00Z", "limit": 10,
    });
    let times = client.call(preview);
    let local: Vec<_> = times["times"]
        .as_array()
        .expect("times")
        .iter()
        .map(|t| &t["local"])
        .collect();
    let expect = [
        "2025-03-29T02:30:00+01:00",
        "2025-03-30T03:00:00+02:00",
        "2025-03-31T02:30:00+02:00",
    ];
    assert_eq!(local, expect);
    assert_eq!(times["more"], json!(false));
    // The first instant of the span counts.
    let first = "2030-01-01T00:00:00.000Z";
    let preview = json!({
        "cmd": "preview-schedule", "cron": "@yearly", "from": first, "limit": 1,
    });
    assert_eq!(client.call(preview)["times"][0]["at"], first);
}

#[test]
fn long_prompts_and_many_who_list_do_no_harm() {
    let (suite, mut client) = suite("");
    let prompt = "x".repeat(60_000);
    for n in 0..150 {
        let fields = json!({"cron": "@yearly", "prompt": prompt});
        add(&mut client, &format!("s{n}"), fields);
    }
    let list = b"{\"cmd\":\"list-schedules\",\"limit\":1000}\n";
    let mut many: Vec<_> = (0..20).map(|_| suite.client()).collect();
    for c in &mut many {
        for _ in 0..5 {
            c.send_raw(list).expect("sent");
        }
    }
    for c in &mut many {
        for _ in 0..5 {
            let reply = c.value(LONG).expect("a reply");
            let all = reply["data"]["schedules"].as_array().expect("a list");
            assert_eq!(all.len(), 150);
            assert!(all.iter().all(|s| s["next"][0]["at"].is_string()));
            assert!(all[0]["spec"]["title"].is_string() && all[0]["spec"]["prompt"].is_null());
        }
    }
    let shown = client.call(json!({"cmd": "get-schedule", "schedule": "s1"}));
    assert_eq!(shown["spec"]["prompt"], json!(prompt));
}

#[test]
fn declared_schedules_come_and_go_with_the_config() {
    let declared = |text: &str| Setup {
        more: text.to_owned(),
        ..Setup::default()
    };
    let scratch = Scratch::new();
    let hourly = "[schedule.hourly]\ncron = \"@hourly\"\ntitle = \"t\"\n";
    let often = "[schedule.often]\nevery = 1\ntitle = \"t\"\n";
    let daemon = Daemon::start(scratch, &declared(&format!("{hourly}{often}")));
    let mut client = daemon.client();
    client.subscribe(Some(0));
    wait_occurrence(&mut client, "often", "fired");
    let listed = client.call(json!({"cmd": "list-schedules"}));
    let listed = listed["schedules"].as_array().expect("a list");
    assert!(listed.len() == 2 && listed.iter().all(|s| s["source"] == "config"));
    let remove = json!({"cmd": "remove-schedule", "schedule": "often"});
    assert_eq!(client.refused(remove), "conflict");
    client.call(json!({"cmd": "pause-schedule", "schedule": "hourly", "reason": "why not"}));

    // `often` is taken out, `hourly` stays as it was.
    let text = config_text(daemon.dir(), &declared(hourly));
    daemon.rewrite(&text);
    let parts: Parts = daemon.parts();
    procs::signal(daemon.pid().expect("the keeper"), Signal::SIGHUP);
    for pid in parts.all() {
        assert!(gone(pid, LONG));
    }
    let _ = daemon.parts();
    let mut client = daemon.client();
    let listed = client.call(json!({"cmd": "list-schedules"}));
    assert_eq!(listed["schedules"][0]["name"], "hourly");
    assert_eq!(listed["schedules"][0]["paused"], "why not");
    assert_eq!(listed["schedules"].as_array().map(Vec::len), Some(1));
    assert!(!statuses(&mut client, "often").is_empty());
    let often = client.call(json!({"cmd": "get-schedule", "schedule": "often"}));
    assert_eq!(often["state"], "retired");
}

#[test]
fn a_declared_schedule_that_is_changed_goes_by_the_new_rule_from_then_on() {
    let declared = |text: &str| Setup {
        more: format!("[schedule.s]\ntitle = \"t\"\n{text}"),
        ..Setup::default()
    };
    let scratch = Scratch::new();
    let daemon = Daemon::start(scratch, &declared("cron = \"30 * * * *\"\n"));
    let shown = |text: &str| {
        daemon.rewrite(&config_text(daemon.dir(), &declared(text)));
        let parts: Parts = daemon.parts();
        procs::signal(daemon.pid().expect("the keeper"), Signal::SIGHUP);
        for pid in parts.all() {
            assert!(gone(pid, LONG));
        }
        let _ = daemon.parts();
        let get = json!({"cmd": "get-schedule", "schedule": "s"});
        let shown = daemon.client().call(get);
        assert_eq!(statuses(&mut daemon.client(), "s").len(), 0);
        shown["next"].clone()
    };
    // Half past in the one zone is the full hour in the other.
    let next = shown("cron = \"30 * * * *\"\nzone = \"Asia/Kolkata\"\n");
    assert_eq!(next.as_array().map(Vec::len), Some(5));
    for n in next.as_array().expect("times") {
        assert!(
            n["at"]
                .as_str()
                .is_some_and(|at| at.ends_with(":00:00.000Z")),
            "{n}"
        );
    }
    let end = "cron = \"30 * * * *\"\nend = \"2020-01-01T00:00:00Z\"\n";
    assert_eq!(shown(end), json!([]));
    let next = shown("cron = \"15 * * * *\"\nend = \"2999-01-01T00:00:00Z\"\n");
    let at = next[0]["at"].as_str().expect("a time");
    assert!(at.ends_with(":15:00.000Z"), "{at}");
}

#[test]
fn it_is_shown_in_words_with_its_next_times() {
    let (suite, mut client) = suite("");
    add(&mut client, "daily", json!({"cron": "@daily"}));
    drop(client);
    let mut client = watcher(&suite);
    let shown = client.call(json!({"cmd": "get-schedule", "schedule": "daily"}));
    assert_eq!(shown["next"].as_array().map(Vec::len), Some(5));
    assert_eq!(shown["says"], "at 00:00, UTC");
}
