//! The keys by which the host's applications sign tokens, and the secrets that everybody tries first. The engine asks about signatures
//! ([`sensor_engine::token`]); files and cryptography are here. Keys never leave this module, not even in messages.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use jsonwebtoken::crypto::verify;
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use sensor_engine::token::{Signature, SignedToken, TokenKeys};

/// Largest file of keys.
const MAX_FILE_BYTES: u64 = 256 * 1024;
/// Most keys: a token that names none is compared with all that fit, at some ten microseconds each.
const MAX_KEYS: usize = 16;
/// Secrets of tutorials, templates and people in a hurry.
const GUESSED: &[&str] = &[
    "secret",
    "",
    "password",
    "123456",
    "12345678",
    "1234567890",
    "changeme",
    "change-me",
    "change_me",
    "jwt",
    "jwtsecret",
    "jwt-secret",
    "jwt_secret",
    "jwt_secret_key",
    "secretkey",
    "secret-key",
    "secret_key",
    "secret123",
    "mysecret",
    "my-secret",
    "my_secret",
    "mysecretkey",
    "my-secret-key",
    "supersecret",
    "super-secret",
    "super_secret",
    "supersecretkey",
    "super-secret-key",
    "topsecret",
    "your-256-bit-secret",
    "your-384-bit-secret",
    "your-512-bit-secret",
    "your-secret-key",
    "your_secret_key",
    "your_jwt_secret",
    "yoursecret",
    "a-string-secret-at-least-256-bits-long",
    "a-valid-string-secret-that-is-at-least-512-bits-long-which-is-very-long",
    "key",
    "private",
    "privatekey",
    "test",
    "testing",
    "test123",
    "admin",
    "root",
    "default",
    "example",
    "token",
    "tokensecret",
    "access_token",
    "signature",
    "signingkey",
    "hmac",
    "hello",
    "qwerty",
    "letmein",
    "shhhhh",
    "dev",
    "development",
    "app",
    "app_secret",
    "HS256",
    "null",
];

/// Keys, and what they are called.
pub(crate) struct Keys {
    keys: Vec<Key>,
    guessed: Vec<DecodingKey>,
}

struct Key {
    id: Option<String>,
    key: DecodingKey,
}

impl Keys {
    /// Reads the keys of all files, or says what is wrong with each.
    pub(crate) fn read(files: &[PathBuf]) -> Result<Self, Vec<String>> {
        let (mut keys, mut mistakes) = (Vec::new(), Vec::new());
        for file in files {
            let read = read(file).map_err(|error| error.to_string()).and_then(|bytes| parse(&bytes));
            match read {
                Ok(mut more) => keys.append(&mut more),
                Err(reason) => mistakes.push(format!("{}: {reason}", file.display())),
            }
        }
        if keys.len() > MAX_KEYS {
            mistakes
                .push(format!("`detection.jwt_keys` has {} keys, expected at most {MAX_KEYS}", keys.len()));
        }
        let guessed = GUESSED.iter().map(|secret| DecodingKey::from_secret(secret.as_bytes())).collect();
        if mistakes.is_empty() { Ok(Self { keys, guessed }) } else { Err(mistakes) }
    }
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(file)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The keys in a file, by what its first byte says that it is.
fn parse(bytes: &[u8]) -> Result<Vec<Key>, String> {
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("the file is larger than {MAX_FILE_BYTES} bytes"));
    }
    let text = bytes.trim_ascii();
    if text.is_empty() {
        return Err("the file is empty, expected a JWK set, a public key or a secret".to_owned());
    }
    if text.starts_with(b"{") {
        return of_json(text);
    }
    if text.starts_with(b"-----BEGIN ") {
        return of_pem(text).map(|key| vec![Key { id: None, key }]);
    }
    let secret = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    Ok(vec![Key { id: None, key: DecodingKey::from_secret(secret) }])
}

/// Errors of the parser would quote the key.
fn of_json(text: &[u8]) -> Result<Vec<Key>, String> {
    let set = serde_json::from_slice::<JwkSet>(text)
        .map(|set| set.keys)
        .or_else(|_| serde_json::from_slice::<Jwk>(text).map(|key| vec![key]))
        .map_err(|error| {
            format!("no JWK set and no JWK, at line {} column {}", error.line(), error.column())
        })?;
    let signs = |key: &&Jwk| key.common.public_key_use != Some(PublicKeyUse::Encryption);
    let key = |(number, jwk): (usize, &Jwk)| {
        let key = DecodingKey::from_jwk(jwk).map_err(|_| format!("key {} cannot be used", number + 1))?;
        Ok(Key { id: jwk.common.key_id.clone(), key })
    };
    set.iter().filter(signs).enumerate().map(key).collect()
}

fn of_pem(text: &[u8]) -> Result<DecodingKey, String> {
    DecodingKey::from_rsa_pem(text)
        .or_else(|_| DecodingKey::from_ec_pem(text))
        .or_else(|_| DecodingKey::from_ed_pem(text))
        .map_err(|_| "no public key or certificate of RSA, EC or Ed25519 in PEM".to_owned())
}

