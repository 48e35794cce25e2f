//! Files that are corrupt, or made to do harm: each is an error that names what is wrong, none a
//! panic or a giant allocation.

use std::fs;
use std::path::Path;

use matou_model::{
    DeviceChoice, ForwardBatch, GgufFile, KvCacheDtype, LanguageModel, LoadOptions, ModelError,
    WeightFiles, load,
};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::harness::{checkpoint, gguf_fixture};

fn load_on_cpu(weights: &WeightFiles) -> Result<Box<dyn LanguageModel>, ModelError> {
    let options = LoadOptions {
        device: DeviceChoice::Cpu,
        threads: Some(1),
        ..LoadOptions::default()
    };
    load(weights, &options)
}

/// The message of an error that must be one.
fn message<T>(result: Result<T, ModelError>, case: &str) -> String {
    match result {
        Ok(_) => panic!("{case}: no error"),
        Err(error) => error.to_string(),
    }
}

fn assert_mentions(message: &str, expected: &str) {
    assert!(
        message.contains(expected),
        "{message:?} does not mention {expected:?}"
    );
}

/// A GGUF file made by hand, so that any part of it can be wrong.
struct Gguf {
    version: u32,
    tensors: Vec<Vec<u8>>,
    metadata: Vec<Vec<u8>>,
    tensor_count: Option<u64>,
    metadata_count: Option<u64>,
    data: usize,
}

impl Gguf {
    fn new() -> Self {
        Self {
            version: 3,
            tensors: Vec::new(),
            metadata: Vec::new(),
            tensor_count: None,
            metadata_count: None,
            data: 256,
        }
    }

    fn metadata(mut self, key: &[u8], value_type: u32, value: &[u8]) -> Self {
        self.metadata
            .push([&string(key)[..], &value_type.to_le_bytes(), value].concat());
        self
    }

    fn tensor(mut self, name: &str, shape: &[u64], ggml_type: u32, offset: u64) -> Self {
        let mut entry = string(name.as_bytes());
        entry.extend((shape.len() as u32).to_le_bytes());
        shape
            .iter()
            .for_each(|size| entry.extend(size.to_le_bytes()));
        entry.extend(ggml_type.to_le_bytes());
        entry.extend(offset.to_le_bytes());
        self.tensors.push(entry);
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let tensor_count = self.tensor_count.unwrap_or(self.tensors.len() as u64);
        let metadata_count = self.metadata_count.unwrap_or(self.metadata.len() as u64);
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(tensor_count.to_le_bytes());
        bytes.extend(metadata_count.to_le_bytes());
        bytes.extend(self.metadata.concat());
        bytes.extend(self.tensors.concat());
        bytes.resize(bytes.len().next_multiple_of(32) + self.data, 0);
        bytes
    }
}

fn string(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text].concat()
}

/// An array value: element type, stated length, elements.
fn array(element_type: u32, len: u64, elements: &[u8]) -> Vec<u8> {
    [
        &element_type.to_le_bytes()[..],
        &len.to_le_bytes(),
        elements,
    ]
    .concat()
}

