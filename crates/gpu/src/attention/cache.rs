//! The paged cache of all layers, in the memory of a device.

use matou_kernels::{BLOCK_SIZE, KvDtype};

use super::layout::HeadLayout;
use crate::buffer::Buffer;
use crate::device::Device;
use crate::error::GpuError;
use crate::stream::Stream;

/// Keys and values of all layers in blocks of sixteen positions: for each layer a buffer of keys and one of
/// values.
pub struct KvCache {
    pub(super) layers: Vec<LayerCache>,
    pub(super) num_blocks: usize,
    pub(super) kv_heads: usize,
    pub(super) layout: HeadLayout,
}

/// One layer's part of a [`KvCache`].
pub(super) struct LayerCache {
    pub(super) keys: Buffer,
    pub(super) values: Buffer,
}

impl KvCache {
    /// A cache of `num_blocks` zeroed blocks in each of `layers` layers.
    ///
    /// # Errors
    /// The device has no memory for it, a layer's keys or values are larger than a buffer may be (see
    /// [`max_blocks`](Self::max_blocks)), or there are no kernels for such heads.
    pub fn new(
        stream: &Stream,
        layers: usize,
        num_blocks: usize,
        kv_heads: usize,
        head_dim: usize,
        dtype: KvDtype,
    ) -> Result<Self, GpuError> {
        let layout = layout(head_dim, dtype)?;
        let most = Self::max_blocks(stream.device(), kv_heads, head_dim, dtype)?;
        let [key_bytes, value_bytes] = part_bytes(layout, kv_heads);
        let buffer_bytes = |block_bytes: u64| block_bytes.saturating_mul(num_blocks as u64);
        if num_blocks > most {
            let info = stream.device().info();
            return Err(GpuError::TooLarge {
                device: info.name.clone(),
                what: format!("a cache of {num_blocks} blocks (the most is {most})"),
                bytes: buffer_bytes(key_bytes.max(value_bytes)),
                limit: info.max_binding_bytes,
            });
        }
        let what = format!("a cache of {num_blocks} blocks in {layers} layers");
        let layers = (0..layers).map(|_| {
            Ok(LayerCache {
                keys: stream.allocate(&what, buffer_bytes(key_bytes))?,
                values: stream.allocate(&what, buffer_bytes(value_bytes))?,
            })
        });
        Ok(Self {
            layers: layers.collect::<Result<_, GpuError>>()?,
            num_blocks,
            kv_heads,
            layout,
        })
    }

    /// Bytes of a block in one layer.
    ///
    /// # Errors
    /// There are no kernels for such heads.
    pub fn block_bytes(kv_heads: usize, head_dim: usize, dtype: KvDtype) -> Result<u64, GpuError> {
        Ok(part_bytes(layout(head_dim, dtype)?, kv_heads).iter().sum())
    }

    /// The most blocks that a cache on this device may have: a layer's keys are one buffer, and its values
    /// another.
    ///
    /// # Errors
    /// There are no kernels for such heads.
    pub fn max_blocks(
        device: &Device,
        kv_heads: usize,
        head_dim: usize,
        dtype: KvDtype,
    ) -> Result<usize, GpuError> {
        let [key_bytes, value_bytes] = part_bytes(layout(head_dim, dtype)?, kv_heads);
        // Slots are numbered in 32 bits.
        let most = device.info().max_binding_bytes / key_bytes.max(value_bytes).max(1);
        Ok(most.min(u64::from(u32::MAX) / BLOCK_SIZE as u64) as usize)
    }

    /// Blocks of each layer.
    pub fn num_blocks(&self) -> usize {
        self.num_blocks
    }
}

fn layout(head_dim: usize, dtype: KvDtype) -> Result<HeadLayout, GpuError> {
    HeadLayout::new(head_dim, dtype).map_err(GpuError::Unsupported)
}

/// Bytes of a block's keys and values in one layer.
fn part_bytes(layout: HeadLayout, kv_heads: usize) -> [u64; 2] {
    [layout.key_words(), layout.value_words()]
        .map(|words| (words as u64 * 4).saturating_mul(kv_heads as u64))
}
