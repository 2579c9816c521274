//! The fuzz corpus, replayed by `cargo test`: every input that was ever interesting keeps the promises,
//! and the seeds are what their source says. `UPDATE_SEEDS=1 cargo test --test fuzz_corpus` writes them anew.

#[path = "fuzz_corpus/capture_seeds.rs"]
mod capture_seeds;
#[path = "../fuzz/src/captures.rs"]
mod captures;
#[path = "fuzz_corpus/deep.rs"]
mod deep;
#[path = "fuzz_corpus/element_seeds.rs"]
mod element_seeds;
#[path = "../fuzz/src/elements.rs"]
mod elements;
#[path = "../fuzz/src/encode.rs"]
mod encode;
#[path = "fuzz_corpus/encoded.rs"]
mod encoded;
#[path = "common/frames.rs"]
mod frames;
#[path = "../fuzz/src/invariants.rs"]
mod invariants;
#[path = "../fuzz/src/reference.rs"]
mod reference;
#[path = "fuzz_corpus/seeds.rs"]
mod seeds;
#[path = "fuzz_corpus/snapshot_seeds.rs"]
mod snapshot_seeds;
#[path = "../fuzz/src/snapshots.rs"]
mod snapshots;
#[path = "fuzz_corpus/spool_seeds.rs"]
mod spool_seeds;
#[path = "../fuzz/src/spools.rs"]
mod spools;

use std::fs;
use std::path::PathBuf;

/// Bound of what lies in the repository, octets.
const CORPUS_OCTETS_MAX: usize = 200 << 10;

fn corpus(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(corpus(target)).unwrap().map(|entry| entry.unwrap().path());
    let mut inputs: Vec<_> = files.map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect();
    inputs.sort();
    inputs
}

fn compare(target: &str, seeds: Vec<(&'static str, Vec<u8>)>) {
    let update = std::env::var_os("UPDATE_SEEDS").is_some();
    if update {
        fs::create_dir_all(corpus(target)).unwrap();
    }
    for (name, octets) in seeds {
        let path = corpus(target).join(name);
        if update {
            fs::write(&path, &octets).unwrap();
        }
        let found = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}; UPDATE_SEEDS=1 writes it", path.display()));
        assert!(found == octets, "{} is not what tests/fuzz_corpus/ makes", path.display());
    }
}

#[test]
fn seeds_are_what_their_source_says() {
    compare("datagram", seeds::datagrams());
    compare("conversation", seeds::conversations());
    compare("capture", capture_seeds::captures().into_iter().map(|(name, octets, _)| (name, octets)).collect());
    compare("elements", element_seeds::files().into_iter().map(|(name, octets, _)| (name, octets)).collect());
    compare("section", deep::sections());
    compare("list", deep::list_records());
    compare("conversation", encoded::conversations());
    compare("reference", encoded::templates());
    compare("snapshot", snapshot_seeds::snapshots().into_iter().map(|(name, octets, _)| (name, octets)).collect());
    compare("spool", spool_seeds::segments().into_iter().map(|(name, octets, _)| (name, octets)).collect());
}

#[test]
fn every_datagram_of_the_corpus_keeps_the_promises() {
    for (name, octets) in inputs("datagram") {
        eprintln!("{name}");
        invariants::check_datagram(&octets);
    }
}

#[test]
fn every_conversation_of_the_corpus_keeps_the_promises() {
    for (name, octets) in inputs("conversation") {
        eprintln!("{name}");
        invariants::check_conversation(&octets);
    }
}

#[test]
fn every_capture_of_the_corpus_keeps_the_promises() {
    for (name, octets) in inputs("capture") {
        eprintln!("{name}");
        captures::check_capture(&octets);
    }
}

/// Each seed gives the datagrams that it was made for, and every cut of it keeps the promises.
#[test]
fn capture_seeds_reach_the_datagrams() {
    for (name, octets, datagrams) in capture_seeds::captures() {
        eprintln!("{name}");
        assert_eq!(captures::check_capture(&octets), datagrams, "{name}");
        for end in 0..octets.len() {
            captures::check_capture(&octets[..end]);
        }
    }
}

/// Each seed gives the elements that it was made for, and every cut of it keeps the promises.
#[test]
fn rg_03_every_elements_file_of_the_corpus_keeps_the_promises() {
    for (name, octets, rows) in element_seeds::files() {
        eprintln!("{name}");
        assert_eq!(elements::check_elements(&octets), rows, "{name}");
    }
    for (name, octets) in inputs("elements") {
        eprintln!("{name}");
        for end in 0..=octets.len() {
            elements::check_elements(&octets[..end]);
        }
    }
}