#[test]
fn corrupt_gguf_files_are_errors_that_name_the_place() {
    const F32: u32 = 0;
    const Q8_0: u32 = 8;
    const UINT32: u32 = 4;
    const BOOL: u32 = 7;
    const STRING: u32 = 8;
    const ARRAY: u32 = 9;
    let new = Gguf::new;
    let sound = new()
        .metadata(b"a", UINT32, &[1; 4])
        .tensor("t", &[64], F32, 0);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.gguf");
    fs::write(&path, sound.bytes()).unwrap();
    GgufFile::open(&path).unwrap();

    let cases: Vec<(Vec<u8>, &str)> = vec![
        (Vec::new(), "the magic number at offset 0"),
        (b"GGML\x03\0\0\0".to_vec(), "not a GGUF file"),
        (sound.bytes()[..13].to_vec(), "the tensor count at offset 8"),
        (
            Gguf {
                version: 1,
                ..new()
            }
            .bytes(),
            "version 1",
        ),
        (
            Gguf {
                version: 3 << 24,
                ..new()
            }
            .bytes(),
            "big-endian",
        ),
        (
            Gguf {
                tensor_count: Some(u64::MAX),
                ..new()
            }
            .bytes(),
            "the tensor count at offset 8 is 18446744073709551615",
        ),
        (
            Gguf {
                metadata_count: Some(1 << 40),
                ..new()
            }
            .bytes(),
            "the metadata count at offset 16 is 1099511627776",
        ),
        (
            new().metadata(b"\xff\xfe", UINT32, &[0; 4]).bytes(),
            "metadata key at offset 24 is not UTF-8",
        ),
        (
            new().metadata(b"key", 99, &[]).bytes(),
            "key has unknown value type 99",
        ),
        (
            new().metadata(b"key", BOOL, &[7]).bytes(),
            "key is a boolean of value 7",
        ),
        (
            new()
                .metadata(b"key", STRING, &u64::MAX.to_le_bytes())
                .bytes(),
            "key at offset 39 is 18446744073709551615",
        ),
        (
            new()
                .metadata(b"key", ARRAY, &array(UINT32, 1 << 60, &[]))
                .bytes(),
            "key at offset 43 is 1152921504606846976",
        ),
        (
            new()
                .metadata(b"key", ARRAY, &array(ARRAY, 1, &array(UINT32, 0, &[])))
                .bytes(),
            "array of arrays",
        ),
        (
            new()
                .metadata(b"key", UINT32, &[0; 4])
                .metadata(b"key", UINT32, &[0; 4])
                .bytes(),
            "key occurs twice",
        ),
        (
            new()
                .metadata(b"general.alignment", UINT32, &[0; 4])
                .bytes(),
            "general.alignment",
        ),
        (
            new()
                .metadata(b"general.alignment", UINT32, &[24, 0, 0, 0])
                .bytes(),
            "general.alignment",
        ),
        (
            new().tensor("t", &[1; 9], F32, 0).bytes(),
            "tensor t has 9 dimensions",
        ),
        (
            new().tensor("t", &[4, 0], F32, 0).bytes(),
            "tensor t has a dimension of impossible size",
        ),
        (
            new().tensor("t", &[1 << 40, 1 << 40], F32, 0).bytes(),
            "tensor t of shape",
        ),
        (
            new().tensor("t", &[1 << 62], F32, 0).bytes(),
            "tensor t of shape",
        ),
        (
            new().tensor("t", &[65], F32, 0).bytes(),
            "tensor t of shape [65] and type F32",
        ),
        (
            new().tensor("t", &[33], Q8_0, 0).bytes(),
            "tensor t of shape [33] and type Q8_0",
        ),
        (
            new().tensor("t", &[8], F32, 4096).bytes(),
            "tensor t has offset 4096",
        ),
        (
            new().tensor("t", &[8], F32, 8).bytes(),
            "tensor t has offset 8",
        ),
        (
            new().tensor("t", &[8], F32, u64::MAX - 8).bytes(),
            "tensor t has offset 18446744073709551607",
        ),
        (
            new()
                .tensor("t", &[8], F32, 0)
                .tensor("t", &[8], F32, 32)
                .bytes(),
            "tensor t occurs twice",
        ),
    ];
    for (bytes, expected) in cases {
        fs::write(&path, bytes).unwrap();
        let message = message(GgufFile::open(&path), expected);
        assert_mentions(&message, expected);
        assert_mentions(&message, "model.gguf");
    }
}

