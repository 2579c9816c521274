//! Asks running collectors over HTTP whether a gateway is among their exporters.
//!
//! A small request to this host alone, bounded in time and size: the answer decides one finding, so what
//! goes wrong is a reason in words and nothing more.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::surroundings::AskedCollector;

/// Collectors that are asked: with more on one host, some speak for all.
const COLLECTORS_MAX: usize = 8;
/// Gateways that are asked for.
const GATEWAYS_MAX: usize = 4;
/// On the loopback interface an answer takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);
/// An answer holds one exporter at most.
const ANSWER_MAX: u64 = 1 << 20;

/// Which of `gateways` each collector has among its exporters.
pub(super) fn gateways(collectors: &[SocketAddr], gateways: &[IpAddr]) -> Vec<AskedCollector> {
    collectors.iter().take(COLLECTORS_MAX).map(|at| (*at, heard(*at, gateways))).collect()
}

fn heard(at: SocketAddr, gateways: &[IpAddr]) -> Result<Vec<IpAddr>, String> {
    let mut heard = Vec::new();
    for gateway in gateways.iter().take(GATEWAYS_MAX) {
        let list = exporters(&ask(at, &format!("/api/v1/exporters?prefix={gateway}&limit=1"))?)?;
        if list > 0 {
            heard.push(*gateway);
        }
    }
    Ok(heard)
}

/// HTTP/1.0, so that the answer ends with the connection and comes in one piece.
fn ask(at: SocketAddr, path: &str) -> Result<String, String> {
    let talk = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&at, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {at}\r\nAccept: application/json\r\n\r\n")?;
        let mut octets = Vec::new();
        stream.take(ANSWER_MAX).read_to_end(&mut octets)?;
        Ok(String::from_utf8_lossy(&octets).into_owned())
    };
    talk().map_err(|e| e.to_string())
}

/// Number of exporters in an answer.
fn exporters(answer: &str) -> Result<usize, String> {
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer of HTTP (is it TLS?)")?;
    let status = head.split_ascii_whitespace().nth(1).unwrap_or("");
    match status {
        "200" => {}
        "401" | "403" => return Err(format!("it wants a token ({status})")),
        other => return Err(format!("it answers {}", other.escape_debug())),
    }
    let value: Value = serde_json::from_str(body).map_err(|_| "its answer is no JSON".to_owned())?;
    let list = value.get("exporters").and_then(Value::as_array).ok_or("its answer has no exporters")?;
    Ok(list.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_or_explained() {
        let head = "HTTP/1.0 200 OK\r\nX: y\r\n\r\n";
        assert_eq!(exporters(&format!("{head}{{\"exporters\":[{{}}]}}")), Ok(1));
        assert_eq!(exporters(&format!("{head}{{\"exporters\":[]}}")), Ok(0));
        assert!(exporters(&format!("{head}{{}}")).is_err() && exporters(&format!("{head}x")).is_err());
        assert!(exporters("HTTP/1.0 401 U\r\n\r\n").unwrap_err().contains("token"));
        assert!(exporters("HTTP/1.0 404 N\r\n\r\n").unwrap_err().contains("404"));
        assert!(exporters("\u{15}\u{3}").unwrap_err().contains("TLS"));
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("an address");
        let asked = gateways(&[nobody], &["192.0.2.1".parse().expect("an address")]);
        assert!(asked[0].1.is_err(), "{asked:?}");
        assert_eq!(gateways(&[nobody], &[]), [(nobody, Ok(Vec::new()))]);
    }
}
