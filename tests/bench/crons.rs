//! Many entries and many due in the same minute: Colibri beside Debian's cron and bcron, one after the
//! other, with the same entries and the same job.
//!
//! Each holds ENTRIES that are not due and AT_ONCE that are, all at the same minute. Measured are the
//! time until it rests after its start, its memory, its CPU time while nothing is due, and how long
//! after the minute each job begins. The job stamps the clock as its first act. Of Colibri the time at
//! which the task is stored is told as well; its job is an agent's run, confined and watched, where
//! the others start a shell.
//!
//! cron's paths are built in: it runs in a mount namespace of its own, which needs root. Get the two by
//! tools/get-peers.sh.
//!
//! cron ignores a crontab of more than 10000 lines, so together they are fewer.
//!
//! Usage: bench-crons [ENTRIES [AT_ONCE [IDLE_SECONDS]]]

use colibri_tests::client::Client;
use colibri_tests::daemon::Parts;
use colibri_tests::measure::{conditions, monotonic_ns, row, table, Values};
use colibri_tests::peers::{find, place};
use colibri_tests::procs::{children_of, status_field};
use colibri_tests::suite::{program, Profile, Scratch, Setup, Suite};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use serde_json::{json, Value};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long before the minute a scheduler is started, at least, in seconds: it has to come to rest
/// and then to be watched while nothing is due.
const LEAD: i64 = 60;

struct Load {
    entries: u64,
    at_once: u64,
    idle: u64,
    agent: PathBuf,
    stamps: PathBuf,
}

/// What is measured of one of them.
#[derive(Default)]
struct Figures {
    rest_s: f64,
    rss: u64,
    idle_ms: u64,
    stored: Values,
    begun: Values,
}

/// A scheduler that runs, and its processes.
struct Running {
    top: Child,
    pids: Vec<i32>,
}

fn main() {
    let mut args = std::env::args().skip(1).map(|a| a.parse().ok());
    let mut number = |default: u64| args.next().flatten().unwrap_or(default);
    let (entries, at_once, idle) = (number(8000), number(1000), number(60));
    println!("{}", conditions());
    let scratch = Scratch::new();
    let load = Load {
        entries,
        at_once,
        idle,
        agent: scratch.copy(&program("colibri-stamp")),
        stamps: scratch.path().join("stamps"),
    };
    println!(
        "\n{entries} entries that are not due, {at_once} in the same minute, {idle} s of rest\n"
    );
    let head = [
        "",
        "at rest s",
        "KiB",
        "idle CPU ms",
        "jobs",
        "begun p50 ms",
        "p99",
        "max",
    ];
    let mut rows = vec![row(head)];
    for (name, start) in [("cron", cron as Start), ("bcron", bcron as Start)] {
        match start(&load, scratch.path()) {
            Some((running, due)) => rows.push(line(name, &watch(&load, running, &due))),
            None => println!("{name}: missing"),
        }
    }
    let figures = colibri(&load);
    rows.push(line("colibri", &figures));
    println!("{}", table(&rows));
    let q = |q| figures.stored.quantile(q);
    println!(
        "colibri's tasks were stored {:.0} ms (p50), {:.0} ms (p99), {:.0} ms (max) after the minute",
        q(0.5),
        q(0.99),
        q(1.0)
    );
}

type Start = fn(&Load, &Path) -> Option<(Running, Zoned)>;

fn line(name: &str, f: &Figures) -> Vec<String> {
    let q = |q| match f.begun.count() {
        0 => "none".to_owned(),
        _ => format!("{:.0}", f.begun.quantile(q)),
    };
    row([
        name.to_owned(),
        format!("{:.1}", f.rest_s),
        f.rss.to_string(),
        f.idle_ms.to_string(),
        f.begun.count().to_string(),
        q(0.5),
        q(0.99),
        q(1.0),
    ])
}

/// The first whole minute that leaves the time to come to rest and to be watched.
fn minute(load: &Load) -> Zoned {
    let idle = i64::try_from(load.idle).expect("not that long");
    let soonest = Timestamp::now().as_second() + LEAD + idle + 60;
    let whole = Timestamp::from_second(soonest / 60 * 60).expect("a time");
    whole.to_zoned(TimeZone::UTC)
}

/// A crontab of root with all entries.
fn crontab(load: &Load, due: &Zoned) -> String {
    let job = format!(
        "{} --stamp {} >/dev/null 2>&1",
        load.agent.display(),
        load.stamps.display()
    );
    let mut text = String::new();
    for n in 0..load.entries {
        text += &format!("{} {} 29 2 * {job}\n", n % 60, n / 60 % 24);
    }
    for _ in 0..load.at_once {
        text += &format!("{} {} * * * {job}\n", due.minute(), due.hour());
    }
    text
}

