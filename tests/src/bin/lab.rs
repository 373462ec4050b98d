//! The command line of the lab. `lab serve` is the web server that runs in each backend.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about, version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// A web server that answers its name and the peer address it saw.
    Serve {
        /// The name.
        #[arg(long)]
        name: String,
        /// TCP port, both families.
        #[arg(long)]
        port: u16,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Some(Command::Serve { name, port }) => lb_tests::load::server::serve(name, port).await,
        None => Ok(()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
