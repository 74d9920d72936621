//! Divides nodes into the fewest waves whose nodes can be drained together without waiting for each
//! other.
//!
//! Two nodes wait for each other when a budget selects pods of both and does not allow them all at
//! a time. A wave is free of waits when each budget concerns only one of its nodes, or allows all
//! disruptions of the wave.

use std::collections::HashMap;

/// The exact search takes exponential time, so larger sets are divided greedily.
const MAX_EXACT: usize = 12;

/// For each node: the budgets of its pods, with the number of pods.
pub(super) type Takes = Vec<Vec<(usize, i32)>>;

/// Returns the waves as lists of node indexes, and whether their number is proven to be minimal.
pub(super) fn fewest(takes: &Takes, allowed: &[i32]) -> (Vec<Vec<usize>>, bool) {
    let nodes = takes.len();
    if nodes > MAX_EXACT {
        (greedy(takes, allowed), false)
    } else {
        (exact(takes, allowed), true)
    }
}

fn is_free(wave: &[usize], takes: &Takes, allowed: &[i32]) -> bool {
    let mut sums: Vec<(usize, i32, usize)> = Vec::new();
    for (budget, pods) in wave.iter().flat_map(|node| &takes[*node]) {
        match sums.iter_mut().find(|(known, ..)| known == budget) {
            Some((_, sum, nodes)) => (*sum, *nodes) = (*sum + pods, *nodes + 1),
            None => sums.push((*budget, *pods, 1)),
        }
    }
    sums.iter()
        .all(|(budget, sum, nodes)| *nodes == 1 || *sum <= allowed[*budget])
}

/// First fit, beginning with the nodes that disrupt most pods.
fn greedy(takes: &Takes, allowed: &[i32]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..takes.len()).collect();
    order.sort_by_key(|node| {
        std::cmp::Reverse(takes[*node].iter().map(|(_, pods)| *pods).sum::<i32>())
    });
    let mut waves: Vec<Vec<usize>> = Vec::new();
    // By wave: the number of pods of each budget.
    let mut sums: Vec<HashMap<usize, i32>> = Vec::new();
    for node in order {
        let fits = sums.iter().position(|wave| {
            takes[node].iter().all(|(budget, pods)| {
                let others = wave.get(budget);
                others.is_none_or(|sum| sum + pods <= allowed[*budget])
            })
        });
        let wave = fits.unwrap_or(waves.len());
        if wave == waves.len() {
            waves.push(Vec::new());
            sums.push(HashMap::new());
        }
        waves[wave].push(node);
        for (budget, pods) in &takes[node] {
            *sums[wave].entry(*budget).or_insert(0) += pods;
        }
    }
    waves.iter_mut().for_each(|wave| wave.sort_unstable());
    waves
}

/// Dynamic programming over the subsets of nodes, from the smallest up.
fn exact(takes: &Takes, allowed: &[i32]) -> Vec<Vec<usize>> {
    let nodes = takes.len();
    let members =
        |set: usize| -> Vec<usize> { (0..nodes).filter(|node| set & (1 << node) != 0).collect() };
    let all = (1_usize << nodes) - 1;
    let free: Vec<bool> = (0..=all)
        .map(|set| is_free(&members(set), takes, allowed))
        .collect();
    // By set: the number of waves, and the last wave.
    let mut best: Vec<(usize, usize)> = vec![(0, 0)];
    for set in 1..=all {
        let lowest = set & set.wrapping_neg();
        let (mut found, mut wave) = ((usize::MAX, 0), set);
        while wave > 0 {
            // Only waves with the lowest node: the others give the same division in another order.
            if wave & lowest != 0 && free[wave] {
                let waves = best[set & !wave].0 + 1;
                if waves < found.0 {
                    found = (waves, wave);
                }
            }
            wave = (wave - 1) & set;
        }
        best.push(found);
    }
    let (mut waves, mut left) = (Vec::new(), all);
    while left > 0 {
        waves.push(members(best[left].1));
        left &= !best[left].1;
    }
    waves
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_wait_for_each_other_go_in_different_waves() {
        let takes: Takes = vec![
            vec![(0, 1)],
            vec![(0, 1)],
            vec![(1, 2)],
            vec![(0, 1), (1, 1)],
        ];
        let check = |allowed: &[i32], waves: usize| {
            for (found, exact) in [
                (exact(&takes, allowed), true),
                (greedy(&takes, allowed), false),
            ] {
                assert!(
                    found.iter().all(|wave| is_free(wave, &takes, allowed)),
                    "{found:?}"
                );
                let mut all: Vec<usize> = found.concat();
                all.sort_unstable();
                assert_eq!(all, [0, 1, 2, 3]);
                assert!(!exact || found.len() == waves, "{found:?}");
            }
        };
        check(&[1, 1], 3);
        check(&[3, 3], 1);
        check(&[2, 0], 2);
    }

    #[test]
    fn a_node_that_waits_for_itself_does_not_delay_others() {
        let takes: Takes = vec![vec![(0, 9)], vec![(1, 1)], vec![]];
        assert_eq!(fewest(&takes, &[1, 1]), (vec![vec![0, 1, 2]], true));
        assert_eq!(fewest(&vec![], &[]), (vec![], true));
    }
}
