use std::path::Path;

use rcgen::{CertificateParams, KeyPair};

use super::*;

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

/// A certificate and its key, both PEM.
fn identity(year: i32) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["collector".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn settings(certificate: PathBuf, key: PathBuf) -> ClientTls {
    ClientTls { identity: Some(KeyPairFiles { certificate, key }), ..ClientTls::default() }
}

fn error(certificate: &Path, key: &Path) -> String {
    let identity = KeyPairFiles { certificate: certificate.to_owned(), key: key.to_owned() };
    let as_client = client(&settings(certificate.to_owned(), key.to_owned()), "[x]", &[]).unwrap_err().to_string();
    let as_server = ServerTls { identity, client_authorities: None, min_version: MinVersion::Tls12 };
    assert_eq!(server(&as_server, "[x]", &[]).unwrap_err().to_string(), as_client);
    as_client
}

#[test]
fn both_sides_are_built_and_tell_when_their_certificate_ends() {
    let files = Files::new();
    let (certificate, key) = identity(2031);
    let (certificate, key) = (files.write("c", &certificate), files.write("k", &key));
    let side = client(&settings(certificate.clone(), key.clone()), "[x]", &[b"h2"]).unwrap().current();
    // 2031-01-01T00:00:00Z.
    assert_eq!((side.certificate_expires, side.authorities_expire), (1_924_992_000, 0));
    assert_eq!(side.config.alpn_protocols, [b"h2"]);
    let trusting = ClientTls { authorities: Some(certificate.clone()), ..ClientTls::default() };
    let side = client(&trusting, "[x]", &[]).unwrap().current();
    assert_eq!((side.certificate_expires, side.authorities_expire), (0, 1_924_992_000));
    let tls = ServerTls {
        identity: KeyPairFiles { certificate: certificate.clone(), key },
        client_authorities: Some(certificate),
        min_version: MinVersion::Tls13,
    };
    assert_eq!(server(&tls, "[x]", &[]).unwrap().current().certificate_expires, 1_924_992_000);
    assert!(client(&ClientTls::default(), "[x]", &[]).unwrap().shared().stale_files() == 0);
}

#[test]
fn wrong_files_are_named_with_what_is_wrong_in_them() {
    let files = Files::new();
    let ((certificate, key), (_, other)) = (identity(2031), identity(2031));
    let right = (files.write("c", &certificate), files.write("k", &key));
    let empty = files.write("empty", "");
    let text = error(&right.1, &right.0);
    assert!(text.contains("[x] tls_cert_file = ") && text.contains("exchanged"), "{text}");
    assert!(error(&right.0, &right.0).contains("holds a certificate and no private key"));
    assert!(error(&right.0, &files.write("o", &other)).contains("is not the key of the certificate in"));
    assert!(error(&empty, &right.1).contains("holds no certificate in PEM"));
    assert!(error(&right.0, &empty).contains("holds no private key in PEM"));
    assert!(error(&right.0, Path::new("/nowhere/k")).contains("[x] tls_key_file = /nowhere/k: cannot be read"));
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    assert!(error(&right.0, &files.write("e", &encrypted)).contains("encrypted"));
    let cut = files.write("cut", &key[..key.len() / 2]);
    let text = error(&right.0, &cut);
    assert!(text.contains("cut short") && !text.contains(&key[40..60]), "{text}");
    assert!(error(&files.write("cc", &certificate[..200]), &right.1).contains("cut short"));
    let nobody = ClientTls { authorities: Some(empty), ..ClientTls::default() };
    assert!(client(&nobody, "[x]", &[]).unwrap_err().to_string().contains("[x] tls_ca_file"));
}

#[test]
fn a_new_pair_is_used_once_both_halves_are_there() {
    let files = Files::new();
    let (old, new) = (identity(2031), identity(2032));
    let paths = (files.write("c", &old.0), files.write("k", &old.1));
    let watched = client(&settings(paths.0, paths.1), "[x]", &[]).unwrap();
    let shared = watched.shared();
    files.write("c", &new.0);
    assert_eq!(shared.refresh_settled(), crate::secret::Change::Unchanged);
    files.write("k", &new.1);
    shared.refresh_settled();
    assert_eq!(shared.refresh_settled(), crate::secret::Change::Used);
    assert_eq!(watched.current().certificate_expires, 1_956_528_000);
    files.write("k", &old.1);
    assert!(matches!(shared.refresh(), crate::secret::Change::Refused(_)));
    assert_eq!((shared.stale_files(), watched.current().certificate_expires), (1, 1_956_528_000));
}
