//! The file that compiled kernels are kept in: a check, then what the driver wrote.
//!
//! A driver trusts what it gets back, so a file that was cut off or changed must not reach it.

/// Bytes of the check.
const CHECK: usize = 16;

/// The file of `data`.
pub(crate) fn seal(data: &[u8]) -> Vec<u8> {
    let mut file = check(data).to_vec();
    file.extend_from_slice(data);
    file
}

/// The data of a file, if they are what was sealed.
pub(crate) fn open(file: &[u8]) -> Option<&[u8]> {
    let (sealed, data) = file.split_at_checked(CHECK)?;
    (check(data) == sealed).then_some(data)
}

/// Length and FNV-1a hash: against accidents. Whoever may write the file may run programs anyway.
fn check(data: &[u8]) -> [u8; CHECK] {
    let hash = data.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut check = [0; CHECK];
    check[..8].copy_from_slice(&(data.len() as u64).to_le_bytes());
    check[8..].copy_from_slice(&hash.to_le_bytes());
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_sealed_is_opened() {
        let file = seal(b"compiled");
        assert_eq!(open(&file), Some(&b"compiled"[..]));
        assert_eq!(open(&file[..file.len() - 1]), None);
        assert_eq!(open(&[]), None);
        let mut changed = file;
        changed[CHECK + 3] ^= 1;
        assert_eq!(open(&changed), None);
    }
}