impl TokenKeys for Keys {
    fn check(&self, token: &SignedToken<'_>) -> Signature {
        let Ok(algorithm) = token.algorithm.parse::<Algorithm>() else { return Signature::Unknown };
        if self.keys.is_empty() {
            return Signature::Unknown;
        }
        let is_named = |key: &&Key| match (token.key_id, &key.id) {
            (Some(named), Some(id)) => named == id,
            _ => true,
        };
        let mut named = self.keys.iter().filter(is_named).peekable();
        if named.peek().is_none() {
            return Signature::Foreign;
        }
        let family = algorithm.family();
        let fitting: Vec<_> = named.filter(|key| key.key.family() == family).collect();
        if fitting.is_empty() {
            let secret = family == AlgorithmFamily::Hmac;
            return if secret { Signature::Confused } else { Signature::Foreign };
        }
        if fitting.iter().any(|key| is_made_with(&key.key, token, algorithm)) {
            Signature::Valid
        } else {
            Signature::Wrong
        }
    }

    fn is_guessable(&self, token: &SignedToken<'_>) -> bool {
        let algorithm = token.algorithm.parse::<Algorithm>();
        let secret = algorithm.ok().filter(|algorithm| algorithm.family() == AlgorithmFamily::Hmac);
        secret.is_some_and(|algorithm| self.guessed.iter().any(|key| is_made_with(key, token, algorithm)))
    }
}