#[test]
fn unusual_but_sound_gguf_metadata_is_read() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.gguf");
    let file = Gguf {
        version: 2,
        ..Gguf::new()
    }
    .metadata(b"i8", 1, &[0xff])
    .metadata(b"i16", 3, &(-300i16).to_le_bytes())
    .metadata(b"f64", 12, &0.5f64.to_le_bytes())
    .metadata(b"text", 8, &string(b"\xffa"))
    .metadata(b"flags", 9, &array(7, 2, &[1, 0]))
    .metadata(b"sizes", 9, &array(5, 2, &[2, 0, 0, 0, 3, 0, 0, 0]))
    .tensor("of an unknown type", &[7, 7], 4711, 0);
    fs::write(&path, file.bytes()).unwrap();
    let file = GgufFile::open(&path).unwrap();
    let get = |key| file.metadata().get(key).unwrap();
    assert_eq!(get("i8").as_f64(), Some(-1.0));
    assert_eq!(get("i16").as_f64(), Some(-300.0));
    assert_eq!(get("i16").as_u64(), None);
    assert_eq!(get("f64").as_f64(), Some(0.5));
    assert_eq!(get("text").as_str(), Some("\u{fffd}a"));
    assert_eq!(get("sizes").to_u64s(), Some(vec![2, 3]));
    assert_eq!(
        file.tensor("of an unknown type").unwrap().type_name(),
        "number 4711"
    );
}

#[test]
fn shards_that_are_missing_or_not_the_first_are_named() {
    let folder = TempDir::new().unwrap();
    let copy = |shard: &str| {
        let name = format!("llama-bias-f32-{shard}-of-00004.gguf");
        let target = folder.path().join(&name);
        fs::copy(gguf_fixture(&name), &target).unwrap();
        target
    };
    let (first, third) = (copy("00001"), copy("00003"));
    let message = message(GgufFile::open(&first), "shards are missing");
    assert_mentions(&message, "2 of 4 shards are missing");
    assert_mentions(
        &message,
        "llama-bias-f32-00002-of-00004.gguf, llama-bias-f32-00004-of-00004.gguf",
    );
    let message = self::message(GgufFile::open(&third), "not the first");
    assert_mentions(&message, "shard 3 of 4; open the first one");
}

#[test]
fn a_tensor_type_without_a_kernel_is_named_when_it_is_needed() {
    let folder = TempDir::new().unwrap();
    let mut bytes = fs::read(gguf_fixture("llama3.2-q8_0.gguf")).unwrap();
    let name = b"blk.1.ffn_up.weight";
    let entry = bytes
        .windows(name.len())
        .position(|window| window == name)
        .unwrap();
    // After the name: the number of dimensions, two of them, the type.
    let ggml_type = entry + name.len() + 4 + 16;
    bytes[ggml_type] = 16;
    let path = folder.path().join("model.gguf");
    fs::write(&path, bytes).unwrap();
    let message = message(load_on_cpu(&WeightFiles::Gguf(path)), "type");
    assert_mentions(&message, "tensor blk.1.ffn_up.weight has type IQ2_XXS");
}

/// The tiny Llama 2 checkpoint in a folder of its own, to be spoilt.
struct Spoilt(TempDir);

impl Spoilt {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        for file in ["config.json", "model.safetensors"] {
            fs::copy(checkpoint("llama2").join(file), folder.path().join(file)).unwrap();
        }
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn config(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path().join("config.json")).unwrap()).unwrap()
    }

    fn write(&self, file: &str, contents: impl AsRef<[u8]>) {
        fs::write(self.path().join(file), contents).unwrap();
    }

    fn error(&self, case: &str) -> String {
        message(
            load_on_cpu(&WeightFiles::HuggingFace(self.path().to_owned())),
            case,
        )
    }
}

