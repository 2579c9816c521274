//! JSON of `/metrics`, `/api/v1/status` and `/api/v1/ledger`.
//!
//! In go the tallies, read downstream first; out come objects to which keys are only ever added.

use serde_json::{Map, Value, json};

use super::time::rfc3339;
use super::{ConfigRow, Sources};
use crate::clock::Clock;
use crate::metrics::{BACKEND_STATES, BackendMetrics, Backends, Books, Tally};

/// The object that the backend polls: records throughout.
pub(super) fn polled(sources: &Sources) -> Value {
    let ledger = sources.metrics.books.ledger();
    json!({
        "total_received": ledger.decoded + ledger.recovered,
        "total_sent": ledger.delivered,
        "pending": ledger.pending(),
        "errors": ledger.dropped,
        "batch_size": sources.batch_size,
        "batch_interval_seconds": sources.batch_interval.as_secs_f64(),
    })
}

/// The whole at a glance.
pub(super) fn status(sources: &Sources, clock: &Clock, started_ns: u64, uptime_ns: u64) -> Value {
    let (health, ready, live) = ((sources.health)(), (sources.ready)(), (sources.live)());
    let metrics = &sources.metrics;
    let (sink, queue, books) = (metrics.sink(), metrics.queue(), &metrics.books);
    let (ledger, backends) = (books.ledger(), sink.backends.present());
    let listeners: Vec<Value> =
        sources.listeners.iter().map(|(name, at)| json!({ "name": name, "address": at.to_string() })).collect();
    json!({
        "service": health.service,
        "status": health.status,
        "version": env!("CARGO_PKG_VERSION"),
        "instance": sources.instance,
        "time": rfc3339(clock.unix_ns()),
        "started": rfc3339(started_ns),
        "uptime_seconds": uptime_ns / 1_000_000_000,
        "backend_url": health.backend_url,
        "ready": ready.ready,
        "ready_reason": ready.reason,
        "live": live.live,
        "stale_threads": live.stale,
        "degraded": (sources.degraded)(),
        "config": config(&(sources.config)()),
        "listeners": listeners,
        "batch_size": sources.batch_size,
        "batch_interval_seconds": sources.batch_interval.as_secs_f64(),
        "datagrams": {
            "received": ledger.datagrams_received,
            "octets": books.octets_received(),
            "kernel_dropped": ledger.kernel_dropped,
            "refused": books.refused.iter().map(Tally::value).sum::<u64>(),
            "rejected": books.rejected.iter().map(Tally::value).sum::<u64>(),
        },
        "records": {
            "decoded": ledger.decoded,
            "delivered": ledger.delivered,
            "dropped": ledger.dropped,
            "in_memory": ledger.pending(),
            "spooled": ledger.spooled,
            "recovered": ledger.recovered,
            "possibly_duplicated": books.duplicated.value(),
        },
        "missing_units": by_label(books.missing_by_version()),
        "parked_sets": books.sets_parked.level(),
        "exporters": {
            "active": books.exporters_active.level(),
            "unknown": books.exporters_unknown.level(),
            "idle": books.exporters_idle.level(),
        },
        "spool": {
            "enabled": books.spool.enabled.value() == 1,
            "records": books.spool.spooled(),
            "bytes": books.spool.octets.level(),
            "limit_bytes": books.spool.limit.value(),
        },
        "saturation_ratio": books.saturation.value(),
        "queue_fill_ratio": queue.fill.value(),
        "sink": {
            "healthy": sink.healthy.value() > 0.5,
            "saturation_ratio": sink.saturation.value(),
            "requests_in_flight": backends.iter().map(|one| one.in_flight.level()).sum::<u64>(),
            "oldest_unacked_seconds": books.oldest_unacked(),
            "oldest_unacked_seconds_by_state": {
                "fresh": books.oldest_fresh.value(),
                "spooled": books.oldest_spooled.value(),
            },
            "lag_seconds": {
                "p50": sink.lag.quantile_with(&sink.lag_spooled, 0.5),
                "p99": sink.lag.quantile_with(&sink.lag_spooled, 0.99),
            },
            "lag_seconds_by_state": {
                "fresh": { "p50": sink.lag.quantile(0.5), "p99": sink.lag.quantile(0.99) },
                "spooled": { "p50": sink.lag_spooled.quantile(0.5), "p99": sink.lag_spooled.quantile(0.99) },
            },
            "backends": backends.iter().enumerate().map(backend).collect::<Vec<_>>(),
        },
    })
}

fn config(row: &ConfigRow) -> Value {
    json!({
        "last_reload_successful": row.error.is_none(),
        "taken_up": rfc3339(row.taken_up_ns),
        "error": row.error,
        "restart_needed": row.restart,
    })
}

/// A backend, by its place in the operator's list.
fn backend((index, metrics): (usize, &BackendMetrics)) -> Value {
    let picture = metrics.picture();
    let error = picture.last_error.map(|(at, text)| json!({ "time": rfc3339(at), "error": text }));
    json!({
        "sink": Backends::label(index),
        "url": picture.url,
        "state": BACKEND_STATES[picture.state],
        "since": (picture.since_ns > 0).then(|| rfc3339(picture.since_ns)),
        "last_error": error,
        "records_accepted": metrics.records.value(),
        "requests_in_flight": metrics.in_flight.level(),
        "requests_limit": metrics.limit.level(),
    })
}

