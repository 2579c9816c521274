//! A backend that speaks TLS and both versions of HTTP, and counts each record that it is given.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

/// How it behaves; each field may be changed while it runs.
#[derive(Default)]
pub struct Behaviour {
    /// `Authorization` that it wants, any of these.
    pub authorization: Vec<String>,
    /// Ends a connection in good order after this many requests.
    pub requests_per_connection: Option<usize>,
    /// Streams of a connection at once.
    pub streams: Option<u32>,
    /// Redirects to here.
    pub redirect: Option<String>,
    /// Time before each answer.
    pub delay: Duration,
}

/// What it saw.
#[derive(Default)]
pub struct Seen {
    /// How often each (switch_id, serial) was accepted.
    pub records: HashMap<(String, u64), u32>,
    /// Requests by version of HTTP and status.
    pub requests: HashMap<(String, u16), u32>,
    /// Heads of requests, as text.
    pub heads: Vec<String>,
    /// Content-Encodings.
    pub encodings: HashMap<String, u32>,
}

pub struct Server {
    pub address: SocketAddr,
    pub behaviour: Arc<Mutex<Behaviour>>,
    pub seen: Arc<Mutex<Seen>>,
    pub connections: Arc<AtomicUsize>,
    tls: Arc<Mutex<Option<Arc<ServerConfig>>>>,
    _runtime: Runtime,
}

impl Server {
    pub fn start(tls: Option<Arc<ServerConfig>>, behaviour: Behaviour) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            behaviour: Arc::new(Mutex::new(behaviour)),
            seen: Arc::default(),
            connections: Arc::default(),
            tls: Arc::new(Mutex::new(tls)),
            _runtime: runtime,
        };
        let (tls, behaviour) = (Arc::clone(&server.tls), Arc::clone(&server.behaviour));
        let (seen, connections) = (Arc::clone(&server.seen), Arc::clone(&server.connections));
        server._runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Ordering::AcqRel);
                let config = tls.lock().unwrap().clone();
                let (behaviour, seen) = (Arc::clone(&behaviour), Arc::clone(&seen));
                tokio::spawn(async move {
                    match config {
                        None => serve(stream, behaviour, seen).await,
                        Some(config) => {
                            if let Ok(stream) = TlsAcceptor::from(config).accept(stream).await {
                                serve(stream, behaviour, seen).await;
                            }
                        }
                    }
                });
            }
        });
        server
    }

    /// From the next connection on.
    pub fn use_tls(&self, config: Arc<ServerConfig>) {
        *self.tls.lock().unwrap() = Some(config);
    }

    /// Records accepted: distinct ones, and repetitions.
    pub fn records(&self) -> (u64, u64) {
        let seen = self.seen.lock().unwrap();
        let all: u64 = seen.records.values().map(|n| u64::from(*n)).sum();
        (seen.records.len() as u64, all - seen.records.len() as u64)
    }

    /// Requests with this version (`HTTP/2.0`) and status.
    pub fn requests(&self, version: &str, status: u16) -> u32 {
        self.seen.lock().unwrap().requests.get(&(version.to_owned(), status)).copied().unwrap_or(0)
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    behaviour: Arc<Mutex<Behaviour>>,
    seen: Arc<Mutex<Seen>>,
) {
    let served = Arc::new(AtomicU64::new(0));
    let enough = Arc::new(Notify::new());
    let mut builder = auto::Builder::new(TokioExecutor::new());
    if let Some(streams) = behaviour.lock().unwrap().streams {
        builder.http2().max_concurrent_streams(streams);
    }
    let service = {
        let enough = Arc::clone(&enough);
        service_fn(move |request| {
            let (behaviour, seen) = (Arc::clone(&behaviour), Arc::clone(&seen));
            let number = served.fetch_add(1, Ordering::AcqRel) + 1;
            if behaviour.lock().unwrap().requests_per_connection.is_some_and(|most| number == most as u64) {
                enough.notify_one();
            }
            answer(request, behaviour, seen)
        })
    };
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let mut asked = false;
    loop {
        tokio::select! {
            _ = connection.as_mut() => return,
            () = enough.notified(), if !asked => {
                asked = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    behaviour: Arc<Mutex<Behaviour>>,
    seen: Arc<Mutex<Seen>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let version = head.version;
    let encoding = head.headers.get("content-encoding").map(|v| v.to_str().unwrap().to_owned());
    let authorization = head.headers.get("authorization").map(|v| v.to_str().unwrap().to_owned());
    let headers: Vec<String> =
        head.headers.iter().map(|(k, v)| format!("{k}: {}", String::from_utf8_lossy(v.as_bytes()))).collect();
    let text = format!("{} {}\n{}", head.method, head.uri, headers.join("\n"));
    let Ok(body) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
        return Ok(Response::new(Full::default()));
    };
    let (wanted, redirect, delay) = {
        let behaviour = behaviour.lock().unwrap();
        (behaviour.authorization.clone(), behaviour.redirect.clone(), behaviour.delay)
    };
    let status = if redirect.is_some() {
        StatusCode::TEMPORARY_REDIRECT
    } else if !wanted.is_empty() && !authorization.is_some_and(|it| wanted.contains(&it)) {
        StatusCode::UNAUTHORIZED
    } else {
        StatusCode::CREATED
    };
    {
        let mut seen = seen.lock().unwrap();
        if status == StatusCode::CREATED {
            for record in records(&body, encoding.as_deref()) {
                *seen.records.entry(record).or_default() += 1;
            }
        }
        let named = if version == Version::HTTP_2 { "HTTP/2.0" } else { "HTTP/1.1" };
        *seen.requests.entry((named.to_owned(), status.as_u16())).or_default() += 1;
        *seen.encodings.entry(encoding.unwrap_or_default()).or_default() += 1;
        seen.heads.push(text);
    }
    tokio::time::sleep(delay).await;
    let mut response = Response::new(Full::from("{}"));
    *response.status_mut() = status;
    if let Some(target) = redirect {
        response.headers_mut().insert("location", target.parse().unwrap());
    }
    Ok(response)
}

/// (switch_id, serial) of each record of a body.
fn records(body: &[u8], encoding: Option<&str>) -> Vec<(String, u64)> {
    let mut text = Vec::new();
    match encoding {
        Some("gzip") => drop(flate2::read::GzDecoder::new(body).read_to_end(&mut text).expect("gzip")),
        Some("zstd") => text = zstd::bulk::decompress(body, 64 << 20).expect("zstd"),
        None => text = body.to_vec(),
        Some(other) => panic!("unknown Content-Encoding {other}"),
    }
    let body: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    let records = body["records"].as_array().expect("records");
    let common = body["switch_id"].as_str();
    let of = |record: &serde_json::Value| {
        let switch = record["switch_id"].as_str().or(common).expect("a switch_id");
        (switch.to_owned(), record["bytes"].as_u64().expect("a serial"))
    };
    records.iter().map(of).collect()
}
