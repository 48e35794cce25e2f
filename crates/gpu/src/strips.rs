//! Packed strips in WGSL: the text that reads weights, for each way in which they are packed.
//!
//! The CPU's layout is used as it is: 16 rows side by side in words of four columns, so that 16
//! invocations, a row each, read 64 bytes in one go. What is generated expects `w: array<u32>`, the
//! strips, and defines
//!
//! ```text
//! const GROUPS, BLOCK_WORDS, HEADER_WORDS, GROUP_WORDS, OFFSET
//! fn fill_table(lid, size)                   before anything else, and a barrier after it
//! struct Codes { a: vec4<u32>, b: vec4<u32> } the 32 values of a row, four signed bytes in a word
//! fn codes(at) -> Codes                      at the word of the group and the row
//! fn scales(block, group, row) -> vec2<f32>  of the two halves of a group, or twice the same
//! fn minima(block, group, row) -> vec2<f32>
//! ```
//!
//! for quantised strips, and for floats `fn weight(strip, column, row) -> f32`. Values of eight bits and
//! of tables come with their offset of 128 taken off; `OFFSET` is what is left to subtract.

use std::fmt::Write;

use matou_kernels::{QuantizedStrip, StripCodes, StripFloats, StripScales};

/// The text that reads quantised strips.
pub(crate) fn quantized(strip: &QuantizedStrip) -> String {
    let signed = strip.table.is_some() || strip.codes == StripCodes::EightBit;
    let (header, group) = (strip.header_bytes / 4, strip.group_bytes / 4);
    let mut text = String::new();
    let constants = [
        ("GROUPS", strip.groups),
        ("BLOCK_WORDS", header + strip.groups * group),
        ("HEADER_WORDS", header),
        ("GROUP_WORDS", group),
    ];
    for (name, value) in constants {
        let _ = writeln!(text, "const {name}: u32 = {value}u;");
    }
    let offset = if signed { 0 } else { strip.offset };
    let _ = writeln!(text, "const OFFSET: i32 = {offset}i;");
    text.push_str("struct Codes { a: vec4<u32>, b: vec4<u32> }\n");
    text.push_str(match strip.table {
        Some(_) => TABLE,
        None => "fn fill_table(lid: u32, size: u32) {}\n",
    });
    if let Some(table) = strip.table {
        let values = table.map(|value| format!("{}u", value ^ 0x80)).join(", ");
        let _ = writeln!(
            text,
            "const VALUES: array<u32, 16> = array<u32, 16>({values});"
        );
    }
    let low = match (strip.codes, strip.table) {
        (_, Some(_)) => TABLE_CODES,
        (StripCodes::TwoBit | StripCodes::ThreeBit, _) => {
            "var c = pairs(at, vec4<u32>(0x03030303u));"
        }
        (StripCodes::EightBit, _) => BYTES,
        _ => NIBBLES,
    };
    let high = match strip.codes {
        StripCodes::ThreeBit => "add_bits(&c, w[at + 32u], 2u);",
        StripCodes::FiveBit => "add_bits(&c, w[at + 64u], 4u);",
        StripCodes::SixBit => SIXTH_BITS,
        _ => "",
    };
    text.push_str(BITS);
    let _ = writeln!(
        text,
        "fn codes(at: u32) -> Codes {{\n{low}\n{high}\nreturn c;\n}}"
    );
    text.push_str(scales(strip.scales, strip.scales_of_group).as_str());
    text
}

/// Both values that a byte of two codes stands for, side by side.
const TABLE: &str = "
var<workgroup> both: array<u32, 256>;
fn fill_table(lid: u32, size: u32) {
    var values = VALUES;
    for (var i = lid; i < 256u; i += size) {
        both[i] = values[i & 15u] | (values[i >> 4u] << 16u);
    }
}
fn look_up(p: u32) -> vec2<u32> {
    let e0 = both[p & 255u];
    let e1 = both[(p >> 8u) & 255u];
    let e2 = both[(p >> 16u) & 255u];
    let e3 = both[p >> 24u];
    return vec2<u32>(
        (e0 & 255u) | ((e1 & 255u) << 8u) | ((e2 & 255u) << 16u) | ((e3 & 255u) << 24u),
        (e0 >> 16u) | ((e1 >> 16u) << 8u) | ((e2 >> 16u) << 16u) | ((e3 >> 16u) << 24u),
    );
}
";

const TABLE_CODES: &str = "
    let p0 = look_up(w[at]);
    let p1 = look_up(w[at + 16u]);
    let p2 = look_up(w[at + 32u]);
    let p3 = look_up(w[at + 48u]);
    var c = Codes(vec4<u32>(p0.x, p1.x, p2.x, p3.x), vec4<u32>(p0.y, p1.y, p2.y, p3.y));";

const NIBBLES: &str = "
    let p = vec4<u32>(w[at], w[at + 16u], w[at + 32u], w[at + 48u]);
    var c = Codes(p & vec4<u32>(0x0f0f0f0fu), (p >> vec4<u32>(4u)) & vec4<u32>(0x0f0f0f0fu));";