#[test]
fn every_segment_of_the_corpus_keeps_the_promises() {
    for (name, octets) in inputs("spool") {
        eprintln!("{name}");
        (0..=octets.len()).for_each(|end| {
            spools::check_spool(&octets[..end]);
        });
    }
}

#[test]
fn every_snapshot_of_the_corpus_keeps_the_promises() {
    for (name, octets) in inputs("snapshot") {
        eprintln!("{name}");
        (0..=octets.len()).for_each(|end| {
            snapshots::check_snapshot(&octets[..end]);
        });
    }
}

/// Each seed teaches what it was made for.
#[test]
fn snapshot_seeds_reach_the_lessons() {
    for (name, octets, lessons) in snapshot_seeds::snapshots() {
        let learned = snapshots::check_snapshot(&octets);
        assert_eq!(learned.len(), lessons, "{name}: {learned:#?}");
    }
}

/// Each seed gives the entries that it was made for.
#[test]
fn spool_seeds_reach_the_entries() {
    for (name, octets, entries) in spool_seeds::segments() {
        assert_eq!(spools::check_spool(&octets), entries, "{name}");
    }
}

#[test]
fn every_section_and_list_of_the_corpus_keeps_the_promises() {
    for (target, check) in
        [("section", invariants::check_section as fn(&[u8]) -> usize), ("list", invariants::check_list)]
    {
        for (name, octets) in inputs(target) {
            eprintln!("{name}");
            (0..=octets.len()).for_each(|end| {
                check(&octets[..end]);
            });
        }
    }
}

#[test]
fn every_template_of_the_corpus_reads_alike_in_both_decoders() {
    for (name, octets) in inputs("reference") {
        eprintln!("{name}");
        assert!(reference::check_reference(&octets) > 0, "{name} gives no row");
    }
}

/// Every cut of every seed, as a datagram of its own: the lengths lie in all places.
#[test]
fn every_cut_of_a_seed_keeps_the_promises() {
    for (name, octets) in seeds::datagrams() {
        eprintln!("{name}");
        for end in 0..octets.len() {
            invariants::check_datagram(&octets[..end]);
        }
    }
}

/// A seed that no longer decodes is a seed that no longer seeds. At least so many flows: structured data and
/// reverse directions may give more.
#[test]
fn seeds_reach_the_flows() {
    for (name, flows) in [
        ("v1", 1),
        ("v5_full_sampled", 30),
        ("v5_trailing", 1),
        ("v7", 1),
        ("v9_template_and_data", 2),
        ("v9_data_then_template", 1),
        ("v9_zero_filled", 2),
        ("v9_octet_records", 64),
        ("ipfix_template_and_data", 2),
    ] {
        let octets = fs::read(corpus("datagram").join(name)).unwrap();
        assert!(invariants::check_datagram(&octets) >= flows, "{name}: fewer than {flows} flows");
    }
    for (name, flows) in [
        ("v9_template_then_data", 4),
        ("v9_data_then_template", 3),
        ("v9_parked_too_long", 1),
        ("v9_redefinition", 6),
        ("v9_id_changes_kind", 1),
        ("ipfix_two_domains", 2),
        ("encoded_biflows", 4),
        ("encoded_firewall", 5),
        ("encoded_fixed", 3),
        ("encoded_options", 1),
        ("encoded_lists", 3),
    ] {
        let input = fs::read(corpus("conversation").join(name)).unwrap();
        assert!(invariants::check_conversation(&input) >= flows, "{name}: fewer than {flows} flows");
    }
    for (name, flows) in [("aggregate", 3), ("multi_biflow", 2), ("itself", 5), ("nested_basic", 1)] {
        let input = fs::read(corpus("list").join(name)).unwrap();
        assert!(invariants::check_list(&input) >= flows, "{name}: fewer than {flows} flows");
    }
}

#[test]
fn the_corpus_stays_small() {
    let octets: usize =
        ["datagram", "conversation", "capture", "elements", "section", "list", "reference", "snapshot", "spool"]
            .iter()
            .flat_map(|t| inputs(t))
            .map(|(_, o)| o.len())
            .sum();
    assert!(octets <= CORPUS_OCTETS_MAX, "{octets} octets in fuzz/corpus, at most {CORPUS_OCTETS_MAX}");
}
