//! colibri-setup against a user database of its own: a `pw` that keeps names in a file.

use super::{script, text};
use colibri_tests::daemon::{run, Ran};
use colibri_tests::suite::Scratch;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

/// Understands what colibri-setup may say, and refuses the rest. Lines: `user NAME NUMBER`.
const PW: &str = r#"#!/bin/sh
db=${0%/*}/db
verb=$1; name=$2; shift 2
kind=${verb%show}; kind=${kind%add}
number=
case $verb in
usershow | groupshow)
	awk -v k="$kind" -v n="$name" '$1 == k && ($2 == n || $3 == n) { f = 1 } END { exit !f }' "$db"
	exit ;;
useradd | groupadd) ;;
*) echo "pw: $verb" >&2; exit 64 ;;
esac
while [ $# -gt 0 ]; do
	case $verb$1 in
	useradd-u | groupadd-g) number=$2; shift 2 ;;
	useradd-g) grep -q "^group $2 " "$db" || exit 67; shift 2 ;;
	useradd-c | useradd-d | useradd-s) shift 2 ;;
	useradd-m) shift ;;
	*) echo "pw: $verb $1" >&2; exit 64 ;;
	esac
done
awk -v k="$kind" -v n="$name" -v i="${number:-none}" \
	'$1 == k && ($2 == n || $3 == i) { f = 1 } END { exit f }' "$db" || exit 65
echo "$kind $name ${number:-1001}" >>"$db"
"#;

struct Host {
    scratch: Scratch,
}

impl Host {
    fn new() -> Self {
        let scratch = Scratch::new();
        let dir = scratch.path();
        script(&dir.join("bin/pw"), PW);
        script(&dir.join("bin/id"), "#!/bin/sh\necho 0\n");
        let own = dir.display().to_string();
        let setup = text("etc/colibri-setup.in").replace("%%PREFIX%%", &own);
        script(&dir.join("colibri-setup"), &setup);
        fs::create_dir_all(dir.join("etc/colibri")).expect("made");
        fs::write(dir.join("etc/colibri/colibri.conf.sample"), "sample").expect("written");
        fs::write(dir.join("bin/db"), "").expect("written");
        Self { scratch }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn config(&self) -> PathBuf {
        self.path("etc/colibri/colibri.conf")
    }

    fn setup(&self, args: &[&str]) -> Ran {
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", self.path("bin").display());
        run(Command::new(self.path("colibri-setup"))
            .args(args)
            .env("PATH", path))
    }

    fn users(&self) -> String {
        fs::read_to_string(self.path("bin/db")).expect("the database")
    }
}

const USERS: &str = "\
group _colibri 760
user _colibri 760
group _colibri_run 761
user _colibri_run 761
group _colibri_sched 762
user _colibri_sched 762
";

#[test]
fn makes_what_is_missing_and_nothing_twice() {
    let host = Host::new();
    let ran = host.setup(&[]);
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    assert_eq!(host.users(), USERS);
    assert_eq!(ran.said.lines().count(), 7, "{}", ran.said);
    assert_eq!(fs::read_to_string(host.config()).expect("made"), "sample");
    let mode = fs::metadata(host.config())
        .expect("made")
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
    for _ in 0..2 {
        let ran = host.setup(&[]);
        assert_eq!((ran.code, ran.said.as_str()), (Some(0), ""));
    }
    assert_eq!(host.users(), USERS);
}

#[test]
fn a_half_finished_run_is_finished() {
    let host = Host::new();
    fs::write(host.path("bin/db"), "group _colibri 760\n").expect("written");
    fs::write(host.path("etc/colibri/colibri.conf.new"), "half").expect("written");
    assert_eq!(host.setup(&[]).code, Some(0));
    assert_eq!(host.users(), USERS);
    assert_eq!(fs::read_to_string(host.config()).expect("made"), "sample");
}

#[test]
fn numbers_that_are_taken_are_left_to_their_owners() {
    let host = Host::new();
    fs::write(host.path("bin/db"), "user other 760\ngroup other 761\n").expect("written");
    let ran = host.setup(&[]);
    assert_eq!(ran.code, Some(0), "{}", ran.said);
    let users = host.users();
    for line in [
        "user _colibri 1001",
        "group _colibri 760",
        "group _colibri_run 1001",
    ] {
        assert!(users.contains(line), "{users}");
    }
}

#[test]
fn an_agents_login_and_a_configuration_of_an_image() {
    let host = Host::new();
    fs::write(host.path("image.conf"), "image").expect("written");
    let image = host.path("image.conf").display().to_string();
    let args = ["-a", "pi", "-c", &image];
    assert_eq!(host.setup(&args).code, Some(0));
    assert_eq!(host.users(), format!("{USERS}user pi 1001\n"));
    assert_eq!(fs::read_to_string(host.config()).expect("made"), "image");
    // What the operator makes of it stays, whatever an image says later.
    fs::write(host.config(), "mine").expect("written");
    let ran = host.setup(&args);
    assert_eq!((ran.code, ran.said.as_str()), (Some(0), ""));
    assert_eq!(fs::read_to_string(host.config()).expect("kept"), "mine");
}

#[test]
fn what_cannot_be_done_is_said() {
    let host = Host::new();
    let ran = host.setup(&["-c", "/nonexistent"]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.said.contains("/nonexistent: no such file"),
        "{}",
        ran.said
    );
    assert!(!host.config().exists());
    for wrong in [&["-x"][..], &["word"]] {
        assert_ne!(host.setup(wrong).code, Some(0), "{wrong:?}");
    }
    // A user database that takes nothing.
    script(&host.path("bin/pw"), "#!/bin/sh\nexit 1\n");
    assert_ne!(host.setup(&[]).code, Some(0));
    script(&host.path("bin/id"), "#!/bin/sh\necho 1001\n");
    let ran = host.setup(&[]);
    assert!(ran.said.contains("not root"), "{}", ran.said);
}

#[test]
fn the_port_makes_the_same_users() {
    let (uids, gids) = (text("port/UIDs"), text("port/GIDs"));
    let line = |row: &str| {
        let field: Vec<&str> = row.split(':').collect();
        format!("{} {}\n", field[0], field[2])
    };
    let from_port: Vec<String> = uids
        .lines()
        .zip(gids.lines())
        .flat_map(|(u, g)| [format!("group {}", line(g)), format!("user {}", line(u))])
        .collect();
    assert_eq!(from_port.concat(), USERS);
}
