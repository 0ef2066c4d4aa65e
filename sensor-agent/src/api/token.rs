//! The bearer token: 256 random bits in a file that only the owner reads. In memory stands its digest only, and digests
//! are compared in constant time.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::Context;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Characters of a token that the sensor makes.
const TOKEN_LEN: usize = 64;
/// Fewest characters of a token that somebody else made.
const LEAST_LEN: usize = 32;
/// Largest token file.
const MAX_FILE_BYTES: u64 = 4096;

/// What a request must show.
pub(crate) struct Token {
    digest: [u8; 32],
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// The token with this text.
    pub(crate) fn new(text: &str) -> Self {
        Self { digest: Sha256::digest(text.as_bytes()).into() }
    }

    /// The token in `file`; makes one if there is no file.
    pub(crate) fn load_or_create(file: &Path) -> anyhow::Result<Self> {
        let text = match create(file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => read(file)?,
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("the token file `{}` cannot be made", file.display()));
            }
        };
        Ok(Self::new(&text))
    }

    /// Whether `text` is the token.
    pub(crate) fn is(&self, text: &[u8]) -> bool {
        let digest: [u8; 32] = Sha256::digest(text).into();
        digest.ct_eq(&self.digest).into()
    }
}

/// The text of the token in `file`.
pub(crate) fn read(file: &Path) -> anyhow::Result<String> {
    let context = || format!("the token file `{}` cannot be used", file.display());
    let mode = std::fs::metadata(file).with_context(context)?.permissions().mode() & 0o777;
    if mode & 0o007 != 0 {
        return Err(anyhow::anyhow!("everybody can read it (mode {mode:o}): `chmod 600` it"))
            .with_context(context);
    }
    let text = crate::config::read_bounded(file, MAX_FILE_BYTES).with_context(context)?;
    let token = text.trim();
    let plain = token.len() >= LEAST_LEN && token.bytes().all(|byte| byte.is_ascii_graphic());
    if !plain {
        return Err(anyhow::anyhow!(
            "it holds no token, expected at least {LEAST_LEN} printable characters; remove it to have one made"
        ))
        .with_context(context);
    }
    Ok(token.to_owned())
}

fn create(file: &Path) -> std::io::Result<String> {
    if let Some(parent) = file.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o750).create(parent)?;
    }
    let mut open = OpenOptions::new().create_new(true).write(true).mode(0o600).open(file)?;
    let mut bytes = [0u8; TOKEN_LEN / 2];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    open.write_all(format!("{text}\n").as_bytes())?;
    open.sync_all()?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_only_the_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state/api.token");
        let token = Token::load_or_create(&file).unwrap();
        let text = read(&file).unwrap();
        assert_eq!(text.len(), TOKEN_LEN);
        assert!(token.is(text.as_bytes()) && !token.is(b"") && !token.is(&text.as_bytes()[1..]));
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(Token::load_or_create(&file).unwrap().is(text.as_bytes()));
        assert_eq!(format!("{token:?}"), "Token");
    }

    #[test]
    fn a_file_without_a_safe_token_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("api.token");
        for (content, mode, says) in [
            ("", 0o600, "holds no token"),
            ("secret", 0o600, "at least 32"),
            (&*"x".repeat(40), 0o644, "chmod 600"),
        ] {
            std::fs::write(&file, content).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = format!("{:#}", Token::load_or_create(&file).unwrap_err());
            assert!(error.contains(says), "{error}");
        }
    }
}
