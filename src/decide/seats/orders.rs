//! Which of the operator's orders a relay obeys. The machine that gives them ([`crate::decide::drain`]) is explored with
//! this very type.

use crate::wire::orders::Order;

/// What a process has heard of the operator's orders. One that starts anew has heard none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Orders {
    /// Number of the cordon that is obeyed. It is the highest.
    pub(in crate::decide) cordon: Option<u32>,
    /// The highest number of an order that was obeyed.
    pub(in crate::decide) highest: u32,
    /// Whether the sessions are to move to other relays; under a cordon only.
    hands_over: bool,
}

impl Orders {
    /// Takes an order; false = it is for a drain that is over, or for none that is known, and changes nothing.
    ///
    /// Only a cordon can be the first that is heard of a drain: were the end of a drain enough to raise the highest
    /// number, a lower cordon that is obeyed could not be lifted any more.
    pub fn obey(&mut self, order: Order) -> bool {
        match order {
            Order::Cordon { number } if number >= self.highest => {
                self.hands_over &= self.cordon == Some(number);
                (self.cordon, self.highest) = (Some(number), number);
            }
            Order::HandOver { number } if self.cordon == Some(number) => self.hands_over = true,
            Order::Uncordon { number } if self.cordon == Some(number) => {
                (self.cordon, self.hands_over) = (None, false);
            }
            Order::Cordon { .. } | Order::HandOver { .. } | Order::Uncordon { .. } => return false,
        }
        true
    }

    /// The number of the cordon that is obeyed.
    pub const fn cordon(&self) -> Option<u32> {
        self.cordon
    }

    /// The highest number that was heard.
    pub const fn highest(&self) -> u32 {
        self.highest
    }

    /// Whether the sessions are to move to other relays.
    pub const fn hands_over(&self) -> bool {
        self.hands_over
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use Order::{Cordon, HandOver, Uncordon};

    fn after(orders: &[Order]) -> (Option<u32>, u32, bool) {
        let mut obeyed = Orders::default();
        for order in orders {
            obeyed.obey(*order);
        }
        (obeyed.cordon(), obeyed.highest(), obeyed.hands_over())
    }

    #[test]
    fn late_doubled_and_reordered_orders() {
        let (cordon, lift) = (|number| Cordon { number }, |number| Uncordon { number });
        let hand = |number| HandOver { number };
        for (orders, expected, why) in [
            (vec![cordon(1)], (Some(1), 1, false), "a cordon"),
            (vec![cordon(1), cordon(1)], (Some(1), 1, false), "twice"),
            (vec![cordon(1), hand(1), cordon(1)], (Some(1), 1, true), "the repeat takes nothing back"),
            (vec![cordon(1), lift(1)], (None, 1, false), "lifted"),
            (vec![cordon(1), lift(1), lift(1)], (None, 1, false), "lifted twice"),
            (
                vec![cordon(1), lift(1), cordon(1)],
                (Some(1), 1, false),
                "the doubled one comes late: it is lifted again",
            ),
            (vec![cordon(2), cordon(1)], (Some(2), 2, false), "one of an earlier drain"),
            (vec![cordon(2), lift(1)], (Some(2), 2, false), "the end of an earlier drain"),
            (vec![cordon(2), lift(2), cordon(1)], (None, 2, false), "one of an earlier drain, after the later one"),
            (vec![cordon(1), lift(2)], (Some(1), 1, false), "another's end lifts nothing"),
            (vec![cordon(1), lift(2), lift(1)], (None, 1, false), "and is in nobody's way"),
            (vec![hand(1)], (None, 0, false), "not cordoned: nothing to hand over"),
            (vec![cordon(1), hand(1)], (Some(1), 1, true), "hands over"),
            (vec![cordon(1), hand(1), lift(1)], (None, 1, false), "taken back"),
            (vec![cordon(1), hand(1), lift(1), hand(1)], (None, 1, false), "the doubled one comes late"),
            (vec![cordon(1), hand(1), cordon(2)], (Some(2), 2, false), "each drain says it for itself"),
            (vec![cordon(2), hand(1)], (Some(2), 2, false), "of an earlier drain"),
            (vec![cordon(0)], (Some(0), 0, false), "numbers may begin anywhere"),
            (vec![cordon(u32::MAX), cordon(0)], (Some(u32::MAX), u32::MAX, false), "and end"),
        ] {
            assert_eq!(after(&orders), expected, "{why}: {orders:?}");
        }
    }

    fn order() -> impl Strategy<Value = Order> {
        (0_u32..4, 0..3).prop_map(|(number, kind)| match kind {
            0 => Cordon { number },
            1 => HandOver { number },
            _ => Uncordon { number },
        })
    }

    proptest! {
        #[test]
        fn what_holds_after_any_orders(orders in prop::collection::vec(order(), 0..30), last in 0_u32..5) {
            let mut obeyed = Orders::default();
            for order in orders {
                let before = obeyed;
                let taken = obeyed.obey(order);
                prop_assert!(obeyed.highest >= before.highest);
                prop_assert!(obeyed.cordon.is_none_or(|number| number == obeyed.highest));
                prop_assert!(obeyed.cordon.is_some() || !obeyed.hands_over);
                prop_assert!(taken || obeyed == before);
                // Doubled at once it says nothing new.
                let once = obeyed;
                obeyed.obey(order);
                prop_assert_eq!(obeyed, once);
            }
            // Whoever reads the report can always lift what is obeyed, and cordon anew above what was heard.
            if let Some(number) = obeyed.cordon {
                obeyed.obey(Uncordon { number });
            }
            prop_assert_eq!((obeyed.cordon(), obeyed.hands_over()), (None, false));
            let number = obeyed.highest + last;
            obeyed.obey(Cordon { number });
            prop_assert_eq!(obeyed.cordon(), Some(number));
        }
    }
}