#[test]
fn bad_configs_are_errors_that_name_the_field() {
    let cases = [
        ("architectures", Value::Null, "`architectures` is missing"),
        (
            "architectures",
            json!(["BloomForCausalLM"]),
            "unsupported architecture BloomForCausalLM; supported: LlamaForCausalLM",
        ),
        ("hidden_size", Value::Null, "`hidden_size` is missing"),
        ("hidden_size", json!(0), "`hidden_size` is 0"),
        ("hidden_size", json!(-64), "invalid value: integer `-64`"),
        ("hidden_size", json!("64"), "invalid type: string"),
        (
            "hidden_size",
            json!(32),
            "tensor model.embed_tokens.weight has shape [128, 64], the configuration asks for [128, 32]",
        ),
        (
            "num_hidden_layers",
            json!(1u64 << 60),
            "`num_hidden_layers` is 1152921504606846976",
        ),
        (
            "num_hidden_layers",
            json!(3),
            "tensor model.layers.2.post_attention_layernorm.weight is missing",
        ),
        (
            "num_attention_heads",
            json!(0),
            "`num_attention_heads` is 0",
        ),
        (
            "num_key_value_heads",
            json!(3),
            "`num_key_value_heads` is 3",
        ),
        ("head_dim", json!(15), "`head_dim` is 15"),
        (
            "vocab_size",
            json!(1 << 23),
            "model.embed_tokens.weight has shape [128, 64]",
        ),
        (
            "max_position_embeddings",
            json!(u64::MAX),
            "`max_position_embeddings`",
        ),
        (
            "intermediate_size",
            json!(96),
            "tensor model.layers.0.mlp.gate_proj.weight has shape [128, 64]",
        ),
        (
            "attention_bias",
            json!(true),
            "tensor model.layers.0.self_attn.q_proj.bias is missing",
        ),
        ("hidden_act", json!("relu"), "hidden_act \"relu\""),
        ("rope_theta", json!(-1.0), "`rope_theta` is -1"),
        (
            "rope_scaling",
            json!({"type": "dynamic", "factor": 2.0}),
            "`rope_scaling.rope_type` is \"dynamic\"",
        ),
        (
            "rope_scaling",
            json!({"rope_type": "llama3"}),
            "`rope_scaling.factor`",
        ),
        (
            "rope_scaling",
            json!({"rope_type": "linear", "factor": 0}),
            "`rope_scaling.factor`",
        ),
        ("sliding_window", json!(0), "`sliding_window` is 0"),
        (
            "layer_types",
            json!(["full_attention"]),
            "`layer_types` has 1 entries for 2 layers",
        ),
        (
            "layer_types",
            json!(["linear_attention", "x"]),
            "`layer_types` has \"linear_attention\"",
        ),
        ("eos_token_id", json!("</s>"), "TokenIds"),
    ];
    for (field, value, expected) in cases {
        let spoilt = Spoilt::new();
        let mut config = spoilt.config();
        config[field] = value;
        spoilt.write("config.json", config.to_string());
        assert_mentions(&spoilt.error(expected), expected);
    }
}

#[test]
fn folders_that_lack_files_are_errors_that_name_them() {
    let spoilt = Spoilt::new();
    fs::remove_file(spoilt.path().join("model.safetensors")).unwrap();
    assert_mentions(
        &spoilt.error("no weights"),
        "neither model.safetensors nor model.safetensors.index.json",
    );
    spoilt.write("config.json", "{ this is not JSON");
    assert_mentions(
        &spoilt.error("no JSON"),
        "config.json: key must be a string at line 1",
    );
    fs::remove_file(spoilt.path().join("config.json")).unwrap();
    assert_mentions(&spoilt.error("no config"), "config.json");
}

