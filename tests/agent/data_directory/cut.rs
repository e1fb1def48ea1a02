//! A call that dies at any of its steps leaves a standby or a primary, and the same call goes on from there.

use std::fs;
use std::path::Path;

use dbmig_wire::{ClusterRole, Request};

use super::server::{OPERATION, Pair, Server, all};
use crate::process::{agent, ask, line, run};

const OF_PRIMARY: [&str; 7] = ["primary:1", "primary:2", "primary:3", "primary:4", "primary:5", "primary:6", "primary:7"];
const OF_STANDBY: [&str; 5] = ["standby:1", "standby:2", "standby:3", "kept:note", "standby:5"];

fn dies(call: impl Into<Request>, place: &str) {
    let died = run(agent(&["ask"]).env("DBMIG_DIE_AT", place), &line(call));
    assert!(died.status.code().is_none(), "{place}: {died:?}");
}

/// The standby's directory without the tables, of which none of the calls knows.
fn without_tables(pair: &Pair) -> Server {
    let copy = pair.standby.copy("light", 5441);
    fs::remove_dir_all(copy.data.join("base")).unwrap();
    copy
}

/// The same case for each place, on a copy of its own.
fn each(places: &[&str], standby: &Server, case: impl Fn(&Server, &str)) {
    for (number, place) in places.iter().enumerate() {
        let copy = standby.copy(&format!("copy{number}"), 5440);
        case(&copy, place);
        fs::remove_dir_all(&copy.data).unwrap();
    }
}

fn has_kept(data: &Path) -> bool {
    data.join(format!(".dbmig-{OPERATION}")).exists()
}

#[test]
fn cut_off_on_the_way_to_a_primary_it_goes_on_or_back() {
    let pair = Pair::with_standby_at_rest();
    let light = without_tables(&pair);
    let before = all(&light.data);
    let whole = light.copy("whole", 5443);
    ask(whole.to_primary()).unwrap();
    let whole = all(&whole.data);
    each(&OF_PRIMARY, &light, |standby, place| {
        dies(standby.to_primary(), place);
        let is_switched = place == "primary:7";
        let role = standby.read().unwrap().role;
        assert_eq!(role, if is_switched { ClusterRole::Recovering } else { ClusterRole::Standby }, "{place}");
        let back = standby.copy("back", 5442);
        ask(back.to_standby()).unwrap();
        assert_eq!(all(&back.data), before, "{place}");
        fs::remove_dir_all(&back.data).unwrap();
        ask(standby.to_primary()).unwrap();
        assert_eq!(all(&standby.data), whole, "{place}");
    });
}

#[test]
fn cut_off_on_the_way_back_it_goes_on_or_to_a_primary() {
    let pair = Pair::with_standby_at_rest();
    let light = without_tables(&pair);
    let before = all(&light.data);
    ask(light.to_primary()).unwrap();
    let whole = all(&light.data);
    each(&OF_STANDBY, &light, |standby, place| {
        dies(standby.to_standby(), place);
        assert_eq!(standby.read().unwrap().role, ClusterRole::Standby, "{place}");
        let again = standby.copy("again", 5442);
        ask(again.to_primary()).unwrap();
        assert_eq!(all(&again.data), whole, "{place}");
        fs::remove_dir_all(&again.data).unwrap();
        ask(standby.to_standby()).unwrap();
        assert_eq!(all(&standby.data), before, "{place}");
        assert!(!has_kept(&standby.data));
    });
}

#[test]
fn a_server_that_comes_up_in_between_is_a_standby_or_a_primary_of_its_own_and_the_call_goes_on() {
    let pair = Pair::with_standby_at_rest();
    let rows = pair.primary.rows();
    each(&["primary:4", "primary:5", "primary:6", "primary:7"], &pair.standby, |standby, place| {
        dies(standby.to_primary(), place);
        standby.start();
        if place == "primary:7" {
            standby.becomes_primary();
        } else {
            assert!(standby.is_in_recovery(), "{place}");
            standby.stop("fast");
            ask(standby.to_primary()).unwrap();
            standby.start();
            standby.becomes_primary();
        }
        assert_eq!((standby.timeline(), standby.rows()), ("2".to_owned(), rows), "{place}");
        assert_eq!(ask(standby.to_primary()).unwrap().role, ClusterRole::Primary);
        standby.stop("immediate");
    });
    pair.primary_serves_alone();
}

#[test]
fn settings_that_a_standby_gets_in_between_are_kept_and_come_back() {
    let pair = Pair::with_standby_at_rest();
    let standby = &pair.standby;
    dies(standby.to_primary(), "primary:5");
    standby.start();
    standby.sql("ALTER SYSTEM SET work_mem = '6MB'");
    pair.streams();
    standby.stop("fast");
    let before: Vec<String> = all(&standby.data).into_iter().filter(|line| line.starts_with("postgresql.auto.conf")).collect();
    ask(standby.to_primary()).unwrap();
    ask(standby.to_standby()).unwrap();
    let after: Vec<String> = all(&standby.data).into_iter().filter(|line| line.starts_with("postgresql.auto.conf")).collect();
    assert_eq!(after, before);
    assert!(!standby.data.join("recovery.signal").exists() && !has_kept(&standby.data));
    standby.start();
    assert_eq!(standby.sql("SHOW work_mem"), "6MB");
    pair.streams();
}
