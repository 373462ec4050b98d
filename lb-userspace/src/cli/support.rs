//! What goes into a package beside the binary: completions and man pages, from the command line that the program reads.

use std::fs;
use std::io;
use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;
use clap_mangen::Man;
use serde::Serialize;

use super::args::{Cli, Format};
use super::error::CliError;
use super::output::{Answer, Style, plural};
use crate::status::{Envelope, Exit};

/// `anylb completions`.
pub(super) fn completions(shell: Shell) -> Answer {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "anylb", &mut script);
    text(script)
}

/// `anylb man --json`.
#[derive(Serialize)]
struct Pages {
    /// Where they are.
    directory: String,
    /// Names of the files, `anylb.1` first.
    pages: Vec<String>,
}

/// `anylb man`: the page of `anylb` itself, or every page into a directory, which is made where it is missing.
pub(super) fn man(directory: Option<&Path>, style: Style) -> Result<Answer, CliError> {
    let Some(directory) = directory else {
        if style.format == Format::Json {
            let message = "a man page is no JSON: leave --json out, or name a directory";
            return Err(CliError::new(Exit::Usage, message));
        }
        let page = render(&Man::new(Cli::command()));
        return page.map(text).map_err(|error| unwritable("-", &error));
    };
    let pages = write_pages(directory)
        .map_err(|error| unwritable(&directory.display().to_string(), &error))?;
    let pages = Pages {
        directory: directory.display().to_string(),
        pages,
    };
    Answer::new(style, &Envelope::new(0, pages), |pages| {
        let count = plural(pages.pages.len(), "page");
        format!("{count} written to {}\n", pages.directory)
    })
}

fn write_pages(directory: &Path) -> io::Result<Vec<String>> {
    fs::create_dir_all(directory)?;
    let mut command = Cli::command().disable_help_subcommand(true);
    // Subcommands get their full names, `anylb-bgp-peers`.
    command.build();
    let mut written = Vec::new();
    for page in all_of(command) {
        let man = Man::new(page);
        let name = man.get_filename();
        fs::write(directory.join(&name), render(&man)?)?;
        written.push(name);
    }
    Ok(written)
}

/// A command and everything below it.
fn all_of(command: clap::Command) -> Vec<clap::Command> {
    let below: Vec<_> = command.get_subcommands().cloned().collect();
    let mut all = vec![command];
    all.extend(below.into_iter().flat_map(all_of));
    all
}

fn render(man: &Man) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    man.render(&mut page)?;
    Ok(page)
}

fn text(bytes: Vec<u8>) -> Answer {
    Answer {
        // What clap was given is text, and it adds nothing but text.
        text: String::from_utf8_lossy(&bytes).into_owned(),
        exit: Exit::Ok,
    }
}

fn unwritable(place: &str, error: &io::Error) -> CliError {
    CliError::new(
        Exit::Failed,
        format!("cannot write man pages to {place}: {error}"),
    )
}
