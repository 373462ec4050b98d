//! Many peers and prefixes at once: all is heard, and the speaker keeps within its memory. Time is `cargo xtask bench bgp-scale`'s.

use std::path::Path;

use anyhow::{Result, ensure};
use lb_tests::scale::{self, report};

#[tokio::test]
async fn a_hundred_peers_hear_of_ten_thousand_prefixes() -> Result<()> {
    let program = Path::new(env!("CARGO_BIN_EXE_bgp_scale"));
    let row = scale::run(program, 100, 10_000, 2).await?;
    println!("{}", report::table(&row));
    ensure!(row.memory_bytes() <= report::MEMORY_MAX, "{row:?}");
    Ok(())
}
