//! Delivery by itself, with its books.

use std::sync::Arc;
use std::time::Duration;

use clarion_collector::clock::Clock;
use clarion_collector::metrics::{Metrics, REQUEST_CODES, Shape, SinkMetrics};
use clarion_collector::queue::Outlet;
use clarion_collector::sink::encode::{EncodedBatch, Format};
use clarion_collector::sink::{Access, BackendUrl, ExporterRun, Output, Sink, SinkReport, SinkSettings};
use clarion_collector::tls::{ClientTls, KeyPairFiles, MinVersion, ServerTls};

use crate::common::{PATIENCE, wait_for};
use crate::pki::Authority;
use crate::server::{Behaviour, Server};

/// A batch with these serials.
pub fn batch(first: u64, records: u32) -> EncodedBatch {
    let mut body = String::from("{\"records\":[");
    let mut record_ends = Vec::new();
    for serial in first..first + u64::from(records) {
        if !record_ends.is_empty() {
            body.push(',');
        }
        body.push_str(&format!(
            "{{\"src_ip\":\"192.0.2.1\",\"dst_ip\":\"2001:db8::1\",\"src_port\":1,\"dst_port\":443,\"protocol\":6,\
             \"bytes\":{serial},\"packets\":1,\"flow_start\":1,\"flow_end\":2}}"
        ));
        record_ends.push(u32::try_from(body.len()).unwrap());
    }
    body.push_str("],\"switch_id\":\"s\"}");
    EncodedBatch {
        id: uuid::Uuid::now_v7(),
        part: 0,
        format: Format::BackendJson,
        records,
        oldest_receive: 1_000_000_000 + first,
        newest_receive: 1_000_000_000 + first,
        body: body.into(),
        record_ends,
        per_exporter: vec![ExporterRun { tenant: Arc::from(""), address: [198, 51, 100, 1].into(), records }],
    }
}

/// Delivery to `server` by its host name or address.
pub fn settings(server: &Server, tls: bool, host: &str, access: Access) -> SinkSettings {
    let (scheme, port) = (if tls { "https" } else { "http" }, server.address.port());
    SinkSettings {
        output: Output::Backend,
        backend: BackendUrl {
            tls,
            host: host.to_owned(),
            port,
            path: "/base/api/netflow/netflow".to_owned(),
            display: format!("{scheme}://{host}:{port}/base"),
        },
        instance: "test-1".to_owned(),
        requests_in_flight: 4,
        in_flight_octets: 64 << 20,
        request_timeout: Duration::from_secs(20),
        connect_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(60),
        connection_max_age: Duration::from_secs(300),
        access,
        retry_attempts: 3,
        backoff: Duration::from_millis(5),
        backoff_max: Duration::from_millis(50),
        threads: 2,
    }
}

/// A TLS backend for `localhost` with files in `folder`, and access that trusts it.
pub struct Secure {
    pub folder: tempfile::TempDir,
    pub authority: Authority,
    pub server: Server,
    pub access: Access,
}

impl Secure {
    /// `alpn` of the server; `clients`: it asks for certificates of the same authority.
    pub fn new(alpn: &[&[u8]], clients: bool, oldest: MinVersion, behaviour: Behaviour) -> Self {
        let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("first"));
        let ca = crate::pki::write(folder.path(), "ca.pem", &authority.pem);
        let (certificate, key) = authority.issue("localhost", 2035).write(folder.path(), "server");
        let tls = ServerTls {
            identity: KeyPairFiles { certificate, key },
            client_authorities: clients.then(|| ca.clone()),
            min_version: oldest,
        };
        let config = clarion_collector::tls::server(&tls, "[test]", alpn).unwrap();
        let server = Server::start(Some(Arc::clone(&config.current().config)), behaviour);
        let (certificate, key) = authority.issue("collector", 2034).write(folder.path(), "client");
        let tls = ClientTls {
            authorities: Some(ca),
            identity: clients.then_some(KeyPairFiles { certificate, key }),
            min_version: MinVersion::Tls12,
        };
        Self { folder, authority, server, access: Access { tls, ..Access::default() } }
    }

    pub fn settings(&self) -> SinkSettings {
        settings(&self.server, true, "localhost", self.access.clone())
    }
}

/// A sink with its books, and what was put in.
pub struct Bench {
    pub outlet: Arc<dyn Outlet>,
    pub sink: Sink,
    pub metrics: SinkMetrics,
    pub taken: u64,
}

impl Bench {
    pub fn new(settings: SinkSettings) -> Self {
        let shape =
            Shape { listeners: vec![], workers: 0, batchers: 0, sink: "backend", instance: settings.instance.clone() };
        let metrics = Metrics::new(&shape).sink();
        let (outlet, sink) = clarion_collector::sink::start(settings, Clock::system(), metrics.clone()).unwrap();
        Self { outlet, sink, metrics, taken: 0 }
    }

    /// `batches` batches of `records` records each, with serials that go on.
    pub fn put(&mut self, batches: u64, records: u32) {
        for _ in 0..batches {
            let batch = batch(self.taken + 1, records);
            assert!(self.outlet.offer(batch).is_ok(), "the outlet gave the batch back");
            self.taken += u64::from(records);
        }
    }

    pub fn delivered(&self) -> u64 {
        self.metrics.books.delivered.value()
    }

    pub fn requests(&self, code: &str) -> u64 {
        self.metrics.requests[REQUEST_CODES.iter().position(|c| *c == code).unwrap()].value()
    }

    pub fn wait_delivered(&self) {
        wait_for(&format!("{} records delivered", self.taken), || self.delivered() == self.taken);
    }

    /// Ends the sink and checks the books.
    pub fn close(self) -> SinkMetrics {
        let Self { sink, metrics, taken, .. } = self;
        let SinkReport { in_time, dropped, .. } = sink.finish(PATIENCE);
        assert!(in_time && dropped == 0);
        assert_eq!(taken, metrics.books.delivered.value());
        assert_eq!((metrics.held.value(), metrics.in_flight_bytes.value()), (0, 0));
        metrics
    }
}
