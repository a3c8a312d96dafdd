//! The whole way of a chat: a canned Bot API, the example of a front end, the suite.

use crate::chat::with_chats;
use colibri_tests::suite::program;
use colibri_tests::wait::{must, LONG};
use serde_json::{json, Value};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command};

/// A Bot API that has updates one after the other and takes messages.
struct Api {
    listener: TcpListener,
    /// Not yet confirmed by an offset beyond them.
    updates: Vec<Value>,
    next: u64,
}

impl Api {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        // The front end may be gone: then waiting has an end.
        listener.set_nonblocking(true).expect("a mode");
        Self {
            listener,
            updates: Vec::new(),
            next: 100,
        }
    }

    fn address(&self) -> String {
        self.listener.local_addr().expect("an address").to_string()
    }

    /// Somebody writes into chat 1, perhaps in reply to a message.
    fn write(&mut self, text: &str, reply_to: Option<&str>) {
        let id = self.next;
        self.next += 1;
        let mut message = json!({
            "message_id": id, "date": 1_700_000_000, "text": text,
            "chat": {"id": 1, "type": "private"},
            "from": {"id": 9, "is_bot": false, "first_name": "Ada"},
        });
        if let Some(replied) = reply_to {
            message["reply_to_message"] = json!({"message_id": 1, "text": replied});
        }
        self.updates
            .push(json!({"update_id": id, "message": message}));
    }

    /// Serves until a message is sent, and returns it.
    fn told(&mut self) -> Value {
        loop {
            let (stream, _) = must("the front end", LONG, || self.listener.accept().ok());
            stream.set_nonblocking(false).expect("a mode");
            stream.set_read_timeout(Some(LONG)).expect("a limit");
            if let Some(message) = self.serve(stream) {
                return message;
            }
        }
    }

    fn serve(&mut self, mut stream: TcpStream) -> Option<Value> {
        let mut reader = BufReader::new(stream.try_clone().expect("a copy"));
        let (mut head, mut length) = (String::new(), 0);
        reader.read_line(&mut head).expect("a request");
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).expect("a header");
            if line.trim().is_empty() {
                break;
            }
            if let Some(n) = line.strip_prefix("Content-Length: ") {
                length = n.trim().parse().expect("a length");
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("a body");
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        let sent = head.starts_with("POST /bottoken/sendMessage ");
        let result = if sent {
            json!({"message_id": 500})
        } else {
            assert!(head.starts_with("POST /bottoken/getUpdates "), "{head}");
            let offset = body["offset"].as_u64().expect("an offset");
            self.updates
                .retain(|u| u["update_id"].as_u64() >= Some(offset));
            json!(self.updates)
        };
        let reply = json!({"ok": true, "result": result}).to_string();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{reply}",
            reply.len()
        )
        .expect("sent");
        sent.then_some(body)
    }
}

/// Ends with the test.
struct Front(Child);

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_chat_works_through_the_example_of_a_front_end() {
    let (suite, mut client) = with_chats();
    let mut api = Api::new();
    let front = Command::new(program("colibri-telegram"))
        .arg(suite.socket())
        .args([&api.address(), "token"])
        .spawn()
        .expect("the front end");
    let _front = Front(front);
    api.write("Look around", None);
    let queued = api.told();
    assert_eq!(
        (&queued["chat_id"], &queued["text"]),
        (&json!(1), &json!("#1 queued"))
    );
    assert_eq!(queued["reply_parameters"], json!({"message_id": 100}));
    let asked = api.told();
    let text = asked["text"].as_str().expect("a text").to_owned();
    assert!(text.starts_with("#1 asks: "), "{asked}");
    assert_eq!(asked["reply_parameters"], json!({"message_id": 100}));
    let asks = client.wait_event(1, "the question", |e| e["kind"] == "asked");
    let option = asks["options"][0].as_str().expect("an option");
    assert!(text.contains(option), "{text}");
    api.write(option, Some(&text));
    let done = api.told();
    let text = done["text"].as_str().expect("a text");
    assert!(text.starts_with("#1 done: "), "{done}");
}
