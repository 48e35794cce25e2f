//! The roofs: what memory and arithmetic of a device can do.

use std::time::Instant;

use crate::buffer::Buffer;
use crate::error::GpuError;
use crate::grid::grid;
use crate::stream::{Binding, Call, Stream};

/// What a device can do at most, measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GpuRoofs {
    /// Bytes a second read from memory.
    pub read_bandwidth: f64,
    /// Multiply-adds a second of 8-bit integers, four at a time in one instruction where there is one.
    pub int8_macs: f64,
    /// Multiply-adds a second of floats, as the kernels do them: a product, then a sum.
    pub f32_macs: f64,
}

/// Bytes read to measure the bandwidth: several times as much as caches hold.
const READ_BYTES: u64 = 256 << 20;
/// Vectors of 16 bytes that an invocation reads.
const READS: usize = 64;
/// Invocations that calculate: enough to fill a large device.
const INVOCATIONS: usize = 1 << 17;
/// Rounds of 16 products, of four bytes or of one float each, that an invocation calculates.
const ROUNDS: usize = 64;
/// Each is measured so often; the fastest counts, since others may use the device.
const TIMES: usize = 5;

impl Stream {
    /// Measures now, for about a tenth of a second on a card (longer on a software device).
    ///
    /// # Errors
    /// The device is lost or out of memory.
    pub fn measure_roofs(&self) -> Result<GpuRoofs, GpuError> {
        let info = self.device().info();
        let bytes = READ_BYTES.min(info.max_binding_bytes) / 4096 * 4096;
        let words = self.allocate("the measurement of memory", bytes)?;
        let out = self.allocate("the measurement of arithmetic", 4 * INVOCATIONS as u64)?;
        let readers = (bytes / 16) as usize / READS;
        let read = || self.measured("roof-read", READ, readers, &[&words, &out]);
        let dots = || self.measured("roof-dots", DOTS, INVOCATIONS, &[&out]);
        let floats = || self.measured("roof-floats", FLOATS, INVOCATIONS, &[&out]);
        let products = (INVOCATIONS * ROUNDS * 16) as f64;
        // The whole of a submission is in each time; a dispatch of one workgroup tells how much it is.
        let overhead = fastest(|| self.measured("roof-floats", FLOATS, 1, &[&out]))?;
        let rate = |work: f64, time: f64| work / (time - overhead).max(time / 10.0);
        Ok(GpuRoofs {
            read_bandwidth: rate((readers * READS * 16) as f64, fastest(read)?),
            int8_macs: rate(4.0 * products, fastest(dots)?),
            f32_macs: rate(products, fastest(floats)?),
        })
    }

    /// Seconds that a kernel takes.
    fn measured(
        &self,
        key: &str,
        source: &str,
        invocations: usize,
        buffers: &[&Buffer],
    ) -> Result<f64, GpuError> {
        let (out, inputs) = buffers.split_last().expect("every kernel writes");
        let mut bindings: Vec<Binding<'_>> = inputs.iter().map(|it| Binding::Read(it)).collect();
        bindings.push(Binding::Write(out));
        self.finish()?;
        let start = Instant::now();
        self.run(Call {
            key,
            source: &|| source.replace("${MAIN}", MAIN),
            buffers: &bindings,
            immediates: &[invocations as u32],
            groups: grid(invocations, 64),
        })?;
        self.finish()?;
        Ok(start.elapsed().as_secs_f64())
    }
}

/// The least time of some; the first, which compiles, does not count.
fn fastest(mut measure: impl FnMut() -> Result<f64, GpuError>) -> Result<f64, GpuError> {
    measure()?;
    let mut least = f64::INFINITY;
    for _ in 0..TIMES {
        least = least.min(measure()?);
    }
    Ok(least)
}

/// The beginning of each: invocation `i` of so many.
const MAIN: &str = "
struct Params { invocations: u32 }
var<immediate> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_id) local: vec3<u32>) {
    let i = (group.x + group.y * groups.x) * 64u + local.x;
    if (i >= p.invocations) { return; }
";

/// Reads vectors that neighbouring invocations read beside each other, and keeps a trace of each.
const READ: &str = "
@group(0) @binding(0) var<storage, read> words: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
${MAIN}    var sum = vec4<u32>(0u);
    for (var k = 0u; k < 64u; k++) { sum ^= words[k * p.invocations + i]; }
    out[i % 1024u] = sum.x ^ sum.y ^ sum.z ^ sum.w;
}";

/// Four chains of products of four bytes, so that one need not wait for another.
const DOTS: &str = "
@group(0) @binding(0) var<storage, read_write> out: array<i32>;
${MAIN}    var a = vec4<i32>(i32(i), 1, 2, 3);
    for (var k = 0u; k < 64u; k++) {
        let x = i * 0x01030507u + k;
        for (var j = 0u; j < 4u; j++) {
            a.x += dot4I8Packed(x, u32(a.x));
            a.y += dot4I8Packed(x, u32(a.y));
            a.z += dot4I8Packed(x, u32(a.z));
            a.w += dot4I8Packed(x, u32(a.w));
        }
    }
    out[i] = a.x ^ a.y ^ a.z ^ a.w;
}";

/// Four chains of products and sums.
const FLOATS: &str = "
@group(0) @binding(0) var<storage, read_write> out: array<f32>;
${MAIN}    let x = 1.0 / f32(i + 2u);
    var a = vec4<f32>(0.0, 1.0, 2.0, 3.0);
    for (var k = 0u; k < 64u; k++) {
        a = a * x + vec4<f32>(1.0);
        a = a * x + vec4<f32>(2.0);
        a = a * x + vec4<f32>(3.0);
        a = a * x + vec4<f32>(4.0);
    }
    out[i] = a.x + a.y + a.z + a.w;
}";
