//! The client that writes and reads all the time.

use std::fs;

use super::super::Acks;
use super::Steady;

/// What the client knows.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Of its rows, by number.
    pub writes: Acks,
    /// Of its questions.
    pub reads: Acks,
}

impl Steady<'_> {
    /// A client that writes and reads so many times a second through `front` from now on, until the test ends.
    pub(crate) fn client(&self, rate: u32) -> &Self {
        let pause = format!("{:.3}", 1.0 / f64::from(rate));
        self.space.apply(&include_str!("client.yaml").replace("@RATE@", &rate.to_string()).replace("@PAUSE@", &pause));
        self.goes_on(20)
    }

    /// The client goes another way from now on: `direct:8091`.
    pub(crate) fn client_by(&self, address: &str) -> &Self {
        self.space.kubectl(&["set", "env", "deployment/client", &format!("LEDGER_URL={address}")]);
        self.space.kubectl(&["rollout", "status", "deployment/client", "--timeout=180s"]);
        self.goes_on(20)
    }

    /// Waits until the client has got so many more answers, to what it writes as to what it reads.
    pub(crate) fn goes_on(&self, count: usize) -> &Self {
        let Seen { writes, reads } = self.seen();
        let (writes, reads) = (writes.written.len() + count, reads.written.len() + count);
        self.space.wait_for(&format!("{count} more answers came"), || {
            let now = self.seen();
            now.writes.written.len() >= writes && now.reads.written.len() >= reads
        });
        self
    }

    /// Ends the client, and waits until it is gone: nothing is on its way any more.
    pub(crate) fn client_ends(&self) -> &Self {
        self.space.kubectl(&["scale", "deployment/client", "--replicas=0"]);
        self.space.wait_for("the client is gone", || {
            self.space.kubectl(&["get", "pods", "--selector=app=client", "-o", "name"]).is_empty()
        });
        self
    }

    /// What the client knows now.
    pub(crate) fn seen(&self) -> Seen {
        Seen { writes: Acks::parse(&self.log("writes-")), reads: Acks::parse(&self.log("reads-")) }
    }

    /// The logs that begin so, as one.
    fn log(&self, prefix: &str) -> String {
        let folders = self.claims();
        let Some(folder) = folders.get("acks") else { return String::new() };
        let files = fs::read_dir(folder).into_iter().flatten().filter_map(|file| Some(file.ok()?.path()));
        let is_one = |path: &std::path::PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
        let mut lines: Vec<(u64, String)> = files.filter(is_one).flat_map(|path| lines(&path)).collect();
        lines.sort_unstable();
        lines.into_iter().map(|(_, line)| line).collect()
    }
}

/// The whole lines of a log, with their times.
fn lines(path: &std::path::Path) -> Vec<(u64, String)> {
    let log = fs::read_to_string(path).unwrap_or_default();
    let whole = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.filter_map(|line| Some((line.split(' ').next()?.parse().ok()?, line.to_owned()))).collect()
}
