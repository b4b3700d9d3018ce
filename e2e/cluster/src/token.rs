//! Tokens of service accounts, signed with the key of the API server: also such as it would not sign.

use crate::cluster::Cluster;
use anyhow::{Context, Result, ensure};
use rcgen::{KeyPair, SigningKey as _};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const HOUR: u64 = 3600;

/// Whose token it is, and for whom.
#[derive(Debug)]
pub struct Claims {
    audience: String,
    namespace: String,
    pod: Value,
    account: Value,
}

impl Claims {
    /// Those of a pod's token for an audience.
    ///
    /// # Errors
    /// There is no such pod.
    pub fn of(cluster: &Cluster, namespace: &str, pod: &str, audience: &str) -> Result<Self> {
        let found = cluster.json(&["-n", namespace, "get", "pod", pod])?;
        let name = found["spec"]["serviceAccountName"].as_str();
        let name = name.context("no service account")?;
        let account = cluster.json(&["-n", namespace, "get", "serviceaccount", name])?;
        let reference =
            |of: &Value| json!({"name": of["metadata"]["name"], "uid": of["metadata"]["uid"]});
        Ok(Self {
            audience: audience.to_owned(),
            namespace: namespace.to_owned(),
            pod: reference(&found),
            account: reference(&account),
        })
    }

    /// A token that was good for an hour and has run out `ago`.
    ///
    /// # Errors
    /// The key cannot be read.
    pub fn expired(&self, key: &Path, ago: Duration) -> Result<String> {
        let end = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let end = end.saturating_sub(ago);
        let account = self.account["name"].as_str().unwrap_or_default();
        let claims = json!({
            "iss": "https://kubernetes.default.svc",
            "aud": [self.audience],
            "sub": format!("system:serviceaccount:{}:{account}", self.namespace),
            "iat": end.as_secs() - HOUR, "nbf": end.as_secs() - HOUR, "exp": end.as_secs(),
            "kubernetes.io": {
                "namespace": self.namespace, "pod": self.pod, "serviceaccount": self.account,
            },
        });
        let head = url_text(br#"{"alg":"ES256","typ":"JWT"}"#);
        let signed = format!("{head}.{}", url_text(claims.to_string().as_bytes()));
        let key = KeyPair::from_pem(&std::fs::read_to_string(key)?)?;
        let signature = plain(&key.sign(signed.as_bytes())?)?;
        Ok(format!("{signed}.{}", url_text(&signature)))
    }
}

/// The two numbers of an ECDSA signature, each 32 bytes, out of their ASN.1: tokens have them so.
fn plain(der: &[u8]) -> Result<Vec<u8>> {
    ensure!(der.first() == Some(&0x30), "it is no sequence");
    let mut rest = der.get(2..).context("it is short")?;
    let mut numbers = Vec::new();
    for _ in 0..2 {
        ensure!(rest.first() == Some(&2), "it is no number");
        let length = usize::from(*rest.get(1).context("it is short")?);
        let number = rest.get(2..2 + length).context("it is short")?;
        let digits: &[u8] = match number.split_first() {
            Some((0, digits)) => digits,
            _ => number,
        };
        ensure!(digits.len() <= 32, "it is not of P-256");
        numbers.resize(numbers.len() + 32 - digits.len(), 0);
        numbers.extend(digits);
        rest = rest.get(2 + length..).context("it is short")?;
    }
    Ok(numbers)
}

/// base64url without padding.
fn url_text(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let mut number = 0_u32;
        for place in 0..3 {
            number = number << 8 | u32::from(three.get(place).copied().unwrap_or(0));
        }
        for place in 0..=three.len() {
            let digit = number >> (18 - 6 * place) & 63;
            text.push(char::from(DIGITS[digit as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_the_standard() {
        let cases = [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
            ("?>~", "Pz5-"),
        ];
        for (bytes, text) in cases {
            assert_eq!(url_text(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn numbers_get_their_leading_zeros_and_lose_the_sign() {
        let der = [0x30, 7, 2, 2, 0, 0x81, 2, 1, 5];
        let got = plain(&der).unwrap_or_default();
        assert_eq!(
            (got.len(), got.get(31), got.get(63)),
            (64, Some(&0x81), Some(&5))
        );
    }
}
