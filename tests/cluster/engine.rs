//! The plan engine against a real API server: order, crashes, two at once, the way back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use dbmig::cluster::Cluster;
use dbmig::event::Events;
use dbmig::exit::Exit;
use dbmig::failure::{Failure, Result};
use dbmig::plan::{Engine, Holder, Lease, LockName, Look, Memory, Phase, Record, Run, Step, StepState, Store};
use dbmig::shutdown::Stop;
use serde_json::{Map, json};

use crate::support::Namespace;

/// What steps do, in order: `act a`, `back b`.
type Diary = Arc<Mutex<Vec<String>>>;

/// A step that writes a diary, and fails or hangs when told to.
struct Scripted {
    id: &'static str,
    diary: Diary,
    fails: Option<Failure>,
    hangs: bool,
}

#[async_trait]
impl Step for Scripted {
    fn id(&self) -> &'static str {
        self.id
    }

    fn title(&self) -> String {
        format!("step {}", self.id)
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        Ok(if run.memory.recall::<bool>(self.id)?.is_some() { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        self.diary.lock().expect("unpoisoned").push(format!("act {}", self.id));
        if let Some(failure) = &self.fails {
            return Err(failure.clone());
        }
        if self.hangs {
            std::future::pending::<()>().await;
        }
        run.memory.keep(self.id, &true)?;
        Ok(String::new())
    }

    async fn back(&self, run: &Run) -> Result<String> {
        self.diary.lock().expect("unpoisoned").push(format!("back {}", self.id));
        run.memory.forget(self.id);
        Ok(String::new())
    }
}

fn step(id: &'static str, diary: &Diary) -> Box<dyn Step> {
    Box::new(Scripted { id, diary: diary.clone(), fails: None, hangs: false })
}

fn failing(id: &'static str, diary: &Diary, failure: Failure) -> Box<dyn Step> {
    Box::new(Scripted { id, diary: diary.clone(), fails: Some(failure), hangs: false })
}

fn hanging(id: &'static str, diary: &Diary) -> Box<dyn Step> {
    Box::new(Scripted { id, diary: diary.clone(), fails: None, hangs: true })
}

fn holder(host: &str) -> Holder {
    Holder { id: "test-1".into(), by: "tester".into(), host: host.into(), pid: std::process::id() }
}

fn record(namespace: &str) -> Record {
    let now = jiff::Timestamp::now();
    Record {
        id: "test-1".into(),
        command: "test".into(),
        namespace: namespace.into(),
        target: "pod/x".into(),
        lock: LockName::new("claim/x").as_str().into(),
        by: "tester".into(),
        from: "here".into(),
        version: "0".into(),
        created: now,
        updated: now,
        phase: Phase::Running,
        message: String::new(),
        spec: json!({}),
        steps: Vec::new(),
        memory: Map::new(),
    }
}

async fn engine(cluster: &Cluster, namespace: &str, host: &str, record: Record, steps: Vec<Box<dyn Step>>) -> Result<Engine> {
    let lease = Lease::acquire(cluster.client.clone(), namespace, &LockName::new("claim/x"), &holder(host), |_| {}).await?;
    let run = Run {
        cluster: cluster.clone(),
        namespace: namespace.into(),
        id: "test-1".into(),
        memory: Memory::new(record.memory.clone()),
        events: Events::channel().0,
        stop: Stop::default(),
        lease,
    };
    Ok(Engine::new(Store::new(cluster.client.clone(), namespace, host), record, steps, run))
}

fn entries(diary: &Diary) -> Vec<String> {
    diary.lock().expect("unpoisoned").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_run_in_order_and_the_record_tells_so() {
    let space = Namespace::new("engine").await;
    let (cluster, name, diary) = (space.cluster(), space.name(), Diary::default());
    let store = Store::new(cluster.client.clone(), name, "a");
    store.create(&record(name)).await.expect("writes");
    let steps = vec![step("a", &diary), step("b", &diary)];
    let report = engine(cluster, name, "a", record(name), steps).await.expect("locks").carry_out().await.expect("runs");
    assert_eq!(entries(&diary), ["act a", "act b"]);
    assert_eq!(report.record.phase, Phase::Done);
    let saved = store.load("test-1").await.expect("reads");
    assert!(saved.steps.iter().all(|step| step.state == StepState::Done), "{saved:?}");
    Lease::acquire(cluster.client.clone(), name, &LockName::new("claim/x"), &holder("b"), |_| {})
        .await
        .expect("the lease is free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_asks_for_it_takes_everything_back_and_keeps_its_exit_code() {
    let space = Namespace::new("engine").await;
    let (cluster, name, diary) = (space.cluster(), space.name(), Diary::default());
    Store::new(cluster.client.clone(), name, "a").create(&record(name)).await.expect("writes");
    let failure = Failure::failed("broken").exit(Exit::Unproven).take_back();
    let steps = vec![step("a", &diary), failing("b", &diary, failure), step("c", &diary)];
    let failure = engine(cluster, name, "a", record(name), steps).await.expect("locks").carry_out().await.expect_err("fails");
    assert_eq!(failure.exit, Exit::Unproven);
    assert_eq!(entries(&diary), ["act a", "act b", "back b", "back a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_other_failure_leaves_things_where_they_are_and_names_both_ways() {
    let space = Namespace::new("engine").await;
    let (cluster, name, diary) = (space.cluster(), space.name(), Diary::default());
    Store::new(cluster.client.clone(), name, "a").create(&record(name)).await.expect("writes");
    let steps = vec![step("a", &diary), failing("b", &diary, Failure::failed("lost"))];
    let failure = engine(cluster, name, "a", record(name), steps).await.expect("locks").carry_out().await.expect_err("fails");
    assert_eq!(failure.exit, Exit::Incomplete);
    assert!(
        failure.next.iter().any(|next| next.contains("resume test-1"))
            && failure.next.iter().any(|next| next.contains("undo test-1"))
    );
    assert_eq!(entries(&diary), ["act a", "act b"]);

    let store = Store::new(cluster.client.clone(), name, "b");
    let adopted = store.adopt("test-1").await.expect("adopts");
    let steps = vec![step("a", &diary), step("b", &diary)];
    engine(cluster, name, "b", adopted, steps).await.expect("locks").carry_out().await.expect("goes on");
    assert_eq!(entries(&diary), ["act a", "act b", "act b"], "what was done is not done again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_in_a_step_can_be_taken_back_from_elsewhere() {
    let space = Namespace::new("engine").await;
    let (cluster, name, diary) = (space.cluster(), space.name(), Diary::default());
    Store::new(cluster.client.clone(), name, "a").create(&record(name)).await.expect("writes");
    let steps = vec![step("a", &diary), hanging("b", &diary)];
    let dying = engine(cluster, name, "a", record(name), steps).await.expect("locks");
    let process = tokio::spawn(dying.carry_out());
    while !entries(&diary).contains(&"act b".to_owned()) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    process.abort();
    let _ = process.await;

    let adopted = Store::new(cluster.client.clone(), name, "b").adopt("test-1").await.expect("adopts");
    assert_eq!(adopted.steps[1].state, StepState::Started, "the record says what may have been done");
    let steps = vec![step("a", &diary), step("b", &diary)];
    let report =
        engine(cluster, name, "b", adopted, steps).await.expect("takes the lease over").take_back().await.expect("goes back");
    assert_eq!(report.record.phase, Phase::Undone);
    assert_eq!(entries(&diary), ["act a", "act b", "back b", "back a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_operation_is_told_who_holds_the_target() {
    let space = Namespace::new("engine").await;
    let (cluster, name) = (space.cluster(), space.name());
    let lock = LockName::new("claim/x");
    let first = Lease::acquire(cluster.client.clone(), name, &lock, &holder("a"), |_| {}).await.expect("locks");
    let second = Holder { id: "test-2".into(), ..holder("b") };
    let failure = Lease::acquire(cluster.client.clone(), name, &lock, &second, |_| {}).await.err().expect("held");
    assert_eq!(failure.exit, Exit::Held);
    assert!(failure.facts[0].contains("test-1 by tester from a"), "{failure:?}");
    first.prove().await.expect("still held");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_lost_its_record_to_another_stops() {
    let space = Namespace::new("engine").await;
    let (cluster, name, diary) = (space.cluster(), space.name(), Diary::default());
    let store = Store::new(cluster.client.clone(), name, "a");
    store.create(&record(name)).await.expect("writes");
    let engine = engine(cluster, name, "a", record(name), vec![step("a", &diary)]).await.expect("locks");
    Store::new(cluster.client.clone(), name, "b").adopt("test-1").await.expect("adopts");
    let failure = engine.carry_out().await.expect_err("is not the writer any more");
    assert_eq!(failure.exit, Exit::Held);
    assert!(entries(&diary).is_empty(), "nothing may be done without the record");
}
