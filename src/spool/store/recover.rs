//! Opening a directory: what a process left, in peace or not, becomes a store.
//!
//! Enters: files that nobody vouches for. Leaves: a store whose live entries count as recovered; damage,
//! counted; files of other formats, untouched. Promised: what was committed and not closed is there; an
//! entry counts once, whatever stood twice; nothing is deleted but what is closed or holds nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;

use super::super::disk::{Disk, remove_if_there, replace_file};
use super::super::journal::{Event, Events};
use super::super::ledger::{Closed, Ledger, LedgerError};
use super::super::segment::{Formats, Reading, Scan};
use super::super::stats::Stats;
use super::room::LEDGER;
use super::{Fate, Position, Segment, Slot, Store, StoreSettings, file_name};
use crate::clock::Clock;
use crate::limits;

/// Name that a ledger of another format gets.
const LEDGER_FOREIGN: &str = "ledger.foreign";
/// Octets of a segment that are read: one may be larger than its bound by an entry.
const READ_MAX: usize = limits::SPOOL_SEGMENT_OCTETS.max as usize + 2 * limits::SPOOL_ENTRY_OCTETS_MAX;

/// What the process before has said of its entries.
struct Past {
    ledger: Ledger,
    /// Since the ledger.
    events: Events,
}

/// Id and part of an entry.
type Identity = ([u8; 16], u64);

fn number_of(name: &str) -> Option<u64> {
    let number = u64::from_str_radix(name.strip_suffix(".seg")?, 16).ok()?;
    (file_name(number) == name).then_some(number)
}

impl Store {
    /// Opens a directory; `beat` is called between two files, which may be many.
    ///
    /// # Errors
    /// The file system's, where nothing can be known or written at all.
    pub(in super::super) fn open(
        disk: Box<dyn Disk>,
        settings: StoreSettings,
        formats: &Formats,
        clock: Clock,
        stats: Stats,
        beat: &mut dyn FnMut(),
    ) -> io::Result<Self> {
        let now = clock.monotonic_ns();
        let mut store = Self {
            disk,
            settings,
            clock,
            stats,
            segments: BTreeMap::new(),
            ready: BTreeSet::new(),
            aside: BTreeSet::new(),
            oldest: BTreeMap::new(),
            active: None,
            appended_at: now,
            next: 1,
            octets: 0,
            slots: 0,
            unsynced: BTreeSet::new(),
            names_unsynced: false,
            synced_at: now,
            finished: BTreeSet::new(),
            untrimmed: BTreeMap::new(),
            ledger_dirty: false,
            journal: None,
            ledger_at: now,
            expired_at: now,
            names_left: limits::SPOOL_NAMED_MAX,
        };
        let mut numbers = BTreeSet::new();
        for (name, _) in store.disk.list(limits::SPOOL_FILES_MAX)? {
            if name.ends_with(".tmp") {
                remove_if_there(store.disk.as_mut(), &name)?;
            }
            numbers.extend(number_of(&name));
        }
        let (events, noted) = store.read_journal();
        let past = Past { ledger: store.read_ledger()?, events };
        let ledger = &past.ledger;
        let known = ledger.segments.keys().chain(numbers.iter()).max().map_or(0, |highest| highest.saturating_add(1));
        store.next = ledger.next.max(known).max(1);
        let mut identities = HashMap::new();
        for number in numbers {
            beat();
            if let Err(error) = store.load(number, &past, formats, &mut identities) {
                // One bad file must not hide the others.
                store.stats.disk_errors.add(1);
                store.stats.foreign_files.add(1);
                tracing::warn!(segment = number, %error, "a segment of the spool could not be read: it is left alone");
            }
        }
        store.begin_journal(noted);
        store.count_once(&identities);
        let recovered = store.live_records();
        store.stats.recovered.add(recovered);
        store.stats.records.add(recovered);
        let idle: Vec<u64> = store.segments.iter().filter(|(_, s)| s.live == 0).map(|(number, _)| *number).collect();
        store.finished.extend(idle);
        Ok(store)
    }

    fn live_records(&self) -> u64 {
        self.ready.iter().filter_map(|position| self.slot(*position)).map(|slot| u64::from(slot.records)).sum()
    }

