use super::{Bench, same_as, too_wide};
use crate::api::fake::FakeNode;
use crate::api::scratch::Scratch;
use crate::status::Exit;

#[tokio::test]
async fn every_view_of_a_difference() {
    let bench = Bench::new(FakeNode::lb());
    for (line, file, exit) in [
        ("diff", "diff.txt", Exit::Differs),
        ("diff --json", "diff.json", Exit::Differs),
        ("reload --force", "reload.txt", Exit::Ok),
        ("reload --force --wait", "reload.txt", Exit::Ok),
        ("reload --force --json", "reload.json", Exit::Ok),
    ] {
        let answer = bench.run(line).await;
        same_as(file, &answer.0);
        assert_eq!(answer.1, exit, "{line}");
        assert_eq!(too_wide(&answer.0), Vec::<&str>::new(), "{line}");
    }
}

#[tokio::test]
async fn a_file_goes_to_the_agent_with_its_whole_path() {
    let (bench, scratch) = (Bench::new(FakeNode::lb()), Scratch::new());
    let path = scratch.path().join("next.toml");
    let line = format!("diff {}", path.display());
    let (text, exit) = bench.run(&line).await;
    assert_eq!(exit, Exit::ConfigInvalid);
    let cannot = format!(
        "cannot read {}: No such file or directory (os error 2)",
        path.display()
    );
    assert_eq!(text, cannot);

    std::fs::write(&path, "").unwrap();
    assert_eq!(
        bench.run(&line).await,
        ("nothing differs\n".to_string(), Exit::Ok)
    );

    std::fs::write(&path, "vipp = 1\n").unwrap();
    let whole = std::fs::canonicalize(&path).unwrap();
    let expected = format!("error: unknown key `vipp`\n --> {}:1:1", whole.display());
    assert_eq!(bench.run(&line).await, (expected, Exit::ConfigInvalid));
}

#[tokio::test]
async fn a_refused_reload_says_why_and_ends_with_6() {
    let (text, exit) = Bench::new(FakeNode::lb()).run("reload").await;
    assert_eq!(
        text,
        "anylb: pool web: up to 24.86 % of its flows would lose their backend; nothing changed: `anylb reload --force` does it"
    );
    assert_eq!(exit, Exit::Refused);
}

#[tokio::test]
async fn peers_that_are_not_told_in_time_end_it_with_8() {
    let bench = Bench::new(FakeNode::lb());
    let answer = bench.run("reload --force --wait 1").await;
    let text = "anylb: applied, but one peer was not told".to_string();
    assert_eq!(answer, (text, Exit::Timeout));
}

#[test]
fn times_that_are_none_end_with_2() {
    use clap::Parser;
    for time in ["0", "-1", "3601", "x"] {
        let line = ["anylb", "reload", "--wait", time];
        assert!(crate::cli::Cli::try_parse_from(line).is_err(), "{time:?}");
    }
}
