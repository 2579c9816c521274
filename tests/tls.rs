//! Delivery across real networks: TLS, certificates that change, tokens, proxies, HTTP/2, compression.
//!
//! The certificates are made here, the backend is one of this test, the proxy is tinyproxy. Where records are lost or
//! doubled the books and the backend's own count disagree, and a test fails.

#[path = "process/child.rs"]
mod child;
mod common;
#[path = "egress/http2.rs"]
mod http2;
#[path = "egress/pki.rs"]
mod pki;
#[path = "egress/proxies.rs"]
mod proxies;
#[path = "egress/rotation.rs"]
mod rotation;
#[path = "egress/secrecy.rs"]
mod secrecy;
#[path = "egress/server.rs"]
mod server;
#[path = "egress/sink.rs"]
mod sink;
#[path = "egress/verdicts.rs"]
mod verdicts;