/// The three equations of promise 1 with all their terms. `unexplained` is what the other terms
/// leave open: 0 at rest, what is between two stages in motion.
pub(super) fn ledger(books: &Books, now_ns: u64) -> Value {
    let records = records(books);
    let sets = sets(books);
    let datagrams = datagrams(books);
    json!({
        "time": rfc3339(now_ns),
        "datagrams": datagrams,
        "sets": sets,
        "records": records,
        "imbalance_at_rest": books.imbalance.value(),
    })
}

fn records(books: &Books) -> Value {
    let delivered = books.delivered.value();
    let dropped: Vec<_> = books.dropped_by_reason().collect();
    let held = &books.held;
    // Upstream first here: a record that moves on meanwhile is met again, never overlooked.
    let workers: u64 = held.workers.iter().map(Tally::level).sum();
    let queue = held.queue.level();
    let batchers: u64 = held.batchers.iter().map(Tally::level).sum();
    let sink = held.sink.level();
    let spooled = books.spool.spooled();
    let recovered = books.recovered.value();
    let decoded: Vec<_> = books.decoded_by_version().collect();

    let dropped_total: u64 = dropped.iter().map(|(.., n)| n).sum();
    let decoded_total: u64 = decoded.iter().map(|(_, n)| n).sum();
    let in_memory = workers + queue + batchers + sink;
    let reasons: Vec<Value> =
        dropped.iter().map(|(stage, reason, n)| json!({ "stage": stage, "reason": reason, "records": n })).collect();
    json!({
        "equation": "decoded + recovered = delivered + dropped + in_memory + spooled",
        "decoded": decoded_total,
        "decoded_by_version": by_label(decoded),
        "recovered": recovered,
        "delivered": delivered,
        "dropped": dropped_total,
        "dropped_by_reason": reasons,
        "in_memory": in_memory,
        "in_memory_by_stage": { "workers": workers, "queue": queue, "batchers": batchers, "delivery": sink },
        "spooled": spooled,
        "unexplained": difference(decoded_total + recovered, delivered + dropped_total + in_memory + spooled),
    })
}

fn sets(books: &Books) -> Value {
    let (decoded, options) = (books.sets_decoded.value(), books.sets_options.value());
    let templates = books.sets_templates.value();
    let dropped: Vec<_> = books.sets_dropped_by_reason().collect();
    // Read after what a parked set may become, see `Books::ledger`.
    let parked_on_disk = books.sets_parked_disk.level();
    let parked = books.sets_parked.level();
    let seen = books.sets_seen.value();
    let dropped_total: u64 = dropped.iter().map(|(_, n)| n).sum();
    json!({
        "equation": "seen = decoded + parked + parked_on_disk + dropped + options + templates",
        "seen": seen,
        "decoded": decoded,
        "parked": parked,
        "parked_on_disk": parked_on_disk,
        "dropped": dropped_total,
        "dropped_by_reason": by_label(dropped),
        "options": options,
        "templates": templates,
        "unexplained": difference(seen, decoded + parked + parked_on_disk + dropped_total + options + templates),
    })
}

fn datagrams(books: &Books) -> Value {
    let refused: Vec<_> = books.refused_by_reason().collect();
    let rejected: Vec<_> = books.rejected_by_reason().collect();
    let processed = books.processed.value();
    let received = books.datagrams_received();
    let refused_total: u64 = refused.iter().map(|(_, n)| n).sum();
    let rejected_total: u64 = rejected.iter().map(|(_, n)| n).sum();
    json!({
        "equation": "received = refused + rejected + processed",
        "received": received,
        "refused": refused_total,
        "refused_by_reason": by_label(refused),
        "rejected": rejected_total,
        "rejected_by_reason": by_label(rejected),
        "processed": processed,
        "unexplained": difference(received, refused_total + rejected_total + processed),
        "kernel_dropped": books.kernel_dropped(),
    })
}

fn by_label(figures: impl IntoIterator<Item = (&'static str, u64)>) -> Value {
    figures.into_iter().map(|(label, n)| (label.to_owned(), n.into())).collect::<Map<String, Value>>().into()
}

const fn difference(came: u64, explained: u64) -> i64 {
    came.cast_signed() - explained.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Metrics, RecordDrop, Shape};

    #[test]
    fn the_ledger_lists_every_term_and_what_they_leave_open() {
        let metrics = Metrics::new(&Shape {
            listeners: vec!["2055".into()],
            workers: 1,
            batchers: 1,
            sink: "backend",
            instance: "test".into(),
        });
        let books = &metrics.books;
        metrics.worker(0).sockets[0].received.add(4);
        books.processed.add(2);
        books.rejected[0].add(1);
        books.sets_seen.add(3);
        books.sets_templates.add(1);
        books.sets_decoded.add(2);
        books.decoded[4].add(10);
        books.delivered.add(5);
        books.drop_records(RecordDrop::QueueFull, 2);
        books.held.queue.add(3);
        let value = ledger(books, 0);
        assert_eq!(value["datagrams"]["unexplained"], 1);
        assert_eq!(value["datagrams"]["rejected_by_reason"]["too_short"], 1);
        assert_eq!(value["sets"]["unexplained"], 0);
        assert_eq!(value["records"]["unexplained"], 0);
        assert_eq!(value["records"]["in_memory_by_stage"]["queue"], 3);
        assert_eq!(value["records"]["decoded_by_version"]["ipfix"], 10);
        assert_eq!(
            value["records"]["dropped_by_reason"][0],
            json!({ "stage": "queue", "reason": "full", "records": 2 })
        );
    }
}
