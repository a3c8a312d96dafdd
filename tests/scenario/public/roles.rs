//! Who may ask what: every command, asked by every role, by user and by group.

use colibri_tests::client::Client;
use colibri_tests::skip::skip;
use colibri_tests::suite::{is_root, Setup, Suite};
use colibri_tests::wait::LONG;
use colibrid::roles::{allows, COMMANDS};
use libcolibri::config::Role;
use serde_json::json;

/// Users and groups of the test; they need no login.
const ROLES: [(Role, &str, u32); 4] = [
    (Role::Operator, "operator", 64301),
    (Role::Agent, "agent", 64302),
    (Role::Intake, "intake", 64303),
    (Role::Observer, "observer", 64304),
];
/// The same role by group.
const GROUPS: u32 = 100;

fn setup() -> Setup {
    let line = |(_, word, id): &(Role, &str, u32)| {
        format!("{word} = [\"uid:{id}\", \"gid:{}\"]\n", id + GROUPS)
    };
    Setup {
        roles: Some(ROLES.iter().map(line).collect()),
        ..Setup::default()
    }
}

/// Whether there are other users to be; says so where not.
fn others() -> bool {
    if !is_root() {
        skip("only root can connect as somebody else");
    }
    is_root()
}

#[test]
fn each_role_has_its_commands_and_no_other() {
    if !others() {
        return;
    }
    let suite = Suite::start(setup());
    for (role, word, id) in ROLES {
        // The group counts as the primary one and as a supplementary one.
        let group = id + GROUPS;
        for who in [
            format!("{id}:64399"),
            format!("64398:{group}"),
            format!("64398:64399,{group}"),
        ] {
            let mut client = Client::connect_as(&who, &suite.socket());
            for row in &COMMANDS {
                // Without its fields no command does anything; what is asked comes first.
                let reply = client.request(json!({"cmd": row.word})).expect("a reply");
                let denied = reply["error"]["code"] == "denied";
                assert_eq!(denied, !allows(role, row.role), "{word} {who}: {reply}");
                let message = reply["error"]["message"].as_str().unwrap_or_default();
                assert!(!denied || message.contains(row.word), "{reply}");
            }
        }
    }
    let log = suite.log();
    assert!(log.contains("refused spawn-agent to uid 64304"), "{log}");
}

#[test]
fn who_has_no_role_is_refused_at_the_door() {
    if !others() {
        return;
    }
    let suite = Suite::start(setup());
    let mut client = Client::connect_as("64398:64399", &suite.socket());
    let reply = client.value(LONG).expect("a reply");
    assert_eq!(reply["error"]["code"], "denied", "{reply}");
    assert_eq!(client.line(LONG).expect("the end"), None);
    // Root is an operator whatever the config says, and what one said does not stick to another.
    suite.client().call(json!({"cmd": "status"}));
    let log = suite.log();
    assert!(log.contains("refused a client of uid 64398"), "{log}");
}
