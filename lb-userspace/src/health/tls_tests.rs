//! Checks over TLS against rustls servers on loopback, with certificates made for each test.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::http_tests::{http_check, probe};
use crate::model::{HttpCheck, Roots, TlsCheck, Trust};

/// A certificate with its key.
struct Identity {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

/// A CA and what it signs.
struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ca(CertifiedIssuer::self_signed(params, key()).expect("it can be made"))
    }

    fn sign(&self, names: &[&str], edit: impl FnOnce(&mut CertificateParams)) -> Identity {
        let (params, key) = (params(names, edit), key());
        let certificate = params.signed_by(&key, &self.0).expect("it can be made");
        Identity {
            certificate: certificate.der().clone(),
            key,
        }
    }

    fn trusted(&self) -> Trust {
        trusted(self.0.der())
    }
}

fn self_signed(names: &[&str], edit: impl FnOnce(&mut CertificateParams)) -> Identity {
    let (params, key) = (params(names, edit), key());
    let certificate = params.self_signed(&key).expect("it can be made");
    Identity {
        certificate: certificate.der().clone(),
        key,
    }
}

fn params(names: &[&str], edit: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    edit(&mut params);
    params
}

fn key() -> KeyPair {
    KeyPair::generate().expect("there is randomness")
}

fn trusted(certificate: &CertificateDer<'static>) -> Trust {
    Trust::Roots(Arc::new(Roots(vec![certificate.clone()])))
}

fn expired(params: &mut CertificateParams) {
    params.not_after = date_time_ymd(2001, 1, 1);
}

fn of_a_ca(params: &mut CertificateParams) {
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
}

fn server_config(identity: &Identity) -> ServerConfig {
    let key = PrivateKeyDer::try_from(identity.key.serialize_der()).expect("PKCS #8");
    builder()
        .with_no_client_auth()
        .with_single_cert(vec![identity.certificate.clone()], key)
        .expect("the key is that of the certificate")
}

fn builder() -> rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS 1.2 and 1.3")
}

/// What a check says of an HTTPS server with this configuration; the name in `name` is expected, or the address.
async fn against(config: ServerConfig, trust: Trust, name: Option<&str>) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("loopback is up");
    let port = listener.local_addr().expect("it is bound").port();
    let server = async move {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            // It may be refused by the check.
            let Ok(stream) = acceptor.accept(stream).await else {
                continue;
            };
            let service = service_fn(|_| async {
                Ok::<_, hyper::Error>(Response::new(Full::<Bytes>::from("all is well")))
            });
            let http = hyper::server::conn::http1::Builder::new();
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        }
    };
    tokio::select! {
        said = probe(LOCALHOST, https_check(port, trust, name)) => said,
        () = server => unreachable!("it serves for ever"),
    }
}

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn https_check(port: u16, trust: Trust, name: Option<&str>) -> HttpCheck {
    let name = name.map(|name| ServerName::try_from(name.to_owned()).expect("a name"));
    HttpCheck {
        tls: Some(TlsCheck {
            server_name: name,
            trust,
        }),
        body: Some("all is well".to_owned()),
        ..http_check(port)
    }
}

