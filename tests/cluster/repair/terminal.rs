//! What `repair` asks on a real terminal, and what it makes of the answers.

use super::is_tidy;
use super::sqlite::Shop;
use crate::support::Tmux;

#[tokio::test(flavor = "multi_thread")]
async fn a_way_out_is_chosen_from_a_menu_and_confirmed_by_typing() {
    let shop = Shop::running().await;
    // Nothing of this can be seen in a schema, so nothing proves whether it ran.
    std::fs::write(shop.migrations.path().join("4_prices.up.sql"), "UPDATE users SET name = upper(name);").unwrap();
    let begin = |words: &[&str]| Tmux::run(&shop.space.dbmig_command(&shop.repair(words)), 140, 40);
    let menu = "migration 4 is dirty: what is right?";
    let chosen = |words: &[&str]| {
        let tmux = begin(words);
        let screen = tmux.until("the ways out are listed", |screen| screen.contains(menu));
        assert!(screen.contains("set the version to 2, clean") && screen.contains("set the version to 4, clean"), "{screen}");
        tmux.presses("Down");
        tmux.presses("Enter");
        tmux
    };
    let leaves = |tmux: &Tmux, code: i32| {
        let left = format!("left with {code}");
        let screen = tmux.until(&left, |screen| screen.contains(&left) && screen.contains("icanon"));
        let settings = screen.lines().rfind(|line| line.contains("icanon")).unwrap();
        assert!(!settings.contains("-icanon") && !settings.contains("-echo"), "{settings}");
        screen
    };

    // Who does not insist is told what nothing proves.
    let screen = leaves(&chosen(&[]), 4);
    assert!(screen.contains("nothing proves that it is right to set the version to 4, clean"), "{screen}");

    let tmux = begin(&["--force"]);
    tmux.until("the ways out are listed", |screen| screen.contains(menu));
    tmux.presses("C-c");
    leaves(&tmux, 130);

    let tmux = chosen(&["--force"]);
    tmux.until("a word is wanted", |screen| screen.contains("Type shop to go on:"));
    tmux.types("yes");
    tmux.presses("Enter");
    assert!(leaves(&tmux, 4).contains("not confirmed"));
    assert_eq!(shop.version(), (4, true));

    let tmux = chosen(&["--force"]);
    tmux.until("a word is wanted", |screen| screen.contains("Type shop to go on:"));
    tmux.types("shop");
    tmux.presses("Enter");
    leaves(&tmux, 0);
    assert_eq!(shop.version(), (4, false));
    is_tidy(&shop.space);
}
