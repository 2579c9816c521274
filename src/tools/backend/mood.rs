//! How the backend behaves: what was asked for, drawn anew for each request.
//!
//! Enter: a [`Misbehaviour`] from the command line, the library or the body of a POST to `/mood`. Leaves: the [`Plan`]
//! of one request. Promised: a body that is wrong in any part changes nothing and says why.

use std::time::Duration;

use serde::Deserialize;

use super::Misbehaviour;
use crate::sink::retry::Random;

/// Longest pause before an answer, milliseconds: an hour, as on the command line.
const DELAY_MS_MAX: u64 = 3_600_000;

/// How the backend behaves now.
#[derive(Debug)]
pub(super) struct Mood {
    pub(super) misbehaviour: Misbehaviour,
    pub(super) retry_after: Option<Duration>,
    random: Random,
    resets: u64,
}

/// What was decided about a request before it was read.
pub(super) struct Plan {
    pub(super) reset: Option<Reset>,
    pub(super) status: Option<u16>,
    pub(super) fail_above: Option<usize>,
    pub(super) poison: Option<u64>,
    pub(super) poison_status: u16,
    pub(super) delay: Duration,
    pub(super) retry_after: Option<Duration>,
}

/// When a connection is reset.
#[derive(PartialEq, Eq, Clone, Copy)]
pub(super) enum Reset {
    BeforeReading,
    AfterAccepting,
}

/// The body of a POST to `/mood`: the flags of the same names.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
struct Asked {
    fail_rate: Option<f64>,
    delay_ms: u64,
    status: Option<u16>,
    fail_above: Option<usize>,
    reset_rate: f64,
    poison_serial: Option<u64>,
    retry_after_seconds: Option<u64>,
}

impl Mood {
    pub(super) fn new(misbehaviour: Misbehaviour) -> Self {
        Self { misbehaviour, retry_after: None, random: Random::from_system(), resets: 0 }
    }

    /// Takes over what `body` asks for.
    pub(super) fn change(&mut self, body: &[u8]) -> Result<(), String> {
        let asked: Asked = serde_json::from_slice(body).map_err(|e| e.to_string())?;
        let share = 0.0..=1.0;
        if !share.contains(&asked.fail_rate.unwrap_or_default()) || !share.contains(&asked.reset_rate) {
            return Err("fail_rate and reset_rate are shares: give 0 to 1".to_owned());
        }
        if !(200..=599).contains(&asked.status.unwrap_or(200)) {
            return Err("status is an answer: give 200 to 599".to_owned());
        }
        if asked.delay_ms > DELAY_MS_MAX {
            return Err(format!("delay_ms is a pause: give 0 to {DELAY_MS_MAX}"));
        }
        self.misbehaviour = Misbehaviour {
            fail_rate: asked.fail_rate,
            delay: Duration::from_millis(asked.delay_ms),
            status: asked.status,
            fail_above: asked.fail_above,
            reset_rate: asked.reset_rate,
            poison_serial: asked.poison_serial,
        };
        self.retry_after = asked.retry_after_seconds.map(Duration::from_secs);
        Ok(())
    }

    /// What becomes of the next request.
    pub(super) fn plan(&mut self) -> Plan {
        let Misbehaviour { fail_rate, delay, status, fail_above, reset_rate, poison_serial } = self.misbehaviour;
        let reset = (reset_rate > 0.0 && self.chance(reset_rate)).then(|| {
            self.resets += 1;
            if self.resets % 2 == 1 { Reset::BeforeReading } else { Reset::AfterAccepting }
        });
        let fails = match fail_rate {
            Some(rate) => self.chance(rate).then(|| status.unwrap_or(503)),
            // A status alone is for every request, unless it is the answer to a poisoned one.
            None => status.filter(|_| poison_serial.is_none()),
        };
        Plan {
            reset,
            status: fails,
            fail_above,
            poison: poison_serial,
            poison_status: status.unwrap_or(500),
            delay,
            retry_after: self.retry_after,
        }
    }

    fn chance(&mut self, share: f64) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "a share of requests")]
        let drawn = self.random.up_to(u64::MAX - 1) as f64 / u64::MAX as f64;
        drawn < share
    }
}
