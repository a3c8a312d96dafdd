//! Work from a chat: asked, answered, told.

use crate::stage::{get, wait_task};
use colibri_tests::agents::recorded;
use colibri_tests::client::Client;
use colibri_tests::pi::fixtures;
use colibri_tests::suite::{Scratch, Setup, Suite};
use serde_json::{json, Value};

/// A suite whose one agent asks a question; chat 1 may command, chat 2 may ask.
pub fn with_chats() -> (Suite, Client) {
    let trace = fixtures().join("pi/1.5.2/rpc_ask_answer.jsonl");
    let scratch = Scratch::new();
    let setup = Setup {
        profiles: vec![recorded(&scratch, "asks", "rpc", &trace, &["--speed", "0"])],
        more: "[agent.asks]\n[intake]\noperators = [1]\naskers = [2]\nbudget = { tokens = 1_000_000 }\n".into(),
        ..Setup::default()
    };
    let suite = Suite::start_in(scratch, setup);
    let mut client = suite.client();
    client.subscribe(None);
    (suite, client)
}

fn update(id: u64, kind: &str, chat: i64, message: i64, more: Value) -> Value {
    let mut m = json!({
        "message_id": message, "date": 1_700_000_000, "chat": {"id": chat, "type": "private"},
        "from": {"id": 9, "is_bot": false, "first_name": "Ada"},
    });
    for (k, v) in more.as_object().expect("fields") {
        m[k] = v.clone();
    }
    json!({"cmd": "intake-task", "update": {"update_id": id, kind: m}})
}

fn text(id: u64, chat: i64, text: &str) -> Value {
    update(id, "message", chat, id as i64, json!({ "text": text }))
}

#[test]
fn a_chat_asks_is_asked_answers_and_is_told() {
    let (_suite, mut client) = with_chats();
    let made = client.call(text(10, 1, "Look around\nand say what you see"));
    let task = made["id"].as_u64().expect("a task");
    assert_eq!(made["say"], json!(format!("#{task} queued")));
    assert_eq!(
        get(&mut client, task)["budget"],
        json!({"tokens": 1_000_000})
    );
    let claimed = wait_task(&mut client, task, "claimed");
    let run = claimed["run"].as_u64().expect("a run");
    let to = json!({"channel": "telegram", "chat": 1, "message": 10, "from": 9, "name": "Ada"});
    assert_eq!(claimed["reply_to"], to);
    let asked = client.wait_event(run, "the question", |e| e["kind"] == "asked");
    assert_eq!(asked["reply_to"], to);
    let value = match asked["method"].as_str() {
        Some("select") => asked["options"][0].as_str().expect("an option").to_owned(),
        _ => "yes".to_owned(),
    };
    let about = json!({"text": value, "reply_to_message": {"text": format!("#{task} asks")}});
    // Another chat has no business with it, and the same update is done once.
    let other = client.call(update(11, "message", 2, 11, about.clone()));
    assert_eq!(other["action"], "ignored");
    let answer = update(12, "message", 1, 12, about);
    assert_eq!(client.call(answer.clone())["run"], json!(run));
    let done = wait_task(&mut client, task, "done");
    assert_eq!(done["reply_to"], to);
    assert!(done["summary"].is_string(), "{done}");
    let again = client.call(answer);
    assert_eq!(
        (&again["action"], &again["existing"]),
        (&json!("told"), &json!(true))
    );
    let t = get(&mut client, task);
    assert_eq!(t["history"][0]["by_uid"], t["by_uid"]);
    assert_eq!(t["title"], "Look around");
}

#[test]
fn each_update_counts_once_and_edits_change_what_nobody_began() {
    let (mut suite, mut client) = with_chats();
    client.call(json!({"cmd": "pause-agent", "agent_id": "asks"}));
    let first = client.call(text(10, 2, "one"));
    let again = client.call(text(10, 2, "one"));
    assert_eq!(
        (&again["id"], &again["existing"], &again["say"]),
        (&first["id"], &json!(true), &Value::Null)
    );
    suite.stop();
    suite.launch();
    let mut client = suite.client();
    client.subscribe(None);
    assert_eq!(
        client.call(text(10, 2, "one"))["id"],
        first["id"],
        "over a restart too"
    );
    let task = first["id"].as_u64().expect("a task");
    let edited = update(11, "edited_message", 2, 10, json!({"text": "two\nthree"}));
    assert_eq!(client.call(edited)["action"], "edited");
    let t = get(&mut client, task);
    assert_eq!(
        (&t["title"], &t["description"]),
        (&json!("two"), &json!("three"))
    );
    client.call(json!({"cmd": "resume-agent", "agent_id": "asks"}));
    wait_task(&mut client, task, "claimed");
    let late = update(12, "edited_message", 2, 10, json!({"text": "four"}));
    assert_eq!(client.call(late)["action"], "ignored");
}

#[test]
fn chats_have_their_trust_and_no_more() {
    let (_suite, mut client) = with_chats();
    client.call(json!({"cmd": "pause-agent", "agent_id": "asks"}));
    let mine = client.call(text(1, 1, "mine"))["id"].clone();
    let theirs = client.call(text(2, 2, "theirs"))["id"].clone();
    let stranger = client.call(text(3, 3, "let me in"));
    assert_eq!(
        (&stranger["action"], &stranger["id"]),
        (&json!("ignored"), &Value::Null)
    );
    assert!(stranger["say"].is_string());
    let refused = client.call(text(4, 2, &format!("/cancel {theirs}")));
    assert_eq!(refused["action"], "ignored");
    assert_eq!(
        client.refused(text(5, 1, &format!("/cancel {theirs}"))),
        "not-found"
    );
    let done = client.call(text(6, 1, &format!("/cancel@bot #{mine}")));
    assert_eq!(done["action"], "cancelled");
    let task = mine.as_u64().expect("a task");
    let t = get(&mut client, task);
    assert_eq!(
        (&t["status"], &t["reason"]),
        (&json!("cancelled"), &json!("cancelled in the chat"))
    );
    let sticker = update(7, "message", 1, 7, json!({"sticker": {}}));
    assert_eq!(client.call(sticker)["say"], "I understand text only.");
    let poll = json!({"cmd": "intake-task", "update": {"update_id": 8, "poll": {}}});
    assert_eq!(client.call(poll)["action"], "ignored");
    for wrong in [
        json!({"cmd": "intake-task"}),
        json!({"cmd": "intake-task", "update": {}}),
        json!({"cmd": "intake-task", "title": "t", "update": {"update_id": 1}}),
        json!({"cmd": "intake-task", "title": "t", "reply_to": "x".repeat(2000)}),
    ] {
        client.refused(wrong);
    }
    // Other front ends say themselves where answers go.
    let plain = json!({"cmd": "intake-task", "title": "t", "reply_to": {"room": "!x"}});
    let plain = client.call(plain)["id"].as_u64().expect("a task");
    let event = wait_task(&mut client, plain, "queued");
    assert_eq!(event["reply_to"], json!({"room": "!x"}));
}
