//! Logs through a network that breaks: nothing is lost, nothing comes twice.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::RngExt as _;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{assert_same, container, create_job, create_pod, spec};
use crate::support::{Harm, Namespace, Proxy, Running, Weather};

/// Numbered lines in small bursts, for about half a minute; some of them long. Then it waits until it is let go.
const WRITER: &str = "awk 'BEGIN {
    for (i = 1; i <= 4000; i++) {
        printf \"line %05d \", i
        if (i % 500 == 0) for (j = 0; j < 5000; j++) printf \"%05d,\", j
        printf \"\\n\"
        if (i % 20 == 0) { fflush(); system(\"sleep 0.1\") }
    }
}'; until [ -e /tmp/go ]; do sleep 0.2; done";

fn written() -> String {
    let long: String = (0..5000).map(|n| format!("{n:05},")).collect();
    (1..=4000).map(|n| format!("line {n:05} {}\n", if n % 500 == 0 { long.as_str() } else { "" })).collect()
}

/// Resets, stalls and refuses connections until `running` has ended.
async fn harm(proxy: &Proxy, running: &Running, last: &str) {
    while !running.printed().contains(last) {
        let (calm, trouble): (u64, u64) = (rand::rng().random_range(200..1500), rand::rng().random_range(200..1500));
        sleep(Duration::from_millis(calm)).await;
        match rand::rng().random_range(0..4) {
            0 => proxy.weather(Weather::Still),
            1 => {
                proxy.weather(Weather::Away);
                proxy.harm(Harm::Reset);
            }
            _ => {
                proxy.harm(Harm::Reset);
            }
        }
        sleep(Duration::from_millis(trouble)).await;
        if rand::random() {
            proxy.harm(Harm::Reset);
        }
        proxy.weather(Weather::Fair);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_through_a_breaking_connection_loses_and_repeats_nothing() {
    let space = Namespace::new("cut").await;
    let proxy = Proxy::new(&space).await;
    create_pod(&space, "writer", &spec(&[container("main", WRITER)]));
    let mut running = Running::start(space.dbmig_command_as(&proxy.kubeconfig(), &["logs", "writer", "-f", "-o", "raw"]));
    running.prints("line 00001");
    let harmed = tokio::time::timeout(Duration::from_secs(150), harm(&proxy, &running, "line 04000")).await;
    proxy.weather(Weather::Fair);
    assert!(harmed.is_ok(), "it hangs: {}", running.said());
    running.says("connected again");
    space.kubectl(&["exec", "writer", "--", "touch", "/tmp/go"]);
    assert_eq!(running.ends().code, 0, "{}", running.said());
    assert!(proxy.harmed() >= 5, "only {} connections were cut", proxy.harmed());
    assert_same("through a breaking connection", &running.printed_bytes(), written().as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_pods_are_heard_completely_though_the_server_is_away_for_a_while() {
    const LINES: usize = 200;
    let space = Namespace::new("away").await;
    let proxy = Proxy::new(&space).await;
    let script = format!("i=0; while [ $i -lt {LINES} ]; do i=$((i+1)); echo $i; sleep 0.1; done");
    create_job(&space, "many", json!({"parallelism": 20, "completions": 20}), &spec(&[container("main", &script)]));
    let words = ["logs", "job/many", "-f", "-o", "json"];
    let mut running = Running::start(space.dbmig_command_as(&proxy.kubeconfig(), &words));
    running.prints("\"message\":\"20\"");
    for _ in 0..2 {
        proxy.weather(Weather::Away);
        proxy.harm(Harm::Reset);
        sleep(Duration::from_secs(4)).await;
        proxy.weather(Weather::Fair);
        sleep(Duration::from_secs(3)).await;
    }
    assert_eq!(running.ends().code, 0, "{}", running.said());
    assert_complete(&running.printed(), 20, LINES);
}

/// Each of so many pods was heard saying all numbers up to the last one, once and in their order.
pub(crate) fn assert_complete(objects: &str, pods: usize, last: usize) {
    let mut heard: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for line in objects.lines() {
        let object: Value = serde_json::from_str(line).unwrap();
        let number = object["message"].as_str().unwrap().parse().unwrap();
        heard.entry(object["pod"].as_str().unwrap().to_owned()).or_default().push(number);
    }
    assert_eq!(heard.len(), pods, "{:?}", heard.keys());
    let whole: Vec<usize> = (1..=last).collect();
    for (pod, numbers) in heard {
        assert_eq!(numbers, whole, "{pod}");
    }
}
