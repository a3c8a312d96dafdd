//! A front end for Telegram, as small as it can be: an example for those who write one.
//!
//! `colibri-telegram SOCKET HOST:PORT TOKEN`. What the Bot API has goes to colibrid as it comes;
//! what colibrid says goes to the chat that it belongs to. HTTP without TLS, so it needs a Bot API
//! server of one's own or a proxy in between.

use colibri_tests::client::Client;
use serde_json::{json, Value};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

/// How long one look at colibrid's events waits; the other wait is in the Bot API.
const LOOK: Duration = Duration::from_millis(50);

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [socket, api, token] = &args[..] else {
        eprintln!("usage: colibri-telegram SOCKET HOST:PORT TOKEN");
        std::process::exit(2);
    };
    let mut colibrid = Client::connect(Path::new(socket))?;
    colibrid.request(json!({"cmd": "subscribe"}))?;
    let mut offset = 0;
    loop {
        let asked = json!({"offset": offset, "timeout": 1});
        let updates = call(api, token, "getUpdates", &asked)?;
        for update in updates["result"].as_array().into_iter().flatten() {
            offset = update["update_id"].as_u64().unwrap_or(offset) + 1;
            let reply = colibrid.request(json!({"cmd": "intake-task", "update": update}))?;
            let say = reply["data"]["say"].as_str();
            if let Some(text) = say.or(reply["error"]["message"].as_str()) {
                let m = update.get("message").unwrap_or(&update["channel_post"]);
                let to = json!({"chat": m["chat"]["id"], "message": m["message_id"]});
                send(api, token, &to, text)?;
            }
        }
        while let Ok(line) = colibrid.event(LOOK) {
            let event = &line["event"];
            if let Some(text) = words(event) {
                send(api, token, &event["reply_to"], &text)?;
            }
        }
    }
}

/// What a chat is told about an event. It begins with `#7`, so that people can reply to it.
fn words(e: &Value) -> Option<String> {
    e.get("reply_to")?;
    let (task, text) = (&e["task"], |key: &str| e[key].as_str().unwrap_or(""));
    match (text("kind"), text("status")) {
        ("asked", _) => {
            let options: Vec<&str> = e["options"]
                .as_array()?
                .iter()
                .filter_map(Value::as_str)
                .collect();
            let asks = format!("#{task} asks: {} {}", text("title"), text("message"));
            Some(format!("{asks}\n{}", options.join("\n")))
        }
        ("task", "done") => Some(format!("#{task} done: {}", text("summary"))),
        ("task", end @ ("failed" | "cancelled")) => {
            Some(format!("#{task} {end}: {}", text("reason")))
        }
        _ => None,
    }
}

fn send(api: &str, token: &str, to: &Value, text: &str) -> io::Result<()> {
    let reply = json!({"message_id": to["message"]});
    let body = json!({"chat_id": to["chat"], "text": text, "reply_parameters": reply});
    call(api, token, "sendMessage", &body).map(drop)
}

/// One call of the Bot API.
fn call(api: &str, token: &str, method: &str, body: &Value) -> io::Result<Value> {
    let mut stream = TcpStream::connect(api)?;
    let body = body.to_string();
    write!(
        stream,
        "POST /bot{token}/{method} HTTP/1.1\r\nHost: {api}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    let (_, body) = reply.split_once("\r\n\r\n").unwrap_or_default();
    serde_json::from_str(body).map_err(io::Error::other)
}
