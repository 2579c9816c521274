//! A real proxy in between: tinyproxy, as Debian has it. Skips visibly without it.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use clarion_collector::secret::Secret;
use clarion_collector::sink::{Access, HttpVersion, Proxy};
use clarion_collector::tls::MinVersion;

use crate::child::Process;
use crate::common::wait_for;
use crate::server::{Behaviour, Server};
use crate::sink::{Bench, Secure, settings};

struct Tinyproxy {
    process: Process,
    port: u16,
    log: PathBuf,
    _folder: tempfile::TempDir,
}

fn program() -> Option<PathBuf> {
    let found = ["/usr/bin/tinyproxy", "/usr/sbin/tinyproxy"].map(PathBuf::from).into_iter().find(|path| path.exists());
    if found.is_none() {
        eprintln!("SKIPPED: no tinyproxy (Debian package tinyproxy)");
    }
    found
}

impl Tinyproxy {
    fn start(more: &str) -> Option<Self> {
        let program = program()?;
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let config = folder.path().join("conf");
        let text = format!(
            "Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 50\nAllow 127.0.0.1\nLogLevel Info\n\
             LogFile \"{}\"\n{more}\n",
            log.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(program);
        command.args([Path::new("-d"), Path::new("-c"), &config]);
        let process = Process::start(command, false);
        wait_for("the proxy listens", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
        Some(Self { process, port, log, _folder: folder })
    }

    fn proxy(&self, credentials: Option<&str>) -> Proxy {
        Proxy {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            credentials: credentials.map(Secret::new),
            display: format!("http://127.0.0.1:{} (a test)", self.port),
        }
    }

    fn said(&self) -> String {
        format!("{}{}", std::fs::read_to_string(&self.log).unwrap_or_default(), self.process.log())
    }
}

#[test]
fn http_goes_through_a_proxy_by_whole_urls() {
    let Some(proxy) = Tinyproxy::start("") else { return };
    let server = Server::start(None, Behaviour::default());
    let access = Access { proxy: Some(proxy.proxy(None)), ..Access::default() };
    let mut bench = Bench::new(settings(&server, false, "127.0.0.1", access));
    bench.put(10, 20);
    bench.wait_delivered();
    bench.close();
    // This proxy closes each connection behind its answer without saying so: what meets the end of one is sent again,
    // and rightly counted as perhaps doubled, but it was not.
    assert_eq!(server.records(), (200, 0));
    let head = server.seen.lock().unwrap().heads[0].to_lowercase();
    assert!(head.contains("via: ") && head.contains(&format!("host: {}", server.address)), "{head}");
    assert!(proxy.said().contains("POST http://127.0.0.1"), "{}", proxy.said());
}

#[test]
fn https_and_http2_go_through_a_tunnel() {
    let Some(proxy) = Tinyproxy::start("") else { return };
    for (alpn, version) in [(&[][..], "HTTP/1.1"), (&[&b"h2"[..]][..], "HTTP/2.0")] {
        let secure = Secure::new(alpn, true, MinVersion::Tls12, Behaviour::default());
        let mut base = secure.settings();
        base.access.proxy = Some(proxy.proxy(None));
        let mut bench = Bench::new(base);
        bench.put(10, 20);
        bench.wait_delivered();
        assert_eq!((secure.server.records(), secure.server.requests(version, 201)), ((200, 0), 10));
        assert!(proxy.said().contains("CONNECT localhost:"), "{}", proxy.said());
        bench.close();
    }
    // Prior knowledge has no ALPN to say it in, and no proxy speaks it: a tunnel as well.
    let server = Server::start(None, Behaviour::default());
    let access = Access { proxy: Some(proxy.proxy(None)), http_version: HttpVersion::Two, ..Access::default() };
    let mut bench = Bench::new(settings(&server, false, "127.0.0.1", access));
    bench.put(10, 20);
    bench.wait_delivered();
    assert_eq!(server.requests("HTTP/2.0", 201), 10);
    bench.close();
}

#[test]
fn a_proxy_that_wants_a_password_gets_it_and_its_refusal_is_named() {
    let Some(proxy) = Tinyproxy::start("BasicAuth us-er hunter2") else { return };
    for tls in [false, true] {
        let (secure, plain) = (
            Secure::new(&[], false, MinVersion::Tls12, Behaviour::default()),
            Server::start(None, Behaviour::default()),
        );
        let base = || if tls { secure.settings() } else { settings(&plain, false, "127.0.0.1", Access::default()) };
        let server = if tls { &secure.server } else { &plain };
        let mut right = base();
        right.access.proxy = Some(proxy.proxy(Some("us-er:hunter2")));
        let mut bench = Bench::new(right);
        bench.put(3, 10);
        bench.wait_delivered();
        bench.close();
        assert_eq!(server.records(), (30, 0));
        assert!(server.seen.lock().unwrap().heads.iter().all(|head| !head.to_lowercase().contains("proxy-auth")));

        let mut wrong = base();
        wrong.access.proxy = Some(proxy.proxy(Some("us-er:wrong")));
        let mut bench = Bench::new(wrong);
        bench.put(1, 10);
        let code = if tls { "proxy" } else { "other" };
        wait_for("a refusal", || bench.requests(code) + bench.requests("407") + bench.requests("401") >= 1);
        assert!(!tls || bench.requests("proxy") >= 1);
        assert_eq!((bench.delivered(), server.records()), (0, (30, 0)));
        let _ = bench.sink.finish(std::time::Duration::ZERO);
    }
}

#[test]
fn a_proxy_that_is_not_there_is_a_fault_of_the_proxy() {
    let server = Server::start(None, Behaviour::default());
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let proxy = Proxy { host: "127.0.0.1".to_owned(), port, credentials: None, display: String::new() };
    let access = Access { proxy: Some(proxy), ..Access::default() };
    let mut bench = Bench::new(settings(&server, false, "127.0.0.1", access));
    bench.put(1, 10);
    wait_for("a refusal", || bench.requests("proxy") >= 1);
    assert_eq!((bench.requests("connect"), server.records()), (0, (0, 0)));
    let _ = bench.sink.finish(std::time::Duration::ZERO);
}
