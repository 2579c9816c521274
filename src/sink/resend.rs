//! One batch at a time, by hand: the way of `run` to the backend for a command that sends dead letters again.
//!
//! Enters: a batch. Leaves: what the backend said. Nothing is retried and nothing is counted: a person looks on.

use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

use super::compress::compress;
use super::encode::EncodedBatch;
use super::http::{Client, Parcel};
use super::probe::Outcome;
use super::{Compression, SinkError, SinkSettings};
use crate::clock::Clock;

/// A client of the backend, with its connections.
#[derive(Debug)]
pub struct Resender {
    client: Client,
    runtime: Runtime,
    compression: Compression,
}

impl Resender {
    /// A client with the settings of delivery.
    ///
    /// # Errors
    /// A setting that cannot stand in a request, or no event queue.
    pub fn new(settings: &SinkSettings, clock: Clock) -> Result<Self, SinkError> {
        let client = Client::new(settings, clock)?;
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| SinkError::Runtime { threads: 1, source })?;
        Ok(Self { client, runtime, compression: settings.access.compression })
    }

    /// Sends a batch once, with the key that it always had. Blocks the calling thread, for about the connect and
    /// request timeouts at most; it must not be one of an asynchronous runtime.
    #[must_use]
    pub fn send(&self, batch: &EncodedBatch) -> Outcome {
        let (key, records): (Uuid, u32) = (batch.idempotency_key(), batch.records);
        let packed = match self.compression {
            Compression::None => None,
            encoding => compress(encoding, &batch.body).ok().map(|body| (body.into(), encoding)),
        };
        let (body, encoding) = packed.unwrap_or_else(|| (batch.body.clone(), Compression::None));
        let parcel = Parcel { key, records, body, encoding };
        match self.runtime.block_on(self.client.post(&parcel)) {
            Ok(answer) => Outcome::Answered {
                status: answer.status,
                location: answer.location,
                excerpt: answer.excerpt,
                ahead_s: None,
            },
            Err(failure) => Outcome::Failed { code: failure.fault.label(), detail: failure.detail },
        }
    }
}
