//! GGUF files, spoilt by hand and by the thousand.

use std::fs;
use std::path::Path;

use matou_model::{ForwardBatch, GgufFile, KvCacheDtype, WeightFiles};
use tempfile::TempDir;

use super::{assert_mentions, load_on_cpu, message};
use crate::harness::gguf_fixture;

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
        let error = message(GgufFile::open(&path), expected);
        assert_mentions(&error, expected);
        assert_mentions(&error, "model.gguf");
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
    let error = message(GgufFile::open(&first), "shards are missing");
    assert_mentions(&error, "2 of 4 shards are missing");
    assert_mentions(
        &error,
        "llama-bias-f32-00002-of-00004.gguf, llama-bias-f32-00004-of-00004.gguf",
    );
    let error = message(GgufFile::open(&third), "not the first");
    assert_mentions(&error, "shard 3 of 4; open the first one");
}

#[test]
fn metadata_that_is_missing_or_unknown_is_named() {
    const STRING: u32 = 8;
    let architecture = |name: &str| {
        Gguf::new().metadata(b"general.architecture", STRING, &string(name.as_bytes()))
    };
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.gguf");
    for (file, expected) in [
        (Gguf::new(), "`general.architecture` is missing"),
        (
            architecture("mamba"),
            "unsupported architecture mamba; supported: LlamaForCausalLM",
        ),
        (architecture("llama"), "`llama.embedding_length` is missing"),
    ] {
        fs::write(&path, file.bytes()).unwrap();
        let error = message(load_on_cpu(&WeightFiles::Gguf(path.clone())), expected);
        assert_mentions(&error, expected);
    }
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
    bytes[ggml_type] = 40;
    let path = folder.path().join("model.gguf");
    fs::write(&path, bytes).unwrap();
    let error = message(load_on_cpu(&WeightFiles::Gguf(path)), "type");
    assert_mentions(&error, "tensor blk.1.ffn_up.weight has type NVFP4");
}

#[test]
fn a_bias_of_queries_in_a_type_of_blocks_is_an_error() {
    let folder = TempDir::new().unwrap();
    let name = b"blk.0.attn_q.bias";
    for shard in 1..=4 {
        let file = format!("llama-bias-f32-{shard:05}-of-00004.gguf");
        let mut bytes = fs::read(gguf_fixture(&file)).unwrap();
        if let Some(entry) = bytes.windows(name.len()).position(|window| window == name) {
            // After the name: the number of dimensions, one of them, the type. 2 is Q4_0.
            bytes[entry + name.len() + 4 + 8] = 2;
        }
        fs::write(folder.path().join(file), bytes).unwrap();
    }
    let first = folder.path().join("llama-bias-f32-00001-of-00004.gguf");
    let error = message(load_on_cpu(&WeightFiles::Gguf(first)), "bias");
    assert_mentions(&error, "tensor blk.0.attn_q.bias has 64 rows in 36 bytes");
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
