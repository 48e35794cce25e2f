//! Weights as floats, without packing them.

use super::layout::layout;
use crate::format::{Format, FormatError};

/// Turns `bytes` in GGUF's layout into floats, exactly as the `gguf` Python package does.
///
/// # Errors
/// If `out` is not a whole number of blocks, or `bytes` is not as long as that many blocks.
pub fn dequantize(format: Format, bytes: &[u8], out: &mut [f32]) -> Result<(), FormatError> {
    let elements = out.len();
    let expected = format
        .row_bytes(elements)
        .ok_or(FormatError::PartialBlock { format, elements })?;
    if bytes.len() != expected {
        return Err(FormatError::Length {
            format,
            elements,
            expected,
            actual: bytes.len(),
        });
    }
    layout(format).dequantize(bytes, out);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_block_is_refused() {
        let error = dequantize(Format::Q4_0, &[0; 18], &mut [0.0; 31]);
        assert_eq!(
            error,
            Err(FormatError::PartialBlock {
                format: Format::Q4_0,
                elements: 31
            })
        );
    }

    #[test]
    fn a_wrong_length_is_refused_with_both_lengths() {
        let error = dequantize(Format::Q4K, &[0; 143], &mut [0.0; 256]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "256 elements of Q4_K take 144 bytes, but there are 143"
        );
    }
}
