//! Tokens of service accounts: signed JWTs (ES256), made when somebody asks for one through
//! `serviceaccounts/token`, and judged here by their signature, their dates and whom they are for.
//! Whether the account is still there is asked of the registry, by `ServerState::lives`.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use kinds::Tree;
use kinds::tree::json;
use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};
use registry::request::User;
use registry::token::{Bound, Claims, TokenIssuer};
use rustls::SignatureScheme;
use rustls::pki_types::SignatureVerificationAlgorithm;
use sha2::{Digest as _, Sha256};

use super::AUTHENTICATED;

/// Who issues the tokens, and for whom they are when nobody else is named.
pub(crate) const AUDIENCE: &str = "https://kubernetes.default.svc.cluster.local";

/// Length of each half of a signature on P-256.
const HALF: usize = 32;

/// What a valid token says.
#[derive(Clone, Debug)]
pub(crate) struct ServiceAccount {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// Whom it makes; with the uid of the account.
    pub(crate) user: Arc<User>,
    /// For whom it is, of those that were asked about.
    pub(crate) audiences: Vec<String>,
    /// The object with which it goes, if it is bound to one.
    pub(crate) bound: Option<Bound>,
}

/// The resources to which tokens are bound, and how their claims call them.
const BOUND: [(&str, &str); 3] = [("pods", "pod"), ("secrets", "secret"), ("nodes", "node")];

/// The object that the claims of a token name.
fn bound(claims: &Tree) -> Option<Bound> {
    let (plural, object) = BOUND
        .iter()
        .find_map(|(plural, claim)| Some((*plural, claims.get(*claim)?)))?;
    let text = |member: &str| object.get(member).and_then(Tree::as_str).map(str::to_owned);
    Some(Bound {
        plural,
        name: text("name")?,
        uid: text("uid")?,
    })
}

/// Makes and judges tokens. Cheap to clone.
#[derive(Clone)]
pub struct AccountTokens {
    key: Arc<KeyPair>,
    algorithm: &'static dyn SignatureVerificationAlgorithm,
    clock: clock::Clock,
    entropy: clock::Entropy,
}

impl AccountTokens {
    /// With the private key of a PEM text.
    ///
    /// # Errors
    /// The text is no ECDSA key on P-256.
    pub fn from_pem(
        key: &str,
        clock: clock::Clock,
        entropy: clock::Entropy,
    ) -> Result<Self, rcgen::Error> {
        let key = KeyPair::from_pem_and_sign_algo(key, &rcgen::PKCS_ECDSA_P256_SHA256)?;
        let known = rustls::crypto::ring::default_provider()
            .signature_verification_algorithms
            .mapping;
        let algorithm = known
            .iter()
            .find(|(scheme, _)| *scheme == SignatureScheme::ECDSA_NISTP256_SHA256);
        let algorithm = algorithm
            .and_then(|(_, algorithms)| algorithms.first())
            .ok_or(rcgen::Error::UnsupportedSignatureAlgorithm)?;
        Ok(Self {
            key: Arc::new(key),
            algorithm: *algorithm,
            clock,
            entropy,
        })
    }

    /// What those who judge tokens elsewhere need to know: OpenID Connect's document of the issuer.
    /// `base` is where this server is reached.
    pub(crate) fn openid_configuration(&self, base: &str) -> Tree {
        json!({
            "issuer": AUDIENCE,
            "jwks_uri": format!("{base}/openid/v1/jwks"),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
    }

    /// The public key of the tokens, as a set of JSON Web Keys (RFC 7517).
    pub(crate) fn keys(&self) -> Tree {
        // An uncompressed point: a mark, then both coordinates.
        let point = self.key.der_bytes().get(1..).unwrap_or_default();
        let (x, y) = point.split_at(point.len() / 2);
        json!({"keys": [{
            "use": "sig", "kty": "EC", "kid": self.key_id(), "crv": "P-256", "alg": "ES256",
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        }]})
    }

    /// The name of the key: the hash of its public half.
    fn key_id(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.key.subject_public_key_info()))
    }

    /// The account that a token names; none when it is not ours, or past its time, or for nobody in
    /// `audiences`.
    pub(crate) fn account(
        &self,
        token: &str,
        audiences: &[&str],
        now: Timestamp,
    ) -> Option<ServiceAccount> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (head, claims) = signed.split_once('.')?;
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
        let head: Tree = serde_json::from_slice(&decode(head)?).ok()?;
        if head.get("alg")? != "ES256" {
            return None;
        }
        let signature = to_der(&decode(signature)?)?;
        self.algorithm
            .verify_signature(self.key.der_bytes(), signed.as_bytes(), &signature)
            .ok()?;
        let claims: Tree = serde_json::from_slice(&decode(claims)?).ok()?;
        let seconds = now.as_second();
        let timely =
            claims.get("exp")?.as_i64()? > seconds && claims.get("nbf")?.as_i64()? <= seconds + 60;
        let named: Vec<&str> = claims
            .get("aud")?
            .as_array()?
            .iter()
            .filter_map(Tree::as_str)
            .collect();
        let audiences: Vec<String> = audiences
            .iter()
            .filter(|audience| named.contains(audience))
            .map(|&audience| audience.to_owned())
            .collect();
        if !timely || audiences.is_empty() || claims.get("iss")? != AUDIENCE {
            return None;
        }
        let account = claims.get("kubernetes.io")?;
        let namespace = account.get("namespace")?.as_str()?;
        let name = account.pointer("/serviceaccount/name")?.as_str()?;
        let uid = account.pointer("/serviceaccount/uid")?.as_str()?.to_owned();
        let groups = [
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
            AUTHENTICATED.to_owned(),
        ];
        let user = User {
            name: format!("system:serviceaccount:{namespace}:{name}"),
            uid,
            groups: groups.into(),
        };
        Some(ServiceAccount {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            user: Arc::new(user),
            audiences,
            bound: bound(account),
        })
    }
}

