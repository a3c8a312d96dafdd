//! Confinement on Linux: a seccomp allow-list that mirrors capability mode, plus Landlock where the
//! kernel has it.
//!
//! What is weaker than capability mode, because a filter sees numbers but not what pointers point to:
//!
//! - Rights belong to the process, not to the descriptor: a role's rights are documentation here,
//!   except that they choose which directories Landlock opens.
//! - A process that may look up names below a directory descriptor (groups `Lookup`, `Directories`) can also
//!   name an absolute path or `..` with it. Reading is all that `openat` allows, and Landlock, where
//!   present, ends it; without Landlock file modes are what is left.
//! - `sendmsg` on a held unconnected datagram socket could name another address.
//! - `fstat`-like calls with a path and a real descriptor can ask whether a file exists.
//!
//! - A signal to the process itself is allowed by process id, so after a fork (which no filter here
//!   allows) the child could signal its parent.
//!
//! What is stricter: no new sockets, pipes, kqueues or processes, no executable memory, no ioctl,
//! no change of limits, users or groups. `std::io::copy` between files fails (it wants
//! copy_file_range and does not know the number 94 as a reason to go on without).
//!
//! The lists add up: a call that is in two groups is allowed where either allows it, but `Any` beside
//! a condition counts as the condition.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;

