//! What the volumes say of the servers that they had. They are folders of this machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::super::Run;
use super::super::namespace::kubectl;
use super::Steady;

impl Steady<'_> {
    /// The folder of each claim of the namespace that has or had a volume.
    pub(crate) fn claims(&self) -> BTreeMap<String, PathBuf> {
        let run = Run::of(kubectl().args(["get", "persistentvolumes", "-o", "json"]));
        assert_eq!(run.code, 0, "{}", run.stderr);
        let all: Value = serde_json::from_str(&run.stdout).expect("kubectl writes JSON");
        let ours = all["items"].as_array().into_iter().flatten().filter_map(|volume| {
            let claim = &volume["spec"]["claimRef"];
            let folder = volume["spec"]["hostPath"]["path"].as_str()?;
            (claim["namespace"] == self.space.name())
                .then(|| (claim["name"].as_str().unwrap_or_default().to_owned(), folder.into()))
        });
        ours.collect()
    }

    /// What servers did on a claim's volume, a line each: `MILLISECONDS start|end|violation POD primary|standby|EXIT-CODE`.
    pub(crate) fn servers(&self, claim: &str) -> Vec<String> {
        let folders = self.claims();
        let folder = folders.get(claim).unwrap_or_else(|| panic!("{claim} has no volume: {folders:?}"));
        let log = fs::read_to_string(folder.join("servers.log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    /// Where a server came although another one's processes still had the data, a line each; none when all is well.
    pub(crate) fn violations(&self) -> Vec<String> {
        let claims = self.claims().into_keys();
        let all = claims.flat_map(|claim| self.servers(&claim).into_iter().map(move |line| format!("{claim}: {line}")));
        all.filter(|line| line.contains(" violation ")).collect()
    }
}
