//! Key and password files: found, not open to everybody, and of the right form. What stands in them is never shown.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::diagnostic::Diagnostic;
use super::fields::Errors;
use super::host::Host;
use super::place::Placed;
use crate::filter::PrefixList;
use crate::model::{HashKey, Roots};

/// Reads the files that a configuration names.
pub struct Secrets<'a> {
    /// Where relative paths start.
    pub base: &'a Path,
    /// Whose files.
    pub host: &'a dyn Host,
    /// The root certificates of the host, read for the first who asks.
    pub system_roots: OnceCell<Option<Arc<Roots>>>,
    /// Lists of prefixes that were read, by path.
    pub lists: RefCell<BTreeMap<PathBuf, Arc<PrefixList>>>,
}

impl<'a> Secrets<'a> {
    /// Of `host`.
    pub fn new(base: &'a Path, host: &'a dyn Host) -> Self {
        Secrets {
            base,
            host,
            system_roots: OnceCell::new(),
            lists: RefCell::default(),
        }
    }

    /// The key of rows and flow hash: 32 hexadecimal digits on one line.
    pub fn hash_key(&self, path: &Placed<PathBuf>, errors: &Errors) -> Option<HashKey> {
        let line = self.line(HASH_KEY_FILE, path, errors)?;
        let key = parse_hash_key(&line);
        if key.is_none() {
            errors.add(
                self.wrong(
                    path,
                    "the hash key file must hold 32 hexadecimal digits on one line",
                )
                .help(MAKE_KEY),
            );
        }
        key
    }

    /// A TCP MD5 secret.
    pub fn password(&self, path: &Placed<PathBuf>, errors: &Errors) -> Option<String> {
        let line = self.line("password file", path, errors)?;
        let message = match line.len() {
            0 => "the password file is empty".to_owned(),
            1..=MD5_SECRET_MAX => return Some(line),
            len => format!("the password has {len} bytes, the kernel takes {MD5_SECRET_MAX}"),
        };
        errors.add(self.wrong(path, &message));
        None
    }

    /// The only line of a file that is not open to everybody.
    fn line(&self, what: &str, path: &Placed<PathBuf>, errors: &Errors) -> Option<String> {
        let file = match self.host.read(&self.base.join(&path.value)) {
            Ok(file) => file,
            Err(error) => {
                errors.add(self.unreadable(what, path, &error));
                return None;
            }
        };
        if file.mode & OTHERS != 0 {
            let message = format!("the {what} is open to every user, mode {:04o}", file.mode);
            let full = self.base.join(&path.value);
            errors.add(
                self.wrong(path, &message)
                    .help(format!("chmod 0640 {}", full.display())),
            );
            return None;
        }
        let line = only_line(&file.content);
        if line.is_none() {
            errors.add(self.wrong(path, &format!("the {what} must have one line of text")));
        }
        line
    }

    /// The error of a file that cannot be read.
    pub fn unreadable(
        &self,
        what: &str,
        path: &Placed<PathBuf>,
        error: &std::io::Error,
    ) -> Diagnostic {
        let full = self.base.join(&path.value);
        let message = format!(
            "cannot read the {what} {}: {}",
            full.display(),
            plain(error)
        );
        let diagnostic = Diagnostic::at(&path.span, message);
        let absent = error.kind() == std::io::ErrorKind::NotFound;
        if absent && path.value.is_relative() {
            diagnostic.help("relative paths start at the directory of this file")
        } else if absent && what == HASH_KEY_FILE {
            diagnostic.help(MAKE_KEY)
        } else {
            diagnostic
        }
    }

    /// The error of a file with something wrong in it.
    pub fn wrong(&self, path: &Placed<PathBuf>, message: &str) -> Diagnostic {
        let full = self.base.join(&path.value);
        Diagnostic::at(&path.span, format!("{message}: {}", full.display()))
    }
}

/// What messages call it.
const HASH_KEY_FILE: &str = "hash key file";

/// Permission bits of those who are neither owner nor in the group.
const OTHERS: u32 = 0o007;

/// `TCP_MD5SIG_MAXKEYLEN`.
const MD5_SECRET_MAX: usize = 80;

/// Makes a key where no anylb is at hand.
const MAKE_KEY: &str = "on one node: `head -c16 /dev/urandom | od -An -tx1 | tr -d ' '`, then copy the file to the others";

fn only_line(content: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(content).ok()?;
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    (!line.contains(['\n', '\0'])).then(|| line.to_owned())
}

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
