//! `[decode] elements_file` -> the registry: the operator's elements beside the built-in ones (RG-03).
//!
//! Read when the configuration is, so that `check` tells what is wrong with it, by line and column. Its text is parsed by
//! `element`, which knows no files.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use crate::element::{Registry, parse_elements};
use crate::limits::ELEMENT_FILE_OCTETS_MAX;

/// The built-in elements and those of the file at `path`.
///
/// # Errors
/// What is wrong with the file, one sentence each.
pub fn read_elements(path: &Path) -> Result<Registry, Vec<String>> {
    let shown = path.display();
    let text = text_of(path)
        .map_err(|e| vec![format!("elements file {shown} cannot be read ({e}): check path and permissions")])?;
    match parse_elements(&text) {
        Ok(rows) => Ok(Registry::with_operator(rows)),
        Err(faults) => Err(faults.iter().map(|fault| format!("elements file {shown}, {fault}")).collect()),
    }
}

/// Whole or up to an octet more than is parsed: the length that the system tells is no bound.
fn text_of(path: &Path) -> io::Result<String> {
    let mut octets = Vec::new();
    File::open(path)?.take(ELEMENT_FILE_OCTETS_MAX as u64 + 1).read_to_end(&mut octets)?;
    String::from_utf8(octets).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.utf8_error()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Machine, Overrides, load};

    #[test]
    fn rg_03_the_file_is_read_with_the_configuration_and_its_faults_are_told_with_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("elements.tsv");
        let head = "pen\tid\tname\tabstract_data_type\tsemantics\tunits\n";
        let machine = Machine { cores: 4, memory: Some((8 << 30, "a test".into())), default_file: None };
        let overrides = Overrides::default().with("decode.elements_file", path.to_str().expect("a path in UTF-8"));
        std::fs::write(&path, format!("{head}77\t1\tours\tstring\tdefault\tnone\n")).expect("written");
        let loaded = load(&overrides, [], &machine).unwrap_or_else(|e| panic!("{e}"));
        let ours = loaded.settings.collect.decode.registry.by_name("ours");
        assert_eq!(ours.map(|id| (id.pen, id.id)), Some((77, 1)));
        std::fs::write(&path, format!("{head}77\t0\tours\tstring\tdefault\tnone\n")).expect("written");
        let told = load(&overrides, [], &machine).expect_err("a wrong file").to_string();
        assert!(told.contains("elements.tsv, line 2, column id: \"0\" is no number from 1 to 65535"), "{told}");
        assert!(told.contains("--decode-elements-file"), "{told}");
        std::fs::remove_file(&path).expect("removed");
        let told = load(&overrides, [], &machine).expect_err("no file").to_string();
        assert!(told.contains("cannot be read"), "{told}");
        std::fs::write(&path, [0xFF, 0xFE]).expect("written");
        assert!(read_elements(&path).expect_err("no UTF-8")[0].contains("invalid utf-8"));
    }
}
