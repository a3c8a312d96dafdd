//! Where there is no terminal there is no live view.

use colibri_tests::steps::Steps;
use colibri_tests::suite::{Scratch, Setup, Suite};

#[test]
fn it_wants_a_terminal() {
    let scratch = Scratch::new();
    let (profile, _steps) = Steps::new(&scratch, "steps");
    let setup = Setup {
        profiles: vec![profile],
        ..Setup::default()
    };
    let suite = Suite::start_in(scratch, setup);
    for (args, why) in [
        (&["top"][..], "standard input is not a terminal"),
        (&["top", "-j"][..], "top has no JSON"),
    ] {
        let out = suite.ctl(args);
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{said}");
        assert!(
            said.starts_with("colibri-ctl: ") && said.contains(why),
            "{said}"
        );
        assert_eq!(out.stdout, b"");
    }
}
