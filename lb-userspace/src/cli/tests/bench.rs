use clap::Parser;

use super::super::args::{BenchArgs, Cli, Command, Format};
use super::super::bench;
use super::super::output::Style;
use super::{same_as, too_wide};
use crate::status::{Exit, FrameRate, LineRate, RateLimit, Trial};

fn trial(frame_bytes: u64, asked_pps: u64, lost: u64) -> Trial {
    let wire = |bytes: u64| (asked_pps * (bytes + 20) * 8) as f64 / 1e9;
    Trial {
        asked_pps,
        seconds: 10,
        offered: asked_pps * 10 + 7,
        sent: Some(asked_pps * 10),
        not_taken: Some(7),
        returned: asked_pps * 10 - lost,
        lost,
        loss_percent: lost as f64 / (asked_pps * 10) as f64 * 100.0,
        sent_pps: asked_pps,
        returned_pps: asked_pps - lost.div_ceil(10),
        sent_gbps: wire(frame_bytes),
        returned_gbps: wire(frame_bytes + 56),
        line_percent: Some(wire(frame_bytes + 56) * 10.0),
    }
}

fn frame(
    frame_bytes: u32,
    throughput_pps: Option<u64>,
    limit: RateLimit,
    tried: &[(u64, u64)],
) -> FrameRate {
    let size = u64::from(frame_bytes);
    let trials = tried.iter().map(|(pps, lost)| trial(size, *pps, *lost));
    FrameRate {
        frame_bytes,
        throughput_pps,
        limit: Some(limit),
        trials: trials.collect(),
    }
}

fn searched() -> LineRate {
    LineRate {
        interface: "eth1".into(),
        vip: "198.51.100.10:80".parse().unwrap(),
        flows: 65_536,
        cpus: 8,
        line_mbps: Some(10_000),
        loss_allowed_percent: 0.0,
        frames: vec![
            frame(
                64,
                Some(6_400_000),
                RateLimit::Loss,
                &[(6_400_000, 0), (12_800_000, 47_310_007), (9_600_000, 4)],
            ),
            frame(512, Some(2_000_000), RateLimit::Line, &[(2_000_000, 0)]),
            frame(1518, Some(400_000), RateLimit::Generator, &[(400_000, 0)]),
        ],
        problem: None,
    }
}

fn silent() -> LineRate {
    let mut none = trial(64, 20_000, 200_000);
    (none.sent, none.not_taken, none.line_percent) = (None, None, None);
    LineRate {
        line_mbps: None,
        frames: vec![FrameRate {
            frame_bytes: 64,
            throughput_pps: None,
            limit: None,
            trials: vec![none],
        }],
        problem: Some("no frame of 64 bytes came back".into()),
        ..searched()
    }
}

#[test]
fn every_view_of_a_measurement() {
    for (found, format, file, exit) in [
        (searched(), Format::Table, "bench.txt", Exit::Ok),
        (searched(), Format::Wide, "bench-wide.txt", Exit::Ok),
        (searched(), Format::Json, "bench.json", Exit::Ok),
        (silent(), Format::Table, "bench-silent.txt", Exit::Failed),
    ] {
        let style = Style {
            format,
            colour: false,
        };
        let answer = bench::answer(found, style).unwrap();
        same_as(file, &answer.text);
        assert_eq!(answer.exit, exit, "{file}");
        if format == Format::Table {
            assert_eq!(too_wide(&answer.text), Vec::<&str>::new(), "{file}");
        }
    }
}

fn parsed(options: &str) -> Result<BenchArgs, i32> {
    parsed_to("198.51.100.10:80", options)
}

fn parsed_to(vip: &str, options: &str) -> Result<BenchArgs, i32> {
    let line = format!("anylb bench --iface eth1 --to {vip} {options}");
    let cli = Cli::try_parse_from(line.split_whitespace()).map_err(|error| error.exit_code())?;
    let Command::Bench(args) = cli.command else {
        panic!("it is `bench`");
    };
    Ok(args)
}

#[test]
fn without_a_yes_nothing_is_done() {
    let style = Style {
        format: Format::Table,
        colour: false,
    };
    let error = bench::run(parsed("").unwrap(), style).unwrap_err();
    assert_eq!(error.exit, Exit::Refused);
    same_as("bench-risks.txt", &format!("{error}\n"));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let args = parsed("--frame 64,512 --mac 02:00:00:00:00:aB").unwrap();
    assert_eq!((args.frame, args.mac.unwrap().0[5]), (vec![64, 512], 0xab));
    assert_eq!((args.flows, args.seconds, args.loss), (65_536, 10, 0.0));
    for options in [
        "--flows 0",
        "--flows 16777217",
        "--frame 63",
        "--frame 64,3073",
        "--seconds 0",
        "--seconds 601",
        "--rate 0",
        "--rate 1000 --loss 1",
        "--loss 51",
        "--loss -1",
        "--loss nan",
        "--cpus 0",
        "--via 10.0.0.1 --mac 02:00:00:00:00:01",
        "--mac 01:00:00:00:00:01",
        "--mac ff:ff:ff:ff:ff:ff",
        "--mac 00:00:00:00:00:00",
        "--mac 02:00:00:00:00",
        "--mac 2:0:0:0:0:1",
        "--mac +2:00:00:00:00:01",
    ] {
        assert_eq!(parsed(options).err(), Some(2), "{options}");
    }
    assert_eq!(
        parsed_to("[2001:db8::1]:53", "").unwrap().to.port(),
        53,
        "a VIP"
    );
    for vip in [
        "198.51.100.10",
        "198.51.100.10:0",
        "224.0.0.1:53",
        "255.255.255.255:53",
        "0.0.0.0:53",
        "127.0.0.1:53",
        "[ff02::1]:53",
        "[::ffff:198.51.100.10]:53",
    ] {
        assert_eq!(parsed_to(vip, "").err(), Some(2), "{vip}");
    }
}
