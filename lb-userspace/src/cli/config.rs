//! `anylb config`: what can be done with a file without an agent.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::args::{ConfigCommand, Format, InitArgs};
use super::error::CliError;
use super::local::invalid;
use super::output::{Answer, Style, to_json};
use crate::config::{self, Effective, Template};
use crate::status::{Envelope, Exit};

/// Where the hash key is unless told.
const HASH_KEY: &str = "/etc/anylb/hash.key";
/// Readable by nobody else.
const SECRET: u32 = 0o600;
const PLAIN: u32 = 0o644;

/// No agent is asked, so its generation is 0.
pub(super) fn run(command: ConfigCommand, style: Style) -> Result<Answer, CliError> {
    match command {
        ConfigCommand::Init(args) => init(&args, style),
        ConfigCommand::Show(args) => show(&args.config, style),
        ConfigCommand::Schema => schema(style),
    }
}

#[derive(Serialize)]
struct Schema {
    /// The document that is printed without `--json`.
    config_schema: Value,
}

fn schema(style: Style) -> Result<Answer, CliError> {
    let config_schema = config::json_schema();
    match style.format {
        Format::Json => Answer::new(style, &Envelope::new(0, Schema { config_schema }), |_| {
            String::new()
        }),
        Format::Table | Format::Wide => Ok(Answer {
            text: to_json(&config_schema)?,
            exit: Exit::Ok,
        }),
    }
}

#[derive(Serialize)]
struct Shown {
    file: String,
    /// Null where nothing can be written for what holds.
    config: Effective,
}

fn show(file: &Path, style: Style) -> Result<Answer, CliError> {
    match config::effective(file) {
        Ok(config) => {
            let file = file.display().to_string();
            Answer::new(style, &Envelope::new(0, Shown { file, config }), |shown| {
                shown.config.to_string()
            })
        }
        Err(errors) => invalid(errors, style),
    }
}

#[derive(Serialize)]
struct Started {
    /// None: the text was printed.
    file: Option<String>,
    /// The hash key that was made.
    key: Option<String>,
    text: String,
}

fn init(args: &InitArgs, style: Style) -> Result<Answer, CliError> {
    let shown = |path: &PathBuf| path.display().to_string();
    let text = config::template(&match args.backend {
        true => Template::Backend,
        false => Template::Lb {
            hash_key_file: args.key.as_ref().map_or_else(|| HASH_KEY.into(), key_path),
        },
    });
    // Both or nothing: the first is looked at before the second is made.
    if let Some(file) = args.file.as_ref().filter(|file| file.exists()) {
        return Err(in_the_way(file));
    }
    if let Some(key) = &args.key {
        write_new(key, SECRET, format!("{}\n", random_key()?).as_bytes())?;
    }
    if let Some(file) = &args.file {
        write_new(file, PLAIN, text.as_bytes())?;
    }
    let started = Started {
        file: args.file.as_ref().map(shown),
        key: args.key.as_ref().map(shown),
        text,
    };
    Answer::new(
        style,
        &Envelope::new(0, started),
        |started| match &started.file {
            None => started.text.clone(),
            Some(file) => {
                let key = started.key.as_ref();
                let key = key.map_or_else(String::new, |key| {
                    format!("{key}: made; copy it to every node of every site\n")
                });
                format!(
                    "{key}{file}: written; put your addresses there, then: anylb check {file}\n"
                )
            }
        },
    )
}

/// As the file has it: relative paths there start at its own directory, those here at the caller's.
fn key_path(key: &PathBuf) -> String {
    let absolute = std::path::absolute(key).unwrap_or_else(|_| key.clone());
    absolute.display().to_string()
}

/// 32 hexadecimal digits.
fn random_key() -> Result<String, CliError> {
    let mut key = [0_u8; 16];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut key))
        .map_err(|error| {
            CliError::new(Exit::Failed, format!("cannot read /dev/urandom: {error}"))
        })?;
    Ok(key.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn write_new(path: &Path, mode: u32, content: &[u8]) -> Result<(), CliError> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path);
    file.and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    })
    .map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => in_the_way(path),
        _ => CliError::new(
            Exit::Failed,
            format!("cannot write {}: {error}", path.display()),
        ),
    })
}

fn in_the_way(path: &Path) -> CliError {
    CliError::new(
        Exit::Refused,
        format!(
            "{} is there already, and stays as it is: name another file",
            path.display()
        ),
    )
}
