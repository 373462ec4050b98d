use super::{Bench, same_as, too_wide};
use crate::api::fake::{self, FakeNode};
use crate::status::Exit;

#[tokio::test]
async fn every_view_of_the_kernel() {
    for (line, file, exit) in [
        ("bpf maps", "bpf-maps.txt", Exit::Ok),
        ("bpf maps -o wide", "bpf-maps-wide.txt", Exit::Ok),
        ("bpf maps --json", "bpf.json", Exit::Ok),
        ("bpf progs", "bpf-progs.txt", Exit::Ok),
        ("bpf verify", "bpf-verify.txt", Exit::Differs),
        ("bpf verify --json", "bpf-verify.json", Exit::Differs),
    ] {
        let answer = Bench::new(FakeNode::lb()).run(line).await;
        same_as(file, &answer.0);
        assert_eq!(answer.1, exit, "{line}");
        assert_eq!(too_wide(&answer.0), Vec::<&str>::new(), "{line}");
    }
}

#[tokio::test]
async fn a_kernel_that_holds_what_it_should() {
    let node = FakeNode::new(fake::healthy(), None);
    let (text, exit) = Bench::new(node).run("bpf verify").await;
    assert_eq!(
        text,
        "the kernel holds what it should (addresses 7, service ports 3, backends 4, tables 2, probes 3)\n"
    );
    assert_eq!(exit, Exit::Ok);
}
