//! `anylb diff`, `anylb reload`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use super::super::args::{DiffArgs, ReloadArgs};
use super::super::client::Client;
use super::super::error::CliError;
use super::super::output::{Answer, Style};
use super::super::show;
use crate::status::{DiffRequest, Exit, FileText, ReloadRequest};

/// Largest file that the agent takes, JSON around it included.
const FILE_BYTES: u64 = 6 << 20;

pub(super) async fn diff(
    client: &Client,
    args: DiffArgs,
    style: Style,
) -> Result<Answer, CliError> {
    let file = args.file.as_deref().map(read).transpose()?;
    let envelope = client.diff(&DiffRequest { file }).await?;
    let exit = match envelope.body.is_empty() {
        true => Exit::Ok,
        false => Exit::Differs,
    };
    let answer = Answer::new(style, &envelope, |diff| show::diff::planned(diff, style))?;
    Ok(Answer { exit, ..answer })
}

pub(super) async fn reload(
    client: &Client,
    args: ReloadArgs,
    style: Style,
) -> Result<Answer, CliError> {
    let request = ReloadRequest {
        force: args.force,
        wait_secs: args.wait,
    };
    let envelope = client.reload(&request).await?;
    Answer::new(style, &envelope, |done| show::diff::applied(done, style))
}

/// The file as whoever asks may read it: the agent may read more than he.
fn read(path: &Path) -> Result<FileText, CliError> {
    let unreadable = |error: io::Error| {
        let message = format!("cannot read {}: {error}", path.display());
        CliError::new(Exit::ConfigInvalid, message)
    };
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    let length = file
        .take(FILE_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    if length as u64 > FILE_BYTES {
        return Err(unreadable(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(FileText {
        path: fs::canonicalize(path).map_err(unreadable)?,
        text,
    })
}
