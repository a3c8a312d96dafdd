use crate::stage::{create, get, import, skill, wait_task};
use colibri_tests::agents::real;
use colibri_tests::model::ModelServer;
use colibri_tests::pi::{require_pi, Version};
use colibri_tests::suite::{Scratch, Setup, Suite};
use serde_json::json;

#[test]
fn the_new_pi_tells_its_model() {
    the_real_pi_tells_its_model(Version::V1_5_2, "rpc");
}

#[test]
fn the_old_pi_tells_its_model() {
    the_real_pi_tells_its_model(Version::V0_73_1, "json");
}

fn the_real_pi_tells_its_model(version: Version, mode: &str) {
    let Some(found) = require_pi() else {
        return;
    };
    let server = ModelServer::start().expect("a loopback port");
    let scratch = Scratch::new();
    let profile = real(&scratch, &found, &server, version, mode, "plain");
    let more = format!("[agent.pi]\nprofile = \"{}\"\n", profile.name);
    let setup = Setup {
        profiles: vec![profile],
        more,
        ..Setup::default()
    };
    let suite = Suite::start_in(scratch, setup);
    let mut client = suite.client();
    client.subscribe(None);
    skill(&suite, "pdf-tools", "Read the pages.");
    skill(&suite, "rust", "Borrow well.");
    import(&suite);
    let task = create(&mut client, json!({"skills": ["pdf-tools", "rust"]}));
    wait_task(&mut client, task, "done");
    let seen = server.seen();
    let prompt = &seen[0].prompt;
    let parts = [
        "<skill name=\"pdf-tools\" location=\"colibri:pdf-tools@1\">",
        "Read the pages.",
        "the small print",
        "<skill name=\"rust\" location=\"colibri:rust@2\">",
        "Borrow well.",
        "</skill>\n\nFix it",
    ];
    let mut at = 0;
    for part in parts {
        let found = prompt[at..].find(part);
        at += found.unwrap_or_else(|| panic!("{part}: {prompt}"));
    }
    assert!(prompt.ends_with("Fix it"), "{prompt}");
    assert!(get(&mut client, task)["summary"].is_string());
}
