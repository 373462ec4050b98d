//! TLS to backends.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig, InvalidMessage, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::deadline::Deadline;
use super::probe::{Failure, Trouble};
use super::verifier::{ByRoots, Everything};
use super::{certificate, tcp};
use crate::model::{Roots, TlsCheck, Trust};

/// Settings of TLS, made once for each set of certificates that is trusted.
#[derive(Debug, Default)]
pub struct Connectors {
    everything: OnceLock<Arc<ClientConfig>>,
    by_roots: Mutex<Vec<(Arc<Roots>, Arc<ClientConfig>)>>,
}

impl Connectors {
    /// Speaks TLS with the backend at `address`.
    pub async fn handshake(
        &self,
        connection: TcpStream,
        address: IpAddr,
        check: &TlsCheck,
        deadline: Deadline,
    ) -> Result<TlsStream<TcpStream>, Trouble> {
        let config = self.config(&check.trust).map_err(Trouble::Node)?;
        let name = check.server_name.clone();
        let name = name.unwrap_or_else(|| ServerName::IpAddress(address.into()));
        deadline
            .bound(
                TlsConnector::from(config).connect(name, connection),
                Failure::HandshakeTimeout,
            )
            .await?
            .map_err(|error| broken(&error, deadline))
    }

    fn config(&self, trust: &Trust) -> Result<Arc<ClientConfig>, String> {
        let roots = match trust {
            Trust::Anything => {
                let everything = self.everything.get_or_init(|| config(Arc::new(Everything)));
                return Ok(Arc::clone(everything));
            }
            Trust::Roots(roots) => roots,
        };
        // A panic between two statements would have left a list of whole entries.
        let mut known = self.by_roots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, config)) = known.iter().find(|(of, _)| Arc::ptr_eq(of, roots)) {
            return Ok(Arc::clone(config));
        }
        // Those of a configuration that is gone are held by nobody else.
        known.retain(|(of, _)| Arc::strong_count(of) > 1);
        let config = config(verifier(roots)?);
        known.push((Arc::clone(roots), Arc::clone(&config)));
        Ok(config)
    }
}

/// Why a connection broke, in its handshake or after it.
pub fn broken(error: &io::Error, deadline: Deadline) -> Trouble {
    let of_tls = error.get_ref().and_then(|inner| inner.downcast_ref());
    match (of_tls, error.kind()) {
        (Some(error), _) => Trouble::Backend(failure(error)),
        (None, io::ErrorKind::UnexpectedEof) => {
            Trouble::Backend(Failure::Closed("in the TLS handshake"))
        }
        (None, _) => tcp::judge(error, deadline.timeout()),
    }
}

fn failure(error: &rustls::Error) -> Failure {
    use rustls::Error;
    match error {
        Error::InvalidCertificate(error) => Failure::Certificate(certificate::words(error)),
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType
            | InvalidMessage::UnknownProtocolVersion
            | InvalidMessage::MessageTooLarge,
        ) => Failure::NotTls,
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            Failure::Tls("the backend asks for a client certificate".to_owned())
        }
        Error::AlertReceived(alert) => Failure::Tls(format!("the backend says {alert:?}")),
        other => Failure::Tls(other.to_string()),
    }
}

fn config(verifier: Arc<dyn ServerCertVerifier>) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has cipher suites for TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A resumed session shows no certificate, so nobody would see it expire.
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

fn verifier(roots: &Arc<Roots>) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let mut anchors = RootCertStore::empty();
    anchors.add_parsable_certificates(roots.0.iter().cloned());
    let by_chain = WebPkiServerVerifier::builder_with_provider(Arc::new(anchors), provider())
        .build()
        .map_err(|error| error.to_string())?;
    Ok(Arc::new(ByRoots::new(by_chain, roots)))
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(ring::default_provider())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots() -> Arc<Roots> {
        let made = rcgen::generate_simple_self_signed(["web.example".to_owned()]);
        Arc::new(Roots(vec![made.expect("a certificate").cert.der().clone()]))
    }

    #[test]
    fn settings_are_made_once_and_go_with_the_configuration_that_needs_them() {
        let connectors = Connectors::default();
        let config = |trust: &Trust| connectors.config(trust).expect("usable");
        let (first, second) = (Trust::Roots(roots()), Trust::Roots(roots()));
        for trust in [&first, &second, &Trust::Anything] {
            assert!(Arc::ptr_eq(&config(trust), &config(trust)), "{trust:?}");
        }
        assert!(!Arc::ptr_eq(&config(&first), &config(&second)));
        drop(first);
        config(&Trust::Roots(roots()));
        let known = connectors.by_roots.lock().expect("no panic");
        assert_eq!(known.len(), 2, "those of the first are gone");
    }

    #[test]
    fn no_session_is_resumed() {
        let trust = Trust::Roots(roots());
        let config = Connectors::default().config(&trust).expect("usable");
        let shown = format!("{:?}", config.resumption);
        assert!(shown.contains("NoClientSessionStorage"), "{shown}");
    }
}
