//! Kernel drops: at most one line a minute and listener, with all that was dropped since the last.
//!
//! In go the counts and the time, out comes how many to tell of. Datagrams that the kernel dropped
//! are gone: the line says whether more cores or a larger buffer would have kept them.

use crate::limits::REPEAT_S;

/// Busy share above which a larger buffer only delays the loss.
const BUSY: f64 = 0.8;

/// What was told of each listener.
#[derive(Debug)]
pub(super) struct DropWatch(Vec<Told>);

#[derive(Debug, Clone, Copy, Default)]
struct Told {
    count: u64,
    at_ns: Option<u64>,
}

impl DropWatch {
    pub(super) fn new(listeners: usize) -> Self {
        Self(vec![Told::default(); listeners])
    }

    /// Datagrams dropped since the last line about `listener`, if it is time for another.
    pub(super) fn turn(&mut self, listener: usize, count: u64, now_ns: u64) -> Option<u64> {
        let told = self.0.get_mut(listener)?;
        let due = told.at_ns.is_none_or(|at| now_ns.saturating_sub(at) >= REPEAT_S * 1_000_000_000);
        if count <= told.count || !due {
            return None;
        }
        let dropped = count - told.count;
        *told = Told { count, at_ns: Some(now_ns) };
        Some(dropped)
    }
}

/// What would have kept the datagrams.
pub(super) const fn remedy(saturation: f64) -> &'static str {
    if saturation >= BUSY {
        "the workers have no time left: give the process more cores or add a replica"
    } else {
        "the workers have time to spare, so it was a burst: raise CLARION_COLLECTOR_UDP_RCVBUF, and net.core.rmem_max \
         if the kernel granted less than was asked for"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn each_listener_speaks_once_a_minute_with_the_sum() {
        let mut watch = DropWatch::new(2);
        assert_eq!(watch.turn(0, 0, 0), None);
        assert_eq!(watch.turn(0, 5, S), Some(5), "the first at once");
        assert_eq!(watch.turn(0, 9, 2 * S), None);
        assert_eq!(watch.turn(1, 3, 2 * S), Some(3), "each listener for itself");
        assert_eq!(watch.turn(0, 20, 61 * S), Some(15));
        assert_eq!(watch.turn(0, 20, 500 * S), None, "nothing new");
        assert_eq!(watch.turn(0, 21, 501 * S), Some(1));
        assert_eq!(watch.turn(7, 1, S), None);
    }

    #[test]
    fn the_remedy_depends_on_who_was_short_of_what() {
        assert!(remedy(0.95).contains("cores") && remedy(0.1).contains("net.core.rmem_max"));
    }
}
