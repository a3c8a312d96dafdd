//! The server is a piece of the evidence, so it is tested like one.

use super::*;
use crate::wait::LONG;

/// Sends one request and returns everything until the connection ends, and how it ended.
fn ask(server: &ModelServer, model: &str, messages: Value) -> (String, Option<ErrorKind>) {
    let body = json!({"model": model, "stream": true, "messages": messages}).to_string();
    let mut conn = TcpStream::connect(server.addr).expect("connect");
    conn.set_read_timeout(Some(LONG)).expect("timeout");
    write!(
        conn,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("send");
    let mut all = Vec::new();
    let end = conn.read_to_end(&mut all).err().map(|e| e.kind());
    (String::from_utf8_lossy(&all).into_owned(), end)
}

fn user(text: &str) -> Value {
    json!([{"role": "system", "content": "s"}, {"role": "user", "content": text}])
}

/// The text of all deltas together.
fn answer(raw: &str) -> String {
    raw.lines()
        .filter_map(|l| l.strip_prefix("data: {"))
        .filter_map(|l| serde_json::from_str::<Value>(&format!("{{{l}")).ok())
        .filter_map(|v| {
            v["choices"][0]["delta"]["content"]
                .as_str()
                .map(str::to_owned)
        })
        .collect()
}

#[test]
fn a_plain_answer_has_deltas_usage_and_an_end() {
    let server = ModelServer::start().expect("server");
    let (raw, end) = ask(&server, "plain", user("hi"));
    assert_eq!(end, None);
    assert!(raw.starts_with("HTTP/1.1 200"), "{raw}");
    assert_eq!(answer(&raw), "Hello! This is the scripted model speaking.");
    assert!(raw.contains("\"usage\"") && raw.contains("\"finish_reason\":\"stop\""));
    assert!(raw.ends_with("data: [DONE]\n\n\r\n0\r\n\r\n"), "{raw}");
    assert_eq!(server.seen()[0].prompt, "hi");
}

#[test]
fn long50_is_fifty_thousand_characters_in_small_pieces() {
    let server = ModelServer::start().expect("server");
    let (raw, _) = ask(&server, "long50", user("hi"));
    assert_eq!(answer(&raw).len(), 50_000);
    assert!(raw.matches("data: ").count() > 12_500);
}

#[test]
fn the_turn_is_counted_from_the_messages() {
    let server = ModelServer::start().expect("server");
    let call = json!({"role": "assistant", "tool_calls": [{"id": "c"}]});
    let result = json!({"role": "tool", "tool_call_id": "c", "content": "x"});
    let go = json!({"role": "user", "content": [{"type": "text", "text": "go"}]});
    let (first, _) = ask(&server, "tools", json!([go]));
    assert!(first.contains("\"name\":\"write\""), "{first}");
    let (second, _) = ask(&server, "tools", json!([go, call, result]));
    assert!(second.contains("\"name\":\"read\""), "{second}");
    let done = json!({"role": "assistant", "content": "done"});
    let (again, _) = ask(&server, "tools", json!([go, call, result, done, go]));
    assert!(again.contains("\"name\":\"write\""), "{again}");
    assert_eq!(server.seen()[1].tool_results, ["x"]);
}

#[test]
fn failing_twice_is_counted_per_prompt() {
    let server = ModelServer::start().expect("server");
    for round in 0..2 {
        for attempt in 0..2 {
            let (raw, _) = ask(&server, "retry429", user("a"));
            assert!(raw.starts_with("HTTP/1.1 429"), "{round} {attempt} {raw}");
            assert!(raw.contains("x-should-retry: false"));
        }
        if round == 0 {
            let (other, _) = ask(&server, "retry429", user("b"));
            assert!(other.starts_with("HTTP/1.1 429"), "{other}");
        }
        let (raw, _) = ask(&server, "retry429", user("a"));
        assert_eq!(answer(&raw), "It worked in the end.");
    }
}

#[test]
fn a_disconnect_is_a_reset_once() {
    let server = ModelServer::start().expect("server");
    let (raw, end) = ask(&server, "disconnect", user("x"));
    assert_eq!(end, Some(ErrorKind::ConnectionReset), "{raw}");
    assert!(answer(&raw).starts_with("The first half"), "{raw}");
    let (raw, end) = ask(&server, "disconnect", user("x"));
    assert_eq!(
        (answer(&raw).as_str(), end),
        ("It worked in the end.", None)
    );
}

#[test]
fn silence_lasts_until_the_server_goes() {
    let server = ModelServer::start().expect("server");
    let mut conn = TcpStream::connect(server.addr).expect("connect");
    let body = json!({"model": "silent", "messages": []}).to_string();
    write!(
        conn,
        "POST /v1/chat/completions HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("send");
    assert!(server.wait_for_requests(1, LONG));
    conn.set_read_timeout(Some(Duration::from_millis(100)))
        .expect("timeout");
    let quiet = conn.read(&mut [0; 1]).expect_err("nothing is said");
    assert!(matches!(
        quiet.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut
    ));
    drop(server);
    conn.set_read_timeout(Some(LONG)).expect("timeout");
    assert!(matches!(conn.read(&mut [0; 1]), Ok(0) | Err(_)));
}

#[test]
fn every_script_ends_or_says_why_not() {
    for model in script::MODELS {
        let talk = Conversation {
            model: model.to_owned(),
            ..Conversation::default()
        };
        let reply = script::reply(&talk);
        let ends = matches!(
            reply.acts.last(),
            Some(Act::Finish(_) | Act::Silence | Act::Reset | Act::Cut | Act::Refuse { .. })
        );
        assert!(ends, "{model}: {reply:?}");
    }
}

#[test]
fn pieces_cut_between_characters() {
    let all: Vec<_> = pieces("aé\u{2028}😀b", 2).collect();
    assert_eq!(all, ["aé", "\u{2028}😀", "b"]);
}
