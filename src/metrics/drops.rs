//! Where records are lost inside the collector: stages and reasons, and their place among the tallies.

/// (stage, reason) pairs of `records_dropped_total`; position in here is the index of `Books::dropped`.
pub const DROP_REASONS: [(&str, &str); 18] = [
    ("queue", "full"),
    ("queue", "no_batch"),
    ("queue", "closed"),
    ("batcher", "panic"),
    ("encode", "not_representable"),
    ("encode", "event"),
    ("dispatch", "buffer_full"),
    ("dispatch", "closed"),
    ("delivery", "refused"),
    ("delivery", "poison"),
    ("delivery", "shutdown"),
    ("delivery", "unreadable"),
    ("spool", "oldest"),
    ("spool", "full"),
    ("spool", "age"),
    ("spool", "damaged"),
    ("spool", "failed"),
    ("thread", "hung"),
];

/// Where a record was lost; gives the index into the dropped tallies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum RecordDrop {
    /// The queue had no slot.
    QueueFull = 0,
    /// No empty batch came back in time.
    QueueNoBatch = 1,
    /// The queue was closed already.
    QueueClosed = 2,
    /// A batcher panicked over it.
    BatcherPanic = 3,
    /// The output format cannot carry it (no addresses).
    NotRepresentable = 4,
    /// It is an event, and the output format carries flows.
    Event = 5,
    /// Delivery's buffer was full.
    DispatchFull = 6,
    /// Delivery had ended.
    DispatchClosed = 7,
    /// The backend refused it for good.
    DeliveryRefused = 8,
    /// The backend failed on it again and again while it accepted others.
    DeliveryPoison = 9,
    /// The shutdown deadline came first.
    DeliveryShutdown = 10,
    /// What came back from the spool is no batch that can be sent.
    DeliveryUnreadable = 11,
    /// It was among the oldest when the spool was full. The spool counts this one and the four below.
    SpoolOldest = 12,
    /// The spool was full, and what comes gives way.
    SpoolFull = 13,
    /// It was in the spool for too long.
    SpoolAge = 14,
    /// Its octets were damaged in the spool.
    SpoolDamaged = 15,
    /// The spool's disk did not take it until the process ended.
    SpoolFailed = 16,
    /// A thread that hung held it, or nobody was left to take it from the queue, when the process ended.
    ThreadHung = 17,
}

const _: () = assert!(RecordDrop::ThreadHung as usize + 1 == DROP_REASONS.len());
