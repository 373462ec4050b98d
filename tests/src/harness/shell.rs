//! Other programs, called for their effect or their answer.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Runs a command to its end and returns what it printed; a failure carries the command line and its complaint.
pub fn output(command: &mut Command) -> Result<String> {
    output_with_codes(command, &[0])
}

/// [`output`] of a program for which more than one exit code is success.
pub fn output_with_codes(command: &mut Command, good: &[i32]) -> Result<String> {
    let line = format!("{command:?}").replace('"', "");
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start: {line}"))?;
    if !output
        .status
        .code()
        .is_some_and(|code| good.contains(&code))
    {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("{line}: {}: {}", output.status, complaint.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// [`output`] of a program with arguments separated by blanks.
pub fn run(line: &str) -> Result<String> {
    let mut words = line.split_whitespace();
    let program = words.next().context("an empty command line")?;
    output(Command::new(program).args(words))
}
