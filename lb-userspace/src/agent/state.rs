//! What must survive the process and a reboot: one JSON file in the state directory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::overrides::{Overrides, after_reboot};
use crate::bgp::PeerName;
use crate::model::PoolName;
use crate::plan::Slots;
use crate::rows::History;

/// Version of the file; a file of another version is refused, not guessed at.
const VERSION: u32 = 1;

/// The remembered state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    version: u32,
    /// Counts every applied change of inputs.
    pub generation: u64,
    /// Table inputs by pool.
    pub histories: BTreeMap<PoolName, History>,
    /// What the operator said of backends.
    pub overrides: Overrides,
    /// The boot that this was written in; none where the kernel does not tell.
    #[serde(default)]
    pub boot_id: Option<String>,
    /// Services that the operator has withdrawn, by name.
    #[serde(default)]
    pub withdrawn: BTreeSet<String>,
    /// Services whose `attack` the operator has switched, by name: what it is instead of the configured one.
    #[serde(default)]
    pub attack: BTreeMap<String, bool>,
    /// BGP peers that the operator has shut down, and what they are told.
    #[serde(default)]
    pub shut_down: BTreeMap<PeerName, String>,
    /// Numbers of services, pools and their members in the datapath.
    pub slots: Slots,
}

impl Default for State {
    fn default() -> Self {
        Self {
            version: VERSION,
            generation: 0,
            histories: BTreeMap::new(),
            overrides: Overrides::new(),
            boot_id: None,
            withdrawn: BTreeSet::new(),
            attack: BTreeMap::new(),
            shut_down: BTreeMap::new(),
            slots: Slots::default(),
        }
    }
}

impl State {
    /// Goes on in this boot: what was said until a reboot is forgotten after one. True where there was such.
    pub fn go_on(&mut self, boot_id: Option<String>) -> bool {
        let rebooted =
            matches!((&self.boot_id, &boot_id), (Some(before), Some(now)) if before != now);
        self.boot_id = boot_id.or(self.boot_id.take());
        if !rebooted {
            return false;
        }
        let left = after_reboot(&self.overrides);
        let forgotten = left != self.overrides;
        self.overrides = left;
        forgotten
    }
}

/// The file that holds it.
#[derive(Clone, Debug)]
pub struct StateFile {
    path: PathBuf,
}

/// Why the file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct StateError {
    path: PathBuf,
    reason: String,
}

impl StateFile {
    /// The file in this directory, which is made where it is missing.
    pub fn in_directory(directory: &Path) -> Result<Self, StateError> {
        let file = Self::at(directory);
        fs::create_dir_all(directory).map_err(|error| {
            StateError::new(
                directory,
                format!("cannot be made: {error}; make it, or set node.state_dir"),
            )
        })?;
        Ok(file)
    }

    /// The same without making anything.
    pub fn at(directory: &Path) -> Self {
        Self {
            path: directory.join("state.json"),
        }
    }

    /// The state in the file; a new one where there is no file. One that cannot be used is put aside and a new one takes its
    /// place, with the reason: a node without memory serves better than one that does not start.
    pub fn load_or_begin(&self) -> (State, Option<StateError>) {
        let unusable = match self.load() {
            Ok(state) => return (state, None),
            Err(unusable) => unusable,
        };
        let aside = self.path.with_extension("json.unusable");
        let fate = match fs::rename(&self.path, &aside) {
            Ok(()) => format!("put aside as {}", aside.display()),
            Err(error) => format!("cannot be put aside: {error}"),
        };
        let reason = format!(
            "{}; {fate}: earlier table inputs, drains, withdrawals, attack modes and shut-down peers are forgotten, repeat `anylb backend drain`, \
             `anylb service withdraw`, `anylb service attack` and `anylb bgp shutdown` where they must hold",
            unusable.reason
        );
        (State::default(), Some(StateError { reason, ..unusable }))
    }

    fn load(&self) -> Result<State, StateError> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::default()),
            Err(error) => return Err(StateError::new(&self.path, error)),
        };
        let state: State =
            serde_json::from_str(&text).map_err(|error| StateError::new(&self.path, error))?;
        if state.version != VERSION {
            let reason = format!("version {}, this agent knows {VERSION}", state.version);
            return Err(StateError::new(&self.path, reason));
        }
        Ok(state)
    }

    /// Replaces the file as a whole: a crash leaves the old or the new one.
    pub fn save(&self, state: &State) -> Result<(), StateError> {
        let fresh = self.path.with_extension("json.new");
        let write = || {
            let mut file = File::create(&fresh)?;
            file.write_all(&serde_json::to_vec(state)?)?;
            file.sync_all()?;
            fs::rename(&fresh, &self.path)
        };
        write().map_err(|error: io::Error| {
            // A part of it is of no use, and takes room where there is none.
            let _ = fs::remove_file(&fresh);
            StateError::new(&self.path, error)
        })
    }
}

