//! The programs in the kernel.

use anylb::backend::datapath::Datapath;
use anylb::backend::image::Image;
use anylb::backend::kernel_types::Offsets;
use lb_tests::harness::privileged;

use crate::cases;

#[test]
fn the_verifier_takes_the_programs() {
    if !privileged::available("the_verifier_takes_the_programs") {
        return;
    }
    let btf = std::fs::read("/sys/kernel/btf/vmlinux").expect("this kernel has BTF");
    let image = Image::new(&cases::wanted()).expect("it fits");
    for offsets in [Offsets::find(&btf), Offsets::default()] {
        Datapath::load(&image, offsets).unwrap_or_else(|error| panic!("{error:#?}"));
    }
}
