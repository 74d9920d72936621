//! Tokens of service accounts: JWTs signed with ES256 (RFC 7518), issued for
//! `serviceaccounts/token` and verified here by signature, dates and audience.
//!
//! Whether the account of a valid token still exists is up to `ServerState::is_current`, which asks
//! the registry.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use kinds::Tree;
use kinds::tree::json;
use rcgen::{KeyPair, PublicKeyData as _};
use registry::request::User;
use registry::token::{Bound, Claims, TokenIssuer};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    UnparsedPublicKey,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::AUTHENTICATED;

/// The issuer of the tokens, and their audience if a request names none.
pub(crate) const AUDIENCE: &str = "https://kubernetes.default.svc.cluster.local";

/// The JWS algorithm of the tokens: ECDSA on P-256 with SHA-256, signatures of two numbers of 32
/// bytes each.
const ALGORITHM: &str = "ES256";

/// Seconds by which the clock of a token's issuer may be ahead.
const CLOCK_SKEW_SECONDS: i64 = 60;

/// The service account that a valid token names.
#[derive(Clone, Debug)]
pub(crate) struct AuthenticatedAccount {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// The user that requests with the token act as. Its uid is the account's.
    pub(crate) user: Arc<User>,
    /// The audiences of the token, as far as the caller asked for them.
    pub(crate) audiences: Vec<String>,
    /// The object without which the token is invalid.
    pub(crate) bound: Option<Bound>,
}

#[derive(Serialize, Deserialize)]
struct JwtHeader {
    alg: String,
    #[serde(default)]
    kid: String,
}

/// The claims of a token, as upstream names them.
#[derive(Serialize, Deserialize)]
struct JwtClaims {
    aud: Vec<String>,
    exp: i64,
    #[serde(default)]
    iat: i64,
    iss: String,
    #[serde(default)]
    jti: String,
    #[serde(rename = "kubernetes.io")]
    kubernetes: KubernetesClaims,
    nbf: i64,
    #[serde(default)]
    sub: String,
}

#[derive(Serialize, Deserialize)]
struct KubernetesClaims {
    namespace: String,
    serviceaccount: ObjectClaim,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pod: Option<ObjectClaim>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<ObjectClaim>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<ObjectClaim>,
}

#[derive(Serialize, Deserialize)]
struct ObjectClaim {
    name: String,
    uid: String,
}

impl KubernetesClaims {
    fn new(claims: &Claims) -> Self {
        let bound_to = |plural: &str| {
            let bound = claims.bound.as_ref().filter(|bound| bound.plural == plural);
            bound.map(|bound| ObjectClaim {
                name: bound.name.clone(),
                uid: bound.uid.clone(),
            })
        };
        Self {
            namespace: claims.namespace.clone(),
            serviceaccount: ObjectClaim {
                name: claims.name.clone(),
                uid: claims.uid.clone(),
            },
            pod: bound_to("pods"),
            secret: bound_to("secrets"),
            node: bound_to("nodes"),
        }
    }

    fn into_account(self, audiences: Vec<String>) -> AuthenticatedAccount {
        let bound = [
            ("pods", self.pod),
            ("secrets", self.secret),
            ("nodes", self.node),
        ];
        let bound = bound.into_iter().find_map(|(plural, object)| {
            object.map(|object| Bound {
                plural,
                name: object.name,
                uid: object.uid,
            })
        });
        let (namespace, account) = (self.namespace, self.serviceaccount);
        let groups = [
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
            AUTHENTICATED.to_owned(),
        ];
        let user = User {
            name: subject(&namespace, &account.name),
            uid: account.uid,
            groups: groups.into(),
            ..User::default()
        };
        AuthenticatedAccount {
            namespace,
            name: account.name,
            user: Arc::new(user),
            audiences,
            bound,
        }
    }
}

