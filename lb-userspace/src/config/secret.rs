//! Key and password files: found, not open to everybody, and of the right form. What stands in them is never shown.

use std::path::{Path, PathBuf};

use super::diagnostic::Diagnostic;
use super::host::Host;
use super::place::Placed;
use crate::model::HashKey;

/// Reads the files that a configuration names.
pub struct Secrets<'a> {
    /// Where relative paths start.
    pub base: &'a Path,
    /// Whose files.
    pub host: &'a dyn Host,
}

impl Secrets<'_> {
    /// The key of rows and flow hash: 32 hexadecimal digits on one line.
    pub fn hash_key(&self, path: &Placed<PathBuf>) -> Result<HashKey, Diagnostic> {
        let line = self.line("hash key file", path)?;
        parse_hash_key(&line).ok_or_else(|| {
            let shown = self.base.join(&path.value);
            Diagnostic::at(
                &path.span,
                format!(
                    "the hash key file must be 32 hexadecimal digits on one line: {}",
                    shown.display()
                ),
            )
            .help("on the first node: head -c16 /dev/urandom | od -An -tx1 | tr -d ' '; then copy it to the others")
        })
    }

    /// A TCP MD5 secret.
    pub fn password(&self, path: &Placed<PathBuf>) -> Result<String, Diagnostic> {
        let line = self.line("password file", path)?;
        match line.len() {
            0 => Err(self.wrong(path, "the password file is empty")),
            1..=MD5_SECRET_MAX => Ok(line),
            len => Err(self.wrong(
                path,
                &format!("the password has {len} bytes, the kernel takes {MD5_SECRET_MAX}"),
            )),
        }
    }

    /// The only line of a file that is not open to everybody.
    fn line(&self, what: &str, path: &Placed<PathBuf>) -> Result<String, Diagnostic> {
        let full = self.base.join(&path.value);
        let file = self.host.read(&full).map_err(|error| {
            let error = Diagnostic::at(
                &path.span,
                format!(
                    "cannot read the {what} {}: {}",
                    full.display(),
                    plain(&error)
                ),
            );
            if path.value.is_relative() {
                error.help("relative paths start at the directory of this file")
            } else {
                error
            }
        })?;
        if file.mode & OTHERS != 0 {
            return Err(Diagnostic::at(
                &path.span,
                format!("the {what} is open to every user: mode {:04o}", file.mode),
            )
            .help(format!("chmod 0640 {}", full.display())));
        }
        let text = String::from_utf8(file.content)
            .map_err(|_| self.wrong(path, &format!("the {what} is no text")))?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.contains(['\n', '\0']) {
            return Err(self.wrong(path, &format!("the {what} must have one line")));
        }
        Ok(line.to_owned())
    }

    fn wrong(&self, path: &Placed<PathBuf>, message: &str) -> Diagnostic {
        let full = self.base.join(&path.value);
        Diagnostic::at(&path.span, format!("{message}: {}", full.display()))
    }
}

/// Permission bits of those who are neither owner nor in the group.
const OTHERS: u32 = 0o007;

/// `TCP_MD5SIG_MAXKEYLEN`.
const MD5_SECRET_MAX: usize = 80;

fn parse_hash_key(line: &str) -> Option<HashKey> {
    if line.len() != 32 || !line.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    Some(HashKey(u128::from_str_radix(line, 16).ok()?.to_be_bytes()))
}

/// An I/O error without the number that the standard library puts behind it.
pub fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}
