//! PEM files -> certificates and keys, with errors that say what is in the file instead.

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use crate::secret::SourceFile;

/// Certificates of a file, the leaf first, and the end of the leaf's validity.
pub(super) fn chain(file: &SourceFile, pem: &[u8]) -> Result<(Vec<CertificateDer<'static>>, u64), String> {
    let chain = certificates(file, pem)?;
    let expires = chain.first().map_or(0, |leaf| expiry(leaf));
    Ok((chain, expires))
}

/// The authorities of a file, and when the last of them ends.
pub(super) fn authorities(file: &SourceFile, pem: &[u8]) -> Result<(RootCertStore, u64), String> {
    let certificates = certificates(file, pem)?;
    let expires = certificates.iter().map(|c| expiry(c)).max().unwrap_or(0);
    let mut roots = RootCertStore::empty();
    // Bundles of whole systems hold one or the other that is too odd to be used: the rest still is.
    let (used, odd) = roots.add_parsable_certificates(certificates);
    if used == 0 {
        return Err(file.fault("none of its certificates can be used as an authority"));
    }
    if odd > 0 {
        tracing::warn!(used, odd, "{}", file.fault("some certificates cannot be used as authorities"));
    }
    Ok((roots, expires))
}

/// The private key of a file.
pub(super) fn key(file: &SourceFile, pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    if let Some(Ok(key)) = PrivateKeyDer::pem_slice_iter(pem).next() {
        return Ok(key);
    }
    // What the parser says of a key is not repeated: it may quote from it.
    Err(file.fault(if holds(pem, "ENCRYPTED") {
        "holds an encrypted key, and nobody is here to type its passphrase: store it without (openssl pkey -in FILE \
         -out NEW), readable for the collector alone"
    } else if holds(pem, "PRIVATE KEY-----") {
        "holds a private key that is cut short or damaged: write the file anew"
    } else if holds(pem, "BEGIN CERTIFICATE-----") {
        "holds a certificate and no private key: are the certificate's and the key's file exchanged?"
    } else {
        "holds no private key in PEM (-----BEGIN PRIVATE KEY-----): convert it (openssl pkey -inform DER -in FILE)"
    }))
}

/// Why a certificate and a key do not go together.
pub(super) fn unfit(certificate: &SourceFile, key: &SourceFile, error: &rustls::Error) -> String {
    match error {
        rustls::Error::InconsistentKeys(_) => {
            key.fault(format!("is not the key of the certificate in {}: take both from one issue", path(certificate)))
        }
        rustls::Error::InvalidCertificate(e) => certificate.fault(format!("its first certificate is unusable: {e:?}")),
        _ => key.fault(format!("cannot be used: {error}; RSA (from 2,048 bits), ECDSA P-256 or P-384 and Ed25519 can")),
    }
}

/// End of a certificate's validity, Unix seconds; 0 if it cannot be read.
#[must_use]
pub fn expiry(der: &[u8]) -> u64 {
    let certificate = Certificate::from_der(der);
    certificate.map_or(0, |c| c.tbs_certificate().validity().not_after.to_unix_duration().as_secs())
}

fn certificates(file: &SourceFile, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let certificates =
        certificates.map_err(|_| file.fault("holds a PEM block that is cut short or damaged: write the file anew"))?;
    if !certificates.is_empty() {
        return Ok(certificates);
    }
    Err(file.fault(if holds(pem, "PRIVATE KEY-----") {
        "holds a private key and no certificate: are the certificate's and the key's file exchanged?"
    } else if pem.first() == Some(&0x30) {
        "is in DER: convert it to PEM (openssl x509 -inform DER -in FILE -out NEW)"
    } else {
        "holds no certificate in PEM (-----BEGIN CERTIFICATE-----)"
    }))
}

fn holds(pem: &[u8], text: &str) -> bool {
    pem.windows(text.len()).any(|window| window == text.as_bytes())
}

fn path(file: &SourceFile) -> String {
    file.path().display().to_string()
}
