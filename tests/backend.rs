//! The embedded backend by what a client can speak: HTTP/1.1 and HTTP/2, TLS with certificates, tokens, encodings.

#[path = "web/certificates.rs"]
mod certificates;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use certificates::{Authority, Files, client};
use clarion_collector::limits::BACKEND_BODY_OCTETS_MAX;
use clarion_collector::secret::{Secret, SecretSource};
use clarion_collector::tls::KeyPairFiles;
use clarion_collector::tools::backend::{Backend, BackendOptions, Misbehaviour};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const BODY: &str = r#"{"records":[{"src_ip":"192.0.2.1","dst_ip":"192.0.2.2","src_port":1,"dst_port":2,"protocol":6,"bytes":7,"packets":3,"flow_start":1,"flow_end":2,"switch_id":"a"}]}"#;

fn start(change: impl FnOnce(&mut BackendOptions)) -> Backend {
    let mut options =
        BackendOptions { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), ..BackendOptions::default() };
    change(&mut options);
    Backend::start(options).unwrap()
}

fn post(version: Version, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let uri = "http://backend/api/netflow/netflow";
    let mut request = Request::post(uri).version(version).header("content-type", "application/json");
    if version == Version::HTTP_11 {
        request = request.header("host", "backend");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(body.into())).unwrap()
}

/// Sends all of `requests` on one connection and gives what each came to: a status, or None.
async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    requests: Vec<Request<Full<Bytes>>>,
) -> Vec<Option<u16>> {
    let mut statuses = Vec::new();
    if requests.first().is_some_and(|r| r.version() == Version::HTTP_2) {
        let Ok((mut sender, connection)) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await else {
            return vec![None; requests.len()];
        };
        tokio::spawn(connection);
        for request in requests {
            let response = sender.send_request(request).await.ok();
            statuses.push(response.map(|r| r.status().as_u16()));
        }
    } else {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        for request in requests {
            let status = match sender.send_request(request).await {
                Ok(response) => {
                    let status = response.status().as_u16();
                    response.into_body().collect().await.ok().map(|_| status)
                }
                Err(_) => None,
            };
            statuses.push(status);
        }
    }
    statuses
}

/// What `requests` came to on a new connection; a failed handshake fails them all.
fn ask(backend: &Backend, tls: Option<&Arc<ClientConfig>>, requests: Vec<Request<Full<Bytes>>>) -> Vec<Option<u16>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let expected = requests.len();
        let stream = TcpStream::connect(backend.address()).await.unwrap();
        let Some(tls) = tls else { return speak(stream, requests).await };
        let name = ServerName::try_from("localhost").unwrap();
        match TlsConnector::from(Arc::clone(tls)).connect(name, stream).await {
            Ok(stream) => speak(stream, requests).await,
            Err(_) => vec![None; expected],
        }
    })
}

fn one(backend: &Backend, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Option<u16> {
    ask(backend, None, vec![post(Version::HTTP_11, headers, body)])[0]
}

#[test]
fn both_versions_are_spoken_with_and_without_tls() {
    let files = Files::new();
    let plain = start(|_| ());
    let tls = start(|options| options.tls = Some(files.server()));
    assert!(tls.is_tls() && !plain.is_tls());
    let (h1, h2) = (|| post(Version::HTTP_11, &[], BODY), || post(Version::HTTP_2, &[], BODY));
    assert_eq!(ask(&plain, None, vec![h1(), h1()]), [Some(201); 2]);
    assert_eq!(ask(&plain, None, vec![h2(), h2(), h2()]), [Some(201); 3]);
    for (alpn, requests) in [(&b"http/1.1"[..], vec![h1(), h1()]), (b"h2", vec![h2(), h2(), h2()])] {
        let config = client(&files.path("ca.pem"), None, &[alpn]);
        let wanted = requests.len();
        assert_eq!(ask(&tls, Some(&config), requests), vec![Some(201); wanted], "{alpn:?}");
    }
    for backend in [plain, tls] {
        let stats = backend.stop();
        assert_eq!((stats.http_versions["1.1"], stats.http_versions["2"], stats.http_versions.len()), (2, 3, 2));
        assert_eq!((stats.requests, stats.records, stats.encodings["identity"]), (5, 5, 5));
    }
}

#[test]
fn alpn_chooses_http_2_where_the_client_offers_both() {
    let files = Files::new();
    let backend = start(|options| options.tls = Some(files.server()));
    let config = client(&files.path("ca.pem"), None, &[b"http/1.1", b"h2"]);
    let stream = certificates::dial(backend.address(), &config).unwrap();
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"h2"[..]));
}

#[test]
fn client_certificates_are_asked_for_and_the_servers_own_follows_its_file() {
    let files = Files::new();
    let clients = Authority::new("clients");
    let authorities = files.write("clients.pem", &clients.pem());
    let backend = start(|options| {
        options.tls =
            Some(clarion_collector::tls::ServerTls { client_authorities: Some(authorities), ..files.server() });
    });
    let identity = |(certificate, key): (String, String), name: &str| KeyPairFiles {
        certificate: files.write(&format!("{name}.pem"), &certificate),
        key: files.write(&format!("{name}.key"), &key),
    };
    let with = |identity, trust: &Path| {
        let config = client(trust, identity, &[b"h2"]);
        ask(&backend, Some(&config), vec![post(Version::HTTP_2, &[], BODY)])[0]
    };
    let ca = files.path("ca.pem");
    assert_eq!(with(Some(identity(clients.issue(2090), "good")), &ca), Some(201));
    assert_eq!(with(None, &ca), None);
    assert_eq!(with(Some(identity(files.authority.issue(2090), "stranger")), &ca), None);
    assert_eq!(with(Some(identity(clients.issue(2000), "expired")), &ca), None);
    assert_eq!(backend.stats().failed_handshakes, 3);

    let next = Authority::new("second");
    files.put(&next.issue(2090));
    let next_ca = files.write("next.pem", &next.pem());
    assert_eq!(with(Some(identity(clients.issue(2090), "good")), &next_ca), Some(201));
}

