//! How keys and values lie in the words of a cache.
//!
//! ```text
//!   buffer  block 0 │ block 1 │ …                     one for a layer's keys, one for its values
//!   block   head 0 │ head 1 │ …                       of sixteen positions
//!   keys    [row / 4 words rounded up, 16, 4 words]   neighbouring lanes read neighbouring positions
//!           [row / 32 elements, 16] scales, f32       only in 8 bits
//!   values  [16, row of words, then its scales]       neighbouring lanes read neighbouring words
//! ```
//!
//! A word is one element of 32 bits, two of 16 or four of 8. In 8 bits, 32 neighbouring elements of a
//! head share a scale.

use matou_kernels::{BLOCK_SIZE, KvDtype};

use crate::template::Template;

/// Elements that share a scale.
const SCALE_GROUP: usize = 32;
/// Words of a unit of keys.
const UNIT: usize = 4;
/// Invocations of a workgroup of all kernels.
pub(super) const LANES: usize = 64;
/// The most elements of a head: more would not fit into the memory of a workgroup with its scores.
const MAX_HEAD_DIM: usize = 256;

/// One head of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HeadLayout {
    pub(super) dtype: KvDtype,
    pub(super) head_dim: usize,
}

impl HeadLayout {
    /// The layout, or why there is none.
    pub(super) fn new(head_dim: usize, dtype: KvDtype) -> Result<Self, String> {
        let multiple = match dtype {
            KvDtype::F32 => 1,
            KvDtype::F16 => 2,
            KvDtype::Q8 => SCALE_GROUP,
        };
        if head_dim == 0 || head_dim > MAX_HEAD_DIM || !head_dim.is_multiple_of(multiple) {
            return Err(format!(
                "heads of {head_dim} elements with a cache of {dtype:?}: the GPU takes multiples of \
                 {multiple} up to {MAX_HEAD_DIM}"
            ));
        }
        Ok(Self { dtype, head_dim })
    }

    fn per_word(self) -> usize {
        match self.dtype {
            KvDtype::F32 => 1,
            KvDtype::F16 => 2,
            KvDtype::Q8 => 4,
        }
    }

    /// Words of a row, without scales.
    fn words(self) -> usize {
        self.head_dim / self.per_word()
    }

    /// Words of a row that one invocation takes, at most.
    fn words_each(self) -> usize {
        self.words().div_ceil(LANES)
    }

    /// Elements of those words.
    pub(super) fn elements_each(self) -> usize {
        self.words_each() * self.per_word()
    }

    /// Units of a row of keys.
    fn units(self) -> usize {
        self.words().div_ceil(UNIT)
    }

    fn scales(self) -> usize {
        match self.dtype {
            KvDtype::F32 | KvDtype::F16 => 0,
            KvDtype::Q8 => self.head_dim / SCALE_GROUP,
        }
    }

    /// Words of the keys of a head of a block.
    pub(super) fn key_words(self) -> usize {
        BLOCK_SIZE * (self.units() * UNIT + self.scales())
    }

    /// Words of the values of a head of a block.
    pub(super) fn value_words(self) -> usize {
        BLOCK_SIZE * self.value_row()
    }

    fn value_row(self) -> usize {
        self.words() + self.scales()
    }

    /// Words of a row that one invocation writes.
    fn store_unit(self) -> usize {
        match self.dtype {
            KvDtype::F32 | KvDtype::F16 => UNIT,
            KvDtype::Q8 => SCALE_GROUP / self.per_word(),
        }
    }

    /// Invocations that write a row.
    pub(super) fn store_units(self) -> usize {
        self.words().div_ceil(self.store_unit())
    }

    /// What all kernels are filled in with.
    pub(super) fn template(self) -> Template {
        let (flag, value) = match self.dtype {
            KvDtype::F32 => ("F32", "f32"),
            KvDtype::F16 => ("F16", "vec2<f32>"),
            KvDtype::Q8 => ("Q8", "vec4<f32>"),
        };
        Template::default()
            .flag(flag)
            .set("VALUE", value)
            .set("HEAD_DIM", self.head_dim)
            .set("PER_WORD", self.per_word())
            .set("WORDS", self.words())
            .set("UNITS", self.units())
            // A unit's words, decoded to vectors of four elements.
            .set("UNIT_VECTORS", self.per_word())
            .set("KEY_UNITS", self.key_words() / UNIT)
            .set("KEY_WORDS", self.key_words())
            .set("KEY_SCALES", BLOCK_SIZE * self.units() * UNIT)
            .set("VALUE_ROW", self.value_row())
            .set("STORE_WORDS", self.store_unit())
            .set("STORE_UNITS", self.store_units())
            .set("BLOCK", BLOCK_SIZE)
            .set("SCALE_GROUP", SCALE_GROUP)
            .set("SCALE_WORDS", SCALE_GROUP / self.per_word())
            .set("UNIT", UNIT)
            .set("LANES", LANES)
            .set("WORDS_EACH", self.words_each())
            .set("DIMS_EACH", self.head_dim.div_ceil(LANES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_as_large_as_their_elements_and_scales() {
        for (dtype, words) in [
            (KvDtype::F32, 128),
            (KvDtype::F16, 64),
            (KvDtype::Q8, 32 + 4),
        ] {
            let layout = HeadLayout::new(128, dtype).unwrap();
            assert_eq!(layout.key_words(), 16 * words);
            assert_eq!(layout.value_words(), 16 * words);
        }
        // A row of keys that is no whole unit is padded.
        let odd = HeadLayout::new(6, KvDtype::F16).unwrap();
        assert_eq!((odd.key_words(), odd.value_words()), (16 * 4, 16 * 3));
    }

    #[test]
    fn heads_that_no_kernel_is_made_for_are_refused() {
        for (head_dim, dtype) in [
            (0, KvDtype::F32),
            (257, KvDtype::F32),
            (65, KvDtype::F16),
            (80, KvDtype::Q8),
        ] {
            let why = HeadLayout::new(head_dim, dtype).unwrap_err();
            assert!(why.contains(&format!("heads of {head_dim}")), "{why}");
        }
    }
}