fn put(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    fs::set_permissions(path, Permissions::from_mode(0o600)).expect("its mode");
}

/// Debian's cron, which finds its crontabs, its PAM service and nothing else in places of its own.
fn cron(load: &Load, dir: &Path) -> Option<(Running, Zoned)> {
    let program = find("cron")?;
    let (root, dir) = (place(), dir.join("cron"));
    fs::create_dir_all(&dir).expect("a directory");
    let due = minute(load);
    put(&dir.join("root"), &crontab(load, &due));
    let script = format!(
        "mount -t tmpfs none /var/spool && mkdir -p /var/spool/cron/crontabs && \
         mkdir {d}/m && mount -t tmpfs none {d}/m && mkdir {d}/m/u {d}/m/w && \
         mount -t overlay none -o lowerdir=/etc,upperdir={d}/m/u,workdir={d}/m/w /etc && \
         cp {r}/etc/pam.d/cron /etc/pam.d/ && rm -rf /etc/crontab /etc/cron.d && \
         cp -p {d}/root /var/spool/cron/crontabs/root && exec {p} -f",
        d = dir.display(),
        r = root.display(),
        p = program.display()
    );
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-ec", &script]);
    let top = quiet(command);
    let pids = vec![pid_of(&top)];
    Some((Running { top, pids }, due))
}

/// bcron: one process that plans, one that executes, one above them.
fn bcron(load: &Load, dir: &Path) -> Option<(Running, Zoned)> {
    let program = find("bcron-start")?;
    let (root, dir) = (place(), dir.join("bcron"));
    for name in ["crontabs", "tmp"] {
        fs::create_dir_all(dir.join(name)).expect("a directory");
    }
    nix::unistd::mkfifo(
        &dir.join("trigger"),
        nix::sys::stat::Mode::from_bits_truncate(0o600),
    )
    .expect("a pipe");
    let due = minute(load);
    put(&dir.join("crontabs/root"), &crontab(load, &due));
    let path = std::env::var("PATH").unwrap_or_default();
    let sbin = program.parent().expect("a directory").display();
    let mut command = Command::new(&program);
    command
        .env("PATH", format!("{sbin}:{path}"))
        .env("LD_LIBRARY_PATH", root.join("usr/lib"))
        .env("BCRON_USER", "root")
        .env("BCRON_SPOOL", &dir);
    let top = quiet(command);
    pause(1000);
    let mut pids = vec![pid_of(&top)];
    pids.extend(children_of(pids[0]).iter().map(|p| p.pid));
    Some((Running { top, pids }, due))
}

fn quiet(mut command: Command) -> Child {
    let null = || Stdio::null();
    command.stdin(null()).stdout(null()).stderr(null());
    // What is due is said in UTC.
    command.env("TZ", "UTC0");
    command.spawn().expect("it starts")
}

fn pid_of(child: &Child) -> i32 {
    i32::try_from(child.id()).expect("fits")
}

/// What becomes of one of the two, to its end.
fn watch(load: &Load, mut running: Running, due: &Zoned) -> Figures {
    File::create(&load.stamps).expect("a file for the stamps");
    let mut figures = Figures::default();
    resting(load, &running.pids, &mut figures);
    figures.begun = begun(load, due.timestamp());
    for pid in &running.pids {
        let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
    }
    let _ = running.top.wait();
    figures
}

/// From the start to rest, and the rest.
fn resting(load: &Load, pids: &[i32], figures: &mut Figures) {
    let begin = Instant::now();
    let mut last = (u64::MAX, begin.elapsed());
    loop {
        let now = ticks(pids);
        // Two seconds without a tick: the second before the last look was the last that it worked.
        if now == last.0 && begin.elapsed() - last.1 > Duration::from_secs(2) {
            break;
        }
        if now != last.0 {
            last = (now, begin.elapsed());
        }
        pause(100);
    }
    figures.rest_s = last.1.as_secs_f64();
    let kib = |pid: &i32| {
        let text = status_field(*pid, "VmRSS").unwrap_or_default();
        text.split_whitespace()
            .next()
            .and_then(|n| n.parse::<u64>().ok())
            .unwrap_or(0)
    };
    figures.rss = pids.iter().map(kib).sum();
    let before = ticks(pids);
    pause(load.idle * 1000);
    figures.idle_ms = (ticks(pids) - before) * 10;
}

