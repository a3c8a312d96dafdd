//! What a task may cost: a ceiling in dollars, in tokens, or in both.

use serde::{Deserialize, Serialize};

use crate::state::Usage;

/// Most dollars and most tokens of a budget: beyond them it would be none.
const USD_MAX: f64 = 1e6;
const TOKENS_MAX: u64 = 1_000_000_000_000;
/// Sums end here, whatever a stream says: a database takes no larger number.
pub const SPENT_MAX: u64 = i64::MAX as u64;

/// A ceiling. What it does not name has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Billionths of a US dollar; written in dollars.
    #[serde(
        default,
        with = "dollars",
        rename = "usd",
        skip_serializing_if = "Option::is_none"
    )]
    pub nano_usd: Option<u64>,
    /// Tokens of every kind, read and written, cached or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
}

/// What has been spent of a budget, over all attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// Billionths of a US dollar.
    pub nano_usd: u64,
    /// Tokens of every kind.
    pub tokens: u64,
}

impl Spent {
    /// Both sums with an attempt's added.
    #[must_use]
    pub fn and(self, usage: &Usage) -> Spent {
        let sum = |a: u64, b| a.saturating_add(b).min(SPENT_MAX);
        Spent {
            nano_usd: sum(self.nano_usd, usage.cost_nano_usd),
            tokens: sum(self.tokens, usage.tokens()),
        }
    }
}

impl Budget {
    /// A ceiling in dollars, in tokens, or in both; [`Budget::check`] says whether it is one.
    #[must_use]
    pub fn new(usd: Option<f64>, tokens: Option<u64>) -> Budget {
        Budget {
            nano_usd: usd.map(nano),
            tokens,
        }
    }

    /// Checks the limits.
    ///
    /// # Errors
    /// What it must be.
    pub fn check(&self) -> Result<(), String> {
        let fits = |n: Option<u64>, most| n.is_none_or(|n| n > 0 && n <= most);
        if !fits(self.nano_usd, (USD_MAX * 1e9) as u64) {
            return Err(format!("usd must be above 0 and at most {USD_MAX}"));
        }
        if !fits(self.tokens, TOKENS_MAX) {
            return Err(format!("tokens must be from 1 to {TOKENS_MAX}"));
        }
        if self.nano_usd.is_none() && self.tokens.is_none() {
            return Err("must have usd, tokens or both".into());
        }
        Ok(())
    }

    /// Whether nothing of it is left.
    #[must_use]
    pub fn is_spent(&self, spent: Spent) -> bool {
        let reached = |most: Option<u64>, n| most.is_some_and(|most| n >= most);
        reached(self.nano_usd, spent.nano_usd) || reached(self.tokens, spent.tokens)
    }
}

/// Rounded to a billionth. What is too large becomes the largest number and what is no amount 0,
/// neither of which a budget may be.
fn nano(usd: f64) -> u64 {
    (usd * 1e9).round() as u64
}

/// Dollars as people write them.
mod dollars {
    use serde::{Deserialize, Deserializer, Serializer};

    #[allow(clippy::ref_option)] // serde's signature
    pub fn serialize<S: Serializer>(nano: &Option<u64>, s: S) -> Result<S::Ok, S::Error> {
        match nano {
            Some(n) => s.serialize_f64(*n as f64 / 1e9),
            None => s.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
        Ok(Option::<f64>::deserialize(d)?.map(super::nano))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Result<Budget, String> {
        let b: Budget = serde_json::from_str(json).map_err(|e| e.to_string())?;
        b.check().map(|()| b)
    }

    #[test]
    fn an_amount_comes_back_as_it_was_written() {
        for json in [
            r#"{"usd":0.25}"#,
            r#"{"tokens":4000}"#,
            r#"{"usd":1000000.0,"tokens":1}"#,
        ] {
            assert_eq!(serde_json::to_string(&of(json).unwrap()).unwrap(), json);
        }
        assert_eq!(of(r#"{"usd":3}"#).unwrap().nano_usd, Some(3_000_000_000));
    }

    #[test]
    fn what_is_no_ceiling_is_refused() {
        for json in [
            "{}",
            "7",
            r#"{"usd":0}"#,
            r#"{"usd":-1}"#,
            r#"{"usd":1e9}"#,
            r#"{"usd":1e-12}"#,
            r#"{"usd":"1"}"#,
            r#"{"tokens":0}"#,
            r#"{"tokens":1.5}"#,
            r#"{"tokens":1000000000001}"#,
            r#"{"eur":1}"#,
        ] {
            assert!(of(json).is_err(), "{json}");
        }
    }

    #[test]
    fn it_is_spent_when_either_ceiling_is_reached() {
        let b = of(r#"{"usd":0.5,"tokens":100}"#).unwrap();
        let usage = Usage {
            input: 40,
            cache_read: 50,
            output: 9,
            cost_nano_usd: 499_999_999,
            ..Usage::default()
        };
        let spent = Spent::default().and(&usage);
        assert_eq!(spent.tokens, 99);
        assert!(!b.is_spent(spent));
        for more in [(1, 0), (0, 1)] {
            let one = Usage {
                output: more.0,
                cost_nano_usd: more.1,
                ..Usage::default()
            };
            assert!(b.is_spent(spent.and(&one)));
        }
        assert!(!Budget::default().is_spent(spent));
    }
}
