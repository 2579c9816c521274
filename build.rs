//! Turns the registries in data/ into static tables (OUT_DIR/elements.rs).
//!
//! A table that is not consistent ends the build: a wrong element number would be a wrong flow.

use std::path::Path;
use std::{env, fs};

#[path = "src/element/reverse.rs"]
mod reverse;
#[path = "src/element/table_parse.rs"]
mod table_parse;

use table_parse::{Row, name_index_source, parse, sole_maker_source, sort_unique, table_source, with_reverse};

fn main() {
    println!("cargo::rerun-if-changed=data");
    println!("cargo::rerun-if-changed=src/element/reverse.rs");
    println!("cargo::rerun-if-changed=src/element/table_parse.rs");
    if let Err(message) = generate() {
        // The last line that cargo shows is the one to read.
        eprintln!("element tables: {message}");
        std::process::exit(1);
    }
}

fn generate() -> Result<(), String> {
    let mut elements = read("data/iana.tsv")?;
    if let Some(row) = elements.iter().find(|r| r.pen != 0) {
        return Err(format!("data/iana.tsv: {} has pen {}, expected 0", row.name, row.pen));
    }
    elements.extend(read("data/enterprise.tsv")?);
    let elements = sort_unique(with_reverse(sort_unique(elements)?))?;
    let netflow9 = sort_unique(read("data/netflow9_vendor.tsv")?)?;

    let source = [
        table_source("ELEMENTS", &elements),
        name_index_source("BY_NAME", &elements),
        table_source("NETFLOW9", &netflow9),
        sole_maker_source("NETFLOW9_SOLE", &netflow9),
    ]
    .concat();
    let directory = env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: run through cargo")?;
    let path = Path::new(&directory).join("elements.rs");
    fs::write(&path, source).map_err(|e| format!("cannot write {}: {e}", path.display()))
}

fn read(file: &str) -> Result<Vec<Row>, String> {
    let text = fs::read_to_string(file).map_err(|e| format!("cannot read {file}: {e}"))?;
    parse(file, &text)
}
