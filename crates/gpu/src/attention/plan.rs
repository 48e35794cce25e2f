//! Which workgroups attention needs in a step.
//!
//! A tile is some neighbouring tokens of one request. Each of its splits (of absolute positions) is an
//! item, a workgroup for each key-value head, and leaves a state for each of its queries; a token's states
//! are merged when all are there. The states' memory is bounded, so that a large step takes several passes.
//! What a token's result is does not depend on any of this.

use std::ops::Range;

/// Positions of a split: what one workgroup attends to. One long context has to keep a large device busy,
/// so they are few.
pub(super) const SPLIT: usize = 256;

/// The rows of one request in a step.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) rows: Range<usize>,
    /// Of its first row.
    pub(super) position: usize,
    /// Where its block table starts.
    pub(super) table: usize,
}

/// What plans differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PlanKey {
    /// Positions that a query attends to; 0 without a bound.
    pub(super) window: usize,
    /// The most tokens of a tile.
    pub(super) tile_tokens: usize,
    /// The most splits of tokens whose states are kept at once (one tile may have more).
    pub(super) max_states: usize,
}

/// A step, cut into passes.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// First token, tokens, split.
    pub(super) items: Vec<[u32; 4]>,
    /// Of each token: position, start of the block table, first state of its pass.
    pub(super) tokens: Vec<[u32; 4]>,
    pub(super) passes: Vec<Pass>,
}

/// Work whose states are kept at the same time.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pass {
    /// Items of tiles of one token.
    pub(super) single: Range<usize>,
    /// Items of other tiles.
    pub(super) tiled: Range<usize>,
    pub(super) tokens: Range<usize>,
    /// Splits of tokens.
    pub(super) states: usize,
}

/// The part of a pass that is known before its end.
#[derive(Default)]
struct Open {
    single: Vec<[u32; 4]>,
    tiled: Vec<[u32; 4]>,
    states: usize,
}

impl PlanKey {
    /// The splits that the query at `position` attends to.
    fn splits(&self, position: usize) -> Range<usize> {
        let begin = match self.window {
            0 => 0,
            window => (position + 1).saturating_sub(window),
        };
        begin / SPLIT..position / SPLIT + 1
    }

    /// Cuts a step into passes; `requests` are in the order of their rows.
    pub(super) fn plan(&self, requests: &[Request]) -> Plan {
        let mut plan = Plan::default();
        let mut open = Open::default();
        for request in requests {
            let mut row = request.rows.start;
            while row < request.rows.end {
                let position = |row: usize| request.position + row - request.rows.start;
                let states = |tokens: usize| -> usize {
                    let rows = row..row + tokens;
                    rows.map(|row| self.splits(position(row)).len()).sum()
                };
                let mut tokens = self.tile_tokens.min(request.rows.end - row);
                if states(tokens) > self.max_states {
                    tokens = 1;
                }
                if open.states > 0 && open.states + states(tokens) > self.max_states {
                    plan.close(&mut open);
                }
                let items = match tokens {
                    1 => &mut open.single,
                    _ => &mut open.tiled,
                };
                let last = self.splits(position(row + tokens - 1));
                let splits = self.splits(position(row)).start..last.end;
                items.extend(splits.map(|split| [row, tokens, split, 0].map(|n| n as u32)));
                for row in row..row + tokens {
                    let token = [position(row), request.table, open.states, 0];
                    plan.tokens.push(token.map(|n| n as u32));
                    open.states += self.splits(position(row)).len();
                }
                row += tokens;
            }
        }
        plan.close(&mut open);
        plan
    }
}

impl Plan {
    fn close(&mut self, open: &mut Open) {
        let Open {
            single,
            tiled,
            states,
        } = std::mem::take(open);
        if states == 0 {
            return;
        }
        let first = self.items.len();
        let middle = first + single.len();
        self.items.extend(single);
        self.items.extend(tiled);
        let first_token = self.passes.last().map_or(0, |pass| pass.tokens.end);
        self.passes.push(Pass {
            single: first..middle,
            tiled: middle..self.items.len(),
            tokens: first_token..self.tokens.len(),
            states,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(rows: Range<usize>, position: usize) -> Request {
        Request {
            rows,
            position,
            table: 7,
        }
    }

    const KEY: PlanKey = PlanKey {
        window: 0,
        tile_tokens: 4,
        max_states: 1000,
    };

    #[test]
    fn tiles_never_cross_requests_and_have_an_item_for_each_split() {
        let plan = KEY.plan(&[
            request(0..1, 2 * SPLIT + 6),
            request(1..1, 0),
            request(1..7, SPLIT - 3),
        ]);
        let single = [[0, 1, 0, 0], [0, 1, 1, 0], [0, 1, 2, 0]];
        let tiled = [[1, 4, 0, 0], [1, 4, 1, 0], [5, 2, 0, 0], [5, 2, 1, 0]];
        assert_eq!(plan.items, [&single[..], &tiled[..]].concat());
        let [pass] = plan.passes.as_slice() else {
            panic!("{:?}", plan.passes);
        };
        // The third token of the second request is the first to attend to two splits.
        assert_eq!((pass.tokens.clone(), pass.states), (0..7, 3 + 3 + 6));
        let states: Vec<u32> = plan.tokens.iter().map(|token| token[2]).collect();
        assert_eq!(states, [0, 3, 4, 5, 6, 8, 10]);
        assert_eq!(plan.tokens[6], [SPLIT as u32 + 2, 7, 10, 0]);
    }

    #[test]
    fn windows_leave_out_what_lies_before_them() {
        let key = PlanKey { window: 100, ..KEY };
        let plan = key.plan(&[request(0..1, 10 * SPLIT - 40), request(1..2, 40)]);
        assert_eq!(plan.items, [[0, 1, 9, 0], [1, 1, 0, 0]]);
        let key = PlanKey {
            window: SPLIT,
            ..KEY
        };
        assert_eq!(key.splits(SPLIT - 1), 0..1);
        assert_eq!(key.splits(SPLIT), 0..2);
        assert_eq!(key.splits(2 * SPLIT - 1), 1..2);
    }

    #[test]
    fn passes_keep_their_bound_where_one_token_allows_it() {
        let key = PlanKey {
            max_states: 8,
            ..KEY
        };
        let plan = key.plan(&[request(0..10, SPLIT + 90), request(10..12, 18 * SPLIT)]);
        let mut next = (0, 0);
        for pass in &plan.passes {
            assert!(pass.states <= 8 || pass.tokens.len() == 1, "{pass:?}");
            assert_eq!((pass.tokens.start, pass.single.start), next);
            assert_eq!(plan.tokens[pass.tokens.start][2], 0);
            next = (pass.tokens.end, pass.tiled.end);
        }
        assert_eq!(next, (12, plan.items.len()));
        assert_eq!(plan.tokens.len(), 12);
    }

    #[test]
    fn a_step_without_rows_needs_nothing() {
        assert!(KEY.plan(&[request(0..0, 5)]).passes.is_empty());
    }
}
