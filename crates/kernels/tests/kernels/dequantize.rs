//! `dequantize` against blocks dequantised by the reference implementation.

use std::path::Path;

use matou_kernels::dequantize;
use matou_kernels::format::Format;

#[test]
fn every_format_dequantizes_as_the_reference_does_bit_for_bit() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/quants");
    for format in Format::ALL {
        if format == Format::F32 {
            continue;
        }
        let path = folder.join(format!("{format}.bin"));
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let block_and_floats = format.block_bytes() + 4 * format.block_size();
        assert_eq!(bytes.len() % block_and_floats, 0, "{format}: torn fixture");
        let blocks = bytes.len() / block_and_floats;
        let (bytes, expected) = bytes.split_at(blocks * format.block_bytes());

        let mut actual = vec![0.0; blocks * format.block_size()];
        dequantize(format, bytes, &mut actual).unwrap();
        for (i, (actual, expected)) in actual.iter().zip(expected.as_chunks().0).enumerate() {
            let expected = f32::from_le_bytes(*expected);
            assert_eq!(
                actual.to_bits(),
                expected.to_bits(),
                "{format}, element {i}: {actual} for {expected}"
            );
        }
    }
}
