//! WGSL to SPIR-V whose floating-point operations are left alone.
//!
//! A driver may fuse a multiplication and an addition into one operation with one rounding, and it may
//! do so in one variant of a kernel and not in another. The same row would have other bits in another
//! batch. SPIR-V has a word against it, `NoContraction`, which WGSL lacks: here every operation gets it.

use naga::back::spv;
use naga::valid::{Capabilities, ValidationFlags, Validator};

use crate::error::GpuError;

/// The header of a module: magic number, version, generator, bound of ids, schema.
const HEADER_WORDS: usize = 5;
const OP_DECORATE: u16 = 71;
const OP_MEMBER_DECORATE: u16 = 72;
/// The types are the first instructions after the decorations.
const OP_TYPES: std::ops::RangeInclusive<u16> = 19..=39;
const DECORATION_NO_CONTRACTION: u32 = 42;

/// Whether the result of an operation may be decorated: `OpFNegate`, `OpFAdd`, `OpFSub`, `OpFMul`,
/// `OpFDiv`, `OpFRem`, `OpFMod`, and the products of vectors and matrices.
fn is_arithmetic(opcode: u16) -> bool {
    matches!(opcode, 127 | 129 | 131 | 133 | 136 | 140..=148)
}

/// Compiles `source`, whose entry point is `main`. `integer_dot` says whether the device has products of
/// packed bytes; they are spelled out otherwise.
///
/// # Errors
/// If the source is not valid.
pub(crate) fn compile(source: &str, integer_dot: bool) -> Result<Vec<u32>, GpuError> {
    let shader = |message: String| GpuError::Shader(message);
    let module = naga::front::wgsl::parse_str(source)
        .map_err(|error| shader(error.emit_to_string(source)))?;
    // Halves in words: `unpack2x16float`, which every device has.
    let allowed = Capabilities::IMMEDIATES | Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    let info = Validator::new(ValidationFlags::all(), allowed)
        .validate(&module)
        .map_err(|error| shader(error.emit_to_string(source)))?;
    let mut capabilities: Vec<spv::Capability> = vec![spv::Capability::Shader];
    if integer_dot {
        capabilities.extend([
            spv::Capability::DotProductKHR,
            spv::Capability::DotProductInput4x8BitPackedKHR,
        ]);
    }
    let options = spv::Options {
        // What every device with Vulkan 1.1 takes.
        lang_version: (1, 3),
        flags: spv::WriterFlags::empty(),
        capabilities: Some(capabilities.into_iter().collect()),
        bounds_check_policies: naga::proc::BoundsCheckPolicies {
            index: naga::proc::BoundsCheckPolicy::Unchecked,
            buffer: naga::proc::BoundsCheckPolicy::Unchecked,
            image_load: naga::proc::BoundsCheckPolicy::Unchecked,
            binding_array: naga::proc::BoundsCheckPolicy::Unchecked,
        },
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        // No kernel divides by what may be zero.
        emit_int_div_checks: false,
        ..spv::Options::default()
    };
    let entry = spv::PipelineOptions {
        shader_stage: naga::ShaderStage::Compute,
        entry_point: "main".to_owned(),
    };
    let mut words = spv::write_vec(&module, &info, &options, Some(&entry))
        .map_err(|error| shader(error.to_string()))?;
    no_contraction(&mut words)?;
    Ok(words)
}

/// Decorates the results of all floating-point operations of a module.
///
/// # Errors
/// If the words are not a module.
pub(crate) fn no_contraction(words: &mut Vec<u32>) -> Result<(), GpuError> {
    let mut results = Vec::new();
    let mut first_decoration = None;
    let mut first_type = None;
    for (at, instruction) in instructions(words)? {
        let opcode = instruction[0] as u16;
        if is_arithmetic(opcode) {
            // Word 1 is the type, word 2 the result.
            results.extend(instruction.get(2));
        } else if matches!(opcode, OP_DECORATE | OP_MEMBER_DECORATE) {
            first_decoration.get_or_insert(at);
        } else if OP_TYPES.contains(&opcode) {
            first_type.get_or_insert(at);
        }
    }
    let at = first_decoration
        .or(first_type)
        .ok_or_else(|| GpuError::Shader("SPIR-V without types".to_owned()))?;
    let decorations = results.into_iter().flat_map(|result| {
        let decorate = 3 << 16 | u32::from(OP_DECORATE);
        [decorate, result, DECORATION_NO_CONTRACTION]
    });
    let decorations: Vec<u32> = decorations.collect();
    words.splice(at..at, decorations);
    Ok(())
}

/// The instructions of a module, each with the index of its first word.
fn instructions(words: &[u32]) -> Result<Vec<(usize, &[u32])>, GpuError> {
    let mut instructions = Vec::new();
    let mut at = HEADER_WORDS;
    while at < words.len() {
        let len = (words[at] >> 16) as usize;
        let instruction = words
            .get(at..at + len)
            .filter(|instruction| !instruction.is_empty())
            .ok_or_else(|| GpuError::Shader(format!("SPIR-V ends inside word {at}")))?;
        instructions.push((at, instruction));
        at += len;
    }
    Ok(instructions)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "
        @group(0) @binding(0) var<storage, read> x: array<f32>;
        @group(0) @binding(1) var<storage, read_write> y: array<f32>;
        struct Shape { count: u32 }
        var<immediate> shape: Shape;
        @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
            if (id.x < shape.count) {
                let d = dot4I8Packed(u32(x[id.x]), 7u);
                y[id.x] = x[id.x] * 3.0 + y[id.x] - f32(d);
            }
        }";

    fn count(words: &[u32], wanted: impl Fn(&[u32]) -> bool) -> usize {
        let instructions = instructions(words).unwrap();
        instructions
            .iter()
            .filter(|(_, instruction)| wanted(instruction))
            .count()
    }

    #[test]
    fn every_operation_is_decorated_once_and_nothing_else_changes() {
        let words = compile(SOURCE, true).unwrap();
        let decorated =
            |i: &[u32]| i[0] as u16 == OP_DECORATE && i.get(2) == Some(&DECORATION_NO_CONTRACTION);
        let operations = count(&words, |i| is_arithmetic(i[0] as u16));
        assert_eq!(operations, 3, "a product, a sum, a difference");
        assert_eq!(count(&words, decorated), operations);

        // Without the decorations it is the module that there was.
        let mut plain = words[..HEADER_WORDS].to_vec();
        for (_, instruction) in instructions(&words).unwrap() {
            if !decorated(instruction) {
                plain.extend(instruction);
            }
        }
        let mut again = plain.clone();
        no_contraction(&mut again).unwrap();
        assert_eq!(again, words);
        assert_eq!(words.len(), plain.len() + 3 * operations);
        assert_eq!(words[0], 0x0723_0203, "the magic number");
    }

    #[test]
    fn products_of_bytes_are_spelled_out_where_a_device_has_none() {
        const OP_S_DOT: u16 = 4450;
        let dots = |words: &[u32]| count(words, |i| i[0] as u16 == OP_S_DOT);
        assert_eq!(dots(&compile(SOURCE, true).unwrap()), 1);
        assert_eq!(dots(&compile(SOURCE, false).unwrap()), 0);
    }

    #[test]
    fn what_is_not_valid_is_refused() {
        assert!(matches!(
            compile("fn main() { nonsense }", true),
            Err(GpuError::Shader(_))
        ));
        assert!(no_contraction(&mut vec![0; 6]).is_err());
        assert!(no_contraction(&mut vec![0, 0, 0, 0, 0, 9 << 16]).is_err());
    }
}
