//! Certificates, authorities and tokens that are replaced on disk while flows are delivered.
//!
//! The whole collector runs. At the end its books balance, everything is delivered, and the backend has each record.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clarion_collector::app::Running;
use clarion_collector::secret::{Change, SecretSource};
use clarion_collector::sink::{Access, Credentials, HttpVersion};
use clarion_collector::tls::{KeyPairFiles, MinVersion, ServerTls};

use crate::child::Load;
use crate::common::{self, assert_balanced, wait_for};
use crate::pki::{Authority, write};
use crate::server::Behaviour;
use crate::sink::{Bench, Secure};

fn start(secure: &Secure, access: Access) -> Running {
    let mut settings = common::settings(secure.server.address);
    let sink = crate::sink::settings(&secure.server, true, "localhost", access);
    settings.sink.backend = sink.backend;
    settings.sink.access = sink.access;
    // New connections all the time, so that new certificates matter.
    settings.sink.connection_max_age = Duration::from_millis(300);
    common::start(settings)
}

/// Ends the load and the collector: nothing lost, nothing doubled without being counted.
fn assert_nothing_lost(secure: &Secure, running: Running, load: Load) {
    let sent = load.stop();
    wait_for("all datagrams received", || running.metrics.books.ledger().decoded >= sent.records);
    let metrics = Arc::clone(&running.metrics);
    let report = running.drain();
    assert!(report.clean, "{:?}", report.notes);
    assert_balanced(&report.ledger);
    assert_eq!((report.ledger.delivered, report.ledger.dropped), (sent.records, 0));
    let (distinct, doubled) = secure.server.records();
    assert_eq!(distinct, sent.records);
    assert!(doubled <= metrics.books.duplicated.value(), "{doubled} doubled and not counted");
}

fn server_config(secure: &Secure, name: &str, clients: &str) -> Arc<rustls::ServerConfig> {
    let file = |name: String| secure.folder.path().join(name);
    let tls = ServerTls {
        identity: KeyPairFiles { certificate: file(format!("{name}.pem")), key: file(format!("{name}.key")) },
        client_authorities: Some(file(clients.to_owned())),
        min_version: MinVersion::Tls12,
    };
    let alpn: &[&[u8]] = &[b"h2", b"http/1.1"];
    Arc::clone(&clarion_collector::tls::server(&tls, "[test]", alpn).unwrap().current().config)
}

fn passed(secure: &Secure, what: &str) {
    let before = secure.server.records().0;
    wait_for(what, || secure.server.records().0 > before + 500);
}

#[test]
fn certificate_authority_and_token_change_under_load_without_a_lost_record() {
    for version in [HttpVersion::One, HttpVersion::Two] {
        let behaviour = Behaviour { authorization: vec!["Bearer one".to_owned()], ..Behaviour::default() };
        let secure = Secure::new(&[b"h2", b"http/1.1"], true, MinVersion::Tls12, behaviour);
        let folder = secure.folder.path();
        let token = write(folder, "token", "one\n");
        let credentials = Credentials { token: SecretSource::File(token), ..Credentials::default() };
        let running = start(&secure, Access { credentials, http_version: version, ..secure.access.clone() });
        let load = Load::start(common::port(&running), 5_000, 2);
        passed(&secure, "flows with the first certificates");
        let secrets = running.metrics.secrets();

        // A new client certificate of the same authority.
        let used = secrets.used.value();
        secure.authority.issue("collector", 2033).write(folder, "client");
        wait_for("the new client certificate", || secrets.used.value() > used);
        wait_for("its end in the metric", || secrets.backend_client_expiry.value() == 1_988_150_400);
        passed(&secure, "flows with the second client certificate");

        // A new authority: both sides trust both, then both certificates change, then the old one goes.
        let second = Authority::new("second");
        let both = format!("{}{}", secure.authority.pem, second.pem);
        let used = secrets.used.value();
        write(folder, "ca.pem", &both);
        wait_for("both authorities", || secrets.used.value() > used);
        second.issue("localhost", 2032).write(folder, "server");
        secure.server.use_tls(server_config(&secure, "server", "ca.pem"));
        wait_for("the backend's new certificate", || secrets.backend_server_expiry.value() == 1_956_528_000);
        let used = secrets.used.value();
        second.issue("collector", 2031).write(folder, "client");
        wait_for("the third client certificate", || secrets.used.value() > used);
        write(folder, "ca.pem", &second.pem);
        wait_for("the old authority is gone", || secrets.used.value() > used + 1);
        secure.server.use_tls(server_config(&secure, "server", "ca.pem"));
        passed(&secure, "flows under the second authority");

        // A new token, which the backend wants from one moment to the next.
        secure.server.behaviour.lock().unwrap().authorization = vec!["Bearer two".to_owned()];
        write(folder, "token", "two\n");
        passed(&secure, "flows with the second token");
        assert_eq!((secrets.stale.value(), secrets.refused.value()), (0, 0));
        assert_nothing_lost(&secure, running, load);
    }
}

#[test]
fn a_bad_file_keeps_the_old_shows_and_heals() {
    let secure = Secure::new(&[], true, MinVersion::Tls12, Behaviour::default());
    let folder = secure.folder.path();
    let token = write(folder, "token", "one\n");
    let credentials = Credentials { token: SecretSource::File(token), ..Credentials::default() };
    let running = start(&secure, Access { credentials, ..secure.access.clone() });
    let load = Load::start(common::port(&running), 2_000, 1);
    passed(&secure, "flows");
    let secrets = running.metrics.secrets();
    write(folder, "client.pem", "no certificate");
    wait_for("the bad certificate shows", || secrets.stale.value() == 1);
    write(folder, "token", "\n");
    wait_for("the bad token shows", || secrets.stale.value() == 2);
    std::fs::remove_file(folder.join("ca.pem")).unwrap();
    wait_for("the missing authority shows", || secrets.stale.value() == 3);
    passed(&secure, "flows with what was good before");
    write(folder, "ca.pem", &secure.authority.pem);
    write(folder, "token", "three\n");
    secure.authority.issue("collector", 2030).write(folder, "client");
    wait_for("all heals", || secrets.stale.value() == 0);
    assert!(secrets.refused.value() >= 3, "{}", secrets.refused.value());
    passed(&secure, "flows with what is new");
    let now = "authorization: Bearer three";
    wait_for("the new token", || secure.server.seen.lock().unwrap().heads.last().is_some_and(|h| h.contains(now)));
    assert_nothing_lost(&secure, running, load);
}

#[test]
fn connections_of_an_old_certificate_take_no_further_request() {
    for version in [HttpVersion::One, HttpVersion::Two] {
        let secure = Secure::new(&[b"h2", b"http/1.1"], true, MinVersion::Tls12, Behaviour::default());
        let mut base = secure.settings();
        (base.requests_in_flight, base.access.http_version) = (1, version);
        let mut bench = Bench::new(base);
        bench.put(5, 5);
        bench.wait_delivered();
        let before = secure.server.connections.load(Ordering::Acquire);
        assert_eq!(before, 1);
        secure.authority.issue("collector", 2033).write(secure.folder.path(), "client");
        let changes: Vec<Change> = bench.sink.watched().iter().map(|watched| watched.refresh()).collect();
        assert_eq!(changes, [Change::Used]);
        bench.put(5, 5);
        bench.wait_delivered();
        assert_eq!(secure.server.connections.load(Ordering::Acquire), 2);
        assert_eq!(bench.close().books.duplicated.value(), 0);
    }
}
