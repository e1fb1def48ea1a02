//! `cargo xtask bench NAME`: measures by running real programs on real files. Asserts nothing; prints figures and goals.

mod downtime;
mod engine;
mod vacuum;

use clap::ValueEnum;
use serde_json::json;

use crate::Outcome;
use crate::process::print;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to measure
    name: Name,
    /// A JSON object per row instead of the table
    #[arg(long)]
    json: bool,
    /// Only the engine, without the whole command on the throwaway cluster
    #[arg(long)]
    engine: bool,
    /// Size of the database in MB
    #[arg(long, value_name = "MB", default_value_t = 500)]
    size: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    /// Rebuilding a database, against what people do by hand
    Vacuum,
}

/// Which way is better.
#[derive(Clone, Copy)]
enum Better {
    Higher,
    Lower,
}

/// A measured ratio.
#[derive(Clone)]
struct Row {
    name: &'static str,
    /// A ratio; of a time that has no other to be compared with, the seconds themselves.
    ratio: f64,
    goal: f64,
    better: Better,
    /// The figures behind it, as a person reads them.
    raw: String,
}

impl Row {
    fn reached(&self) -> bool {
        match self.better {
            Better::Higher => self.ratio >= self.goal,
            Better::Lower => self.ratio <= self.goal,
        }
    }

    fn better(&self) -> &'static str {
        match self.better {
            Better::Higher => "higher",
            Better::Lower => "lower",
        }
    }
}

pub(crate) fn run(args: &Args) -> Outcome {
    let rows = match args.name {
        Name::Vacuum if args.engine => vacuum::measure(args.size)?,
        Name::Vacuum => [vacuum::measure(args.size)?, downtime::measure()?].concat(),
    };
    if !args.json {
        print(&format!("{:<44} {:>8} {:>8}  {:<7} {:<7} {}", "NAME", "RATIO", "GOAL", "BETTER", "REACHED", "RAW"))?;
    }
    for row in rows {
        let reached = row.reached();
        if args.json {
            let line = json!({"name": row.name, "ratio": row.ratio, "goal": row.goal, "better": row.better(), "raw": row.raw});
            print(&line.to_string())?;
        } else {
            let yes = if reached { "yes" } else { "no" };
            print(&format!("{:<44} {:>8.3} {:>8.2}  {:<7} {yes:<7} {}", row.name, row.ratio, row.goal, row.better(), row.raw))?;
        }
    }
    Ok(())
}
