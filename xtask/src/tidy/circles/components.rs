//! Strongly connected components of a small directed graph, and a shortest circle in one.

use std::collections::VecDeque;

/// The components with more than one node, each sorted, in the order of their first nodes.
///
/// `successors[n]` lists the nodes that node `n` points to.
pub(super) fn strongly_connected(successors: &[Vec<usize>]) -> Vec<Vec<usize>> {
    // Two nodes are in one component when each reaches the other. The graphs here have some
    // hundred nodes, so that the quadratic way costs milliseconds.
    let reached: Vec<Vec<bool>> = (0..successors.len())
        .map(|start| reachable(successors, start))
        .collect();
    let mut done = vec![false; successors.len()];
    let mut found = Vec::new();
    for start in 0..successors.len() {
        if done[start] {
            continue;
        }
        let members: Vec<usize> = (start..successors.len())
            .filter(|&node| node == start || (reached[start][node] && reached[node][start]))
            .collect();
        for &member in &members {
            done[member] = true;
        }
        if members.len() > 1 {
            found.push(members);
        }
    }
    found
}

fn reachable(successors: &[Vec<usize>], start: usize) -> Vec<bool> {
    let mut reached = vec![false; successors.len()];
    let mut waiting = vec![start];
    while let Some(node) = waiting.pop() {
        for &next in &successors[node] {
            if !reached[next] {
                reached[next] = true;
                waiting.push(next);
            }
        }
    }
    reached
}

/// The nodes of a shortest circle within one component, in the order of its edges.
pub(super) fn shortest_circle(successors: &[Vec<usize>], members: &[usize]) -> Vec<usize> {
    members
        .iter()
        .filter_map(|&start| circle_through(successors, members, start))
        .min_by_key(Vec::len)
        .unwrap_or_default()
}

fn circle_through(
    successors: &[Vec<usize>],
    members: &[usize],
    start: usize,
) -> Option<Vec<usize>> {
    let mut parents = vec![None; successors.len()];
    let mut waiting = VecDeque::from([start]);
    while let Some(node) = waiting.pop_front() {
        for &next in &successors[node] {
            if next == start {
                let mut path = vec![node];
                while let Some(parent) = parents[path[path.len() - 1]] {
                    path.push(parent);
                }
                path.reverse();
                return Some(path);
            }
            if parents[next].is_none() && members.contains(&next) {
                parents[next] = Some(node);
                waiting.push_back(next);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_has_no_component_and_two_circles_that_share_a_node_are_one() {
        assert!(strongly_connected(&[vec![1], vec![2], vec![]]).is_empty());
        let joined = [vec![1], vec![2], vec![0, 3], vec![2], vec![0]];
        assert_eq!(strongly_connected(&joined), [vec![0, 1, 2, 3]]);
        assert_eq!(shortest_circle(&joined, &[0, 1, 2, 3]), [2, 3]);
    }
}
