//! The parser of Pi's stream: recorded lines, every way of cutting them, and hostile bytes.

use libcolibri::pi::event::{Dialect, Disposition, Event, Stop};
use libcolibri::pi::Parser;
use libcolibri::record::LONG;

fn events(parts: &[&[u8]]) -> (Vec<Event>, Parser) {
    let mut parser = Parser::new();
    let mut seen = Vec::new();
    for part in parts {
        parser.feed(part, &mut |e| seen.push(e));
    }
    parser.finish(&mut |e| seen.push(e));
    (seen, parser)
}

fn one(line: &str) -> Event {
    let (mut seen, parser) = events(&[line.as_bytes(), b"\n"]);
    assert_eq!((seen.len(), parser.malformed()), (1, 0), "{line}");
    seen.remove(0)
}

/// Recorded lines of every kind that matters (Pi 0.73.1 and 1.5.2).
const RECORDED: &str = concat!(
    r#"{"id":"p1","type":"response","command":"prompt","success":true,"data":{"disposition":"started"}}"#,
    "\n",
    r#"{"type":"agent_start"}"#,
    "\r\n\n",
    r#"{"type":"message_end","message":{"role":"user","content":[{"type":"text","text":"Hi"}],"timestamp":1795334747013}}"#,
    "\n",
    r#"{"type":"message_update","usage":{"input":0,"cost":{"total":0}},"assistantMessageEvent":{"type":"text_delta","contentIndex":0,"delta":"Hello! "}}"#,
    "\n",
    r#"{"type":"message_update","usage":{"input":0},"assistantMessageEvent":{"type":"text_delta","delta":"{\"type\":\"agent_settled\"}"}}"#,
    "\n",
    r#"{"type":"message_end","message":{"role":"assistant","content":[{"type":"thinking","thinking":"hm","text":"no"},{"type":"text","text":"a\u00e9\ud83d\ude00 "#,
    "\u{2028}",
    r#"\"\\"},{"type":"toolCall","id":"call_2_0","name":"bash","arguments":{"text":"no"}}],"usage":{"input":1378,"output":3,"cacheRead":7,"cacheWrite":1,"reasoning":0,"totalTokens":1381,"cost":{"input":0.0041340000000000005,"total":0.004179}},"stopReason":"toolUse","durationMs":275}}"#,
    "\n",
    r#"{"type":"tool_execution_start","toolCallId":"call_2_0","toolName":"bash","args":{"command":"echo '\"isError\":true}'"}}"#,
    "\n",
    r#"{"type":"extension_ui_request","id":"1a41","method":"confirm","title":"Allow command?","message":"rm -rf ./scratch-dir","timeout":1500}"#,
    "\n",
    r#"{"type":"tool_execution_end","toolCallId":"call_2_0","toolName":"bash","result":{"content":[{"type":"text","text":"\"isError\":true,\"durationMs\":7}"}]},"isError":false,"durationMs":29}"#,
    "\n",
    r#"{"type":"auto_retry_start","attempt":1,"maxAttempts":3,"delayMs":2000,"errorMessage":"429: {\"message\":\"Rate limit\"}"}"#,
    "\n",
    r#"{"type":"agent_end","messages":[{"role":"user","content":"\"willRetry\":true}"}],"willRetry":false}"#,
    "\n",
    r#"{"type":"agent_settled","aborted":false}"#,
    "\n"
);

