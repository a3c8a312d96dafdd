//! The store on a disk that refuses writes, at every place where a commit writes: nothing of that
//! turn is in the database then, nothing that was stored before is lost, and all of it is stored
//! once when the disk takes it again.
//!
//! One test, because the file size limit that refuses the writes is the whole process's.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::Arc;

use colibrid::store::{can_wait, NewRun, Store};
use libcolibri::config::Paths;
use nix::sys::resource::{getrlimit, rlim_t, setrlimit, Resource};

fn paths(dir: &Path) -> Paths {
    let paths = Paths {
        run_dir: dir.join("run"),
        state_dir: dir.join("state"),
        tmp_dir: dir.join("tmp"),
        zoneinfo: dir.join("zoneinfo"),
    };
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(paths.database_dir()).expect("a directory");
    paths
}

/// Files of this process may grow to `size` bytes and no further.
fn limit(size: u64) {
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).expect("the limit");
    let size = rlim_t::try_from(size).unwrap_or(hard).min(hard);
    setrlimit(Resource::RLIMIT_FSIZE, size, hard).expect("set");
}

fn accept(store: &Store, prompt: &str) -> (u64, u64) {
    let new = NewRun {
        profile: "p",
        agent: "a",
        prompt,
        by_uid: 1,
        at_ms: 5,
        pane: "{}",
        of_task: None,
    };
    store.accept(&new).expect("in memory")
}

/// The database as a process finds it that is started after this one was killed now.
fn after_kill(now: &Paths, copy: &Paths) -> Store {
    fs::remove_dir_all(copy.database_dir()).expect("removed");
    fs::create_dir_all(copy.database_dir()).expect("made");
    for suffix in ["", "-wal"] {
        let name = format!("colibri.sqlite{suffix}");
        let from = now.database_dir().join(&name);
        fs::copy(from, copy.database_dir().join(&name)).expect("copied");
    }
    Store::open(copy).expect("recovered")
}

fn journal_seq(store: &Store, run: u64) -> u64 {
    store.run(run).expect("read").expect("there").journal_seq
}

#[test]
fn a_refused_commit_leaves_nothing_and_loses_nothing() {
    // Otherwise the limit ends the process instead of failing the write.
    signal_hook::flag::register(
        signal_hook::consts::SIGXFSZ,
        Arc::new(AtomicBool::new(false)),
    )
    .expect("a handler");
    let dir = std::env::temp_dir().join(format!("colibri-store-faults-{}", std::process::id()));
    let (real, copy) = (paths(&dir.join("real")), paths(&dir.join("copy")));
    let wal = real.database_dir().join("colibri.sqlite-wal");
    for step in 0u64.. {
        let real = paths(&dir.join("real"));
        let store = Store::open(&real).expect("open");
        let (old, attempt) = accept(&store, "old");
        store.add_event(1, old, "first", 1000).expect("in memory");
        store.commit().expect("stored");
        // One turn that concludes something and accepts something, larger than a page.
        limit(fs::metadata(&wal).expect("the WAL").len() + step * 1024);
        store
            .progress(old, attempt, 5, true, &"x".repeat(9000))
            .expect("in memory");
        store.add_event(2, old, "second", 1000).expect("in memory");
        let (new, _) = accept(&store, &"y".repeat(9000));
        store.add_event(3, new, "third", 1000).expect("in memory");
        let done = store.commit();
        limit(u64::MAX);
        let Err(e) = done else {
            assert!(store.run(new).expect("read").is_some());
            assert!(step > 10, "refused at {step} places only");
            break;
        };
        assert!(can_wait(&e) && store.is_stuck(), "{e}");
        let killed = after_kill(&real, &copy);
        assert!(killed.run(new).expect("read").is_none(), "at {step}");
        assert_eq!(journal_seq(&killed, old), 0, "at {step}");
        assert_eq!(killed.event_range().expect("read"), (1, 1), "at {step}");
        drop(killed);
        // The new work is refused; its event's number goes to the next one.
        if step % 2 == 0 {
            store.give_up_decisions();
            store.add_event(2, old, "second", 1000).expect("kept");
        }
        store.commit().expect("stored");
        assert!(!store.is_stuck() && store.kept() == 0);
        let killed = after_kill(&real, &copy);
        assert_eq!(journal_seq(&killed, old), 5, "at {step}");
        let last = if step % 2 == 0 { 2 } else { 3 };
        assert_eq!(killed.event_range().expect("read"), (1, last), "at {step}");
        assert_eq!(killed.run(new).expect("read").is_some(), last == 3);
        // The numbers go on as if nothing had been.
        let (next, _) = accept(&store, "next");
        assert_eq!(next, if last == 3 { new + 1 } else { new });
        store.commit().expect("stored");
    }
    fs::remove_dir_all(&dir).expect("removed");
}
