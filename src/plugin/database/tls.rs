//! TLS to a database server, with the certificates that lie in the pod. Opens no connection.

use std::sync::Arc;

use dbmig_wire::Read;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::url::{Tls, TlsMode};
use crate::cluster::agent::{Agent, AskError};
use crate::failure::{Failure, Result};

/// Where images have the world's root certificates.
const USUAL: [&str; 3] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// How TLS is to be done; `None` for not at all. Reads the certificates through the agent.
///
/// # Errors
/// A named file is not there or holds no PEM, or nothing proves a server that is to be proven.
pub(super) async fn config(agent: &Agent, tls: &Tls) -> Result<Option<ClientConfig>> {
    let proof = match (tls.mode, &tls.roots) {
        (TlsMode::Disable, _) => return Ok(None),
        (TlsMode::Prefer, _) | (TlsMode::Require, None) => Proof::None,
        (TlsMode::Require | TlsMode::VerifyCa, roots) => Proof::Signed(roots_of(agent, roots.as_deref()).await?),
        (TlsMode::VerifyFull, roots) => Proof::Named(roots_of(agent, roots.as_deref()).await?),
    };
    let provider = Arc::new(ring::default_provider());
    let verifier = Verifier::new(proof, &provider)?;
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| Failure::failed(format!("cannot set up TLS: {error}")))?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) else {
        return Ok(Some(builder.with_no_client_auth()));
    };
    let chain = certificates(certificate, &needed(agent, certificate).await?)?;
    let key_text = needed(agent, key).await?;
    let private = PrivateKeyDer::from_pem_slice(key_text.as_bytes());
    let private = private.map_err(|_| Failure::failed(format!("{key} in the pod holds no private key in PEM")))?;
    let config = builder.with_client_auth_cert(chain, private);
    config.map(Some).map_err(|error| Failure::failed(format!("cannot use the certificate {certificate} of the pod: {error}")))
}

async fn roots_of(agent: &Agent, path: Option<&str>) -> Result<Vec<CertificateDer<'static>>> {
    if let Some(path) = path.filter(|path| *path != "system") {
        return certificates(path, &needed(agent, path).await?);
    }
    for path in USUAL {
        if let Some(text) = text_of(agent, path).await? {
            return certificates(path, &text);
        }
    }
    Err(Failure::failed("the server's certificate is to be verified, and nothing in the pod can do that")
        .facts(USUAL.map(|path| format!("not there: {path}")))
        .next("name the root certificates: sslrootcert=PATH, a path in the pod"))
}

async fn needed(agent: &Agent, path: &str) -> Result<String> {
    text_of(agent, path).await?.ok_or_else(|| Failure::failed(format!("{path}, which TLS needs, is not in the pod")))
}

/// The text of a file in the pod, if it is there.
///
/// # Errors
/// It can't be read.
pub async fn text_of(agent: &Agent, path: &str) -> Result<Option<String>> {
    let Some((folder, name)) = path.rsplit_once('/') else { return Ok(None) };
    let folder = if folder.is_empty() { "/" } else { folder };
    let call = Read { folders: vec![folder.to_owned()], suffix: name.to_owned(), depth: 0, parent: None };
    let files = agent.ask(call, None).await.map_err(|error: AskError| error.into_failure(&format!("read {path}")))?;
    Ok(files.into_iter().find(|file| file.name == name).map(|file| file.text))
}

fn certificates(path: &str, text: &str) -> Result<Vec<CertificateDer<'static>>> {
    let found: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    found
        .ok()
        .filter(|found| !found.is_empty())
        .ok_or_else(|| Failure::failed(format!("{path} in the pod holds no certificate in PEM")))
}

/// What the server's certificate must prove.
enum Proof {
    /// Nothing.
    None,
    /// That one of these signed it.
    Signed(Vec<CertificateDer<'static>>),
    /// That, and that it is for the host's name.
    Named(Vec<CertificateDer<'static>>),
}

#[derive(Debug)]
struct Verifier {
    /// The roots, if they matter.
    roots: Option<(RootCertStore, Vec<CertificateDer<'static>>)>,
    names: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn new(proof: Proof, provider: &CryptoProvider) -> Result<Self> {
        let names = matches!(proof, Proof::Named(_));
        let roots = match proof {
            Proof::None => None,
            Proof::Signed(found) | Proof::Named(found) => {
                let mut store = RootCertStore::empty();
                let (usable, _) = store.add_parsable_certificates(found.iter().cloned());
                if usable == 0 {
                    return Err(Failure::failed("none of the pod's root certificates can be used"));
                }
                Some((store, found))
            }
        };
        Ok(Self { roots, names, algorithms: provider.signature_verification_algorithms })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let Some((roots, listed)) = &self.roots else { return Ok(ServerCertVerified::assertion()) };
        let certificate = ParsedCertificate::try_from(end_entity)?;
        // A server's own certificate may stand in the list of roots: then nobody else needs to have signed it.
        if !listed.iter().any(|root| root == end_entity) {
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, self.algorithms.all)?;
        }
        if self.names {
            verify_server_name(&certificate, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
