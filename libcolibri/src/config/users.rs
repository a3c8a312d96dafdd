//! Users and roles: names become numbers once, at start, while there still is a user database.

use std::str::FromStr;

use nix::unistd::{Gid, Group, Uid, User};
use serde::Serialize;

use crate::error::{Fatal, Result};

/// The ids of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ids {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Login name; the number where there is no entry.
    pub name: String,
    /// Home directory; `/` where there is no entry.
    pub home: String,
}

impl Ids {
    /// Looks up a user: a name, or `uid:gid` in numbers, which needs no entry.
    ///
    /// # Errors
    /// Exit code 78 when there is no such user.
    pub fn lookup(user: &str) -> Result<Ids> {
        if let Some((uid, gid)) = user.split_once(':') {
            if let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse()) {
                let entry = User::from_uid(Uid::from_raw(uid)).ok().flatten();
                return Ok(Ids {
                    uid,
                    gid,
                    groups: Vec::new(),
                    name: entry.as_ref().map_or(uid.to_string(), |u| u.name.clone()),
                    home: entry.map_or("/".into(), |u| u.dir.display().to_string()),
                });
            }
        }
        match User::from_name(user) {
            Ok(Some(u)) => Ok(Ids {
                uid: u.uid.as_raw(),
                gid: u.gid.as_raw(),
                groups: Vec::new(),
                name: u.name,
                home: u.dir.display().to_string(),
            }),
            Ok(None) => Err(Fatal::config(format!("no such user: {user}"))),
            Err(e) => Err(Fatal::config(format!("cannot look up user {user}: {e}"))),
        }
    }

    /// The ids of this process.
    #[must_use]
    pub fn own() -> Ids {
        let uid = Uid::current();
        let entry = User::from_uid(uid).ok().flatten();
        Ids {
            uid: uid.as_raw(),
            gid: Gid::current().as_raw(),
            groups: Vec::new(),
            name: entry
                .as_ref()
                .map_or(uid.as_raw().to_string(), |u| u.name.clone()),
            home: entry.map_or("/".into(), |u| u.dir.display().to_string()),
        }
    }
}

/// Looks up a group: a name or a number.
///
/// # Errors
/// Exit code 78 when there is no such group.
pub fn group_id(group: &str) -> Result<u32> {
    if let Ok(gid) = group.parse() {
        return Ok(gid);
    }
    match Group::from_name(group) {
        Ok(Some(g)) => Ok(g.gid.as_raw()),
        _ => Err(Fatal::config(format!("no such group: {group}"))),
    }
}

/// What a client may do; each role includes the ones before it, except that agent and intake
/// are beside each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    Observer,
    /// Reads, adds work.
    Intake,
    /// Reads, claims and reports its own tasks.
    Agent,
    /// Everything.
    Operator,
}

impl Role {
    /// The word in the config and in messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Observer => "observer",
            Role::Intake => "intake",
            Role::Agent => "agent",
            Role::Operator => "operator",
        }
    }
}

/// Somebody named in the config's roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A user's name.
    User(String),
    /// A group's name (`@name`).
    Group(String),
    /// A user's number (`uid:N`).
    Uid(u32),
    /// A group's number (`gid:N`).
    Gid(u32),
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(s: &str) -> std::result::Result<Self, String> {
        let number = |n: &str| n.parse().map_err(|_| format!("not a number: {n}"));
        if let Some(n) = s.strip_prefix("uid:") {
            Ok(Subject::Uid(number(n)?))
        } else if let Some(n) = s.strip_prefix("gid:") {
            Ok(Subject::Gid(number(n)?))
        } else if let Some(name) = s.strip_prefix('@') {
            plain(name).map(Subject::Group)
        } else {
            plain(s).map(Subject::User)
        }
    }
}

fn plain(name: &str) -> std::result::Result<String, String> {
    let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'$');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(ok) {
        return Err(format!("not a user or group name: {name:?}"));
    }
    Ok(name.to_owned())
}

/// Who has which role.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roles {
    /// May do everything.
    pub operator: Vec<Subject>,
    /// May claim and report.
    pub agent: Vec<Subject>,
    /// May add work.
    pub intake: Vec<Subject>,
    /// May read.
    pub observer: Vec<Subject>,
}

/// The roles as numbers, for use after confinement.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RoleTable {
    rows: Vec<(Role, Id)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Id {
    Uid(u32),
    Gid(u32),
}

impl Roles {
    /// Looks up every name.
    ///
    /// # Errors
    /// Exit code 78 for a name that the system does not know.
    pub fn resolve(&self) -> Result<RoleTable> {
        let mut rows = Vec::new();
        for (role, subjects) in [
            (Role::Operator, &self.operator),
            (Role::Agent, &self.agent),
            (Role::Intake, &self.intake),
            (Role::Observer, &self.observer),
        ] {
            for s in subjects {
                let id = match s {
                    Subject::Uid(n) => Id::Uid(*n),
                    Subject::Gid(n) => Id::Gid(*n),
                    Subject::User(name) => Id::Uid(Ids::lookup(name)?.uid),
                    Subject::Group(name) => Id::Gid(group_id(name)?),
                };
                rows.push((role, id));
            }
        }
        Ok(RoleTable { rows })
    }
}

impl RoleTable {
    /// The strongest role of a client. Root is operator, and so is the suite's own user when the
    /// suite does not run as root (`owner`). `None`: nobody.
    #[must_use]
    pub fn role_of(&self, uid: u32, groups: &[u32], owner: Option<u32>) -> Option<Role> {
        if uid == 0 || owner == Some(uid) {
            return Some(Role::Operator);
        }
        self.rows
            .iter()
            .find(|(_, id)| match id {
                Id::Uid(n) => *n == uid,
                Id::Gid(n) => groups.contains(n),
            })
            .map(|(role, _)| *role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_role_wins_and_strangers_have_none() {
        let roles = Roles {
            operator: vec![Subject::Uid(10)],
            agent: vec![],
            intake: vec![Subject::Gid(5)],
            observer: vec![Subject::Uid(10), Subject::Uid(11), Subject::Gid(6)],
        };
        let t = roles.resolve().unwrap();
        assert_eq!(t.role_of(10, &[], None), Some(Role::Operator));
        assert_eq!(t.role_of(11, &[5], None), Some(Role::Intake));
        assert_eq!(t.role_of(12, &[6], None), Some(Role::Observer));
        assert_eq!(t.role_of(12, &[7], None), None);
        assert_eq!(t.role_of(0, &[], None), Some(Role::Operator));
        assert_eq!(t.role_of(12, &[], Some(12)), Some(Role::Operator));
    }

    #[test]
    fn subjects_parse() {
        assert_eq!("@wheel".parse(), Ok(Subject::Group("wheel".into())));
        assert_eq!("uid:7".parse(), Ok(Subject::Uid(7)));
        assert!("uid:x".parse::<Subject>().is_err());
        assert!("a b".parse::<Subject>().is_err());
        assert!("".parse::<Subject>().is_err());
    }
}
