//! What is too much: refused by a name, and nobody else notices.

use colibri_tests::client::Client;
use colibri_tests::procs;
use colibri_tests::steps::Steps;
use colibri_tests::suite::{Scratch, Setup, Suite};
use colibri_tests::wait::{must, LONG};
use colibrid::request::LINE_MAX;
use libcolibri::msg::TEXT_MAX;
use nix::fcntl::{FcntlArg, OFlag};
use nix::sys::socket::{sendmsg, ControlMessage, MsgFlags};
use serde_json::json;
use std::io::{BufRead, BufReader, IoSlice, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

fn limited(limits: &str) -> Suite {
    Suite::start(Setup {
        limits: limits.into(),
        ..Setup::default()
    })
}

#[test]
fn a_line_that_is_too_long_ends_its_connection() {
    let suite = limited("");
    let mut other = suite.client();
    let mut client = suite.client();
    // As much as is allowed is not too much.
    let mut line = vec![b' '; LINE_MAX - 14];
    line.extend_from_slice(b"{\"cmd\":\"ping\"}\n");
    client.send_raw(&line).expect("sent");
    assert_eq!(client.value(LONG).expect("a reply")["ok"], true);
    line.insert(0, b' ');
    // It may hang up before it has read everything.
    let _ = client.send_raw(&line);
    let reply = client.value(LONG).expect("a reply");
    assert_eq!(reply["error"]["code"], "too-long", "{reply}");
    let end = client.line(LONG);
    assert!(matches!(end, Ok(None) | Err(_)), "{end:?}");
    assert_eq!(other.call(json!({"cmd": "ping"})), json!({}));
}

#[test]
fn a_line_without_an_end_is_cut_off() {
    let suite = limited("");
    let mut client = suite.client();
    let block = vec![b'x'; 65_536];
    let mut sent = 0;
    while sent < 64 * 1024 * 1024 && client.send_raw(&block).is_ok() {
        sent += block.len();
    }
    assert!(sent < 64 * 1024 * 1024, "somebody takes it all");
    suite.client().call(json!({"cmd": "ping"}));
}

#[test]
fn texts_have_a_limit() {
    let scratch = Scratch::new();
    let (profile, steps) = Steps::new(&scratch, "steps");
    let setup = Setup {
        profiles: vec![profile],
        ..Setup::default()
    };
    let suite = Suite::start_in(scratch, setup);
    let mut client = suite.client();
    let spawn = |n| json!({"cmd": "spawn-agent", "profile": "steps", "prompt": "x".repeat(n)});
    assert_eq!(client.refused(spawn(TEXT_MAX + 1)), "too-long");
    assert_eq!(client.call(json!({"cmd": "list-runs"}))["runs"], json!([]));
    assert_eq!(steps.started(), 0);
    client.call(spawn(TEXT_MAX));
    must("the agent", LONG, || (steps.started() == 1).then_some(()));
}

#[test]
fn connections_are_limited_by_user_and_free_again() {
    let suite = limited("clients_per_user = 3");
    // The connection that saw the suite start may still count.
    let mut held: Vec<_> = (0..3)
        .map(|_| {
            must("a place", LONG, || {
                let mut client = suite.client();
                let reply = client.request(json!({"cmd": "ping"})).ok()?;
                (reply["ok"] == true).then_some(client)
            })
        })
        .collect();
    let mut more = suite.client();
    let reply = more.value(LONG).expect("a reply");
    assert_eq!(reply["error"]["code"], "too-many", "{reply}");
    let message = reply["error"]["message"].as_str().expect("a sentence");
    assert!(message.contains("clients_per_user"), "{message}");
    assert_eq!(more.line(LONG).expect("the end"), None);
    held.pop();
    must("a free place", LONG, || {
        let reply = suite.client().request(json!({"cmd": "ping"})).ok()?;
        (reply["ok"] == true).then_some(())
    });
    for c in &mut held {
        c.call(json!({"cmd": "ping"}));
    }
}

#[test]
fn requests_are_limited_by_rate_and_the_connection_lives() {
    let suite = limited("requests_per_second = 1");
    let mut client = suite.client();
    client
        .send_raw("{\"cmd\":\"ping\"}\n".repeat(20).as_bytes())
        .expect("sent");
    let replies: Vec<_> = (0..20)
        .map(|_| client.value(LONG).expect("a reply"))
        .collect();
    let good = replies.iter().filter(|r| r["ok"] == true).count();
    // The burst is two; time passes meanwhile.
    assert!((2..20).contains(&good), "{good} of 20");
    for r in replies.iter().filter(|r| r["ok"] == false) {
        assert_eq!(r["error"]["code"], "too-many", "{r}");
    }
    must("time to pass", LONG, || {
        client.send_raw(b"{\"cmd\":\"ping\"}\n").expect("sent");
        let reply = client.value(LONG).expect("a reply");
        (reply["ok"] == true).then_some(())
    });
    // The other one has an allowance of its own.
    suite.client().call(json!({"cmd": "ping"}));
}

#[test]
fn runs_are_limited_and_refused_by_name() {
    let scratch = Scratch::new();
    let (profile, mut steps) = Steps::new(&scratch, "steps");
    let setup = Setup {
        profiles: vec![profile],
        limits: "runs = 1".into(),
        ..Setup::default()
    };
    let suite = Suite::start_in(scratch, setup);
    let mut client = suite.client();
    client.subscribe(None);
    let run = client.spawn_agent("steps", "go");
    let another = json!({"cmd": "spawn-agent", "profile": "steps", "prompt": "go"});
    assert_eq!(client.refused(another), "too-many");
    steps.settle();
    steps.exit(0);
    client.wait_ended(run);
    client.spawn_agent("steps", "again");
    must("the second", LONG, || (steps.started() == 2).then_some(()));
}

#[test]
fn a_client_that_does_not_read_is_not_heard_until_it_does() {
    let suite = limited("requests_per_second = 100000");
    let mut deaf = UnixStream::connect(suite.socket()).expect("connected");
    deaf.set_nonblocking(true).expect("non-blocking");
    let line = b"{\"cmd\":\"ping\"}\n";
    // Its requests pile up to the limit on both sides. Whoever reads is served meanwhile.
    let (mut other, mut sent) = (suite.client(), 0_usize);
    while let Ok(n) = deaf.write(&line[sent % line.len()..]) {
        sent += n;
        if sent % 1000 == 0 {
            other.call(json!({"cmd": "ping"}));
        }
        assert!(sent < 16 * LINE_MAX, "it may send for ever");
    }
    assert!(sent > LINE_MAX, "{sent} bytes are all that is taken");
    // A request that was cut off is made whole, and each is answered.
    deaf.set_nonblocking(false).expect("blocking");
    let mut answers = BufReader::new(deaf.try_clone().expect("twin")).lines();
    let asked = sent.div_ceil(line.len());
    let rest = asked * line.len() - sent;
    for n in 0..asked {
        if n == asked / 2 {
            deaf.write_all(&line[line.len() - rest..]).expect("sent");
        }
        let answer = answers.next().expect("an answer").expect("read");
        assert!(answer.contains("\"ok\":true"), "{n}: {answer}");
    }
}

#[test]
fn connections_that_come_and_go_leave_nothing() {
    let suite = limited("");
    let count = || procs::descriptors_of(suite.pid()).len();
    suite.client().call(json!({"cmd": "ping"}));
    let before = must("a quiet suite", LONG, || {
        let n = count();
        (n == count()).then_some(n)
    });
    assert!(before > 3, "nothing is seen of its descriptors");
    for n in 0..2000 {
        // Where a full queue refuses instead of letting wait, it is tried again.
        let mut client = suite.client_soon();
        if n % 3 == 0 {
            let _ = client.send_raw(b"{\"cmd\":\"status\"}\n{\"cmd\":");
        }
    }
    must("the descriptors to be as before", LONG, || {
        (count() <= before).then_some(())
    });
    // Some of them may still wait to be taken.
    must("an answer", LONG, || {
        let mut client = Client::connect(&suite.socket()).ok()?;
        client.request(json!({"cmd": "ping"})).ok()
    });
}

#[test]
fn whoever_connects_all_the_time_holds_nobody_up() {
    let suite = limited("");
    let mut client = suite.client();
    let over = AtomicBool::new(false);
    let (socket, over) = (suite.socket(), &over);
    std::thread::scope(|threads| {
        for _ in 0..4 {
            let socket = socket.clone();
            threads.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let _ = UnixStream::connect(&socket);
                }
            });
        }
        // Told when the answers are missing, too.
        let answers = (0..200).try_for_each(|_| client.request(json!({"cmd": "ping"})).map(drop));
        over.store(true, Ordering::Relaxed);
        answers.expect("answers");
    });
    let told = suite.log().matches("refused a client").count();
    assert!(told < 1000, "{told} lines of the log");
}

#[test]
fn descriptors_that_a_client_sends_go_nowhere() {
    let suite = limited("");
    let conn = UnixStream::connect(suite.socket()).expect("connected");
    let (mut here, there) = std::io::pipe().expect("a pipe");
    for count in [1, 2, 3, 250] {
        let fds = vec![there.as_raw_fd(); count];
        sendmsg::<()>(
            conn.as_raw_fd(),
            &[IoSlice::new(b"{\"cmd\":\"ping\"}\n")],
            &[ControlMessage::ScmRights(&fds)],
            MsgFlags::empty(),
            None,
        )
        .expect("sent");
    }
    let mut client = Client::over(conn);
    for _ in 0..4 {
        assert_eq!(client.value(LONG).expect("a reply")["ok"], true);
    }
    drop(there);
    // Its end shows that nobody has the other end any more; the connection still lives.
    nix::fcntl::fcntl(&here, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("non-blocking");
    must("the end of the pipe", LONG, || {
        matches!(here.read(&mut [0; 8]), Ok(0)).then_some(())
    });
    assert_eq!(client.call(json!({"cmd": "ping"})), json!({}));
}
