//! What is refused, and in which words: the log of the real program.

use clarion_collector::tls::MinVersion;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::child::{COLLECTOR, Collector, Load, binary, get};
use crate::pki::{Authority, write};
use crate::server::Behaviour;
use crate::sink::Secure;

/// The reason and the metric that a collector with these arguments gives for delivering nothing.
fn reason(secure: &Secure, host: &str, more: &[String]) -> (String, String) {
    let url = format!("--backend-url=https://{host}:{}", secure.server.address.port());
    let mut args: Vec<&str> = COLLECTOR.to_vec();
    args.push(&url);
    args.extend(more.iter().map(String::as_str));
    let mut collector = Collector::from_command(binary(&args), false);
    let load = Load::start(collector.port, 200, 1);
    let line = collector.process.line("the backend takes no flows");
    let text =
        serde_json::from_str::<serde_json::Value>(&line).unwrap()["fields"]["reason"].as_str().unwrap().to_owned();
    drop(load.stop());
    let metrics = get(collector.http, "/metrics/prometheus", "").1;
    let counted = metrics.lines().find(|line| line.contains("code=\"tls\"")).unwrap_or_default().to_owned();
    let doubled = metrics.lines().find(|line| line.starts_with("clarion_collector_records_possibly_dup")).unwrap();
    assert!(doubled.ends_with(" 0"), "nothing can have been processed: {doubled}");
    assert_eq!(secure.server.records(), (0, 0));
    (text, counted)
}

#[track_caller]
fn assert_refused(secure: &Secure, host: &str, more: &[String], parts: &[&str]) {
    let (text, counted) = reason(secure, host, more);
    for part in ["tls: "].iter().chain(parts) {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    assert!(!counted.is_empty() && !counted.ends_with(" 0"), "{counted}");
}

fn trusting(secure: &Secure) -> String {
    format!("--backend-tls-ca-file={}", secure.folder.path().join("ca.pem").display())
}

fn with_identity(secure: &Secure, name: &str) -> Vec<String> {
    let file = |ending: &str| secure.folder.path().join(format!("{name}.{ending}")).display().to_string();
    vec![
        trusting(secure),
        format!("--backend-tls-cert-file={}", file("pem")),
        format!("--backend-tls-key-file={}", file("key")),
    ]
}

fn secure(clients: bool, oldest: MinVersion) -> Secure {
    Secure::new(&[], clients, oldest, Behaviour::default())
}

#[test]
fn an_unknown_authority_is_named_with_its_cure() {
    let secure = secure(false, MinVersion::Tls12);
    assert_refused(&secure, "localhost", &[], &["not trusted", "tls_ca_file"]);
    let other = write(secure.folder.path(), "other.pem", &Authority::new("other").pem);
    let args = [format!("--backend-tls-ca-file={}", other.display())];
    assert_refused(&secure, "localhost", &args, &["not trusted"]);
}

#[test]
fn a_certificate_for_another_name_is_named_with_both() {
    let secure = secure(false, MinVersion::Tls12);
    assert_refused(&secure, "127.0.0.1", &[trusting(&secure)], &["not for 127.0.0.1", "localhost"]);
}

#[test]
fn an_expired_certificate_is_named_with_its_age() {
    let secure = secure(false, MinVersion::Tls12);
    let (certificate, key) = secure.authority.issue("localhost", 2020).write(secure.folder.path(), "old");
    let tls = clarion_collector::tls::ServerTls {
        identity: clarion_collector::tls::KeyPairFiles { certificate, key },
        client_authorities: None,
        min_version: MinVersion::Tls12,
    };
    let config = clarion_collector::tls::server(&tls, "[test]", &[]).unwrap();
    secure.server.use_tls(std::sync::Arc::clone(&config.current().config));
    assert_refused(&secure, "localhost", &[trusting(&secure)], &["has expired", "days ago"]);
}

#[test]
fn a_missing_client_certificate_is_named_although_tls13_says_so_late() {
    let both = secure(true, MinVersion::Tls12);
    assert_refused(&both, "localhost", &[trusting(&both)], &["client certificate", "tls_cert_file"]);
}

#[test]
fn a_client_certificate_that_the_backend_does_not_take_is_named() {
    let secure = secure(true, MinVersion::Tls13);
    Authority::new("stranger").issue("collector", 2034).write(secure.folder.path(), "strange");
    assert_refused(&secure, "localhost", &with_identity(&secure, "strange"), &["refused the client certificate"]);
    secure.authority.issue("collector", 2020).write(secure.folder.path(), "old");
    assert_refused(&secure, "localhost", &with_identity(&secure, "old"), &["refused the client certificate"]);
}

#[test]
fn a_backend_with_older_versions_alone_is_named() {
    let secure = secure(false, MinVersion::Tls12);
    let read = |name: &str| std::fs::read(secure.folder.path().join(name)).unwrap();
    let chain = CertificateDer::pem_slice_iter(&read("server.pem")).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(&read("server.key")).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS12]).unwrap();
    let config = builder.with_no_client_auth().with_single_cert(chain, key).unwrap();
    secure.server.use_tls(std::sync::Arc::new(config));
    let newest = [trusting(&secure), "--backend-tls-min-version=1.3".to_owned()];
    assert_refused(&secure, "localhost", &newest, &["tls_min_version"]);
}

#[test]
fn a_port_without_tls_is_named() {
    let plain = Secure::new(&[], false, MinVersion::Tls12, Behaviour::default());
    let server = crate::server::Server::start(None, Behaviour::default());
    let args = [trusting(&plain)];
    let elsewhere = Secure { server, ..plain };
    assert_refused(&elsewhere, "localhost", &args, &["does not speak TLS"]);
}

#[test]
fn files_that_cannot_be_used_are_errors_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let (good, empty) =
        (Authority::new("a").issue("c", 2034).write(folder.path(), "c"), write(folder.path(), "empty", ""));
    let refused = |args: &[String], part: &str| {
        let all: Vec<&str> = COLLECTOR
            .iter()
            .copied()
            .chain(["--backend-url=https://localhost:1"])
            .chain(args.iter().map(String::as_str))
            .collect();
        let output = binary(&all).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains(part), "{part:?} is not in {text}");
    };
    refused(&["--backend-tls-ca-file=/nowhere/ca".to_owned()], "[backend] tls_ca_file = /nowhere/ca");
    refused(&[format!("--backend-tls-ca-file={}", empty.display())], "holds no certificate");
    let pair = |certificate: &std::path::Path, key: &std::path::Path| {
        [
            format!("--backend-tls-cert-file={}", certificate.display()),
            format!("--backend-tls-key-file={}", key.display()),
        ]
    };
    refused(&pair(&good.1, &good.0), "exchanged");
    refused(&pair(&good.0, &empty), "holds no private key");
    refused(&[format!("--backend-token-file={}", empty.display())], "[backend] token_file");
    refused(&["--backend-token-file=/nowhere/token".to_owned()], "cannot be read");
}
