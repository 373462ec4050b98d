//! `anylb bench`.

use std::io::{self, IsTerminal as _, Write as _};

use super::args::BenchArgs;
use super::error::CliError;
use super::output::{Answer, CLEAR, Style};
use super::{role, show};
use crate::bench::plan::{Plan, Way};
use crate::bench::{self, Failure};
use crate::status::{Envelope, Exit, LineRate};

/// Measures, once the operator has said yes to what that does.
pub(super) fn run(args: BenchArgs, style: Style) -> Result<Answer, CliError> {
    if !args.yes {
        let risks = show::bench::risks(&args.interface);
        return Err(CliError::new(Exit::Refused, risks));
    }
    let terminal = io::stderr().is_terminal();
    let told = |frame_bytes, pps| {
        if terminal {
            say(&show::bench::progress(frame_bytes, pps));
        }
    };
    let found = role::runtime()?.block_on(bench::run(&plan(args), told));
    if terminal {
        say(CLEAR);
    }
    answer(found.map_err(error)?, style)
}

fn plan(args: BenchArgs) -> Plan {
    Plan {
        interface: args.interface,
        vip: args.to,
        way: match (args.mac, args.via) {
            (Some(mac), _) => Way::Mac(mac.0),
            (None, Some(neighbour)) => Way::Via(neighbour),
            (None, None) => Way::Route,
        },
        flows: args.flows,
        frames: args.frame,
        seconds: args.seconds,
        rate: args.rate,
        loss_percent: args.loss,
        cpus: args.cpus.map(usize::from),
    }
}

/// Progress is for who watches: nobody misses what cannot be written.
fn say(text: &str) {
    let mut stderr = io::stderr();
    let _ = stderr
        .write_all(text.as_bytes())
        .and_then(|()| stderr.flush());
}

fn error(failure: Failure) -> CliError {
    let exit = match failure {
        Failure::Refused(_) => Exit::Refused,
        Failure::Dataplane(_) | Failure::Cpu { .. } | Failure::Random(_) => Exit::Failed,
    };
    CliError::new(exit, failure.to_string())
}

/// No agent is asked, so the generation is 0.
pub(super) fn answer(found: LineRate, style: Style) -> Result<Answer, CliError> {
    let exit = match found.problem {
        Some(_) => Exit::Failed,
        None => Exit::Ok,
    };
    let envelope = Envelope::new(0, found);
    let answer = Answer::new(style, &envelope, |found| show::bench::table(found, style))?;
    Ok(Answer { exit, ..answer })
}