/// Returns the user name of a service account.
fn subject(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

fn encode_part(part: &impl Serialize) -> String {
    let json = serde_json::to_vec(part).expect("claims are strings, numbers and lists of them");
    URL_SAFE_NO_PAD.encode(json)
}

fn decode_part<T: for<'de> Deserialize<'de>>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// Issues and verifies tokens with one key pair. Cheap to clone.
#[derive(Clone)]
pub struct ServiceAccountTokens {
    key: Arc<EcdsaKeyPair>,
    /// The hash of the public key, by which the published set of keys and the tokens name it.
    key_id: Arc<str>,
    clock: clock::Clock,
    entropy: clock::Entropy,
}

impl ServiceAccountTokens {
    /// Uses a private key in PEM form (PKCS #8).
    ///
    /// # Errors
    /// The key is not an ECDSA key on P-256.
    pub fn from_pem(
        key: &str,
        clock: clock::Clock,
        entropy: clock::Entropy,
    ) -> Result<Self, rcgen::Error> {
        let pair = KeyPair::from_pem_and_sign_algo(key, &rcgen::PKCS_ECDSA_P256_SHA256)?;
        let key = EcdsaKeyPair::from_pkcs8(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            pair.serialized_der(),
            &SystemRandom::new(),
        )
        .map_err(|rejected| rcgen::Error::RingKeyRejected(rejected.to_string()))?;
        let key_id = URL_SAFE_NO_PAD.encode(Sha256::digest(pair.subject_public_key_info()));
        Ok(Self {
            key: Arc::new(key),
            key_id: key_id.into(),
            clock,
            entropy,
        })
    }

    /// Returns the OpenID Connect discovery document of the issuer. `base` is the URL at which
    /// clients reach this server.
    pub(crate) fn openid_configuration(&self, base: &str) -> Tree {
        json!({
            "issuer": AUDIENCE,
            "jwks_uri": format!("{base}/openid/v1/jwks"),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [ALGORITHM],
        })
    }

    /// Returns the public key as a JSON Web Key Set (RFC 7517).
    pub(crate) fn keys(&self) -> Tree {
        // The key is an uncompressed point: one byte that says so, then both coordinates.
        let point = self.key.public_key().as_ref();
        let (x, y) = point[1..].split_at(point.len() / 2);
        json!({"keys": [{
            "use": "sig", "kty": "EC", "kid": &*self.key_id, "crv": "P-256", "alg": ALGORITHM,
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        }]})
    }

    /// Verifies a token and returns the account that it names. Returns `None` if the signature is
    /// not ours, if `now` is outside the dates of the token, or if the token is for none of
    /// `audiences`.
    pub(crate) fn account(
        &self,
        token: &str,
        audiences: &[&str],
        now: Timestamp,
    ) -> Option<AuthenticatedAccount> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: JwtHeader = decode_part(header)?;
        // A token must not choose how it is verified: `none` and HMAC with the public key are
        // well-known attacks.
        if header.alg != ALGORITHM {
            return None;
        }
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.key.public_key())
            .verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?)
            .ok()?;
        let claims: JwtClaims = decode_part(claims)?;
        let seconds = now.as_second();
        let is_current = claims.exp > seconds && claims.nbf <= seconds + CLOCK_SKEW_SECONDS;
        let audiences: Vec<String> = audiences
            .iter()
            .filter(|audience| claims.aud.iter().any(|named| named == *audience))
            .map(|&audience| audience.to_owned())
            .collect();
        if !is_current || audiences.is_empty() || claims.iss != AUDIENCE {
            return None;
        }
        Some(claims.kubernetes.into_account(audiences))
    }
}

impl TokenIssuer for ServiceAccountTokens {
    fn issue(&self, claims: &Claims) -> String {
        let now = self.clock.now().as_second();
        let header = JwtHeader {
            alg: ALGORITHM.to_owned(),
            kid: self.key_id.to_string(),
        };
        let body = JwtClaims {
            aud: claims.audiences.clone(),
            exp: claims.expires.as_second(),
            iat: now,
            iss: AUDIENCE.to_owned(),
            jti: self.entropy.uid(),
            kubernetes: KubernetesClaims::new(claims),
            nbf: now,
            sub: subject(&claims.namespace, &claims.name),
        };
        let signed = format!("{}.{}", encode_part(&header), encode_part(&body));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes());
        let signature = signature.expect("signing fails only if the system has no randomness");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn audience(&self) -> String {
        AUDIENCE.to_owned()
    }
}

