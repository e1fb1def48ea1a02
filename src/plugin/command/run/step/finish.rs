//! Ending what still runs in the Job's pod: a sidecar that waits for nobody any more.

use std::time::Duration;

use crate::cluster::job::is_over;
use crate::cluster::pods::{is_running, statuses};
use crate::cluster::quit;
use crate::command::kept_logs;
use crate::command::run::desk::Shared;
use crate::failure::Result;
use crate::plan::{Look, Run, Step};
use async_trait::async_trait;

/// The Job's controller takes a moment to see that the only container has ended.
const MOMENT: Duration = Duration::from_secs(60);

/// Ends sidecars. A Job that ends by itself stays for people to see, until `cleanup` or the next one.
pub(super) struct Finish(pub(super) Shared);

#[async_trait]
impl Step for Finish {
    fn id(&self) -> &'static str {
        "finish-job"
    }

    fn title(&self) -> String {
        format!("end what else runs in the pod of job/{}", self.0.spec.job)
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        Ok(match self.0.job(run).of(&run.id).await? {
            Some(job) if !is_over(&job) => Look::Todo,
            _ => Look::NotNeeded,
        })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let own = self.0.job(run);
        let running = self.running(run).await?;
        if running.is_empty() && own.is_over_within(MOMENT).await {
            return Ok("it has ended by itself".to_owned());
        }
        if self.ask_to_end(run, &running).await? {
            return Ok(format!("{} ended when asked to", running.join(", ")));
        }
        kept_logs::keep(run, &self.0.pods(run).await?).await;
        // From here on no pod of it is started again, whatever becomes of us.
        own.halt().await?;
        if let Some(job) = own.of(&run.id).await? {
            own.await_no_pods(&run.cluster, &run.stop, &job).await?;
            own.remove(&run.cluster, &run.stop, &job).await?;
        }
        Ok(format!("{}; its log is kept: kubectl dbmig logs {}", running.join(", "), run.id))
    }
}

impl Finish {
    /// Asks those that can be asked to end; whether the Job has ended by that.
    async fn ask_to_end(&self, run: &Run, running: &[String]) -> Result<bool> {
        let (pods, mut asked) = (self.0.pods(run).await?, 0);
        for pod in &pods {
            for door in quit::doors(pod).iter().filter(|door| running.contains(&door.container)) {
                match quit::ask(&run.cluster, pod, door).await {
                    Ok(()) => asked += 1,
                    Err(failure) => {
                        run.events.note(format!("{}; it is ended with its pod", failure.in_a_line()));
                    }
                }
            }
        }
        Ok(asked > 0 && asked == running.len() && self.0.job(run).is_over_within(MOMENT).await)
    }

    /// Containers that run, by name.
    async fn running(&self, run: &Run) -> Result<Vec<String>> {
        let pods = self.0.pods(run).await?;
        let all = pods.iter().flat_map(statuses);
        let runs = all.filter(|status| is_running(status));
        Ok(runs.map(|status| status.name.clone()).collect())
    }
}
