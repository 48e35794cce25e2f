//! How many workgroups there are, within what a dispatch may have in one dimension.

/// The most workgroups in a dimension that every device takes.
const MOST: u64 = 65_535;

/// A grid of at least `invocations / width` workgroups, rounded up. Shaders take the linear index
/// `x + y · width of the grid`, and return where it is beyond their work.
///
/// # Panics
/// More than 65,535² workgroups.
pub(crate) fn grid(invocations: usize, width: usize) -> [u32; 3] {
    let groups = invocations.div_ceil(width) as u64;
    let rows = groups.div_ceil(MOST).max(1);
    assert!(rows <= MOST, "{groups} workgroups");
    // Both fit: x is at most MOST, because rows was rounded up.
    [groups.div_ceil(rows) as u32, rows as u32, 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_hold_their_work_and_little_more() {
        for groups in [0, 1, 65_535, 65_536, 65_537, 1 << 20, 123_456_789] {
            let [x, y, z] = grid(groups * 64, 64);
            let (x, y) = (x as usize, y as usize);
            assert!(x * y * z as usize >= groups && x * y < groups + y);
            assert!(x <= 65_535 && y <= 65_535);
        }
    }
}