    fn read_ledger(&mut self) -> io::Result<Ledger> {
        let octets = match self.disk.read(LEDGER, 0, limits::SPOOL_LEDGER_OCTETS_MAX + 1) {
            Ok(octets) => octets,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ledger::default()),
            Err(error) => return Err(error),
        };
        match Ledger::read(&octets) {
            Ok(ledger) => Ok(ledger),
            Err(LedgerError::Foreign) => {
                // Kept for the program that wrote it, under a name where ours does not overwrite it.
                self.disk.rename(LEDGER, LEDGER_FOREIGN)?;
                self.stats.foreign_files.add(1);
                Ok(Ledger::default())
            }
            Err(LedgerError::Damaged) => {
                self.stats.ledgers_lost.add(1);
                Ok(Ledger::default())
            }
        }
    }

    fn load(
        &mut self,
        number: u64,
        past: &Past,
        formats: &Formats,
        identities: &mut HashMap<Identity, Vec<Position>>,
    ) -> io::Result<()> {
        if self.slots >= limits::SPOOL_ENTRIES_MAX {
            // Left for the next start: there is no memory for its entries.
            self.stats.foreign_files.add(1);
            return Ok(());
        }
        let name = file_name(number);
        let mut octets = self.disk.read(&name, 0, READ_MAX)?;
        let scan = match formats.read(&octets) {
            Reading::Current(scan) => scan,
            Reading::Foreign => {
                self.stats.foreign_files.add(1);
                return Ok(());
            }
            Reading::Migrated(migrated) => {
                replace_file(self.disk.as_mut(), &name, &migrated, self.settings.durable())?;
                octets = migrated;
                super::super::segment::read_segment(&octets)
            }
        };
        self.take_in(number, octets.len() as u64, &scan, past, identities);
        Ok(())
    }

    fn take_in(
        &mut self,
        number: u64,
        octets: u64,
        scan: &Scan,
        past: &Past,
        identities: &mut HashMap<Identity, Vec<Position>>,
    ) {
        self.stats.damaged_entries.add(scan.damage.entries);
        self.stats.damaged_records.add(scan.damage.records);
        self.stats.damaged_octets.add(scan.damage.octets + scan.damage.torn_octets);
        let created_ns = scan.header.map_or(0, |header| header.created_ns);
        // Without a header the number must do: closings are believed.
        let same = |closed: &&Closed| scan.header.is_none() || closed.created_ns == created_ns;
        let closed = past.ledger.segments.get(&number).filter(same);
        let created_ns = if scan.header.is_none() { closed.map_or(0, |closed| closed.created_ns) } else { created_ns };
        let segment = Segment { created_ns, octets, slots: Vec::new(), records: 0, live: 0, leased: 0 };
        self.segments.insert(number, segment);
        self.octets += octets;
        self.stats.octets.add(octets);
        if self.settings.durable() {
            // A process that was killed has left octets that only the kernel knows of: before a ledger speaks
            // of them they are made to reach the disk.
            self.unsynced.insert(number);
            self.names_unsynced = true;
        }
        for placed in &scan.entries {
            let head = &placed.head;
            let position = (number, head.index);
            self.fill_gap(number, head.index);
            let noted =
                past.events.get(&position).filter(|(created, _)| *created == created_ns).map(|(_, event)| *event);
            let gone = noted == Some(Event::Closed) || closed.is_some_and(|closed| closed.has(head.index));
            let row = past.ledger.rows.get(&position);
            let lent = match noted {
                None => row.is_some_and(|row| row.repeated),
                Some(event) => event != Event::Back,
            };
            self.ledger_dirty |= noted.is_some();
            let slot = Slot {
                first_receive_ns: head.first_receive_ns,
                last_receive_ns: head.last_receive_ns,
                offset: placed.offset,
                octets: u32::try_from(head.frame_octets()).unwrap_or(u32::MAX),
                records: head.records,
                attempts: row.map_or(head.attempts, |row| row.attempts.max(head.attempts)),
                repeated: head.repeated || lent,
                fate: if gone { Fate::Gone } else { Fate::Ready },
            };
            self.restore(position, slot);
            identities.entry((head.id, head.part)).or_default().push(position);
        }
    }

    /// Places whose entries are damaged are gone, so that the others keep theirs.
    fn fill_gap(&mut self, number: u64, until: u32) {
        let from = self.segments.get(&number).map_or(0, |segment| segment.slots.len());
        let from = u32::try_from(from).unwrap_or(u32::MAX);
        for index in from..until {
            let gone = Slot {
                first_receive_ns: 0,
                last_receive_ns: 0,
                offset: 0,
                octets: 0,
                records: 0,
                attempts: 0,
                repeated: false,
                fate: Fate::Gone,
            };
            self.restore((number, index), gone);
        }
    }

    /// As `admit`, but records count only when it is known which of them count.
    fn restore(&mut self, position: Position, slot: Slot) {
        let Some(segment) = self.segments.get_mut(&position.0) else { return };
        self.slots += 1;
        if slot.fate == Fate::Ready {
            segment.live += 1;
            self.ready.insert(position);
            *self.oldest.entry(slot.first_receive_ns).or_default() += 1;
            self.stats.entries.add(1);
        }
        segment.slots.push(slot);
    }

    /// Of what stands more than once, one counts: of copies the last, of a whole and its halves the halves
    /// if both are there, else the whole.
    fn count_once(&mut self, identities: &HashMap<Identity, Vec<Position>>) {
        let mut surplus = Vec::new();
        for ((id, part), positions) in identities {
            // Of copies only the last is judged: an earlier one was left by a write that failed.
            surplus.extend_from_slice(&positions[..positions.len() - 1]);
            let there = |part: Option<u64>| part.is_some_and(|part| identities.contains_key(&(*id, part)));
            let first = part.checked_mul(2).and_then(|twice| twice.checked_add(1));
            let halves = there(first) && there(first.and_then(|first| first.checked_add(1)));
            let sibling = if part % 2 == 1 { part.checked_add(1) } else { part.checked_sub(1) };
            let whole = part.checked_sub(1).map(|before| (*id, before / 2));
            let alone = whole.is_some_and(|whole| {
                let live = |position: &Position| self.slot(*position).is_some_and(|slot| slot.fate != Fate::Gone);
                !there(sibling) && identities.get(&whole).is_some_and(|positions| positions.last().is_some_and(live))
            });
            if halves || alone {
                surplus.extend(positions.last());
            }
        }
        for position in surplus {
            self.leave_out(position);
        }
    }

    fn leave_out(&mut self, position: Position) {
        let Some(slot) = self.slot_mut(position).filter(|slot| slot.fate != Fate::Gone) else { return };
        slot.fate = Fate::Gone;
        let first = slot.first_receive_ns;
        self.ready.remove(&position);
        self.stats.entries.sub(1);
        self.stats.duplicates.add(1);
        if let Some(segment) = self.segments.get_mut(&position.0) {
            segment.live -= 1;
        }
        if let Some(count) = self.oldest.get_mut(&first) {
            *count -= 1;
            if *count == 0 {
                self.oldest.remove(&first);
            }
        }
        self.ledger_dirty = true;
    }
}
