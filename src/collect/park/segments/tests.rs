use proptest::prelude::*;

use super::*;

fn header(version: Version) -> Header {
    Header {
        version,
        observation_domain: 7,
        sequence: 8,
        export_ms: 1_700_000_000_123,
        sys_uptime_ms: 9,
        count_or_length: 10,
        sampling: 11,
    }
}

fn set(n: u64, body: &[u8]) -> WaitingSet<'_> {
    WaitingSet { id: 256, port: 5_000, receive_ns: n, header: header(Version::V9), body }
}

fn files(dir: &Path) -> usize {
    std::fs::read_dir(dir).expect("the directory").count()
}

#[test]
fn files_are_begun_when_full_and_deleted_when_nothing_in_them_is_wanted() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut segments = Segments::open(dir.path(), 1_000).expect("open");
    let places: Vec<Place> = (0..10).map(|n| segments.append(n, &set(n, &[1; 400])).expect("append")).collect();
    assert_eq!(files(dir.path()), 5, "two entries of {} a file", entry_octets(400));
    let mode = std::os::unix::fs::MetadataExt::mode(
        &dir.path().read_dir().unwrap().next().unwrap().unwrap().metadata().unwrap(),
    );
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(segments.read(places[9], 9).expect("read"), set(9, &[1; 400]));
    assert_eq!(segments.release(places[0]), 0);
    assert_eq!(segments.release(places[1]), 2 * entry_octets(400));
    assert_eq!(files(dir.path()), 4);
    assert!(segments.read(places[1], 1).is_err());
    // The newest goes on from its beginning.
    assert_eq!(segments.release(places[8]) + segments.release(places[9]), 2 * entry_octets(400));
    assert_eq!((files(dir.path()), segments.append(10, &set(10, &[])).expect("append").offset), (4, 0));
    drop(segments);
    assert_eq!(files(dir.path()), 0);
}

#[test]
fn what_an_earlier_process_left_is_deleted_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(dir.path().join("1-1.sets"), b"torn").expect("write");
    std::fs::write(dir.path().join("notes"), b"mine").expect("write");
    let segments = Segments::open(dir.path(), 1_000).expect("open");
    assert_eq!(files(dir.path()), 2, "its own and the notes");
    drop(segments);
    assert!(dir.path().join("notes").exists());
    assert!(Segments::open(&dir.path().join("notes"), 1_000).is_err(), "no directory");
}

#[test]
fn a_file_that_is_cut_or_changed_gives_no_set() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut segments = Segments::open(dir.path(), 10_000).expect("open");
    let first = segments.append(1, &set(1, b"first")).expect("append");
    let second = segments.append(2, &set(2, b"second")).expect("append");
    assert!(segments.read(first, 2).is_err(), "another's number");
    let path = segments.segments[&segments.newest].path.clone();
    let whole = std::fs::read(&path).expect("read");
    for at in 0..first.octets() as usize {
        for bit in 0..8 {
            let mut changed = whole.clone();
            changed[at] ^= 1 << bit;
            std::fs::write(&path, &changed).expect("write");
            assert!(segments.read(first, 1).is_err(), "octet {at}");
            assert_eq!(segments.read(second, 2).expect("the other is as it was").body, b"second");
        }
    }
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).expect("write");
        assert_eq!(segments.read(first, 1).is_ok(), length >= first.octets() as usize, "{length}");
        assert!(segments.read(second, 2).is_err());
    }
}

proptest! {
    #[test]
    fn sets_come_back_as_they_were(
        ids in (any::<u16>(), any::<u16>(), any::<u64>(), any::<u64>()),
        words in (any::<u32>(), any::<u32>(), any::<u64>(), any::<u32>(), any::<u16>(), any::<u16>()),
        version in 0..Version::ALL.len(),
        body in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let header = Header {
            version: Version::ALL[version],
            observation_domain: words.0,
            sequence: words.1,
            export_ms: words.2,
            sys_uptime_ms: words.3,
            count_or_length: words.4,
            sampling: words.5,
        };
        let set = WaitingSet { id: ids.0, port: ids.1, receive_ns: ids.2, header, body: &body };
        let mut entry = Vec::new();
        encode(&mut entry, ids.3, &set);
        prop_assert_eq!(entry.len() as u64, entry_octets(body.len()));
        prop_assert_eq!(decode(&entry, ids.3), Some(set));
        for cut in 0..entry.len() {
            prop_assert_eq!(decode(&entry[..cut], ids.3), None);
        }
    }

    #[test]
    fn no_octets_are_believed_or_too_much(entry in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(decode(&entry, 1), None);
    }
}
