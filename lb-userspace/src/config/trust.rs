//! Root certificates: those of a file, and those of the system.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::diagnostic::Diagnostic;
use super::fields::Errors;
use super::place::{Placed, Span};
use super::secret::Secrets;
use crate::model::Roots;

/// All certificates of a PEM file.
pub fn of_file(
    path: &Placed<PathBuf>,
    secrets: &Secrets<'_>,
    errors: &Errors,
) -> Option<Arc<Roots>> {
    const FILE: &str = "CA file";
    let file = match secrets.host.read(&secrets.base.join(&path.value)) {
        Ok(file) => file,
        Err(error) => {
            errors.add(secrets.unreadable(FILE, path, &error));
            return None;
        }
    };
    match certificates(&file.content) {
        Ok(roots) => Some(Arc::new(Roots(roots))),
        Err(Unusable { message, help }) => {
            let error = secrets.wrong(path, &message);
            errors.add(match help {
                Some(help) => error.help(help),
                None => error,
            });
            None
        }
    }
}

/// Those that the host trusts; an error at `place`, which asks for them, if there are none.
pub fn of_system(place: &Span, secrets: &Secrets<'_>, errors: &Errors) -> Option<Arc<Roots>> {
    let roots = secrets.system_roots.get_or_init(|| {
        let usable = secrets
            .host
            .system_roots()
            .into_iter()
            .map(CertificateDer::from);
        let usable: Vec<_> = usable
            .filter(|certificate| is_anchor(certificate))
            .collect();
        (!usable.is_empty()).then(|| Arc::new(Roots(usable)))
    });
    if roots.is_none() {
        errors.add(
            Diagnostic::at(place, "this host has no root certificates to verify backends with")
                .help(
                    "install them (package ca-certificates), or name your own with `ca_file`, or write `verify = false`",
                ),
        );
    }
    roots.clone()
}

struct Unusable {
    message: String,
    help: Option<&'static str>,
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let usable = certificate
            .ok()
            .filter(|certificate| is_anchor(certificate));
        let number = found.len() + 1;
        found.push(usable.ok_or_else(|| Unusable {
            message: format!("certificate {number} of the CA file cannot be read"),
            help: None,
        })?);
    }
    match found.is_empty() {
        true => Err(Unusable {
            message: "the CA file has no certificate".to_owned(),
            help: Some("it must be PEM text, with lines `-----BEGIN CERTIFICATE-----`"),
        }),
        false => Ok(found),
    }
}

/// Whether a chain can end in it.
fn is_anchor(certificate: &CertificateDer<'_>) -> bool {
    let added = RootCertStore::empty().add(certificate.clone().into_owned());
    added.is_ok()
}
