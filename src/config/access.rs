//! Who may reach whom: credentials and TLS of both sides, held against each other.
//!
//! Values enter, the access settings of `sink` and `web` leave. What contradicts itself is a fault with both places.
//! Files are not read here: that is done where they are used, and again when they change.

use std::path::PathBuf;

use super::Note;
use super::error::Faults;
use super::proxy::{self, Variables};
use super::values::Values;
use crate::secret::{Secret, SecretSource};
use crate::sink::{Access, BackendUrl, Compression, Credentials, HttpVersion, Routing};
use crate::tls::{ClientTls, KeyPairFiles, MinVersion, ServerTls};
use crate::web::WebAccess;

/// How the backend is reached.
pub(super) fn egress(
    values: &Values,
    backend: &BackendUrl,
    url_credentials: Option<&Secret>,
    proxies: &Variables,
    faults: &mut Faults,
    notes: &mut Vec<Note>,
) -> Access {
    let tls = ClientTls {
        authorities: file(values, "backend.tls_ca_file"),
        identity: key_pair(values, "backend", faults),
        min_version: match values.text("backend.tls_min_version") {
            "1.3" => MinVersion::Tls13,
            _ => MinVersion::Tls12,
        },
    };
    if !backend.tls && tls != ClientTls::default() {
        notes.push(Note::warning(
            "[backend] url is http://, so the [backend] tls_ keys have no effect: write https:// to use TLS",
        ));
    }
    let credentials = credentials(values, url_credentials, faults);
    if !backend.tls && credentials != Credentials::default() {
        notes.push(Note::warning(
            "[backend] url is http://, so credentials cross the network in clear text: use https://, or a proxy beside \
             the collector that adds them",
        ));
    }
    Access {
        http_version: match values.text("backend.http_version") {
            "1.1" => HttpVersion::One,
            "2" => HttpVersion::Two,
            _ => HttpVersion::Auto,
        },
        compression: match values.text("backend.compression") {
            "gzip" => Compression::Gzip,
            "zstd" => Compression::Zstd,
            _ => Compression::None,
        },
        proxy: proxy::choose(values, backend, proxies, faults, notes),
        tls,
        credentials,
        routing: Routing::default(),
    }
}

/// Who may ask the HTTP side.
pub(super) fn ingress(values: &Values, faults: &mut Faults) -> WebAccess {
    let tls = key_pair(values, "http", faults).map(|identity| ServerTls {
        identity,
        client_authorities: None,
        min_version: MinVersion::Tls12,
    });
    let token = secret(values, "http.token", faults);
    let metrics_open = values.flag("http.metrics_open");
    if !metrics_open && !token.is_some() {
        faults.add(format!(
            "{}: [http] metrics_open = false makes metrics ask for a token, and none is set: set [http] token_file, or \
             metrics_open = true",
            values.origin("http.metrics_open").place()
        ));
    }
    WebAccess {
        tls,
        token,
        metrics_open,
        request_rate: u32::try_from(values.number("http.request_rate")).unwrap_or(u32::MAX),
    }
}

fn credentials(values: &Values, url_credentials: Option<&Secret>, faults: &mut Faults) -> Credentials {
    let mut credentials = Credentials {
        token: secret(values, "backend.token", faults),
        username: values.text("backend.username").to_owned(),
        password: secret(values, "backend.password", faults),
        headers: secret(values, "backend.headers", faults),
    };
    if credentials.password.is_some() && credentials.username.is_empty() {
        faults.add("[backend] password is set without [backend] username: set both, or neither".to_owned());
    }
    let of_url = url_credentials.and_then(|raw| {
        proxy::decoded(raw.expose())
            .map_err(|what| faults.add(format!("{}: [backend] url {what}", values.origin("backend.url").place())))
            .ok()
    });
    if let Some((user, password)) = of_url.as_ref().and_then(|decoded| decoded.split_once(':')) {
        if credentials.username.is_empty() {
            credentials.username = user.to_owned();
            credentials.password = SecretSource::Given(Secret::new(password));
        } else {
            faults.add(format!(
                "{}: [backend] url holds credentials while [backend] username is set: keep one of them",
                values.origin("backend.url").place()
            ));
        }
    }
    if credentials.token.is_some() && !credentials.username.is_empty() {
        faults.add(
            "[backend] token and a user name are both set, and a request carries one Authorization: keep one of them"
                .to_owned(),
        );
    }
    credentials
}

/// The secret of `id`, or the file of `id` with `_file` behind it.
fn secret(values: &Values, id: &str, faults: &mut Faults) -> SecretSource {
    let given = values.secret(id);
    let file_id = format!("{id}_file");
    match (given.is_empty(), file(values, &file_id)) {
        (true, None) => SecretSource::None,
        (true, Some(path)) => SecretSource::File(path),
        (false, None) => SecretSource::Given(given.clone()),
        (false, Some(path)) => {
            faults.add(format!(
                "{} is set by {} and {file_id} by {}: keep one of them",
                id,
                values.origin(id),
                values.origin(&file_id)
            ));
            SecretSource::File(path)
        }
    }
}

fn key_pair(values: &Values, section: &str, faults: &mut Faults) -> Option<KeyPairFiles> {
    let (certificate_id, key_id) = (format!("{section}.tls_cert_file"), format!("{section}.tls_key_file"));
    match (file(values, &certificate_id), file(values, &key_id)) {
        (Some(certificate), Some(key)) => Some(KeyPairFiles { certificate, key }),
        (None, None) => None,
        _ => {
            faults.add(format!(
                "[{section}] tls_cert_file and tls_key_file belong together and one of them is empty: set both, or neither"
            ));
            None
        }
    }
}

fn file(values: &Values, id: &str) -> Option<PathBuf> {
    Some(values.text(id)).filter(|path| !path.is_empty()).map(PathBuf::from)
}
