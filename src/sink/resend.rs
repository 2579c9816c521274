//! One batch at a time, by hand: the way of `run` to the backend for a command that sends dead letters again.
//!
//! Enters: a batch. Leaves: what the first backend that answered said, and which it was. Nothing is sent again that a backend
//! may have written, and nothing is counted: a person looks on.

use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

use super::compress::compress;
use super::encode::EncodedBatch;
use super::http::{Client, Parcel};
use super::probe::Outcome;
use super::{Compression, SinkError, SinkSettings};
use crate::clock::Clock;

/// Clients of the backends, in the operator's order, with their connections.
#[derive(Debug)]
pub struct Resender {
    /// Each with its base URL as people may see it.
    backends: Vec<(Client, String)>,
    runtime: Runtime,
    compression: Compression,
}

impl Resender {
    /// Clients with the settings of delivery.
    ///
    /// # Errors
    /// A setting that cannot stand in a request, or no event queue.
    pub fn new(settings: &SinkSettings, clock: &Clock) -> Result<Self, SinkError> {
        let backends = settings.each_backend().into_iter();
        let backends = backends.map(|one| Ok((Client::new(&one, clock.clone())?, one.backend.display)));
        let backends = backends.collect::<Result<_, SinkError>>()?;
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| SinkError::Runtime { threads: 1, source })?;
        Ok(Self { backends, runtime, compression: settings.access.compression })
    }

    /// Sends a batch, with the key that it always had, to each backend in turn until one has had the whole request; gives
    /// that one's name too. Blocks the calling thread, for about the connect and request timeouts of each at most; it must
    /// not be one of an asynchronous runtime.
    #[must_use]
    pub fn send(&self, batch: &EncodedBatch) -> (Outcome, &str) {
        let (key, records): (Uuid, u32) = (batch.idempotency_key(), batch.records);
        let packed = match self.compression {
            Compression::None => None,
            encoding => compress(encoding, &batch.body).ok().map(|body| (body.into(), encoding)),
        };
        let (body, encoding) = packed.unwrap_or_else(|| (batch.body.clone(), Compression::None));
        let mut last = (Outcome::Failed { code: "connect", detail: "there is no backend".to_owned() }, "");
        for (client, name) in &self.backends {
            let parcel = Parcel { key, records, body: body.clone(), encoding };
            let (outcome, is_last) = match self.runtime.block_on(client.post(&parcel)) {
                Ok(answer) => {
                    let (status, location, excerpt) = (answer.status, answer.location, answer.excerpt);
                    (Outcome::Answered { status, location, excerpt, ahead_s: None }, true)
                }
                // What was handed over may have been written: another backend would have it twice.
                Err(failure) => {
                    (Outcome::Failed { code: failure.fault.label(), detail: failure.detail }, failure.handed_over)
                }
            };
            last = (outcome, name);
            if is_last {
                break;
            }
        }
        last
    }
}
