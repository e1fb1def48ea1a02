//! `cargo xtask bench NAME`: measures by running real programs on real files. Asserts nothing; prints figures and goals.

mod doctor;
mod downtime;
mod engine;
mod finish;
mod route;
mod run;
mod vacuum;
mod watch;

use clap::ValueEnum;
use serde_json::json;

use crate::Outcome;
use crate::process::print;

/// Starts a PostgreSQL in a container of the image with databases, which trusts everybody.
const DATABASE: &str = "set -e; mkdir -p /sock; chmod 1777 /sock; cd /tmp
runuser -u postgres -- /usr/lib/postgresql/15/bin/initdb -D /tmp/pg -A trust >/dev/null
echo 'host all all all trust' >>/tmp/pg/pg_hba.conf
exec runuser -u postgres -- /usr/lib/postgresql/15/bin/postgres -D /tmp/pg -c listen_addresses='*' -c unix_socket_directories=/sock";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to measure
    name: Name,
    /// A JSON object per row instead of the table
    #[arg(long)]
    json: bool,
    /// Only the engine, without the whole command on the throwaway cluster
    #[arg(long, conflicts_with = "command")]
    engine: bool,
    /// Only the whole command, without the engine alone
    #[arg(long)]
    command: bool,
    /// Size of the database in MB
    #[arg(long, value_name = "MB", default_value_t = 500)]
    size: u64,
    /// Size in MB of a second, larger database, on which the time per row must be the same; as much of it as the disk has room for
    #[arg(long, value_name = "MB", default_value_t = 1500)]
    largest: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    /// Rebuilding a database, against what people do by hand
    Vacuum,
    /// Following twenty pods that write a lot, against `kubectl logs -f`
    Watch,
    /// Moving a PostgreSQL database that is written to, against the db-upgrade component's own finish.sh and a restart
    Finish,
    /// Running a migration as one Job, and with the application stopped, against the commands that people type for it
    Run,
    /// Leading traffic to another release, against `helm upgrade` by hand
    Route,
    /// Diagnosing one application, against the same questions asked by hand; its way to a database, against `kubectl port-forward`
    Doctor,
}

/// Which way is better.
#[derive(Clone, Copy)]
enum Better {
    Higher,
    Lower,
}

/// The goal of a row that only informs; null in JSON.
const NO_GOAL: f64 = f64::INFINITY;

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
        Name::Vacuum if args.engine => vacuum::measure(args.size, args.largest)?,
        Name::Vacuum if args.command => downtime::measure()?,
        Name::Vacuum => [vacuum::measure(args.size, args.largest)?, downtime::measure()?].concat(),
        Name::Watch => watch::measure()?,
        Name::Finish => finish::measure(args.size)?,
        Name::Run => run::measure()?,
        Name::Route => route::measure()?,
        Name::Doctor => doctor::measure()?,
    };
    if !args.json {
        print(&format!("{:<48} {:>8} {:>8}  {:<7} {:<7} {}", "NAME", "RATIO", "GOAL", "BETTER", "REACHED", "RAW"))?;
    }
    for row in rows {
        let reached = row.reached();
        if args.json {
            let line = json!({"name": row.name, "ratio": row.ratio, "goal": row.goal, "better": row.better(), "raw": row.raw});
            print(&line.to_string())?;
        } else {
            let (goal, reached) = match row.goal {
                NO_GOAL => ("-".to_owned(), "-"),
                goal => (format!("{goal:.2}"), if reached { "yes" } else { "no" }),
            };
            print(&format!("{:<48} {:>8.3} {goal:>8}  {:<7} {reached:<7} {}", row.name, row.ratio, row.better(), row.raw))?;
        }
    }
    Ok(())
}

/// The median.
fn middle(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}
