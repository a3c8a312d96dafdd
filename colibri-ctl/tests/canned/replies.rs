//! Replies that several tests need.

use super::ago;

/// A request.
pub const STATUS: &str = r#"{"cmd":"status"}"#;

/// 3 h 12 min ago and a bit, so that a slow test shows the same age.
pub fn while_ago() -> String {
    ago(3 * 3600 + 12 * 60 + 5)
}

/// A pane.
pub fn pane(run: u64, agent: &str, state: &str, more: &str) -> String {
    let since = while_ago();
    format!(
        r#"{{"id":"{run}","run":{run},"agent":"{agent}","state":"{state}","since":"{since}","usage":{{"cost_usd":0.125}}{more}}}"#
    )
}

/// A reply to `status`.
pub fn status(attention: u64, panes: &[String]) -> String {
    let (started, alive) = (while_ago(), panes.len());
    let panes = panes.join(",");
    format!(
        r#"{{"version":"0.1.0","protocol":1,"host":"build1","pid":42,"started_at":"{started}","kept":true,"separate":false,"container":"pid-namespace","run_limits":"off","warnings":["users are not separated"],"seq":17,"runs":{{"alive":{alive},"limit":16,"total":40}},"attention":{attention},"panes":[{panes}],"new_field":{{"x":1}}}}"#
    )
}
