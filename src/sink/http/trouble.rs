//! What a TLS failure means, for people: the cause, and what to do about it.

use std::time::Duration;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

/// What went wrong between us and `host`; `shows_certificate` if we have a client certificate.
pub(super) fn explain(error: &Error, host: &str, shows_certificate: bool) -> String {
    match error {
        Error::InvalidCertificate(e) => certificate(e, host),
        Error::AlertReceived(alert) => refusal(*alert, shows_certificate),
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13 | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => "the backend speaks only versions of TLS that are older than [backend] tls_min_version: let it speak a \
             newer one"
            .to_owned(),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the backend's port does not speak TLS: check host and port, or write http://".to_owned()
        }
        Error::NoCertificatesPresented => "the backend showed no certificate: see its settings".to_owned(),
        other => format!("{other}"),
    }
}

fn certificate(error: &CertificateError, host: &str) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            "the backend's certificate comes from an authority that is not trusted here: put that authority's \
             certificate into [backend] tls_ca_file, or let the backend send its intermediate certificates"
                .to_owned()
        }
        CertificateError::Expired => "the backend's certificate has expired: it has to be replaced there".to_owned(),
        CertificateError::ExpiredContext { time, not_after } => format!(
            "the backend's certificate has expired {} ago: it has to be replaced there (or this machine's clock is \
             wrong)",
            span(time.as_secs().saturating_sub(not_after.as_secs()))
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the backend's certificate is not valid yet: compare the clocks of both machines".to_owned()
        }
        CertificateError::NotValidForName => format!("the backend's certificate is not for {host}"),
        CertificateError::NotValidForNameContext { presented, .. } => format!(
            "the backend's certificate is not for {host} but for {}: write a name of the certificate into [backend] \
             url, or let the certificate be issued for {host}",
            if presented.is_empty() { "no name at all".to_owned() } else { shown(presented) }
        ),
        CertificateError::Revoked => "the backend's certificate was revoked: it has to be replaced there".to_owned(),
        // webpki's own words, which rustls keeps as text.
        other if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "the backend shows an authority's certificate (CA:TRUE) as its own: let it have one that the authority \
             issued for it"
                .to_owned()
        }
        other => format!("the backend's certificate cannot be accepted: {other}"),
    }
}

/// What a peer presents is a stranger's text.
fn shown(names: &[String]) -> String {
    let names: Vec<String> = names.iter().take(5).map(|name| super::escape(name.as_bytes(), 100)).collect();
    names.join(", ")
}

fn refusal(alert: AlertDescription, shows_certificate: bool) -> String {
    use AlertDescription as A;
    let set_one = "the backend asks for a client certificate: set [backend] tls_cert_file and tls_key_file";
    match alert {
        A::CertificateRequired => set_one.to_owned(),
        A::HandshakeFailure if !shows_certificate => {
            format!("the backend ended the handshake (alert {alert:?}): no common cipher, or {set_one}")
        }
        A::BadCertificate
        | A::UnsupportedCertificate
        | A::CertificateRevoked
        | A::CertificateExpired
        | A::CertificateUnknown
        | A::UnknownCA
        | A::AccessDenied
        | A::DecryptError => {
            let whose = if shows_certificate { "the client certificate of [backend] tls_cert_file" } else { "us" };
            format!(
                "the backend refused {whose} (alert {alert:?}): check that it is still valid and comes from an \
                 authority that the backend trusts"
            )
        }
        A::ProtocolVersion => {
            "the backend refused all versions of TLS that are offered (alert ProtocolVersion): see [backend] \
             tls_min_version"
                .to_owned()
        }
        A::NoApplicationProtocol => {
            "the backend speaks none of the versions of HTTP that are offered (alert NoApplicationProtocol): see \
             [backend] http_version"
                .to_owned()
        }
        A::UnrecognisedName => "the backend has no certificate for the host of [backend] url".to_owned(),
        other => format!("the backend ended TLS with the alert {other:?}: see its own log"),
    }
}

fn span(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} minutes", seconds / 60),
        7_200..=172_799 => format!("{} hours", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A handshake that did not come to its end in time.
pub(super) fn too_slow(limit: Duration) -> String {
    format!("no end of the TLS handshake in {limit:?}: does the backend's port speak TLS?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_words_and_what_to_do() {
        let text = |error: Error| explain(&error, "b.example", false);
        let bad = |error| text(Error::InvalidCertificate(error));
        assert!(bad(CertificateError::UnknownIssuer).contains("tls_ca_file"));
        assert!(bad(CertificateError::NotValidForName).contains("b.example"));
        assert!(text(Error::AlertReceived(AlertDescription::CertificateRequired)).contains("tls_cert_file"));
        assert!(text(Error::AlertReceived(AlertDescription::HandshakeFailure)).contains("client certificate"));
        assert!(text(Error::AlertReceived(AlertDescription::ProtocolVersion)).contains("tls_min_version"));
        let refused = explain(&Error::AlertReceived(AlertDescription::UnknownCA), "b", true);
        assert!(refused.contains("tls_cert_file") && refused.contains("UnknownCA"), "{refused}");
        assert!(text(Error::InvalidMessage(InvalidMessage::InvalidContentType)).contains("does not speak TLS"));
        assert_eq!(
            [span(90), span(7_000), span(90_000), span(864_000)],
            ["90 s", "116 minutes", "25 hours", "10 days"]
        );
    }

    #[test]
    fn names_that_a_stranger_presents_are_escaped() {
        let error = CertificateError::NotValidForNameContext {
            expected: rustls::pki_types::ServerName::try_from("b.example").unwrap().to_owned(),
            presented: vec!["\u{1b}[2J".to_owned()],
        };
        assert!(!certificate(&error, "b.example").contains('\u{1b}'));
    }
}
