//! The whole path: a chat asks for something, the real Pi works on it, asks back, is answered by the chat, and the
//! chat gets the result.

use crate::both;
use crate::stage::Stage;
use colibri_tests::pi::Version;
use serde_json::{json, Value};

both! {
    from_a_chat_to_its_result a_chat_takes_its_wish_back
}

/// Where messages of the chat are answered.
fn reply_to(message: u64) -> Value {
    json!({"channel": "telegram", "chat": 1, "message": message, "from": 9, "name": "Ada"})
}

/// What the front end hands on when somebody writes into chat 1.
fn update(id: u64, text: &str, replied: Option<&str>) -> Value {
    let mut message = json!({
        "message_id": id, "date": 1_700_000_000, "text": text,
        "chat": {"id": 1, "type": "private"},
        "from": {"id": 9, "is_bot": false, "first_name": "Ada"},
    });
    if let Some(text) = replied {
        message["reply_to_message"] = json!({ "text": text });
    }
    json!({"cmd": "intake-task", "update": {"update_id": id, "message": message}})
}

/// A suite whose one agent is the real Pi, which takes tasks of chat 1; the only run has number 1.
fn stage(version: Version) -> Option<Stage> {
    let tables = |name: &str| format!("[agent.{name}]\n[intake]\noperators = [1]\n");
    let mut stage = Stage::configured(version, "rpc", "ask", "", tables)?;
    stage.run = 1;
    Some(stage)
}

/// The event by which the task came there, before or after the end of its run.
#[track_caller]
fn moved(stage: &mut Stage, status: &str) -> Value {
    let there = |e: &Value| e["kind"] == "task" && e["status"] == status;
    let told = stage.events("task").into_iter().find(|e| there(e)).cloned();
    told.unwrap_or_else(|| stage.until(status, there))
}

/// Waits until Pi asks; the question, which goes to the chat.
#[track_caller]
fn asked(stage: &mut Stage) -> Value {
    let claimed = stage.until("a claim", |e| {
        e["kind"] == "task" && e["status"] == "claimed"
    });
    assert_eq!(claimed["reply_to"], reply_to(10), "{claimed}");
    let asked = stage.until_kind("asked");
    assert_eq!(asked["reply_to"], reply_to(10), "{asked}");
    assert_eq!(asked["title"], "Allow command?", "{asked}");
    stage.until_state("blocked");
    asked
}

fn from_a_chat_to_its_result(version: Version) {
    let Some(mut stage) = stage(version) else {
        return;
    };
    let wish = update(10, "Do what needs permission\nand say how it went", None);
    let made = stage.call(wish.clone());
    let task = made["id"].as_u64().expect("a task");
    assert_eq!(made["say"], json!(format!("#{task} queued")));
    let asked = asked(&mut stage);
    // Both lines reached the model, as one prompt.
    let prompt = stage.server.seen()[0].prompt.clone();
    let title = prompt.find("Do what needs permission");
    assert!(
        title < prompt.find("and say how it went") && title.is_some(),
        "{prompt}"
    );
    let waits = stage.call(json!({"cmd": "get-task", "task_id": task}));
    assert_eq!(
        (&waits["status"], &waits["run"]),
        (&json!("started"), &json!(1))
    );
    // The same update again is no second task, and while Pi waits nothing is asked twice.
    assert_eq!(stage.call(wish)["id"], json!(task));
    let answer = stage.call(update(
        11,
        "yes",
        Some(&format!("#{task} asks: {}", asked["title"])),
    ));
    assert_eq!(answer["run"], json!(1), "{answer}");
    let settled = stage.until_kind("settled");
    assert_eq!(settled["how"], "answered", "{settled}");
    let run = stage.end_done("The command was allowed.");
    assert_eq!(run["task"], json!(task), "{run}");
    let done = moved(&mut stage, "done");
    assert_eq!(done["reply_to"], reply_to(10), "{done}");
    assert_eq!(done["summary"], "The command was allowed.", "{done}");
    let t = stage.call(json!({"cmd": "get-task", "task_id": task}));
    let history = t["history"].as_array().expect("a history");
    let path: Vec<&str> = history.iter().filter_map(|h| h["after"].as_str()).collect();
    assert_eq!(path, ["queued", "claimed", "started", "done"], "{t}");
    assert_eq!(t["summary"], "The command was allowed.", "{t}");
    let claims = t["claims"].as_array().expect("claims");
    assert_eq!((claims.len(), &claims[0]["run"]), (1, &json!(1)), "{t}");
    assert!(t["usage"]["output"].as_u64() > Some(0), "{t}");
    assert_eq!(t["usage"], run["pane"]["usage"]);
    stage.close();
}

fn a_chat_takes_its_wish_back(version: Version) {
    let Some(mut stage) = stage(version) else {
        return;
    };
    let made = stage.call(update(10, "Do what needs permission", None));
    let task = made["id"].as_u64().expect("a task");
    asked(&mut stage);
    let taken_back = stage.call(update(11, &format!("/cancel {task}"), None));
    assert_eq!(taken_back["action"], "cancelled", "{taken_back}");
    // Nothing of Pi is left when that is told.
    let run = stage.end();
    // Pi may have come to its own end first: its question is taken back before its work is.
    assert_eq!(run["wanted"], "stop", "{run}");
    let cancelled = moved(&mut stage, "cancelled");
    assert_eq!(cancelled["reply_to"], reply_to(10), "{cancelled}");
    stage.close();
}
