//! What a config is checked for, and how an error is told.

use super::*;

fn check(text: &str) -> Result<Config, String> {
    parse(Path::new("c"), text.as_bytes())
}

const MIN: &str = "[profile.a]\nmode = \"rpc\"\ncommand = [\"/bin/pi\"]\n";

#[test]
fn defaults_fill_what_is_not_said() {
    let c = check(MIN).unwrap();
    assert_eq!(c.paths.run_dir, Path::new("/var/run/colibri"));
    assert_eq!(c.profiles[0].command, ["/bin/pi", "--mode", "rpc"]);
    assert_eq!(c.profiles[0].nice, 10);
    assert_eq!(c.profiles[0].agent, "a");
    assert!(c.separate);
    assert!(check("").unwrap().profiles.is_empty());
}

#[test]
fn errors_name_file_line_and_field() {
    for (text, expect) in [
        (
            "[suite]\nrun_dir = \"x\"\n",
            "c:2: suite.run_dir: must be an absolute path",
        ),
        (
            "[suite]\n\nrun_dri = \"/x\"\n",
            "c:3: suite.run_dri: unknown field `run_dri`",
        ),
        (
            "[limits]\nruns = 0\n",
            "c:2: limits.runs: must be from 1 to 10000",
        ),
        (
            "[limits]\nruns = \"many\"\n",
            "c:2: limits.runs: invalid type",
        ),
        (
            "[roles]\noperator = [\"a b\"]\n",
            "c:2: roles.operator: not a user or group",
        ),
        ("[suite\n", "c:1: suite"),
        ("x = 1\n", "c:1: x: unknown field"),
        (
            "[profile.a]\nmode = \"tty\"\ncommand = [\"/x\"]\n",
            "c:2: profile.a.mode: unknown variant",
        ),
        (
            "[profile.a]\nmode = \"rpc\"\n",
            "c:1: profile.a: missing field `command`",
        ),
        (
            "[profile.a]\nmode = \"rpc\"\ncommand = [\"pi\"]\n",
            "c:3: profile.a.command: must begin",
        ),
        (
            "[profile.a]\nmode = \"rpc\"\ncommand = [\"/pi\", \"--mode\", \"json\"]\n",
            "c:3: profile.a.command: --mode must be rpc",
        ),
        (
            "[profile.\"a/b\"]\nmode = \"rpc\"\ncommand = [\"/pi\"]\n",
            "c:1: profile: must be 1 to 64",
        ),
        (
            "[profile.a]\nmode = \"rpc\"\ncommand = [\"/pi\"]\nnice = 0\n",
            "c:4: profile.a.nice: must be from 10 to 19",
        ),
        (
            "[profile.a]\nmode = \"rpc\"\ncommand = [\"/pi\"]\njail = \"j\"\nroot = \"/r\"\n",
            "c:5: profile.a.root: jail and root exclude",
        ),
        (
            "[schedule.n]\ntitle = \"t\"\ncron = \"61 * * * *\"\n",
            "c:3: schedule.n.cron: column 1: expected a minute from 0 to 59, found \"61\"",
        ),
        (
            "[schedule.n]\ntitle = \"t\"\n",
            "c:1: schedule.n.cron: missing: one of cron, every and at",
        ),
    ] {
        let got = check(text).unwrap_err();
        assert!(got.starts_with(expect), "{text:?}: {got}");
    }
}

#[test]
fn not_utf8_names_the_line() {
    let e = parse(Path::new("c"), b"# x\n\xff\n").unwrap_err();
    assert_eq!(e, "c:2: not UTF-8");
}
