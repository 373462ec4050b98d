//! What the kernel calls a network interface.

#![forbid(unsafe_code)]

use std::str::FromStr;

/// Bytes of a name (IFNAMSIZ is 16 with the zero byte).
const LENGTH_MAX: usize = 15;

/// A name that an interface can have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceName {
    /// Zeros behind the name.
    bytes: [u8; LENGTH_MAX],
}

impl InterfaceName {
    /// As the kernel writes it.
    pub fn as_str(&self) -> &str {
        let end = self.bytes.iter().position(|byte| *byte == 0);
        let name = &self.bytes[..end.unwrap_or(LENGTH_MAX)];
        // It was made of a text.
        std::str::from_utf8(name).unwrap_or_default()
    }
}

/// No interface can be called so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no name of an interface")]
pub struct NoInterfaceName;

impl FromStr for InterfaceName {
    type Err = NoInterfaceName;

    fn from_str(name: &str) -> Result<InterfaceName, NoInterfaceName> {
        let fits = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '/' | ':' | '%');
        if name.is_empty() || matches!(name, "." | "..") || !name.chars().all(fits) {
            return Err(NoInterfaceName);
        }
        let mut bytes = [0; LENGTH_MAX];
        let place = bytes.get_mut(..name.len()).ok_or(NoInterfaceName)?;
        place.copy_from_slice(name.as_bytes());
        Ok(InterfaceName { bytes })
    }
}

impl std::fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Debug for InterfaceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_str().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_the_kernel_takes() {
        for (text, good) in [
            ("eth0", true),
            ("eth0.100", true),
            ("fifteen-letters", true),
            ("sixteen--letters", false),
            ("", false),
            (".", false),
            ("a b", false),
            ("a/b", false),
            ("a%b", false),
        ] {
            let name: Result<InterfaceName, NoInterfaceName> = text.parse();
            assert_eq!(name.is_ok(), good, "{text}");
            if let Ok(name) = name {
                assert_eq!(name.to_string(), text);
            }
        }
    }
}