impl std::fmt::Debug for ServiceAccountTokens {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("ServiceAccountTokens")
    }
}

#[cfg(test)]
mod tests {
    use clock::{Clock, Entropy};

    use super::*;

    fn tokens() -> ServiceAccountTokens {
        let key = KeyPair::generate().expect("a key").serialize_pem();
        let clock = Clock::starting_at("2026-11-20T12:00:00Z".parse().expect("a time"));
        ServiceAccountTokens::from_pem(&key, clock, Entropy::seeded(1)).expect("a P-256 key")
    }

    fn issued(tokens: &ServiceAccountTokens, audiences: &[String]) -> String {
        let expires = "2026-11-20T13:00:00Z".parse().expect("a time");
        let [namespace, name, uid] = ["kube-system", "drainer", "u1"].map(str::to_owned);
        tokens.issue(&Claims {
            namespace,
            name,
            uid,
            audiences: audiences.to_vec(),
            expires,
            bound: None,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_names_its_account_until_it_expires() {
        let tokens = tokens();
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        // The two numbers of a signature can begin with zeros, so one token proves little.
        for _ in 0..50 {
            let token = issued(&tokens, &[AUDIENCE.to_owned()]);
            let user = tokens
                .account(&token, &[AUDIENCE], at("2026-11-20T12:30:00Z"))
                .expect("valid")
                .user;
            assert_eq!(user.name, "system:serviceaccount:kube-system:drainer");
            assert_eq!(user.groups[1], "system:serviceaccounts:kube-system");
            assert!(
                tokens
                    .account(&token, &[AUDIENCE], at("2026-11-20T13:00:00Z"))
                    .is_none(),
                "expired"
            );
            assert!(
                tokens
                    .account(&token, &[AUDIENCE], at("2026-11-20T11:00:00Z"))
                    .is_none(),
                "not yet"
            );
        }
    }

    /// A key that was made for this test, and a token that release 0.1.0 signed with it.
    const OLD_KEY: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgPSyrXsrqsXd4NJ9x
fxYlut2U0NlvjYdtveV00uIUvQmhRANCAARbuF4wjw072ctyRqGTDFglnHTH1Xlr
cS2b1zJvX84caEWDDY5/Pat5kEvJjDAx2BVIDnR97XtjM/v4EfSGQUrg
-----END PRIVATE KEY-----
";
    const OLD_TOKEN: &str = "eyJhbGciOiJFUzI1NiIsImtpZCI6InRMZ1JuWWhTT0xYbXNNQVQtZllSZjlId\
         kpmYkpJY3A4SWdONmd2\
         ZUJrOW8ifQ.eyJhdWQiOlsiaHR0cHM6Ly9rdWJlcm5ldGVzLmRlZmF1bHQuc3ZjLmNsdXN0ZXIubG9jY\
         WwiXSwiZXhwIjoxNzk1MTc5NjAwLCJpYXQiOjE3OTUxNzYwMDAsImlzcyI6Imh0dHBzOi8va3ViZXJuZ\
         XRlcy5kZWZhdWx0LnN2Yy5jbHVzdGVyLmxvY2FsIiwianRpIjoiYTgzM2JkY2QtYjZkMS00ZWIxLTg4Z\
         GMtOTdlNWFhYjVmZTNkIiwia3ViZXJuZXRlcy5pbyI6eyJuYW1lc3BhY2UiOiJrdWJlLXN5c3RlbSIsI\
         nNlcnZpY2VhY2NvdW50Ijp7Im5hbWUiOiJkcmFpbmVyIiwidWlkIjoidTEifX0sIm5iZiI6MTc5NTE3N\
         jAwMCwic3ViIjoic3lzdGVtOnNlcnZpY2VhY2NvdW50Omt1YmUtc3lzdGVtOmRyYWluZXIifQ.QuFReB\
         LKey6H7k-II7TOVCmeF0B5eTnu1WJ60Ua65Xyy8IzOcOBm0s7zeHIf2TCqRiFvZaGtI0_PUA_F3LI_6g";

    #[tokio::test(start_paused = true)]
    async fn a_token_of_an_earlier_release_stays_valid() {
        let now = "2026-11-20T12:30:00Z".parse().expect("a time");
        let clock = Clock::starting_at(now);
        let tokens =
            ServiceAccountTokens::from_pem(OLD_KEY, clock, Entropy::seeded(1)).expect("a key");
        let account = tokens.account(OLD_TOKEN, &[AUDIENCE], now).expect("valid");
        assert_eq!(
            (account.user.name.as_str(), account.user.uid.as_str()),
            ("system:serviceaccount:kube-system:drainer", "u1")
        );
        let key_id = "tLgRnYhSOLXmsMAT-fYRf9HvJfbJIcp8IgN6gveBk9o";
        assert_eq!(tokens.keys()["keys"][0]["kid"], key_id);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_names_the_object_that_it_is_bound_to() {
        let (tokens, now) = (tokens(), "2026-11-20T12:30:00Z".parse().expect("a time"));
        let expires = "2026-11-20T13:00:00Z".parse().expect("a time");
        let [namespace, name, uid] = ["kube-system", "drainer", "u1"].map(str::to_owned);
        let bound = Some(Bound {
            plural: "pods",
            name: "p".to_owned(),
            uid: "u2".to_owned(),
        });
        let claims = Claims {
            namespace,
            name,
            uid,
            audiences: vec![AUDIENCE.to_owned()],
            expires,
            bound,
        };
        let account = tokens
            .account(&tokens.issue(&claims), &[AUDIENCE], now)
            .expect("valid");
        assert_eq!(account.bound, claims.bound);
    }

    #[tokio::test(start_paused = true)]
    async fn the_published_key_verifies_a_token() {
        let tokens = tokens();
        let token = issued(&tokens, &[AUDIENCE.to_owned()]);
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).expect("base64");
        let (signed, signature) = token.rsplit_once('.').expect("three parts");
        let (header, _) = signed.split_once('.').expect("three parts");
        let (header, keys): (Tree, Tree) = (
            serde_json::from_slice(&decode(header)).expect("JSON"),
            tokens.keys(),
        );
        let key = &keys["keys"][0];
        assert_eq!(header["kid"], key["kid"]);
        let coordinate = |name: &str| decode(key[name].as_str().expect("text"));
        let point = [vec![4], coordinate("x"), coordinate("y")].concat();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point)
            .verify(signed.as_bytes(), &decode(signature))
            .expect("the signature is good");
        let document = tokens.openid_configuration("https://k8s.example");
        assert_eq!(
            (&document["issuer"], &document["jwks_uri"]),
            (
                &json!(AUDIENCE),
                &json!("https://k8s.example/openid/v1/jwks")
            )
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_token_and_one_for_another_audience_are_invalid() {
        let (tokens, now) = (tokens(), "2026-11-20T12:30:00Z".parse().expect("a time"));
        let token = issued(&tokens, &[AUDIENCE.to_owned()]);
        assert!(tokens.account(&token, &[AUDIENCE], now).is_some());
        assert!(tokens.account(&token, &["vault"], now).is_none());
        let body = URL_SAFE_NO_PAD.encode(r#"{"sub":"system:serviceaccount:kube-system:admin"}"#);
        let (head, rest) = token.split_once('.').expect("three parts");
        let (_, signature) = rest.split_once('.').expect("three parts");
        for broken in [
            format!("{head}.{body}.{signature}"),
            format!("{head}.{rest}x"),
            "a.b.c".to_owned(),
            "...".to_owned(),
            head.to_owned(),
        ] {
            assert!(
                tokens.account(&broken, &[AUDIENCE], now).is_none(),
                "{broken}"
            );
        }
        let vault = issued(&tokens, &["vault".to_owned()]);
        assert!(tokens.account(&vault, &[AUDIENCE], now).is_none());
        assert_eq!(
            tokens
                .account(&vault, &[AUDIENCE, "vault"], now)
                .expect("for the vault")
                .audiences,
            ["vault"]
        );
    }
}
