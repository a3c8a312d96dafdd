//! `check`: healthy means a sensible answer, not an open socket.

use libcolibri::error::{Fatal, Result, EX_FAILURE};

use serde::Serialize;

use super::{explain, Session};
use crate::model::{Request, Status, PROTOCOL};
use crate::output::text::wrap;
use crate::output::{read, Output};
use crate::text::{clean, count};

/// The verdict in JSON.
#[derive(Serialize)]
struct Verdict<'a> {
    healthy: bool,
    version: Option<&'a str>,
    run_limits: Option<&'a str>,
    problems: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    agree: Option<Agree>,
}

/// What a deep check counted.
#[derive(Serialize)]
struct Agree {
    runs: u64,
    monitors: u64,
    processes: u64,
}

/// `check`: asks for the status and looks whether it makes sense; `deep` also compares the board
/// with the monitors and the kernel.
///
/// # Errors
/// Exit status 1 without a message (the verdict is on standard output) when it is not healthy.
pub fn check(s: &mut Session, deep: bool) -> Result<()> {
    let asked = s.client.request(&Request::Status);
    let status: Status = match asked.and_then(|data| read(&data)) {
        Ok(status) => status,
        Err(e) => return unreachable(&s.out, &e),
    };
    let mut problems = problems(&status);
    let agree = match deep {
        false => None,
        true => match explain::audit(s) {
            Ok(audit) => {
                problems.extend(audit.disagreements.iter().map(|d| d.line()));
                Some(Agree {
                    runs: audit.runs,
                    monitors: audit.monitors,
                    processes: audit.processes,
                })
            }
            Err(e) => {
                problems.push(e.message);
                None
            }
        },
    };
    verdict(&s.out, Some(&status), &problems, deep, agree)
}

/// The verdict on a colibrid that did not answer.
///
/// # Errors
/// Always: exit status 1.
pub fn unreachable(out: &Output, why: &Fatal) -> Result<()> {
    verdict(out, None, std::slice::from_ref(&why.message), false, None)
}

/// What in a status contradicts itself or the protocol.
fn problems(s: &Status) -> Vec<String> {
    let shown = s.panes.iter().filter(|p| !p.ended).count() as u64;
    let needy = s.panes.iter().filter(|p| p.attention).count() as u64;
    let checks = [
        (
            s.version.is_empty(),
            "it does not say its version".to_owned(),
        ),
        (
            s.protocol != PROTOCOL,
            format!("it speaks protocol {}, not {PROTOCOL}", s.protocol),
        ),
        (s.pid == 0, "it does not say its process id".to_owned()),
        (
            crate::time::parse(&s.started_at).is_none(),
            "it does not say when it was started".to_owned(),
        ),
        (
            s.runs.alive != shown,
            format!(
                "it counts {} alive but shows {shown}",
                count(s.runs.alive, "run", "runs")
            ),
        ),
        (
            s.runs.alive > s.runs.total,
            format!("{} runs alive of {} in all", s.runs.alive, s.runs.total),
        ),
        (
            s.attention < needy,
            format!("it counts {} agents in need but shows {needy}", s.attention),
        ),
        (
            s.panes.iter().any(|p| !p.known_state()),
            "it shows an unheard-of state".to_owned(),
        ),
    ];
    let found = checks.into_iter().filter(|(wrong, _)| *wrong);
    found.map(|(_, text)| text).collect()
}

fn verdict(
    out: &Output,
    status: Option<&Status>,
    problems: &[String],
    deep: bool,
    agree: Option<Agree>,
) -> Result<()> {
    let healthy = problems.is_empty();
    if out.is_json() {
        let version = status.map(|s| s.version.as_str());
        let verdict = Verdict {
            healthy,
            version,
            run_limits: status.and_then(|s| s.run_limits.as_deref()),
            problems,
            agree,
        };
        let text = serde_json::to_string(&verdict);
        let text = text.map_err(|e| Fatal::new(format!("cannot write the verdict: {e}")))?;
        out.raw(&text)?;
    } else if let (Some(s), true) = (status, healthy) {
        out.print(&format!(
            "healthy: colibrid {}, protocol {}, {} of at most {} alive, run limits {}, {}\n",
            clean(&s.version),
            s.protocol,
            count(s.runs.alive, "run", "runs"),
            s.runs.limit,
            clean(s.run_limits.as_deref().unwrap_or("unknown")),
            count(s.warnings.len() as u64, "warning", "warnings"),
        ))?;
        if let Some(a) = agree {
            out.print(&format!(
                "board, monitors and kernel agree: {}, {}, {}\n",
                count(a.runs, "run", "runs"),
                count(a.monitors, "monitor", "monitors"),
                count(a.processes, "process", "processes"),
            ))?;
        }
    } else if !deep {
        out.print(&format!("not healthy: {}\n", clean(&problems.join("; "))))?;
    } else {
        let mut text = format!(
            "not healthy: {}\n",
            count(problems.len() as u64, "problem", "problems")
        );
        for p in problems {
            text.push_str(&wrap("  - ", &clean(p)));
        }
        out.print(&text)?;
    }
    if healthy {
        return Ok(());
    }
    // The verdict has been printed; a second line on standard error would only repeat it.
    Err(Fatal {
        code: EX_FAILURE,
        message: String::new(),
    })
}