#[test]
fn a_post_without_the_token_is_answered_with_401() {
    let files = Files::new();
    let path = files.write("token", "first-token\n");
    let backend = start(|options| options.token = SecretSource::File(path));
    let with = |token: &str| one(&backend, &[("authorization", &format!("Bearer {token}"))], BODY);
    assert_eq!((one(&backend, &[], BODY), with("wrong"), with("first-token")), (Some(401), Some(401), Some(201)));
    files.write("token", "second-token\n");
    assert_eq!((with("second-token"), with("first-token")), (Some(201), Some(401)));
    backend.require_token(&SecretSource::Given(Secret::new("third-token"))).unwrap();
    assert_eq!((with("second-token"), with("third-token")), (Some(401), Some(201)));
    backend.require_token(&SecretSource::None).unwrap();
    assert_eq!(one(&backend, &[], BODY), Some(201));
    let stats = backend.stop();
    assert_eq!((stats.requests, stats.unauthorized_requests, stats.accepted_requests), (8, 4, 4));
}

fn gzip(octets: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(octets).unwrap();
    encoder.finish().unwrap()
}

fn zstd(octets: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(octets, 1).unwrap()
}

#[test]
fn encodings_are_read_where_they_shall_be_and_refused_as_by_the_real_backend_elsewhere() {
    let strict = start(|_| ());
    let open = start(|options| options.accept_encodings = true);
    let body = BODY.as_bytes();
    for (name, encoded) in [("gzip", gzip(body)), ("zstd", zstd(body))] {
        let headers = [("content-encoding", name)];
        assert_eq!(one(&strict, &headers, encoded.clone()), Some(400), "{name}");
        assert_eq!(one(&open, &headers, encoded.clone()), Some(201), "{name}");
        assert_eq!(one(&open, &headers, encoded[..encoded.len() - 1].to_vec()), Some(400), "{name} cut");
        assert_eq!(one(&open, &headers, BODY), Some(400), "{name} in name only");
    }
    for backend in [&strict, &open] {
        assert_eq!(one(backend, &[("content-encoding", "identity")], BODY), Some(201));
    }
    assert_eq!(one(&open, &[("content-encoding", "br")], BODY), Some(415));
    assert_eq!(one(&strict, &[("content-encoding", "br")], BODY), Some(400));
    let bomb = zstd(&vec![b' '; BACKEND_BODY_OCTETS_MAX + 1]);
    assert_eq!(one(&open, &[("content-encoding", "zstd")], bomb), Some(413));
    let stats = open.stop();
    assert_eq!((stats.encodings["gzip"], stats.encodings["zstd"], stats.encodings["identity"]), (1, 1, 1));
    assert_eq!((stats.accepted_requests, stats.refused_requests), (3, 6));
}

#[test]
fn misbehaviour_works_under_tls_and_http_2() {
    let files = Files::new();
    let backend = start(|options| options.tls = Some(files.server()));
    let config = client(&files.path("ca.pem"), None, &[b"h2"]);
    let h2 = || post(Version::HTTP_2, &[], BODY);
    let posts = |n: usize| ask(&backend, Some(&config), (0..n).map(|_| h2()).collect());
    backend.misbehave(Misbehaviour { reset_rate: 1.0, ..Misbehaviour::default() });
    // The reset takes the connection with it: what is sent on it later goes nowhere.
    assert_eq!(posts(2), [None, None]);
    assert_eq!(posts(1), [None]);
    let stats = backend.stats();
    assert_eq!((stats.requests, stats.failed_on_purpose, stats.records), (2, 2, 1), "before reading, then after");
    let mut stream = certificates::dial(backend.address(), &client(&files.path("ca.pem"), None, &[])).unwrap();
    let head = "POST /api/netflow/netflow HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    write!(stream, "{head}Content-Length: {}\r\n\r\n{BODY}", BODY.len()).unwrap();
    let end = stream.read(&mut [0; 1]).unwrap_err();
    assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset, "a crash, not an orderly end: {end}");
    backend.misbehave(Misbehaviour { status: Some(503), ..Misbehaviour::default() });
    assert_eq!(posts(2), [Some(503); 2]);
    backend.misbehave(Misbehaviour::default());
    assert_eq!(posts(2), [Some(201); 2]);
}

#[test]
fn files_that_cannot_be_used_are_named_at_start() {
    let files = Files::new();
    files.write("key.pem", "no key");
    let options = BackendOptions {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        tls: Some(files.server()),
        ..BackendOptions::default()
    };
    let error = Backend::start(options).unwrap_err().to_string();
    assert!(error.contains("key.pem") && !error.contains("no key"), "{error}");
}