impl StateError {
    fn new(path: &Path, reason: impl ToString) -> Self {
        Self {
            path: path.into(),
            reason: reason.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::overrides::{Override, Said};
    use crate::agent::testing::{Scratch, address};
    use crate::model::AdminState;

    fn drained() -> State {
        let said = Override {
            admin: Some(Said {
                value: AdminState::Draining,
                persist: true,
            }),
            weight: Some(Said {
                value: 50,
                persist: false,
            }),
        };
        let drained = [(address("10.1.0.1"), said)];
        State {
            generation: 7,
            overrides: [(PoolName("web".into()), drained.into())].into(),
            withdrawn: ["mail".to_owned()].into(),
            attack: [("mail".to_owned(), true)].into(),
            shut_down: [(address("10.0.0.1").into(), "upgrade".to_owned())].into(),
            ..State::default()
        }
    }

    #[test]
    fn saved_is_loaded_whole() {
        let scratch = Scratch::new();
        let file = StateFile::in_directory(&scratch.path().join("deep/er")).expect("a directory");
        assert_eq!(
            file.load_or_begin(),
            (State::default(), None),
            "no file yet"
        );
        file.save(&drained()).expect("written");
        assert_eq!(file.load_or_begin(), (drained(), None));
    }

    #[test]
    fn a_file_that_lacks_the_word_about_services_is_one_of_an_agent_that_heard_none() {
        let scratch = Scratch::new();
        let file = StateFile::in_directory(scratch.path()).expect("a directory");
        let mut state = drained();
        file.save(&state).expect("written");
        let path = scratch.path().join("state.json");
        let text = fs::read_to_string(&path).expect("readable");
        let older = text.replace(
            r#""withdrawn":["mail"],"attack":{"mail":true},"shut_down":{"10.0.0.1":"upgrade"},"#,
            "",
        );
        assert_ne!(older, text);
        fs::write(&path, older).expect("written");
        state.withdrawn.clear();
        state.attack.clear();
        state.shut_down.clear();
        assert_eq!(file.load_or_begin(), (state, None));
    }

    #[test]
    fn a_file_with_states_alone_is_one_of_an_agent_that_kept_them_for_good() {
        let scratch = Scratch::new();
        let file = StateFile::in_directory(scratch.path()).expect("a directory");
        let older = r#"{"version":1,"generation":3,"histories":{},"overrides":{"web":{"10.1.0.1":"draining"}},"slots":{"services":{},"blocks":{},"pairs":{},"members":{}}}"#;
        fs::write(scratch.path().join("state.json"), older).expect("written");
        let (mut state, error) = file.load_or_begin();
        assert_eq!(error, None);
        let mut expected = drained().overrides;
        let said = expected.values_mut().flat_map(BTreeMap::values_mut);
        said.for_each(|said| said.weight = None);
        assert_eq!(state.overrides, expected);
        assert!(!state.go_on(Some("this boot".into())));
        assert!(!state.go_on(Some("another".into())));
        assert_eq!(state.overrides, expected);
    }

    #[test]
    fn a_reboot_ends_what_was_not_to_outlast_it() {
        let mut state = drained();
        assert!(!state.go_on(Some("first".into())), "of no known boot");
        assert!(!state.go_on(Some("first".into())), "the same");
        assert!(!state.go_on(None), "the kernel does not tell");
        assert_eq!(state.overrides, drained().overrides);
        assert!(state.go_on(Some("second".into())));
        let left = state.overrides[&PoolName("web".into())][&address("10.1.0.1")];
        assert_eq!((left.admin(), left.weight), (AdminState::Draining, None));
        assert_eq!(state.withdrawn, drained().withdrawn);
        assert_eq!(state.attack, drained().attack);
        assert_eq!(state.shut_down, drained().shut_down);
        assert!(!state.go_on(Some("third".into())), "nothing more to forget");
    }

    #[test]
    fn an_unusable_file_is_put_aside_and_said() {
        for (content, words) in [
            ("{", "EOF while parsing"),
            ("\u{0}\u{0}\u{0}", "expected value"),
            (r#"{"version":1}"#, "missing field"),
            (
                r#"{"version":2,"generation":0,"histories":{},"overrides":{},"slots":{"services":{},"blocks":{},"pairs":{},"members":{}}}"#,
                "version 2, this agent knows 1",
            ),
        ] {
            let scratch = Scratch::new();
            let file = StateFile::in_directory(scratch.path()).expect("a directory");
            let path = scratch.path().join("state.json");
            fs::write(&path, content).expect("written");
            let (state, error) = file.load_or_begin();
            assert_eq!(state, State::default(), "{content}");
            let error = error.expect("said").to_string();
            assert!(error.contains(words), "{error}");
            assert!(!error.contains('\n'), "one line: {error}");
            let aside = scratch.path().join("state.json.unusable");
            assert!(error.contains(&*aside.to_string_lossy()), "{error}");
            assert_eq!(fs::read_to_string(aside).expect("kept"), content);
            file.save(&drained()).expect("written");
            assert_eq!(file.load_or_begin(), (drained(), None), "{content}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_is_an_error_and_stays() {
        let scratch = Scratch::new();
        let file = StateFile::in_directory(scratch.path()).expect("a directory");
        file.save(&drained()).expect("written");
        fs::create_dir(scratch.path().join("state.json.new")).expect("in the way");
        assert!(file.save(&State::default()).is_err());
        assert_eq!(file.load_or_begin(), (drained(), None));
    }
}