#[test]
fn corrupt_safetensors_are_errors() {
    let sound = fs::read(checkpoint("llama2").join("model.safetensors")).unwrap();
    let mut huge_header = sound.clone();
    huge_header[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut garbled = sound.clone();
    garbled[9] = b'?';
    for (bytes, case) in [
        (sound[..4].to_vec(), "shorter than its length field"),
        (sound[..sound.len() - 1].to_vec(), "truncated"),
        (huge_header, "huge header"),
        (garbled, "garbled header"),
    ] {
        let spoilt = Spoilt::new();
        spoilt.write("model.safetensors", bytes);
        assert_mentions(&spoilt.error(case), "model.safetensors: ");
    }
}

#[test]
fn a_missing_tensor_and_one_of_the_wrong_type_are_named() {
    let sound = fs::read(checkpoint("llama2").join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&sound).unwrap().tensors();
    let target = "model.layers.1.mlp.down_proj.weight";

    let spoilt = Spoilt::new();
    let others = tensors.iter().filter(|(name, _)| name != target).cloned();
    spoilt.write("model.safetensors", serialize(others, None).unwrap());
    assert_mentions(
        &spoilt.error("missing"),
        &format!("tensor {target} is missing"),
    );

    let integers = vec![0u8; 64 * 128];
    let retyped = tensors.iter().map(|(name, view)| match name == target {
        true => (
            name.clone(),
            TensorView::new(Dtype::I8, vec![64, 128], &integers).unwrap(),
        ),
        false => (name.clone(), view.clone()),
    });
    spoilt.write("model.safetensors", serialize(retyped, None).unwrap());
    assert_mentions(
        &spoilt.error("retyped"),
        &format!("tensor {target} has type I8"),
    );
}

#[test]
fn a_shard_index_must_keep_to_its_folder_and_to_the_truth() {
    let cases = [
        (
            json!({"weight_map": {"a": "../../model.safetensors"}}),
            "is not a plain file name",
        ),
        (
            json!({"weight_map": {"a": "/etc/passwd"}}),
            "is not a plain file name",
        ),
        (
            json!({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}),
            "1 of 2 shards are missing: two.safetensors",
        ),
        (
            json!({"weight_map": {"no.such.tensor": "one.safetensors"}}),
            "tensor no.such.tensor is said to be in one.safetensors",
        ),
        (json!({"weights": {}}), "missing field `weight_map`"),
    ];
    for (index, expected) in cases {
        let spoilt = Spoilt::new();
        fs::rename(
            spoilt.path().join("model.safetensors"),
            spoilt.path().join("one.safetensors"),
        )
        .unwrap();
        spoilt.write("model.safetensors.index.json", index.to_string());
        assert_mentions(&spoilt.error(expected), expected);
    }
}

/// Loads a file and, if it loads, runs a step. Whatever happens must not be a panic.
fn exercise(path: &Path) {
    let Ok(mut model) = load_on_cpu(&WeightFiles::Gguf(path.to_owned())) else {
        return;
    };
    if model.allocate_kv_cache(1, KvCacheDtype::F32).is_ok() {
        let mut batch = ForwardBatch::default();
        batch.push_request(&[1, 2], 0, &[0], [1]);
        let _ = model.forward(&batch);
    }
}

#[test]
fn no_single_corrupt_byte_makes_loading_panic() {
    let sound = fs::read(gguf_fixture("llama3.2-q8_0.gguf")).unwrap();
    // Everything before the data; one byte in 97 of the data.
    let header = sound.len() - 85_000;
    let places = (0..header).chain((header..sound.len()).step_by(97));
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.gguf");
    for (index, place) in places.enumerate() {
        let mut bytes = sound.clone();
        bytes[place] = match index % 3 {
            0 => !bytes[place],
            1 => bytes[place].wrapping_add(1),
            _ => bytes[place] ^ 0x80,
        };
        fs::write(&path, bytes).unwrap();
        exercise(&path);
    }
}

#[test]
fn no_truncation_makes_loading_panic() {
    let sound = fs::read(gguf_fixture("llama3.2-q8_0.gguf")).unwrap();
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.gguf");
    for len in (0..6_000)
        .step_by(7)
        .chain((6_000..sound.len()).step_by(4_999))
    {
        fs::write(&path, &sound[..len]).unwrap();
        assert!(
            load_on_cpu(&WeightFiles::Gguf(path.clone())).is_err(),
            "{len} bytes are enough"
        );
    }
}