#[test]
fn every_split_gives_the_same_events() {
    let bytes = RECORDED.as_bytes();
    let (whole, parser) = events(&[bytes]);
    assert_eq!((parser.malformed(), parser.updates()), (0, 2));
    assert_eq!(whole.len(), 11);
    for at in 0..=bytes.len() {
        let (split, _) = events(&[&bytes[..at], &bytes[at..]]);
        assert_eq!(split, whole, "split at {at}");
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(events(&single).0, whole);
}

#[test]
fn the_events_say_what_the_lines_say() {
    let (seen, _) = events(&[RECORDED.as_bytes()]);
    let Event::Response(response) = &seen[0] else {
        panic!("{seen:?}")
    };
    assert_eq!(response.disposition, Some(Disposition::Started));
    assert_eq!(seen[3], Event::Dialect(Dialect::Delta));
    let Event::Answer(answer) = &seen[4] else {
        panic!("{seen:?}")
    };
    assert_eq!(answer.text, "aé😀 \u{2028}\"\\");
    assert_eq!(answer.stop, Stop::ToolUse);
    assert_eq!((answer.usage.input, answer.usage.cache_read), (1378, 7));
    assert_eq!(answer.usage.cost_nano_usd, 4_179_000);
    let Event::Asked(dialog) = &seen[6] else {
        panic!("{seen:?}")
    };
    assert_eq!(
        (dialog.timeout_ms, dialog.title.as_str()),
        (1500, "Allow command?")
    );
    assert_eq!(
        seen[7],
        Event::ToolEnd {
            id: "call_2_0".into(),
            name: "bash".into(),
            failed: false,
            duration_ms: 29
        }
    );
    assert_eq!(
        seen[9],
        Event::AgentEnd {
            will_retry: Some(false)
        }
    );
}

#[test]
fn order_of_keys_and_spacing_do_not_matter() {
    assert_eq!(
        one(r#" { "willRetry" : true , "messages" : [ ] , "type" : "agent_end" } "#),
        Event::AgentEnd {
            will_retry: Some(true)
        }
    );
    let swapped = r#"{"message":{"content":[{"text":"yes","type":"text"},{"text":"no","type":"x"}],"stopReason":"stop","role":"assistant"},"type":"message_end"}"#;
    let Event::Answer(answer) = one(swapped) else {
        panic!()
    };
    assert_eq!((answer.text.as_str(), answer.stop), ("yes", Stop::Stop));
    assert_eq!(one(r#"{"t\u0079pe":"agent_start"}"#), Event::AgentStart);
    assert_eq!(
        one(r#"{"type":"auto_compaction_start"}"#),
        Event::CompactionStart
    );
    assert_eq!(
        one(r#"{"type":"agent_startled","type2":"agent_start"}"#),
        Event::Other
    );
    assert_eq!(
        one(r#"{"type":"message_end","message":{"role":"toolResult","stopReason":"error"}}"#),
        Event::Other
    );
    assert_eq!(
        one(r#"{"type":"extension_ui_request","id":"1","method":"notify","message":"m"}"#),
        Event::Other
    );
}

#[test]
fn an_update_is_an_update_however_it_is_written() {
    let text = concat!(
        r#"{"type":"message_update","assistantMessageEvent":{"partial":{"message":1}},"message":{"role":"assistant"}}"#,
        "\n",
        r#"{ "type":"message_update","message":{}}"#,
        "\n",
        r#"{"message":{},"type":"message_update"}"#,
        "\n",
        r#"{"type":"message_updated"}"#,
        "\n"
    );
    let (seen, parser) = events(&[text.as_bytes()]);
    assert_eq!(seen, [Event::Dialect(Dialect::Cumulative), Event::Other]);
    assert_eq!((parser.updates(), parser.malformed()), (3, 0));
}

#[test]
fn what_is_no_event_is_counted_and_harms_nothing() {
    let bad: [&[u8]; 14] = [
        b"not json",
        b"{\"type\":\"agent_settled\"",
        b"{\"type\":\"agent_settled\"} x",
        b"{\"type\":\"agent_settled\"}{}",
        b"{\"type\":\"agent_settled\",}",
        b"{\"type\":agent_settled}",
        b"{\"type\":\"agent_settled\"]",
        b"[\"type\",\"agent_settled\"]",
        b"\"agent_settled\"",
        b"{\"kind\":\"agent_settled\"}",
        b"{}",
        b"12",
        b"\0\0\xff\xfe",
        b"\xef\xbb\xbf{\"type\":\"agent_settled\"}",
    ];
    for line in bad {
        let (seen, parser) = events(&[line, b"\n{\"type\":\"agent_start\"}\n"]);
        assert_eq!(seen, [Event::AgentStart], "{line:?}");
        assert_eq!((parser.malformed(), parser.lines()), (1, 2), "{line:?}");
    }
}

#[test]
fn a_cut_last_line_is_malformed_and_a_whole_one_counts() {
    let (seen, parser) = events(&[b"{\"type\":\"agent_settled\"}"]);
    assert_eq!((seen.len(), parser.malformed()), (1, 0));
    for cut in [
        &b"{\"type\":\"agent_sett"[..],
        b"{\"type\":\"turn_end\",\"mess",
    ] {
        let (seen, parser) = events(&[cut]);
        assert_eq!((seen.len(), parser.malformed()), (0, 1));
    }
}

#[test]
fn depth_has_no_bound_and_costs_nothing() {
    for depth in [100, 1023, 1024, 1025, 5000] {
        let mut line = b"{\"type\":\"agent_end\",\"messages\":".to_vec();
        line.extend(b"{\"a\":[".repeat(depth));
        line.extend(b"1,\"]}\"");
        line.extend(b"]}".repeat(depth));
        line.extend(b",\"willRetry\":true}\n");
        let (seen, parser) = events(&[&line]);
        assert_eq!(parser.malformed(), 0, "depth {depth}");
        assert_eq!(
            seen,
            [Event::AgentEnd {
                will_retry: Some(true)
            }]
        );
    }
}

/// One line of 50 MB of each kind, in pieces of a pipe's size.
#[test]
fn a_line_of_fifty_megabytes_costs_no_memory() {
    let text = format!("{}\\n", "é".repeat(32 * 1024)).into_bytes();
    let rounds = 50 * 1024 * 1024 / text.len();
    let lines = [
        (
            "{\"type\":\"message_end\",\"message\":{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"",
            "\"}],\"stopReason\":\"error\",\"errorMessage\":\"why\"}}\n",
        ),
        (
            "{\"type\":\"tool_execution_end\",\"toolCallId\":\"a\",\"toolName\":\"b\",\"result\":{\"content\":\"",
            "\"},\"isError\":true,\"durationMs\":3}\n",
        ),
        ("{\"type\":\"agent_end\",\"messages\":[\"", "\"],\"willRetry\":true}\n"),
        ("{\"type\":\"message_update\",\"message\":\"", "\"}\n"),
        ("{\"type\":\"session\",\"id\":\"", "\",\"cwd\":\"/\"}\n"),
        ("{\"type\":\"", "\"}\n"),
        ("{\"type\":\"agent_start\",\"", "\":1}\n"),
    ];
    for (head, tail) in lines {
        let mut parser = Parser::new();
        let mut seen = Vec::new();
        parser.feed(head.as_bytes(), &mut |e| seen.push(e));
        for _ in 0..rounds {
            parser.feed(&text, &mut |e| seen.push(e));
            assert!(parser.held() <= 4 * LONG, "{head}: {}", parser.held());
        }
        parser.feed(tail.as_bytes(), &mut |e| seen.push(e));
        assert_eq!((parser.held(), parser.malformed()), (0, 0), "{head}");
        match seen.pop() {
            Some(Event::Answer(a)) => {
                assert_eq!((a.stop, a.error.as_str()), (Stop::Error, "why"));
                assert!(a.text.len() == LONG || a.text.len() == LONG - 1);
            }
            Some(Event::ToolEnd {
                failed,
                duration_ms,
                ..
            }) => {
                assert_eq!((failed, duration_ms), (true, 3));
            }
            Some(Event::AgentEnd { will_retry }) => assert_eq!(will_retry, Some(true)),
            Some(Event::Session { id, cwd }) => {
                assert!(id.len() <= 1024 && id.len() > 1000);
                assert_eq!(cwd, "/");
            }
            Some(Event::Dialect(_) | Event::Other | Event::AgentStart) => {}
            other => panic!("{head}: {other:?}"),
        }
    }
}

#[test]
fn a_limit_never_splits_a_character_and_halves_of_pairs_are_replaced() {
    let Event::Session { id, cwd } = one(
        r#"{"type":"session","x":"\ud800","id":"a\ud800b\udc00\ud83d","cwd":"\ud800\ud83d\ude00"}"#,
    ) else {
        panic!()
    };
    assert_eq!(id, "a\u{fffd}b\u{fffd}\u{fffd}");
    assert_eq!(cwd, "\u{fffd}😀");
    let long = "é".repeat(2000);
    let Event::Session { id, .. } = one(&format!(r#"{{"type":"session","id":"x{long}"}}"#)) else {
        panic!()
    };
    assert_eq!(id.len(), 1023);
}