const BYTES: &str = "
    let flip = vec4<u32>(0x80808080u);
    var c = Codes(
        vec4<u32>(w[at], w[at + 16u], w[at + 32u], w[at + 48u]) ^ flip,
        vec4<u32>(w[at + 64u], w[at + 80u], w[at + 96u], w[at + 112u]) ^ flip,
    );";

const SIXTH_BITS: &str = "
    let h = pairs(at + 64u, vec4<u32>(0x03030303u));
    c.a |= h.a << vec4<u32>(4u);
    c.b |= h.b << vec4<u32>(4u);";

const BITS: &str = "
fn pairs(at: u32, mask: vec4<u32>) -> Codes {
    let shifts = vec4<u32>(0u, 2u, 4u, 6u);
    return Codes((vec4<u32>(w[at]) >> shifts) & mask, (vec4<u32>(w[at + 16u]) >> shifts) & mask);
}
fn add_bits(c: ptr<function, Codes>, bits: u32, to: u32) {
    let one = vec4<u32>(0x01010101u);
    (*c).a |= ((vec4<u32>(bits) >> vec4<u32>(0u, 1u, 2u, 3u)) & one) << vec4<u32>(to);
    (*c).b |= ((vec4<u32>(bits) >> vec4<u32>(4u, 5u, 6u, 7u)) & one) << vec4<u32>(to);
}
fn half_at(at: u32, i: u32) -> f32 {
    let both = unpack2x16float(w[at + (i >> 1u)]);
    return select(both.x, both.y, (i & 1u) == 1u);
}
fn byte_at(at: u32, i: u32) -> u32 {
    return (w[at + (i >> 2u)] >> (8u * (i & 3u))) & 255u;
}
fn signed_at(at: u32, i: u32) -> f32 {
    return f32(extractBits(bitcast<i32>(w[at + (i >> 2u)]), 8u * (i & 3u), 8u));
}
";

/// The scales and minima of a block, see [`StripScales`].
fn scales(scales: StripScales, of_group: usize) -> String {
    let none = "return vec2<f32>(0.0);";
    let (scales, minima) = match (scales, of_group) {
        (StripScales::Halves, _) => ("return vec2<f32>(half_at(block, 16u * group + row));", none),
        (StripScales::HalvesMinima, _) => (
            "return vec2<f32>(half_at(block, 16u * group + row));",
            "return vec2<f32>(half_at(block + 16u, 16u * group + row));",
        ),
        (StripScales::Singles, _) => (
            "return vec2<f32>(bitcast<f32>(w[block + 16u * group + row]));",
            none,
        ),
        (StripScales::Bytes, 1) => (
            "return vec2<f32>(bitcast<f32>(w[block + row]) * signed_at(block + 16u, 16u * group + row));",
            none,
        ),
        (StripScales::Bytes, _) => (
            "let d = bitcast<f32>(w[block + row]);
            let i = 32u * group + row;
            return vec2<f32>(d * signed_at(block + 16u, i), d * signed_at(block + 16u, i + 16u));",
            none,
        ),
        (StripScales::BytesMinima, _) => (
            "return vec2<f32>(half_at(block, row) * f32(byte_at(block + 16u, 16u * group + row)));",
            "return vec2<f32>(half_at(block, 16u + row) * f32(byte_at(block + 48u, 16u * group + row)));",
        ),
        (StripScales::NibblesMinima, _) => (
            "let d = half_at(block, row);
            let i = 32u * group + row;
            let s0 = byte_at(block + 16u, i) & 15u;
            let s1 = byte_at(block + 16u, i + 16u) & 15u;
            return vec2<f32>(d * f32(s0), d * f32(s1));",
            "let d = half_at(block, 16u + row);
            let i = 32u * group + row;
            let m0 = byte_at(block + 16u, i) >> 4u;
            let m1 = byte_at(block + 16u, i + 16u) >> 4u;
            return vec2<f32>(d * f32(m0), d * f32(m1));",
        ),
    };
    let parameters = "(block: u32, group: u32, row: u32) -> vec2<f32>";
    format!("fn scales{parameters} {{\n{scales}\n}}\nfn minima{parameters} {{\n{minima}\n}}\n")
}

/// The text that reads strips of floats; `strip` is the strip's first word.
pub(crate) fn floats(floats: StripFloats) -> &'static str {
    match floats {
        StripFloats::F32 => {
            "fn weight(strip: u32, column: u32, row: u32) -> f32 {
                return bitcast<f32>(w[strip + 16u * column + row]);
            }\n"
        }
        StripFloats::F16 => {
            "fn weight(strip: u32, column: u32, row: u32) -> f32 {
                let both = unpack2x16float(w[strip + 8u * column + (row >> 1u)]);
                return select(both.x, both.y, (row & 1u) == 1u);
            }\n"
        }
        StripFloats::Bf16 => {
            "fn weight(strip: u32, column: u32, row: u32) -> f32 {
                let both = w[strip + 8u * column + (row >> 1u)];
                return bitcast<f32>(select(both << 16u, both & 0xffff0000u, (row & 1u) == 1u));
            }\n"
        }
    }
}
