//! Who may send. For now one rule: there is room for the exporter in the table.

/// Why a datagram was refused before it was decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The pool of exporters that have sent nothing decodable yet is full of recent ones.
    ExporterLimit,
}

impl Refusal {
    /// Position in `metrics::REFUSE_REASONS`.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::ExporterLimit => 0,
        }
    }

    /// The `reason` label of `datagrams_refused_total`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::ExporterLimit => "exporter_limit",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Refusal;

    #[test]
    fn labels_are_those_of_the_metric() {
        assert_eq!(crate::metrics::REFUSE_REASONS[Refusal::ExporterLimit.index()], Refusal::ExporterLimit.label());
    }
}
