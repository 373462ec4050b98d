//! Lines that the programs log, on paths that are rare: `anylb run --bpf-log`.

use aya::Ebpf;
use aya_log::EbpfLogger;

use super::DataplaneError;

/// Map of the lines.
pub(super) const MAP: &str = "AYA_LOGS";
/// Bytes of it.
const BYTES: u32 = 128 << 10;

/// What is logged. Fixed when a program is loaded: what is above it is no part of the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum BpfLog {
    /// Nothing, at no cost
    #[default]
    Off,
    /// What is wrong with this node
    Error,
    /// What is wrong with packets as well
    Info,
}

impl BpfLog {
    /// In the words of the library.
    pub(super) fn level(self) -> u8 {
        match self {
            BpfLog::Off => 0,
            BpfLog::Error => 1,
            BpfLog::Info => 3,
        }
    }

    /// Bytes of the map: where nothing is logged, as few as the kernel lets it have.
    pub(super) fn bytes(self) -> u32 {
        match self {
            BpfLog::Off => 1,
            BpfLog::Error | BpfLog::Info => BYTES,
        }
    }

    /// Where lines of the object's programs come from; none where nothing is logged.
    pub(super) fn lines(self, object: &mut Ebpf) -> Result<Option<Lines>, DataplaneError> {
        if self == BpfLog::Off {
            return Ok(None);
        }
        let mut logger = EbpfLogger::init(object)
            .map_err(|_| DataplaneError::Object("the map of lines for the log is missing"))?;
        Ok(Some(Lines(Box::new(move || logger.flush()))))
    }
}

/// Lines of loaded programs, on their way to the agent's log.
pub(super) struct Lines(Box<dyn FnMut() + Send + Sync>);

impl Lines {
    /// Logs those that are there.
    pub(super) fn flush(&mut self) {
        (self.0)();
    }
}
