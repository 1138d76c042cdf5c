//! Tables and properties of [`super::Cuts`].

use proptest::prelude::*;

use super::*;

const RELAY: &str = "relay";

fn run(boot: &str) -> Run {
    Run { pod_uid: RELAY.to_owned(), boot_id: boot.to_owned(), pool: "pool".to_owned() }
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn news(session: &str, epoch: u64, present: u32, joined: u32, sent: u32) -> Presence {
    Presence { session: session.to_owned(), epoch, present, joined, sent, who: None }
}

/// A relay with two participants in session `s`, under epoch 1.
fn two() -> Cuts {
    let mut cuts = Cuts::default();
    cuts.link_up(1, run("a"), at(0));
    assert_eq!(cuts.told(RELAY, 1, vec![news("s", 1, 2, 2, 0)], false, at(1)), []);
    cuts
}

/// The only one that is due, and no sooner.
fn due(cuts: &mut Cuts, now: u64) -> Lost {
    assert_eq!(cuts.due(9, at(now - 1)), []);
    let mut due = cuts.due(9, at(now));
    assert_eq!(due.len(), 1);
    due.remove(0)
}

fn lives(epoch: u64, came: u32) -> Fate {
    Fate::Lives { epoch, came }
}

#[test]
fn who_is_handed_over_and_back_was_not_cut() {
    for (leaves, cause) in [(true, Cause::Drain), (false, Cause::Move)] {
        let mut cuts = two();
        cuts.told(RELAY, 1, vec![news("s", 1, 0, 2, 2)], leaves, at(5));
        let lost = due(&mut cuts, 17);
        for (fate, cut) in [
            (lives(2, 2), 0),
            (lives(2, 3), 0),
            (lives(2, 1), 1),
            (lives(2, 0), 2),
            (lives(4, 1), 1),
            (lives(1, 7), 2),
            (Fate::Closed, 0),
            (Fate::Unknown, 0),
        ] {
            for run in [RunFate::Linked, RunFate::Over, RunFate::Unknown] {
                assert_eq!(lost.clone().judge(fate, run), Verdict::Cut(cause, cut), "{fate:?} {run:?}");
            }
        }
        cuts.link_down(RELAY, 1, at(20));
        assert_eq!(cuts.due(9, at(999)), [], "nobody was there any more");
    }
}

#[test]
fn who_is_lost_with_a_relay_is_cut_once_it_is_known_to_be_over() {
    let mut cuts = two();
    cuts.link_down(RELAY, 1, at(5));
    let lost = due(&mut cuts, 17);
    let cut = |number| Verdict::Cut(Cause::RelayLost, number);
    for (fate, run, expected) in [
        (lives(2, 2), RunFate::Over, cut(0)),
        (lives(2, 1), RunFate::Unknown, cut(1)),
        (lives(1, 0), RunFate::Over, cut(2)),
        (lives(1, 0), RunFate::Linked, cut(0)),
        (lives(2, 0), RunFate::Linked, cut(0)),
        (Fate::Closed, RunFate::Over, cut(0)),
        (Fate::Unknown, RunFate::Over, cut(0)),
    ] {
        assert_eq!(lost.clone().judge(fate, run), expected, "{fate:?} {run:?}");
    }
    // It may serve on without its link: nobody knows.
    let Verdict::Wait(waits) = lost.judge(lives(1, 0), RunFate::Unknown) else { unreachable!("unknown") };
    cuts.again(waits, at(17));
    let lost = due(&mut cuts, 19);
    assert_eq!(lost.clone().judge(lives(2, 2), RunFate::Unknown), cut(2), "they came back too late");
    assert_eq!(lost.clone().judge(lives(1, 0), RunFate::Linked), cut(0), "it was only the link");
    assert_eq!(lost.clone().judge(lives(1, 0), RunFate::Over), cut(2));
    cuts.again(lost, at(605));
    assert_eq!(cuts.due(9, at(9999)), [], "unknown for good");
}

#[test]
fn who_left_before_is_not_waited_for() {
    let mut cuts = two();
    cuts.told(RELAY, 1, vec![news("s", 1, 1, 2, 0)], false, at(2));
    cuts.link_down(RELAY, 1, at(5));
    assert_eq!(due(&mut cuts, 17).judge(lives(2, 0), RunFate::Over), Verdict::Cut(Cause::RelayLost, 1));
    let mut cuts = two();
    cuts.told(RELAY, 1, vec![news("s", 1, 0, 2, 0)], false, at(2));
    cuts.link_down(RELAY, 1, at(5));
    assert_eq!(cuts.due(9, at(999)), []);
}

#[test]
fn another_link_of_the_same_run_loses_nobody_and_another_run_all() {
    let mut cuts = two();
    cuts.link_up(2, run("a"), at(5));
    cuts.link_down(RELAY, 1, at(6));
    assert_eq!(cuts.told(RELAY, 1, vec![news("s", 2, 9, 9, 9)], false, at(6)), [], "an old link is not heard");
    assert_eq!(cuts.due(9, at(999)), []);
    cuts.told(RELAY, 2, vec![news("s", 1, 2, 2, 0)], false, at(7));
    cuts.link_up(3, run("b"), at(8));
    assert_eq!(due(&mut cuts, 20).judge(lives(1, 0), RunFate::Over), Verdict::Cut(Cause::RelayLost, 2));
}

#[test]
fn the_store_is_told_who_comes_to_sessions_that_have_moved() {
    let mut cuts = two();
    let came = |session: &str, epoch, joined| Came { session: session.to_owned(), epoch, joined };
    let mut told = |news| cuts.told(RELAY, 1, vec![news], false, at(3));
    assert_eq!(told(news("m", 2, 1, 1, 0)), [came("m", 2, 1)]);
    assert_eq!(told(news("m", 2, 1, 1, 0)), [], "nobody new");
    assert_eq!(told(news("m", 2, 2, 3, 0)), [came("m", 2, 3)]);
    assert_eq!(told(news("m", 2, 1, 3, 0)), [], "one has left");
    assert_eq!(told(news("m", 3, 1, 3, 0)), [came("m", 3, 3)]);
    assert_eq!(told(news("m", 3, 0, 4, 0)), [came("m", 3, 4)], "come and gone");
    assert_eq!(told(news("fresh", 1, 1, 1, 0)), [], "it was nowhere else");
    assert_eq!(told(news(&"x".repeat(MAX_ID + 1), 2, 1, 1, 0)), []);
}

#[test]
fn what_is_kept_is_bounded() {
    let mut cuts = Cuts::default();
    for link in 1..=8 {
        cuts.link_up(link, run(&link.to_string()), at(0));
        let many = (0..MAX_SESSIONS + 10).map(|n| news(&n.to_string(), 1, 1, 1, 0)).collect();
        cuts.told(RELAY, link, many, false, at(0));
        assert_eq!((cuts.links[RELAY].sessions.len(), cuts.present()), (MAX_SESSIONS, MAX_SESSIONS as u64));
        // Who is known is told of on.
        cuts.told(RELAY, link, vec![news("0", 1, 5, 5, 0), news("1", 1, 0, 1, 0)], false, at(0));
        assert_eq!((cuts.links[RELAY].sessions.len(), cuts.present()), (MAX_SESSIONS - 1, MAX_SESSIONS as u64 + 3));
    }
    assert_eq!(cuts.waited_for.len(), MAX_WAITED_FOR);
    assert_eq!(cuts.due(70_000, at(12)).len() + cuts.due(70_000, at(12)).len(), MAX_WAITED_FOR);
}

proptest! {
    #[test]
    fn never_more_are_cut_than_were_lost(
        epoch in 1_u64..4, participants in 0_u32..5, now_epoch in 1_u64..5, came in 0_u32..6,
        cause in prop::sample::select(Cause::ALL.to_vec()), late in any::<bool>(),
        run_fate in prop::sample::select(vec![RunFate::Linked, RunFate::Over, RunFate::Unknown]),
    ) {
        let lost = Lost { session: "s".to_owned(), run: run("a"), epoch, participants, cause, since: at(0), late };
        match lost.clone().judge(lives(now_epoch, came), run_fate) {
            Verdict::Cut(of, cut) => {
                prop_assert_eq!(of, cause);
                prop_assert!(cut <= participants);
                prop_assert!(late || now_epoch <= epoch || came < participants || cut == 0, "all are back");
            }
            Verdict::Wait(waits) => {
                prop_assert_eq!(waits, Lost { late: true, ..lost });
                prop_assert_eq!((cause, run_fate), (Cause::RelayLost, RunFate::Unknown));
            }
        }
    }
}
