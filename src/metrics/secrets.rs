//! Handles of what comes from files and ends one day: secrets and certificates.

use super::{Registrar, Tally};

/// Handles of secrets and certificates; the times are Unix seconds, 0 where there is no certificate.
#[derive(Debug, Clone)]
pub struct SecretMetrics {
    /// Files whose newest content could not be used (a level).
    pub stale: Tally,
    /// New contents that were used.
    pub used: Tally,
    /// New contents that were refused.
    pub refused: Tally,
    /// End of the client certificate's validity.
    pub backend_client_expiry: Tally,
    /// End of the validity of the backend's certificate, as it was seen last.
    pub backend_server_expiry: Tally,
    /// End of the validity of the HTTP side's certificate.
    pub http_expiry: Tally,
}

impl SecretMetrics {
    pub(super) fn register(r: &mut Registrar<'_>) -> Self {
        let mut reloads = |state: &str| r.counter("secret_file_reloads_total", &[("state", state.to_owned())]);
        Self {
            used: reloads("used"),
            refused: reloads("refused"),
            stale: r.level_u64("secret_files_stale", &[]),
            backend_client_expiry: r.level_u64("backend_client_certificate_expiry_timestamp_seconds", &[]),
            backend_server_expiry: r.level_u64("backend_server_certificate_expiry_timestamp_seconds", &[]),
            http_expiry: r.level_u64("http_certificate_expiry_timestamp_seconds", &[]),
        }
    }
}
