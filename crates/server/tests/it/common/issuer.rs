//! Whoever signs tokens.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use openline_server::Secret;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use ring::{hmac, rand};
use serde_json::{Value, json};

/// One with a key of its own.
pub(crate) struct Issuer {
    key: Key,
    /// The key's name, if it has one.
    name: Option<String>,
}

enum Key {
    Hmac(&'static str, hmac::Algorithm, String),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Issuer {
    /// One that shares a secret with the server.
    pub(crate) fn secret() -> Self {
        let secret = "a secret of more than 32 characters".to_owned();
        Self::hmac("HS256", &secret)
    }

    /// One that signs by HMAC.
    pub(crate) fn hmac(algorithm: &'static str, secret: &str) -> Self {
        let hash = match algorithm {
            "HS256" => hmac::HMAC_SHA256,
            "HS384" => hmac::HMAC_SHA384,
            _ => hmac::HMAC_SHA512,
        };
        Self {
            key: Key::Hmac(algorithm, hash, secret.to_owned()),
            name: None,
        }
    }

    /// One with a key on the curve P-256.
    pub(crate) fn ec(name: &str) -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self {
            key: Key::Ec(EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).unwrap()),
            name: Some(name.to_owned()),
        }
    }

    /// One with an Ed25519 key.
    pub(crate) fn ed(name: &str) -> Self {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self {
            key: Key::Ed(Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap()),
            name: Some(name.to_owned()),
        }
    }

    /// What the server is told of a shared secret.
    pub(crate) fn shared(&self) -> Secret {
        match &self.key {
            Key::Hmac(_, _, secret) => Secret::new(secret),
            _ => panic!("it shares none"),
        }
    }

    /// The public key as a JWK.
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = match &self.key {
            Key::Ec(key) => {
                let point = key.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..])})
            }
            Key::Ed(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encode(key.public_key().as_ref())})
            }
            Key::Hmac(_, _, secret) => json!({"kty": "oct", "k": encode(secret.as_bytes())}),
        };
        if let Some(name) = &self.name {
            jwk["kid"] = json!(name);
        }
        jwk
    }

    /// The public key as a PEM file's text.
    pub(crate) fn pem(&self) -> String {
        // What stands before the key in a SubjectPublicKeyInfo.
        let (head, key): (&[u8], &[u8]) = match &self.key {
            Key::Ec(key) => (
                b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00",
                key.public_key().as_ref(),
            ),
            Key::Ed(key) => (
                b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00",
                key.public_key().as_ref(),
            ),
            Key::Hmac(..) => panic!("it has none"),
        };
        let text = STANDARD.encode([head, key].concat());
        format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
    }

    /// A token with these claims, valid for an hour unless they say otherwise.
    pub(crate) fn token(&self, claims: Value) -> String {
        let mut all = json!({"sub": "somebody", "exp": seconds_from_now(3600)});
        for (name, value) in claims.as_object().unwrap() {
            all[name] = value.clone();
        }
        self.sign(&all)
    }

    /// Exactly these claims, signed.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        let algorithm = match &self.key {
            Key::Hmac(name, _, _) => name,
            Key::Ec(_) => "ES256",
            Key::Ed(_) => "EdDSA",
        };
        let mut header = json!({"typ": "JWT", "alg": algorithm});
        if let Some(name) = &self.name {
            header["kid"] = json!(name);
        }
        let message = format!(
            "{}.{}",
            encode(header.to_string().as_bytes()),
            encode(claims.to_string().as_bytes())
        );
        let bytes = message.as_bytes();
        let signature = match &self.key {
            Key::Hmac(_, hash, secret) => {
                let key = hmac::Key::new(*hash, secret.as_bytes());
                hmac::sign(&key, bytes).as_ref().to_vec()
            }
            Key::Ec(key) => {
                let random = rand::SystemRandom::new();
                key.sign(&random, bytes).unwrap().as_ref().to_vec()
            }
            Key::Ed(key) => key.sign(bytes).as_ref().to_vec(),
        };
        format!("{message}.{}", encode(&signature))
    }
}

/// Base64 as tokens have it.
pub(crate) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A moment as tokens write it.
pub(crate) fn seconds_from_now(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap() + seconds
}