impl TokenIssuer for AccountTokens {
    fn issue(&self, claims: &Claims) -> String {
        let now = self.clock.now().as_second();
        let mut account = json!({"namespace": claims.namespace, "serviceaccount": {"name": claims.name, "uid": claims.uid}});
        if let Some(bound) = &claims.bound
            && let Some((_, claim)) = BOUND.iter().find(|(plural, _)| *plural == bound.plural)
        {
            account[*claim] = json!({"name": bound.name, "uid": bound.uid});
        }
        let body = json!({
            "aud": claims.audiences,
            "exp": claims.expires.as_second(),
            "iat": now,
            "iss": AUDIENCE,
            "jti": self.entropy.uid(),
            "kubernetes.io": account,
            "nbf": now,
            "sub": format!("system:serviceaccount:{}:{}", claims.namespace, claims.name),
        });
        let head =
            URL_SAFE_NO_PAD.encode(json!({"alg": "ES256", "kid": self.key_id()}).to_string());
        let signed = format!("{head}.{}", URL_SAFE_NO_PAD.encode(body.to_string()));
        let signature = self
            .key
            .sign(signed.as_bytes())
            .ok()
            .and_then(|der| from_der(&der));
        let signature =
            signature.expect("signing with a P-256 key gives a signature of two numbers");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn audience(&self) -> String {
        AUDIENCE.to_owned()
    }
}

impl std::fmt::Debug for AccountTokens {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("AccountTokens")
    }
}

/// The two numbers of a signature, each in 32 bytes, from their ASN.1 form.
fn from_der(der: &[u8]) -> Option<[u8; 2 * HALF]> {
    let body = der.strip_prefix(&[0x30, u8::try_from(der.len().checked_sub(2)?).ok()?])?;
    let (first, rest) = integer(body)?;
    let (second, []) = integer(rest)? else {
        return None;
    };
    let mut out = [0; 2 * HALF];
    out[HALF.checked_sub(first.len())?..HALF].copy_from_slice(first);
    out[(2 * HALF)
        .checked_sub(second.len())
        .filter(|&at| at >= HALF)?..]
        .copy_from_slice(second);
    Some(out)
}

/// An ASN.1 integer without leading zeros, and what follows it.
fn integer(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let [0x02, length, rest @ ..] = der else {
        return None;
    };
    let (value, rest) = rest.split_at_checked(usize::from(*length))?;
    let zeros = value.iter().take_while(|&&byte| byte == 0).count();
    Some((&value[zeros..], rest))
}

/// The ASN.1 form of two numbers of 32 bytes.
fn to_der(signature: &[u8]) -> Option<Vec<u8>> {
    if signature.len() != 2 * HALF {
        return None;
    }
    let mut body = Vec::with_capacity(72);
    for half in signature.chunks(HALF) {
        let zeros = half
            .iter()
            .take_while(|&&byte| byte == 0)
            .count()
            .min(HALF - 1);
        let value = &half[zeros..];
        // A leading bit would make the number negative.
        let sign = usize::from(value[0] & 0x80 != 0);
        body.extend([0x02, u8::try_from(value.len() + sign).ok()?]);
        body.extend(std::iter::repeat_n(0, sign));
        body.extend_from_slice(value);
    }
    let mut der = vec![0x30, u8::try_from(body.len()).ok()?];
    der.append(&mut body);
    Some(der)
}

#[cfg(test)]
mod tests {
    use clock::{Clock, Entropy};

    use super::*;

    fn tokens() -> AccountTokens {
        let key = KeyPair::generate().expect("a key").serialize_pem();
        let clock = Clock::starting_at("2026-11-20T12:00:00Z".parse().expect("a time"));
        AccountTokens::from_pem(&key, clock, Entropy::seeded(1)).expect("a P-256 key")
    }

    fn issued(tokens: &AccountTokens, audiences: &[String]) -> String {
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
    async fn a_token_stands_for_its_account_until_it_expires() {
        let tokens = tokens();
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        // Signatures differ in the lengths of their numbers: many are tried.
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

    #[tokio::test(start_paused = true)]
    async fn a_token_says_with_what_it_goes() {
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
    async fn whoever_has_the_published_key_can_judge_a_token() {
        let tokens = tokens();
        let token = issued(&tokens, &[AUDIENCE.to_owned()]);
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).expect("base64");
        let (signed, signature) = token.rsplit_once('.').expect("three parts");
        let (head, _) = signed.split_once('.').expect("three parts");
        let (head, keys): (Tree, Tree) = (
            serde_json::from_slice(&decode(head)).expect("JSON"),
            tokens.keys(),
        );
        let key = &keys["keys"][0];
        assert_eq!(head["kid"], key["kid"]);
        let coordinate = |name: &str| decode(key[name].as_str().expect("text"));
        let point = [vec![4], coordinate("x"), coordinate("y")].concat();
        let signature = to_der(&decode(signature)).expect("two numbers");
        tokens
            .algorithm
            .verify_signature(&point, signed.as_bytes(), &signature)
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
    async fn a_token_that_was_touched_or_is_for_others_counts_nothing() {
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
