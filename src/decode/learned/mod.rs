//! What was learned, of each exporter and each of its domains: templates, options, what waits for them, what headers say.
//!
//! The data path reads plans without a lock and changes them copy-on-write under the domain's; a miss looks again and parks
//! under that same lock. All of it is bounded, by itself, by exporter and by process, and a status can be asked of all of it.

mod decided;
mod domain;
mod events;
mod export;
mod exporter;
mod learn;
mod life;
mod observed;
mod picture;
mod restore;
mod room;
mod status;
mod tables;
mod taught;
mod waiting;

pub use self::decided::Decided;
pub use self::domain::Domain;
pub use self::events::{TemplateEventCounts, TemplateNews};
pub use self::export::{IdentityLesson, Lesson, NameKind, NameLesson, SharedTable, TemplateForm, TemplateLesson};
pub use self::exporter::ExporterState;
pub use self::observed::{Observation, distinct_boots};
pub use self::picture::TemplateRoom;
pub use self::restore::Restored;
pub(super) use self::room::{Await, Envelope, Unparked};
pub use self::room::{Overflowed, ParkOverflow, ParkedCounts, Stored, WaitingSet, parked_octets};
pub use self::status::{
    DomainStatus, NamedEntry, OptionsStatus, SamplingEntry, SamplingEntryScope, SequenceUnit, TemplateEvent,
    TemplateEventKind, TemplateStatus,
};
pub use self::waiting::WaitingTemplate;
