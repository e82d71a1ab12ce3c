// SPDX-License-Identifier: Apache-2.0
//! `make demo`: a root, a relay below it and three nodes on this machine, with real keys, TLS and
//! processes. The nodes apply a small policy; the root goes away for a while and comes back; the
//! summary says what every node reported, and whether everything produced is stored, once.

mod stage;
mod summary;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use tests::{Result, judge::Judge, site, wait};

use stage::Stage;

/// Shows the whole road on this machine, from three nodes over a relay to a root, outage included.
#[derive(Debug, Parser)]
#[command(
    after_help = "Examples:\n  make demo\n  make demo KEEP=1     leaves it running and prints how to look around"
)]
struct Cli {
    /// Leave everything running at the end, and print how to look around and how to stop it
    #[arg(long)]
    keep: bool,
}

const NODES: usize = 3;
/// Runs of each node before, during and after the outage.
const RUNS: [usize; 3] = [2, 2, 1];
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let cli = Cli::parse();
    match wait::heed_interruption().and_then(|()| show(cli.keep)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("\nThe demonstration failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn show(keep: bool) -> Result<bool> {
    let begun = Instant::now();
    step("Making keys and certificates of a root, a relay and three nodes");
    let mut stage = Stage::set(NODES)?;
    step("Starting the root (SQLite) and the relay below it");
    stage.root.start()?;
    stage.relay.start()?;
    done(&format!("root at {}, relay at {}", stage.root.gateway(), stage.relay.gateway()));

    let mut judge = Judge::default();
    step(&format!("Each node applies its policy {} times and uploads to the relay", RUNS[0]));
    run_all(&mut stage, &mut judge, RUNS[0])?;
    stage.wait_stored(&judge, PATIENCE)?;
    done(&format!("all of them are stored at the root: {}", judge.verdict(stage.root.database()?)?));

    step("The root goes away. The nodes carry on");
    stage.root.stop()?;
    stage.tamper()?;
    run_all(&mut stage, &mut judge, RUNS[1])?;
    let waiting = site::waiting(&stage.relay.incoming())?;
    done(&format!("the relay took everything and keeps {waiting} run logs on its disk"));
    if waiting != NODES * RUNS[1] {
        return Err(format!("{waiting} run logs wait at the relay instead of {}", NODES * RUNS[1]).into());
    }

    step("The root comes back");
    let back = Instant::now();
    stage.root.start()?;
    stage.wait_stored(&judge, PATIENCE)?;
    done(&format!(
        "back-filled {waiting} run logs {:.1} s after the root was started",
        back.elapsed().as_secs_f64()
    ));
    run_all(&mut stage, &mut judge, RUNS[2])?;
    stage.wait_stored(&judge, PATIENCE)?;
    site::wait_drained(&mut stage.relay, PATIENCE)?;
    site::wait_drained(&mut stage.root, PATIENCE)?;

    let nodes = summary::of_nodes(stage.root.database()?, &stage.names())?;
    println!("\nWhat the nodes reported, over all their runs\n");
    print!("{}", summary::table(&nodes));
    let verdict = judge.verdict(stage.root.database()?)?;
    let as_expected = nodes.iter().all(summary::NodeSummary::is_as_expected);
    let good = verdict.is_complete() && as_expected;
    println!(
        "\nproduced {} run logs, stored {}, lost {}, duplicated {}, forged {} ({} rows, {:.0} s in all)",
        verdict.claimed,
        verdict.stored,
        verdict.lost,
        verdict.duplicated,
        verdict.forged,
        verdict.rows,
        begun.elapsed().as_secs_f64()
    );
    println!(
        "{}",
        match (good, as_expected) {
            (true, _) => "Everything that was produced is stored, once.",
            (false, true) => "THAT IS WRONG: everything that was produced should be stored, once.",
            (false, false) => "THAT IS WRONG: the nodes should have reported something else.",
        }
    );
    if keep {
        println!("{}", stage.leave_running()?);
    } else {
        stage.clear()?;
        println!("Everything is stopped and removed. `make demo KEEP=1` leaves it running to look around.");
    }
    Ok(good)
}

fn run_all(stage: &mut Stage, judge: &mut Judge, runs: usize) -> Result<()> {
    for _ in 0..runs {
        stage.wait_next_second()?;
        for node in 0..NODES {
            wait::interruption()?;
            done(&stage.run_node(node, judge)?);
        }
    }
    Ok(())
}

fn step(text: &str) {
    println!("\n== {text}");
}

fn done(text: &str) {
    println!("   {text}");
}
