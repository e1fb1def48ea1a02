//! Frames as a person sees them, at several sizes.

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::observe::{Incident, Standing, Verdict};
use crate::ui::panes::states::Progress;

fn moment(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn picture() -> Picture {
    let incident = Incident {
        last: Some(moment(-30)),
        count: 7,
        warning: true,
        reason: "BackOff".into(),
        object: "pod/upmeter-0".into(),
        uid: "u".into(),
        namespace: "d8-upmeter".into(),
        message: "Back-off restarting failed container".into(),
        explains: true,
    };
    Picture {
        title: "pod/upmeter-0".into(),
        verdict: Verdict {
            state: Standing::Wrong,
            text: "pod/upmeter-0 is CrashLoopBackOff after 7 restarts: container upmeter: exit code 1".into(),
            next: vec!["kubectl dbmig logs upmeter-0 -n d8-upmeter --previous".into()],
        },
        objects: vec![
            ("statefulset/upmeter".into(), "0/1".into(), String::new(), true),
            ("pod/upmeter-0".into(), "0/1 CrashLoopBackOff".into(), "7 restarts (30s ago), 12m on node-1".into(), true),
            ("pvc/data-upmeter-0".into(), "Bound".into(), "1Gi".into(), false),
        ],
        operations: vec![Progress {
            id: "vacuum-7kx2pq".into(),
            phase: "running",
            steps: (6, 14),
            step: Some(("build the new database".into(), Some(moment(-4)))),
            amount: Some(dbmig_wire::Progress {
                phase: "rebuild".into(),
                done: 120_000,
                total: 480_000,
                unit: dbmig_wire::Unit::Rows,
            }),
        }],
        events: vec![incident],
    }
}

fn panes() -> Panes {
    let mut panes = Panes::default();
    panes.picture(picture());
    for number in 0..30 {
        let text = format!("level=info msg=\"migration {number}\" and a tail that is longer than a narrow pane has room for");
        panes.line("upmeter-0 › upmeter".into(), Color::Cyan, "14:40:00".into(), text);
    }
    panes.change(Color::Red, "14:40:01".into(), "* pod/upmeter-0: 0/1 CrashLoopBackOff, 7 restarts".into());
    panes
}

fn frame(panes: &mut Panes, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| panes.draw(frame, moment(0))).unwrap();
    terminal.backend().to_string()
}

fn press(panes: &mut Panes, keys: &str) {
    for character in keys.chars() {
        let code = if character == '\n' { KeyCode::Enter } else { KeyCode::Char(character) };
        assert!(!panes.key(KeyEvent::new(code, KeyModifiers::NONE)), "{character:?} leaves");
    }
}

#[test]
fn wide_terminals_show_the_panes_side_by_side() {
    insta::assert_snapshot!(frame(&mut panes(), 140, 20));
}

#[test]
fn narrow_terminals_show_them_one_above_the_other() {
    insta::assert_snapshot!(frame(&mut panes(), 80, 24));
}

#[test]
fn a_filter_a_search_and_holding_still_are_seen() {
    let mut panes = panes();
    press(&mut panes, "fmigration 1\n/migration 12\nt");
    insta::assert_snapshot!(frame(&mut panes, 80, 24));
}

#[test]
fn panes_can_be_put_away_but_never_both() {
    let mut panes = panes();
    press(&mut panes, "s");
    assert!(!frame(&mut panes, 80, 24).contains("pvc/data-upmeter-0"));
    press(&mut panes, "l");
    let shown = frame(&mut panes, 80, 24);
    assert!(shown.contains("pvc/data-upmeter-0") && !shown.contains("migration 29"), "{shown}");
}

#[test]
fn no_size_is_too_small() {
    for (width, height) in [(1, 1), (2, 3), (10, 5), (300, 2)] {
        press(&mut panes(), "?");
        frame(&mut panes(), width, height);
    }
}

#[test]
fn what_is_typed_is_shown_and_control_c_ends_typing_only() {
    let mut panes = panes();
    press(&mut panes, "/abq");
    assert!(frame(&mut panes, 80, 24).contains("/abq"));
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert!(!panes.key(control_c));
    assert!(panes.key(control_c));
}