use landlock::{
    Access, AccessFs, BitFlags, PathBeneath, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus, Scope, ABI,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use crate::sandbox::{CallGroup, Confinement, Mechanism, Probe, Right, Role};

/// What every refused call answers: the number of FreeBSD's ECAPMODE, so that both systems show the
/// same one. Here it is ESOCKTNOSUPPORT, which no call of the lists below returns.
pub(crate) const REFUSED: i32 = 94;

/// Landlock features asked for; older kernels give what they have.
const LANDLOCK: ABI = ABI::V6;

/// When a call of a list is allowed.
enum Rule {
    /// Always.
    Any,
    /// When argument `.0` is one of these.
    OneOf(u8, &'static [i32]),
    /// When the pointer in argument `.0` is null.
    Null(u8),
    /// When argument `.0` is not `AT_FDCWD`: relative to a real descriptor.
    Beneath(u8),
    /// When argument `.0` has none of these bits.
    Without(u8, u32),
    /// Both: a real descriptor in argument 0, and a read-only open in argument 2.
    ReadBeneath,
    /// When argument `.0` is this process's own id.
    Own(u8),
}

use Rule::{Any, Beneath, Null, OneOf, Own, ReadBeneath, Without};

/// Memory, time, own identity, own signals, read and write: no process can do without.
const BASE: &[(i64, Rule)] = &[
    (libc::SYS_brk, Any),
    (libc::SYS_mmap, Without(2, libc::PROT_EXEC as u32)),
    (libc::SYS_mprotect, Without(2, libc::PROT_EXEC as u32)),
    (libc::SYS_munmap, Any),
    (libc::SYS_mremap, Any),
    (libc::SYS_madvise, Any),
    (libc::SYS_read, Any),
    (libc::SYS_write, Any),
    (libc::SYS_readv, Any),
    (libc::SYS_writev, Any),
    (libc::SYS_close, Any),
    (
        libc::SYS_fcntl,
        OneOf(
            1,
            &[
                libc::F_GETFD,
                libc::F_SETFD,
                libc::F_GETFL,
                libc::F_SETFL,
                libc::F_DUPFD_CLOEXEC,
            ],
        ),
    ),
    (libc::SYS_fstat, Any),
    (libc::SYS_newfstatat, Beneath(0)),
    (libc::SYS_statx, Beneath(0)),
    (libc::SYS_clock_gettime, Any),
    (libc::SYS_clock_getres, Any),
    (libc::SYS_gettimeofday, Any),
    // Allowed in capability mode too; what std uses, clock_nanosleep, is not.
    (libc::SYS_nanosleep, Any),
    (libc::SYS_getrandom, Any),
    (libc::SYS_futex, Any),
    (libc::SYS_sched_yield, Any),
    (libc::SYS_getpid, Any),
    (libc::SYS_getppid, Any),
    (libc::SYS_gettid, Any),
    (libc::SYS_getuid, Any),
    (libc::SYS_geteuid, Any),
    (libc::SYS_getgid, Any),
    (libc::SYS_getegid, Any),
    (libc::SYS_getresuid, Any),
    (libc::SYS_getresgid, Any),
    (libc::SYS_getgroups, Any),
    (libc::SYS_getrusage, Any),
    (libc::SYS_prlimit64, Null(2)),
    (libc::SYS_uname, Any),
    (libc::SYS_sysinfo, Any),
    (
        libc::SYS_prctl,
        OneOf(
            0,
            &[
                libc::PR_SET_NAME,
                libc::PR_GET_NO_NEW_PRIVS,
                libc::PR_GET_SECCOMP,
            ],
        ),
    ),
    (libc::SYS_rt_sigaction, Any),
    (libc::SYS_rt_sigprocmask, Any),
    (libc::SYS_rt_sigreturn, Any),
    (libc::SYS_sigaltstack, Any),
    (libc::SYS_restart_syscall, Any),
    (libc::SYS_kill, Own(0)),
    (libc::SYS_tgkill, Own(0)),
    (libc::SYS_exit, Any),
    (libc::SYS_exit_group, Any),
];

const EVENTS: &[(i64, Rule)] = &[
    (libc::SYS_epoll_ctl, Any),
    (libc::SYS_epoll_pwait, Any),
    (libc::SYS_ppoll, Any),
];

/// The same by the older names that only this architecture has.
#[cfg(target_arch = "x86_64")]
const OLDER: &[(i64, Rule)] = &[
    (libc::SYS_epoll_wait, Any),
    (libc::SYS_poll, Any),
    (libc::SYS_time, Any),
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[(i64, Rule)] = &[];

const FILES: &[(i64, Rule)] = &[
    (libc::SYS_pread64, Any),
    (libc::SYS_pwrite64, Any),
    (libc::SYS_preadv, Any),
    (libc::SYS_pwritev, Any),
    (libc::SYS_lseek, Any),
    (libc::SYS_fsync, Any),
    (libc::SYS_fdatasync, Any),
    (libc::SYS_ftruncate, Any),
    (libc::SYS_flock, Any),
    (
        libc::SYS_fcntl,
        OneOf(1, &[libc::F_GETLK, libc::F_SETLK, libc::F_SETLKW]),
    ),
];

const SOCKETS: &[(i64, Rule)] = &[
    // No address: only to whom the socket is connected.
    (libc::SYS_sendto, Null(4)),
    (libc::SYS_recvfrom, Any),
    (libc::SYS_sendmsg, Any),
    (libc::SYS_shutdown, Any),
    (libc::SYS_getsockopt, Any),
    (libc::SYS_setsockopt, Any),
    (libc::SYS_getpeername, Any),
    (libc::SYS_getsockname, Any),
];

const ACCEPT: &[(i64, Rule)] = &[(libc::SYS_accept4, Any)];
const RECEIVE_FD: &[(i64, Rule)] = &[(libc::SYS_recvmsg, Any)];
const WAIT: &[(i64, Rule)] = &[(libc::SYS_wait4, Any)];
const LOOKUP: &[(i64, Rule)] = &[(libc::SYS_openat, ReadBeneath)];
const DIRECTORIES: &[(i64, Rule)] = &[(libc::SYS_unlinkat, Beneath(0))];

fn lists(group: CallGroup) -> &'static [&'static [(i64, Rule)]] {
    match group {
        CallGroup::Base => &[BASE],
        CallGroup::Events => &[EVENTS, OLDER],
        CallGroup::Files => &[FILES],
        CallGroup::Sockets => &[SOCKETS],
        CallGroup::Accept => &[ACCEPT],
        CallGroup::ReceiveFd => &[RECEIVE_FD],
        CallGroup::Wait => &[WAIT],
        CallGroup::Lookup => &[LOOKUP],
        CallGroup::Directories => &[LOOKUP, DIRECTORIES],
    }
}

type Conditions = Vec<SeccompCondition>;

/// The alternatives of a rule; none means always.
fn alternatives(rule: &Rule, own: u32) -> Result<Vec<Conditions>, seccompiler::BackendError> {
    let half = |arg, op, value: u32| {
        SeccompCondition::new(arg, SeccompCmpArgLen::Dword, op, u64::from(value))
    };
    let zero = |arg| SeccompCondition::new(arg, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0);
    let clear = |arg, bits: u32| half(arg, SeccompCmpOp::MaskedEq(u64::from(bits)), 0);
    // The kernel takes these arguments as 32 bits, whatever the upper half says.
    let beneath = |arg| half(arg, SeccompCmpOp::Ne, libc::AT_FDCWD as u32);
    Ok(match *rule {
        Any => vec![],
        OneOf(arg, values) => values
            .iter()
            .map(|v| Ok(vec![half(arg, SeccompCmpOp::Eq, *v as u32)?]))
            .collect::<Result<_, _>>()?,
        Null(arg) => vec![vec![zero(arg)?]],
        Beneath(arg) => vec![vec![beneath(arg)?]],
        Without(arg, bits) => vec![vec![clear(arg, bits)?]],
        ReadBeneath => vec![vec![beneath(0)?, clear(2, NOT_READING)?]],
        Own(arg) => vec![vec![half(arg, SeccompCmpOp::Eq, own)?]],
    })
}

/// Bits of an open that do more than read.
const NOT_READING: u32 = (libc::O_ACCMODE
    | libc::O_CREAT
    | libc::O_TRUNC
    | libc::O_APPEND
    | (libc::O_TMPFILE & !libc::O_DIRECTORY)) as u32;

/// The whole program, before anything is given up.
fn program(groups: &[CallGroup]) -> io::Result<BpfProgram> {
    let own = std::process::id();
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for (call, rule) in groups.iter().flat_map(|g| lists(*g)).copied().flatten() {
        let chain = rules.entry(*call).or_default();
        for conditions in alternatives(rule, own).map_err(io::Error::other)? {
            chain.push(SeccompRule::new(conditions).map_err(io::Error::other)?);
        }
    }
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Errno(REFUSED as u32),
        SeccompAction::Allow,
        arch,
    );
    filter
        .and_then(BpfProgram::try_from)
        .map_err(io::Error::other)
}

/// Forbids the file system except below the directories held; whether all of it is in force.
fn landlock(held: &[(BorrowedFd<'_>, &Role)]) -> io::Result<bool> {
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK))
        .and_then(|r| r.scope(Scope::AbstractUnixSocket | Scope::Signal))
        .and_then(Ruleset::create)
        .map_err(io::Error::other)?;
    for (fd, role) in held {
        let access = beneath(role);
        if !access.is_empty() {
            rules = rules
                .add_rule(PathBeneath::new(fd, access))
                .map_err(io::Error::other)?;
        }
    }
    let status = rules.restrict_self().map_err(io::Error::other)?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

fn beneath(role: &Role) -> BitFlags<AccessFs> {
    let mut access = BitFlags::empty();
    if role.rights.contains(&Right::Lookup) && role.rights.contains(&Right::Read) {
        access |= AccessFs::ReadFile | AccessFs::ReadDir;
    }
    if role.rights.contains(&Right::UnlinkAt) {
        access |= AccessFs::RemoveFile;
    }
    access
}

/// Rights belong to the process here.
pub(crate) fn limit(_fd: BorrowedFd<'_>, _role: &Role) -> io::Result<()> {
    Ok(())
}

/// Gives everything up that the table does not name. From here on there is no way back.
pub(crate) fn enter(
    confinement: &Confinement,
    held: &[(BorrowedFd<'_>, &Role)],
) -> io::Result<Mechanism> {
    if !confinement.capability_mode {
        return Ok(Mechanism::None);
    }
    let groups: Vec<CallGroup> = confinement.calls.iter().map(|c| c.group).collect();
    let program = program(&groups)?;
    super::process::no_new_privs()?;
    let landlock = landlock(held)?;
    seccompiler::apply_filter(&program).map_err(io::Error::other)?;
    if !nix::sys::prctl::get_no_new_privs()? {
        return Err(io::Error::other("no_new_privs is not set"));
    }
    Ok(match landlock {
        true => Mechanism::SeccompLandlock,
        false => Mechanism::Seccomp,
    })
}

/// Lines of the self-test that only this system has.
pub(crate) fn probes() -> Vec<Probe> {
    vec![
        Probe::refused("become root", || Ok(nix::unistd::setuid(0.into())?)),
        Probe::refused("fork", crate::sandbox::try_fork),
        Probe::refused("make a socket", || {
            use nix::sys::socket::{socket, AddressFamily, SockFlag, SockType};
            socket(
                AddressFamily::Unix,
                SockType::Stream,
                SockFlag::SOCK_CLOEXEC,
                None,
            )?;
            Ok(())
        }),
    ]
}