#[tokio::test]
async fn signed_by_a_ca_that_is_trusted() {
    let ca = Ca::new("ours");
    let web = ca.sign(&["web.example", "127.0.0.1"], |_| {});
    for name in [Some("web.example"), None] {
        assert_eq!(against(server_config(&web), ca.trusted(), name).await, "ok");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate() {
    let ca = Ca::new("ours");
    let web = Some("web.example");
    let other = ca.sign(&["other.example"], |_| {});
    assert_eq!(
        against(server_config(&other), ca.trusted(), web).await,
        "certificate is for other.example, not web.example"
    );
    assert_eq!(
        against(server_config(&other), ca.trusted(), None).await,
        "certificate is for other.example, not 127.0.0.1"
    );
    let nameless = ca.sign(&[], |_| {});
    assert_eq!(
        against(server_config(&nameless), ca.trusted(), web).await,
        "certificate has no subjectAltName, and should be for web.example"
    );
    let late = ca.sign(&["web.example"], expired);
    let said = against(server_config(&late), ca.trusted(), web).await;
    assert!(
        said.starts_with("certificate expired ") && said.ends_with(" days ago"),
        "{said}"
    );
    let early = ca.sign(&["web.example"], |params| {
        params.not_before = date_time_ymd(4000, 1, 1)
    });
    let said = against(server_config(&early), ca.trusted(), web).await;
    assert!(
        said.starts_with("certificate is not valid for another ") && said.ends_with(" days"),
        "{said}"
    );
    let good = ca.sign(&["web.example"], |_| {});
    assert_eq!(
        against(server_config(&good), Ca::new("another").trusted(), web).await,
        "certificate is signed by nobody who is trusted"
    );
    assert_eq!(
        against(server_config(&good), Ca::new("ours").trusted(), web).await,
        "certificate is signed with another key than the trusted CA of that name has"
    );
    let a_ca = ca.sign(&["web.example"], of_a_ca);
    assert_eq!(
        against(server_config(&a_ca), ca.trusted(), web).await,
        "certificate is a CA's own; to trust it as it is, put it into `ca_file`"
    );
}

#[tokio::test]
async fn self_signed_and_named_itself() {
    let web = Some("web.example");
    for edit in [|_: &mut CertificateParams| {}, of_a_ca] {
        let own = self_signed(&["web.example"], edit);
        let trust = trusted(&own.certificate);
        assert_eq!(against(server_config(&own), trust.clone(), web).await, "ok");
        assert_eq!(
            against(server_config(&own), trust, Some("other.example")).await,
            "certificate is for web.example, not other.example"
        );
        let stranger = self_signed(&["web.example"], edit);
        let said = against(server_config(&stranger), trusted(&own.certificate), web).await;
        assert!(said.starts_with("certificate "), "{said}");

        let late = self_signed(&["web.example"], |params| {
            edit(params);
            expired(params);
        });
        let trust = trusted(&late.certificate);
        let said = against(server_config(&late), trust, web).await;
        assert!(said.starts_with("certificate expired "), "{said}");
    }
}

#[tokio::test]
async fn any_certificate_unverified() {
    let late = self_signed(&["other.example"], expired);
    let said = against(server_config(&late), Trust::Anything, Some("web.example")).await;
    assert_eq!(said, "ok");
}

#[tokio::test]
async fn a_server_that_wants_a_certificate_of_the_client() {
    let ca = Ca::new("ours");
    let web = ca.sign(&["web.example"], |_| {});
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.0.der().clone()).expect("a CA");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .expect("it has a root");
    let key = PrivateKeyDer::try_from(web.key.serialize_der()).expect("PKCS #8");
    let config = builder()
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![web.certificate.clone()], key)
        .expect("the key is that of the certificate");
    assert_eq!(
        against(config, ca.trusted(), Some("web.example")).await,
        "TLS: the backend asks for a client certificate"
    );
}

/// What a check over TLS says of a server that reads a little and answers with `answer`, in clear.
async fn against_clear(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("loopback is up");
    let port = listener.local_addr().expect("it is bound").port();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut hello = vec![0; 16 << 10];
        let _ = stream.read(&mut hello).await.expect("a hello");
        stream.write_all(answer).await.expect("it listens");
    });
    let check = https_check(port, Trust::Anything, None);
    let said = probe(LOCALHOST, check).await;
    server.await.expect("the server did not panic");
    said
}

#[tokio::test]
async fn a_port_without_tls() {
    let answer = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(against_clear(answer).await, "no TLS on this port");
    assert_eq!(
        against_clear(b"").await,
        "connection closed in the TLS handshake"
    );
    let alert = b"\x15\x03\x03\x00\x02\x02\x28";
    assert_eq!(
        against_clear(alert).await,
        "TLS: the backend says HandshakeFailure"
    );
}

#[tokio::test]
async fn silence_in_the_handshake() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("loopback is up");
    let port = listener.local_addr().expect("it is bound").port();
    let server = async {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        stream.read_u8().await.expect("a hello");
        tokio::time::pause();
        std::future::pending::<()>().await;
    };
    let check = https_check(port, Trust::Anything, None);
    tokio::select! {
        said = probe(LOCALHOST, check) => {
            assert_eq!(said, "TLS handshake not complete after 10s");
        }
        () = server => unreachable!("it keeps still for ever"),
    }
}
