use crate::stage::{create, get, import, prompt, put, skill, wait_task, with_steps};
use serde_json::json;

#[test]
fn an_attempt_is_given_the_versions_that_count_then_and_they_are_remembered() {
    let (suite, mut client, mut steps) = with_steps("");
    let dir = skill(&suite, "pdf-tools", "Read the pages.");
    import(&suite);
    let first = create(&mut client, json!({"skills": ["pdf-tools"]}));
    wait_task(&mut client, first, "started");
    let expect = "<skill name=\"pdf-tools\" location=\"colibri:pdf-tools@1\">\n\
        Its references follow below, each under its path.\n\nRead the pages.\n\n\
        <file path=\"references/more.md\">\nthe small print\n</file>\n</skill>\n\nFix it";
    assert_eq!(prompt(&mut client, first), expect);
    let run = get(&mut client, first)["run"].as_u64().expect("a run");
    client.wait_state(run, "working");
    let read = format!("{expect}\n");
    assert_eq!(steps.prompted(), read, "what the agent itself has read");
    // The skills are not what the run is called.
    let runs = client.call(json!({"cmd": "list-runs"}));
    assert_eq!(runs["runs"][0]["title"], "Fix it");

    // A task that waits gets what counts when it is given away.
    let second = create(&mut client, json!({"skills": ["pdf-tools"]}));
    let old = std::fs::read_to_string(dir.join("SKILL.md")).expect("read");
    put(&dir, "SKILL.md", &old.replace("pages", "tables"));
    import(&suite);
    steps.settle();
    steps.exit(0);
    wait_task(&mut client, first, "done");
    wait_task(&mut client, second, "started");
    assert!(prompt(&mut client, second).contains("colibri:pdf-tools@2\">\n"));
    for (task, version) in [(first, 1), (second, 2)] {
        let t = get(&mut client, task);
        assert_eq!(t["skills"], json!(["pdf-tools"]));
        let given = &t["claims"][0]["skills"][0];
        let expect = (&json!("pdf-tools"), &json!(version));
        assert_eq!((&given["skill"], &given["version"]), expect);
        let one = json!({"cmd": "get-skill", "skill": "pdf-tools", "version": version});
        let one = client.call(one);
        assert_eq!((&one["tasks"], &one["counts"]), (&json!([task]), &json!(2)));
    }
    let shown = suite.ctl_ok(&["task", "show", &first.to_string()]);
    assert!(shown.contains("skills      pdf-tools@1\n"), "{shown}");
    let out = suite.ctl_ok(&["task", "add", "--skill", "pdf-tools", "another"]);
    assert!(out.contains("accepted"), "{out}");
}

#[test]
fn schedules_and_front_ends_name_skills_too() {
    let (suite, mut client, _steps) = with_steps("");
    skill(&suite, "pdf-tools", "Read the pages.");
    import(&suite);
    let fields = json!({"cmd": "intake-task", "title": "t", "skills": ["pdf-tools"]});
    let brought = client.call(fields)["id"].as_u64().expect("a number");
    client.call(
        json!({"cmd": "add-schedule", "name": "s", "title": "t", "every": 86_400,
        "skills": ["pdf-tools"], "budget": {"usd": 2.5}}),
    );
    let made = client.call(json!({"cmd": "run-schedule", "schedule": "s"}));
    let made = made["task"].as_u64().expect("a number");
    for task in [brought, made] {
        assert_eq!(get(&mut client, task)["skills"], json!(["pdf-tools"]));
    }
    assert_eq!(get(&mut client, made)["budget"], json!({"usd": 2.5}));
    wait_task(&mut client, brought, "started");
    let given = &get(&mut client, brought)["claims"][0]["skills"];
    assert_eq!(given[0]["version"], 1);
    // One that is not in the catalogue is refused where it is known, and in the ledger where not.
    let other = json!({"cmd": "intake-task", "title": "t", "skills": ["other"]});
    assert_eq!(client.refused(other), "not-found");
    client.call(
        json!({"cmd": "add-schedule", "name": "o", "title": "t", "every": 86_400,
        "skills": ["other"]}),
    );
    let run = json!({"cmd": "run-schedule", "schedule": "o"});
    assert_eq!(client.refused(run), "not-found");
    let ledger = client.call(json!({"cmd": "list-occurrences", "schedule": "o"}));
    let row = &ledger["occurrences"][0];
    assert_eq!(
        (&row["status"], &row["why"]),
        (&json!("skipped"), &json!("refused"))
    );
}

#[test]
fn the_longest_task_with_the_longest_skills_reaches_its_agent() {
    let own = "skills = [\"s-4\", \"s-5\", \"s-6\", \"s-7\"]\n";
    let (suite, mut client, steps) = with_steps(own);
    // What stands around the text of a skill is well below 1 KiB.
    let body = "x".repeat(63 * 1024);
    let names: Vec<String> = (0..8).map(|n| format!("s-{n}")).collect();
    for name in &names {
        skill(&suite, name, &body);
    }
    import(&suite);
    let description = "y".repeat(255 * 1024);
    let task = json!({"skills": names[..4], "description": description});
    let task = create(&mut client, task);
    wait_task(&mut client, task, "started");
    let run = get(&mut client, task)["run"].as_u64().expect("a run");
    client.wait_state(run, "working");
    let prompt = prompt(&mut client, task);
    assert!(prompt.len() > (8 * 63 + 255) * 1024);
    assert_eq!(steps.prompted(), format!("{prompt}\n"));
}
