use crate::stage::{create, get, import, prompt, skill, wait_task, with_steps};
use serde_json::json;

#[test]
fn an_agent_without_its_own_skills_gets_no_tasks_and_with_them_every_task_has_them() {
    let (suite, mut client, _steps) = with_steps("skills = [\"house-rules\"]\n");
    skill(&suite, "rust", "Borrow well.");
    import(&suite);
    let task = create(&mut client, json!({"skills": ["rust"]}));
    let why = get(&mut client, task)["why"].clone();
    assert_eq!(why, json!(["agent steps lacks its skill house-rules"]));

    skill(&suite, "house-rules", "Be brief.");
    import(&suite);
    wait_task(&mut client, task, "started");
    let text = prompt(&mut client, task);
    let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part}: {text}"));
    assert!(at("Borrow well.") < at("Be brief.") && at("Be brief.") < at("Fix it"));
    let agents = client.call(json!({"cmd": "list-agents"}));
    assert_eq!(agents["agents"][0]["skills"], json!(["house-rules"]));
}

#[test]
fn an_external_agent_is_told_what_to_fetch() {
    let far = "[agent.far]\nusers = [\"uid:7\"]\ncapabilities = [\"gpu\"]\n";
    let (suite, mut client, _steps) = with_steps(far);
    skill(&suite, "rust", "Borrow well.");
    import(&suite);
    let task = create(
        &mut client,
        json!({"skills": ["rust"], "capabilities": ["gpu"]}),
    );
    let c = client.call(json!({"cmd": "claim-task", "agent_id": "far"}));
    assert_eq!(c["id"], json!(task));
    let given = &c["skills"][0];
    assert_eq!(
        (&given["skill"], &given["version"]),
        (&json!("rust"), &json!(1))
    );
    let one = json!({"cmd": "get-skill", "skill": "rust", "version": given["version"]});
    let text = client.call(one)["contents"][0]["text"].to_string();
    assert!(text.contains("Borrow well."), "{text}");
}
