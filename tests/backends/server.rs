//! A backend whose answer is a function of the test: HTTP/1.1, one thread a connection, serials kept.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Says with which status a request is answered; may take its time.
type Answer = dyn Fn() -> u16 + Send + Sync;

/// What its threads share.
#[derive(Default)]
struct Shared {
    accepted: Mutex<Vec<u64>>,
    connections: Mutex<Vec<TcpStream>>,
    stopped: AtomicBool,
}

/// The server; it ends with the test's process.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Server {
    pub fn start(answer: impl Fn() -> u16 + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (address, shared) = (listener.local_addr().unwrap(), Arc::new(Shared::default()));
        let (answer, inner): (Arc<Answer>, _) = (Arc::new(answer), Arc::clone(&shared));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if inner.stopped.load(Ordering::SeqCst) {
                    return;
                }
                inner.connections.lock().unwrap().push(stream.try_clone().unwrap());
                let (answer, shared) = (Arc::clone(&answer), Arc::clone(&inner));
                std::thread::spawn(move || serve(&stream, &*answer, &shared));
            }
        });
        Self { address, shared }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serials of all batches that were answered with 2xx, in order of their answers.
    pub fn accepted(&self) -> Vec<u64> {
        self.shared.accepted.lock().unwrap().clone()
    }

    /// Breaks all connections and takes no more.
    pub fn stop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        for stream in self.shared.connections.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes the listener, which ends.
        drop(TcpStream::connect(self.address));
    }
}

fn serve(stream: &TcpStream, answer: &Answer, shared: &Shared) {
    let mut reader = BufReader::new(stream);
    while let Some(body) = request(&mut reader) {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let status = answer();
        if status < 300 {
            shared.accepted.lock().unwrap().extend(serials(&body));
        }
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
        if (&*stream).write_all(head.as_bytes()).is_err() {
            return;
        }
    }
}

fn request(reader: &mut BufReader<&TcpStream>) -> Option<String> {
    let (mut length, mut line) = (0, String::new());
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok()?;
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    String::from_utf8(body).ok()
}

fn serials(body: &str) -> impl Iterator<Item = u64> {
    body.split("\"n\":").skip(1).map(|rest| rest[..rest.find('}').unwrap()].parse().unwrap())
}
