//! A cpio archive, as the kernel unpacks it into its first root file system (Documentation/driver-api/early-userspace/buffer-format).

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_755;

/// Files and directories, in the order in which they were put in: a directory goes before what is in it.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// A directory.
    pub fn directory(&mut self, path: &str) {
        self.entry(path, DIRECTORY, &[]);
    }

    /// A file that everyone may read and run.
    pub fn file(&mut self, path: &str, contents: &[u8]) {
        self.entry(path, FILE, contents);
    }

    /// The whole, with its end mark.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    /// "newc": a magic number, 13 fields of eight hexadecimal digits, the name with its NUL, the contents; both padded to words.
    fn entry(&mut self, path: &str, mode: u32, contents: &[u8]) {
        self.entries += 1;
        let name = path.trim_start_matches('/');
        let links = 1;
        let size = u32::try_from(contents.len()).expect("files of a guest are smaller than 4 GiB");
        let name_size = name.len() as u32 + 1;
        let fields = [
            self.entries,
            mode,
            0,
            0,
            links,
            0,
            size,
            0,
            0,
            0,
            0,
            name_size,
            0,
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;

    #[test]
    fn entries_are_padded_to_words() {
        let mut archive = Archive::default();
        archive.directory("/a");
        archive.file("/a/b", b"12345");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let first = 6 + 13 * 8 + 2;
        assert_eq!(&bytes[first..first + 6], b"070701");
        let text = String::from_utf8(bytes).expect("hexadecimal digits and names");
        assert!(
            text.contains("a/b\u{0}\u{0}\u{0}12345\u{0}\u{0}\u{0}070701"),
            "{text:?}"
        );
        assert!(text.contains("TRAILER!!!\0"));
    }
}
