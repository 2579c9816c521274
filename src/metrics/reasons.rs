//! What the `reason` label says: of refusals, and of the faults of exporters. A list is the order of its tallies.

/// Reasons of `datagrams_refused_total`.
pub const REFUSE_REASONS: [&str; 3] = ["exporter_limit", "denied", "rate_limited"];

/// Reasons of `exporters_with_fault`: what the status API calls the faults of an exporter.
pub const FAULT_REASONS: [&str; 11] = [
    "waiting_for_template",
    "sampling_unknown",
    "domain_clash",
    "source_is_gateway",
    "looks_like_nat",
    "clock_skew",
    "all_skewed",
    "redefinition_storm",
    "silent",
    "malformed",
    "refused",
];

/// Those of `FAULT_REASONS` that may be as they should: an exporter that does not sample need not say so. They are
/// counted and told by name, and are none of the faults that `?fault=any` and `exporter_faults` mean.
pub const HINT_REASONS: [&str; 1] = ["sampling_unknown"];
