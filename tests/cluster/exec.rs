//! exec and upload against a real kubelet, whichever stream protocol the server speaks.

use dbmig::cluster::Cluster;
use dbmig::cluster::exec::{Command, Finished, Outcome};
use dbmig::cluster::kind::TargetRef;
use dbmig::cluster::target::Target;
use dbmig::cluster::upload::{Upload, Way, upload, ways};
use sha2::{Digest as _, Sha256};

use crate::support::Namespace;

fn busybox() -> serde_json::Value {
    serde_json::json!({"terminationGracePeriodSeconds": 0, "containers": [{"name": "main", "image": "busybox:1",
        "command": ["sleep", "3600"],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "data", "mountPath": "/fixed", "readOnly": true}]}],
        "volumes": [{"name": "data", "emptyDir": {}}]})
}

fn command(space: &Namespace, argv: &[&str]) -> Command {
    Command {
        namespace: space.name().to_owned(),
        pod: "box".to_owned(),
        container: "main".to_owned(),
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        stdin: true,
    }
}

async fn run(space: &Namespace, argv: &[&str]) -> Finished {
    space.cluster().start(&command(space, argv)).await.unwrap().output(8 << 20).await
}

async fn space(purpose: &str) -> Namespace {
    let space = Namespace::new(purpose).await;
    space.pod("box", &busybox());
    space
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_tells_both_outputs_and_its_exit_code() {
    let space = space("exit").await;
    let finished = run(&space, &["sh", "-c", "echo out; echo err >&2; exit 42"]).await;
    assert_eq!((finished.stdout.as_slice(), finished.stderr.as_slice()), (b"out\n".as_slice(), b"err\n".as_slice()));
    assert_eq!(finished.outcome, Outcome::Exited(42));
    assert_eq!(run(&space, &["sh", "-c", "nosuch"]).await.outcome, Outcome::Exited(127));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_started_is_told_apart_from_what_failed() {
    let space = space("start").await;
    for argv in [&["no-such-program"][..], &["/etc/passwd"], &["/"]] {
        let outcome = run(&space, argv).await.outcome;
        assert!(matches!(outcome, Outcome::NotStarted(_)), "{argv:?}: {outcome:?}");
    }
    let other = Command { container: "other".to_owned(), ..command(&space, &["true"]) };
    let outcome = space.cluster().run(&other, 100).await.unwrap().outcome;
    assert!(matches!(outcome, Outcome::NotStarted(_)), "{outcome:?}");
    let absent = Command { pod: "absent".to_owned(), ..command(&space, &["true"]) };
    assert!(space.cluster().run(&absent, 100).await.unwrap_err().facts[0].contains("NotFound"));
}

#[tokio::test(flavor = "multi_thread")]
async fn counted_input_arrives_whole_and_comes_back_whole() {
    let space = space("echo").await;
    let input: Vec<u8> = (0..6_000_000_u32).map(|number| (number % 251) as u8).collect();
    let process = space.cluster().start(&command(&space, &["head", "-c", "6000000"])).await.unwrap();
    let finished = process.finish(&input, input.len()).await;
    assert_eq!(finished.outcome, Outcome::Exited(0));
    assert!(finished.stdout == input, "{} bytes came back", finished.stdout.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_found_by_its_name_and_a_slip_of_the_pen_is_answered() {
    let space = space("target").await;
    let target = Target::resolve(space.cluster(), &TargetRef::parse(&["pod/box"]).unwrap(), None).await.unwrap();
    assert_eq!((target.pod_name().as_str(), target.container.as_str()), ("box", "main"));
    let failure = Target::resolve(space.cluster(), &TargetRef::parse(&["boxx"]).unwrap(), None).await.unwrap_err();
    assert_eq!(failure.next[0], "did you mean pod/box?");
}

/// The container's own busybox serves as the program that is brought into it.
async fn program(space: &Namespace) -> Vec<u8> {
    let finished = run(space, &["cat", "/bin/busybox"]).await;
    assert!(finished.outcome.success() && !finished.truncated && finished.stdout.starts_with(b"\x7fELF"));
    finished.stdout
}

async fn bring(cluster: &Cluster, space: &Namespace, bytes: &[u8], dirs: &[&str]) -> dbmig::failure::Result<(String, Way)> {
    let dirs: Vec<String> = dirs.iter().map(|dir| (*dir).to_owned()).collect();
    let what = Upload {
        namespace: space.name(),
        pod: "box",
        container: "main",
        dirs: &dirs,
        name: ("dbmig-test", "busybox"),
        bytes,
        mode: 0o700,
        proof: &["sha256sum", "/proc/self/exe"],
        ways: ways(cluster, space.name(), "box", "main").await?,
    };
    let digest = dbmig_wire::hex(&Sha256::digest(bytes));
    let uploaded = upload(cluster, &what, |said| said.starts_with(digest.as_bytes()).then_some(())).await?;
    Ok((uploaded.path, uploaded.way))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_is_brought_in_by_whatever_the_container_has() {
    let space = space("upload").await;
    let bytes = program(&space).await;
    let failure = bring(space.cluster(), &space, &bytes, &["/nowhere", "/fixed", "/dev/shm"]).await.unwrap_err();
    let reasons = ["/nowhere: not there", "/fixed: read-only", "/dev/shm: files there cannot be executed (noexec)"];
    assert_eq!(failure.facts, reasons, "{failure:?}");
    assert_eq!(run(&space, &["ls", "/dev/shm"]).await.stdout, b"", "nothing is left where it is of no use");
    let (path, first) = bring(space.cluster(), &space, &bytes, &["/data"]).await.unwrap();
    assert_eq!(path, "/data/dbmig-test/busybox");
    assert!(matches!(first, Way::Tar | Way::CountedTar), "{first:?}");
    // This shell has tar built in, so that only both gone leave nothing.
    for gone in ["/bin/tar", "/bin/true", "/bin/sh"] {
        assert!(run(&space, &["/data/dbmig-test/busybox", "rm", gone]).await.outcome.success());
    }
    let failure = bring(space.cluster(), &space, &bytes, &["/data"]).await.unwrap_err();
    assert!(
        failure.facts.iter().any(|fact| fact.contains("no sh")) && failure.facts.iter().any(|fact| fact.contains("no tar")),
        "{failure:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_shell_tar_alone_does() {
    let space = space("tar").await;
    let bytes = program(&space).await;
    assert!(run(&space, &["rm", "/bin/sh"]).await.outcome.success());
    let (_, way) = bring(space.cluster(), &space, &bytes, &["/data"]).await.unwrap();
    assert!(matches!(way, Way::Tar | Way::OpenTar), "{way:?}");
}
