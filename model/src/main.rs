//! Prints what the model finds: `protocol-model worlds`, `protocol-model breaks`, each with `--full` for the long form, or with
//! the name of one. `protocol-model trace WORLD [BREAK]` prints the shortest way to a broken promise. Fails where a promise is
//! broken that should hold, or one holds that should break.

use std::process::ExitCode;
use std::thread::available_parallelism;

use protocol_model::breaks::Break;
use protocol_model::config::Config;
use protocol_model::configs::ALL;
use protocol_model::{Outcome, explore, explore_some};

/// States of a world in its long form: the first ones are the shortest ways.
const LONG_FORM: usize = 1_000_000;

#[allow(clippy::print_stdout, reason = "printing is what it is for")]
fn main() -> ExitCode {
    let mut as_it_should = true;
    let args: Vec<String> = std::env::args().skip(1).collect();
    let full = args.iter().any(|a| a == "--full");
    let args: Vec<&str> = args.iter().map(String::as_str).filter(|a| !a.starts_with("--")).collect();
    let (what, name) = (args.first().copied().unwrap_or("worlds"), args.get(1).copied());
    let named = |config: &Config| name.is_none_or(|name| name == config.name);
    let worlds = ALL.into_iter().filter(named).map(|c| if full { c.full() } else { c });
    match what {
        "worlds" => {
            println!("| world | states | unique | depth | time |\n| --- | ---: | ---: | ---: | ---: |");
            let threads = available_parallelism().map_or(1, usize::from);
            for config in worlds {
                let outcome = explore_some(config, threads, if full { LONG_FORM } else { usize::MAX });
                as_it_should &= outcome.broken.is_none();
                println!("{}", row(&config, &outcome));
            }
        }
        "breaks" => {
            println!("| break | world | broken promise | steps |\n| --- | --- | --- | ---: |");
            let asked = |b: &&Break| name.is_none_or(|name| name == format!("{b:?}"));
            for (broken, world) in Break::ALL.iter().filter(asked).map(|b| (*b, b.world())) {
                let long = full || Break::LONG.contains(&broken);
                let config = ALL.into_iter().find(|c| c.name == world).map(|c| if long { c.full() } else { c });
                let found = config.and_then(|c| explore(c.broken_by(broken), 1).broken);
                as_it_should &= found.is_some();
                let (promise, steps) = found.map_or(("none".into(), 0), |(promise, way)| (promise, way.len()));
                let form = if long && !full { ", long" } else { "" };
                println!("| `{broken:?}` | {world}{form} | {promise} | {steps} |");
            }
        }
        _ => {
            let broken = Break::ALL.iter().find(|b| args.get(2).is_some_and(|name| *name == format!("{b:?}")));
            for config in worlds {
                let config = broken.map_or(config, |broken| config.broken_by(*broken));
                println!("{:#?}", explore(config, 1).broken);
            }
        }
    }
    if as_it_should { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn row(config: &Config, outcome: &Outcome) -> String {
    let Outcome { states, unique, depth, to_its_end, took, broken } = outcome;
    let end = if *to_its_end || broken.is_some() { "" } else { ", and on" };
    let broken = broken.as_ref().map(|(promise, way)| format!(" **{promise}** after {} steps", way.len()));
    format!(
        "| {} | {states}{end} | {unique} | {depth} | {:.0} s |{}",
        config.name,
        took.as_secs_f64(),
        broken.unwrap_or_default()
    )
}
