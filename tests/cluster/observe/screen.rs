//! The full-screen view in a real terminal: keys are typed, the screen is read, the terminal is given back.

use super::{container, spec};
use crate::support::{Namespace, Tmux};

/// Numbered lines of two kinds, one that is wider than any terminal here, and one that attacks it.
const TALKER: &str = "printf 'evil \\033[2J\\033]0;owned\\007line\\n'; i=0
    while :; do i=$((i+1)); echo \"alpha $i\"; echo \"beta $i\"
    [ $i = 5 ] && { printf 'wide '; printf 'x%.0s' $(seq 150); echo ' its end'; }; sleep 0.5; done";

/// How many rows of the screen have this text.
fn rows(screen: &str, text: &str) -> usize {
    screen.lines().filter(|line| line.contains(text)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_screen_obeys_keys_and_gives_the_terminal_back() {
    let space = Namespace::new("screen").await;
    space.pod("talker", &spec(&[container("main", TALKER)]));
    let tmux = Tmux::run(&space.dbmig_command(&["watch", "talker"]), 140, 30);
    let title = tmux.title();
    let screen = tmux.until("logs and states stand side by side", |screen| {
        screen.contains(" logs ") && screen.contains("1/1") && rows(screen, "alpha") > 5
    });
    assert!(screen.contains("pod/talker is ready"), "{screen}");
    assert_eq!(tmux.title(), title, "a log has set the terminal's title");
    assert!(screen.contains("q quit"), "{screen}");

    // Search: to the match, and the screen holds still.
    tmux.types("/evil");
    tmux.until("the search is seen while it is typed", |screen| screen.contains("/evil"));
    tmux.presses("Enter");
    let screen = tmux.until("it holds still at the match", |screen| screen.contains("holding still"));
    assert!(rows(&screen, "evil line") == 1 && rows(&screen, "alpha") == 0, "{screen}");
    tmux.types("/nowhere to be found");
    tmux.presses("Enter");
    tmux.until("it says that nothing matches", |screen| screen.contains("no match"));
    tmux.presses("End");
    tmux.until("it follows again", |screen| !screen.contains("holding still") && rows(screen, "alpha") > 5);

    // Filter: one kind of line is left; an empty filter brings the other back.
    tmux.types("f^beta");
    tmux.presses("Enter");
    let screen =
        tmux.until("only one kind is left", |screen| rows(screen, "talker › main alpha") == 0 && rows(screen, "beta") > 5);
    assert!(screen.contains("only ^beta"), "{screen}");
    tmux.types("f");
    tmux.presses("Enter");
    tmux.until("both are back", |screen| rows(screen, "talker › main alpha") > 3);

    // Wrap: what was cut off at the right is seen.
    tmux.types("/^wide");
    tmux.presses("Enter");
    tmux.until("the wide line is there, cut off", |screen| rows(screen, "wide xxx") == 1 && rows(screen, "its end") == 0);
    tmux.types("w");
    tmux.until("it is whole", |screen| rows(screen, "its end") == 1);
    tmux.types("w");
    tmux.presses("End");

    // Panes.
    tmux.types("s");
    tmux.until("the states are gone", |screen| !screen.contains("1/1") && screen.contains(" logs "));
    tmux.types("sl");
    tmux.until("the log is gone", |screen| screen.contains("1/1") && !screen.contains(" logs "));
    tmux.types("l?");
    tmux.until("the keys are explained", |screen| screen.contains(" keys ") && screen.contains("wrap long lines"));
    tmux.types("?");

    // A small terminal shows the panes one above the other.
    tmux.resize(80, 24);
    let screen = tmux.until("the panes are stacked", |screen| {
        let place = |text: &str| screen.lines().position(|line| line.contains(text));
        !screen.contains(" keys ") && matches!((place("1/1"), place(" logs ")), (Some(states), Some(logs)) if states < logs)
    });
    assert!(screen.lines().all(|line| line.chars().count() <= 80), "{screen}");
    tmux.resize(140, 30);
    tmux.until("they stand side by side again", |screen| {
        screen.lines().take(4).any(|line| line.contains(" logs ") && line.contains("talker "))
    });

    tmux.types("q");
    let screen = tmux.until("it has left", |screen| screen.contains("left with 0") && screen.contains("icanon"));
    assert!(screen.contains("before") && screen.contains("pod/talker is ready"), "the old screen is back: {screen}");
    let settings = screen.lines().rfind(|line| line.contains("icanon")).unwrap();
    assert!(!settings.contains("-icanon") && !settings.contains("-echo"), "{settings}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_screen_that_fails_or_is_interrupted_gives_the_terminal_back_too() {
    let space = Namespace::new("given-back").await;
    space.pod("talker", &spec(&[container("main", TALKER)]));
    let words = ["watch", "talker", "--until", "complete", "--timeout", "3s"];
    let late = Tmux::run(&space.dbmig_command(&words), 100, 30);
    let pressed = Tmux::run(&space.dbmig_command(&["watch", "talker"]), 100, 30);
    pressed.until("it shows the log", |screen| rows(screen, "alpha") > 3);
    pressed.presses("C-c");
    let plain = Tmux::run(&space.dbmig_command(&["logs", "talker", "--tail=-1"]), 100, 300);
    for (tmux, end) in [(&late, "left with 1"), (&pressed, "left with 0"), (&plain, "left with 0")] {
        let screen = tmux.until(end, |screen| screen.contains(end) && screen.contains("icanon"));
        let settings = screen.lines().rfind(|line| line.contains("icanon")).unwrap();
        assert!(!settings.contains("-icanon") && !settings.contains("-echo"), "{settings}");
        assert!(screen.contains("before"), "the old screen is back: {screen}");
    }
    assert!(late.screen().contains("not complete after 3 s"), "{}", late.screen());
    // Lines in a terminal cannot clear it or name it.
    assert!(plain.screen().contains("evil line\nalpha 1\n") && !plain.title().contains("owned"), "{}", plain.screen());
}
