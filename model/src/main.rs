//! Prints what the model finds: `protocol-model worlds`, `protocol-model breaks`, each with `--full` for the long form, or with
//! the name of one. `protocol-model trace WORLD [BREAK]` prints the shortest way to a broken promise.

use std::thread::available_parallelism;

use protocol_model::breaks::Break;
use protocol_model::config::Config;
use protocol_model::configs::ALL;
use protocol_model::{Outcome, explore};

#[allow(clippy::print_stdout, reason = "printing is what it is for")]
fn main() {
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
            worlds.for_each(|config| println!("{}", row(&config, &explore(config, threads))));
        }
        "breaks" => {
            println!("| break | world | broken promise | steps |\n| --- | --- | --- | ---: |");
            let asked = |b: &&Break| name.is_none_or(|name| name == format!("{b:?}"));
            for (broken, world) in Break::ALL.iter().filter(asked).map(|b| (*b, b.world())) {
                let long = full || Break::LONG.contains(&broken);
                let config = ALL.into_iter().find(|c| c.name == world).map(|c| if long { c.full() } else { c });
                let found = config.and_then(|c| explore(c.broken_by(broken), 1).broken);
                let (promise, steps) = found.map_or(("none".into(), 0), |(promise, way)| (promise, way.len()));
                println!("| `{broken:?}` | {world} | {promise} | {steps} |");
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
}

fn row(config: &Config, outcome: &Outcome) -> String {
    let Outcome { states, unique, depth, took, broken } = outcome;
    let broken = broken.as_ref().map(|(promise, way)| format!(" **{promise}** after {} steps", way.len()));
    format!(
        "| {} | {states} | {unique} | {depth} | {:.0} s |{}",
        config.name,
        took.as_secs_f64(),
        broken.unwrap_or_default()
    )
}
