//! The signatures of tokens, checked by ring: the one provider of cryptography in the tree.

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature::{Error, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind};
use ring::{hmac, signature};

/// Makes the tokens' library use ring in this process. Where another provider was chosen before, that
/// one stays.
pub(super) fn install() {
    static PROVIDER: CryptoProvider = CryptoProvider {
        signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
        verifier_factory,
        key_utils: KeyUtils::new_unimplemented(),
    };
    let _ = PROVIDER.install_default();
}

fn verifier_factory(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    let fits = match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => AlgorithmFamily::Hmac,
        Algorithm::ES256 | Algorithm::ES384 => AlgorithmFamily::Ec,
        Algorithm::EdDSA => AlgorithmFamily::Ed,
        Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512 => AlgorithmFamily::Rsa,
        _ => return Err(ErrorKind::UnsupportedAlgorithm.into()),
    };
    if key.family() != fits {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    Ok(Box::new(Ring {
        algorithm: *algorithm,
        key: key.clone(),
    }))
}

struct Ring {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl JwtVerifier for Ring {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for Ring {
    fn verify(&self, message: &[u8], signed: &Vec<u8>) -> std::result::Result<(), Error> {
        let verified = match (self.algorithm, self.key.kind()) {
            (algorithm, DecodingKeyKind::SecretOrDer(bytes)) => match algorithm {
                Algorithm::HS256 => mac(hmac::HMAC_SHA256, bytes, message, signed),
                Algorithm::HS384 => mac(hmac::HMAC_SHA384, bytes, message, signed),
                Algorithm::HS512 => mac(hmac::HMAC_SHA512, bytes, message, signed),
                Algorithm::ES256 => {
                    public(&signature::ECDSA_P256_SHA256_FIXED, bytes, message, signed)
                }
                Algorithm::ES384 => {
                    public(&signature::ECDSA_P384_SHA384_FIXED, bytes, message, signed)
                }
                Algorithm::EdDSA => public(&signature::ED25519, bytes, message, signed),
                other => match rsa(other) {
                    Some(rsa) => public(rsa, bytes, message, signed),
                    None => Err(ring::error::Unspecified),
                },
            },
            (algorithm, DecodingKeyKind::RsaModulusExponent { n, e }) => match rsa(algorithm) {
                Some(rsa) => {
                    signature::RsaPublicKeyComponents { n, e }.verify(rsa, message, signed)
                }
                None => Err(ring::error::Unspecified),
            },
        };
        verified.map_err(|_| Error::new())
    }
}

type Verified = std::result::Result<(), ring::error::Unspecified>;

/// Compares in constant time.
fn mac(algorithm: hmac::Algorithm, secret: &[u8], message: &[u8], signed: &[u8]) -> Verified {
    hmac::verify(&hmac::Key::new(algorithm, secret), message, signed)
}

fn public(
    algorithm: &'static dyn signature::VerificationAlgorithm,
    key: &[u8],
    message: &[u8],
    signed: &[u8],
) -> Verified {
    signature::UnparsedPublicKey::new(algorithm, key).verify(message, signed)
}

fn rsa(algorithm: Algorithm) -> Option<&'static signature::RsaParameters> {
    Some(match algorithm {
        Algorithm::RS256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}
