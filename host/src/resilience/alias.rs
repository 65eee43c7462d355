//! Picking by weight, in the same time whatever the number of choices.

/// Vose's alias table (1991, after Walker 1974): one random number picks an index with a probability in
/// proportion to its weight.
///
/// Each slot holds at most two of the weights, so a pick is one slot and one comparison. Built with whole
/// numbers, so nothing is lost to rounding, and a weight of zero is never picked.
#[derive(Clone, Debug)]
pub(crate) struct AliasTable {
    slots: Box<[Slot]>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Of 2³² draws, how many stay with this index. Those that always do are their own alias.
    threshold: u32,
    /// What the other draws go to.
    alias: u32,
}

impl AliasTable {
    /// A table of these weights. `None` when there are none, all are zero, or there are more than 2³² − 1.
    pub(crate) fn new(weights: &[u32]) -> Option<Self> {
        let count = u32::try_from(weights.len()).ok()?;
        let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        if total == 0 {
            return None;
        }
        let mut slots: Box<[Slot]> = (0..count).map(|index| Slot { threshold: 0, alias: index }).collect();
        // In units in which a slot holds `total`, all weights together fill all slots exactly.
        let mut left: Vec<u64> = weights.iter().map(|weight| u64::from(*weight) * u64::from(count)).collect();
        let (mut small, mut large): (Vec<_>, Vec<_>) =
            (0..weights.len()).partition(|index| left.get(*index).is_some_and(|left| *left < total));
        while let (Some(index), Some(&donor)) = (small.pop(), large.last()) {
            let part = left.get(index).copied().unwrap_or_default();
            if let Some(slot) = slots.get_mut(index) {
                // Less than 2³², because the part is less than the total.
                let threshold = (u128::from(part) << 32) / u128::from(total);
                *slot = Slot { threshold: threshold as u32, alias: donor as u32 };
            }
            if let Some(of_donor) = left.get_mut(donor) {
                *of_donor -= total - part;
                if *of_donor < total {
                    large.pop();
                    small.push(donor);
                }
            }
        }
        Some(Self { slots })
    }

    /// An index below the number of weights.
    pub(crate) fn pick(&self) -> usize {
        self.pick_with(fastrand::u64(..))
    }

    /// The same, with the random number given: its upper half chooses the slot, its lower half the side.
    pub(crate) fn pick_with(&self, random: u64) -> usize {
        let (upper, lower) = (random >> 32, random as u32);
        let index = ((upper * self.slots.len() as u64) >> 32) as usize;
        match self.slots.get(index) {
            Some(slot) if lower >= slot.threshold => slot.alias as usize,
            _ => index,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The exact share of each index: what its own slot keeps, and what others pass to it.
    fn shares(table: &AliasTable) -> Vec<f64> {
        let mut shares = vec![0.0; table.slots.len()];
        for (index, slot) in table.slots.iter().enumerate() {
            let own = f64::from(slot.threshold) / 2f64.powi(32);
            shares[index] += own;
            shares[slot.alias as usize] += 1.0 - own;
        }
        shares.iter().map(|share| share / table.slots.len() as f64).collect()
    }

    #[test]
    fn nothing_to_pick_from_is_no_table() {
        assert!(AliasTable::new(&[]).is_none());
        assert!(AliasTable::new(&[0, 0]).is_none());
    }

    #[test]
    fn one_choice_is_always_picked() {
        let table = AliasTable::new(&[0, 0, 3, 0]).unwrap();
        assert!((0..1_000).all(|_| table.pick() == 2));
        assert_eq!([0, u64::MAX].map(|random| table.pick_with(random)), [2, 2]);
    }

    #[test]
    fn picks_by_weight() {
        let table = AliasTable::new(&[90, 10]).unwrap();
        let mut random = fastrand::Rng::with_seed(7);
        let second = (0..100_000).filter(|_| table.pick_with(random.u64(..)) == 1).count();
        assert!((9_500..10_500).contains(&second), "{second}");
    }

    proptest! {
        #[test]
        fn every_share_is_its_weight(weights in proptest::collection::vec(
            prop_oneof![Just(0), 1u32..100, Just(u32::MAX)], 1..200,
        )) {
            let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
            let Some(table) = AliasTable::new(&weights) else {
                prop_assert_eq!(total, 0.0);
                return Ok(());
            };
            for (share, weight) in shares(&table).iter().zip(&weights) {
                prop_assert!((share - f64::from(*weight) / total).abs() < 1e-8);
                prop_assert!(*weight > 0 || *share == 0.0);
            }
        }
    }
}
