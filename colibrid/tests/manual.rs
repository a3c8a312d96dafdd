//! colibri-protocol(7) against the table of commands.

use std::path::Path;

use colibrid::roles::{allows, COMMANDS};
use libcolibri::config::Role;

/// The columns of the table in the section on roles.
const ROLES: [Role; 4] = [Role::Observer, Role::Intake, Role::Agent, Role::Operator];

/// The rows of the table in the section on roles: the command, and who may use it.
fn rows(page: &str) -> Vec<(String, [bool; 4])> {
    let section = page
        .split("\n.Ss Roles\n")
        .nth(1)
        .expect("a section on roles");
    let section = section.split("\n.S").next().unwrap();
    section
        .lines()
        .filter_map(|l| l.strip_prefix(".It "))
        .filter(|l| !l.starts_with("Sy "))
        .map(|l| {
            let cells: Vec<&str> = l.split(" Ta ").collect();
            let yes = |n: usize| match cells[n] {
                "yes" => true,
                "no" => false,
                other => panic!("{l}: {other}"),
            };
            (cells[0].to_owned(), [1, 2, 3, 4].map(yes))
        })
        .collect()
}

#[test]
fn the_manual_has_the_table_of_commands() {
    let dir = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    let page = Path::new(&dir).join("../man/colibri-protocol.7");
    let page = std::fs::read_to_string(page).unwrap();
    let code: Vec<(String, [bool; 4])> = COMMANDS
        .iter()
        .map(|r| (r.word.to_owned(), ROLES.map(|has| allows(has, r.role))))
        .collect();
    assert_eq!(rows(&page), code);
}