/// CPU time in ticks of a hundredth of a second.
fn ticks(pids: &[i32]) -> u64 {
    let of = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let numbers = fields.split_whitespace().skip(11).take(2);
        numbers.filter_map(|n| n.parse::<u64>().ok()).sum::<u64>()
    };
    pids.iter().map(of).sum()
}

/// A measurement has to last: nothing is waited for.
fn pause(ms: u64) {
    let wait = nix::poll::PollTimeout::try_from(ms).expect("a timeout");
    let _ = nix::poll::poll(&mut [], wait);
}

/// When the jobs began, in milliseconds after the minute; waits for all, and a while for more.
fn begun(load: &Load, due: Timestamp) -> Values {
    let size = || fs::metadata(&load.stamps).map_or(0, |m| m.len());
    let wall = u128::try_from(Timestamp::now().as_nanosecond()).expect("after 1970");
    let offset = wall - u128::from(monotonic_ns());
    let due_ns = u128::try_from(due.as_nanosecond()).expect("after 1970");
    while Timestamp::now() < due + 1.second() {
        pause(100);
    }
    let patience = Instant::now() + Duration::from_secs(60);
    while size() < load.at_once * 8 && Instant::now() < patience {
        pause(100);
    }
    pause(2000);
    let bytes = fs::read(&load.stamps).expect("the stamps");
    let (stamps, rest) = bytes.as_chunks::<8>();
    assert!(rest.is_empty(), "half a stamp");
    let mut values = Values::default();
    for stamp in stamps {
        let at = u128::from(u64::from_le_bytes(*stamp)) + offset;
        values.push((at as f64 - due_ns as f64) / 1e6);
    }
    values
}

/// Colibri with the same entries in its database, and an agent that does the job.
fn colibri(load: &Load) -> Figures {
    let scratch = Scratch::new();
    let stamps = File::create(&load.stamps).expect("a file for the stamps");
    stamps
        .set_permissions(Permissions::from_mode(0o666))
        .expect("its mode");
    let agent = scratch.copy(&program("colibri-stamp"));
    let words = ["--stamp", &load.stamps.display().to_string()].map(str::to_owned);
    let command = [vec![agent.display().to_string()], words.to_vec()].concat();
    let setup = Setup {
        profiles: vec![Profile::new("stamp", "json", command)],
        limits: "runs = 2000\nschedules = 1000000\ntasks = 1000000".into(),
        more: format!("[agent.stamp]\nruns = {}\n", load.at_once.max(1)),
        ..Setup::default()
    };
    let mut suite = Suite::start_in(scratch, setup);
    suite.stop();
    let due = minute(load);
    insert(&suite, load, &due);
    suite.launch();
    let parts = Parts::below(suite.pid()).expect("three daemons");
    let mut figures = Figures::default();
    resting(load, &parts.all(), &mut figures);
    let mut client = suite.client();
    client.subscribe(None);
    figures.begun = begun(load, due.timestamp());
    figures.stored = stored(&mut client, load, due.timestamp());
    suite.stop();
    figures
}

fn insert(suite: &Suite, load: &Load, due: &Zoned) {
    let path = suite.dir().join("state/db/colibri.sqlite");
    let db = rusqlite::Connection::open(path).expect("the database");
    let now = Timestamp::now().as_millisecond();
    let at = format!("'{} {} * * *'", due.minute(), due.hour());
    let idle = "(n % 60) || ' ' || (n / 60 % 24) || ' 29 2 *'";
    for (many, cron) in [(load.entries, idle), (load.at_once, at.as_str())] {
        let sql = format!(
            "INSERT INTO schedules (name, declared, spec, by_uid, created_ms, anchor_ms, high_ms)
             WITH RECURSIVE s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n + 1 < {many})
             SELECT 's' || lower(hex(randomblob(8))), 0, json_object('title', 't', 'cron', {cron}),
                    0, {now}, {now}, {now} FROM s"
        );
        db.execute_batch(&sql).expect("inserted");
    }
}

/// When the tasks were stored, by the suite's own word.
fn stored(client: &mut Client, load: &Load, due: Timestamp) -> Values {
    let mut values = Values::default();
    let mut tasks = std::collections::BTreeSet::new();
    while (tasks.len() as u64) < load.at_once {
        let mut line = client.event(Duration::from_secs(60)).expect("an event");
        let event: Value = line["event"].take();
        if event["kind"] == "occurrence" && event["status"] == json!("fired") {
            assert!(tasks.insert(event["task"].as_u64()), "twice: {event}");
            let at = event["at"].as_str().expect("a time");
            let at: Timestamp = at.parse().expect("a time");
            values.push((at.as_millisecond() - due.as_millisecond()) as f64);
        }
    }
    values
}
