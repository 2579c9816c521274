//! What the HTTP side counts of itself.

use super::handles::label;
use super::{Registrar, Tally};

/// The HTTP side's handles.
#[derive(Debug, Clone)]
pub struct WebMetrics {
    /// Connections turned away because HTTP_CONNECTIONS_MAX were open.
    pub refused_connections: Tally,
    /// Idle connections closed because a newcomer needed the place.
    pub refused_idle: Tally,
    /// Connections that spoke no TLS, or ended or stood still in the handshake.
    pub refused_tls: Tally,
    /// Requests past the rate.
    pub refused_rate: Tally,
    /// Requests without the token, or with a wrong one.
    pub refused_unauthorized: Tally,
    /// Requests of peers that have shown too many wrong tokens.
    pub refused_guessing: Tally,
    /// Requests turned away because too many large answers were on their way.
    pub refused_snapshots: Tally,
}

impl WebMetrics {
    pub(super) fn register(r: &mut Registrar<'_>) -> Self {
        let mut refused = |reason: &str| r.counter("http_refused_total", &[label("reason", reason)]);
        Self {
            refused_connections: refused("connections"),
            refused_idle: refused("idle"),
            refused_tls: refused("tls"),
            refused_rate: refused("rate"),
            refused_unauthorized: refused("unauthorized"),
            refused_guessing: refused("guessing"),
            refused_snapshots: refused("snapshots"),
        }
    }
}
