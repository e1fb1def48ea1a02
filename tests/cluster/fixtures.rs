//! The fixtures themselves: that the stories which the other tests rely on are true before the plugin comes in.

use crate::support::{Namespace, Shape, Upmeter};

/// A database that fills more than half of a 64 Mi volume, and that migration 4 would double.
const LARGE: &str = "--days 27 --summed-days 40 --retired 1";

async fn migration_4_runs_out_of_space(shape: Shape) {
    let space = Namespace::new("fixture").await;
    let upmeter = Upmeter::new(&space, shape, "64Mi");
    let log = upmeter.seed(LARGE).deploy().stuck("Dirty database version 4. Fix and force version.");
    assert!(log.contains("Dirty database version 4"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_as_root_crash_loops_dirty_after_its_disk_was_full() {
    migration_4_runs_out_of_space(Shape::Root).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_as_nobody_crash_loops_dirty_after_its_disk_was_full() {
    migration_4_runs_out_of_space(Shape::Nobody).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migrator_container_crash_loops_dirty_after_its_disk_was_full() {
    migration_4_runs_out_of_space(Shape::Migrator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_database_is_migrated_by_an_image_without_a_shell() {
    let space = Namespace::new("fixture").await;
    Upmeter::new(&space, Shape::Root, "64Mi").bare().seed("--days 2 --probes 2").deploy().ready();
    let shell = space.try_kubectl(&["exec", "upmeter-0", "-c", "upmeter", "--", "sh", "-c", "true"]);
    assert_ne!(shell.code, 0, "the image has a shell");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sized_volume_is_really_full_when_it_is_full() {
    if std::env::var_os("DBMIG_TEST_LAB").is_none() {
        return; // Only the throwaway cluster has volumes with a limit.
    }
    let space = Namespace::new("fixture").await;
    let upmeter = Upmeter::new(&space, Shape::Root, "16Mi");
    upmeter.seed("--days 1 --probes 1");
    let said = upmeter.on_volume("dd if=/dev/zero of=/db/ballast bs=64k 2>&1 || true; df -k /db | tail -1");
    assert!(said.contains("No space left on device"), "{said}");
    assert!(said.contains("100%"), "{said}");
}
