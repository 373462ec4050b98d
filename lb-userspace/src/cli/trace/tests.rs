use std::future::{pending, ready};

use clap::Parser;

use super::super::args::{Cli, Command};
use super::super::tests::{Bench, same_as};
use super::*;
use crate::api::fake::FakeNode;
use crate::status::Exit;

fn args(line: &str) -> (TraceArgs, Style) {
    let cli = Cli::try_parse_from(line.split(' ')).expect("a command line");
    let style = Style {
        format: cli.global.format(),
        colour: false,
    };
    match cli.command {
        Command::Trace(args) => (args, style),
        other => panic!("{other:?}"),
    }
}

async fn traced(node: FakeNode, line: &str) -> Result<(Vec<u8>, Totals), CliError> {
    let (args, style) = args(line);
    let mut out = Vec::new();
    let sink = Sink::new(args.pcap.is_some(), style);
    let totals = watch(&Bench::new(node).client(), &args, sink, &mut out, pending()).await?;
    Ok((out, totals))
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("text")
}

#[tokio::test(start_paused = true)]
async fn lines_until_there_are_enough() {
    let (out, totals) = traced(FakeNode::lb(), "anylb trace --count 3")
        .await
        .expect("packets");
    same_as("trace.txt", &text(out));
    let expected = "3 packets, 3 more than the agent tells of per second, 1 lost on the way";
    assert_eq!(totals.to_string(), expected);
}

#[tokio::test(start_paused = true)]
async fn json_has_a_line_for_each_and_one_for_what_is_missing() {
    let (out, _) = traced(FakeNode::lb(), "anylb trace --count 2 --json")
        .await
        .expect("packets");
    same_as("trace.json", &text(out));
}

#[tokio::test(start_paused = true)]
async fn a_file_has_a_block_for_each() {
    let (out, _) = traced(FakeNode::lb(), "anylb trace --count 2 --pcap x")
        .await
        .expect("packets");
    let (mut rest, mut kinds) = (&out[..], Vec::new());
    while let Some((head, _)) = rest.split_at_checked(8) {
        let word = |at| u32::from_ne_bytes(head[at..at + 4].try_into().expect("four bytes"));
        kinds.push(word(0));
        rest = &rest[word(4) as usize..];
    }
    assert_eq!(rest, [0; 0]);
    assert_eq!(kinds, [0x0a0d_0d0a, 1, 6, 1, 6, 5]);
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_its_time_is_over_or_somebody_says_so() {
    let (_, totals) = traced(FakeNode::lb(), "anylb trace --duration 1s")
        .await
        .expect("packets");
    assert!((2 * 9..=2 * 11).contains(&totals.shown), "{totals}");
    let (args, style) = args("anylb trace");
    let (mut out, bench) = (Vec::new(), Bench::new(FakeNode::lb()));
    let sink = Sink::new(false, style);
    let totals = watch(&bench.client(), &args, sink, &mut out, ready(()))
        .await
        .expect("packets");
    assert_eq!(totals.shown, 2, "what was there");
}

/// Takes so many bytes, and then nobody reads any more.
struct Pipe(usize);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self
            .0
            .checked_sub(bytes.len())
            .ok_or(ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_its_reader() {
    let (args, style) = args("anylb trace");
    let bench = Bench::new(FakeNode::lb());
    let sink = Sink::new(false, style);
    let totals = watch(&bench.client(), &args, sink, &mut Pipe(300), pending()).await;
    assert_eq!(totals.map(|totals| totals.shown), Ok(4));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_one_line() {
    let refused = traced(FakeNode::lb(), "anylb trace --vip 198.51.100.99").await;
    let refused = refused.expect_err("no such VIP");
    assert_eq!(refused.exit, Exit::NotFound);
    assert_eq!(
        refused.to_string(),
        "anylb: there is no VIP 198.51.100.99: see `anylb service list`"
    );
}
