//! What must survive the process and a reboot: one JSON file in the state directory.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::{AdminState, PoolName};
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
    /// What the operator said, where it is not [`AdminState::Ready`].
    pub overrides: BTreeMap<PoolName, BTreeMap<IpAddr, AdminState>>,
    /// Numbers of services, pools and their members in the datapath.
    pub slots: Slots,
}

impl Default for State {
    fn default() -> Self {
        Self {
            version: VERSION,
            generation: 0,
            histories: BTreeMap::new(),
            overrides: BTreeMap::new(),
            slots: Slots::default(),
        }
    }
}

/// The file that holds it.
#[derive(Clone, Debug)]
pub struct StateFile {
    path: PathBuf,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct StateError {
    path: PathBuf,
    reason: String,
}

impl StateFile {
    /// The file in this directory, which is made where it is missing.
    pub fn in_directory(directory: &Path) -> Result<Self, StateError> {
        let path = directory.join("state.json");
        fs::create_dir_all(directory).map_err(|error| StateError::new(&path, error))?;
        Ok(Self { path })
    }

    /// The state in the file; a new one where there is no file.
    pub fn load(&self) -> Result<State, StateError> {
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
        write().map_err(|error: io::Error| StateError::new(&self.path, error))
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

    #[test]
    fn saved_is_loaded_and_a_broken_file_is_an_error() {
        let directory = std::env::temp_dir().join(format!("anylb-state-{}", std::process::id()));
        let file = StateFile::in_directory(&directory).expect("a directory");
        assert_eq!(file.load().expect("no file yet"), State::default());
        let mut state = State {
            generation: 7,
            ..State::default()
        };
        let drained = [(
            "10.1.0.1".parse().expect("an address"),
            AdminState::Draining,
        )];
        state
            .overrides
            .insert(PoolName("web".into()), drained.into());
        file.save(&state).expect("written");
        assert_eq!(file.load().expect("read"), state);
        fs::write(directory.join("state.json"), "{").expect("written");
        assert!(
            file.load()
                .expect_err("not JSON")
                .to_string()
                .contains("state.json")
        );
        fs::remove_dir_all(directory).expect("removed");
    }
}