/// A signature that cannot be decoded was made with no key.
fn is_made_with(key: &DecodingKey, token: &SignedToken<'_>, algorithm: Algorithm) -> bool {
    let signature = std::str::from_utf8(token.signature).unwrap_or_default().trim_end_matches('=');
    verify(signature, token.signed, key, algorithm).unwrap_or(false)
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::config::{Config, Detection};
    use crate::judge::Judge;
    use sensor_engine::engine::Settings;
    use sensor_engine::policy::Policy;

    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::{Value, json};

    // The examples of RFC 7515, appendices A.2 and A.3, and RFC 8037, appendix A.
    const RSA: &str = r#"{"kty":"RSA","kid":"rsa","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}"#;
    const EC: &str = r#"{"kty":"EC","kid":"ec","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    const ED: &str =
        r#"{"kty":"OKP","kid":"ed","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    const EC_PEM: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEf83OJ3D2xF1Bg8vub9tLe1gHMzV7\n6e8Tus9uPHvRVEXH8UTNG72bfocs3+257rn0s2ldbqkLJK2KRiMohYjlrQ==\n-----END PUBLIC KEY-----\n";
    const CLAIMS: &str =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    const RSA_SIGNATURE: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    const EC_SIGNATURE: &str =
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    const ED_TOKEN: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

    fn keys(files: &[&str]) -> Result<Keys, Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..files.len()).map(|number| dir.path().join(number.to_string())).collect();
        for (path, content) in paths.iter().zip(files) {
            std::fs::write(path, content).unwrap();
        }
        Keys::read(&paths)
    }

    fn check(keys: &Keys, token: &str, algorithm: &str, key_id: Option<&str>) -> Signature {
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (signed, signature) = (signed.as_bytes(), signature.as_bytes());
        keys.check(&SignedToken { algorithm, key_id, signed, signature })
    }

    fn hs256(secret: &str) -> String {
        encode(&Header::default(), &json!({"sub": "1"}), &EncodingKey::from_secret(secret.as_bytes()))
            .unwrap()
    }

    #[test]
    fn the_published_examples_are_valid_and_others_are_not() {
        let set = format!(r#"{{"keys":[{RSA},{EC},{ED}]}}"#);
        let set = keys(&[&set]).unwrap();
        let rsa = format!("eyJhbGciOiJSUzI1NiJ9.{CLAIMS}.{RSA_SIGNATURE}");
        let ec = format!("eyJhbGciOiJFUzI1NiJ9.{CLAIMS}.{EC_SIGNATURE}");
        for (token, algorithm, id) in
            [(&rsa, "RS256", "rsa"), (&ec, "ES256", "ec"), (&ED_TOKEN.to_owned(), "EdDSA", "ed")]
        {
            assert_eq!(check(&set, token, algorithm, Some(id)), Signature::Valid, "{algorithm}");
            assert_eq!(check(&set, token, algorithm, None), Signature::Valid, "{algorithm}");
            assert_eq!(check(&set, token, algorithm, Some("other")), Signature::Foreign, "{algorithm}");
            let forged = token.replacen(".", ".A", 1);
            assert_eq!(check(&set, &forged, algorithm, Some(id)), Signature::Wrong, "{algorithm}");
        }
        assert_eq!(check(&set, &ec, "RS256", Some("ec")), Signature::Foreign);
        assert_eq!(check(&set, &ec, "XS256", None), Signature::Unknown);
        assert_eq!(check(&set, &hs256("x"), "HS256", Some("rsa")), Signature::Confused);
        assert_eq!(check(&set, &format!("{CLAIMS}.%%"), "ES256", None), Signature::Wrong);
    }

    #[test]
    fn public_keys_in_pem_and_shared_secrets() {
        let ec = format!("eyJhbGciOiJFUzI1NiJ9.{CLAIMS}.{EC_SIGNATURE}");
        let both = keys(&[EC_PEM, "a long shared secret\n"]).unwrap();
        assert_eq!(check(&both, &ec, "ES256", Some("any")), Signature::Valid);
        assert_eq!(check(&both, &hs256("a long shared secret"), "HS256", None), Signature::Valid);
        assert_eq!(check(&both, &hs256("another one"), "HS256", None), Signature::Wrong);
        assert_eq!(check(&keys(&[]).unwrap(), &hs256("x"), "HS256", None), Signature::Unknown);
    }

    #[test]
    fn guessable_secrets() {
        let keys = keys(&[]).unwrap();
        for (secret, expected) in [("secret", true), ("your-256-bit-secret", true), ("f2b7-Qe41-x9", false)] {
            let token = hs256(secret);
            let (signed, signature) = token.rsplit_once('.').unwrap();
            let (signed, signature) = (signed.as_bytes(), signature.as_bytes());
            let token = SignedToken { algorithm: "HS256", key_id: None, signed, signature };
            assert_eq!(keys.is_guessable(&token), expected, "{secret}");
            assert!(!keys.is_guessable(&SignedToken { algorithm: "RS256", ..token }));
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_key() {
        let many = format!(r#"{{"keys":[{}]}}"#, vec![EC; MAX_KEYS + 1].join(","));
        let secret_jwk = r#"{"kty":"oct","k":"%%hidden"}"#;
        for (content, reason) in [
            ("", "the file is empty"),
            ("{\"keys\": [1", "no JWK set and no JWK, at line 1"),
            ("-----BEGIN PUBLIC KEY-----\nhidden\n-----END PUBLIC KEY-----", "no public key or certificate"),
            (secret_jwk, "key 1 cannot be used"),
            (&many, "has 17 keys, expected at most 16"),
        ] {
            let mistakes = keys(&[content]).unwrap_err();
            assert!(mistakes[0].contains(reason) && !mistakes[0].contains("hidden"), "{mistakes:?}");
        }
        assert!(Keys::read(&["/nonexistent/key".into()]).unwrap_err()[0].starts_with("/nonexistent/key: "));
        let set: Value = serde_json::from_str(EC).unwrap();
        assert!(!format!("{:?}", keys(&[&set.to_string()]).unwrap()).contains("f83OJ"));
    }

    #[test]
    fn the_engine_blocks_who_sends_what_no_key_signed() {
        let rules = crate::detection::load(&[]).unwrap().rules;
        let keys = Arc::new(keys(&[EC, "a long shared secret"]).unwrap());
        let rules = Arc::new(rules.with_token_keys(keys));
        let mut judge = Judge::new(Settings::default(), rules, &Policy::default());
        let mut verdict = |token: &str| {
            let head = format!(
                "GET / HTTP/1.1\r\nHost: h\r\nUser-Agent: a/1\r\nAuthorization: Bearer {token}\r\n\r\n"
            );
            let judged = judge.judge(head.as_bytes(), b"").unwrap();
            let found = judged.findings.iter().map(|finding| finding.rule.id.clone()).collect::<Vec<_>>();
            (judged.blocked, found)
        };
        let found = |id: &str| vec![id.to_owned()];
        assert_eq!(verdict(&hs256("a long shared secret")), (false, vec![]));
        assert_eq!(verdict(&hs256("another one")), (true, found("jwt-signature")));
        assert_eq!(verdict(&hs256("another one")), (true, found("jwt-signature")));
        let forged = hs256("another one").replacen('.', ".e30.", 1);
        assert!(!verdict(&forged).0, "five parts are encrypted");
    }

    #[test]
    fn a_guessable_secret_is_reported_and_blocks_nobody() {
        let rules = crate::detection::load_with_keys(&Detection {
            rules_dirs: Vec::new(),
            ..Config::default().detection
        })
        .unwrap()
        .rules;
        let mut judge = Judge::new(Settings::default(), Arc::new(rules), &Policy::default());
        let head = format!(
            "GET / HTTP/1.1\r\nHost: h\r\nUser-Agent: a/1\r\nAuthorization: Bearer {}\r\n\r\n",
            hs256("secret")
        );
        let judged = judge.judge(head.as_bytes(), b"").unwrap();
        assert_eq!((judged.blocked, judged.category.as_deref()), (false, Some("jwt")));
        assert_eq!(judged.findings[0].rule.id, "jwt-weak-secret");
    }
}
